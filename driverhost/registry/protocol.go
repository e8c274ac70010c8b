package registry

// The protocol. Both sides say frames: a length, four bytes little-endian, a kind, and that many bytes
// less one; numbers in them are varints. A mirror begins, with a request:
//
//	pull   id, the change that it has come to
//	write  id, the change that it has come to, changes
//	wait   id, the change that it has come to
//
// The server greets once, before its first answer, with its version and the descriptor of its counter.
// It answers in order, but for wait, whose answer comes when there are later changes and has none:
//
//	tree   the change that it has come to, changes that make a part of the whole tree
//	log    the first one's number, changes in their order
//	done   id, status, the change that the answer comes to
//
// Changes are numbered from 1 for each server. The whole tree comes, in its frames one after another
// and then what has happened since, to who has 0 or is too far behind.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const version = 2

// The kinds of frames.
const (
	kindHello = iota + 1
	kindPull
	kindWrite
	kindWait
	kindTree
	kindLog
	kindDone
)

const (
	maxFrame  = 32 << 20 // bytes of a frame
	maxData   = 16 << 20 // bytes of a value that is shared
	maxWrites = 1 << 16  // changes of one request
	treeFrame = 64 << 10 // bytes of changes after which a frame is full

	strangerFrame = 1 << 20 // bytes of a frame of who may not write, and is told so
)

// frame is a frame that grows; the length is filled in by end.
type frame []byte

func newFrame(kind byte) frame { return frame{0, 0, 0, 0, kind} }

func (f frame) number(n uint64) frame { return binary.AppendUvarint(f, n) }

func (f frame) text(s string) frame { return append(f.number(uint64(len(s))), s...) }

// bytes appends bytes, of which nil is another thing than none.
func (f frame) bytes(b []byte) frame {
	if b == nil {
		return f.number(0)
	}
	return append(f.number(uint64(len(b))+1), b...)
}

func (f frame) end() ([]byte, error) {
	n := len(f) - 4
	if n > maxFrame {
		return nil, fmt.Errorf("registry: a frame of %d bytes, at most %d are allowed", n, maxFrame)
	}
	binary.LittleEndian.PutUint32(f, uint32(n))
	return f, nil
}

// Beside its kind, the first byte of a change has flags.
const (
	opMask       = 0x0F
	flagLink     = 0x10
	flagVolatile = 0x20
)

// change appends a change. Of its key's path it has what differs from before, which is the path of the
// change before it in the frame.
func (f frame) change(c *cm.Change, before string) frame {
	first := byte(c.Op) & opMask
	if c.Link {
		first |= flagLink
	}
	if c.Volatile {
		first |= flagVolatile
	}
	same := 0
	for same < len(before) && same < len(c.Key) && before[same] == c.Key[same] {
		same++
	}
	f = append(f, first).number(uint64(same)).text(c.Key[same:])
	switch c.Op {
	case cm.OpCreateKey:
		f = f.text(c.Class)
	case cm.OpRenameKey, cm.OpDeleteValue:
		f = f.text(c.Name)
	case cm.OpSetValue:
		f = f.text(c.Name).number(uint64(c.Type)).bytes(c.Data)
	case cm.OpSetSecurity:
		f = f.bytes(c.Data)
	}
	return f
}

// errFrame says that a frame is none.
var errFrame = errors.New("registry: a malformed frame")

// reader takes a frame apart. Once it has failed it gives zeroes.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.failed = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.failed = nil, true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) text() string { return string(r.take(r.number())) }

// bytes gives bytes of the frame itself.
func (r *reader) bytes() []byte {
	n := r.number()
	if n == 0 {
		return nil
	}
	return r.take(n - 1)
}

// changes calls f with the changes up to the frame's end.
func (r *reader) changes(f func(c cm.Change) error) error {
	before := ""
	for len(r.b) > 0 {
		first := r.b[0]
		r.b = r.b[1:]
		c := cm.Change{Op: cm.Op(first & opMask), Link: first&flagLink != 0,
			Volatile: first&flagVolatile != 0}
		same, rest := r.number(), r.take(r.number())
		switch {
		case same > uint64(len(before)):
			return errFrame
		case same == uint64(len(before)) && len(rest) == 0:
			c.Key = before
		default:
			c.Key = before[:same] + string(rest)
		}
		before = c.Key
		switch c.Op {
		case cm.OpCreateKey:
			c.Class = r.text()
		case cm.OpRenameKey, cm.OpDeleteValue:
			c.Name = r.text()
		case cm.OpSetValue:
			c.Name, c.Type, c.Data = r.text(), uint32(r.number()), r.bytes()
		case cm.OpSetSecurity:
			c.Data = r.bytes()
		}
		if r.failed {
			return errFrame
		}
		if err := f(c); err != nil {
			return err
		}
	}
	if r.failed {
		return errFrame
	}
	return nil
}

// plainFrame is how long a frame may be for its memory to be taken at once.
const plainFrame = 2 * treeFrame

// readFrame reads a frame of at most so many bytes. The memory of a long one is taken as its bytes come,
// not as its length says.
func readFrame(in io.Reader, most int64) (kind byte, r *reader, err error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:])) - 1
	if n < 0 || n >= most {
		return 0, nil, fmt.Errorf("registry: a frame of %d bytes, at most %d are allowed", n+1, most)
	}
	if n <= plainFrame {
		b := make([]byte, n)
		_, err = io.ReadFull(in, b)
		return head[4], &reader{b: b}, err
	}
	b, err := io.ReadAll(io.LimitReader(in, n))
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return head[4], &reader{b: b}, err
}
