package driverhost_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// IRPs that wait in queues: cancel-safe queues, device queues, and a driver's own list.

// asked sends an IOCTL that must succeed, and gives its output, of n bytes at most.
func asked(t testing.TB, d device, code uint32, in []byte, n int) []byte {
	t.Helper()
	out := make([]byte, n)
	r, err := d.ioctl(background, code, in, out)
	require.NoError(t, err)
	require.Equal(t, nt.STATUS_SUCCESS, r.Status)
	return out[:r.Written]
}

func word(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func csqCounts(t testing.TB, d device) fixtures.CsqCounts {
	t.Helper()
	c, err := fixtures.ParseCsqCounts(asked(t, d, fixtures.IOCTL_CSQ_COUNTS, nil,
		fixtures.CsqCountsSize))
	require.NoError(t, err)
	return c
}

// release lets IRPs of a queue go, and gives how many those were.
func release(t testing.TB, d device, r fixtures.CsqRelease) uint32 {
	t.Helper()
	return binary.LittleEndian.Uint32(asked(t, d, fixtures.IOCTL_CSQ_RELEASE, r.Bytes(), 12))
}

const all = 1 << 30

func TestACancelSafeQueueGivesItsIRPsByTheDriversChoice(t *testing.T) {
	for _, name := range []string{`\\.\Csq`, `\\.\CsqPlain`} {
		t.Run(name[4:], func(t *testing.T) {
			bothWays(t, "csq", func(t *testing.T, open func(string) device) {
				d, other := open(name), open(name)
				var done []<-chan asyncResult
				for i := range 6 {
					key := uint32(i % 2)
					done = append(done, async(background, d, fixtures.IOCTL_CSQ_PEND, word(key),
						make([]byte, 4)))
					eventually(t, "queued", func() bool { return csqCounts(t, other).Queued == uint32(i+1) })
				}
				ended := func(i int) {
					t.Helper()
					r := <-done[i]
					require.NoError(t, r.err)
					assert.Equal(t, nt.STATUS_SUCCESS, r.Status)
					assert.EqualValues(t, 4, r.Information)
				}
				assert.EqualValues(t, 2, release(t, other, fixtures.CsqRelease{Count: 2, ByKey: 1, Key: 1}))
				ended(1)
				ended(3)
				assert.EqualValues(t, 1, release(t, other, fixtures.CsqRelease{Count: 1}))
				ended(0)
				assert.EqualValues(t, 3, release(t, other, fixtures.CsqRelease{Count: all}))
				for _, i := range []int{2, 4, 5} {
					ended(i)
				}
				assert.Equal(t, fixtures.CsqCounts{Inserted: 6, Released: 6}, csqCounts(t, other))
			})
		})
	}
}

func TestAnIRPOfACancelSafeQueueIsFoundByItsContext(t *testing.T) {
	for _, name := range []string{`\\.\Csq`, `\\.\CsqPlain`} {
		t.Run(name[4:], func(t *testing.T) {
			bothWays(t, "csq", func(t *testing.T, open func(string) device) {
				d, other := open(name), open(name)
				take := func() nt.Status {
					r, err := d.ioctl(background, fixtures.IOCTL_CSQ_TAKE, nil, nil)
					require.NoError(t, err)
					return r.Status
				}
				assert.Equal(t, nt.STATUS_NOT_FOUND, take(), "before there is one")
				before := async(background, other, fixtures.IOCTL_CSQ_PEND, nil, nil)
				eventually(t, "queued", func() bool { return csqCounts(t, d).Queued == 1 })
				pended := async(background, d, fixtures.IOCTL_CSQ_PEND_CONTEXT, word(7), make([]byte, 4))
				eventually(t, "queued", func() bool { return csqCounts(t, d).Queued == 2 })
				assert.Equal(t, nt.STATUS_SUCCESS, take())
				assert.Equal(t, nt.STATUS_SUCCESS, (<-pended).Status)
				assert.Equal(t, nt.STATUS_NOT_FOUND, take(), "it has been taken")

				ctx, cancel := context.WithCancel(background)
				pended = async(ctx, d, fixtures.IOCTL_CSQ_PEND_CONTEXT, nil, nil)
				eventually(t, "queued", func() bool { return csqCounts(t, d).Queued == 2 })
				cancel()
				assert.Equal(t, nt.STATUS_CANCELLED, (<-pended).Status)
				assert.Equal(t, nt.STATUS_NOT_FOUND, take(), "it was cancelled")

				pended = async(background, d, fixtures.IOCTL_CSQ_PEND_CONTEXT, nil, nil)
				eventually(t, "queued", func() bool { return csqCounts(t, d).Queued == 2 })
				release(t, other, fixtures.CsqRelease{Count: all})
				assert.Equal(t, nt.STATUS_SUCCESS, (<-pended).Status)
				assert.Equal(t, nt.STATUS_SUCCESS, (<-before).Status)
				assert.Equal(t, nt.STATUS_NOT_FOUND, take(), "it was released")
				assert.Equal(t, fixtures.CsqCounts{Inserted: 4, Released: 2, Taken: 1, Cancelled: 1},
					csqCounts(t, d))
			})
		})
	}
}

func TestACancelSafeQueueMayRefuseAnIRP(t *testing.T) {
	bothWays(t, "csq", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Csq`)
		asked(t, d, fixtures.IOCTL_CSQ_LIMIT, word(1), 0)
		first := async(background, d, fixtures.IOCTL_CSQ_PEND, nil, nil)
		eventually(t, "queued", func() bool { return csqCounts(t, d).Queued == 1 })
		r, err := d.ioctl(background, fixtures.IOCTL_CSQ_PEND, nil, nil)
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_DEVICE_BUSY, r.Status)
		release(t, d, fixtures.CsqRelease{Count: all})
		assert.Equal(t, nt.STATUS_SUCCESS, (<-first).Status)
		assert.Equal(t, fixtures.CsqCounts{Inserted: 1, Refused: 1, Released: 1}, csqCounts(t, d))
	})
}

func TestTheLastCloseEmptiesACancelSafeQueue(t *testing.T) {
	bothWays(t, "csq", func(t *testing.T, open func(string) device) {
		d, other := open(`\\.\Csq`), open(`\\.\Csq`)
		for range 4 {
			async(background, d, fixtures.IOCTL_CSQ_PEND, nil, nil)
		}
		kept := async(background, other, fixtures.IOCTL_CSQ_PEND, nil, nil)
		eventually(t, "queued", func() bool { return csqCounts(t, other).Queued == 5 })
		require.NoError(t, d.Close())
		eventually(t, "cleaned", func() bool { return csqCounts(t, other).Queued == 1 })
		c := csqCounts(t, other)
		assert.EqualValues(t, 4, c.Cleaned+c.Cancelled)
		release(t, other, fixtures.CsqRelease{Count: all})
		assert.Equal(t, nt.STATUS_SUCCESS, (<-kept).Status)
	})
}

// Many clients pend requests and cancel them at random while another releases what is there: each
// request ends once, and each end is one that the driver knows of.
func TestACancelSafeQueueLosesNothing(t *testing.T) {
	for _, name := range []string{`\\.\Csq`, `\\.\CsqPlain`} {
		t.Run(name[4:], func(t *testing.T) {
			bothWays(t, "csq", func(t *testing.T, open func(string) device) {
				const clients, rounds = 6, 60
				watch := open(name)
				var files []device
				for range clients {
					files = append(files, open(name))
				}
				var succeeded, cancelled, unsent atomic.Uint32
				stop := make(chan struct{})
				var releaser sync.WaitGroup
				releaser.Go(func() {
					for n := uint32(0); ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						out := make([]byte, 12)
						r := fixtures.CsqRelease{Count: 2, ByKey: n % 2, Key: n % 3}
						_, err := watch.ioctl(background, fixtures.IOCTL_CSQ_RELEASE, r.Bytes(), out)
						assert.NoError(t, err)
					}
				})
				parallel(clients, func(i int) {
					random := rand.New(rand.NewPCG(1, uint64(i)))
					for n := range rounds {
						code := uint32(fixtures.IOCTL_CSQ_PEND)
						if n%5 == 0 {
							code = fixtures.IOCTL_CSQ_PEND_CONTEXT
						}
						ctx, cancel := context.WithTimeout(background,
							time.Duration(random.IntN(300))*time.Microsecond)
						r, err := files[i].ioctl(ctx, code, word(uint32(n%3)), make([]byte, 4))
						cancel()
						switch {
						case err != nil:
							unsent.Add(1) // cancelled before it was sent
						case r.Status == nt.STATUS_SUCCESS:
							succeeded.Add(1)
						case assert.Equal(t, nt.STATUS_CANCELLED, r.Status):
							cancelled.Add(1)
						}
						if n%7 == 0 {
							_, err := files[i].ioctl(background, fixtures.IOCTL_CSQ_TAKE, nil, nil)
							assert.NoError(t, err)
						}
					}
				})
				close(stop)
				releaser.Wait()
				c := csqCounts(t, watch)
				assert.EqualValues(t, clients*rounds, succeeded.Load()+cancelled.Load()+unsent.Load())
				assert.Equal(t, succeeded.Load(), c.Released+c.Taken)
				assert.Equal(t, c.Inserted, c.Released+c.Taken+c.Cancelled)
				assert.GreaterOrEqual(t, cancelled.Load(), c.Cancelled)
				assert.Zero(t, c.Queued)
			})
		})
	}
}

func startIOState(t testing.TB, d device) fixtures.StartIoState {
	t.Helper()
	s, err := fixtures.ParseStartIoState(asked(t, d, fixtures.IOCTL_STARTIO_STATE, nil,
		fixtures.StartIoStateSize))
	require.NoError(t, err)
	return s
}

// started gives the keys of what has been started, in that order.
func started(s fixtures.StartIoState) []uint32 { return s.Keys[:s.Started] }

// runner sends requests with keys to startio.sys one after the other.
type runner struct {
	t *testing.T
	d device
	h interface{ Outstanding() int }
}

// run sends a request and waits until it is in the driver.
func (r *runner) run(ctx context.Context, code, key uint32) <-chan asyncResult {
	r.t.Helper()
	before := r.h.Outstanding()
	done := async(ctx, r.d, code, word(key), nil)
	eventually(r.t, "sent", func() bool { return r.h.Outstanding() > before })
	return done
}

func (r *runner) step(key ...uint32) nt.Status {
	r.t.Helper()
	var in []byte
	if len(key) > 0 {
		in = word(key[0])
	}
	res, err := r.d.ioctl(background, fixtures.IOCTL_STARTIO_STEP, in, nil)
	require.NoError(r.t, err)
	return res.Status
}

// state asks for the driver's state; the file's thread has dispatched what was sent before by then.
func (r *runner) state() fixtures.StartIoState {
	r.t.Helper()
	return startIOState(r.t, r.d)
}

func newRunner(t *testing.T) *runner {
	h := drivertest.Load(t, fixture(t, "startio"))
	return &runner{t: t, d: local{drivertest.Open(t, h, `\\.\StartIo`)}, h: h.Kernel.IO}
}

func TestStartIoWorksOnOneIRPAtATime(t *testing.T) {
	r := newRunner(t)
	assert.Equal(t, nt.STATUS_NOT_FOUND, r.step())
	run := uint32(fixtures.IOCTL_STARTIO_RUN)
	done := map[uint32]<-chan asyncResult{}
	for _, key := range []uint32{50, 30, 10, 40, 20} {
		done[key] = r.run(background, run, key)
	}
	done[99] = r.run(background, fixtures.IOCTL_STARTIO_RUN_LAST, 99)
	s := r.state()
	assert.Equal(t, []uint32{50}, started(s), "the device is busy with the first")
	assert.EqualValues(t, 1, s.Busy)
	assert.EqualValues(t, nt.DISPATCH_LEVEL, s.Irql)
	ended := func(key uint32) {
		t.Helper()
		assert.Equal(t, nt.STATUS_SUCCESS, (<-done[key]).Status)
	}
	assert.Equal(t, nt.STATUS_SUCCESS, r.step())
	ended(50)
	assert.Equal(t, []uint32{50, 10}, started(r.state()), "by the key")
	assert.Equal(t, nt.STATUS_SUCCESS, r.step(25))
	ended(10)
	assert.Equal(t, []uint32{50, 10, 30}, started(r.state()), "the first whose key is not less")
	assert.Equal(t, nt.STATUS_SUCCESS, r.step(100))
	ended(30)
	for range 3 {
		assert.Equal(t, nt.STATUS_SUCCESS, r.step())
	}
	for _, key := range []uint32{20, 40, 99} {
		ended(key)
	}
	s = r.state()
	assert.Equal(t, []uint32{50, 10, 30}, started(s)[:3])
	assert.ElementsMatch(t, []uint32{20, 40, 99}, started(s)[3:])
	assert.Zero(t, s.Busy)
	assert.Equal(t, nt.STATUS_NOT_FOUND, r.step())
}

func TestStartIoIRPsAreCancelled(t *testing.T) {
	r := newRunner(t)
	run := uint32(fixtures.IOCTL_STARTIO_RUN)
	type sent struct {
		cancel func()
		done   <-chan asyncResult
	}
	all := map[uint32]sent{}
	for key := uint32(1); key <= 5; key++ {
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		all[key] = sent{cancel, r.run(ctx, run, key)}
	}
	cancelled := func(key uint32) {
		t.Helper()
		all[key].cancel()
		assert.Equal(t, nt.STATUS_CANCELLED, (<-all[key].done).Status)
	}
	r.state()
	cancelled(3)
	s := r.state()
	assert.EqualValues(t, 1, s.CancelledQueued)
	assert.Equal(t, []uint32{1}, started(s))
	cancelled(1)
	s = r.state()
	assert.EqualValues(t, 1, s.CancelledCurrent)
	assert.Equal(t, []uint32{1, 2}, started(s), "the next one has begun")
	assert.Equal(t, nt.STATUS_SUCCESS, r.step())
	assert.Equal(t, nt.STATUS_SUCCESS, (<-all[2].done).Status)
	cancelled(5)
	cancelled(4)
	s = r.state()
	assert.Equal(t, []uint32{1, 2, 4}, started(s))
	assert.EqualValues(t, 2, s.CancelledQueued)
	assert.EqualValues(t, 2, s.CancelledCurrent)
	assert.Zero(t, s.Busy)
}

func TestStartIoLosesNothing(t *testing.T) {
	bothWays(t, "startio", func(t *testing.T, open func(string) device) {
		const clients, rounds = 4, 80
		watch := open(`\\.\StartIo`)
		var files []device
		for range clients {
			files = append(files, open(`\\.\StartIo`))
		}
		stop := make(chan struct{})
		var stepper sync.WaitGroup
		stepper.Go(func() {
			for n := uint32(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				var key []byte
				if n%2 == 0 {
					key = word(n % 5)
				}
				_, err := watch.ioctl(background, fixtures.IOCTL_STARTIO_STEP, key, nil)
				assert.NoError(t, err)
			}
		})
		var succeeded, cancelled atomic.Uint32
		parallel(clients, func(i int) {
			random := rand.New(rand.NewPCG(2, uint64(i)))
			for n := range rounds {
				ctx, cancel := context.WithTimeout(background,
					time.Duration(random.IntN(300))*time.Microsecond)
				r, err := files[i].ioctl(ctx, fixtures.IOCTL_STARTIO_RUN, word(uint32(n%5)), nil)
				cancel()
				switch {
				case err != nil: // cancelled before it was sent
				case r.Status == nt.STATUS_SUCCESS:
					succeeded.Add(1)
				case assert.Equal(t, nt.STATUS_CANCELLED, r.Status):
					cancelled.Add(1)
				}
			}
		})
		close(stop)
		stepper.Wait()
		s := startIOState(t, watch)
		assert.Equal(t, succeeded.Load(), s.Completed)
		assert.GreaterOrEqual(t, cancelled.Load(), s.CancelledQueued+s.CancelledCurrent)
		assert.Zero(t, s.Busy)
	})
}

func cancelCounts(t testing.TB, d device) fixtures.CancelCounts {
	t.Helper()
	c, err := fixtures.ParseCancelCounts(asked(t, d, fixtures.IOCTL_CANCEL_COUNTS, nil,
		fixtures.CancelCountsSize))
	require.NoError(t, err)
	return c
}

// pendMany pends n requests on d and waits until the driver has them all.
func pendMany(t testing.TB, d, watch device, n int) (done chan nt.Status) {
	t.Helper()
	done = make(chan nt.Status, n)
	before := cancelCounts(t, watch).Waiting
	for range n {
		go func() {
			r, err := d.ioctl(background, fixtures.IOCTL_CANCEL_PEND, nil, nil)
			assert.NoError(t, err)
			done <- r.Status
		}()
	}
	for start := time.Now(); cancelCounts(t, watch).Waiting != before+uint32(n); time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(start), time.Minute, "did not all pend")
	}
	return done
}

const many = 10_000

func TestTenThousandPendedIRPsAreCancelledInOneGo(t *testing.T) {
	h := drivertest.Load(t, fixture(t, "cancel"))
	d, watch := local{drivertest.Open(t, h, `\\.\Cancel`)}, local{drivertest.Open(t, h, `\\.\Cancel`)}
	done := pendMany(t, d, watch, many)
	require.NoError(t, d.Close())
	for range many {
		require.Equal(t, nt.STATUS_CANCELLED, <-done)
	}
	assert.Equal(t, fixtures.CancelCounts{Pended: many, Routines: many, Cancelled: many},
		cancelCounts(t, watch))
}

// BenchmarkCancelAll cancels n pended requests in one go; ns/irp tells whether that is linear.
func BenchmarkCancelAll(b *testing.B) {
	for _, n := range []int{100, 1_000, many} {
		b.Run(map[int]string{100: "100", 1_000: "1000", many: "10000"}[n], func(b *testing.B) {
			h := drivertest.Load(b, fixture(b, "cancel"))
			watch := local{drivertest.Open(b, h, `\\.\Cancel`)}
			var total time.Duration
			for b.Loop() {
				b.StopTimer()
				d := local{drivertest.Open(b, h, `\\.\Cancel`)}
				done := pendMany(b, d, watch, n)
				b.StartTimer()
				start := time.Now()
				require.NoError(b, d.Close())
				for range n {
					<-done
				}
				total += time.Since(start)
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(b.N)/float64(n), "ns/irp")
		})
	}
}

func TestACancelRoutineRacesCompletion(t *testing.T) {
	// On one processor its two threads wait for each other by the quantum.
	for processors, rounds := range map[int]uint32{1: 6, 2: 600, 4: 600} {
		h := drivertest.Load(t, fixture(t, "cancel"), drivertest.Processors(processors))
		d := local{drivertest.Open(t, h, `\\.\Cancel`)}
		n := binary.LittleEndian.Uint32(asked(t, d, fixtures.IOCTL_CANCEL_RACE, word(rounds), 4))
		c := cancelCounts(t, d)
		assert.EqualValues(t, rounds, c.Pended)
		assert.Equal(t, n, c.Cancelled)
		assert.EqualValues(t, rounds, c.Completed+c.Cancelled, "each ends once")
		assert.LessOrEqual(t, c.Routines, c.Cancelled)
		assert.Zero(t, c.Waiting)
	}
}

func TestClientsCancelWhileOthersComplete(t *testing.T) {
	bothWays(t, "cancel", func(t *testing.T, open func(string) device) {
		const clients, rounds = 4, 100
		watch := open(`\\.\Cancel`)
		var files []device
		for range clients {
			files = append(files, open(`\\.\Cancel`))
		}
		stop := make(chan struct{})
		var completer sync.WaitGroup
		completer.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := watch.ioctl(background, fixtures.IOCTL_CANCEL_COMPLETE, word(1), make([]byte, 4))
				assert.NoError(t, err)
			}
		})
		var succeeded, cancelled atomic.Uint32
		parallel(clients, func(i int) {
			random := rand.New(rand.NewPCG(3, uint64(i)))
			for range rounds {
				ctx, cancel := context.WithTimeout(background,
					time.Duration(random.IntN(300))*time.Microsecond)
				r, err := files[i].ioctl(ctx, fixtures.IOCTL_CANCEL_PEND, nil, nil)
				cancel()
				switch {
				case err != nil: // cancelled before it was sent
				case r.Status == nt.STATUS_SUCCESS:
					succeeded.Add(1)
				case assert.Equal(t, nt.STATUS_CANCELLED, r.Status):
					cancelled.Add(1)
				}
			}
		})
		close(stop)
		completer.Wait()
		c := cancelCounts(t, watch)
		assert.Equal(t, succeeded.Load(), c.Completed)
		assert.Equal(t, c.Pended, c.Completed+c.Cancelled)
		assert.GreaterOrEqual(t, cancelled.Load(), c.Cancelled)
		assert.Zero(t, c.Waiting)
	})
}
