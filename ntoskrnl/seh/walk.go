// Stack traces.

package seh

import (
	"fmt"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// Frame is one line of a stack trace.
type Frame struct {
	// RIP is where control is, or, of a frame that has called another, where that returns to.
	RIP guest.Addr
	// RSP is the stack pointer there.
	RSP guest.Addr
	// Module is the module that the code belongs to, or nil, and Offset how far into it RIP is.
	Module *pe.Module
	Offset uint32
	// Function is where the function starts, as an offset into the module; 0 for a leaf function,
	// which has no entry.
	Function uint32
}

// String gives "module+offset", or the address.
func (f Frame) String() string {
	if f.Module == nil {
		return f.RIP.String()
	}
	return fmt.Sprintf("%s+%#x", f.Module.Name(), f.Offset)
}

// Walk gives the frames of a thread's stack as it is now, the innermost first, at most max of them. It
// passes calls that the kernel made through code of ntoskrnl.exe, which is a frame like any other, goes
// on from an expanded stack with the one before, and ends at the thread's beginning, or where the stack
// makes no sense: every frame must lie above the one before.
func Walk(c *engine.Context, linker *pe.Linker, max int) []Frame {
	return walk(c, Guest(c), linker, max)
}

// walk is Walk from other registers than the thread's.
func walk(c *engine.Context, r Registers, linker *pe.Linker, max int) []Frame {
	t := Tables{linker}
	var frames []Frame
	for len(frames) < max {
		m, ok := linker.At(r.RIP)
		// Only the first may be nowhere: a jump into the blue leaves a return address behind.
		if !ok && len(frames) > 0 {
			break
		}
		frame := Frame{RIP: r.RIP, RSP: r.RSP(), Module: m}
		var f Function
		if ok {
			frame.Offset = uint32(r.RIP - m.Base())
			if f, ok = lookup(m, frame.Offset); ok {
				frame.Function = f.Begin
			}
		}
		frames = append(frames, frame)
		if err := t.unwind(nt.UNW_FLAG_NHANDLER, f, ok, &r, nil); err != nil {
			break
		}
		if !above(c, uint64(r.RSP()), uint64(frame.RSP)) || r.RSP()%8 != 0 {
			break
		}
	}
	return frames
}

// unwind is VirtualUnwind for a function that was looked for; one that was not found is a leaf.
func (t *Tables) unwind(kind uint8, f Function, found bool, r *Registers, w *Unwound) error {
	if !found {
		if w != nil {
			*w = Unwound{Establisher: r.RSP()}
		}
		return r.ret()
	}
	u, err := t.VirtualUnwind(kind, r.RIP, f, r, nil)
	if w != nil {
		*w = u
	}
	return err
}
