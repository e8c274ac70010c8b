package ntoskrnl

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// The pool routines in guest code.

// fillMagazine has small blocks of the rig's tag allocated and freed until guest code does it.
func fillMagazine(r *driverRig) {
	for range 40 {
		for _, kind := range []uint64{0, 1, 512} {
			r.call("ExFreePoolWithTag", r.call("ExAllocatePoolWithTag", kind, 32, tagEcho), tagEcho)
		}
	}
}

// exits counts what leaves guest code in a function.
func (r *driverRig) exits(f func()) int {
	count := func() (n int) {
		for i := range r.rings {
			n += int(r.rings[i].next)
		}
		return n
	}
	before := count()
	f()
	return count() - before
}

func TestMostPoolCallsStayInGuestCode(t *testing.T) {
	r := newRig(t)
	fillMagazine(r)
	const rounds = 160
	for _, c := range []struct {
		allocate, free string
		args           []uint64
	}{
		{"ExAllocatePoolWithTag", "ExFreePoolWithTag", []uint64{512, 32, tagEcho}},
		{"ExAllocatePoolWithTag", "ExFreePoolWithTag", []uint64{1, 32, tagEcho}},
		{"ExAllocatePool", "ExFreePool", []uint64{0, 32}},
		{"ExAllocatePool2", "ExFreePoolWithTag", []uint64{0x40, 32, tagEcho}},
		{"ExAllocatePool2", "ExFreePoolWithTag", []uint64{0x100, 32, tagEcho}},
	} {
		n := r.exits(func() {
			for range rounds {
				r.call(c.free, r.call(c.allocate, c.args...), tagEcho)
			}
		})
		assert.Less(t, n, rounds/4, "%s %d", c.allocate, c.args[0])
	}
}

// Each size up to beyond the largest in a magazine: what is allocated is known to the manager as
// asked for, is aligned, does not overlap what is there, and has all its room.
func TestPoolBlocksFromAMagazine(t *testing.T) {
	r := newRig(t)
	type allocation struct{ at, size uint64 }
	var live []allocation
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		if len(live) > 40 || len(live) > 0 && rnd.IntN(2) == 0 {
			k := rnd.IntN(len(live))
			b := live[k]
			live = slices.Delete(live, k, k+1)
			r.call("ExFreePoolWithTag", b.at, tagEcho)
			info, ok := r.Mm.BlockAt(guest.Addr(b.at))
			require.True(t, ok && info.Freed)
			continue
		}
		size := uint64(1 + rnd.IntN(mm.MaxMagazine+20))
		var a uint64
		if i%2 == 0 {
			a = r.call("ExAllocatePoolWithTag", 512, size, tagEcho)
		} else {
			a = r.call("ExAllocatePool2", 0x40, size, tagEcho)
			require.Equal(t, make([]byte, size), r.read(a, int(size)), "zeroed")
		}
		require.Zero(t, a&15)
		for _, b := range live {
			require.True(t, a+size <= b.at || b.at+b.size <= a, "%#x and %#x overlap", a, b.at)
		}
		info, ok := r.Mm.BlockAt(guest.Addr(a))
		require.True(t, ok)
		require.Equal(t, mm.BlockInfo{Addr: guest.Addr(a), Size: uintptr(size), Tag: tagEcho,
			Pool: mm.NonPaged, Routine: "pool"}, info)
		fill := make([]byte, size)
		for j := range fill {
			fill[j] = byte(i)
		}
		r.write(a, fill)
		live = append(live, allocation{a, size})
	}
	var bytes uint64
	for _, b := range live {
		bytes += b.size
	}
	for _, use := range r.Mm.Outstanding() {
		if use.Tag == tagEcho {
			assert.Equal(t, len(live), use.Blocks)
			assert.EqualValues(t, bytes, use.Bytes)
		}
	}
}

func TestABlockThatIsWrittenAfterItWasFreed(t *testing.T) {
	for _, allocate := range []string{"ExAllocatePoolWithTag", "ExAllocatePool2"} {
		r := newRig(t)
		fillMagazine(r)
		kind := map[string]uint64{"ExAllocatePoolWithTag": 512, "ExAllocatePool2": 0x40}[allocate]
		a := r.call(allocate, kind, 32, tagEcho)
		r.call("ExFreePoolWithTag", a, tagEcho)
		r.write(a+9, []byte{1})
		var err error
		for i := 0; err == nil; i++ {
			require.Less(t, i, 10_000)
			var other uint64
			if other, err = r.callAt(nt.PASSIVE_LEVEL, allocate, kind, 32, tagEcho); err == nil {
				r.call("ExFreePoolWithTag", other, tagEcho)
			}
		}
		var b *ke.Bugcheck
		require.ErrorAs(t, err, &b)
		assert.Equal(t, nt.DRIVER_CAUGHT_MODIFYING_FREED_POOL, b.Code)
		assert.EqualValues(t, a+9, b.Params[0])
	}
}

