package rtl

// The str* and wcs* functions of the C runtime over guest memory.
//
// Each error is a *guest.FaultError: a string that runs into an unmapped page before its NUL. Case
// is that of the "C" locale for char (only A-Z), and of the NLS tables for WCHAR.

import (
	"math"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func length[C char](s nt.Addr, most uintptr) (uintptr, error) {
	var c cursor[C]
	c.start(s)
	var n uintptr
	for n < most {
		if err := c.fill(); err != nil {
			return 0, err
		}
		k := c.n / unitSize[C]()
		if i := indexZero[C](c.buf[:c.n]); i >= 0 {
			return min(n+uintptr(i), most), nil
		}
		n += uintptr(k)
	}
	return most, nil
}

// Strlen is strlen.
func Strlen(s nt.Addr) (uintptr, error) { return length[uint8](s, math.MaxInt) }

// Strnlen is strnlen.
func Strnlen(s nt.Addr, most uintptr) (uintptr, error) { return length[uint8](s, most) }

// Wcslen is wcslen, in WCHARs.
func Wcslen(s nt.Addr) (uintptr, error) { return length[uint16](s, math.MaxInt) }

// Wcsnlen is wcsnlen, in WCHARs.
func Wcsnlen(s nt.Addr, most uintptr) (uintptr, error) { return length[uint16](s, most) }

// compare compares up to most units: the difference of the first that differ, as Microsoft's str*
// functions give for case-insensitive comparison; callers take the sign where that is documented.
func compare[C char](a, b nt.Addr, most uintptr, fold func(C) C) (int32, error) {
	var x, y cursor[C]
	x.start(a)
	y.start(b)
	for ; most > 0; most-- {
		c, err := x.get()
		if err != nil {
			return 0, err
		}
		d, err := y.get()
		if err != nil {
			return 0, err
		}
		if c != d && fold != nil {
			c, d = fold(c), fold(d)
		}
		if c != d {
			return int32(c) - int32(d), nil
		}
		if c == 0 {
			return 0, nil
		}
	}
	return 0, nil
}

func sign(v int32, err error) (int32, error) {
	switch {
	case v < 0:
		return -1, err
	case v > 0:
		return 1, err
	}
	return 0, err
}

func lowerNarrow(c uint8) uint8 { return uint8(Tolower(int32(c))) }

// Strcmp is strcmp: -1, 0 or 1.
func Strcmp(a, b nt.Addr) (int32, error) { return sign(compare[uint8](a, b, Truncate, nil)) }

// Strncmp is strncmp: the difference of the first bytes that differ.
func Strncmp(a, b nt.Addr, n uintptr) (int32, error) { return compare[uint8](a, b, n, nil) }

// Stricmp is _stricmp.
func Stricmp(a, b nt.Addr) (int32, error) { return compare(a, b, Truncate, lowerNarrow) }

// Strnicmp is _strnicmp.
func Strnicmp(a, b nt.Addr, n uintptr) (int32, error) { return compare(a, b, n, lowerNarrow) }

// Wcscmp is wcscmp: -1, 0 or 1.
func Wcscmp(a, b nt.Addr) (int32, error) { return sign(compare[uint16](a, b, Truncate, nil)) }

// Wcsncmp is wcsncmp: the difference of the first units that differ.
func Wcsncmp(a, b nt.Addr, n uintptr) (int32, error) { return compare[uint16](a, b, n, nil) }

// Wcsicmp is _wcsicmp.
func Wcsicmp(a, b nt.Addr) (int32, error) { return compare(a, b, Truncate, DowncaseUnicodeChar) }

// Wcsnicmp is _wcsnicmp.
func Wcsnicmp(a, b nt.Addr, n uintptr) (int32, error) {
	return compare(a, b, n, DowncaseUnicodeChar)
}

func findChar[C char](s nt.Addr, want C, last bool) (nt.Addr, error) {
	var c cursor[C]
	c.start(s)
	var found nt.Addr
	for {
		at := c.addr()
		u, err := c.get()
		if err != nil {
			return 0, err
		}
		if u == want {
			found = at
			if !last {
				return found, nil
			}
		}
		if u == 0 {
			return found, nil
		}
	}
}

// Strchr is strchr: the address of the first c (also of the NUL), or null.
func Strchr(s nt.Addr, c int32) (nt.Addr, error) { return findChar(s, uint8(c), false) }

// Strrchr is strrchr.
func Strrchr(s nt.Addr, c int32) (nt.Addr, error) { return findChar(s, uint8(c), true) }

// Wcschr is wcschr.
func Wcschr(s nt.Addr, c uint16) (nt.Addr, error) { return findChar(s, c, false) }

// Wcsrchr is wcsrchr.
func Wcsrchr(s nt.Addr, c uint16) (nt.Addr, error) { return findChar(s, c, true) }

// find is strstr. The text is read once, with a window as long as what is sought, so that its time
// is bounded by the product of the lengths and it reads nothing behind the NUL.
func find[C char](s, sub nt.Addr) (nt.Addr, error) {
	n, err := length[C](sub, math.MaxInt)
	if err != nil || n == 0 {
		return s, err
	}
	first, err := load[C](sub)
	if err != nil {
		return 0, err
	}
	for {
		at, err := findChar(s, first, false)
		if err != nil || at == 0 {
			return 0, err
		}
		d, end, err := prefixOf[C](at, sub, n)
		if err != nil {
			return 0, err
		}
		if d {
			return at, nil
		}
		if end {
			return 0, nil
		}
		s = offset[C](at, 1)
	}
}

// prefixOf reports whether the string at s starts with the n units at sub, and whether it ended.
func prefixOf[C char](s, sub nt.Addr, n uintptr) (yes, end bool, err error) {
	var x, y cursor[C]
	x.start(s)
	y.start(sub)
	for range n {
		c, err := x.get()
		if err != nil {
			return false, false, err
		}
		d, err := y.get()
		if err != nil {
			return false, false, err
		}
		if c != d {
			// An earlier end of the text ends the search: what is left is too short.
			return false, c == 0, nil
		}
	}
	return true, false, nil
}

// Strstr is strstr.
func Strstr(s, sub nt.Addr) (nt.Addr, error) { return find[uint8](s, sub) }

// Wcsstr is wcsstr.
func Wcsstr(s, sub nt.Addr) (nt.Addr, error) { return find[uint16](s, sub) }

// set reads the units of a NUL-terminated set of characters.
func contains[C char](set nt.Addr, want C) (bool, error) {
	at, err := findChar(set, want, false)
	return at != 0 && want != 0, err
}

// span counts the leading units of s that are (in) or are not in set; at most whole string.
func span[C char](s, set nt.Addr, in bool) (uintptr, error) {
	var c cursor[C]
	c.start(s)
	for n := uintptr(0); ; n++ {
		u, err := c.get()
		if err != nil || u == 0 {
			return n, err
		}
		ok, err := contains(set, u)
		if err != nil || ok != in {
			return n, err
		}
	}
}

// Strspn is strspn.
func Strspn(s, set nt.Addr) (uintptr, error) { return span[uint8](s, set, true) }

// Strcspn is strcspn.
func Strcspn(s, set nt.Addr) (uintptr, error) { return span[uint8](s, set, false) }

// Wcsspn is wcsspn.
func Wcsspn(s, set nt.Addr) (uintptr, error) { return span[uint16](s, set, true) }

// Wcscspn is wcscspn.
func Wcscspn(s, set nt.Addr) (uintptr, error) { return span[uint16](s, set, false) }

func breakAt[C char](s, set nt.Addr) (nt.Addr, error) {
	n, err := span[C](s, set, false)
	if err != nil {
		return 0, err
	}
	at := offset[C](s, n)
	if u, err := load[C](at); err != nil || u == 0 {
		return 0, err
	}
	return at, nil
}

// Strpbrk is strpbrk.
func Strpbrk(s, set nt.Addr) (nt.Addr, error) { return breakAt[uint8](s, set) }

// Wcspbrk is wcspbrk.
func Wcspbrk(s, set nt.Addr) (nt.Addr, error) { return breakAt[uint16](s, set) }

// copyTo copies up to most units of src to dst, up to and with the NUL, and returns the units
// before the NUL; cut says that no NUL was met.
func copyTo[C char](dst, src nt.Addr, most uintptr) (n uintptr, cut bool, err error) {
	var c cursor[C]
	var w writer[C]
	c.start(src)
	w.start(dst)
	for n < most {
		u, err := c.get()
		if err != nil {
			_ = w.flush()
			return n, false, err
		}
		if err := w.put(u); err != nil {
			return n, false, err
		}
		if u == 0 {
			return n, false, w.flush()
		}
		n++
	}
	return n, true, w.flush()
}

func fill[C char](dst nt.Addr, u C, n uintptr) error {
	var w writer[C]
	w.start(dst)
	for range n {
		if err := w.put(u); err != nil {
			return err
		}
	}
	return w.flush()
}

func copyN[C char](dst, src nt.Addr, n uintptr) error {
	k, cut, err := copyTo[C](dst, src, n)
	if err != nil || cut {
		return err
	}
	return fill[C](offset[C](dst, k), 0, n-k)
}

// Strcpy is strcpy; the row returns dst.
func Strcpy(dst, src nt.Addr) error {
	_, _, err := copyTo[uint8](dst, src, Truncate)
	return err
}

// Strncpy is strncpy: n bytes exactly, padded with zeros, without NUL if src is longer.
func Strncpy(dst, src nt.Addr, n uintptr) error { return copyN[uint8](dst, src, n) }

// Wcscpy is wcscpy.
func Wcscpy(dst, src nt.Addr) error {
	_, _, err := copyTo[uint16](dst, src, Truncate)
	return err
}

// Wcsncpy is wcsncpy, with n in WCHARs.
func Wcsncpy(dst, src nt.Addr, n uintptr) error { return copyN[uint16](dst, src, n) }

func concat[C char](dst, src nt.Addr, n uintptr) error {
	k, err := length[C](dst, math.MaxInt)
	if err != nil {
		return err
	}
	end := offset[C](dst, k)
	m, cut, err := copyTo[C](end, src, n)
	if err != nil || !cut {
		return err
	}
	return store[C](offset[C](end, m), 0)
}

// Strcat is strcat.
func Strcat(dst, src nt.Addr) error { return concat[uint8](dst, src, Truncate) }

// Strncat is strncat: at most n bytes of src, always with a NUL.
func Strncat(dst, src nt.Addr, n uintptr) error { return concat[uint8](dst, src, n) }

// Wcscat is wcscat.
func Wcscat(dst, src nt.Addr) error { return concat[uint16](dst, src, Truncate) }

// Wcsncat is wcsncat.
func Wcsncat(dst, src nt.Addr, n uintptr) error { return concat[uint16](dst, src, n) }

// mapString maps the units of a NUL-terminated string in place, most of them at most; it reports
// whether the NUL was met.
func mapString[C char](s nt.Addr, most uintptr, mapping func(C) C) (bool, error) {
	var c cursor[C]
	c.start(s)
	for ; most > 0; most-- {
		at := c.addr()
		u, err := c.get()
		if err != nil || u == 0 {
			return true, err
		}
		if v := mapping(u); v != u {
			if err := store(at, v); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// Strupr is _strupr.
func Strupr(s nt.Addr) error {
	_, err := mapString(s, Truncate, UpperChar)
	return err
}

// Strlwr is _strlwr.
func Strlwr(s nt.Addr) error {
	_, err := mapString(s, Truncate, lowerNarrow)
	return err
}

// Wcsupr is _wcsupr.
func Wcsupr(s nt.Addr) error {
	_, err := mapString(s, Truncate, UpcaseUnicodeChar)
	return err
}

// Wcslwr is _wcslwr.
func Wcslwr(s nt.Addr) error {
	_, err := mapString(s, Truncate, DowncaseUnicodeChar)
	return err
}

func reverse[C char](s nt.Addr) error {
	n, err := length[C](s, math.MaxInt)
	if err != nil || n == 0 {
		return err
	}
	for i, j := uintptr(0), n-1; i < j; i, j = i+1, j-1 {
		a, err := load[C](offset[C](s, i))
		if err != nil {
			return err
		}
		b, err := load[C](offset[C](s, j))
		if err != nil {
			return err
		}
		if err := store(offset[C](s, i), b); err != nil {
			return err
		}
		if err := store(offset[C](s, j), a); err != nil {
			return err
		}
	}
	return nil
}

// Strrev is _strrev.
func Strrev(s nt.Addr) error { return reverse[uint8](s) }

// Wcsrev is _wcsrev.
func Wcsrev(s nt.Addr) error { return reverse[uint16](s) }

func setAll[C char](s nt.Addr, u C, most uintptr) error {
	n, err := length[C](s, most)
	if err != nil {
		return err
	}
	return fill(s, u, n)
}

// Strset is _strset: every byte before the NUL becomes c.
func Strset(s nt.Addr, c int32) error { return setAll(s, uint8(c), math.MaxInt) }

// Strnset is _strnset: at most n bytes.
func Strnset(s nt.Addr, c int32, n uintptr) error { return setAll(s, uint8(c), n) }

// Wcsset is _wcsset.
func Wcsset(s nt.Addr, c uint16) error { return setAll(s, c, math.MaxInt) }

// Wcsnset is _wcsnset.
func Wcsnset(s nt.Addr, c uint16, n uintptr) error { return setAll(s, c, n) }

// token is strtok_s: s is the text, or null to go on at *context. It returns the token's address, or
// null, and stores where to go on.
func token[C char](s, set, context nt.Addr) (nt.Addr, error) {
	if s == 0 {
		var err error
		if s, err = guest.LoadAddr(context); err != nil || s == 0 {
			return 0, err
		}
	}
	n, err := span[C](s, set, true)
	if err != nil {
		return 0, err
	}
	s = offset[C](s, n)
	n, err = span[C](s, set, false)
	if err != nil {
		return 0, err
	}
	end := offset[C](s, n)
	if n == 0 {
		return 0, guest.StoreAddr(context, end)
	}
	u, err := load[C](end)
	if err != nil {
		return 0, err
	}
	if u != 0 {
		if err := store[C](end, 0); err != nil {
			return 0, err
		}
		end = offset[C](end, 1)
	}
	return s, guest.StoreAddr(context, end)
}
