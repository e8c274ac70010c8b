package ntoskrnl

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/pe"
)

// asked is a ServiceControl that notes what it is asked, and fails.
type asked struct {
	k      *Kernel
	status nt.Status

	mu    sync.Mutex
	names []string
}

func (a *asked) note(what string) nt.Status {
	// The one processor is free while the driver waits.
	t, err := a.k.Ke.NewThread(a.k.Ke.SystemProcess)
	if err != nil {
		return nt.STATUS_UNSUCCESSFUL
	}
	defer t.Release()
	if err := t.Do(func() {}); err != nil {
		return nt.STATUS_UNSUCCESSFUL
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names = append(a.names, what)
	return a.status
}

func (a *asked) LoadService(name string) nt.Status   { return a.note("load " + name) }
func (a *asked) UnloadService(name string) nt.Status { return a.note("unload " + name) }

func TestWhoControlsServicesIsAskedByName(t *testing.T) {
	a := &asked{status: nt.STATUS_DRIVER_BLOCKED}
	k := newKernel(t, Options{Processors: 1, Services: a})
	a.k = k
	r := newRigOf(t, k)
	_, _, status := k.Registry().Create(nil, Services+"There", cm.CreateOptions{Parents: true})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	for _, path := range []string{Services + "Unknown here", `\REGISTRY\machine\system\CurrentControlSet` +
		`\SERVICES\there`, `\Registry\Machine\System\ControlSet001\Services\There`} {
		assert.Equal(t, nt.STATUS_DRIVER_BLOCKED, r.status("ZwLoadDriver", r.ustr(path, 0)))
		assert.Equal(t, nt.STATUS_DRIVER_BLOCKED, r.status("ZwUnloadDriver", r.ustr(path, 0)))
	}
	assert.Equal(t, []string{"load Unknown here", "unload Unknown here", "load there", "unload there",
		"load There", "unload There"}, a.names)
	a.status = nt.STATUS_PENDING
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwUnloadDriver", r.ustr(Services+"There", 0)),
		"it is marked")
}

func TestImagesThatTheHostRefuses(t *testing.T) {
	k := newKernel(t, Options{Processors: 1, FailMissing: true, CheckImage: func(img *pe.Image) error {
		if img.Name == "hello.sys" {
			return errors.New("not signed")
		}
		return nil
	}})
	r := newRigOf(t, k)
	for _, c := range []struct {
		fixture string
		want    nt.Status
	}{
		{"hello", nt.STATUS_INVALID_IMAGE_HASH},
		{"missing", nt.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND},
	} {
		key, _, status := k.Registry().Create(nil, Services+c.fixture, cm.CreateOptions{Parents: true})
		require.Equal(t, nt.STATUS_SUCCESS, status)
		require.Equal(t, nt.STATUS_SUCCESS, key.Set("Type", nt.REG_DWORD, cm.DWord(1)))
		require.Equal(t, nt.STATUS_SUCCESS, key.Set("ImagePath", nt.REG_EXPAND_SZ,
			cm.SZ(`\??\`+fixture(t, c.fixture))))
		assert.Equal(t, c.want, r.status("ZwLoadDriver", r.ustr(Services+c.fixture, 0)), c.fixture)
	}
	assert.Empty(t, k.Drivers())
}

func TestLoadsAreForPassiveLevel(t *testing.T) {
	for _, name := range []string{"ZwLoadDriver", "ZwUnloadDriver"} {
		b := bugcheck(t, nt.APC_LEVEL, name, func(r *driverRig) []uint64 {
			return []uint64{r.ustr(Services+"Any", 0)}
		})
		assert.Equal(t, nt.IRQL_NOT_LESS_OR_EQUAL, b.Code, name)
	}
}

func TestANameThatCannotBeReadIsTheCallersFault(t *testing.T) {
	for _, name := range []string{"ZwLoadDriver", "ZwUnloadDriver"} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, name, func(*driverRig) []uint64 { return []uint64{8} })
		assert.NotZero(t, b.Code, name)
	}
}
