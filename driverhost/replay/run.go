package replay

// A replay on a host of this process.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
)

// DefaultLimit is how long one event of a session may take.
const DefaultLimit = 10 * time.Second

// Options says how a session is replayed. The zero value is a good one.
type Options struct {
	// Limit is how long a request, an open or a close may take; 0 is DefaultLimit.
	Limit time.Duration
	// Progress, if set, is told now and then which line of the trace the replay is at.
	Progress func(line int)
}

const (
	// overlapGrace is how long the replay waits for a request or an open to be under way, before it goes
	// on with what was recorded as happening meanwhile. It is for routines that neither return nor wait.
	overlapGrace = 2 * time.Second
	// endGrace is how long what was cancelled has at the end.
	endGrace = 2 * time.Second
)

// player is one replay.
type player struct {
	h     *driverhost.Host
	t     *trace.Trace
	limit time.Duration
	ctx   context.Context // ends when the replay took too long, or its caller's ends

	files map[uint32]*file
	last  *file // of the last request
	ops   map[int]*operation
	out   []byte // for requests that are waited for at once

	at       atomic.Int64 // the index of the event that is being replayed
	compared atomic.Int64 // requests

	mu     sync.Mutex // guards what follows
	report Report
	over   bool // the report is not to be changed any more
}

// file is a file of the trace.
type file struct {
	number uint32
	f      *driverhost.File // nil when it is not open
	opened chan opened      // of an open under way
	closed chan struct{}    // of a close under way
}

type opened struct {
	f      *driverhost.File
	result trace.Result
	err    error
}

// operation is a request that overlaps others.
type operation struct {
	*driverhost.Operation
	out []byte
}

// Run replays a session on a host whose drivers are loaded, and gives what came of it. It returns when
// the session is over, when the driver has crashed, and at the latest a while after a request has taken
// too long or ctx has ended; the host may still be busy then, until it is closed.
func Run(ctx context.Context, h *driverhost.Host, t *trace.Trace, o Options) *Report {
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &player{h: h, t: t, limit: o.Limit, ctx: ctx, files: make(map[uint32]*file),
		ops: make(map[int]*operation), out: make([]byte, t.MaxOutSize()),
		report: Report{Session: t.Name(), Differences: []Difference{}}}
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.events()
		took := time.Since(start)
		p.end()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.over {
			p.report.Seconds = took.Seconds()
		}
	}()
	p.watch(cancel, done, o.Progress)
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.Crashed() != nil {
		p.crashed()
	}
	p.over = true
	p.report.Requests = int(p.compared.Load())
	report := p.report
	return &report
}

// watch waits for the end of the replay, and ends it when an event takes too long.
func (p *player) watch(cancel func(), done <-chan struct{}, progress func(line int)) {
	const often = 100 * time.Millisecond
	tick := time.NewTicker(min(often, p.limit/4+time.Millisecond))
	defer tick.Stop()
	var at int64
	since := time.Now()
	for ended := false; !ended; {
		select {
		case <-done:
			return
		case <-p.ctx.Done():
			p.stop("the replay was ended")
			ended = true
		case <-p.h.Done():
			ended = true
		case <-tick.C:
			if now := p.at.Load(); now != at {
				at, since = now, time.Now()
			}
			if progress != nil && int(at) < len(p.t.Events) {
				progress(int(p.t.Events[at].Line))
			}
			if time.Since(since) >= p.limit {
				p.stop(fmt.Sprintf("it had not ended after %v", p.limit))
				ended = true
			}
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(endGrace):
	}
}

// stop notes that the replay ends at the present event, and why.
func (p *player) stop(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.report.Stopped != nil {
		return
	}
	at := min(int(p.at.Load()), len(p.t.Events)-1)
	if at < 0 {
		p.report.Stopped = &Difference{What: "the session", Text: why}
		return
	}
	d := p.describe(at)
	d.Text = why
	p.report.Stopped = &d
}

// add notes a difference.
func (p *player) add(d Difference) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over && p.report.Stopped == nil && p.report.Crash == nil {
		p.report.Differences = append(p.report.Differences, d)
	}
}

// crashed notes the crash, at the present event. p.mu is held.
func (p *player) crashed() {
	if p.report.Crash != nil {
		return
	}
	r, ok := p.h.CrashReport()
	if !ok {
		r.Reason = p.h.Crashed().Error()
	}
	p.report.Crash = &r
	if at := min(int(p.at.Load()), len(p.t.Events)-1); at >= 0 {
		d := p.describe(at)
		d.Text = "the driver crashed"
		p.report.Stopped = &d
	}
}

