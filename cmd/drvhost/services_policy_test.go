package main

// What a service manager refuses to load, what it gives up waiting for, and who cannot keep it from
// serving others.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/service"
)

func TestAnImageIsLoadedOnlyIfItIsSignedAsWanted(t *testing.T) {
	t.Parallel()
	const samples = "../../driverhost/signature/testdata/"
	m := newManager(t)
	root, err := filepath.Abs(samples + "root.pem")
	require.NoError(t, err)
	m.flags = []string{"--require-signature", root}
	m.start()
	dir := filepath.Dir(m.state)
	signed, err := os.ReadFile(samples + "stamped.sys")
	require.NoError(t, err)
	// An image that was changed after it was signed, and one whose signer nobody vouches for.
	changed := bytes.Clone(signed)
	changed[len(changed)/4] ^= 1
	files := map[string][]byte{"signed": signed, "changed": changed}
	files["unsigned"], err = os.ReadFile(fixture(t, "exportlib"))
	require.NoError(t, err)
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".sys"), data, 0o600))
		m.mustCreate(service.Config{Name: name, Start: service.AutoStart,
			ImagePath: filepath.Join(dir, name+".sys")})
	}
	for name, says := range map[string]string{
		"unsigned": "unsigned.sys: not signed",
		"changed":  "changed.sys: ",
	} {
		st, ok := m.status(name)
		require.True(t, ok, "it is registered all the same")
		assert.Equal(t, service.Stopped, st.State)
		assert.Equal(t, service.InvalidImageHash, st.ExitCode)
		assert.Contains(t, st.Detail, says)
		r := m.sc("start", name)
		assert.Equal(t, 577&0xFF, r.code)
		assert.Contains(t, r.out, "[SC] StartService FAILED 577:\n\n"+
			"The digital signature for this file cannot be verified.\n")
		assert.Contains(t, r.err, says)
	}
	pid := m.becomes("signed", service.Running).PID
	require.Equal(t, []int{pid}, m.hosts())

	// What lies in the file counts at each start, not what was once checked.
	m.must(service.DoStop, "signed")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "signed.sys"), changed, 0o600))
	require.ErrorIs(t, m.do(service.DoStart, "signed"), service.InvalidImageHash)

	stranger, err := filepath.Abs(samples + "stranger.pem")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "signed.sys"), signed, 0o600))
	m.flags = []string{"--require-signature", stranger}
	m.killAll()
	m.start()
	require.ErrorIs(t, m.do(service.DoStart, "signed"), service.InvalidImageHash)
	m.eventually("the start of the machine has tried it too", func() bool {
		st, _ := m.status("signed")
		return st.State == service.Stopped && strings.Contains(st.Detail, "drvhost test signer")
	})
	assert.Empty(t, m.hosts())
}

func TestADriverThatHangsInItsEntryIsGivenUp(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.flags = []string{"--timeout", "300ms"}
	m.start()
	for _, name := range []string{"HangEntry", "SpinEntry"} {
		m.mustCreate(service.Config{Name: name, Start: service.DemandStart,
			ImagePath: fixture(t, "hang")})
		require.ErrorIs(t, m.do(service.DoStart, name), service.RequestTimeout, name)
		require.Empty(t, m.hosts(), "its process is gone")
		assert.Equal(t, service.RequestTimeout, m.becomes(name, service.Stopped).ExitCode)
	}
	m.clean()
}

// While DriverEntry runs, others are served; a manager that comes then waits for its end, too.
func TestADriverThatHangsInItsEntryHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.mustCreate(service.Config{Name: "HangEntry", Start: service.DemandStart,
		ImagePath: fixture(t, "hang")})
	m.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: m.echo()})
	failed := make(chan error, 1)
	go func() { failed <- m.do(service.DoStart, "HangEntry") }()
	entered := func() bool {
		b, _ := os.ReadFile(filepath.Join(m.state, "hosts", "service-HANGENTRY", "host.log"))
		return strings.Contains(string(b), "hang: DriverEntry")
	}
	m.eventually("DriverEntry runs", entered)
	hung := m.hosts()
	require.Len(t, hung, 1)
	assert.Equal(t, service.StartPending, m.becomes("HangEntry", service.StartPending).State)
	m.must(service.DoStart, "Echo")
	m.usable("Echo")
	m.must(service.DoStop, "Echo")
	// The host is killed while DriverEntry runs.
	require.NoError(t, syscall.Kill(hung[0], syscall.SIGKILL))
	require.ErrorIs(t, <-failed, service.ProcessAborted)
	assert.Equal(t, service.ProcessAborted, m.becomes("HangEntry", service.Stopped).ExitCode)
	require.Empty(t, m.hosts())
	m.clean()
}

// startIn starts a service, of a manager whose limit a slow machine may reach.
func (m *manager) startIn(name string) {
	m.t.Helper()
	m.eventually(name+" can be started", func() bool {
		err := m.do(service.DoStart, name)
		return err == nil || errors.Is(err, service.AlreadyRunning)
	})
}

func TestADriverThatHangsInItsUnloadIsKilled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"HangUnload", "SpinUnload"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManager(t)
			m.flags = []string{"--timeout", "500ms"}
			m.start()
			m.mustCreate(service.Config{Name: name, Start: service.DemandStart, Failure: again,
				ImagePath: fixture(t, "hang")})
			m.startIn(name)
			f, err := m.open("Hang")
			require.NoError(t, err)
			require.NoError(t, f.Close())
			m.must(service.DoStop, name)
			require.Empty(t, m.hosts())
			st := m.becomes(name, service.Stopped)
			assert.Equal(t, service.Success, st.ExitCode)
			_, err = m.open("Hang")
			require.Error(t, err)
			m.startIn(name)
			m.killAll()
		})
	}
}

