// Copies and fills of guest memory.

package guest

import "unsafe"

// maxStep bounds what one assembly call does: in it the goroutine cannot be preempted, and a
// garbage collection that wants to begin waits for it.
const maxStep = 1 << 20

// side says which end of a copy is guest memory, or that both are.
type side uint8

const (
	fromGuest side = iota
	toGuest
	inGuest
)

// Read copies len(dst) bytes at src to dst. When a byte cannot be read, the bytes before it are in
// dst and the error is a *FaultError with the byte's address.
func Read(dst []byte, src Addr) error {
	_, err := read(unsafe.Pointer(unsafe.SliceData(dst)), src, uintptr(len(dst)))
	return err
}

// Write copies src to dst. When a byte cannot be written, the bytes before it have been, and the
// error is a *FaultError with the byte's address.
func Write(dst Addr, src []byte) error {
	_, err := write(dst, unsafe.Pointer(unsafe.SliceData(src)), uintptr(len(src)))
	return err
}

// read copies n bytes at src to Go memory and gives back how many it did.
func read(dst unsafe.Pointer, src Addr, n uintptr) (done uintptr, err error) {
	for done < n {
		step := min(n-done, maxStep)
		to, from := unsafe.Add(dst, done), uintptr(src)+done
		if _, info, _ := copyIn(to, from, step); info != 0 {
			left, info, at := copyInExact(to, from, step)
			if info != 0 {
				step -= left
				return done + step, copyFault(uintptr(to)+step, from+step, fromGuest, info, at)
			}
		}
		done += step
	}
	return n, nil
}

// write copies n bytes of Go memory to dst and gives back how many it did.
func write(dst Addr, src unsafe.Pointer, n uintptr) (done uintptr, err error) {
	for done < n {
		step := min(n-done, maxStep)
		to, from := uintptr(dst)+done, unsafe.Add(src, done)
		if _, info, _ := copyOut(to, from, step); info != 0 {
			left, info, at := copyOutExact(to, from, step)
			if info != 0 {
				step -= left
				return done + step, copyFault(to+step, uintptr(from)+step, toGuest, info, at)
			}
		}
		done += step
	}
	return n, nil
}

// Move copies n bytes of guest memory from src to dst, which may overlap: the result is as if the
// source had been read first. When a byte cannot be read or written, the error is a *FaultError
// with its address, and the bytes before it have been copied; only if dst lies behind src within
// n bytes, so that the copy runs backwards, it is the bytes after the last page that was done.
func Move(dst, src Addr, n uintptr) error {
	if uintptr(dst-src) < n || uintptr(src-dst) < n {
		return moveOverlapping(dst, src, n)
	}
	for done := uintptr(0); done < n; {
		step := min(n-done, maxStep)
		to, from := uintptr(dst)+done, uintptr(src)+done
		if _, info, _ := copyGuest(to, from, step); info != 0 {
			left, info, at := copyGuestExact(to, from, step)
			if info != 0 {
				step -= left
				return copyFault(to+step, from+step, inGuest, info, at)
			}
		}
		done += step
	}
	return nil
}

// moveOverlapping moves through a buffer, starting at the end at which nothing that is still to be
// read gets overwritten.
func moveOverlapping(dst, src Addr, n uintptr) error {
	var buf [PageSize]byte
	move := func(off, step uintptr) error {
		got, err := read(unsafe.Pointer(&buf), src+Addr(off), step)
		if _, err := write(dst+Addr(off), unsafe.Pointer(&buf), got); err != nil {
			return err
		}
		return err
	}
	if uintptr(dst-src) < n {
		for n > 0 {
			step := min(n, PageSize)
			n -= step
			if err := move(n, step); err != nil {
				return err
			}
		}
		return nil
	}
	for off := uintptr(0); off < n; {
		step := min(n-off, PageSize)
		if err := move(off, step); err != nil {
			return err
		}
		off += step
	}
	return nil
}

// Fill sets n bytes at dst to b. When a byte cannot be written, the bytes before it have been, and
// the error is a *FaultError with the byte's address.
func Fill(dst Addr, b byte, n uintptr) error {
	for done := uintptr(0); done < n; {
		step := min(n-done, maxStep)
		to := uintptr(dst) + done
		if _, info, _ := fill(to, uint64(b), step); info != 0 {
			left, info, at := fillExact(to, uint64(b), step)
			if info != 0 {
				return newFault(Addr(to+step-left), AccessWrite, info, uint64(at))
			}
		}
		done += step
	}
	return nil
}

// copyFault makes the error of an exact copy that stopped before the byte at src or at dst.
func copyFault(dst, src uintptr, s side, info uint64, at uintptr) error {
	var wrote bool
	switch {
	case byte(info>>8) == trapPageFault:
		wrote = info&faultWrite != 0
	case at != 0:
		wrote = at == dst && at != src
	case s == inGuest:
		// No address in the frame. The load comes before the store, so it was the store only if
		// the source is an address that can be loaded from.
		wrote = src < uintptr(mappableEnd)
	default:
		wrote = s == toGuest
	}
	if wrote {
		return &FaultError{Addr: Addr(dst), Access: AccessWrite}
	}
	return &FaultError{Addr: Addr(src), Access: AccessRead}
}
