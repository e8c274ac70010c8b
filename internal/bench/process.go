package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/fixtures"
)

// Figures of whole processes: the drvhost binary, from outside.

const (
	processRuns = 21
	startLimit  = 10 * time.Second
	rest        = 400 * time.Millisecond // until a host has given back what starting took
)

func processes() error {
	dir, err := os.MkdirTemp("", "drvhost-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "drvhost")
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "./cmd/drvhost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building drvhost: %w\n%s", err, out)
	}
	driver, err := fixtures.Path("echo")
	if err != nil {
		return err
	}
	floor, err := median(func() (time.Duration, error) { return timeOf("/bin/true") })
	if err != nil {
		return err
	}
	check, err := median(func() (time.Duration, error) { return timeOf(bin, "check", driver) })
	if err != nil {
		return err
	}
	show("drvhost check of one driver", check, floor, "≤ 15 ms")
	var pss int
	start, err := median(func() (time.Duration, error) {
		took, kib, err := startHost(bin, driver, filepath.Join(dir, "run"))
		pss = kib
		return took, err
	})
	if err != nil {
		return err
	}
	show("host: exec to first answered request", start, floor, "≤ 5 ms")
	fmt.Printf("%-40s %-26s %10d KiB %10s  %s\n", "host at rest, PSS", "drvhost load", pss, "-",
		"≤ 10 MiB")
	return nil
}

func show(title string, d, floor time.Duration, goal string) {
	fmt.Printf("%-40s %-26s %11.2f ms %10.1f  %s (floor: fork+exec of true, %.2f ms)\n", title,
		"median of "+strconv.Itoa(processRuns), float64(d.Microseconds())/1000,
		float64(d)/float64(floor), goal, float64(floor.Microseconds())/1000)
}

func median(f func() (time.Duration, error)) (time.Duration, error) {
	var all []time.Duration
	for range processRuns {
		d, err := f()
		if err != nil {
			return 0, err
		}
		all = append(all, d)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// timeOf runs a command to its end.
func timeOf(name string, args ...string) (time.Duration, error) {
	start := time.Now()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return time.Since(start), nil
}

// startHost starts a host, and measures the time until a client's first request is answered. Then it
// lets the host rest, and takes its proportional set size in KiB.
func startHost(bin, driver, runtimeDir string) (took time.Duration, pssKiB int, err error) {
	cmd := exec.Command(bin, "load", "--runtime-dir", runtimeDir, driver)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	var f *client.File
	for {
		if f, err = client.Open(`\\.\Echo`, client.RuntimeDir(runtimeDir)); err == nil {
			break
		}
		if time.Since(start) > startLimit {
			return 0, 0, fmt.Errorf("the host did not start: %w", err)
		}
		time.Sleep(50 * time.Microsecond)
	}
	if _, err = f.Write([]byte("hello")); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	if err := f.Close(); err != nil {
		return 0, 0, err
	}
	time.Sleep(rest)
	pssKiB, err = pss(cmd.Process.Pid)
	return took, pssKiB, err
}

// pss reads a process's proportional set size.
func pss(pid int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("process %d: no Pss line", pid)
}
