package rtl

// Memory comparison and search: memcmp, memchr, RtlCompareMemory and RtlCompareMemoryUlong.

import (
	"bytes"
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// common counts the leading bytes that a and b share, up to n, and gives the first that differ.
func common(a, b nt.Addr, n uintptr) (equal uintptr, x, y byte, err error) {
	var p, q [chunkSize]byte
	for equal < n {
		at, bt := a+nt.Addr(equal), b+nt.Addr(equal)
		k := int(min(n-equal, chunkSize,
			uintptr(pageSize-at&(pageSize-1)), uintptr(pageSize-bt&(pageSize-1))))
		if err = guest.Read(p[:k], at); err != nil {
			return equal, 0, 0, err
		}
		if err = guest.Read(q[:k], bt); err != nil {
			return equal, 0, 0, err
		}
		if bytes.Equal(p[:k], q[:k]) {
			equal += uintptr(k)
			continue
		}
		i := 0
		for p[i] == q[i] {
			i++
		}
		return equal + uintptr(i), p[i], q[i], nil
	}
	return equal, 0, 0, nil
}

// CompareMemory is RtlCompareMemory: the number of leading bytes that are equal.
func CompareMemory(a, b nt.Addr, n uintptr) (uintptr, error) {
	k, _, _, err := common(a, b, n)
	return k, err
}

// Memcmp is memcmp: -1, 0 or 1.
func Memcmp(a, b nt.Addr, n uintptr) (int32, error) {
	_, x, y, err := common(a, b, n)
	return sign(int32(x)-int32(y), err)
}

// Memchr is memchr: the address of the first c among n bytes, or null. It does not read past it.
func Memchr(s nt.Addr, c int32, n uintptr) (nt.Addr, error) {
	var buf [chunkSize]byte
	for n > 0 {
		k, err := readChunk(buf[:min(n, chunkSize)], s, 1)
		if err != nil {
			return 0, err
		}
		if i := bytes.IndexByte(buf[:k], byte(c)); i >= 0 {
			return s + nt.Addr(i), nil
		}
		s += nt.Addr(k)
		n -= uintptr(k)
	}
	return 0, nil
}

// CompareMemoryUlong is RtlCompareMemoryUlong: the bytes, in whole ULONGs, that equal the pattern.
// It returns 0 if s is not aligned to 4.
func CompareMemoryUlong(s nt.Addr, n uintptr, pattern uint32) (uintptr, error) {
	if s%4 != 0 {
		return 0, nil
	}
	n &^= 3
	var buf [chunkSize]byte
	for done := uintptr(0); done < n; {
		k, err := readChunk(buf[:min(n-done, chunkSize)], s+nt.Addr(done), 4)
		if err != nil {
			return done, err
		}
		for i := 0; i < k; i += 4 {
			if binary.LittleEndian.Uint32(buf[i:]) != pattern {
				return done + uintptr(i), nil
			}
		}
		done += uintptr(k)
	}
	return n, nil
}

// FillMemoryUlong is RtlFillMemoryUlong: n is rounded down to whole ULONGs.
func FillMemoryUlong(dst nt.Addr, n uintptr, pattern uint32) error {
	var buf [chunkSize]byte
	for i := 0; i < len(buf); i += 4 {
		binary.LittleEndian.PutUint32(buf[i:], pattern)
	}
	n &^= 3
	for n > 0 {
		k := min(n, chunkSize)
		if err := guest.Write(dst, buf[:k]); err != nil {
			return err
		}
		dst += nt.Addr(k)
		n -= k
	}
	return nil
}
