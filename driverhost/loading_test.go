package driverhost_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Loading and unloading, one driver and several.

// printed collects what drivers print.
type printed struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *printed) option() drivertest.Option {
	return drivertest.Print(func(text string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.text.WriteString(text)
	})
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func TestHelloPrintsWhatItShould(t *testing.T) {
	var out printed
	h := drivertest.New(t, out.option())
	d := drivertest.LoadInto(t, h, fixture(t, "hello"))
	left, err := h.Unload(d)
	require.NoError(t, err)
	assert.Empty(t, left)
	for _, line := range fixtures.HelloLines {
		assert.Contains(t, out.String(), line+"\n")
	}
	assert.Contains(t, out.String(), `hello: registry path \Registry\Machine\System\CurrentControlSet\Services\hello`)
	assert.Contains(t, out.String(), `hello: unload of \Driver\hello`)
	assert.Empty(t, h.Kernel.Drivers())
}

// state is what a host holds that loads and unloads must give back.
type state struct {
	objects, modules, irps int
	links                  int
	use                    mm.MemoryUse
	space                  guest.Stats
	pool                   string
}

func stateOf(t *testing.T, h *driverhost.Host) state {
	space, err := guest.Default()
	require.NoError(t, err)
	k := h.Kernel
	s := state{objects: len(k.Ob.Outstanding()), modules: len(k.Linker.Modules()),
		irps: k.IO.Outstanding(), links: len(k.Ob.Links(`\GLOBAL??`)), use: k.Mm.Use(),
		space: space.Stats(), pool: fmt.Sprint(k.DriverPool())}
	// Pages of small blocks come and go with what else is on them.
	s.use.NonPagedPool, s.use.PagedPool = 0, 0
	return s
}

func TestADriverThatRefusesLeavesNothingBehind(t *testing.T) {
	h := drivertest.New(t, drivertest.MayLeave())
	var before state
	for i := range 5 {
		if i == 1 {
			before = stateOf(t, h)
		}
		_, err := h.Load(fixture(t, "refuse"))
		var refused *ntoskrnl.EntryError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, nt.STATUS_DEVICE_CONFIGURATION_ERROR, refused.Status,
			"the same status each time: its device and its link are gone")
	}
	after := stateOf(t, h)
	pool := h.Kernel.DriverPool()
	require.Len(t, pool, 1, "but for the driver's own leak, which is told")
	assert.Equal(t, "FxRf", pool[0].Tag.String())
	assert.EqualValues(t, 5*4096, pool[0].Bytes)
	before.pool, after.pool = "", ""
	assert.Equal(t, before, after)
	_, err := h.Open(`\\.\Refuse`, driverhost.OpenOptions{})
	assert.ErrorIs(t, err, nt.STATUS_OBJECT_NAME_NOT_FOUND)
}

func TestLoadUseAndUnloadLeaveNothingBehind(t *testing.T) {
	for _, name := range []string{"echo", "bench", "hello"} {
		t.Run(name, func(t *testing.T) {
			h := drivertest.New(t)
			var before state
			for i := range 6 {
				d := drivertest.LoadInto(t, h, fixture(t, name))
				_, links := h.Names(d)
				for _, link := range links {
					f, err := h.Open(link, driverhost.OpenOptions{})
					require.NoError(t, err)
					_, _ = f.Write(pattern(1000, 1))
					_, _ = f.Read(make([]byte, 1000))
					_, _ = f.DeviceIoControl(background, fixtures.IOCTL_ECHO_OUT_DIRECT,
						pattern(9000, 1), make([]byte, 9000))
					_, err = h.Unload(d)
					var busy *driverhost.BusyError
					require.ErrorAs(t, err, &busy)
					assert.Equal(t, 1, busy.Opens)
					require.NoError(t, f.Close())
				}
				left, err := h.Unload(d)
				require.NoError(t, err)
				assert.Empty(t, left)
				if i == 1 {
					before = stateOf(t, h)
				}
			}
			assert.Equal(t, before, stateOf(t, h))
		})
	}
}

