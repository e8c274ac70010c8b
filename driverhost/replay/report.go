package replay

// What came of a replay: for people, for programs, and for CI.

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/irp/trace"
	"github.com/drvhost/drvhost/nt"
)

// Report is what came of a replay. The session replayed as it was recorded if Clean says so.
type Report struct {
	Session  string  `json:"session"`
	Requests int     `json:"requests"` // that were compared
	NotSent  int     `json:"not_sent"` // whose file was not open
	Seconds  float64 `json:"seconds"`  // from the first event to the last
	// Differences are in the order in which they were found.
	Differences []Difference `json:"differences"`
	// Stopped is where the replay ended before its end, and why, or nil.
	Stopped *Difference `json:"stopped"`
	// Crash is the driver's crash, or nil.
	Crash *driverhost.CrashReport `json:"crash"`
	// Left is what else was wrong when the host was closed.
	Left []string `json:"left"`
}

// Difference is an event that did not end as it was recorded.
type Difference struct {
	Line        int    `json:"line"`         // of the recorded result
	RequestLine int    `json:"request_line"` // 0 for an open and a close
	Request     int    `json:"request"`      // its number, from 1; 0 for an open and a close
	ID          uint64 `json:"id"`
	What        string `json:"what"` // such as "ioctl 0x222004"
	Device      string `json:"device"`
	// Fields are what differs. None means that there is no result, and Text says why.
	Fields []trace.Field `json:"fields,omitempty"`
	Want   *Outcome      `json:"recorded,omitempty"`
	Have   *Outcome      `json:"now,omitempty"`
	Masked []trace.Range `json:"masked,omitempty"` // ranges of output that were not compared
	Text   string        `json:"text,omitempty"`
}

// Outcome is a result.
type Outcome struct {
	Status      string   `json:"status"`
	Code        string   `json:"status_code"`
	IOStatus    string   `json:"io_status_code"`
	Information uint64   `json:"information"`
	Output      hexBytes `json:"output"`
}

// hexBytes are hexadecimal in JSON.
type hexBytes []byte

// MarshalText gives the digits.
func (b hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText reads what MarshalText gives.
func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

func outcomeOf(r *trace.Result) *Outcome {
	return &Outcome{Status: r.Status.String(), Code: code(r.Status), IOStatus: code(r.IOStatus),
		Information: r.Information, Output: r.Out}
}

func code(s nt.Status) string { return fmt.Sprintf("0x%08x", uint32(s)) }

// result gives the outcome as a trace has it.
func (o *Outcome) result(id uint64) (*trace.Result, error) {
	status, err := nt.ParseStatus(o.Code)
	if err != nil {
		return nil, err
	}
	io, err := nt.ParseStatus(o.IOStatus)
	if err != nil {
		return nil, err
	}
	return &trace.Result{ID: id, Status: status, IOStatus: io, Information: o.Information,
		Out: o.Output}, nil
}

// Clean says whether the session replayed as it was recorded.
func (r *Report) Clean() bool {
	return len(r.Differences) == 0 && r.Stopped == nil && r.Crash == nil && r.NotSent == 0 &&
		len(r.Left) == 0
}

// Summary says in a line how it went.
func (r *Report) Summary() string {
	switch {
	case r.Clean():
		return fmt.Sprintf("%d requests, as recorded", r.Requests)
	case r.Crash != nil:
		return "the driver crashed: " + crashName(r.Crash)
	case r.Stopped != nil:
		return fmt.Sprintf("%s: %s", r.Stopped.title(), r.Stopped.Text)
	case len(r.Differences) > 0:
		return fmt.Sprintf("%d of %d requests differ from what was recorded; the first is %s",
			len(r.Differences), r.Requests, r.Differences[0].title())
	case r.NotSent > 0:
		return fmt.Sprintf("%d requests could not be sent", r.NotSent)
	}
	return strings.Join(r.Left, "; ")
}

func crashName(c *driverhost.CrashReport) string {
	text := c.Name
	if c.Module != "" {
		text += fmt.Sprintf(" at %s+%v", c.Module, c.Offset)
	}
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	return strings.TrimPrefix(text, ": ")
}

// title says which event it is: "request 5, ioctl 0x222004 on \\.\Echo".
func (d *Difference) title() string {
	if d.Line == 0 {
		return d.What
	}
	text := fmt.Sprintf("%s of %s", d.What, d.Device)
	if d.Request > 0 {
		text = fmt.Sprintf("request %d, %s on %s", d.Request, d.What, d.Device)
	}
	return text
}

// shown is how many differences are told to people.
const shown = 20

// WriteTo writes the report for people.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Session, r.Summary())
	for i := range r.Differences {
		if i == shown {
			fmt.Fprintf(&b, "… and %d more\n", len(r.Differences)-shown)
			break
		}
		r.Differences[i].write(&b, r.Session)
	}
	if r.Stopped != nil {
		r.Stopped.write(&b, r.Session)
	}
	if r.NotSent > 0 {
		fmt.Fprintf(&b, "%d requests were not sent, because their file was not open\n", r.NotSent)
	}
	for _, l := range r.Left {
		fmt.Fprintf(&b, "%s\n", l)
	}
	if r.Crash != nil {
		_, _ = r.Crash.WriteTo(&b)
	}
	n, err := io.WriteString(w, driverhost.Printable(b.String()))
	return int64(n), err
}

