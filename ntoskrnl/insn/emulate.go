// Doing an instruction: which faults are for this package, and what the rest of the machine is.

package insn

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
)

// Special numbers the registers that only a kernel may move: CR0 to CR15, then DR0 to DR15.
type Special uint8

// The special registers that exist.
const (
	CR0 Special = 0
	CR2 Special = 2
	CR3 Special = 3
	CR4 Special = 4
	CR8 Special = 8
	DR0 Special = 16
	DR1 Special = 17
	DR2 Special = 18
	DR3 Special = 19
	DR6 Special = 22
	DR7 Special = 23
)

// Machine is what instructions act on besides the general registers and guest memory. A method that
// gives ok false refuses: the instruction stays a fault, which is what a processor answers too.
type Machine interface {
	// Special gives a control or debug register, SetSpecial changes one. SetSpecial may run guest
	// code on the thread; RIP is already behind the instruction then.
	Special(r Special) (v uint64, ok bool)
	SetSpecial(r Special, v uint64) (ok bool)
	// MSR gives model-specific register n, SetMSR changes it.
	MSR(n uint32) (v uint64, ok bool)
	SetMSR(n uint32, v uint64) (ok bool)
	// In reads width bytes (1, 2 or 4) from an I/O port, Out writes them.
	In(port uint16, width int) uint32
	Out(port uint16, width int, v uint32)
	// Counter gives performance counter n.
	Counter(n uint32) (v uint64, ok bool)
	// Interrupts gives the interrupt flag, SetInterrupts changes it. It is advisory.
	Interrupts() bool
	SetInterrupts(on bool)
	// Table gives where a descriptor table (GDT, IDT) is, and its size less 1; Selector what the LDT
	// and TR registers hold.
	Table(t Table) (base uint64, limit uint16)
	Selector(t Table) uint16
	// CPUID gives EAX, EBX, ECX and EDX of a leaf and subleaf.
	CPUID(leaf, sub uint32) [4]uint32
	// Patched gives the instruction that stood at rip before a Trap took its place, or nil.
	Patched(rip uint64) *Patch
	// Halt waits for an interrupt, as hlt does. It may run guest code, as SetSpecial may.
	Halt()
	// Serves reports whether a load from addr is the machine's to serve. Load gives width bytes (1,
	// 2, 4, 8 or 16) from there, little-endian, zero-extended; ok is false when not all of them are
	// served.
	Serves(addr uint64) bool
	Load(addr uint64, width int) (lo, hi uint64, ok bool)
}

// Emulate does the instruction of c that faulted with f, and reports whether it did: then the
// registers in c are those after it, for a full resume. Otherwise nothing has changed, but for
// string instructions, which fault between two elements, and for f, which becomes the fault that
// the instruction meets when it gets beyond the one that brought it here: a push whose stack is
// gone, a division by a served zero.
func Emulate(c *engine.Context, f *engine.Fault, m Machine) bool {
	switch {
	case f.IsSyscall():
		return false
	case f.Vector == engine.VectorGeneral, f.Vector == engine.VectorInvalidOpcode:
	case f.IsPageFault():
		// Where the processor does not tell the address, the operand does.
		if f.IsWrite() || f.IsExecute() || f.Addr != 0 && !m.Serves(f.Addr) {
			return false
		}
	default:
		return false
	}
	in := fetch(c.RIP)
	if in == nil {
		return false
	}
	if in.kind == kindHalt && in.length == trapLength {
		if p := m.Patched(c.RIP); p != nil {
			in = &p.inst
		}
	}
	if !in.faultsWith(f) {
		return false
	}
	e := emulation{c: c, f: f, m: m, in: in}
	at := c.RIP
	c.RIP += uint64(in.length)
	if !e.do() {
		c.RIP = at
		return false
	}
	return true
}

// faultsWith reports whether an instruction that is done here can bring the fault.
func (in *inst) faultsWith(f *engine.Fault) bool {
	switch {
	case in.kind == kindNone:
		return false
	case f.Vector == engine.VectorInvalidOpcode:
		// Such are stac, clac, monitor and mwait, and rdpid where the processor does not have it.
		return in.kind == kindNothing || in.kind == kindHalt || in.kind == kindReadPID
	}
	return !in.privileged() || f.Vector == engine.VectorGeneral
}

// emulation is one instruction under way. RIP is behind it.
type emulation struct {
	c  *engine.Context
	f  *engine.Fault
	m  Machine
	in *inst
}

// do does the instruction. It changes no register before it is certain to succeed.
func (e *emulation) do() bool {
	switch in := e.in; in.kind {
	case kindNothing:
		return true
	case kindHalt:
		e.m.Halt()
		return true
	case kindReadSpecial:
		v, ok := e.m.Special(in.special)
		if ok {
			e.set(in.reg, v)
		}
		return ok
	case kindWriteSpecial:
		return e.m.SetSpecial(in.special, e.get(in.reg))
	case kindReadMSR:
		v, ok := e.m.MSR(uint32(e.c.GPR[engine.RCX]))
		if ok {
			e.setPair(v)
		}
		return ok
	case kindWriteMSR:
		return e.m.SetMSR(uint32(e.c.GPR[engine.RCX]), e.pair())
	case kindIn:
		e.set(in.reg, uint64(e.m.In(e.port(), int(in.width))))
		return true
	case kindOut:
		e.m.Out(e.port(), int(in.width), uint32(e.get(in.reg)))
		return true
	case kindString:
		return e.repeat()
	default:
		if in.privileged() {
			return e.system()
		}
		return e.load()
	}
}

// port gives the port of an I/O instruction: its immediate, or DX.
func (e *emulation) port() uint16 {
	if e.in.hasImm {
		return uint16(e.in.imm)
	}
	return uint16(e.c.GPR[engine.RDX])
}

// memoryFault makes err the fault. It is that of another access that the instruction makes.
func (e *emulation) memoryFault(err error) bool {
	if fault, ok := err.(*guest.FaultError); ok {
		code := uint32(pageFaultUser)
		if fault.Access == guest.AccessWrite {
			code |= pageFaultWrite
		}
		*e.f = engine.Fault{Addr: uint64(fault.Addr), Vector: engine.VectorPageFault, Code: code,
			Signal: signalSegv}
	}
	return false
}

// divideError makes a divide error the fault.
func (e *emulation) divideError() bool {
	*e.f = engine.Fault{Vector: engine.VectorDivide, Signal: signalFPE}
	return false
}

// Bits of a page fault's error code, and the signals that Linux makes of faults.
const (
	pageFaultWrite = 2
	pageFaultUser  = 4
	signalIll      = 4
	signalFPE      = 8
	signalSegv     = 11
)
