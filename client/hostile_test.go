//go:build linux && amd64

package client_test

// Hosts that die, and hosts that lie.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAKilledHostFailsItsClientsAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	victim := spawn(t, "host", nil, 2, 0, 0, dir, nil)
	pid := victim.cmd.Process.Pid
	open := func() *client.File {
		f, err := client.Open(`\\.\Echo`, client.RuntimeDir(dir))
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	busy, idle, killer := open(), open(), open()
	var wg sync.WaitGroup
	check := func(err error) {
		var gone *client.HostGoneError
		if assert.ErrorAs(t, err, &gone) {
			assert.Equal(t, client.HostGoneError{Name: `\\.\Echo`, PID: pid,
				Status: nt.STATUS_DRIVER_PROCESS_TERMINATED}, *gone)
		}
		assert.ErrorIs(t, err, nt.STATUS_DRIVER_PROCESS_TERMINATED)
	}
	for range 8 {
		wg.Go(func() {
			_, err := busy.DeviceIoControl(bg, ioctlPend, nil, nil)
			check(err)
		})
	}
	out := make([]byte, 100_000)
	for range 50 { // all eight are on their way, and the shared buffer is mapped
		_, err := busy.DeviceIoControl(bg, ioctlEcho, out, out)
		require.NoError(t, err)
	}
	_, err := killer.DeviceIoControl(bg, ioctlDie, nil, nil)
	check(err)
	wg.Wait()
	_, err = idle.Write([]byte("x"))
	check(err)
	_, err = idle.Read(out)
	check(err)
	_, err = busy.DeviceIoControl(bg, ioctlEcho, out, out)
	check(err)
	require.NoError(t, busy.Close())
	_, err = busy.Read(out)
	assert.ErrorIs(t, err, os.ErrClosed)

	_, err = client.Open(`\\.\Echo`, client.RuntimeDir(dir))
	assert.ErrorIs(t, err, nt.STATUS_OBJECT_NAME_NOT_FOUND)
	assert.ErrorContains(t, err, "has ended")
	next := spawn(t, "host", nil, 2, 0, 0, dir, nil)
	f := open()
	assert.Equal(t, next.cmd.Process.Pid, f.HostPID(), "a new host takes the name over")
	devices, err := wire.List(dir)
	require.NoError(t, err)
	require.Len(t, devices, 1)
	assert.Equal(t, next.cmd.Process.Pid, devices[0].PID)
}

// liar listens at a socket and plays a host: it answers the Hello with welcome, and then each
// message with what answer returns.
type liar struct {
	t      testing.TB
	path   string
	fd     int
	answer func(s wire.Socket, m []byte)
}

func goodWelcome() []byte {
	return (&wire.Welcome{Version: 1, MaxBuffer: 1 << 20, MaxInline: 64 << 10, MaxBytes: 1 << 20,
		MaxRequests: 16}).Append(nil)
}

func newLiar(t testing.TB, welcome []byte, answer func(s wire.Socket, m []byte)) *liar {
	t.Helper()
	dir, err := os.MkdirTemp("", "liar") // a short path
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &liar{t: t, path: filepath.Join(dir, "s"), answer: answer}
	l.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(l.fd, &unix.SockaddrUnix{Name: l.path}))
	require.NoError(t, unix.Listen(l.fd, 8))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			s := wire.Socket(fd)
			buf := make([]byte, 256<<10)
			s.Recv(buf)
			s.TrySend(welcome)
			for {
				n, e := s.Recv(buf)
				if e != 0 || n == 0 {
					break
				}
				answer(s, buf[:n])
			}
			s.Close()
		}
	}()
	t.Cleanup(func() {
		unix.Shutdown(l.fd, unix.SHUT_RDWR)
		<-done
		unix.Close(l.fd)
	})
	return l
}

func (l *liar) open() (*client.File, error) { return client.Open("Liar", client.Socket(l.path)) }

func TestAWelcomeThatMakesNoSenseIsRefused(t *testing.T) {
	change := func(at int, b ...byte) []byte {
		m := goodWelcome()
		copy(m[at:], b)
		return m
	}
	for name, m := range map[string][]byte{
		"empty":           {},
		"garbage":         []byte("220 ready\r\n"),
		"half":            goodWelcome()[:40],
		"another type":    change(4, 3),
		"another magic":   change(8, 1),
		"version 3":       change(16, 3),
		"no requests":     change(64, 0, 0, 0, 0),
		"no bytes inline": change(56, 0, 0, 0, 0),
		"long":            append(goodWelcome(), make([]byte, 100<<10)...),
	} {
		f, err := newLiar(t, m, nil).open()
		assert.Nil(t, f, name)
		assert.ErrorIs(t, err, nt.STATUS_DRIVER_PROCESS_TERMINATED, name)
	}
}

