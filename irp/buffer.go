package irp

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Small system buffers. They lie behind their IRP: a driver that frees one is told that it has freed
// the inside of a block, and what it writes behind one is found as in the pool.

const (
	// packetBuffer is the room behind an IRP, in bytes, and maxPacketBuffer the largest buffer in it.
	packetBuffer    = 384
	maxPacketBuffer = packetBuffer - guardSize

	guardSize = 16 // bytes behind a buffer that are checked
	guardWord = 0xFDFDFDFDFDFDFDFD
	freedByte = 0xDD
)

// memory gives the packet's buffer in place.
func (p *packet) memory() []byte { return guest.Ptr[byte](p.buffer).RefSlice(packetBuffer) }

// setBuffer makes a buffer of size bytes with a copy of in, and zeros behind that.
func (p *packet) setBuffer(in []byte, size int) guest.Addr {
	mem := p.memory()
	n := copy(mem[:size], in)
	clear(mem[n:size])
	binary.LittleEndian.PutUint64(mem[size:], guardWord)
	binary.LittleEndian.PutUint64(mem[size+8:], guardWord)
	p.buffered = size
	return p.buffer
}

// checkBuffer ends the use of the buffer, if there is one: it is overwritten, so that a driver that
// still reads it is found out. The error says that a driver has written behind its end.
func (p *packet) checkBuffer() error {
	size := p.buffered
	if size < 0 {
		return nil
	}
	p.buffered = -1
	mem := p.memory()
	if binary.LittleEndian.Uint64(mem[size:]) != guardWord ||
		binary.LittleEndian.Uint64(mem[size+8:]) != guardWord {
		return &overrunError{p.buffer, size}
	}
	copy(mem[:size], freed[:])
	return nil
}

// freed is what a buffer is overwritten with.
var freed = [packetBuffer]byte(bytes.Repeat([]byte{freedByte}, packetBuffer))

// overrunError is what the pool says of a block that was written past its end.
type overrunError struct {
	buffer guest.Addr
	size   int
}

func (e *overrunError) Error() string {
	return fmt.Sprintf("the system buffer at %v (%d bytes) was written past its end", e.buffer, e.size)
}

// BugCheck gives the code and the parameters.
func (e *overrunError) BugCheck() (nt.BugCheck, [4]uint64) {
	const corrupted = 0x20 // the kind of BAD_POOL_HEADER
	return nt.BAD_POOL_HEADER, [4]uint64{corrupted, uint64(e.buffer) - 16, 0, 0}
}