func TestABlockWithATimerIsNotFreedUnseen(t *testing.T) {
	r := newRig(t)
	for range 40 {
		r.call("ExFreePool", r.call("ExAllocatePoolWithTag", 512, 100, tagEcho))
	}
	timer := r.call("ExAllocatePoolWithTag", 512, 100, tagEcho)
	r.call("KeInitializeTimer", timer)
	inAnHour := -int64(time.Hour / 100)
	r.call("KeSetTimer", timer, uint64(inAnHour), 0)
	_, err := r.callAt(nt.PASSIVE_LEVEL, "ExFreePool", timer)
	var b *ke.Bugcheck
	require.ErrorAs(t, err, &b)
	assert.Equal(t, nt.TIMER_OR_DPC_INVALID, b.Code)
}

// Threads of several processors allocate and free all the time, each also what the others have
// allocated, while DPCs interrupt them.
func TestMagazinesUnderLoad(t *testing.T) {
	const threads, rounds = 4, 20_000
	r := newRigOf(t, newKernel(t, Options{Processors: 3}))
	ended := make(chan error, threads)
	count, dpc := r.mem(8), r.mem(0x40)
	r.call("KeInitializeDpc", dpc, r.routine(incSecond...), count)
	for i := range threads {
		loop := r.guestLoop(
			loopCall{"ExAllocatePoolWithTag", [4]uint64{512, uint64(20 + 30*i), tagEcho}},
			loopCall{"ExFreePoolWithTag", [4]uint64{lastResult, tagEcho}},
			loopCall{"ExAllocatePool2", [4]uint64{0x40, 200, tagOther}},
			loopCall{"ExFreePool", [4]uint64{lastResult}})
		th, err := r.Ke.NewThread(r.Ke.SystemProcess)
		require.NoError(t, err)
		go func() { ended <- th.Do(func() { th.Call(loop, rounds) }) }()
	}
	running := threads
	r.on(func(call func(string, ...uint64) uint64) {
		for i := uint64(0); running > 0; i++ {
			call("KeSetTargetProcessorDpc", dpc, i%3)
			call("KeInsertQueueDpc", dpc, 0, 0)
			call("KeFlushQueuedDpcs")
			select {
			case err := <-ended:
				require.NoError(t, err)
				running--
			default:
			}
		}
	})
	for _, use := range r.Mm.Outstanding() {
		assert.NotContains(t, []mm.Tag{tagEcho, tagOther}, use.Tag)
	}
	require.NoError(t, r.Close())
}

// A driver that writes over its processor's magazine and the pool's records hurts itself only: calls
// give something or end in a bugcheck.
func TestOverwrittenMagazines(t *testing.T) {
	for seed := range uint64(60) {
		r := newRig(t)
		fillMagazine(r)
		rnd := rand.New(rand.NewPCG(seed, 3))
		var live []uint64
		for range 20 {
			live = append(live, r.call("ExAllocatePoolWithTag", 512, 32, tagEcho))
		}
		magazine := r.magazines[0].Addr()
		records := guest.Addr(r.u64(uint64(magazine) + mm.MagazineRecords))
		page := (guest.Addr(live[0]) - guest.Addr(r.u64(uint64(magazine)))) >> 12
		targets := []struct {
			at   guest.Addr
			size int
		}{
			{magazine, mm.MagazineFirst + 96<<mm.ShelfShift},
			{magazine + mm.MagazineFirst, 1 << mm.ShelfShift},
			{records + page<<mm.PageRecordsShift, 1 << mm.PageRecordsShift},
		}
		to := targets[seed%3]
		for range 1 + rnd.IntN(64) {
			v := rnd.Uint64() >> rnd.IntN(64)
			switch rnd.IntN(3) {
			case 0:
				v = live[rnd.IntN(len(live))]
			case 1:
				v = uint64(magazine) + v%(1<<20)
			}
			r.put64(uint64(to.at)+8*uint64(rnd.IntN(to.size/8)), v)
		}
		var err error
		for i := 0; err == nil && i < 400; i++ {
			if len(live) > 0 && rnd.IntN(2) == 0 {
				_, err = r.callAt(nt.PASSIVE_LEVEL, "ExFreePoolWithTag", live[0], tagEcho)
				live = live[1:]
				continue
			}
			var a uint64
			a, err = r.callAt(nt.PASSIVE_LEVEL, "ExAllocatePoolWithTag", 512, 32, tagEcho)
			live = append(live, a)
		}
		var b *ke.Bugcheck
		require.True(t, err == nil || errors.As(err, &b), "seed %d: %v", seed, err)
		r.Mm.Outstanding()
		require.NoError(t, r.Close())
	}
}

func TestATraceNamesWhatTheDriverCalled(t *testing.T) {
	var lines []string
	r := newRigOf(t, newKernel(t, Options{Processors: 1, Trace: func(s string) { lines = append(lines, s) }}))
	fillMagazine(r)
	require.Len(t, lines, 240, "each call is seen")
	assert.Contains(t, lines[0], "ExAllocatePoolWithTag(")
	assert.Contains(t, lines[1], "ExFreePoolWithTag(")
}
