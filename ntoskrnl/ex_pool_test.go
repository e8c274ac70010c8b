package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

const (
	tagEcho  = 0x6F686345 // "Echo" as memory shows it
	tagOther = 0x7268744F // "Othr"
)

func TestPoolAllocations(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name string
		args []uint64
		pool mm.Pool
		tag  string
		zero bool
	}{
		{"ExAllocatePool", []uint64{0, 100}, mm.NonPagedExecute, "None", false},
		{"ExAllocatePoolWithTag", []uint64{1, 100, tagEcho}, mm.Paged, "Echo", false},
		{"ExAllocatePoolWithTag", []uint64{512, 100, tagEcho}, mm.NonPaged, "Echo", false},
		{"ExAllocatePoolWithTag", []uint64{512 | 1024, 100, tagEcho}, mm.NonPaged, "Echo", true},
		{"ExAllocatePoolWithTagPriority", []uint64{512, 100, tagEcho, 32}, mm.NonPaged, "Echo", false},
		{"ExAllocatePoolWithQuota", []uint64{1, 100}, mm.Paged, "None", false},
		{"ExAllocatePoolWithQuotaTag", []uint64{512 | 8, 100, tagEcho}, mm.NonPaged, "Echo", false},
		{"ExAllocatePool2", []uint64{0x40, 100, tagEcho}, mm.NonPaged, "Echo", true},
		{"ExAllocatePool2", []uint64{0x100, 100, tagEcho}, mm.Paged, "Echo", true},
		{"ExAllocatePool2", []uint64{0x80, 100, tagEcho}, mm.NonPagedExecute, "Echo", true},
		{"ExAllocatePool3", []uint64{0x40, 100, tagEcho, 0, 0}, mm.NonPaged, "Echo", true},
	} {
		a := r.call(c.name, c.args...)
		b, ok := r.Mm.BlockAt(guest.Addr(a))
		require.True(t, ok, c.name)
		require.Equal(t, c.pool, b.Pool, c.name)
		require.Equal(t, c.tag, b.Tag.String(), c.name)
		require.EqualValues(t, 100, b.Size, c.name)
		if c.zero {
			require.Equal(t, make([]byte, 100), r.read(a, 100), c.name)
		}
		free := "ExFreePool"
		args := []uint64{a}
		switch c.tag {
		case "Echo":
			free, args = "ExFreePoolWithTag", []uint64{a, tagEcho}
		}
		if c.name == "ExAllocatePool3" {
			free, args = "ExFreePool2", []uint64{a, tagEcho, 0, 0}
		}
		r.call(free, args...)
		b, _ = r.Mm.BlockAt(guest.Addr(a))
		require.True(t, b.Freed, free)
	}
}

func TestPoolFailuresAreNull(t *testing.T) {
	r := newRig(t)
	const tooMuch = 1 << 40
	for name, args := range map[string][]uint64{
		"ExAllocatePoolWithTag":         {512, tooMuch, tagEcho},
		"ExAllocatePool":                {512, tooMuch},
		"ExAllocatePoolWithTagPriority": {512, tooMuch, tagEcho, 0},
		"ExAllocatePoolWithQuotaTag":    {512 | 8, tooMuch, tagEcho},
		"ExAllocatePool2":               {0x40, tooMuch, tagEcho},
	} {
		require.Zero(t, r.call(name, args...), name)
	}
	require.Zero(t, r.call("ExAllocatePool2", 0x40, 0, tagEcho), "no bytes")
	require.Zero(t, r.call("ExAllocatePool2", 0x40, 1, 0), "no tag")
	require.Zero(t, r.call("ExAllocatePool2", 0x140, 1, tagEcho), "two pools")
	param := r.mem(16)
	r.put64(param, 3) // a parameter that is neither a priority nor optional
	require.Zero(t, r.call("ExAllocatePool3", 0x40, 1, tagEcho, param, 1))
	r.put64(param, 3|1<<8)
	a := r.call("ExAllocatePool3", 0x40, 1, tagEcho, param, 1)
	require.NotZero(t, a)
	r.call("ExFreePool", a)
}

