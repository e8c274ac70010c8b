package ntoskrnl

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// driverRig calls exports as a driver does: through their thunks in ntoskrnl.exe, on a guest thread.
type driverRig struct {
	*Kernel
	t      testing.TB
	thread *ke.Thread
	page   *guest.Region // for arguments
	used   guest.Addr
}

const rigMemory = 1 << 20

// newRig makes a kernel and a thread of the System process. What it gives for arguments is one
// region, with unmapped pages on both sides.
func newRig(t testing.TB) *driverRig { return newRigOf(t, newKernel(t, Options{Processors: 1})) }

func newRigOf(t testing.TB, k *Kernel) *driverRig {
	th, err := k.Ke.NewThread(k.Ke.SystemProcess)
	require.NoError(t, err)
	page, err := k.space.AllocSystem(rigMemory, guest.ProtRW, "arguments of a test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, page.Free()) })
	return &driverRig{Kernel: k, t: t, thread: th, page: page, used: page.Base()}
}

// call calls an export at PASSIVE_LEVEL and gives RAX.
func (r *driverRig) call(name string, args ...uint64) uint64 {
	r.t.Helper()
	v, err := r.callAt(nt.PASSIVE_LEVEL, name, args...)
	require.NoError(r.t, err, name)
	return v
}

// callAt calls an export at an IRQL. The error is the bugcheck that it ended in, after which the
// kernel is of no more use.
func (r *driverRig) callAt(irql nt.IRQL, name string, args ...uint64) (v uint64, err error) {
	r.t.Helper()
	err = r.thread.Do(func() {
		old := r.thread.RaiseIRQL(irql)
		v = r.thread.Call(r.symbol(name), args...)
		r.thread.LowerIRQL(old)
	})
	return v, err
}

// status calls an export that gives an NTSTATUS.
func (r *driverRig) status(name string, args ...uint64) nt.Status {
	r.t.Helper()
	return nt.Status(r.call(name, args...))
}

// bugcheck calls an export in a kernel of its own, which must end in a bugcheck.
func bugcheck(t testing.TB, irql nt.IRQL, name string, args func(r *driverRig) []uint64) *ke.Bugcheck {
	t.Helper()
	r := newRig(t)
	_, err := r.callAt(irql, name, args(r)...)
	var b *ke.Bugcheck
	require.True(t, errors.As(err, &b), "%s: %v", name, err)
	return b
}

// mem gives n zeroed bytes for an argument, aligned to 16.
func (r *driverRig) mem(n int) uint64 {
	a := r.used
	r.used += guest.Addr(n+15) &^ 15
	require.LessOrEqual(r.t, r.used, r.page.End(), "the rig is out of memory")
	require.NoError(r.t, guest.Fill(a, 0, uintptr(n)))
	return uint64(a)
}

// atEnd gives n bytes that end where the mapped memory ends, so that one byte more faults.
func (r *driverRig) atEnd(b []byte) uint64 {
	a := uint64(r.page.End()) - uint64(len(b))
	r.write(a, b)
	return a
}

func (r *driverRig) bytes(b []byte) uint64 {
	a := r.mem(len(b))
	r.write(a, b)
	return a
}

func (r *driverRig) write(a uint64, b []byte) {
	require.NoError(r.t, guest.Write(guest.Addr(a), b))
}

func (r *driverRig) read(a uint64, n int) []byte {
	r.t.Helper()
	b := make([]byte, n)
	require.NoError(r.t, guest.Read(b, guest.Addr(a)))
	return b
}

func (r *driverRig) u16(a uint64) uint16 { return binary.LittleEndian.Uint16(r.read(a, 2)) }
func (r *driverRig) u32(a uint64) uint32 { return binary.LittleEndian.Uint32(r.read(a, 4)) }
func (r *driverRig) u64(a uint64) uint64 { return binary.LittleEndian.Uint64(r.read(a, 8)) }

func (r *driverRig) put32(a uint64, v uint32) {
	r.write(a, binary.LittleEndian.AppendUint32(nil, v))
}

func (r *driverRig) put64(a, v uint64) { r.write(a, binary.LittleEndian.AppendUint64(nil, v)) }

// str gives a zero-terminated string.
func (r *driverRig) str(s string) uint64 { return r.bytes(append([]byte(s), 0)) }

// wstr gives a zero-terminated UTF-16 string.
func (r *driverRig) wstr(s string) uint64 { return r.bytes(append(guest.EncodeUTF16(s), 0, 0)) }

// ustr gives a UNICODE_STRING with room for extra bytes behind its text.
func (r *driverRig) ustr(s string, extra int) uint64 {
	text := guest.EncodeUTF16(s)
	return r.counted(text, extra)
}

// astr gives an ANSI_STRING with room for extra bytes behind its text.
func (r *driverRig) astr(s string, extra int) uint64 { return r.counted([]byte(s), extra) }

func (r *driverRig) counted(text []byte, extra int) uint64 {
	buf := r.mem(len(text) + extra)
	r.write(buf, text)
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(text)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)+extra))
	b = binary.LittleEndian.AppendUint32(b, 0)
	return r.bytes(binary.LittleEndian.AppendUint64(b, buf))
}

// readStr, readWstr, readUstr and readAstr read such strings.
func (r *driverRig) readStr(a uint64) string {
	r.t.Helper()
	s, err := guest.ReadCString(guest.Addr(a), 4096)
	require.NoError(r.t, err)
	return s
}

