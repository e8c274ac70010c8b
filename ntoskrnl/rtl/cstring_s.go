package rtl

// The secure string functions of the C runtime (strcpy_s and kin) over guest memory.
//
// They return an errno_t. In the kernel nothing calls an invalid-parameter handler: the function
// sets the destination to an empty string and returns. Source: the pages of strcpy_s, strncpy_s,
// strcat_s, strncat_s and _strupr_s.

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Values of errno_t.
const (
	EINVAL    = 22
	ERANGE    = 34
	STRUNCATE = 80 // a copy with _TRUNCATE was cut
)

// copySecure copies at most n units of src to dst, which has size units, behind the from units that
// are there.
func copySecure[C char](dst nt.Addr, size, from uintptr, src nt.Addr, n uintptr) (int32, error) {
	if dst == 0 || size == 0 || from >= size {
		return EINVAL, nil
	}
	if src == 0 {
		return EINVAL, store[C](dst, 0)
	}
	at := offset[C](dst, from)
	room := size - from // units, with the NUL
	most := min(n, room)
	k, cut, err := copyTo[C](at, src, most)
	if err != nil || !cut {
		return 0, err
	}
	if k < room { // n units copied, and there is room for the NUL
		return 0, store[C](offset[C](at, k), 0)
	}
	// No NUL among room units: the text does not fit, unless n units is all that was asked for.
	if n == Truncate {
		return STRUNCATE, store[C](offset[C](at, room-1), 0)
	}
	return ERANGE, store[C](dst, 0)
}

func catSecure[C char](dst nt.Addr, size uintptr, src nt.Addr, n uintptr) (int32, error) {
	if dst == 0 || size == 0 {
		return EINVAL, nil
	}
	k, err := length[C](dst, size)
	if err != nil {
		return EINVAL, err
	}
	if k == size {
		return EINVAL, store[C](dst, 0)
	}
	return copySecure[C](dst, size, k, src, n)
}

// all is the count of the functions that have none: everything must fit.
const all = Truncate - 1

// StrcpyS is strcpy_s; ERANGE and an empty dst if src does not fit.
func StrcpyS(dst nt.Addr, size uintptr, src nt.Addr) (int32, error) {
	return copySecure[uint8](dst, size, 0, src, all)
}

// StrncpyS is strncpy_s; with [Truncate] as count a text that is too long is cut: STRUNCATE.
func StrncpyS(dst nt.Addr, size uintptr, src nt.Addr, count uintptr) (int32, error) {
	return copySecure[uint8](dst, size, 0, src, count)
}

// WcscpyS is wcscpy_s, with size in WCHARs.
func WcscpyS(dst nt.Addr, size uintptr, src nt.Addr) (int32, error) {
	return copySecure[uint16](dst, size, 0, src, all)
}

// WcsncpyS is wcsncpy_s.
func WcsncpyS(dst nt.Addr, size uintptr, src nt.Addr, count uintptr) (int32, error) {
	return copySecure[uint16](dst, size, 0, src, count)
}

// StrcatS is strcat_s.
func StrcatS(dst nt.Addr, size uintptr, src nt.Addr) (int32, error) {
	return catSecure[uint8](dst, size, src, all)
}

// StrncatS is strncat_s.
func StrncatS(dst nt.Addr, size uintptr, src nt.Addr, count uintptr) (int32, error) {
	return catSecure[uint8](dst, size, src, count)
}

// WcscatS is wcscat_s.
func WcscatS(dst nt.Addr, size uintptr, src nt.Addr) (int32, error) {
	return catSecure[uint16](dst, size, src, all)
}

// WcsncatS is wcsncat_s.
func WcsncatS(dst nt.Addr, size uintptr, src nt.Addr, count uintptr) (int32, error) {
	return catSecure[uint16](dst, size, src, count)
}

func mapSecure[C char](s nt.Addr, size uintptr, mapping func(C) C) (int32, error) {
	if s == 0 {
		return EINVAL, nil
	}
	n, err := length[C](s, size)
	if err != nil {
		return EINVAL, err
	}
	if n == size {
		if size > 0 {
			err = store[C](s, 0)
		}
		return EINVAL, err
	}
	_, err = mapString(s, size, mapping)
	return 0, err
}

// StruprS is _strupr_s: EINVAL if there is no NUL within size.
func StruprS(s nt.Addr, size uintptr) (int32, error) { return mapSecure(s, size, UpperChar) }

// StrlwrS is _strlwr_s.
func StrlwrS(s nt.Addr, size uintptr) (int32, error) { return mapSecure(s, size, lowerNarrow) }

// WcsuprS is _wcsupr_s.
func WcsuprS(s nt.Addr, size uintptr) (int32, error) {
	return mapSecure(s, size, UpcaseUnicodeChar)
}

// WcslwrS is _wcslwr_s.
func WcslwrS(s nt.Addr, size uintptr) (int32, error) {
	return mapSecure(s, size, DowncaseUnicodeChar)
}

func tokenSecure[C char](s, set, context nt.Addr) (nt.Addr, error) {
	if context == 0 || set == 0 {
		return 0, nil
	}
	return token[C](s, set, context)
}

// StrtokS is strtok_s: the next token of s (null: of the text in *context), or null.
func StrtokS(s, set, context nt.Addr) (nt.Addr, error) {
	return tokenSecure[uint8](s, set, context)
}

// WcstokS is wcstok_s.
func WcstokS(s, set, context nt.Addr) (nt.Addr, error) {
	return tokenSecure[uint16](s, set, context)
}

// MemcpyS is memcpy_s and memmove_s: n bytes into size bytes at dst. A null pointer is EINVAL; too
// small a destination is ERANGE, and is filled with zeros.
func MemcpyS(dst nt.Addr, size uintptr, src nt.Addr, n uintptr) (int32, error) {
	if n == 0 {
		return 0, nil
	}
	if dst == 0 {
		return EINVAL, nil
	}
	if src == 0 {
		return EINVAL, guest.Fill(dst, 0, size)
	}
	if n > size {
		return ERANGE, guest.Fill(dst, 0, size)
	}
	return 0, guest.Move(dst, src, n)
}