// write writes one difference.
func (d *Difference) write(b *strings.Builder, session string) {
	fmt.Fprintf(b, "%s:%d: %s", session, d.Line, d.title())
	if d.RequestLine > 0 && d.RequestLine != d.Line {
		fmt.Fprintf(b, " (line %d, id %d)", d.RequestLine, d.ID)
	}
	b.WriteByte('\n')
	if d.Text != "" {
		fmt.Fprintf(b, "  %s\n", d.Text)
	}
	if d.Want == nil || d.Have == nil {
		return
	}
	for _, f := range d.Fields {
		switch f {
		case trace.FieldStatus:
			fmt.Fprintf(b, "  status       recorded %s (%s)\n               now      %s (%s)\n",
				d.Want.Status, d.Want.Code, d.Have.Status, d.Have.Code)
		case trace.FieldIOStatus:
			fmt.Fprintf(b, "  io_status    recorded %s, now %s\n", d.Want.IOStatus, d.Have.IOStatus)
		case trace.FieldInformation:
			fmt.Fprintf(b, "  information  recorded %d, now %d\n", d.Want.Information,
				d.Have.Information)
		case trace.FieldOutput:
			writeOutput(b, d.Want.Output, d.Have.Output, d.Masked)
		}
	}
}

const rowSize = 16 // bytes in a row of a hex diff

// writeOutput writes in what two outputs differ.
func writeOutput(b *strings.Builder, want, have []byte, masked []trace.Range) {
	n := max(len(want), len(have))
	skip := make([]bool, n)
	for _, r := range masked {
		for i := r.Start; i < uint64(n) && (r.Len == math.MaxUint64 || i-r.Start < r.Len); i++ {
			skip[i] = true
		}
	}
	differs := func(i int) bool {
		return !skip[i] && (i >= len(want) || i >= len(have) || want[i] != have[i])
	}
	count, first := 0, -1
	rows := make(map[int]bool)
	for i := range n {
		if differs(i) {
			if count++; first < 0 {
				first = i
			}
			rows[i/rowSize] = true
		}
	}
	fmt.Fprintf(b, "  output       recorded %d bytes, now %d", len(want), len(have))
	if first < 0 {
		b.WriteString("\n")
		return
	}
	fmt.Fprintf(b, "; %d differ, the first at %#x\n", count, first)
	const most = 8
	told, gap := 0, false
	for row := 0; row*rowSize < n; row++ {
		switch {
		case rows[row] && told == most:
			fmt.Fprintf(b, "    … %d more rows differ\n", len(rows)-most)
			return
		case rows[row]:
			told++
			writeRow(b, '-', row, want, skip)
			writeRow(b, '+', row, have, skip)
			gap = false
		case rows[row-1] || rows[row+1]:
			writeRow(b, ' ', row, want, skip)
			gap = false
		case !gap:
			b.WriteString("    …\n")
			gap = true
		}
	}
}

// writeRow writes a row of an output: "  - 0x0010  68 65 … |he…|". What is masked is "..".
func writeRow(b *strings.Builder, sign byte, row int, data []byte, skip []bool) {
	start := row * rowSize
	fmt.Fprintf(b, "  %c 0x%04x ", sign, start)
	var text [rowSize]byte
	for k := range rowSize {
		i := start + k
		if k == rowSize/2 {
			b.WriteByte(' ')
		}
		switch {
		case i >= len(data):
			b.WriteString("   ")
			text[k] = ' '
		case skip[i]:
			b.WriteString(" ..")
			text[k] = '.'
		default:
			fmt.Fprintf(b, " %02x", data[i])
			if text[k] = data[i]; data[i] < ' ' || data[i] > '~' {
				text[k] = '.'
			}
		}
	}
	fmt.Fprintf(b, "  |%s|\n", strings.TrimRight(string(text[:]), " "))
}

// ErrNotAcceptable says why the results of a replay cannot be the recorded ones.
var ErrNotAcceptable = errors.New("a session that did not come to its end is not accepted")

// Accept gives the trace's text with the results of this replay in place of those that differ. Comments,
// masks and the order of events stay.
func (r *Report) Accept(t *trace.Trace, data trace.Data) ([]byte, error) {
	if r.Stopped != nil || r.Crash != nil {
		return nil, ErrNotAcceptable
	}
	results := make(map[int]*trace.Result)
	for i := range r.Differences {
		d := &r.Differences[i]
		e, index, ok := t.At(d.Line)
		if !ok || d.Have == nil {
			return nil, fmt.Errorf("%w: %s: %s", ErrNotAcceptable, d.title(), d.Text)
		}
		have, err := d.Have.result(d.ID)
		if err != nil {
			return nil, err
		}
		if e.Kind == trace.KindOpened {
			have.ID = uint64(e.File)
			if t.Opened(e).Status.Success() != have.Status.Success() {
				return nil, fmt.Errorf("%w: %s now ends with %s, and other requests follow from that",
					ErrNotAcceptable, d.title(), d.Have.Status)
			}
		}
		results[index] = have
	}
	if r.NotSent > 0 {
		return nil, fmt.Errorf("%w: %d requests could not be sent", ErrNotAcceptable, r.NotSent)
	}
	return t.Rewrite(results, data)
}

// The elements of JUnit's XML, as CI systems read it.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes reports as JUnit's XML: a test for each replay.
func WriteJUnit(w io.Writer, reports []*Report) error {
	suite := junitSuite{Name: "drvhost replay", Tests: len(reports)}
	total := 0.0
	seen := make(map[string]int)
	for _, r := range reports {
		c := junitCase{Class: "drvhost.replay", Name: r.Session, Time: fmt.Sprintf("%.6f", r.Seconds)}
		if seen[r.Session]++; seen[r.Session] > 1 {
			c.Name += fmt.Sprintf(" (%d)", seen[r.Session])
		}
		if !r.Clean() {
			var b strings.Builder
			_, _ = r.WriteTo(&b)
			c.Failure = &junitFailure{Message: driverhost.Printable(r.Summary()), Text: b.String()}
			suite.Failures++
		}
		total += r.Seconds
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = fmt.Sprintf("%.6f", total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
