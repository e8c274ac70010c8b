package irp

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// rig is an I/O manager with drivers written in Go: each routine of theirs is a thunk in guest memory
// that comes straight back to a Go function.
type rig struct {
	*Manager
	t        testing.TB
	ke       *ke.System
	devices  *devobj.Manager
	code     *guest.Region
	window   *mm.Window
	process  *ke.Process
	routines []routine
}

// routine is a routine of a driver: it gets the first arguments, and gives what goes to RAX.
type routine func(t *ke.Thread, a, b, c guest.Addr) uint64

// The layout of the page of code: the gates' addresses, the trampoline, and thunks.
const (
	rigTrampoline = 0x10
	rigThunks     = 0x20
	rigThunkSize  = 16
	rigRoutines   = 128
)

func newRig(t testing.TB) *rig {
	space, err := guest.Default()
	require.NoError(t, err)
	cpu, err := native.New()
	require.NoError(t, err)
	memory, err := mm.New(space, mm.Config{RAM: 64 << 20})
	require.NoError(t, err)
	r := &rig{t: t}
	r.code, err = space.AllocSystem(guest.PageSize, guest.ProtRWX, "thunks of a test")
	require.NoError(t, err)
	code := make([]byte, rigThunks+rigThunkSize*rigRoutines)
	le := binary.LittleEndian
	le.PutUint64(code, uint64(cpu.Gates().Call))
	le.PutUint64(code[8:], uint64(cpu.Gates().Return))
	jump := func(at, gate int) { // jmp [gate]
		code[at], code[at+1] = 0xFF, 0x25
		le.PutUint32(code[at+2:], uint32(gate-at-6))
	}
	jump(rigTrampoline, 8)
	for i := range rigRoutines {
		at := rigThunks + rigThunkSize*i
		code[at] = 0xB8 // mov eax, i
		le.PutUint32(code[at+1:], uint32(i))
		jump(at+5, 0)
	}
	require.NoError(t, guest.Write(r.code.Base(), code))
	tag := mm.MakeTag("Test")
	alloc := func(size uintptr) (guest.Addr, error) {
		return memory.AllocatePool2(nt.POOL_FLAG_NON_PAGED, size, tag)
	}
	free := func(a guest.Addr) { _ = memory.FreePoolWithTag(a, tag) }
	r.ke, err = ke.New(ke.Config{CPU: cpu, Space: space, Processors: 2, Alloc: alloc, Free: free,
		Export: func(t *ke.Thread, index uint32) {
			g := &t.Context().GPR
			g[engine.RAX] = r.routines[index](t, guest.Addr(g[engine.RCX]), guest.Addr(g[engine.RDX]),
				guest.Addr(g[engine.R8]))
		},
		Fault: func(t *ke.Thread, f *engine.Fault) {
			t.Bugcheck(nt.UNEXPECTED_KERNEL_MODE_TRAP, uint64(f.Vector), f.Addr, 0, 0)
		},
		Trampoline: r.code.Base() + rigTrampoline})
	require.NoError(t, err)
	r.devices = devobj.New(ob.New(alloc, free), alloc, free)
	r.Manager = New(space, memory, r.devices)
	r.window, err = memory.NewWindow(0, "test")
	require.NoError(t, err)
	r.process, err = r.ke.NewProcess(100, "test")
	require.NoError(t, err)
	t.Cleanup(func() {
		r.ke.Close()
		require.NoError(t, r.Close())
		require.NoError(t, memory.Close())
		require.NoError(t, r.code.Free())
	})
	return r
}

// add makes a routine of a driver, and gives its address.
func (r *rig) add(f routine) guest.Addr {
	require.Less(r.t, len(r.routines), rigRoutines)
	r.routines = append(r.routines, f)
	return r.code.Base() + rigThunks + rigThunkSize*guest.Addr(len(r.routines)-1)
}

