package ntoskrnl

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/seh"
)

// Non-local jumps.
var crtSetjmpExports = []Export{
	{Name: "_setjmp", Fn: fn2(setjmp), Params: "env frame", MaxIRQL: anyIRQL, Support: Full},
	{Name: "_setjmpex", Fn: fn2(setjmp), Params: "env frame", MaxIRQL: anyIRQL, Support: Full},
	{Name: "longjmp", Fn: do2(longjmp), Params: "env value:d", MaxIRQL: anyIRQL, Support: Full},
}

// jumpBuffer is _JUMP_BUFFER of x64, aligned to 16 bytes.
type jumpBuffer struct {
	Frame, Rbx, Rsp, Rbp, Rsi, Rdi, R12, R13, R14, R15, Rip uint64
	MxCsr                                                   uint32
	FpCsr, Spare                                            uint16
	Xmm6                                                    [10]engine.XMM
}

// setjmp keeps the caller's registers for longjmp. frame is the caller's establisher frame; without
// one longjmp does not unwind.
//
//	int _setjmpex(jmp_buf env, void *frame)
//
// "setjmp".
func setjmp(c *Call, env guest.Addr, frame uint64) int32 {
	r := seh.Guest(c.ctx)
	g := &r.GPR
	b := jumpBuffer{Frame: frame, Rbx: g[engine.RBX], Rsp: g[engine.RSP], Rbp: g[engine.RBP],
		Rsi: g[engine.RSI], Rdi: g[engine.RDI], R12: g[engine.R12], R13: g[engine.R13],
		R14: g[engine.R14], R15: g[engine.R15], Rip: uint64(r.RIP), MxCsr: c.ctx.MXCSR,
		FpCsr: c.ctx.FCW}
	copy(b.Xmm6[:], r.XMM[6:])
	Store(c, env, b)
	return 0
}

// longjmp goes back to where setjmp was called, which returns the value, or 1 instead of 0. The
// termination handlers of the frames that are left run.
//
//	void longjmp(jmp_buf env, int value)
//
// "longjmp".
func longjmp(c *Call, env guest.Addr, value int32) {
	b := Load[jumpBuffer](c, env)
	if value == 0 {
		value = 1
	}
	if b.Frame != 0 {
		c.Must(c.seh.Unwind((*sehThread)(c), seh.UnwindRequest{Frame: guest.Addr(b.Frame),
			IP: guest.Addr(b.Rip), Code: nt.STATUS_LONGJUMP}))
	}
	w := seh.Capture(c.ctx)
	w.Rax, w.Rbx, w.Rsp, w.Rbp, w.Rsi, w.Rdi = uint64(uint32(value)), b.Rbx, b.Rsp, b.Rbp, b.Rsi, b.Rdi
	w.R12, w.R13, w.R14, w.R15, w.Rip = b.R12, b.R13, b.R14, b.R15, b.Rip
	w.MxCsr, w.FltSave.ControlWord = b.MxCsr, b.FpCsr
	for i, x := range b.Xmm6 {
		w.FltSave.XmmRegisters[6+i] = nt.M128A{Low: x[0], High: int64(x[1])}
	}
	seh.Restore(c.ctx, &w)
	c.resume()
}
