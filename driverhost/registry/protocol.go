package registry

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// The protocol: frames of a length, four bytes little-endian, and that many bytes of JSON. The server
// says its version, the changes that make its tree, ready, then changes and answers as they come.

const version = 1

const (
	maxFrame  = 32 << 20 // bytes of a frame's JSON
	maxData   = 16 << 20 // bytes of a value that is shared; base64 makes a third more of them
	maxQueued = 64 << 20 // bytes that wait for a reader, beside the tree, before it is cut off
	maxWrites = 4096     // changes of one request
)

// event is what the server says.
type event struct {
	Version int        `json:"version,omitempty"`
	Change  *cm.Change `json:"change,omitempty"`
	Ready   bool       `json:"ready,omitempty"`
	Reply   uint64     `json:"reply,omitempty"` // the request's ID
	Status  nt.Status  `json:"status,omitempty"`
}

// request is what a mirror asks for.
type request struct {
	ID      uint64      `json:"id"`
	Changes []cm.Change `json:"changes"`
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > maxFrame {
		return nil, fmt.Errorf("registry: a frame of %d bytes, at most %d are allowed", len(b), maxFrame)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...), nil
}

// decode reads a frame; memory is taken as its bytes come, not as its length says.
func decode(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return fmt.Errorf("registry: a frame of %d bytes, at most %d are allowed", n, maxFrame)
	}
	var b []byte
	var err error
	const plain = 64 << 10
	if n <= plain {
		b = make([]byte, n)
		_, err = io.ReadFull(r, b)
	} else if b, err = io.ReadAll(io.LimitReader(r, int64(n))); err == nil && len(b) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// buffered is a connection that is read by larger pieces.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func newBuffered(conn net.Conn) *buffered {
	return &buffered{conn, bufio.NewReaderSize(conn, bufferSize)}
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }
