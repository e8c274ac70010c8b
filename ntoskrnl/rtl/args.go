package rtl

// Sources of variadic arguments for the printf family.

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Args yields the variadic arguments of a printf call in order. size is 4 for int, long and what
// is promoted to int, and 8 for __int64, double and, on x64, pointers. On x64 every argument takes
// one slot of 8 bytes, so a source for x64 ignores size; of a 4-byte argument only the low half of
// the result is meaningful. A double comes as its bits.
type Args interface {
	Next(size int) (uint64, error)
}

// VaList is a va_list of x64 Windows: a pointer into an array of 8-byte slots in guest memory.
type VaList struct {
	At nt.Addr // the slot that Next reads
}

// Next reads one slot and moves on. Its error is a *guest.FaultError.
func (v *VaList) Next(int) (uint64, error) {
	w, err := guest.Load64(v.At)
	v.At += 8
	return w, err
}

// CallArgs yields the arguments of an x64 function with "..." as its caller left them: the first
// four in registers, the others on the stack. A variadic caller puts a double into the integer
// register too ("x64 calling convention", varargs), so the integer registers suffice.
type CallArgs struct {
	Regs  [4]uint64 // RCX, RDX, R8, R9 at entry
	Index int       // the argument that Next yields: at the start, the number of named parameters
	Stack nt.Addr   // where the fifth argument lies: RSP at entry + 0x28
}

// Next yields the argument at Index and moves on. Its error is a *guest.FaultError.
func (c *CallArgs) Next(int) (uint64, error) {
	i := c.Index
	c.Index++
	if i < len(c.Regs) {
		return c.Regs[i], nil
	}
	return guest.Load64(c.Stack + nt.Addr(i-len(c.Regs))*8)
}

// Words yields the given values, and STATUS_INVALID_PARAMETER when there are no more.
type Words []uint64

// Next takes the first word off the list.
func (w *Words) Next(int) (uint64, error) {
	if len(*w) == 0 {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	v := (*w)[0]
	*w = (*w)[1:]
	return v, nil
}