func TestANewHostAndItsEndLeaveNothingBehind(t *testing.T) {
	space, err := guest.Default()
	require.NoError(t, err)
	fds := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	var regions guest.Stats
	var open int
	for i := range 4 {
		h, err := driverhost.New(driverhost.Options{})
		require.NoError(t, err)
		_, err = h.Load(fixture(t, "echo"))
		require.NoError(t, err)
		f, err := h.Open(`\\.\Echo`, driverhost.OpenOptions{})
		require.NoError(t, err)
		_, err = f.Write([]byte("left open"))
		require.NoError(t, err)
		report, err := h.Close()
		require.NoError(t, err)
		assert.Empty(t, report.Stuck)
		assert.Empty(t, report.Left)
		assert.Empty(t, report.Pool)
		assert.ErrorIs(t, f.Close(), driverhost.ErrClosed)
		_, err = f.Write(nil)
		assert.ErrorIs(t, err, driverhost.ErrClosed)
		_, err = h.Open(`\\.\Echo`, driverhost.OpenOptions{})
		assert.ErrorIs(t, err, driverhost.ErrClosed)
		_, err = h.Load(fixture(t, "hello"))
		assert.ErrorIs(t, err, driverhost.ErrClosed)
		if i == 0 {
			regions, open = space.Stats(), fds()
		}
	}
	assert.Equal(t, regions, space.Stats())
	assert.Equal(t, open, fds())
}

func TestTwoDriversThatWantTheSameBaseAreBothLoaded(t *testing.T) {
	h := drivertest.New(t)
	a := h.Describe(drivertest.LoadInto(t, h, fixture(t, "base_a")))
	b := h.Describe(drivertest.LoadInto(t, h, fixture(t, "base_b")))
	assert.Equal(t, a.PreferredBase, b.PreferredBase)
	assert.NotEqual(t, a.Base, b.Base)
	assert.True(t, b.Relocated)
}

func TestADriverImportsFromAnother(t *testing.T) {
	var out printed
	h := drivertest.New(t, out.option())
	lib := drivertest.LoadInto(t, h, fixture(t, "exportlib"))
	user := drivertest.LoadInto(t, h, fixture(t, "importer"))
	assert.Empty(t, user.Missing)
	assert.Contains(t, out.String(), "importer: printed through the forwarder")
	_, err := h.Unload(lib)
	var busy *driverhost.BusyError
	require.ErrorAs(t, err, &busy, "while the other one is loaded")
	assert.Equal(t, "importer.sys", busy.Importer)
	_, err = h.Unload(user)
	require.NoError(t, err)
	_, err = h.Unload(lib)
	require.NoError(t, err)
}

func TestADriverWithoutUnloadStays(t *testing.T) {
	h := drivertest.New(t)
	d := drivertest.LoadInto(t, h, fixture(t, "noun"))
	_, err := h.Unload(d)
	assert.ErrorIs(t, err, ntoskrnl.ErrNoUnload)
	f, err := h.Open(`\\.\Noun`, driverhost.OpenOptions{})
	require.NoError(t, err, "and still works")
	require.NoError(t, f.Close())
	report, err := h.Close()
	require.NoError(t, err)
	assert.Equal(t, []string{"noun"}, report.NoUnload)
}

func TestTheSameServiceIsLoadedOnce(t *testing.T) {
	h := drivertest.New(t)
	drivertest.LoadInto(t, h, fixture(t, "hello"))
	_, err := h.Load(fixture(t, "hello"))
	require.Error(t, err)
	assert.Len(t, h.Kernel.Drivers(), 1)
}