// driver makes a driver that handles every major function with f.
func (r *rig) driver(name string, f routine) *devobj.Driver {
	d, err := r.devices.CreateDriver(devobj.DriverInfo{Service: name, DefaultDispatch: r.add(f)})
	require.NoError(r.t, err)
	r.devices.Initialized(d)
	return d
}

// device makes a device of the driver, ready to be opened.
func (r *rig) device(d *devobj.Driver, name string) *devobj.Device {
	dev, status := r.devices.CreateDevice(d, devobj.DeviceInfo{Name: name})
	require.Equal(r.t, nt.STATUS_SUCCESS, status)
	r.devices.Initialized(d)
	return dev
}

// complete completes an IRP as a driver does.
func (r *rig) complete(t *ke.Thread, irp guest.Addr, status nt.Status, information uint64) nt.Status {
	i := at(irp)
	i.IoStatus.Status, i.IoStatus.Information = status, uintptr(information)
	r.Complete(t, irp)
	return status
}

// at gives an IRP in place, and current its current stack location.
func at(irp guest.Addr) *nt.IRP { return guest.Ptr[nt.IRP](irp).Ref() }

func current(irp guest.Addr) *nt.IOStackLocation {
	return guest.Ptr[nt.IOStackLocation](at(irp).Tail.Overlay.CurrentStackLocation).Ref()
}

// next gives the stack location below the current one: IoGetNextIrpStackLocation.
func next(irp guest.Addr) *nt.IOStackLocation {
	a := at(irp).Tail.Overlay.CurrentStackLocation - nt.IOStackLocationSize
	return guest.Ptr[nt.IOStackLocation](a).Ref()
}

// forward does IoCopyCurrentIrpStackLocationToNext, IoSetCompletionRoutine and IoCallDriver.
func (r *rig) forward(t *ke.Thread, irp guest.Addr, to *devobj.Device, completion guest.Addr,
	control uint8) nt.Status {
	n := next(irp)
	*n = *current(irp)
	n.CompletionRoutine, n.Context, n.Control = completion, 0x77, control
	return r.Call(t, to.Object.Addr(), irp)
}

// do runs f on a new thread of the process, and gives the bugcheck that ended it, or nil.
func (r *rig) do(f func(t *ke.Thread)) *ke.Bugcheck {
	r.t.Helper()
	t, err := r.ke.NewThread(r.process)
	require.NoError(r.t, err)
	defer t.Release()
	err = t.Do(func() { f(t) })
	var b *ke.Bugcheck
	if errors.As(err, &b) {
		return b
	}
	require.NoError(r.t, err)
	return nil
}

// testClient is the client of a request.
type testClient struct {
	out  []byte
	done chan struct{}
}

func (c *testClient) Out(*Request) []byte { return c.out }
func (c *testClient) Done(*Request)       { c.done <- struct{}{} }

// request makes a request of a file with output memory of its own.
func request(o *Open, major nt.MajorFunction, in []byte, out int) (*Request, *testClient) {
	c := &testClient{out: make([]byte, out), done: make(chan struct{}, 1)}
	return &Request{Open: o, Major: major, In: in, OutLen: out, Client: c, Offset: FilePosition}, c
}

// open opens a device on thread t.
func (r *rig) open(t *ke.Thread, dev *devobj.Device) *Open {
	r.t.Helper()
	const all = nt.FILE_READ_DATA | nt.FILE_WRITE_DATA
	o, status, _ := r.Create(t, dev, r.window, OpenInfo{OpenInfo: devobj.OpenInfo{Access: all,
		Options: nt.FILE_SYNCHRONOUS_IO_NONALERT}})
	require.Equal(r.t, nt.STATUS_SUCCESS, status)
	return o
}

// close closes a file whose requests have ended.
func (r *rig) close(t *ke.Thread, o *Open) {
	r.Cleanup(t, o)
	require.True(r.t, r.Release(o, func() {}))
	r.CloseFile(t, o)
}
