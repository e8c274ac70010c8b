package driverhost_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Corruption: what a driver may scribble on, a bit or a field at a time, and what becomes of it.
// Each case has a host of its own, with a request that pends. The outcome may be anything that has
// a name: success, a status, a bugcheck; but not a panic of the host's Go code, and not a hang.

const (
	// corruptions is how many cases there are, and corruptionSeed from which they are made;
	// DRVHOST_CORRUPTION_SEED takes another, DRVHOST_CORRUPTION_CASE does one case alone.
	corruptions    = 500
	corruptionSeed = 1
	// hang is what counts as one. It is far above what any case takes.
	hang = 30 * time.Second
)

type addresses = fixtures.HarmAddresses

// structure is something that drivers can reach.
type structure struct {
	name string
	at   func(a *addresses) uint64
	// from and to are the bytes that are corrupted, from the address on.
	from, to int
}

const (
	objectHeader = 0x30
	poolHeader   = 0x10
)

var structures = []structure{
	{"IRP", func(a *addresses) uint64 { return a.IRP }, 0, 0xD0},
	{"IO_STACK_LOCATION", func(a *addresses) uint64 { return a.Stack }, 0, 0x48},
	{"pool header of an IRP", func(a *addresses) uint64 { return a.IRP }, -poolHeader, 0},
	{"DEVICE_OBJECT", func(a *addresses) uint64 { return a.Device }, -objectHeader, 0x150},
	{"DRIVER_OBJECT", func(a *addresses) uint64 { return a.Driver }, -objectHeader, 0x150},
	{"FILE_OBJECT", func(a *addresses) uint64 { return a.File }, -objectHeader, 0xD8},
	{"MDL", func(a *addresses) uint64 { return a.MDL }, 0, 0x38},
	{"KEVENT", func(a *addresses) uint64 { return a.Event }, 0, 0x18},
	{"KTIMER", func(a *addresses) uint64 { return a.Timer }, 0, 0x40},
	{"KDPC", func(a *addresses) uint64 { return a.DPC }, 0, 0x40},
	{"ETHREAD", func(a *addresses) uint64 { return a.Thread }, -objectHeader, 0x200},
	{"EPROCESS", func(a *addresses) uint64 { return a.Process }, -objectHeader, 0x200},
	{"KPCR", func(a *addresses) uint64 { return a.PCR }, 0, 0x240},
	{"LIST_ENTRY", func(a *addresses) uint64 { return a.List }, 0, 0x10},
	{"pool header", func(a *addresses) uint64 { return a.Block }, -poolHeader, 0},
	{"IO_WORKITEM", func(a *addresses) uint64 { return a.WorkItem }, -poolHeader, 0x40},
}

// corruption is one change to memory.
type corruption struct {
	what string
	at   guest.Addr
	mask func(old uint64) uint64
	size int
}

func (c corruption) apply() error {
	var b [8]byte
	if err := guest.Read(b[:c.size], c.at); err != nil {
		return err
	}
	v := uint64(0)
	for i := range c.size {
		v |= uint64(b[i]) << (8 * i)
	}
	v = c.mask(v)
	for i := range c.size {
		b[i] = byte(v >> (8 * i))
	}
	return guest.Write(c.at, b[:c.size])
}

// newCorruption chooses one, of half the cases a bit, of the others a field.
func newCorruption(r *rand.Rand, a *addresses) corruption {
	s := structures[r.IntN(len(structures))]
	if r.IntN(2) == 0 {
		at, bit := s.from+r.IntN(s.to-s.from), r.IntN(8)
		return corruption{fmt.Sprintf("bit %d of the byte at %#x of the %s", bit, at, s.name),
			guest.Addr(s.at(a)) + guest.Addr(at), func(old uint64) uint64 { return old ^ 1<<bit }, 1}
	}
	size := []int{1, 2, 4, 8, 8, 8}[r.IntN(6)]
	at := s.from + r.IntN((s.to-s.from)/size)*size
	values := []uint64{0, ^uint64(0), 1, 0x7FFF, 0x8000000000000000, 0x4141414141414141, s.at(a),
		s.at(a) + 8, a.Block, r.Uint64(), 0xFFFFF80000000000, 0x10}
	v := values[r.IntN(len(values))]
	return corruption{fmt.Sprintf("%d bytes at %#x of the %s become %#x", size, at, s.name, v),
		guest.Addr(s.at(a)) + guest.Addr(at), func(uint64) uint64 { return v }, size}
}

