// Command bench prints drvhost's figures, each with its ratio to a floor that was measured in the
// same run, and the goal. `make bench` runs it; it needs Go, and a machine that is not too busy.
//
// Most rows are benchmarks of the packages, which report their own ratio. The rest start the drvhost
// binary and look at it from outside.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// row is a figure that a benchmark reports.
type row struct {
	title  string
	pkg    string
	bench  string // the benchmark, as go test names it
	metric string // the unit of the figure
	floor  string // the unit of the ratio, or "" without one
	goal   string
}

// unit gives what the figure is in: a metric's first word, where that is no time.
func (r *row) unit() string {
	if strings.HasPrefix(r.metric, "B/") {
		return "B"
	}
	return "ns"
}

var rows = []row{
	{"import call and back", "./engine/native", "BenchmarkImportCall", "ns", "x-floor",
		"≤ 1.5 × a bare switch in the runtime's brackets"},
	{"fault, to Go and resumed", "./engine/native", "BenchmarkFault", "ns", "x-floor",
		"beside a bare signal round trip"},
	{"IOCTL in process, buffered 64 B", "./driverhost", "BenchmarkIOCTL64", "ns/op", "",
		"≤ 500 ns, 0 allocs/op"},
	{"the same through three filters", "./driverhost", "BenchmarkFilters", "ns", "x-floor",
		"≤ 2.5 × without the filters"},
	{"Host.Load of a 30 KB driver", "./driverhost", "BenchmarkLoad", "ns/op", "", "≤ 1 ms"},
	{"IOCTL over the socket, 64 B, one CPU", "./client", "BenchmarkSocketOneClientOneCPU", "ns/call",
		"x-floor-mean", "≤ 1.4 × a bare ping-pong"},
	{"16 clients over sockets", "./client", "BenchmarkSocketSixteenClients", "ns/call",
		"of-floor-throughput", "≥ 0.85 of the floor's throughput"},
	{"CR8 and KUSER_SHARED_DATA reads", "./ntoskrnl/insn", "BenchmarkFault", "ns", "x-floor",
		"beside a bare signal round trip"},
	{"spin lock pair in a driver", "./ntoskrnl", "BenchmarkKernel/spin_lock_pair", "ns",
		"x-locked", "≤ 10 ns; ratio to a bare lock cmpxchg and a store"},
	{"pool pair in a driver", "./ntoskrnl", "BenchmarkKernel/pool_pair", "ns", "x-exit",
		"≤ 150 ns; one in 16 has two exits"},
	{"event set and wait in a driver", "./ntoskrnl", "BenchmarkKernel/event_set_and_wait", "ns",
		"x-exit", "≤ 300 ns; it has two exits"},
	{"event between two threads, one way", "./ntoskrnl", "BenchmarkKernel/event_hand-over", "ns",
		"x-exit", "≤ 5 µs"},
	{"DPC from queue to run", "./ntoskrnl", "BenchmarkKernel/DPC_from_queue_to_run", "ns", "x-exit",
		"≤ 10 µs"},
	{"DPC that wakes its thread", "./ntoskrnl", "BenchmarkKernel/DPC_to_a_waiting_thread", "ns",
		"x-exit", "≤ 10 µs"},
	{"Go memory of a waiting thread", "./ntoskrnl/ke", "BenchmarkWaitingThreads", "B/thread", "",
		"≤ 10,240 B, of 10,000 threads"},
	{"replay of a recorded IOCTL of 64 B", "./driverhost/replay", "BenchmarkReplay", "ns", "x-floor",
		"≤ 3,333 ns, reading the trace included; ratio to the IOCTL in a loop"},
	{"200 services registered and started", "./cmd/drvhost", "BenchmarkTwoHundredServices", "ns",
		"x-bare", "≤ 3 s; ratio to as many bare starts of drvhost"},
	{"sc start until the device is open", "./cmd/drvhost", "BenchmarkStartToOpen", "ns-beyond", "x-bare",
		"≤ 5 ms beyond a bare start of drvhost; ratio of all of it to that"},
	{"pool allocation and free, in Go", "./ntoskrnl/mm", "BenchmarkPoolPair64", "ns/op", "", ""},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	fmt.Printf("%-40s %-26s %14s %10s  %s\n", "what", "benchmark", "measured", "ratio", "goal")
	for _, r := range rows {
		results, err := benchmark(r)
		if err != nil {
			return err
		}
		for _, res := range results {
			ratio := "-"
			if r.floor != "" {
				ratio = res.metrics[r.floor]
			}
			extra := ""
			if a, ok := res.metrics["allocs/op"]; ok {
				extra = ", " + a + " allocs"
			}
			fmt.Printf("%-40s %-26s %11s %-2s %10s  %s%s\n", r.title, res.name,
				res.metrics[r.metric], r.unit(), ratio, r.goal, extra)
		}
	}
	return processes()
}

// result is a line of a benchmark's output.
type result struct {
	name    string
	metrics map[string]string // by unit
}

// profile is by what the command is compiled; the path is absolute for go test, which has others.
var profile = func() string {
	path, err := filepath.Abs("cmd/drvhost/default.pgo")
	if err != nil {
		panic(err) // there is no working directory
	}
	return path
}()

// benchmark runs a row's benchmark. Sub-benchmarks give a result each.
func benchmark(r row) ([]result, error) {
	cmd := exec.Command("go", "test", "-pgo", profile, "-run", "^$", "-bench", "^"+r.bench+"$",
		"-benchmem", r.pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w\n%s", r.bench, r.pkg, err, out)
	}
	var results []result
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], r.bench) {
			continue
		}
		res := result{name: strings.TrimPrefix(f[0], "Benchmark"), metrics: make(map[string]string)}
		if i := strings.LastIndexByte(res.name, '-'); i > 0 {
			if _, err := strconv.Atoi(res.name[i+1:]); err == nil {
				res.name = res.name[:i]
			}
		}
		for i := 2; i+1 < len(f); i += 2 {
			res.metrics[f[i+1]] = f[i]
		}
		results = append(results, res)
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("%s in %s printed no result:\n%s", r.bench, r.pkg, out)
	}
	return results, nil
}
