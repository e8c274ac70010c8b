// The exception directory (.pdata): which unwind data belongs to which code ("x64 exception
// handling", struct RUNTIME_FUNCTION).

package pe

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
)

// RuntimeFunction is one row of .pdata: the code from Begin up to End is unwound by the UNWIND_INFO
// at UnwindInfo. All three are relative to the base, in bytes.
type RuntimeFunction struct {
	Begin, End, UnwindInfo uint32
}

const runtimeFunctionSize = 12

// Functions gives the rows in the order of their addresses. The slice must not be changed.
func (img *Image) Functions() []RuntimeFunction { return img.functions }

// LookupFunction finds the row whose code the address belongs to. A row that refers to another one
// (RUNTIME_FUNCTION_INDIRECT) is followed. No row means that the code is a leaf function, or no
// code.
func (img *Image) LookupFunction(rva uint32) (RuntimeFunction, bool) {
	// Linkers that fold identical functions leave a row for each of them.
	f := img.functions
	for lo, hi := 0, len(f); lo < hi; {
		m := int(uint(lo+hi) >> 1)
		switch r := f[m]; {
		case rva < r.Begin:
			hi = m
		case rva >= r.End:
			lo = m + 1
		case r.UnwindInfo&1 != 0:
			// parseFunctions made sure that it is a row, and one that refers to no further one.
			return f[(r.UnwindInfo-1-img.pdataRVA)/runtimeFunctionSize], true
		default:
			return r, true
		}
	}
	return RuntimeFunction{}, false
}

// parseFunctions reads the table. Windows searches it by halving, so it has to be sorted.
func (img *Image) parseFunctions(d directory) error {
	raw, size := img.at(d.VirtualAddress)
	if d.Size > size || size == 0 {
		return fmt.Errorf("it is not inside of one section")
	}
	if d.Size%runtimeFunctionSize != 0 {
		return fmt.Errorf("its size is no multiple of %d", runtimeFunctionSize)
	}
	n := d.Size / runtimeFunctionSize
	if uint64(d.Size) > uint64(len(raw)) {
		return fmt.Errorf("entry %d is empty: the file ends before the table",
			len(raw)/runtimeFunctionSize+1)
	}
	img.pdataRVA = d.VirtualAddress
	img.functions = make([]RuntimeFunction, n)
	last := uint32(0)
	for i := range n {
		off := uint64(i) * runtimeFunctionSize
		f := RuntimeFunction{le32(raw, off), le32(raw, off+4), le32(raw, off+8)}
		bad := func(format string, args ...any) error {
			return fmt.Errorf("entry %d at 0x%x (0x%x to 0x%x, unwind data at 0x%x) %s", i+1,
				uint64(d.VirtualAddress)+off, f.Begin, f.End, f.UnwindInfo,
				fmt.Sprintf(format, args...))
		}
		switch {
		case f.Begin >= f.End:
			return bad("covers no code")
		case f.Begin < last:
			return bad("is not in the order of addresses")
		case !img.inSection(f.Begin, f.End-f.Begin):
			return bad("is for code that is not inside of one section")
		case f.UnwindInfo&1 != 0:
			if at := f.UnwindInfo - 1 - d.VirtualAddress; at >= d.Size ||
				at%runtimeFunctionSize != 0 {
				return bad("refers to no entry of the table")
			} else if le32(raw, uint64(at)+8)&1 != 0 {
				return bad("refers to an entry that refers to another one")
			}
		case f.UnwindInfo%4 != 0 || !img.inside(f.UnwindInfo, 4):
			return bad("has its unwind data outside of the image, or not aligned")
		}
		last = f.Begin
		img.functions[i] = f
	}
	return nil
}

// ExceptionTable gives the address and the size in bytes of the module's function table (.pdata), 0
// and 0 if it has none.
func (m *Module) ExceptionTable() (at guest.Addr, size uint32) {
	if len(m.img.functions) == 0 {
		return 0, 0
	}
	return m.Addr(m.img.pdataRVA), uint32(len(m.img.functions)) * runtimeFunctionSize
}
