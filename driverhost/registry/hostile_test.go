package registry

// Peers that mean ill.

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

func hostile(t *testing.T, write bool) (near io.ReadWriteCloser, ended chan struct{}) {
	s, err := NewServer(cm.New(), ServerOptions{MayWrite: func(_, _ uint32) bool { return write }})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	near, far := pair(t)
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		s.ServeConn(far)
	}()
	return near, ended
}

func TestPathsThatGrowOutOfAFrameAreRefused(t *testing.T) {
	near, ended := hostile(t, true)
	// Each change says one byte of a path of a megabyte, the last but for that of the one before.
	f := newFrame(kindWrite).number(1).number(0)
	before := strings.Repeat("a", 1<<20)
	f = f.change(&cm.Change{Op: cm.OpDeleteKey, Key: before}, "")
	for i := range 1000 {
		next := before[:len(before)-1] + string(rune('a'+i%2))
		f = f.change(&cm.Change{Op: cm.OpDeleteKey, Key: next}, before)
		before = next
	}
	b, err := f.end()
	require.NoError(t, err)
	_, err = near.Write(b)
	require.NoError(t, err)
	within(t, "the connection", func() { <-ended })
	rest, _ := io.ReadAll(near)
	assert.LessOrEqual(t, len(rest), 16, "it is greeted and not answered")
}

func TestWhoMayNotWriteHasNoRoomForLargeFrames(t *testing.T) {
	near, ended := hostile(t, false)
	_, err := near.Write([]byte{0, 0, 0, 1, kindWrite}) // 16 MiB, of which nothing comes
	require.NoError(t, err)
	within(t, "the connection", func() { <-ended })
}

func TestWhoAsksAndDoesNotReadIsOneGoroutine(t *testing.T) {
	s, err := NewServer(cm.New(), ServerOptions{})
	require.NoError(t, err)
	defer s.Close()
	near, far := pair(t)
	go s.ServeConn(far)
	var all []byte
	for i := range uint64(20000) {
		b, err := newFrame(kindWait).number(i + 1).number(0).end()
		require.NoError(t, err)
		all = append(all, b...)
	}
	before := runtime.NumGoroutine()
	// What the server takes without an answer being read is what two sockets hold.
	require.NoError(t, near.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	_, _ = near.Write(all)
	assert.Less(t, runtime.NumGoroutine(), before+100)
}