// A heartbeat that is as quick as this one a slow machine may miss: that the host is killed for
// that changes nothing here.
func TestAHostThatDoesNotAnswerIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprint("with a failure action: ", restarts), func(t *testing.T) {
			t.Parallel()
			m := newManager(t)
			m.flags = []string{"--heartbeat", "200ms"}
			m.start()
			c := service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: m.echo()}
			if restarts {
				c.Failure = again
			}
			m.mustCreate(c)
			m.must(service.DoStart, "Echo")
			var pid int
			m.eventually("a host stands still, or is gone", func() bool {
				st, _ := m.status("Echo")
				if pid = st.PID; pid == 0 {
					return !restarts && st.State == service.Stopped
				}
				return syscall.Kill(pid, syscall.SIGSTOP) == nil
			})
			m.eventually("it is killed", func() bool { return !slices.Contains(m.hosts(), pid) })
			if restarts {
				m.eventually("another one serves", func() bool {
					f, err := m.open("Echo")
					if err == nil {
						err = errors.Join(err, f.Close())
					}
					return err == nil && f.HostPID() != pid
				})
			} else {
				assert.Equal(t, service.ProcessAborted, m.rests("Echo").ExitCode)
			}
		})
	}
}

// A host that has stopped is no host to the next manager: it is killed, and what ran in it has
// failed.
func TestAHostThatDoesNotAnswerTheNextManagerIsReplaced(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.flags = []string{"--timeout", "500ms"}
	m.start()
	m.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: m.echo(),
		Failure: again})
	m.startIn("Echo")
	pid := m.serves("Echo")
	m.kill()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	m.eventually("it stands still", func() bool { // until then it may answer
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && strings.Contains(string(b), ") T ")
	})
	m.start()
	require.NotEqual(t, pid, m.serves("Echo"))
	m.clean()
}

// A host that is slow to answer the next manager keeps nobody else waiting, and is found when it answers.
func TestAHostThatIsLateIsFoundWhileOthersAreServed(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.start()
	m.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: m.echo(),
		Failure: again})
	m.mustCreate(service.Config{Name: "Other", Start: service.DemandStart,
		ImagePath: fixture(t, "exportlib")})
	m.startIn("Echo")
	pid := m.serves("Echo")
	m.kill()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	m.start()
	m.must(service.DoStart, "Other")
	st, ok := m.status("Echo")
	require.True(t, ok)
	assert.Equal(t, service.StartPending, st.State)
	started := make(chan error, 1)
	go func() {
		_, err := m.ask(service.Request{Do: service.DoStart, Name: "Echo"})
		started <- err
	}()
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	require.ErrorIs(t, <-started, service.AlreadyRunning, "it waits, and then finds it")
	m.must(service.DoStop, "Other")
	require.Equal(t, pid, m.serves("Echo"))
	m.must(service.DoStop, "Echo")
	m.clean()
}

// rude are clients that do not behave, on either of the manager's sockets. Each gives its
// connection, which stays open.
var rude = map[string]func(conn net.Conn, random *rand.Rand){
	"says nothing": func(net.Conn, *rand.Rand) {},
	"says half of something": func(conn net.Conn, _ *rand.Rand) {
		_, _ = conn.Write([]byte(`{"version":1,"do":"que`))
	},
	"says garbage": func(conn net.Conn, random *rand.Rand) {
		b := make([]byte, 4096)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		_, _ = conn.Write(b)
	},
	"says that it has much to say": func(conn net.Conn, _ *rand.Rand) {
		_, _ = conn.Write([]byte{0xFF, 0xFF, 0xFF, 0x7F, '{'})
	},
	"says a line without an end": func(conn net.Conn, _ *rand.Rand) {
		line := bytes.Repeat([]byte("x"), 64<<10)
		for range 80 {
			if _, err := conn.Write(line); err != nil {
				return
			}
		}
	},
	"asks and does not listen": func(conn net.Conn, _ *rand.Rand) {
		for range 200 {
			if _, err := io.WriteString(conn, `{"version":1,"do":"query"}`+"\n"); err != nil {
				return
			}
		}
	},
	"goes": func(conn net.Conn, _ *rand.Rand) { _ = conn.Close() },
}

func TestRudeClientsKeepNobodyFromBeingServed(t *testing.T) {
	t.Parallel()
	const crowd = 1000
	m := newManager(t)
	m.start()
	m.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: m.echo()})
	var kinds []string
	for kind := range rude {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, socket := range []string{service.ServicesSocket, service.RegistrySocket} {
		var conns []net.Conn
		var wg sync.WaitGroup
		for i := range crowd {
			conn, err := net.Dial("unix", filepath.Join(m.state, socket))
			require.NoError(t, err)
			conns = append(conns, conn)
			wg.Go(func() {
				_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				rude[kinds[i%len(kinds)]](conn, rand.New(rand.NewPCG(6, uint64(i))))
			})
			if i%100 == 99 {
				m.must(service.DoStart, "Echo")
				m.must(service.DoStop, "Echo")
				r := m.runReg("query", `HKLM\System\CurrentControlSet\Services\Echo`, "/v", "Start")
				require.Zero(t, r.code, r.err)
			}
		}
		wg.Wait()
		m.must(service.DoStart, "Echo")
		m.usable("Echo")
		require.Zero(t, m.runReg("add", `HKLM\Software\Rude`, "/f").code)
		m.must(service.DoStop, "Echo")
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	// Nothing of them is kept.
	m.eventually("their connections are closed", func() bool {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.cmd.Process.Pid))
		require.NoError(t, err)
		return len(open) < 50
	})
	m.clean()
}