// isOver reports whether the replay is to end: the driver has crashed, or the time is up.
func (p *player) isOver() bool {
	if p.h.Crashed() != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.over {
			p.crashed()
		}
		return true
	}
	return p.ctx.Err() != nil
}

// describe says which event a difference is at.
func (p *player) describe(at int) Difference {
	e := &p.t.Events[at]
	d := Difference{Line: int(e.Line)}
	number := e.File
	switch e.Kind {
	case trace.KindRequest, trace.KindResult, trace.KindCancel:
		r, n := p.t.Request(e)
		d.Request, d.ID, d.What, number = n+1, r.ID, r.Describe(), r.File
		d.RequestLine = int(p.t.Events[r.Began].Line)
		if r.Ended != 0 {
			d.Line = int(p.t.Events[r.Ended].Line)
		}
	case trace.KindOpen, trace.KindOpened:
		d.What = "open"
	default:
		d.What = "close"
	}
	d.Device = `\\.\` + p.t.FileName(number)
	return d
}

// events replays one event after the other.
func (p *player) events() {
	all := p.t.Events
	for i := 0; i < len(all); i++ {
		p.at.Store(int64(i))
		e := &all[i]
		next := i + 1
		if next == len(all) {
			next = 0
		}
		ok := true
		switch e.Kind {
		case trace.KindRequest:
			r, n := p.t.Request(e)
			if next != 0 && int(r.Ended) == next {
				ok = p.request(r, n, next)
				i++
			} else {
				ok = p.begin(r, n, i)
			}
		case trace.KindResult:
			ok = p.result(e, i)
		case trace.KindCancel:
			if _, n := p.t.Request(e); p.ops[n] != nil {
				p.ops[n].Cancel()
			}
		case trace.KindOpen:
			ok = p.open(p.t.Open(e), next != 0 && all[next].Kind == trace.KindOpened &&
				all[next].File == e.File)
		case trace.KindOpened:
			ok = p.opened(e, i)
		case trace.KindClose:
			p.close(e.File, next != 0 && all[next].Kind == trace.KindClosed && all[next].File == e.File)
		case trace.KindClosed:
			ok = p.closed(e.File)
		}
		if !ok {
			return
		}
	}
	p.at.Store(int64(len(all)))
}

// file gives a file of the trace, or nil if it is not open here.
func (p *player) file(number uint32) *driverhost.File {
	if p.last == nil || p.last.number != number {
		f := p.files[number]
		if f == nil || f.f == nil {
			return nil
		}
		p.last = f
	}
	return p.last.f
}

// fill makes buf what the output buffer of a request is before the request.
func fill(buf []byte, r *trace.Request) {
	if r.OutBefore != nil {
		copy(buf, r.OutBefore)
	} else if r.Major != nt.IRP_MJ_DEVICE_CONTROL || nt.IOCTL(r.Code).Method() != nt.METHOD_BUFFERED {
		clear(buf) // of a buffered one the driver sees nothing
	}
}

func ask(r *trace.Request, out []byte) driverhost.FileRequest {
	return driverhost.FileRequest{Major: r.Major, Minor: r.Minor, Flags: r.Flags, Code: r.Code,
		Key: r.Key, Offset: r.Offset, In: r.In, Out: out}
}

// request does a request whose result is the next event, and compares. It says false when the replay is
// over.
func (p *player) request(r *trace.Request, number, at int) bool {
	f := p.file(r.File)
	if f == nil {
		return p.notSent(at)
	}
	out := p.out[:r.OutSize]
	fill(out, r)
	res, err := f.Do(p.ctx, ask(r, out))
	if err != nil {
		return p.failed(at, err)
	}
	return p.compare(r, at, res, out)
}

// begin begins a request whose result comes later.
func (p *player) begin(r *trace.Request, number, at int) bool {
	f := p.file(r.File)
	if f == nil {
		return p.notSent(at)
	}
	out := make([]byte, r.OutSize)
	fill(out, r)
	ctx, stop := context.WithTimeout(p.ctx, overlapGrace)
	defer stop()
	op, err := f.Begin(ctx, ask(r, out))
	if err != nil {
		return p.failed(at, err)
	}
	p.ops[number] = &operation{op, out}
	return true
}

// result waits for a request that was begun, and compares.
func (p *player) result(e *trace.Event, at int) bool {
	r, number := p.t.Request(e)
	op := p.ops[number]
	if op == nil {
		return !p.isOver() // it has been told that it was not sent
	}
	select {
	case <-op.Done():
	case <-p.ctx.Done():
		return false
	}
	delete(p.ops, number)
	return p.compare(r, at, op.Result(), op.out)
}

// notSent notes a request on a file that is open in the trace and not here.
func (p *player) notSent(at int) bool {
	p.mu.Lock()
	p.report.NotSent++
	p.mu.Unlock()
	return !p.isOver()
}

// failed notes that a request could not even be made.
func (p *player) failed(at int, err error) bool {
	if p.isOver() {
		return false
	}
	d := p.describe(at)
	d.Text = err.Error()
	p.add(d)
	return true
}

// compare compares a result with the recorded one, which is in the event at that index.
func (p *player) compare(r *trace.Request, at int, res driverhost.Result, out []byte) bool {
	p.compared.Add(1)
	want := p.t.Result(&p.t.Events[at])
	have := trace.Result{ID: r.ID, Status: res.Status, IOStatus: res.IOStatus,
		Information: res.Information, Out: out[:min(res.Written, len(out))]}
	if want.Same(&have) {
		return true
	}
	if p.isOver() {
		return false
	}
	diff := p.t.Compare(r, p.t.FileName(r.File), want, &have)
	if len(diff.Fields) == 0 {
		return true
	}
	have.Out = bytes.Clone(have.Out)
	p.differ(at, want, &have, diff)
	return true
}

func (p *player) differ(at int, want, have *trace.Result, diff trace.Differences) {
	d := p.describe(at)
	d.Fields, d.Masked = diff.Fields, diff.Masked
	d.Want, d.Have = outcomeOf(want), outcomeOf(have)
	p.add(d)
}

// open opens a file; with now it is waited for by the event that follows at once.
func (p *player) open(o *trace.Open, now bool) bool {
	f := &file{number: o.File, opened: make(chan opened, 1)}
	p.files[o.File] = f
	reached := make(chan struct{})
	reach := sync.OnceFunc(func() { close(reached) })
	do := func() {
		defer reach()
		c := o.Client
		var r opened
		r.f, r.result.Status, r.result.Information, r.err = p.h.OpenFor(driverhost.ExactOpen{
			Name: o.Name, Access: o.Access, Share: uint16(o.Share), Disposition: uint8(o.Disposition),
			Options: o.Options, Attributes: uint16(o.Attributes),
			Client: driverhost.Identity{PID: c.PID, UID: c.UID, GID: c.GID, Groups: c.Groups,
				Program: c.Program},
			UnderWay: reach})
		f.opened <- r
	}
	if now {
		do()
		return true
	}
	go do()
	select {
	case <-reached:
	case <-time.After(overlapGrace):
	case <-p.ctx.Done():
		return false
	}
	return true
}

// opened waits for an open and compares its result.
func (p *player) opened(e *trace.Event, at int) bool {
	f := p.files[e.File]
	var r opened
	select {
	case r = <-f.opened:
	case <-p.ctx.Done():
		return false
	}
	f.opened = nil
	if p.isOver() {
		f.f = r.f
		return false
	}
	want := p.t.Opened(e)
	if r.err != nil {
		p.failed(at, r.err)
		return true
	}
	r.result.ID, r.result.IOStatus = want.ID, r.result.Status
	diff := p.t.CompareOpen(p.t.FileName(e.File), want, &r.result)
	if len(diff.Fields) > 0 {
		p.differ(at, want, &r.result, diff)
	}
	f.f = r.f
	if r.f != nil && !want.Status.Success() {
		_ = r.f.Close() // the trace has nothing to do with it
		f.f = nil
	}
	return true
}

// close closes a file; with now it is waited for by the event that follows at once.
func (p *player) close(number uint32, now bool) {
	f := p.files[number]
	if f == nil || f.f == nil {
		return
	}
	open := f.f
	f.f, p.last = nil, nil
	if now {
		_ = open.Close() // it is open
		return
	}
	f.closed = make(chan struct{})
	go func() {
		defer close(f.closed)
		_ = open.Close()
	}()
}

// closed waits for a close.
func (p *player) closed(number uint32) bool {
	f := p.files[number]
	if f == nil || f.closed == nil {
		return !p.isOver()
	}
	select {
	case <-f.closed:
		return !p.isOver()
	case <-p.ctx.Done():
		return false
	}
}

// end cancels what is under way still, and closes what is open: the recording ended before these did, or
// the replay.
func (p *player) end() {
	for _, op := range p.ops {
		op.Cancel()
	}
	for _, n := range slices.Sorted(maps.Keys(p.files)) {
		f := p.files[n]
		if f.opened != nil {
			select {
			case r := <-f.opened:
				f.f = r.f
			case <-time.After(endGrace):
				continue
			}
		}
		if f.f != nil {
			if err := f.f.Close(); err != nil && !errors.Is(err, driverhost.ErrClosed) {
				p.failed(len(p.t.Events)-1, err)
			}
		}
		if f.closed != nil {
			<-f.closed
		}
	}
	for _, op := range p.ops {
		<-op.Done()
	}
}
