package ntoskrnl

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

// Drivers that are written in Go: images whose routines leave for Go, as those of the kernel do.
// Package godriver is the way to write one.

// GoRoutine is a routine of such a driver. It is called as an export is, with the arguments that
// Call.Arg gives; what it returns is RAX.
type GoRoutine func(c *Call) uint64

// firstGo is above the number of every report: a routine's number is firstGo plus its index in
// Kernel.goRoutines.
const firstGo = 1 << 24

// goRoutine is a routine of a driver that is loaded, or a free place.
type goRoutine struct {
	f   GoRoutine
	row *Export // its name
}

// symGoInvoke is the stub through which a driver in Go calls others: so that the caller is an address
// in its own image.
const symGoInvoke = "invoke"

// goInvokeArgs is how many arguments the stub passes on.
const goInvokeArgs = 8

// goInvoke is the stub. Its first argument is the function.
var goInvoke = []byte{
	0x48, 0x83, 0xEC, 0x58, // sub rsp, 58h
	0x48, 0x89, 0xC8, // mov rax, rcx
	0x48, 0x89, 0xD1, // mov rcx, rdx
	0x4C, 0x89, 0xC2, // mov rdx, r8
	0x4D, 0x89, 0xC8, // mov r8, r9
	0x4C, 0x8B, 0x8C, 0x24, 0x80, 0, 0, 0, // mov r9, [rsp+80h]
	0x4C, 0x8B, 0x94, 0x24, 0x88, 0, 0, 0, // mov r10, [rsp+88h]
	0x4C, 0x89, 0x54, 0x24, 0x20, // mov [rsp+20h], r10
	0x4C, 0x8B, 0x94, 0x24, 0x90, 0, 0, 0, // mov r10, [rsp+90h]
	0x4C, 0x89, 0x54, 0x24, 0x28, // mov [rsp+28h], r10
	0x4C, 0x8B, 0x94, 0x24, 0x98, 0, 0, 0, // mov r10, [rsp+98h]
	0x4C, 0x89, 0x54, 0x24, 0x30, // mov [rsp+30h], r10
	0x4C, 0x8B, 0x94, 0x24, 0xA0, 0, 0, 0, // mov r10, [rsp+0A0h]
	0x4C, 0x89, 0x54, 0x24, 0x38, // mov [rsp+38h], r10
	0xFF, 0xD0, // call rax
	0x48, 0x83, 0xC4, 0x58, // add rsp, 58h
	0xC3, // ret
}

// GoImage is the image of a driver in Go, mapped once by LoadGo.
type GoImage struct {
	Service string
	// Routines are the driver's; the first is DriverEntry. Names say what each is called.
	Routines []GoRoutine
	Names    []string

	// Driver is what LoadGo makes of it, from DriverEntry on.
	Driver *Driver

	first int // its place in Kernel.goRoutines
}

// LoadGo loads a driver that is written in Go: it gets an image in the driver's address space, is
// listed as a module, and its DriverEntry is called, all as Load does.
func (k *Kernel) LoadGo(g *GoImage) (*Driver, error) {
	k.addGoRoutines(g)
	img, err := k.buildGo(g)
	if err != nil {
		k.dropGoRoutines(g)
		return nil, err
	}
	d, err := k.load(img, g.Service, g)
	if err != nil {
		k.dropGoRoutines(g)
	}
	return d, err
}

// addGoRoutines gives the routines their numbers.
func (k *Kernel) addGoRoutines(g *GoImage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []goRoutine
	if p := k.goRoutines.Load(); p != nil {
		all = slices.Clone(*p)
	}
	n := len(g.Routines)
	g.first = len(all)
	for i := 0; i+n <= len(all); i++ {
		if !slices.ContainsFunc(all[i:i+n], func(r goRoutine) bool { return r.f != nil }) {
			g.first = i
			break
		}
	}
	if g.first == len(all) {
		all = append(all, make([]goRoutine, n)...)
	}
	for i, f := range g.Routines {
		all[g.first+i] = goRoutine{f, &Export{Name: g.Service + ".sys!" + g.Names[i]}}
	}
	k.goRoutines.Store(&all)
}

