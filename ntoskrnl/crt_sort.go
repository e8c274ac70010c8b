package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Sorting and searching with the driver's comparison.
var crtSortExports = []Export{
	{Name: "qsort", Fn: do4(qsort), Params: "base number:d width:d compare", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "bsearch", Fn: fn5(bsearch), Params: "key base number:d width:d compare",
		MaxIRQL: anyIRQL, Support: Full},
}

// qsort sorts an array in place.
//
//	void qsort(void *base, size_t number, size_t width,
//	    int (__cdecl *compare)(const void *, const void *))
//
// "qsort".
func qsort(c *Call, base guest.Addr, n, width uintptr, compare guest.Addr) {
	c.Must(rtl.Qsort(base, n, width, c.comparison(compare)))
}

// bsearch looks for a key in a sorted array.
//
//	void *bsearch(const void *key, const void *base, size_t num, size_t width,
//	    int (__cdecl *compare)(const void *key, const void *datum))
//
// NULL if it is not there. "bsearch".
func bsearch(c *Call, key, base guest.Addr, n, width uintptr, compare guest.Addr) guest.Addr {
	a, err := rtl.Bsearch(key, base, n, width, c.comparison(compare))
	return must(c, a, err)
}

// comparison calls the driver's comparison.
func (c *Call) comparison(f guest.Addr) rtl.Compare {
	return func(a, b guest.Addr) (int32, error) {
		return int32(c.T.Call(f, uint64(a), uint64(b))), nil
	}
}
