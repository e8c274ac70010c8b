package rtl

// The printf family of the C runtime over guest memory.
//
// Source for return values and truncation: the documentation pages of sprintf, _snprintf,
// _vsnprintf, sprintf_s and _vsnprintf_s. The functions whose names begin with "v" and those with
// "..." are one here: they differ in where the arguments lie, and that is Args' business.

import (
	"errors"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Truncate is _TRUNCATE: the count that makes _snprintf_s and strncpy_s cut without complaint.
const Truncate = ^uintptr(0)

// runGuest formats into guest memory and returns the units that the destination got.
func runGuest(dst nt.Addr, limit int, format nt.Addr, wide bool, args Args) (int, error) {
	p := printer{wide: wide, args: args, fnext: format, at: dst, limit: limit}
	err := p.run()
	return min(p.n, limit), err
}

// clampCount turns a size_t into a limit.
func clampCount(count uintptr) int { return int(min(count, noLimit)) }

// failure maps the formatter's refusals to the return value -1, and passes faults on.
func failure(err error) (int32, error) {
	if errors.Is(err, ErrFormat) || errors.Is(err, errFull) {
		return -1, nil
	}
	return -1, err
}

func sprintf[C char](dst, format nt.Addr, args Args) (int32, error) {
	if dst == 0 || format == 0 {
		return -1, nil
	}
	n, err := runGuest(dst, noLimit, format, unitSize[C]() == 2, args)
	if err != nil {
		return failure(err)
	}
	return int32(n), store[C](offset[C](dst, uintptr(n)), 0)
}

func snprintf[C char](dst nt.Addr, count uintptr, format nt.Addr, args Args) (int32, error) {
	if format == 0 || dst == 0 && count != 0 {
		return -1, nil
	}
	if dst == 0 {
		return measure[C](format, args)
	}
	limit := clampCount(count)
	n, err := runGuest(dst, limit, format, unitSize[C]() == 2, args)
	if err != nil {
		return failure(err)
	}
	if n < limit {
		err = store[C](offset[C](dst, uintptr(n)), 0)
	}
	return int32(n), err
}

// measure counts what would be written: _snprintf with a null buffer and a count of zero.
func measure[C char](format nt.Addr, args Args) (int32, error) {
	p := printer{wide: unitSize[C]() == 2, args: args, fnext: format, limit: noLimit, count: true}
	if err := p.run(); err != nil {
		return failure(err)
	}
	return int32(p.n), nil
}

// snprintfS is the secure family: the result is always terminated. count is Truncate, or the most
// units to write before the NUL; the unchecked form (sprintf_s) has count == size.
func snprintfS[C char](dst nt.Addr, size, count uintptr, format nt.Addr, args Args) (int32, error) {
	if dst == 0 && size == 0 && count == 0 {
		return 0, nil
	}
	if format == 0 || dst == 0 || size == 0 {
		return -1, nil
	}
	cut := count == Truncate || count < size
	limit := clampCount(size - 1)
	if count < size {
		limit = clampCount(count)
	}
	n, err := runGuest(dst, limit, format, unitSize[C]() == 2, args)
	if err == nil {
		return int32(n), store[C](offset[C](dst, uintptr(n)), 0)
	}
	if errors.Is(err, errFull) && cut {
		return -1, store[C](offset[C](dst, uintptr(n)), 0)
	}
	var fault *guest.FaultError
	if !errors.As(err, &fault) {
		if e := store[C](dst, 0); e != nil {
			return -1, e
		}
	}
	return failure(err)
}

// Sprintf is sprintf and vsprintf: it returns the characters written, without the NUL that it adds,
// or -1 for a null pointer or a refused format. The error is a *guest.FaultError.
func Sprintf(dst, format nt.Addr, args Args) (int32, error) {
	return sprintf[uint8](dst, format, args)
}

// Swprintf is swprintf, _swprintf and vswprintf in the form without a size, as the kernel has it.
func Swprintf(dst, format nt.Addr, args Args) (int32, error) {
	return sprintf[uint16](dst, format, args)
}

// Snprintf is _snprintf and _vsnprintf. A result of count characters has no NUL; a longer one is
// cut to count characters without NUL, and the function returns -1. With a null dst and count 0 it
// returns the length that is needed.
func Snprintf(dst nt.Addr, count uintptr, format nt.Addr, args Args) (int32, error) {
	return snprintf[uint8](dst, count, format, args)
}

// Snwprintf is _snwprintf and _vsnwprintf: Snprintf for WCHARs, with count in WCHARs.
func Snwprintf(dst nt.Addr, count uintptr, format nt.Addr, args Args) (int32, error) {
	return snprintf[uint16](dst, count, format, args)
}

// SprintfS is sprintf_s and vsprintf_s: what does not fit leaves an empty string, and -1.
func SprintfS(dst nt.Addr, size uintptr, format nt.Addr, args Args) (int32, error) {
	return snprintfS[uint8](dst, size, size, format, args)
}

// SwprintfS is swprintf_s and vswprintf_s, with size in WCHARs.
func SwprintfS(dst nt.Addr, size uintptr, format nt.Addr, args Args) (int32, error) {
	return snprintfS[uint16](dst, size, size, format, args)
}

// SnprintfS is _snprintf_s and _vsnprintf_s: at most count characters and a NUL; -1 when more was
// to be written, with the cut string if count is [Truncate] or below size, else with an empty one.
func SnprintfS(dst nt.Addr, size, count uintptr, format nt.Addr, args Args) (int32, error) {
	return snprintfS[uint8](dst, size, count, format, args)
}

// SnwprintfS is _snwprintf_s and _vsnwprintf_s: SnprintfS for WCHARs.
func SnwprintfS(dst nt.Addr, size, count uintptr, format nt.Addr, args Args) (int32, error) {
	return snprintfS[uint16](dst, size, count, format, args)
}