// dropGoRoutines makes the numbers free again.
func (k *Kernel) dropGoRoutines(g *GoImage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := slices.Clone(*k.goRoutines.Load())
	clear(all[g.first : g.first+len(g.Routines)])
	k.goRoutines.Store(&all)
}

// goName gives a routine's name.
func (k *Kernel) goName(index uint32) string {
	if p := k.goRoutines.Load(); p != nil && int(index-firstGo) < len(*p) {
		if r := (*p)[index-firstGo]; r.row != nil {
			return r.row.Name
		}
	}
	return fmt.Sprintf("routine %d of a driver that is gone", index-firstGo)
}

// goThunkSize is the size of a routine's code:
//
//	B8 imm32        mov eax, number
//	49 BB imm64     mov r11, the call gate
//	41 FF E3        jmp r11
const goThunkSize = 18

func (k *Kernel) buildGo(g *GoImage) (*pe.Image, error) {
	b := pe.NewBuilder(g.Service + ".sys")
	for i, name := range g.Names {
		code := make([]byte, 0, goThunkSize)
		code = binary.LittleEndian.AppendUint32(append(code, 0xB8), uint32(firstGo+g.first+i))
		code = binary.LittleEndian.AppendUint64(append(code, 0x49, 0xBB), uint64(k.cpu.Gates().Call))
		b.Code(name, append(code, 0x41, 0xFF, 0xE3), nil, nil)
		b.Export(name, 0, name)
	}
	b.Code(symGoInvoke, goInvoke, nil,
		&pe.Unwind{PrologSize: 4, Ops: []pe.UnwindOp{pe.Alloc(4, 0x58)}})
	b.Export(symGoInvoke, 0, symGoInvoke)
	b.SetEntry(g.Names[0])
	return b.Build()
}

// callGo is a call of a routine in Go. A panic in it is the driver's crash.
func (k *Kernel) callGo(c *Call, index uint32) {
	i := int(index - firstGo)
	var r goRoutine
	if p := k.goRoutines.Load(); p != nil && i < len(*p) {
		r = (*p)[i]
	}
	outer := c.row
	if r.f == nil {
		c.row = &Export{Name: k.goName(index)}
		k.callStub(c)
		return
	}
	c.row = r.row
	c.ctx.GPR[engine.RAX] = contained(c, r.f)
	c.row = outer
}

// contained runs a routine.
func contained(c *Call, f GoRoutine) uint64 {
	done := false
	defer func() {
		if done {
			return
		}
		r := recover()
		if ke.IsUnwind(r) {
			panic(r)
		}
		c.T.Crash(&ke.Bugcheck{Code: nt.KMODE_EXCEPTION_NOT_HANDLED,
			Params: [4]uint64{uint64(nt.STATUS_UNHANDLED_EXCEPTION), 0, 0, 0},
			Reason: fmt.Sprintf("panic in %s: %v\n%s", c.row.Name, r, debug.Stack())})
	}()
	v := f(c)
	done = true
	return v
}

// Invoke calls an export of the kernel, as a driver would, from the image of the driver in Go, with up
// to 8 arguments.
func (c *Call) Invoke(d *Driver, export string, args ...uint64) uint64 {
	return c.InvokeAt(d, c.symbol(export), args...)
}

// InvokeAt is Invoke of any function.
func (c *Call) InvokeAt(d *Driver, fn guest.Addr, args ...uint64) uint64 {
	var all [1 + goInvokeArgs]uint64
	all[0] = uint64(fn)
	copy(all[1:], args)
	return c.T.Call(d.goInvoke, all[:]...)
}

// OnSystemThread runs f on a thread of the System process, and waits for its end. The error is the crash
// that ended the kernel.
func (k *Kernel) OnSystemThread(f func(c *Call)) error {
	return k.onSystemThread(func(t *ke.Thread) { f(k.call(t)) })
}