// replyTo makes a reply of size bytes of output to the request m.
func replyTo(m []byte, outLen uint32, shared byte, data []byte) []byte {
	le := binary.LittleEndian
	r := make([]byte, wire.ReplySize+len(data))
	wire.PutHeader(r, wire.MsgReply, le.Uint64(m[8:]))
	r[5] = shared
	le.PutUint32(r[32:], outLen)
	copy(r[wire.ReplySize:], data)
	return r
}

func TestALyingHostLosesItsClientAndNothingElse(t *testing.T) {
	change := func(m []byte, at int, b ...byte) []byte {
		copy(m[at:], b)
		return m
	}
	for name, lie := range map[string]func(m []byte) []byte{
		"garbage":                     func(m []byte) []byte { return []byte("garbage, and more of it") },
		"one byte":                    func(m []byte) []byte { return []byte{1} },
		"its own request":             func(m []byte) []byte { return m },
		"another id":                  func(m []byte) []byte { return change(replyTo(m, 0, 0, nil), 8, 0xFF, 0xFF) },
		"another use of the id":       func(m []byte) []byte { return change(replyTo(m, 0, 0, nil), 10, 77) },
		"a wrong size":                func(m []byte) []byte { return change(replyTo(m, 0, 0, nil), 0, 200) },
		"more output than asked for":  func(m []byte) []byte { return replyTo(m, 65, 0, make([]byte, 65)) },
		"less output than it says":    func(m []byte) []byte { return replyTo(m, 64, 0, make([]byte, 3)) },
		"4 GiB of output":             func(m []byte) []byte { return replyTo(m, 0xFFFFFFFF, 0, nil) },
		"output in no shared buffer":  func(m []byte) []byte { return replyTo(m, 64, 1, nil) },
		"a place that is none":        func(m []byte) []byte { return replyTo(m, 0, 2, nil) },
		"a buffer nobody asked for":   func(m []byte) []byte { return change(make([]byte, 32), 0, 32, 0, 0, 0, 8) },
		"a message beyond the limits": func(m []byte) []byte { return make([]byte, 150<<10) },
		"half a goodbye":              func(m []byte) []byte { return change(make([]byte, 16), 0, 16, 0, 0, 0, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t, goodWelcome(), func(s wire.Socket, m []byte) { s.TrySend(lie(m)) })
			f, err := l.open()
			require.NoError(t, err)
			_, err = f.DeviceIoControl(bg, ioctlEcho, make([]byte, 64), make([]byte, 64))
			assert.ErrorIs(t, err, wire.ErrProtocol)
			assert.ErrorIs(t, err, nt.STATUS_DRIVER_PROCESS_TERMINATED)
			_, err = f.Read(make([]byte, 64))
			assert.ErrorIs(t, err, wire.ErrProtocol, "and stays so")
			require.NoError(t, f.Close())
		})
	}
}

func TestAGoodbyeIsNeverASuccess(t *testing.T) {
	l := newLiar(t, goodWelcome(), func(s wire.Socket, m []byte) {
		bye := make([]byte, wire.GoodbyeSize+3)
		wire.PutHeader(bye, wire.MsgGoodbye, 0)
		copy(bye[wire.GoodbyeSize:], "\x1b[m")
		s.TrySend(bye)
	})
	f, err := l.open()
	require.NoError(t, err)
	err = f.Flush()
	assert.ErrorIs(t, err, nt.STATUS_DRIVER_PROCESS_TERMINATED)
	assert.NotContains(t, err.Error(), "\x1b")
	require.NoError(t, f.Close())
}

