// Package throwaway starts this program again, as a process in which a driver may do what it likes, and
// which tells what came of it on a pipe.
//
// The package may import nothing of the project's.
package throwaway

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// MessageFD is the descriptor on which the process tells what it has to tell; the files that it was
// given follow.
const MessageFD = 3

// saidKept is how much is kept of what a dying process says, in bytes.
const saidKept = 4 << 10

// Process is a process that was started. It ends when its starter does.
type Process struct {
	cmd  *exec.Cmd
	from *os.File
	said head
}

// Run starts a process with arguments and files, and calls f with it. f has it ended: by Wait, or by
// Kill and a Wait of another goroutine.
func Run(args []string, files []*os.File, f func(*Process) error) error {
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer from.Close()
	// Started by name, the program could be another one by now.
	p := &Process{cmd: exec.Command("/proc/self/exe", args...), from: from}
	p.cmd.ExtraFiles = append([]*os.File{to}, files...)
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The signal comes when the thread ends that started the process, so that one has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = p.cmd.Start()
	to.Close()
	if err != nil {
		return err
	}
	return f(p)
}

// Lines gives what the process tells, line by line, each of at most longest bytes.
func (p *Process) Lines(longest int) *bufio.Scanner {
	lines := bufio.NewScanner(p.from)
	lines.Buffer(nil, longest)
	return lines
}

// Kill ends the process, if it has not ended.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Wait waits for the process's end and says how it ended: otherwise is what to say of one that ended
// well, and what it wrote to its standard error follows.
func (p *Process) Wait(otherwise string) string {
	how := otherwise
	if err := p.cmd.Wait(); err != nil {
		how = err.Error()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			how = exit.ProcessState.String()
		}
	}
	return strings.TrimSpace(how + "\n" + string(p.said.b))
}

// head keeps the first bytes that are written to it: a Go program that dies says why in its first
// lines.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), saidKept-len(h.b))]...)
	return len(p), nil
}
