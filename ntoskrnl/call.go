package ntoskrnl

import (
	"errors"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Call is an import call under way: who called which export, from where, with what. There is one per
// thread, reused by every call.
type Call struct {
	*Kernel
	T   *ke.Thread
	ctx *engine.Context
	row *Export

	interruptsOff bool // the thread's interrupt flag, which is advisory
}

// Arg gives the 64-bit slot of argument i, from 0. Where the caller's stack has no such slot an
// access violation is raised in the driver.
func (c *Call) Arg(i int) uint64 {
	v, ok := c.ctx.Arg(i)
	if !ok {
		at := guest.Addr(c.ctx.GPR[engine.RSP]) + 8 + 8*guest.Addr(i)
		c.RaiseAccessViolation(&guest.FaultError{Addr: at, Access: guest.AccessRead})
	}
	return v
}

// VarArgs yields the arguments that follow n named ones.
func (c *Call) VarArgs(n int) rtl.CallArgs {
	g := &c.ctx.GPR
	return rtl.CallArgs{
		Regs:  [4]uint64{g[engine.RCX], g[engine.RDX], g[engine.R8], g[engine.R9]},
		Index: n,
		Stack: guest.Addr(g[engine.RSP]) + 0x28,
	}
}

// Caller gives the address to which the call returns.
func (c *Call) Caller() guest.Addr {
	a, _ := c.ctx.ReturnAddress()
	return a
}

// Must raises err in the driver, if it is not nil: a *guest.FaultError as an access violation, an
// nt.Status as itself. An error for which Windows stops, such as an *mm.PoolError, is a bugcheck.
func (c *Call) Must(err error) {
	if err != nil {
		c.raiseError(err)
	}
}

func (c *Call) raiseError(err error) {
	var fault *guest.FaultError
	if errors.As(err, &fault) {
		c.RaiseAccessViolation(fault)
	}
	var stop interface {
		error
		BugCheck() (nt.BugCheck, [4]uint64)
	}
	if errors.As(err, &stop) {
		code, params := stop.BugCheck()
		c.T.Crash(&ke.Bugcheck{Code: code, Params: params,
			Reason: stop.Error() + ", in a call of " + c.row.Called() + " by " + c.Where(c.Caller())})
	}
	var status nt.Status
	if errors.As(err, &status) {
		c.Raise(status)
	}
	panic(err)
}

// RaiseAccessViolation raises what a bad access of the driver's own would raise, at its call.
func (c *Call) RaiseAccessViolation(f *guest.FaultError) {
	op := uint64(accessRead)
	switch f.Access {
	case guest.AccessWrite:
		op = accessWrite
	case guest.AccessExec:
		op = accessExecute
	}
	c.memoryFault(c.T, uint64(f.Addr), op, c.Caller(), "in a call of "+c.row.Called())
}

// Raise raises an exception in the driver at its call. It does not return.
func (c *Call) Raise(status nt.Status, info ...uint64) {
	c.exception(c.T, status, c.Caller(), info, "raised by "+c.row.Called())
}

// UString reads the UNICODE_STRING at a, which must not be null.
func (c *Call) UString(a guest.Addr) string {
	s, err := guest.ReadUnicodeString(a)
	c.Must(err)
	return s
}

// OptUString is UString for a parameter that may be null: then it is "".
func (c *Call) OptUString(a guest.Addr) string {
	if a == 0 {
		return ""
	}
	return c.UString(a)
}

// Store writes v to a, which the driver gave for a result.
func Store[T any](c *Call, a guest.Addr, v T) { c.Must(guest.Ptr[T](a).Store(v)) }

// StoreOpt is Store for a pointer that may be null.
func StoreOpt[T any](c *Call, a guest.Addr, v T) {
	if a != 0 {
		Store(c, a, v)
	}
}

// Load reads a value from a, which the driver gave.
func Load[T any](c *Call, a guest.Addr) T {
	v, err := guest.Ptr[T](a).Load()
	c.Must(err)
	return v
}
