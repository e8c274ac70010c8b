package replay

// A replay in a throw-away process: both sides of it.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/internal/throwaway"
	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/pe"
)

// FileOptions says how [File] replays a session. The zero value is a good one.
type FileOptions struct {
	// Drivers are the files to load, in this order; none takes those that the trace names.
	Drivers []string `json:"drivers"`
	// Limit is how long an event may take; 0 is DefaultLimit.
	Limit time.Duration `json:"limit"`
	// Processors is the number of virtual processors; 0 takes the machine's.
	Processors int `json:"processors"`
	// Sandbox is the mode of the process's sandbox; "" is sandbox.On.
	Sandbox sandbox.Mode `json:"sandbox"`
}

const (
	childArg   = "drvhost-replay-host" // the first argument of such a process
	maxMessage = 256 << 20             // bytes of a report
	// lingering is how long a process may take to end whose limit has been reached.
	lingering = 5 * time.Second
)

// message is a line from the process: an event's line, or what came of the replay.
type message struct {
	Line   int     `json:"line,omitempty"`
	Report *Report `json:"report,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// Init replays a session if this process is to do so, and then does not return. A program that calls
// [File] calls Init first, before it looks at its arguments.
func Init() {
	if len(os.Args) != 4 || os.Args[1] != childArg {
		return
	}
	to := json.NewEncoder(os.NewFile(throwaway.MessageFD, "messages"))
	var o FileOptions
	err := json.Unmarshal([]byte(os.Args[3]), &o)
	var m message
	if err == nil {
		m.Report, err = replayHere(os.Args[2], o, func(line int) { _ = to.Encode(message{Line: line}) })
	}
	if err != nil {
		m.Error = err.Error()
	}
	_ = to.Encode(m)
	os.Exit(0)
}

// DriverFiles gives the drivers that a trace names, as paths.
func DriverFiles(t *trace.Trace) ([]string, error) {
	if len(t.Drivers) == 0 {
		return nil, fmt.Errorf("%s: it names no drivers", t.Name())
	}
	var files []string
	for _, d := range t.Drivers {
		file := d.File
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(t.Name()), file)
		}
		files = append(files, file)
	}
	return files, nil
}

// replayHere replays a session in this process, which is good for nothing else.
func replayHere(session string, o FileOptions, progress func(line int)) (*Report, error) {
	box := cmp.Or(o.Sandbox, sandbox.On)
	entry := box.Begin(sandbox.Limits{})
	t, err := trace.ReadFile(session)
	if err != nil {
		return nil, err
	}
	if len(o.Drivers) == 0 {
		if o.Drivers, err = DriverFiles(t); err != nil {
			return nil, err
		}
	}
	var images []*pe.Image
	for _, file := range o.Drivers {
		img, err := pe.ParseFile(file)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	h, err := driverhost.New(driverhost.Options{Processors: o.Processors})
	if err != nil {
		return nil, err
	}
	if _, err := box.Complete(entry, sandbox.Policy{ReadOnly: []string{"/proc/self"}}); err != nil {
		return nil, err
	}
	for i, img := range images {
		if _, err := h.LoadParsed(o.Drivers[i], img); err != nil {
			return nil, err
		}
	}
	r := Run(context.Background(), h, t, Options{Limit: o.Limit, Progress: progress})
	r.close(h)
	return r, nil
}

// close closes the host, and notes what was left behind.
func (r *Report) close(h *driverhost.Host) {
	c, err := h.Close()
	if r.Crash != nil {
		return
	}
	for _, s := range c.Stuck {
		r.Left = append(r.Left, "did not end: "+s)
	}
	for _, driver := range slices.Sorted(maps.Keys(c.Left)) {
		for _, what := range c.Left[driver] {
			r.Left = append(r.Left, fmt.Sprintf("%s left %s behind", driver, what))
		}
	}
	for _, p := range driverhost.PoolUses(c.Pool) {
		r.Left = append(r.Left, "left "+p.String())
	}
	if crash, crashed := h.CrashReport(); crashed && err == nil {
		r.Crash = &crash
		return
	}
	if err != nil {
		r.Left = append(r.Left, err.Error())
	}
}

// File replays the session in a file in a process of its own, and gives what came of it. The error says
// that it could not be replayed: the trace or a driver cannot be read, DriverEntry failed, or ctx ended.
func File(ctx context.Context, session string, o FileOptions) (*Report, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var r *Report
	err = throwaway.Run([]string{childArg, session, string(options)}, nil,
		func(p *throwaway.Process) (err error) {
			r, err = watch(ctx, p, session, cmp.Or(o.Limit, DefaultLimit)+lingering)
			return err
		})
	return r, err
}

// watch follows a replay to its end. A process that says nothing for that long is not waited for: it
// tells now and then where it is, and ends what takes too long.
func watch(ctx context.Context, p *throwaway.Process, session string, limit time.Duration) (*Report,
	error) {
	defer context.AfterFunc(ctx, p.Kill)()
	silent := time.AfterFunc(limit, p.Kill)
	defer silent.Stop()
	last := message{}
	for lines := p.Lines(maxMessage); last.Report == nil && last.Error == "" && lines.Scan(); {
		next := message{}
		if json.Unmarshal(lines.Bytes(), &next) != nil {
			break // a process that has lost its mind
		}
		last = next
		silent.Reset(limit)
	}
	p.Kill() // all is said, or it has died, or is of no more use
	how := p.Wait("it ended")
	switch {
	case last.Report != nil:
		return last.Report, nil
	case last.Error != "":
		return nil, errors.New(last.Error)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return died(session, last.Line, how), nil
}

// died is the report of a process that has not given one.
func died(session string, line int, how string) *Report {
	return &Report{Session: session, Differences: []Difference{}, Stopped: &Difference{Line: line,
		What:   fmt.Sprintf("the session, after line %d", line),
		Device: "the host",
		Text:   "the host process died: " + how}}
}
