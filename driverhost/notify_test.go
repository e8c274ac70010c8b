package driverhost

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
)

// Client processes and their threads, as drivers are told of them.

// notifications is a routine in guest memory that counts its calls and keeps the last one's
// arguments.
type notifications struct {
	t       *testing.T
	h       *Host
	routine guest.Addr
	at      guest.Addr
}

// watch registers such a routine with an export; args follow it.
func watch(t *testing.T, h *Host, export string, status nt.Status, args ...uint64) *notifications {
	space, err := guest.Default()
	require.NoError(t, err)
	data, err := space.AllocSystem(guest.PageSize, guest.ProtRW, "arguments")
	require.NoError(t, err)
	text, err := space.AllocSystem(guest.PageSize, guest.ProtRW, "a routine of a test")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, text.Free()); assert.NoError(t, data.Free()) })
	code := append([]byte{0x48, 0xB8}, binary.LittleEndian.AppendUint64(nil, uint64(data.Base()))...)
	code = append(code,
		0x48, 0x89, 0x08, // mov [rax], rcx
		0x48, 0x89, 0x50, 0x08, // mov [rax+8], rdx
		0x4C, 0x89, 0x40, 0x10, // mov [rax+10h], r8
		0x48, 0xFF, 0x40, 0x18) // inc qword [rax+18h]
	if status != nt.STATUS_SUCCESS {
		// test r8, r8; jz over; mov dword [r8+40h], status
		code = append(code, 0x4D, 0x85, 0xC0, 0x74, 0x08, 0x41, 0xC7, 0x40, 0x40)
		code = binary.LittleEndian.AppendUint32(code, uint32(status))
	}
	copy(text.Bytes(), append(code, 0xC3))
	require.NoError(t, text.Protect(0, text.Size(), guest.ProtRX))
	n := &notifications{t: t, h: h, routine: text.Base(), at: data.Base()}
	assert.Equal(t, nt.STATUS_SUCCESS, n.call(export, args...))
	return n
}

// call calls an export with the routine and what follows.
func (n *notifications) call(export string, args ...uint64) (status nt.Status) {
	kernel, ok := n.h.Kernel.Linker.Module("ntoskrnl.exe")
	require.True(n.t, ok)
	e, ok := kernel.LookupExport(export)
	require.True(n.t, ok, export)
	th, err := n.h.Kernel.Ke.NewThread(n.h.Kernel.Ke.SystemProcess)
	require.NoError(n.t, err)
	defer th.Release()
	require.NoError(n.t, th.Do(func() {
		all := append([]uint64{uint64(n.routine)}, args...)
		status = nt.Status(th.Call(e.Addr, all...))
	}))
	return status
}

// last gives the number of calls and the arguments of the last one.
func (n *notifications) last() (count uint64, args [3]uint64) {
	var w [4]uint64
	require.NoError(n.t, guest.ReadSlice(w[:], n.at))
	return w[3], [3]uint64(w[:3])
}

// echoHost loads the echo driver into a host.
func echoHost(t *testing.T) *Host {
	h, err := New(Options{Processors: 2})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := h.Close()
		require.NoError(t, err)
	})
	path, err := fixtures.Path("echo")
	require.NoError(t, err)
	_, err = h.Load(path)
	require.NoError(t, err)
	return h
}

// openAs opens the device as a client process would.
func openAs(h *Host, pid int) (*session, nt.Status, error) {
	s, status, _, err := h.openSession(opening{client: client{pid: pid}, name: "Echo",
		program: func() string { return "program" },
		info: irp.OpenInfo{Disposition: uint8(nt.FILE_OPEN),
			OpenInfo: devobj.OpenInfo{Access: nt.FILE_GENERIC_READ}}})
	return s, status, err
}

func TestDriversAreToldOfClients(t *testing.T) {
	h := echoHost(t)
	processes := watch(t, h, "PsSetCreateProcessNotifyRoutine", nt.STATUS_SUCCESS, 0)
	threads := watch(t, h, "PsSetCreateThreadNotifyRoutine", nt.STATUS_SUCCESS)
	first, _, err := openAs(h, 4321)
	require.NoError(t, err)
	count, args := processes.last()
	assert.EqualValues(t, 1, count)
	assert.Equal(t, [3]uint64{0, 4321, 1}, args)
	count, args = threads.last()
	assert.EqualValues(t, 1, count)
	assert.Equal(t, [3]uint64{4321, uint64(first.t.ID), 1}, args)

	second, _, err := openAs(h, 4321)
	require.NoError(t, err)
	process := first.proc.ke
	signalled := func() uint32 {
		v, err := guest.Load32(process.Object + 4) // DISPATCHER_HEADER.SignalState
		require.NoError(t, err)
		return v
	}
	first.close(true)
	count, _ = processes.last()
	assert.EqualValues(t, 1, count, "it has another file open")
	require.True(t, h.Kernel.Ob.Reference(process.Object))
	assert.Zero(t, signalled())
	second.close(true)
	count, args = processes.last()
	assert.EqualValues(t, 2, count)
	assert.Equal(t, [3]uint64{0, 4321, 0}, args)
	count, _ = threads.last()
	assert.EqualValues(t, 4, count)
	assert.EqualValues(t, 1, signalled())
	_, err = h.Kernel.Ob.Dereference(process.Object)
	require.NoError(t, err)
}

func TestDriverCanRefuseAProcess(t *testing.T) {
	h := echoHost(t)
	n := watch(t, h, "PsSetCreateProcessNotifyRoutineEx", nt.STATUS_ACCESS_DENIED, 0)
	s, status, err := openAs(h, 4321)
	require.NoError(t, err)
	assert.Nil(t, s)
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, status)
	count, args := n.last()
	assert.EqualValues(t, 2, count, "it is told of the end too")
	assert.Zero(t, args[2])
	assert.Equal(t, nt.STATUS_SUCCESS, n.call("PsSetCreateProcessNotifyRoutineEx", 1))
	s, _, err = openAs(h, 4322)
	require.NoError(t, err)
	s.close(true)
}

func TestAProgramThatTheHostCannotSeeIsBelieved(t *testing.T) {
	const nobody = 1 << 30 // above Linux' largest process id
	assert.Equal(t, "cat", processName(nobody, "cat"))
	assert.Equal(t, `a\x1bb`, processName(nobody, "a\x1bb"))
	assert.Equal(t, "client", processName(nobody, ""))
	assert.NotEqual(t, "cat", processName(int32(os.Getpid()), "cat"))
}
