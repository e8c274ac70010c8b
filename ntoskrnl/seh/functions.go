// Which function code belongs to: the rows of every module's .pdata.

package seh

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// Tables are the function tables of the loaded modules.
type Tables struct {
	Linker *pe.Linker
}

// Function is a row of .pdata in memory: a RUNTIME_FUNCTION and the image that it belongs to.
type Function struct {
	pe.RuntimeFunction
	Base guest.Addr // the image's
	At   guest.Addr // the row's
}

// Lookup finds the function of the code at pc, as RtlLookupFunctionEntry does. Without one the code
// is a leaf function, or no code of any module.
func (t *Tables) Lookup(pc guest.Addr) (f Function, ok bool) {
	m, ok := t.Linker.At(pc)
	if !ok {
		return f, false
	}
	return lookup(m, uint32(pc-m.Base()))
}

func lookup(m *pe.Module, rva uint32) (f Function, ok bool) {
	rows := m.Image().Functions()
	table, _ := m.ExceptionTable()
	for lo, hi := 0, len(rows); lo < hi; {
		i := int(uint(lo+hi) >> 1)
		switch r := rows[i]; {
		case rva < r.Begin:
			hi = i
		case rva >= r.End:
			lo = i + 1
		default:
			if r.UnwindInfo&indirect != 0 {
				i = int(m.Addr(r.UnwindInfo&^indirect)-table) / rowSize
				if i >= len(rows) {
					return f, false
				}
				r = rows[i]
			}
			return Function{r, m.Base(), table + guest.Addr(i*rowSize)}, true
		}
	}
	return f, false
}

const (
	// rowSize is the size of a RUNTIME_FUNCTION.
	rowSize = 12
	// indirect, in a row's UnwindInfo, makes it the place of another row.
	indirect = 1
	// maxChain bounds how many rows refer to each other.
	maxChain = 32
)

// ReadFunction reads the RUNTIME_FUNCTION at at, of the image at base.
func ReadFunction(base, at guest.Addr) (Function, error) {
	r, err := guest.Ptr[nt.RuntimeFunction](at).Load()
	return Function{pe.RuntimeFunction{Begin: r.BeginAddress, End: r.EndAddress,
		UnwindInfo: r.UnwindData}, base, at}, err
}

// TableError says that unwind data makes no sense.
type TableError struct {
	At   guest.Addr // of the UNWIND_INFO
	Fact string
}

// Error names the place.
func (e *TableError) Error() string { return fmt.Sprintf("unwind data at %v %s", e.At, e.Fact) }

// Status gives STATUS_BAD_FUNCTION_TABLE.
func (e *TableError) Status() nt.Status { return nt.STATUS_BAD_FUNCTION_TABLE }

// Unwrap gives the status.
func (e *TableError) Unwrap() error { return e.Status() }
