//go:build linux && amd64

package client_test

// The cost of a control request through client and server, with a driver that completes it at once,
// as a ratio to a bare ping-pong (internal/floor) measured in turns with it. Both sides of both are
// processes of their own, made from this test binary and pinned alike.

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/client/internal/floor"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"

	"golang.org/x/sys/unix"
)

// The environment of a process that plays a role: which, how many connections, bytes a message, and
// where.
const (
	envRole  = "DRVHOST_TEST_ROLE"
	envConns = "DRVHOST_TEST_CONNS"
	envSize  = "DRVHOST_TEST_SIZE"
	envDir   = "DRVHOST_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is the whole life of a process that is not the test.
func play(role string) error {
	conns, _ := strconv.Atoi(os.Getenv(envConns))
	size, _ := strconv.Atoi(os.Getenv(envSize))
	dir := os.Getenv(envDir)
	switch role {
	case "host":
		return playHost(dir)
	case "client":
		files := make([]*client.File, conns)
		for i := range files {
			f, err := client.Open(`\\.\Echo`, client.RuntimeDir(dir))
			if err != nil {
				return err
			}
			files[i] = f
		}
		return obey(conns, func(i, rounds int) error {
			in, out := make([]byte, size), make([]byte, size)
			for range rounds {
				if _, err := files[i].DeviceIoControl(bg, ioctlEcho, in, out); err != nil {
					return err
				}
			}
			return nil
		})
	case "floor-ping":
		debug.SetGCPercent(-1)
		return obey(conns, func(i, rounds int) error {
			if e := floor.Ping(3+i, &make([]byte, size)[0], size, rounds); e != 0 {
				return fmt.Errorf("ping: %d", e)
			}
			return nil
		})
	case "floor-echo":
		debug.SetGCPercent(-1)
		var wg sync.WaitGroup
		for i := range conns {
			wg.Go(func() { floor.Echo(3+i, &make([]byte, size)[0], size) })
		}
		fmt.Println("ready")
		wg.Wait()
		return nil
	}
	return fmt.Errorf("no such role")
}

// playHost serves the fake backend until standard input ends.
func playHost(dir string) error {
	b := &fakeBackend{openDelay: make(chan struct{})}
	s := wire.NewServer(wire.Config{Backend: b})
	b.abort = s.Abort
	if err := s.ListenRuntime(dir); err != nil {
		return err
	}
	if err := wire.Claim(dir, "Echo", s.Socket()); err != nil {
		return err
	}
	go s.Serve()
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	s.Shutdown(nt.STATUS_DEVICE_REMOVED, "the end")
	s.Wait(time.Second)
	return err
}

// obey reads numbers of rounds from standard input, does them on each connection at once, and
// answers with the nanoseconds that all took.
func obey(conns int, do func(i, rounds int) error) error {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		rounds, err := strconv.Atoi(in.Text())
		if err != nil {
			return err
		}
		errs := make(chan error, conns)
		start := time.Now()
		for i := range conns {
			go func() { errs <- do(i, rounds) }()
		}
		for range conns {
			if err := <-errs; err != nil {
				return err
			}
		}
		fmt.Println(time.Since(start).Nanoseconds())
	}
	return nil
}

// process is a child that plays a role.
type process struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// spawn starts a role on the CPUs given; files become descriptors 3 and up.
func spawn(tb testing.TB, role string, cpus []int, procs, conns, size int, dir string,
	files []*os.File) *process {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envRole+"="+role, envConns+"="+strconv.Itoa(conns),
		envSize+"="+strconv.Itoa(size), envDir+"="+dir, "GOMAXPROCS="+strconv.Itoa(procs))
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	p := &process{tb: tb, cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := startOn(cmd, cpus); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.in.Close()
		t := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		t.Stop()
	})
	if !p.out.Scan() || p.out.Text() != "ready" {
		tb.Fatalf("%s: %q", role, p.out.Text())
	}
	return p
}

// startOn starts a process on the CPUs given, none: anywhere. It inherits them from the thread.
func startOn(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return err
	}
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &old)
	return cmd.Start()
}

// time has the child do rounds on each of its connections.
func (p *process) time(rounds int) time.Duration {
	fmt.Fprintln(p.in, rounds)
	if !p.out.Scan() {
		p.tb.Fatalf("%v ended", p.cmd.Env[len(p.cmd.Env)-1])
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(p.out.Text()), 10, 64)
	if err != nil {
		p.tb.Fatal(err)
	}
	return time.Duration(ns)
}