// corrupt runs one case and gives the outcome's name.
func corrupt(t *testing.T, r *rand.Rand) (what, outcome string) {
	h, err := driverhost.New(driverhost.Options{Processors: 2, Patience: 20 * time.Millisecond,
		DPCTimeLimit: 200 * time.Millisecond})
	require.NoError(t, err)
	_, err = h.Load(fixture(t, "harm"))
	require.NoError(t, err)
	f, g := drivertest.Open(t, h, `\\.\Harm`), drivertest.Open(t, h, `\\.\Harm`)
	during := r.IntN(2) == 0
	pending := make(chan error, 1)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	if during {
		go func() {
			_, err := g.DeviceIoControl(ctx, fixtures.IOCTL_HARM_PEND, nil, nil)
			pending <- err
		}()
		eventually(t, "pended", func() bool { return h.Kernel.IO.Outstanding() == 1 })
	} else {
		pending <- nil
	}
	out := make([]byte, fixtures.HarmAddressesSize)
	_, err = f.DeviceIoControl(background, fixtures.IOCTL_HARM_TELL, nil, out)
	require.NoError(t, err)
	a, err := fixtures.ParseHarmAddresses(out)
	require.NoError(t, err)
	c := newCorruption(r, &a)
	what = "between requests: " + c.what
	if during {
		what = "during a request: " + c.what
	}
	if err := c.apply(); err != nil {
		what += " (not mapped)"
	}
	var ends []string
	note := func(err error) {
		var crash *ke.Bugcheck
		var status nt.Status
		switch {
		case err == nil:
			ends = append(ends, "success")
		case errors.As(err, &crash):
			ends = append(ends, crash.Code.String())
		case errors.As(err, &status):
			ends = append(ends, status.String())
		default:
			t.Errorf("%s: an outcome without a name: %v", what, err)
		}
	}
	_, err = f.DeviceIoControl(background, fixtures.IOCTL_HARM_USE, nil, nil)
	note(err)
	_, err = f.DeviceIoControl(background, fixtures.IOCTL_HARM_RELEASE, nil, nil)
	note(err)
	if err != nil {
		cancel() // the driver was not told to complete it
	}
	err = <-pending
	note(err)
	_, err = f.DeviceIoControl(background, fixtures.IOCTL_HARM_NONE, nil, out)
	note(err)
	note(g.Close())
	note(f.Close())
	_, err = h.Close()
	if b := h.Kernel.Crashed(); b != nil {
		ends = []string{b.Code.String()}
		if b.Code == ke.HostFault {
			t.Errorf("%s: %v\n%s", what, b, b.HostStack)
		}
	} else if err != nil {
		ends = append(ends, "at the end: "+err.Error())
	}
	return what, strings.Join(slices.Compact(ends), ", ")
}

func TestCorruptedStructuresHaveNamedOutcomes(t *testing.T) {
	number := func(name string, v uint64) uint64 {
		if s := os.Getenv(name); s != "" {
			var err error
			v, err = strconv.ParseUint(s, 0, 64)
			require.NoError(t, err)
		}
		return v
	}
	seed := number("DRVHOST_CORRUPTION_SEED", corruptionSeed)
	t.Logf("seed %d", seed)
	first, n := 0, corruptions
	if testing.Short() {
		n /= 10
	}
	if only := number("DRVHOST_CORRUPTION_CASE", corruptions); only < corruptions {
		first, n = int(only), int(only)+1
	}
	outcomes := make(map[string]int)
	for i := first; i < n; i++ {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		var what, outcome string
		done := make(chan struct{})
		go func() {
			defer close(done)
			what, outcome = corrupt(t, r)
		}()
		select {
		case <-done:
		case <-time.After(hang):
			t.Fatalf("seed %d, case %d hangs", seed, i)
		}
		if testing.Verbose() {
			t.Logf("%d: %s: %s", i, what, outcome)
		}
		outcomes[outcome]++
	}
	var names []string
	for name, n := range outcomes {
		names = append(names, fmt.Sprintf("%4d %s", n, name))
	}
	slices.Sort(names)
	t.Log("outcomes:\n" + strings.Join(names, "\n"))
}
