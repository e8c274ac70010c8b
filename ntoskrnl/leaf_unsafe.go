package ntoskrnl

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// Addresses of the routines in leaf_amd64.s, in Go's text.
var (
	addrMemmove, addrMemset, addrZeroMemory, addrFillMemory *byte
	addrMemcmp, addrCompareMemory                           *byte
	addrChkstk, addrSqrt, addrSqrtf, addrBreak              *byte
)

// leafText gives the code at start, up to its end mark.
func leafText(start *byte) []byte {
	const longest = 1024
	window := unsafe.Slice(start, longest)
	n := bytes.Index(window, binary.LittleEndian.AppendUint64(nil, leafEnd))
	if n < 0 {
		panic("ntoskrnl: an assembly function has no end mark")
	}
	return window[:n:n]
}
