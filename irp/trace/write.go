package trace

// Writing a trace: the form of each line, and the recorder's side.

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/drvhost/drvhost/nt"
)

// line is a line that is being written.
type line struct {
	b    []byte
	data Data
	err  error
}

func (l *line) name(name string) {
	if l.b[len(l.b)-1] != '{' {
		l.b = append(l.b, ',')
	}
	l.b = append(l.b, '"')
	l.b = append(l.b, name...)
	l.b = append(l.b, '"', ':')
}

func (l *line) str(name, value string) {
	l.name(name)
	l.b = appendString(l.b, value)
}

func (l *line) uint(name string, v uint64) {
	l.name(name)
	l.b = strconv.AppendUint(l.b, v, 10)
}

func (l *line) hex(name string, v uint64) {
	l.name(name)
	l.b = append(l.b, `"0x`...)
	l.b = strconv.AppendUint(l.b, v, 16)
	l.b = append(l.b, '"')
}

// bytes writes data, but for none.
func (l *line) bytes(name string, data []byte) {
	if len(data) == 0 {
		return
	}
	l.name(name)
	if len(data) >= Large && l.data != nil {
		sum := sha256.Sum256(data)
		if err := l.data.Put(sum, data); err != nil && l.err == nil {
			l.err = err
		}
		l.b = append(l.b, '"')
		l.b = append(l.b, prefixHash...)
		l.b = hex.AppendEncode(l.b, sum[:])
		l.b = append(l.b, '"')
		return
	}
	l.b = appendData(l.b, data)
}

func (l *line) event(at int64, k Kind) {
	l.b = append(l.b, `{"t":`...)
	l.b = strconv.AppendInt(l.b, at, 10)
	l.b = append(l.b, `,"event":"`...)
	l.b = append(l.b, kindNames[k]...)
	l.b = append(l.b, '"')
}

func (l *line) end() { l.b = append(l.b, '}', '\n') }

// status writes a status by name and by value.
func (l *line) status(s nt.Status) {
	l.str("status", s.String())
	l.name("nt")
	l.b = append(l.b, `"0x`...)
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		l.b = append(l.b, digits[s>>shift&0xF])
	}
	l.b = append(l.b, '"')
}

func (l *line) header(h *Header) {
	l.b = append(l.b, `{"irpl":1`...)
	if h.Host != "" {
		l.str("host", h.Host)
	}
	if len(h.Drivers) > 0 {
		l.name("drivers")
		for i, d := range h.Drivers {
			l.b = append(l.b, "[,"[min(i, 1)], '{')
			l.str("file", d.File)
			if d.SHA256 != "" {
				l.str("sha256", d.SHA256)
			}
			l.b = append(l.b, '}')
		}
		l.b = append(l.b, ']')
	}
	if h.Note != "" {
		l.str("note", h.Note)
	}
	l.end()
}

func (l *line) mask(m *Mask) {
	l.b = append(l.b, '{')
	l.str("mask", m.What.String())
	if m.HasOp {
		l.str("op", OpName(m.Op))
	}
	if m.HasCode {
		l.hex("code", uint64(m.Code))
	}
	if m.HasID {
		l.uint("id", m.ID)
	}
	if m.Name != "" {
		l.str("name", m.Name)
	}
	if len(m.Bytes) > 0 {
		l.name("bytes")
		for i, r := range m.Bytes {
			l.b = append(l.b, "[,"[min(i, 1)], '"')
			l.b = append(l.b, r.String()...)
			l.b = append(l.b, '"')
		}
		l.b = append(l.b, ']')
	}
	if m.Why != "" {
		l.str("why", m.Why)
	}
	l.end()
}