// firstCPU is one that this process may use.
func firstCPU(tb testing.TB) int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		tb.Fatal(err)
	}
	for i := range 1024 {
		if set.IsSet(i) {
			return i
		}
	}
	tb.Fatal("no CPU")
	return -1
}

// compare measures conns connections of both kinds in turns. Rounds of a few milliseconds keep what
// else the machine does out of the ratio.
func compare(b *testing.B, cpus []int, conns, size int) {
	dir := filepath.Join(b.TempDir(), "run")
	var near, far []*os.File
	for range conns {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		near = append(near, os.NewFile(uintptr(fds[0]), "near"))
		far = append(far, os.NewFile(uintptr(fds[1]), "far"))
	}
	spawn(b, "floor-echo", cpus, conns+2, conns, size, "", far)
	bare := spawn(b, "floor-ping", cpus, conns+2, conns, size, "", near)
	for i := range conns {
		near[i].Close()
		far[i].Close()
	}
	spawn(b, "host", cpus, 2, 0, 0, dir, nil)
	full := spawn(b, "client", cpus, 2, conns, size, dir, nil)

	const batch = 500
	bare.time(batch)
	full.time(batch)
	var bares, fulls []time.Duration
	for b.Loop() {
		bares = append(bares, bare.time(batch))
		fulls = append(fulls, full.time(batch))
	}
	// A machine that others use stands still now and then, for either side. A batch of more than
	// three times the median is left out together with its partner, and counted.
	limit := func(t []time.Duration) time.Duration {
		sorted := slices.Sorted(slices.Values(t))
		return 3 * sorted[len(sorted)/2]
	}
	bareLimit, fullLimit := limit(bares), limit(fulls)
	var bareTime, fullTime time.Duration
	var ratios []float64
	var bareStalls, fullStalls int
	for i := range bares {
		if bares[i] > bareLimit {
			bareStalls++
		}
		if fulls[i] > fullLimit {
			fullStalls++
		}
		if bares[i] <= bareLimit && fulls[i] <= fullLimit {
			bareTime += bares[i]
			fullTime += fulls[i]
			ratios = append(ratios, float64(fulls[i])/float64(bares[i]))
		}
	}
	slices.Sort(ratios)
	each := float64(len(ratios) * batch * conns)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bareTime.Nanoseconds())/each, "floor-ns/call")
	b.ReportMetric(float64(fullTime.Nanoseconds())/each, "ns/call")
	b.ReportMetric(float64(fullTime)/float64(bareTime), "x-floor-mean")
	b.ReportMetric(ratios[len(ratios)/2], "x-floor-median")
	b.ReportMetric(float64(bareStalls), "floor-stalls")
	b.ReportMetric(float64(fullStalls), "stalls")
	if conns > 1 {
		b.ReportMetric(float64(bareTime)/float64(fullTime), "of-floor-throughput")
	}
}

// To reach: x-floor-mean at most 1.4.
func BenchmarkSocketOneClientOneCPU(b *testing.B) {
	compare(b, []int{firstCPU(b)}, 1, 64)
}

// To reach: of-floor-throughput at least 0.85.
func BenchmarkSocketSixteenClients(b *testing.B) {
	compare(b, []int{firstCPU(b)}, 16, 64)
}

// On all CPUs, where wake-ups go to either and the figures have two peaks: for comparison.
func BenchmarkSocketUnpinnedSixteenClients(b *testing.B) {
	compare(b, nil, 16, 64)
}

// BenchmarkLarge is a request with 1 MiB in each direction through the shared buffer.
func BenchmarkLarge(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "run")
	cpu := []int{firstCPU(b)}
	const size, batch = 1 << 20, 20
	spawn(b, "host", cpu, 2, 0, 0, dir, nil)
	full := spawn(b, "client", cpu, 2, 1, size, dir, nil)
	full.time(batch)
	src, dst := make([]byte, size), make([]byte, size)
	var copies, calls time.Duration
	for b.Loop() {
		start := time.Now()
		for range batch {
			copy(dst, src)
		}
		copies += time.Since(start)
		calls += full.time(batch)
	}
	n := float64(b.N) * batch
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(calls.Nanoseconds())/n, "ns/call")
	b.ReportMetric(float64(calls)/float64(copies), "x-one-copy")
}