func TestADriverThatUnloadsTwiceDoesSoOnce(t *testing.T) {
	h := loadEcho(t)
	d := h.Kernel.Drivers()[0]
	var mu sync.Mutex
	done := 0
	parallel(4, func(int) {
		if _, err := h.Unload(d); err == nil {
			mu.Lock()
			done++
			mu.Unlock()
		}
	})
	assert.Equal(t, 1, done)
}

func TestOpensRaceUnload(t *testing.T) {
	for range 20 {
		h := drivertest.New(t)
		d := drivertest.LoadInto(t, h, fixture(t, "echo"))
		parallel(3, func(i int) {
			if i == 0 {
				for {
					_, err := h.Unload(d)
					var busy *driverhost.BusyError
					if err == nil {
						return
					}
					if !assert.ErrorAs(t, err, &busy) {
						return
					}
					time.Sleep(20 * time.Microsecond)
				}
			}
			for {
				f, err := h.Open(`\\.\Echo`, driverhost.OpenOptions{})
				if err != nil {
					return
				}
				_, err = f.Write([]byte("x"))
				assert.NoError(t, err)
				assert.NoError(t, f.Close())
			}
		})
		assert.Nil(t, h.Crashed())
	}
}

func TestASecondHostDoesNotGetANameThatTheFirstHas(t *testing.T) {
	first := loadEcho(t)
	dir := serve(t, first)
	check := func(err error, h *driverhost.Host) {
		t.Helper()
		var claimed *wire.ClaimedError
		require.ErrorAs(t, err, &claimed)
		assert.Equal(t, os.Getpid(), claimed.PID)
		assert.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
		assert.ErrorContains(t, err, `\\.\Echo`)
	}
	sockets := func() int {
		list, err := filepath.Glob(filepath.Join(dir, "hosts", "*"))
		require.NoError(t, err)
		return len(list)
	}
	t.Run("when it listens", func(t *testing.T) {
		second := loadEcho(t)
		check(second.Listen(dir), second)
		assert.Equal(t, 1, sockets())
		assert.Error(t, second.Serve())
		f, err := second.Open(`\\.\Echo`, driverhost.OpenOptions{})
		require.NoError(t, err, "in its own process it works")
		require.NoError(t, f.Close())
		_, err = second.Unload(second.Kernel.Drivers()[0])
		assert.NoError(t, err)
	})
	t.Run("when it loads the driver", func(t *testing.T) {
		second := drivertest.Load(t, fixture(t, "bench"))
		require.NoError(t, second.Listen(dir))
		served := make(chan error, 1)
		go func() { served <- second.Serve() }()
		_, err := second.Load(fixture(t, "echo"))
		check(err, second)
		assert.Len(t, second.Kernel.Drivers(), 1, "the driver is unloaded again")
		f, err := client.Open(`\\.\BenchDrv`, client.RuntimeDir(dir))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		_, err = second.Close()
		require.NoError(t, err)
		require.NoError(t, <-served)
		assert.Equal(t, 1, sockets())
	})
	f, err := client.Open(`\\.\Echo`, client.RuntimeDir(dir))
	require.NoError(t, err, "the first one has kept its own")
	require.NoError(t, f.Close())
}

func TestLinksFollowTheDrivers(t *testing.T) {
	h := drivertest.New(t)
	dir := serve(t, h)
	names := func() (all []string) {
		list, err := wire.List(dir)
		require.NoError(t, err)
		for _, d := range list {
			all = append(all, d.Name)
		}
		return all
	}
	assert.Empty(t, names())
	d := drivertest.LoadInto(t, h, fixture(t, "echo"))
	assert.Equal(t, []string{"ECHO", "ECHODIRECT", "ECHOEXCLUSIVE", "ECHONEITHER"}, names())
	_, err := h.Unload(d)
	require.NoError(t, err)
	assert.Empty(t, names())
	_, err = h.Load(fixture(t, "refuse"))
	require.Error(t, err)
	assert.Empty(t, names(), "nor of a driver that refuses")
}