func (l *line) open(at int64, o *Open) {
	l.event(at, KindOpen)
	l.uint("file", uint64(o.File))
	l.str("name", o.Name)
	l.hex("access", uint64(o.Access))
	l.hex("share", uint64(o.Share))
	l.str("disposition", dispositions[min(o.Disposition, uint32(len(dispositions)-1))])
	l.hex("options", uint64(o.Options))
	l.hex("attributes", uint64(o.Attributes))
	l.name("client")
	l.b = append(l.b, '{')
	l.uint("pid", uint64(max(o.Client.PID, 0)))
	l.uint("uid", uint64(o.Client.UID))
	l.uint("gid", uint64(o.Client.GID))
	if len(o.Client.Groups) > 0 {
		l.name("groups")
		for i, g := range o.Client.Groups {
			l.b = append(l.b, "[,"[min(i, 1)])
			l.b = strconv.AppendUint(l.b, uint64(g), 10)
		}
		l.b = append(l.b, ']')
	}
	if o.Client.Program != "" {
		l.str("program", o.Client.Program)
	}
	l.b = append(l.b, '}')
	l.end()
}

func (l *line) opened(at int64, r *Result) {
	l.event(at, KindOpened)
	l.uint("file", r.ID)
	l.status(r.Status)
	if r.Information != 0 {
		l.uint("information", r.Information)
	}
	l.end()
}

func (l *line) request(at int64, r *Request) {
	l.event(at, KindRequest)
	l.uint("id", r.ID)
	l.uint("file", uint64(r.File))
	l.str("op", OpName(r.Major))
	if r.Minor != 0 {
		l.uint("minor", uint64(r.Minor))
	}
	if r.Code != 0 {
		l.hex("code", uint64(r.Code))
	}
	if r.Key != 0 {
		l.hex("key", uint64(r.Key))
	}
	if r.Flags != 0 {
		l.hex("flags", uint64(r.Flags))
	}
	if r.Offset != FilePosition {
		l.name("offset")
		l.b = strconv.AppendInt(l.b, r.Offset, 10)
	}
	l.bytes("in", r.In)
	if r.OutSize != 0 {
		l.uint("out_size", uint64(r.OutSize))
	}
	l.bytes("out_before", r.OutBefore)
	l.end()
}

func (l *line) result(at int64, r *Result) {
	l.event(at, KindResult)
	l.uint("id", r.ID)
	l.status(r.Status)
	if r.IOStatus != r.Status {
		l.str("io_status", r.IOStatus.String())
	}
	if r.Information != 0 {
		l.uint("information", r.Information)
	}
	l.bytes("out", r.Out)
	l.end()
}

// write adds the line of an event of a trace.
func (l *line) write(t *Trace, e *Event) {
	switch e.Kind {
	case KindOpen:
		l.open(e.Time, t.Open(e))
	case KindOpened:
		l.opened(e.Time, t.Opened(e))
	case KindRequest:
		r, _ := t.Request(e)
		l.request(e.Time, r)
	case KindResult:
		l.result(e.Time, t.Result(e))
	case KindCancel:
		r, _ := t.Request(e)
		l.event(e.Time, e.Kind)
		l.uint("id", r.ID)
		l.end()
	default:
		l.event(e.Time, e.Kind)
		l.uint("file", uint64(e.File))
		l.end()
	}
}

// Format gives the trace in the form in which a Writer writes it: without comments and notes. Large
// data goes to data; nil keeps all of it in the text.
func (t *Trace) Format(data Data) ([]byte, error) {
	l := line{data: data}
	l.header(&t.Header)
	for i := range t.Masks {
		l.mask(&t.Masks[i])
	}
	for i := range t.Events {
		l.write(t, &t.Events[i])
	}
	return l.b, l.err
}

// Rewrite gives the trace's text with other results, by the index of their events, which are of
// KindResult or KindOpened. Every other line stays as it is.
func (t *Trace) Rewrite(results map[int]*Result, data Data) ([]byte, error) {
	l := line{data: data}
	from := uint32(0)
	for i := range t.Events {
		e, r := &t.Events[i], results[i]
		switch {
		case r == nil:
			continue
		case e.Kind != KindResult && e.Kind != KindOpened:
			return nil, errors.New("only results can be rewritten")
		}
		l.b = append(l.b, t.text[from:e.start]...)
		if e.Kind == KindResult {
			l.result(e.Time, r)
		} else {
			l.opened(e.Time, r)
		}
		l.b = l.b[:len(l.b)-1] // its line end is in the text
		from = e.end
	}
	return append(l.b, t.text[from:]...), l.err
}

