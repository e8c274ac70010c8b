package registry

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// frames makes a stream of an input: each line, written in Go's way of a string without its quotes, is
// a frame's kind and what is in it, but for lines that begin with an exclamation mark, which are put into
// the stream as they are.
func frames(data []byte) (stream []byte) {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if s, err := strconv.Unquote(`"` + string(line) + `"`); err == nil {
			line = []byte(s)
		}
		if raw, ok := bytes.CutPrefix(line, []byte("!")); ok {
			stream = append(stream, raw...)
			continue
		}
		stream = binary.LittleEndian.AppendUint32(stream, uint32(len(line)))
		stream = append(stream, line...)
	}
	return stream
}

// line is a frame as frames reads it.
func line(f frame) string { return strings.Trim(strconv.Quote(string(f[4:])), `"`) + "\n" }

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
	const key = `\REGISTRY\MACHINE\a`
	write := func(id, since uint64, all ...cm.Change) string {
		f, before := newFrame(kindWrite).number(id).number(since), ""
		for _, c := range all {
			f = f.change(&c, before)
			before = c.Key
		}
		return line(f)
	}
	one := cm.Change{Op: cm.OpCreateKey, Key: key}
	f.Add([]byte(write(1, 0, one, cm.Change{Op: cm.OpSetValue, Key: key, Name: "v", Type: 4,
		Data: []byte{1, 0, 0, 0}}) + line(newFrame(kindPull).number(2).number(1))))
	f.Add([]byte(write(1, 9, one) + write(2, 1, cm.Change{Op: cm.OpRenameKey, Key: key, Name: "b"},
		cm.Change{Op: cm.OpDeleteKey, Key: `\REGISTRY\MACHINE\b`})))
	f.Add([]byte(write(1, 0, cm.Change{Op: cm.OpCreateKey, Key: key, Link: true, Volatile: true},
		cm.Change{Op: cm.OpSetValue, Key: key, Name: "SymbolicLinkValue", Type: 6, Data: []byte(`\ R `)},
		cm.Change{Op: cm.OpSetSecurity, Key: key})))
	f.Add([]byte(line(newFrame(kindWait).number(1).number(2)) + line(newFrame(kindWait).number(2).number(2))))
	f.Add([]byte(write(1, 0, cm.Change{Op: 9, Key: `a\\`}, cm.Change{}) + write(0, 0)))
	f.Add([]byte("!\xff\xff\xff\xff{"))
	f.Add([]byte("!\x05\x00\x00\x01[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		reg := cm.New()
		s, err := NewServer(reg, ServerOptions{MayWrite: func(_, _ uint32) bool { return true },
			Batch: func(f func() error) error { return f() }})
		require.NoError(t, err)
		near, far := pair(t)
		other, follower := pair(t)
		m := NewMirror("")
		defer m.close()
		go s.ServeConn(follower)
		within(t, "the greeting", func() { m.conn, err = m.greet(other) })
		require.NoError(t, err)
		go m.follow(m.conn)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.ServeConn(far)
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
		within(t, "a read", func() { m.fresh() })
		if want := tree(reg); tree(m.reg) != want {
			t.Fatalf("the other has\n%sand the server\n%s", tree(m.reg), want)
		}
		within(t, "the server", func() { _ = s.Close() })
	})
}

// FuzzMirror has a server say anything to a mirror, which ends with the server.
func FuzzMirror(f *testing.F) {
	make1 := newFrame(kindTree).number(7).change(&cm.Change{Op: cm.OpCreateKey,
		Key: `\REGISTRY\MACHINE\a`}, "")
	ready := newFrame(kindDone).number(1).number(0).number(7)
	log := func(n uint64, c cm.Change) string { return line(newFrame(kindLog).number(n).change(&c, "")) }
	f.Add([]byte(line(make1) + line(ready)))
	f.Add([]byte(line(make1) + log(8, cm.Change{Op: cm.OpRenameKey, Key: `\REGISTRY\MACHINE\A`,
		Name: "b"}) + line(ready)))
	f.Add([]byte(line(make1) + line(ready) + log(8, cm.Change{Op: cm.OpDeleteKey,
		Key: `\REGISTRY\MACHINE\a`}) + log(9, cm.Change{Op: cm.OpSetValue, Key: `\REGISTRY\USER`})))
	f.Add([]byte(log(1, cm.Change{Op: cm.OpDeleteValue, Key: `\REGISTRY\USER`}) + line(ready)))
	f.Add([]byte("!\xff\xff\xff\x01{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := pair(t)
		m := NewMirror("")
		defer m.close()
		c, file, err := newCounter()
		require.NoError(t, err)
		defer c.close()
		defer file.Close()
		go func() {
			p := peer{conn: near.(*net.UnixConn)}
			if len(data) == 0 || data[0] != '?' { // else it does not even greet
				_ = p.greet(file)
			}
			_, _ = near.Write(frames(data))
			_ = near.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, near)
		}()
		within(t, "the mirror", func() {
			if conn, err := m.greet(far); err == nil {
				m.follow(conn)
			}
			_ = far.Close()
		})
	})
}

func TestAServerOfAnotherVersionOrWithoutACounterIsRefused(t *testing.T) {
	for _, c := range []struct {
		fact, stream, want string
	}{
		{"another version", "\x02\x00\x00\x00\x01\x07", "version 7"},
		{"no counter", "\x02\x00\x00\x00\x01\x02", "counter"},
		{"something else", "\x02\x00\x00\x00\x05\x02", "malformed"},
		{"half of it", "\x02\x00\x00", "EOF"},
	} {
		t.Run(c.fact, func(t *testing.T) {
			near, far := pair(t)
			_, err := near.Write([]byte(c.stream))
			require.NoError(t, err)
			require.NoError(t, near.(*net.UnixConn).CloseWrite())
			m := NewMirror("")
			defer m.close()
			_, err = m.greet(far)
			require.ErrorContains(t, err, c.want)
		})
	}
}
