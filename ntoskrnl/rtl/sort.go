package rtl

// qsort and bsearch of the C runtime, with the driver's comparison as a Go func.

import (
	"math/bits"
	"sort"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Compare calls the driver's comparison with the addresses of two elements.
type Compare func(a, b nt.Addr) (int32, error)

// elements is an array in guest memory that package sort works on. After an error it pretends to be
// sorted.
type elements struct {
	base    nt.Addr
	n, size uintptr
	compare Compare
	err     error
}

func (e *elements) at(i int) nt.Addr { return e.base + nt.Addr(uintptr(i)*e.size) }
func (e *elements) Len() int         { return int(e.n) }

func (e *elements) Less(i, j int) bool {
	if e.err != nil {
		return false
	}
	var v int32
	v, e.err = e.compare(e.at(i), e.at(j))
	return e.err == nil && v < 0
}

func (e *elements) Swap(i, j int) {
	var p, q [chunkSize]byte
	a, b := e.at(i), e.at(j)
	for left := e.size; left > 0 && e.err == nil && i != j; {
		k := min(left, chunkSize)
		for _, step := range [...]func() error{
			func() error { return guest.Read(p[:k], a) },
			func() error { return guest.Read(q[:k], b) },
			func() error { return guest.Write(a, q[:k]) },
			func() error { return guest.Write(b, p[:k]) },
		} {
			if e.err = step(); e.err != nil {
				return
			}
		}
		a += nt.Addr(k)
		b += nt.Addr(k)
		left -= k
	}
}

// tooLarge tells arrays that no address space holds.
func tooLarge(n, size uintptr) bool {
	hi, lo := bits.Mul64(uint64(n), uint64(size))
	return hi != 0 || lo > 1<<47
}

// Qsort is qsort: n elements of size bytes at base. A comparison that contradicts itself leaves
// some order. The error is compare's, a *guest.FaultError, or STATUS_INVALID_PARAMETER for an array
// that no address space holds.
func Qsort(base nt.Addr, n, size uintptr, compare Compare) error {
	if n < 2 || size == 0 {
		return nil
	}
	if tooLarge(n, size) {
		return nt.STATUS_INVALID_PARAMETER
	}
	e := elements{base: base, n: n, size: size, compare: compare}
	sort.Sort(&e)
	return e.err
}

// Bsearch is bsearch: the address of an element for which compare(key, element) is 0, or null.
func Bsearch(key, base nt.Addr, n, size uintptr, compare Compare) (nt.Addr, error) {
	if tooLarge(n, size) {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	lo, hi := uintptr(0), n
	for lo < hi {
		mid := lo + (hi-lo)/2
		at := base + nt.Addr(mid*size)
		v, err := compare(key, at)
		switch {
		case err != nil:
			return 0, err
		case v == 0:
			return at, nil
		case v < 0:
			hi = mid
		default:
			lo = mid + 1
		}
	}
	return 0, nil
}
