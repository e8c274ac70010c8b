package check

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/driverhost/internal/throwaway"
	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/pe"
)

// The calling side: starts a host process for each driver, and writes the verdict of one that
// cannot do so itself.

// DefaultTimeout is how long a check may take.
const DefaultTimeout = 10 * time.Second

// Options says how drivers are checked. The zero value is a good one.
type Options struct {
	// Timeout is how long the check of one driver may take; 0 is DefaultTimeout.
	Timeout time.Duration
	// Jobs is how many drivers are checked at once; 0 takes the number of processors.
	Jobs int
	// Processors is the number of virtual processors; 0 takes the machine's.
	Processors int
	// FailMissing gives a driver that imports what nothing answers the verdict Unimplemented.
	FailMissing bool
	// Sandbox is the mode of the host processes' sandbox; "" is sandbox.On. What this machine lacks
	// for it is not said here: see sandbox.Examine.
	Sandbox sandbox.Mode
	// Started, if set, is told of each file whose check begins. It is called on several goroutines.
	Started func(file string)
	// Finished, if set, is told of each file whose check has ended.
	Finished func(file string)
}

// HostError says that no host process could be made, so that there is no verdict on the driver.
type HostError struct {
	File string
	Text string
}

// Error gives the reason.
func (e *HostError) Error() string { return fmt.Sprintf("%s: no host process: %s", e.File, e.Text) }

// Run checks files, several at once, and gives each verdict in the order of the files. It ends
// early with the error of ctx, or a *HostError.
func Run(ctx context.Context, files []string, opts Options, each func(*Verdict) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := opts.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	type outcome struct {
		v   *Verdict
		err error
	}
	outcomes := make([]chan outcome, len(files))
	for i := range outcomes {
		outcomes[i] = make(chan outcome, 1)
	}
	next := make(chan int)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel() // the workers' children end before they are waited for
	for range min(jobs, len(files)) {
		workers.Go(func() {
			for i := range next {
				v, err := File(ctx, files[i], opts)
				outcomes[i] <- outcome{v, err}
			}
		})
	}
	go func() {
		defer close(next)
		for i := range files {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	for i := range outcomes {
		select {
		case o := <-outcomes[i]:
			if o.err != nil {
				return o.err
			}
			if err := each(o.v); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// File checks one driver. The error is that of ctx, or a *HostError; whatever is wrong with the
// file or the driver is in the verdict.
func File(ctx context.Context, path string, opts Options) (*Verdict, error) {
	if opts.Started != nil {
		opts.Started(path)
	}
	if opts.Finished != nil {
		defer opts.Finished(path)
	}
	start := time.Now()
	v := newVerdict(path)
	file, err := open(path)
	if err != nil {
		v.Verdict, v.Reason = Invalid, err.Error()
	} else {
		defer file.Close()
		if err := v.inHost(ctx, file, opts); err != nil {
			return nil, err
		}
	}
	v.Milliseconds = float64(time.Since(start).Microseconds()) / 1000
	return &v, nil
}

// open opens a regular file of a size that an image can have.
func open(path string) (*os.File, error) {
	// O_NONBLOCK: a FIFO in place of a file must not hang the open.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file (%s)", path, st.Mode().Type())
	}
	if err == nil && st.Size() > pe.MaxFileSize {
		err = fmt.Errorf("%s: %d bytes, more than an image may have (%d)", path, st.Size(),
			pe.MaxFileSize)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// message is a line that the host process sends: the verdict as far as it goes. The last one is
// final.
type message struct {
	Verdict
	Reason string `json:"reason,omitempty"`
	Final  bool   `json:"final,omitempty"`
	// HostError is why there is no host.
	HostError string `json:"host_error,omitempty"`
}

const maxMessage = 16 << 20 // bytes of a line

// inHost checks the driver in a host process of its own.
func (v *Verdict) inHost(ctx context.Context, file *os.File, opts Options) error {
	args := []string{childArg, v.File, strconv.Itoa(opts.Processors),
		strconv.FormatBool(opts.FailMissing), string(cmp.Or(opts.Sandbox, sandbox.On))}
	err := throwaway.Run(args, []*os.File{file}, func(p *throwaway.Process) error {
		return v.watch(ctx, p, file, opts)
	})
	var host *HostError
	if err == nil || errors.As(err, &host) || ctx.Err() != nil {
		return err
	}
	return &HostError{v.File, err.Error()}
}

// watch follows the check to its end.
func (v *Verdict) watch(ctx context.Context, p *throwaway.Process, file *os.File, opts Options) error {
	timeout := opts.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	deadline, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	kill := context.AfterFunc(deadline, p.Kill)
	defer kill()

	hashed := make(chan string, 1)
	go func() { hashed <- hash(file) }()
	m := message{Verdict: newVerdict(v.File)}
	for lines := p.Lines(maxMessage); !m.Final && lines.Scan(); {
		next := message{Verdict: newVerdict(v.File)}
		if json.Unmarshal(lines.Bytes(), &next) != nil {
			break // a host that has lost its mind
		}
		m = next
	}
	name := v.File
	*v = m.Verdict
	v.File, v.Reason, v.SHA256 = name, m.Reason, <-hashed
	how := ""
	if m.Final {
		// All is said. That the process is still taken down, which takes Linux milliseconds, need
		// not be waited for.
		kill()
		go func() {
			p.Kill()
			p.Wait("")
		}()
	} else {
		// It has died or is about to be killed; or it has broken its messages, and is of no more
		// use.
		if deadline.Err() == nil {
			p.Kill()
		}
		how = p.Wait("it ended without a verdict")
		kill()
	}
	switch {
	case m.Final && m.HostError == "":
	case ctx.Err() != nil:
		return ctx.Err()
	case m.HostError != "":
		return &HostError{v.File, m.HostError}
	case deadline.Err() != nil:
		v.Verdict, v.Reason = Timeout, fmt.Sprintf("it had not ended after %v", timeout)
	default:
		v.Verdict, v.Reason = Fault, "the host process died: "+how
	}
	if !m.Final && v.Stage == StageUnload {
		v.Unload = UnloadFailed
	}
	return nil
}

// hash gives the SHA-256 of a file, by reads that leave its position alone.
func hash(f *os.File) string {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, pe.MaxFileSize)); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
