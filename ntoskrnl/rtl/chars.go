package rtl

// Reading and writing of character strings in guest memory, in pieces that never touch a page
// that the string itself does not reach.

import (
	"bytes"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// char is a code unit of a string in guest memory: CHAR or WCHAR.
type char interface{ uint8 | uint16 }

const (
	pageSize  = 4096
	chunkSize = 256 // bytes that a cursor or a writer holds at once
)

// unitSize gives the bytes of one code unit.
func unitSize[C char]() int {
	var c C
	if ^c == 0xFF {
		return 1
	}
	return 2
}

// readChunk reads from a as much as fits in buf without crossing the end of a's page, in whole
// units, and at least one unit (which may straddle two pages when a is odd).
func readChunk(buf []byte, a nt.Addr, unit int) (int, error) {
	n := min(len(buf), pageSize-int(a&(pageSize-1)))
	n -= n % unit
	if n == 0 {
		n = unit
	}
	return n, guest.Read(buf[:n], a)
}

// cursor walks a string in guest memory unit by unit. It reads ahead, but only within a page.
type cursor[C char] struct {
	next   nt.Addr // where the following chunk starts
	pos, n int     // the unread part of buf, in bytes
	buf    [chunkSize]byte
}

// start puts the cursor at a.
func (c *cursor[C]) start(a nt.Addr) { c.next, c.pos, c.n = a, 0, 0 }

// addr gives the address of the unit that get returns next.
func (c *cursor[C]) addr() nt.Addr { return c.next - nt.Addr(c.n-c.pos) }

func (c *cursor[C]) fill() error {
	n, err := readChunk(c.buf[:], c.next, unitSize[C]())
	if err != nil {
		return err
	}
	c.pos, c.n = 0, n
	c.next += nt.Addr(n)
	return nil
}

// get returns the unit under the cursor and moves on.
func (c *cursor[C]) get() (C, error) {
	if c.pos == c.n {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	if unitSize[C]() == 1 {
		u := C(c.buf[c.pos])
		c.pos++
		return u, nil
	}
	u := C(uint16(c.buf[c.pos]) | uint16(c.buf[c.pos+1])<<8)
	c.pos += 2
	return u, nil
}

// peek returns the unit under the cursor without moving.
func (c *cursor[C]) peek() (C, error) {
	u, err := c.get()
	if err == nil {
		c.pos -= unitSize[C]()
	}
	return u, err
}

// writer collects units and writes them to guest memory in pieces.
type writer[C char] struct {
	at  nt.Addr // where buf goes
	n   int
	buf [chunkSize]byte
}

func (w *writer[C]) start(a nt.Addr) { w.at, w.n = a, 0 }

func (w *writer[C]) put(u C) error {
	if w.n == len(w.buf) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.buf[w.n] = byte(u)
	w.n++
	if unitSize[C]() == 2 {
		w.buf[w.n] = byte(uint16(u) >> 8)
		w.n++
	}
	return nil
}

func (w *writer[C]) flush() error {
	n := w.n
	w.n = 0
	if n == 0 {
		return nil
	}
	if err := guest.Write(w.at, w.buf[:n]); err != nil {
		return err
	}
	w.at += nt.Addr(n)
	return nil
}

// store writes a single unit.
func store[C char](a nt.Addr, u C) error {
	if unitSize[C]() == 1 {
		return guest.Store8(a, uint8(u))
	}
	return guest.Store16(a, uint16(u))
}

// load reads a single unit.
func load[C char](a nt.Addr) (C, error) {
	if unitSize[C]() == 1 {
		v, err := guest.Load8(a)
		return C(v), err
	}
	v, err := guest.Load16(a)
	return C(v), err
}

// offset gives the address of the i-th unit behind a.
func offset[C char](a nt.Addr, i uintptr) nt.Addr {
	return a + nt.Addr(i)*nt.Addr(unitSize[C]())
}

// indexZero finds the first NUL unit in b, or gives -1.
func indexZero[C char](b []byte) int {
	if unitSize[C]() == 1 {
		return bytes.IndexByte(b, 0)
	}
	for i := 0; i+1 < len(b); i += 2 {
		if b[i]|b[i+1] == 0 {
			return i / 2
		}
	}
	return -1
}