func (r *driverRig) readWstr(a uint64) string {
	r.t.Helper()
	s, err := guest.ReadUTF16Z(guest.Addr(a), 4096)
	require.NoError(r.t, err)
	return s
}

func (r *driverRig) readUstr(a uint64) string {
	r.t.Helper()
	s, err := guest.ReadUnicodeString(guest.Addr(a))
	require.NoError(r.t, err)
	return s
}

func (r *driverRig) readAstr(a uint64) string {
	r.t.Helper()
	s, err := guest.ReadAnsiString(guest.Addr(a))
	require.NoError(r.t, err)
	return s
}

// routine gives the address of machine code that a driver would have: a callback.
func (r *driverRig) routine(code ...byte) uint64 {
	a, err := r.space.AllocSystem(guest.PageSize, guest.ProtRW, "a routine of a test")
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, a.Free()) })
	copy(a.Bytes(), code)
	require.NoError(r.t, a.Protect(0, a.Size(), guest.ProtRX))
	return uint64(a.Base())
}

// asClient makes the rig's thread one of a client process with a window, whose base it gives.
func (r *driverRig) asClient() *mm.Window {
	w, err := r.Mm.NewWindow(mm.MinWindow, "a client of a test")
	require.NoError(r.t, err)
	p, err := r.Ke.NewProcess(0x2000, "client")
	require.NoError(r.t, err)
	p.Window = w
	w.SetProcess(p.Object)
	r.thread, err = r.Ke.NewThread(p)
	require.NoError(r.t, err)
	return w
}

// exportCase is one call of an export, as a fact about it.
type exportCase struct {
	fact string
	name string
	args []any
	want any         // the result; nil is any
	then map[int]any // what stands in arguments afterwards
}

// Arguments and results of cases. Numbers are what they are.
type (
	cstr string // a zero-terminated string
	wide string // a zero-terminated string of WCHARs
	uni  struct {
		text  string
		extra int // bytes behind the text
	}
	ansi struct {
		text  string
		extra int
	}
	room int    // so many zero bytes
	raw  []byte // bytes
	at   struct{ arg, off int }
)

// runCases runs cases in one kernel.
func runCases(t *testing.T, cases []exportCase) {
	r := newRig(t)
	for _, c := range cases {
		t.Run(c.name+"_"+c.fact, func(t *testing.T) {
			r.t = t
			r.used = r.page.Base()
			args := make([]uint64, len(c.args))
			for i, a := range c.args {
				args[i] = r.arg(a, args)
			}
			got := r.call(c.name, args...)
			if c.want != nil {
				r.expect(c.want, got, args)
			}
			for i, want := range c.then {
				r.holds(want, args[i], args)
			}
		})
	}
}

// arg makes an argument; args are those before it.
func (r *driverRig) arg(a any, args []uint64) uint64 {
	switch v := a.(type) {
	case int:
		return uint64(v)
	case rune:
		return uint64(v)
	case int64:
		return uint64(v)
	case uint32:
		return uint64(v)
	case uint64:
		return v
	case uintptr:
		return uint64(v)
	case cstr:
		return r.str(string(v))
	case wide:
		return r.wstr(string(v))
	case uni:
		return r.ustr(v.text, v.extra)
	case ansi:
		return r.astr(v.text, v.extra)
	case room:
		return r.mem(int(v))
	case raw:
		return r.bytes(v)
	case at:
		return args[v.arg] + uint64(v.off)
	}
	require.Failf(r.t, "no such kind of argument", "%T", a)
	return 0
}

// expect compares a result in the width of its type.
func (r *driverRig) expect(want any, got uint64, args []uint64) {
	r.t.Helper()
	switch w := want.(type) {
	case int:
		require.Equal(r.t, int32(w), int32(got))
	case int64:
		require.Equal(r.t, w, int64(got))
	case uint32:
		require.Equal(r.t, w, uint32(got))
	case uint64:
		require.Equal(r.t, w, got)
	case bool:
		require.Equal(r.t, w, uint8(got) != 0)
	case nt.Status:
		require.Equal(r.t, w, nt.Status(got))
	case at:
		require.Equal(r.t, args[w.arg]+uint64(w.off), got)
	default:
		require.Failf(r.t, "no such kind of result", "%T", want)
	}
}

// holds compares what stands at an argument.
func (r *driverRig) holds(want any, a uint64, args []uint64) {
	r.t.Helper()
	switch w := want.(type) {
	case cstr:
		require.Equal(r.t, string(w), r.readStr(a))
	case wide:
		require.Equal(r.t, string(w), r.readWstr(a))
	case uni:
		require.Equal(r.t, w.text, r.readUstr(a))
	case ansi:
		require.Equal(r.t, w.text, r.readAstr(a))
	case raw:
		require.Equal(r.t, []byte(w), r.read(a, len(w)))
	case uint16:
		require.Equal(r.t, w, r.u16(a))
	case uint32:
		require.Equal(r.t, w, r.u32(a))
	case uint64:
		require.Equal(r.t, w, r.u64(a))
	case at:
		require.Equal(r.t, args[w.arg]+uint64(w.off), r.u64(a))
	default:
		require.Failf(r.t, "no such kind of memory", "%T", want)
	}
}
