package registry_test

// A server that is killed while other processes write to it.

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// The environment of a process that is this test binary again.
const (
	envRole = "DRVHOST_TEST_ROLE" // server, or a writer's number
	envDir  = "DRVHOST_TEST_DIR"  // of the registry and its socket
)

const (
	killWriters = 3
	killNames   = 6    // values of each writer
	killSize    = 3000 // bytes of a value, which are all alike
)

func killKey(writer int) string { return fmt.Sprintf(`%s\W%d`, software, writer) }

// data is a value of a version.
func data(version int) []byte {
	return bytes.Repeat([]byte{byte(version), byte(version >> 8)}, killSize/2)
}

// TestProcess is what the other processes run.
func TestProcess(t *testing.T) {
	switch role := os.Getenv(envRole); role {
	case "":
		t.Skip("it is the other processes' part of TestAServerThatIsKilledKeepsEachWrite")
	case "server":
		serveFile(t, os.Getenv(envDir))
	default:
		writer, err := strconv.Atoi(role)
		require.NoError(t, err)
		writeOn(t, os.Getenv(envDir), writer)
	}
}

// serveFile serves the registry of a file, until the process is killed.
func serveFile(t *testing.T, dir string) {
	store, err := service.Open(filepath.Join(dir, service.RegistryFile),
		func() *cm.Registry { return newTree(t) })
	require.NoError(t, err)
	s, err := registry.NewServer(store.Registry, registry.ServerOptions{Batch: store.Batch,
		Settled: store.Settled, MayWrite: func(_, _ uint32) bool { return true }})
	require.NoError(t, err)
	l, err := service.ListenSocket(filepath.Join(dir, service.RegistrySocket))
	require.NoError(t, err)
	fmt.Println("ready")
	require.NoError(t, s.Serve(l))
}

// writeOn writes values, until the process is killed, and tells of each before it writes it and
// when that is acknowledged.
func writeOn(t *testing.T, dir string, writer int) {
	m, err := registry.Dial(t.Context(), filepath.Join(dir, service.RegistrySocket))
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(6, uint64(writer)))
	for version := 1; ; version++ {
		name := random.IntN(killNames)
		gone := random.IntN(5) == 0
		fmt.Println("try", name, version, gone)
		k, _, status := m.Registry().Create(nil, killKey(writer), cm.CreateOptions{})
		switch {
		case status != nt.STATUS_SUCCESS:
		case gone:
			status = k.DeleteValue(fmt.Sprint(name)) // not found is no answer of the server's
		default:
			status = k.Set(fmt.Sprint(name), nt.REG_BINARY, data(version))
		}
		switch status {
		case nt.STATUS_SUCCESS:
			fmt.Println("done", name, version, gone)
		case nt.STATUS_REGISTRY_IO_FAILED:
			time.Sleep(time.Millisecond) // until there is a server
		}
	}
}

// process is one of the other processes.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
}

func startProcess(t *testing.T, role, dir string) *process {
	p := &process{Cmd: exec.Command(os.Args[0], "-test.run=^TestProcess$")}
	p.Env = append(os.Environ(), envRole+"="+role, envDir+"="+dir)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	p.lines = bufio.NewScanner(out)
	t.Cleanup(p.end)
	return p
}

// end kills it, as kill -9 does.
func (p *process) end() {
	_ = p.Process.Kill()
	_, _ = p.Process.Wait()
}

// written is what is known of a value: the last that was acknowledged, and what was tried since. 0
// is a value that is not there.
type written struct {
	done  int
	tried []int
}

// follow reads what a writer says.
func (p *process) follow(values []written, answers chan<- struct{}) {
	for p.lines.Scan() {
		var what, gone string
		var name, version int
		if n, _ := fmt.Sscan(p.lines.Text(), &what, &name, &version, &gone); n != 4 {
			continue
		}
		if gone == "true" {
			version = 0
		}
		v := &values[name]
		switch what {
		case "try":
			v.tried = append(v.tried, version)
		case "done":
			v.done, v.tried = version, nil
			select {
			case answers <- struct{}{}:
			default:
			}
		}
	}
}

func TestAServerThatIsKilledKeepsEachWrite(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "regkill")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	server := func() *process {
		p := startProcess(t, "server", dir)
		require.True(t, p.lines.Scan())
		require.Equal(t, "ready", p.lines.Text())
		return p
	}
	s := server()
	answers := make(chan struct{}, killWriters)
	var known [killWriters][]written
	var writers []*process
	var followed []chan struct{}
	for i := range killWriters {
		known[i] = make([]written, killNames)
		p, over := startProcess(t, strconv.Itoa(i), dir), make(chan struct{})
		go func() {
			p.follow(known[i], answers)
			close(over)
		}()
		writers, followed = append(writers, p), append(followed, over)
	}
	late := time.After(2 * time.Minute)
	random := rand.New(rand.NewPCG(6, 7))
	for range 6 {
		for range 10 + random.IntN(40) {
			select {
			case <-answers:
			case <-late:
				t.Fatal("the writers write no more")
			}
		}
		s.end()
		s = server()
	}
	for i, p := range writers {
		_ = p.Process.Kill()
		<-followed[i]
	}
	s.end()

	store, err := service.Open(filepath.Join(dir, service.RegistryFile),
		func() *cm.Registry { return cm.New() })
	require.NoError(t, err)
	defer store.Close()
	for i := range known {
		k, status := store.Registry.Open(nil, killKey(i), false)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		for name, v := range known[i] {
			got := 0
			if value, status := k.Value(fmt.Sprint(name)); status == nt.STATUS_SUCCESS {
				require.Len(t, value.Data, killSize)
				got = int(value.Data[0]) | int(value.Data[1])<<8
				require.Equal(t, data(got), value.Data, "it is whole")
			}
			if got == v.done {
				continue
			}
			assert.Contains(t, v.tried, got, "writer %d, value %d: %d was acknowledged last", i, name,
				v.done)
		}
	}
}