func TestPoolFailuresThatRaise(t *testing.T) {
	const tooMuch = 1 << 40
	for _, c := range []struct {
		name string
		args []uint64
	}{
		{"ExAllocatePoolWithTag", []uint64{512 | 16, tooMuch, tagEcho}},
		{"ExAllocatePoolWithQuotaTag", []uint64{512, tooMuch, tagEcho}},
		{"ExAllocatePoolWithQuota", []uint64{512, tooMuch}},
		{"ExAllocatePool2", []uint64{0x60, tooMuch, tagEcho}},
	} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, c.name, func(*driverRig) []uint64 { return c.args })
		require.Equal(t, uint64(nt.STATUS_INSUFFICIENT_RESOURCES), b.Params[0], c.name)
	}
}

func TestPoolMisuseStopsTheSystem(t *testing.T) {
	allocated := func(r *driverRig) uint64 { return r.call("ExAllocatePoolWithTag", 512, 32, tagEcho) }
	for _, c := range []struct {
		fact string
		irql nt.IRQL
		name string
		args func(r *driverRig) []uint64
		code nt.BugCheck
		kind uint64
	}{
		{"freed twice", nt.PASSIVE_LEVEL, "ExFreePool", func(r *driverRig) []uint64 {
			a := allocated(r)
			r.call("ExFreePool", a)
			return []uint64{a}
		}, nt.BAD_POOL_CALLER, 0x07},
		{"freed with another tag", nt.PASSIVE_LEVEL, "ExFreePoolWithTag",
			func(r *driverRig) []uint64 { return []uint64{allocated(r), tagOther} },
			nt.BAD_POOL_CALLER, 0x0A},
		{"written past its end", nt.PASSIVE_LEVEL, "ExFreePoolWithTag",
			func(r *driverRig) []uint64 {
				a := allocated(r)
				r.write(a+32, []byte{0})
				return []uint64{a, tagEcho}
			}, nt.BAD_POOL_HEADER, 0x20},
		{"never allocated", nt.PASSIVE_LEVEL, "ExFreePool",
			func(r *driverRig) []uint64 { return []uint64{r.mem(16)} }, nt.BAD_POOL_CALLER, 0x43},
		{"paged pool at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "ExAllocatePoolWithTag",
			func(*driverRig) []uint64 { return []uint64{1, 32, tagEcho} }, nt.BAD_POOL_CALLER, 0x08},
		{"paged pool at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "ExAllocatePool2",
			func(*driverRig) []uint64 { return []uint64{0x100, 32, tagEcho} }, nt.BAD_POOL_CALLER, 0x08},
		{"paged pool freed at DISPATCH_LEVEL", nt.DISPATCH_LEVEL, "ExFreePool",
			func(r *driverRig) []uint64 {
				return []uint64{r.call("ExAllocatePoolWithTag", 1, 32, tagEcho)}
			}, nt.BAD_POOL_CALLER, 0x09},
		{"no tag", nt.PASSIVE_LEVEL, "ExAllocatePoolWithTag",
			func(*driverRig) []uint64 { return []uint64{512, 32, 0} }, nt.BAD_POOL_CALLER, 0x9B},
	} {
		for place, prepare := range map[string]func(*driverRig){
			"in Go": func(*driverRig) {}, "with a magazine": fillMagazine,
		} {
			b := bugcheck(t, c.irql, c.name, func(r *driverRig) []uint64 {
				prepare(r)
				return c.args(r)
			})
			require.Equal(t, c.code, b.Code, "%s, %s", c.fact, place)
			require.Equal(t, c.kind, b.Params[0], "%s, %s", c.fact, place)
		}
	}
}

func TestPoolAtDispatchLevel(t *testing.T) {
	r := newRig(t)
	a, err := r.callAt(nt.DISPATCH_LEVEL, "ExAllocatePoolWithTag", 512, 32, tagEcho)
	require.NoError(t, err)
	_, err = r.callAt(nt.DISPATCH_LEVEL, "ExFreePoolWithTag", a, tagEcho)
	require.NoError(t, err)
}
