package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// frames makes a stream of an input: each line is the JSON of a frame, but for lines that begin with
// an exclamation mark, which are put into the stream as they are.
func frames(data []byte) (stream []byte) {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if raw, ok := bytes.CutPrefix(line, []byte("!")); ok {
			stream = append(stream, raw...)
			continue
		}
		stream = binary.LittleEndian.AppendUint32(stream, uint32(len(line)))
		stream = append(stream, line...)
	}
	return stream
}

// pair gives the two ends of a socket.
func pair(t *testing.T) (a, b net.Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		ends[i], err = net.FileConn(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	t.Cleanup(func() {
		_ = ends[0].Close()
		_ = ends[1].Close()
	})
	return ends[0], ends[1]
}

const fuzzPatience = 30 * time.Second

func within(t *testing.T, what string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(fuzzPatience):
		t.Fatalf("%s does not end", what)
	}
}

func tree(r *cm.Registry) string {
	var b bytes.Buffer
	for c := range r.Changes {
		fmt.Fprintf(&b, "%+v\n", c)
	}
	return b.String()
}

// FuzzServer sends anything to a server. The connection ends with its sender, and another that was
// there all the while has the server's tree.
func FuzzServer(f *testing.F) {
	const key = `"key":"\\REGISTRY\\MACHINE\\a"`
	f.Add([]byte(`{"id":1,"changes":[{"op":1,` + key + `},{"op":4,` + key +
		`,"name":"v","type":4,"data":"AQAAAA=="}]}`))
	f.Add([]byte(`{"id":1,"changes":[{"op":1,` + key + `}]}` + "\n" +
		`{"id":2,"changes":[{"op":3,` + key + `,"name":"b"},{"op":2,"key":"\\REGISTRY\\MACHINE\\b"}]}`))
	f.Add([]byte(`{"id":1,"changes":[{"op":1,` + key + `,"link":true},{"op":4,` + key +
		`,"name":"SymbolicLinkValue","type":6,"data":"XABSAA=="},{"op":6,` + key + `}]}`))
	f.Add([]byte(`{"id":1,"changes":[{"op":9,"key":"a\\\\"},{}]}` + "\n" + `{"id":0}`))
	f.Add([]byte("!\xff\xff\xff\xff{"))
	f.Add([]byte("!\x05\x00\x00\x01[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		reg := cm.New()
		s := NewServer(reg, ServerOptions{MayWrite: func(_, _ uint32) bool { return true },
			Batch: func(f func() error) error { return f() }})
		near, far := pair(t)
		other, follower := pair(t)
		m := &Mirror{reg: cm.New(), waiting: map[uint64]chan nt.Status{}}
		go s.serve(follower)
		within(t, "the greeting", func() { require.NoError(t, m.greet(other)) })
		go m.follow(other)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.serve(far)
		}()
		go func() { // what it answers
			var b [4096]byte
			for {
				if _, err := near.Read(b[:]); err != nil {
					return
				}
			}
		}()
		within(t, "sending", func() {
			_, _ = near.Write(frames(data))
			_ = near.(*net.UnixConn).CloseWrite()
		})
		within(t, "the connection", func() { <-ended })
		want := tree(reg)
		for start := time.Now(); tree(m.reg) != want; time.Sleep(time.Millisecond) {
			if time.Since(start) > fuzzPatience {
				t.Fatalf("the other has\n%sand the server\n%s", tree(m.reg), want)
			}
		}
		within(t, "the server", func() { _ = s.Close() })
	})
}

// FuzzMirror has a server say anything to a mirror, which ends with the server.
func FuzzMirror(f *testing.F) {
	const hello, ready = `{"version":1}` + "\n", "\n" + `{"ready":true}` + "\n"
	const key = `{"change":{"op":1,"key":"\\REGISTRY\\MACHINE\\a"}}`
	f.Add([]byte(hello + key + ready))
	f.Add([]byte(hello + key + ready + `{"change":{"op":3,"key":"\\REGISTRY\\MACHINE\\A","name":"b"}}` +
		"\n" + `{"reply":1,"status":5}`))
	f.Add([]byte(hello + key + ready + `{"change":{"op":2,"key":"\\REGISTRY\\MACHINE\\a"}}` + "\n" +
		`{"change":{"op":4,"key":"\\REGISTRY\\MACHINE\\a","name":"v"}}`))
	f.Add([]byte(hello + `{"change":{"op":4,"key":"\\REGISTRY\\USER","data":"AA=="}}` + ready))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte("!\xff\xff\xff\x01{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := pair(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := &Mirror{reg: cm.New(), ctx: ctx, cancel: cancel, waiting: map[uint64]chan nt.Status{}}
		go func() {
			_, _ = near.Write(frames(data))
			_ = near.Close()
		}()
		within(t, "the mirror", func() {
			if m.greet(far) == nil {
				m.follow(far)
			}
		})
	})
}