func TestASharedBufferThatCouldHurtIsRefused(t *testing.T) {
	memfd := func(size int64, seals int) int {
		fd, err := unix.MemfdCreate("liar", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		require.NoError(t, err)
		require.NoError(t, unix.Ftruncate(fd, size))
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		require.NoError(t, err)
		return fd
	}
	pipe := func() int {
		fds := make([]int, 2)
		require.NoError(t, unix.Pipe2(fds, unix.O_CLOEXEC))
		unix.Close(fds[1])
		return fds[0]
	}
	for name, c := range map[string]struct {
		fd   int
		size uint64
		text string
	}{
		"one that can shrink":   {memfd(1<<20, 0), 1 << 20, "not a memfd sealed against shrinking"},
		"a short one":           {memfd(4096, unix.F_SEAL_SHRINK), 1 << 20, "a shared buffer of 4096 bytes"},
		"one without size":      {memfd(4096, unix.F_SEAL_SHRINK), 0, "a shared buffer of 4096 bytes"},
		"a pipe":                {pipe(), 1 << 20, "not a memfd sealed against shrinking"},
		"none":                  {-1, 1 << 20, "without a descriptor"},
		"one that is read-only": {memfd(1<<20, unix.F_SEAL_SHRINK|unix.F_SEAL_WRITE), 1 << 20, "mmap"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLiar(t, goodWelcome(), func(s wire.Socket, m []byte) {
				r := make([]byte, wire.BufferReplySize)
				wire.PutHeader(r, wire.MsgBufferReply, binary.LittleEndian.Uint64(m[8:]))
				binary.LittleEndian.PutUint64(r[24:], c.size)
				if c.fd < 0 {
					s.TrySend(r)
					return
				}
				unix.Sendmsg(int(s), r, unix.UnixRights(c.fd, c.fd, c.fd), nil, 0)
			})
			f, err := l.open()
			require.NoError(t, err)
			before := openDescriptors(t)
			_, err = f.Write(make([]byte, 100_000))
			assert.ErrorContains(t, err, c.text)
			assert.Equal(t, before, openDescriptors(t), "no descriptor is kept")
			require.NoError(t, f.Close())
			if c.fd >= 0 {
				unix.Close(c.fd)
			}
		})
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestTheBufferIsFetchedThoughAnotherCallReceives(t *testing.T) {
	h := newHost(t, wire.Config{})
	for range 20 {
		f := h.open(`\\.\Echo`)
		done := make(chan error)
		go func() {
			_, err := f.DeviceIoControl(bg, ioctlPend, nil, nil)
			done <- err
		}()
		eventually(t, func() bool { return len(h.server.Outstanding()) == 1 })
		in, out := bytes.Repeat([]byte("ab"), 50_000), make([]byte, 100_000)
		_, err := f.DeviceIoControl(bg, ioctlEcho, in, out)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(in, out))
		require.NoError(t, f.Close())
		assert.ErrorIs(t, <-done, nt.STATUS_CANCELLED)
	}
}

func TestCloseBesideRunningCalls(t *testing.T) {
	h := newHost(t, wire.Config{})
	for range 30 {
		f := h.open(`\\.\Echo`)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				buf := make([]byte, []int{8, 50_000}[i%2])
				for {
					if _, err := f.DeviceIoControl(bg, ioctlEcho, buf, buf); err != nil {
						if !errors.Is(err, os.ErrClosed) && !errors.Is(err, nt.STATUS_CANCELLED) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		require.NoError(t, f.Close())
		wg.Wait()
	}
}

// FuzzHost answers a client's requests with arbitrary messages: each begins with two bytes of
// length, and a zero length stands for a proper reply.
func FuzzHost(f *testing.F) {
	f.Add([]byte{0, 0, 3, 0, 'a', 'b', 'c'})
	f.Add(append([]byte{24, 0}, bytes.Repeat([]byte{9}, 24)...))
	f.Add([]byte(strings.Repeat("\x28\x00(\x00\x00\x00\x04", 9)))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLiar(t, goodWelcome(), func(s wire.Socket, m []byte) {
			if len(data) < 2 {
				s.Shutdown()
				return
			}
			n := min(int(data[0])|int(data[1])<<8, len(data)-2)
			if n == 0 {
				s.TrySend(replyTo(m, 0, 0, nil))
			} else {
				s.TrySend(data[2 : 2+n])
			}
			data = data[2+n:]
		})
		file, err := l.open()
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			out := make([]byte, 32)
			_, err = file.DeviceIoControl(bg, ioctlEcho, nil, out)
			if errors.As(err, new(*client.HostGoneError)) {
				break
			}
			_, _ = file.Write(make([]byte, 20_000))
		}
		file.Close()
	})
}
