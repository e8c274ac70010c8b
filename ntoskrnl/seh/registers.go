// The registers that unwinding changes, and their other forms: the engine's and Windows' CONTEXT.

package seh

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Registers are the registers that a frame's code had when control was at RIP. Of a frame that has
// called another, only those that calls preserve mean something: RBX, RBP, RSI, RDI, RSP, R12 to
// R15 and XMM6 to XMM15.
type Registers struct {
	GPR [16]uint64 // in the order of instruction encodings
	RIP guest.Addr
	XMM [16]engine.XMM
}

// RSP gives the stack pointer.
func (r *Registers) RSP() guest.Addr { return guest.Addr(r.GPR[engine.RSP]) }

// Guest gives the registers of guest code that has come out. In an import call they are the
// caller's, at the address to which the call returns; what a call does not preserve is 0 then.
func Guest(c *engine.Context) (r Registers) {
	r.GPR, r.RIP = c.GPR, guest.Addr(c.RIP)
	if c.Resume == engine.ResumeFull {
		for i := range r.XMM {
			r.XMM[i] = c.FullXMM(i)
		}
		return r
	}
	copy(r.XMM[6:], c.XMM6[:])
	if c.Resume == engine.ResumeReturn {
		r.RIP, _ = c.ReturnAddress()
		r.GPR[engine.RSP] += 8
		r.GPR[engine.R10], r.GPR[engine.R11] = 0, 0
	}
	return r
}

// FromContext takes the registers of a CONTEXT.
func (r *Registers) FromContext(c *nt.Context) {
	r.GPR, r.RIP, r.XMM = *contextGPR(c), guest.Addr(c.Rip), *contextXMM(c)
}

// ToContext puts the registers into a CONTEXT, and leaves the rest of it alone.
func (r *Registers) ToContext(c *nt.Context) {
	*contextGPR(c), c.Rip, *contextXMM(c) = r.GPR, uint64(r.RIP), r.XMM
}

// Selectors of kernel code and data on x64 Windows, as they stand in a CONTEXT.
const (
	kernelCS = 0x10
	kernelSS = 0x18
	userDS   = 0x2B
	userFS   = 0x53
)

// Capture makes the CONTEXT of guest code that has come out; see [Guest].
func Capture(c *engine.Context) (w nt.Context) {
	w.ContextFlags = nt.CONTEXT_FULL | nt.CONTEXT_SEGMENTS
	w.SegCs, w.SegSs = kernelCS, kernelSS
	w.SegDs, w.SegEs, w.SegFs, w.SegGs = userDS, userDS, userFS, userDS
	w.EFlags = uint32(c.RFLAGS)
	if c.Resume == engine.ResumeFull {
		copy(contextFltSave(&w), c.XSave())
		w.MxCsr = w.FltSave.MxCsr
	} else {
		w.FltSave.ControlWord, w.FltSave.MxCsr, w.MxCsr = c.FCW, c.MXCSR, c.MXCSR
	}
	w.FltSave.MxCsr_Mask = validMXCSR
	r := Guest(c)
	r.ToContext(&w)
	return w
}

// validMXCSR are the bits of MXCSR that a processor has. It refuses to load others.
const validMXCSR = 0xFFFF

// Restore makes the guest go on with the registers of a CONTEXT, of the parts that its ContextFlags
// name.
func Restore(c *engine.Context, w *nt.Context) {
	c.MakeFull()
	gpr := contextGPR(w)
	if w.ContextFlags&nt.CONTEXT_INTEGER == nt.CONTEXT_INTEGER {
		rsp := c.GPR[engine.RSP]
		c.GPR = *gpr
		c.GPR[engine.RSP] = rsp
	}
	if w.ContextFlags&nt.CONTEXT_CONTROL == nt.CONTEXT_CONTROL {
		c.GPR[engine.RSP], c.RIP = w.Rsp, w.Rip
		c.RFLAGS = c.RFLAGS&^settableFlags | uint64(w.EFlags)&settableFlags
	}
	if w.ContextFlags&nt.CONTEXT_FLOATING_POINT == nt.CONTEXT_FLOATING_POINT {
		f := w.FltSave
		f.MxCsr = w.MxCsr & validMXCSR
		image := c.XSave()
		copy(image[:reservedByHardware], fltSaveBytes(&f))
		image[xsaveHeader] |= 3 // x87 and SSE state are there to be loaded
	}
}

const (
	// settableFlags are the flags that a CONTEXT may change: the arithmetic ones, direction, trap,
	// and alignment check.
	settableFlags = 0x40DD5

	// Of an XSAVE image: where the header begins, and how far XSAVE_FORMAT is the processor's.
	xsaveHeader        = 512
	reservedByHardware = 416
)
