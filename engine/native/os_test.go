// What the tests ask of Linux.

package native

import (
	"os"
	"os/signal"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const protRW = unix.PROT_READ | unix.PROT_WRITE

func threadID() int { return unix.Gettid() }

// notified gives a channel on which SIGUSR1 arrives until the test ends.
func notified(t *testing.T) chan os.Signal {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGUSR1)
	t.Cleanup(func() { signal.Stop(ch) })
	return ch
}

func sendUserSignal(t *testing.T, tid int) {
	require.NoError(t, unix.Tgkill(processID, tid, unix.SIGUSR1))
}