// Writer writes a trace while it happens. Its methods may be called by several goroutines; what they
// write stands in the order of the calls. The first error is kept, and Close gives it.
type Writer struct {
	mu    sync.Mutex
	out   *bufio.Writer
	close io.Closer // or nil
	line  line
	start time.Time
	last  int64
	files uint32
	ids   uint64
	err   error
	done  bool
	timer *time.Timer // to flush
}

// flushAfter is how long an event may be in memory only.
const flushAfter = 200 * time.Millisecond

// NewWriter begins a trace. Large data goes to data; nil keeps all of it in the text.
func NewWriter(w io.Writer, data Data, h Header) *Writer {
	t := &Writer{out: bufio.NewWriterSize(w, 64<<10), start: time.Now(), line: line{data: data}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.header(&h)
	t.put()
	return t
}

// Create begins a trace in a file, which must not exist or is replaced, with its large data in
// DataDir beside it.
func Create(path string, h Header) (*Writer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := NewWriter(f, Dir(DataDir(path)), h)
	w.close = f
	return w, nil
}

// Mask adds a rule. Rules come before events.
func (w *Writer) Mask(m Mask) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.mask(&m)
	w.put()
}

// now gives the time of an event. w.mu is held, so times do not go back.
func (w *Writer) now() int64 {
	w.last = max(w.last, time.Since(w.start).Microseconds())
	return w.last
}

// put writes what is in w.line. w.mu is held.
func (w *Writer) put() {
	if w.err == nil {
		w.err = w.line.err
	}
	if w.err == nil && !w.done {
		_, w.err = w.out.Write(w.line.b)
		if w.timer == nil {
			w.timer = time.AfterFunc(flushAfter, w.flush)
		}
	}
	const most = 1 << 20
	if w.line.b = w.line.b[:0]; cap(w.line.b) > most {
		w.line.b = nil
	}
}

func (w *Writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	if w.err == nil && !w.done {
		w.err = w.out.Flush()
	}
}

// Open notes that a client opens a file, and gives the file's number, which it sets.
func (w *Writer) Open(o *Open) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files++
	o.File = w.files
	w.line.open(w.now(), o)
	w.put()
	return o.File
}

// Opened notes how an open ended.
func (w *Writer) Opened(file uint32, status nt.Status, information uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.opened(w.now(), &Result{ID: uint64(file), Status: status, Information: information})
	w.put()
}

// Request notes a request, and gives its id, which it sets. It says 0, and the trace has no such
// request, when that has more data than a trace may hold.
func (w *Writer) Request(r *Request) uint64 {
	if len(r.In) > MaxData || r.OutSize > MaxData {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	r.ID = w.ids
	w.line.request(w.now(), r)
	w.put()
	return r.ID
}

// Result notes how a request ended.
func (w *Writer) Result(r *Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.result(w.now(), r)
	w.put()
}

// Cancel notes that a request is cancelled, before it is.
func (w *Writer) Cancel(id uint64) { w.simple(KindCancel, "id", id) }

// Closing notes that a file is about to be closed.
func (w *Writer) Closing(file uint32) { w.simple(KindClose, "file", uint64(file)) }

// Closed notes that a file is closed.
func (w *Writer) Closed(file uint32) { w.simple(KindClosed, "file", uint64(file)) }

func (w *Writer) simple(k Kind, name string, v uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line.event(w.now(), k)
	w.line.uint(name, v)
	w.line.end()
	w.put()
}

// Close ends the trace. What is noted later is lost. The error is the first that there was.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return w.err
	}
	w.done = true
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	if w.close != nil {
		if err := w.close.Close(); w.err == nil {
			w.err = err
		}
	}
	return w.err
}
