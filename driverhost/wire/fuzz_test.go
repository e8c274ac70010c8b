package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/drvhost/drvhost/nt"
)

// pack joins messages into one input: each has a length of 16 bits before it, whose highest bit says
// that the size in the message's header is made right.
func pack(messages ...[]byte) (data []byte) {
	for _, m := range messages {
		data = binary.LittleEndian.AppendUint16(data, uint16(len(m))|0x8000)
		data = append(data, m...)
	}
	return data
}

func unpack(data []byte) (messages [][]byte) {
	for len(data) >= 2 && len(messages) < 64 {
		n := binary.LittleEndian.Uint16(data)
		data = data[2:]
		m := bytes.Clone(data[:min(int(n&0x7FFF), len(data))])
		data = data[len(m):]
		if n&0x8000 != 0 && len(m) >= 4 {
			binary.LittleEndian.PutUint32(m, uint32(len(m)))
		}
		messages = append(messages, m)
	}
	return messages
}

// FuzzConn sends any messages to a host, before and after a Hello. The connection must end with the
// client.
func FuzzConn(f *testing.F) {
	const hello = true
	echo := request(RequestHeader{ID: 1, Major: nt.IRP_MJ_DEVICE_CONTROL, InLen: 3, OutLen: 8}, 1, 2, 3)
	read := request(RequestHeader{ID: 2, Major: nt.IRP_MJ_READ, OutLen: 16})
	write := request(RequestHeader{ID: 3, Major: nt.IRP_MJ_WRITE, Flags: FlagOffset, InLen: 1}, 9)
	shared := request(RequestHeader{ID: 4, Major: nt.IRP_MJ_DEVICE_CONTROL,
		Flags: FlagInShared | FlagOutShared, InLen: 64, OutLen: 64, InPlace: 128})
	header := func(t MsgType, n int, id uint64) []byte {
		m := make([]byte, n)
		PutHeader(m, t, id)
		return m
	}
	f.Add(hello, pack(echo, read, header(MsgCancel, HeaderSize, 2), write))
	f.Add(hello, pack(header(MsgBuffer, BufferSize, 5), shared, header(MsgClose, HeaderSize, 6)))
	f.Add(hello, pack(echo[:20], header(MsgGoodbye, GoodbyeSize, 0)))
	f.Add(!hello, pack(sample()[0], echo))
	f.Add(!hello, pack(sample()[0][:40]))
	f.Add(!hello, []byte{0xFF, 0xFF, 1, 2, 3})
	f.Fuzz(func(t *testing.T, hello bool, data []byte) {
		r := newRig(t, Config{})
		close(r.stub.release)
		if hello {
			r.open()
		}
		for _, m := range unpack(data) {
			if len(m) > 0 {
				r.sock.TrySend(m)
			}
		}
		r.sock.Close()
		select {
		case <-r.done:
		case <-time.After(30 * time.Second):
			t.Fatal("the connection does not end")
		}
	})
}

// FuzzMessages reads any bytes as each of the messages.
func FuzzMessages(f *testing.F) {
	for _, m := range sample() {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		_, _, _ = ParseHeader(m, len(m))
		if h, err := ParseHello(m); err == nil && len(h.Name) > 3*MaxNameUnits {
			t.Fatalf("a name of %d bytes", len(h.Name))
		}
		if w, err := ParseWelcome(m); err == nil && len(w.Text) > 4*len(m) {
			t.Fatalf("a text of %d bytes out of %d", len(w.Text), len(m))
		}
		_, _, _ = ParseBufferReply(m)
		_, _, _ = ParseGoodbye(m)
		var reply ReplyHeader
		if len(m) >= HeaderSize && MsgType(m[4]) == MsgReply {
			_ = reply.Parse(m)
		}
	})
}
