package trace

// What a trace consists of.

import (
	"fmt"
	"slices"

	"github.com/drvhost/drvhost/nt"
)

// Version is the version of the format that this package writes, and the only one it reads.
const Version = 1

// The bounds of what a trace may hold. A trace that goes beyond one is refused.
const (
	MaxSize   = 1 << 30  // bytes of a trace, and of the side files that it names in all
	MaxLine   = 32 << 20 // bytes of a line
	MaxData   = 64 << 20 // bytes of one input or output
	MaxEvents = 1 << 24
	MaxMasks  = 1 << 10
	maxName   = 32767 // bytes of a device's name
)

// FilePosition as a request's offset stands for the file's own position (irp.FilePosition).
const FilePosition int64 = -2

// Header is the first line.
type Header struct {
	Host    string // that recorded it, for people
	Drivers []Driver
	Note    string
}

// Driver is a driver that was loaded, in the order of loading.
type Driver struct {
	File   string // relative to the trace's directory, or absolute
	SHA256 string // of the file, hexadecimal; "" if it is not known
}

// Kind says what an event is.
type Kind uint8

// The kinds of event. An open, a request and a close have an end of their own, because other things
// may happen in between.
const (
	KindOpen Kind = iota
	KindOpened
	KindRequest
	KindResult
	KindCancel
	KindClose
	KindClosed
	kinds
)

var kindNames = [kinds]string{"open", "opened", "request", "result", "cancel", "close", "closed"}

// String gives the name that a trace has for it.
func (k Kind) String() string { return kindNames[k] }

// Event is one line of what happened.
type Event struct {
	Kind  Kind
	Line  int32 // from 1
	index int32 // in the trace's slice for the kind
	// start and end are where the line lies in the text.
	start, end uint32
	Time       int64  // µs since the start of the recording
	File       uint32 // of everything but a cancel
}

// Client is who opened a file.
type Client struct {
	PID     int
	UID     uint32
	GID     uint32
	Groups  []uint32
	Program string
}

// Open asks for a file.
type Open struct {
	File        uint32 // its number in the trace
	Name        string // without \\.\
	Access      uint32 // ACCESS_MASK, without generic rights
	Share       uint32 // FILE_SHARE_*
	Disposition uint32 // FILE_OPEN and its kin
	Options     uint32 // FILE_* create options
	Attributes  uint32 // FILE_ATTRIBUTE_*
	Client      Client
}

// Request is a request on an open file.
type Request struct {
	ID    uint64
	File  uint32
	Major nt.MajorFunction
	Minor uint8
	Flags uint8 // SL_ bits of the stack location
	// Began is its index among the events, and Ended that of its result, 0 if the recording ended
	// before it did.
	Began     int32
	Ended     int32
	Code      uint32 // the control code, the information class or the SECURITY_INFORMATION
	Key       uint32
	Offset    int64 // FilePosition if it has none
	In        []byte
	OutSize   int    // bytes of room for output
	OutBefore []byte // what the output buffer holds, where a driver can see that; nil is zeros
}

// Result is how a request, or an open, ended.
type Result struct {
	ID          uint64    // of the request; of an open, the file's number
	Status      nt.Status // what the call returned
	IOStatus    nt.Status // IoStatus.Status
	Information uint64
	Out         []byte // what came back in the output buffer
	request     int32  // in Trace.requests
}

// Trace is a recorded session.
type Trace struct {
	Header
	Masks  []Mask
	Events []Event

	name     string
	text     []byte
	opens    []Open
	opened   []Result
	requests []Request
	results  []Result
	cancels  []int32 // indexes of requests
	names    map[uint32]string
	maxOut   int
}

// FileName gives the name by which a file of the trace was opened, without \\.\.
func (t *Trace) FileName(file uint32) string { return t.names[file] }

// At finds the event in a line, and its index.
func (t *Trace) At(line int) (e *Event, index int, ok bool) {
	i, ok := slices.BinarySearchFunc(t.Events, line,
		func(e Event, line int) int { return int(e.Line) - line })
	if !ok {
		return nil, 0, false
	}
	return &t.Events[i], i, true
}

// Name gives the name by which the trace was read.
func (t *Trace) Name() string { return t.name }

// Requests counts the requests.
func (t *Trace) Requests() int { return len(t.requests) }

// MaxOutSize gives the largest OutSize of its requests.
func (t *Trace) MaxOutSize() int { return t.maxOut }

// Open gives the open of an event of KindOpen.
func (t *Trace) Open(e *Event) *Open { return &t.opens[e.index] }

// Opened gives the result of an event of KindOpened.
func (t *Trace) Opened(e *Event) *Result { return &t.opened[e.index] }

// Request gives the request of an event of KindRequest, KindResult or KindCancel, and its number,
// from 0.
func (t *Trace) Request(e *Event) (r *Request, number int) {
	switch e.Kind {
	case KindResult:
		number = int(t.results[e.index].request)
	case KindCancel:
		number = int(t.cancels[e.index])
	default:
		number = int(e.index)
	}
	return &t.requests[number], number
}

// Result gives the result of an event of KindResult.
func (t *Trace) Result(e *Event) *Result { return &t.results[e.index] }

// ops are the names of the major functions that a client may send.
var ops = [nt.IRP_MJ_MAXIMUM_FUNCTION + 1]string{
	nt.IRP_MJ_READ: "read", nt.IRP_MJ_WRITE: "write", nt.IRP_MJ_FLUSH_BUFFERS: "flush",
	nt.IRP_MJ_DEVICE_CONTROL:           "ioctl",
	nt.IRP_MJ_QUERY_INFORMATION:        "query_information",
	nt.IRP_MJ_SET_INFORMATION:          "set_information",
	nt.IRP_MJ_QUERY_VOLUME_INFORMATION: "query_volume_information",
	nt.IRP_MJ_SET_VOLUME_INFORMATION:   "set_volume_information",
	nt.IRP_MJ_DIRECTORY_CONTROL:        "directory_control",
	nt.IRP_MJ_FILE_SYSTEM_CONTROL:      "file_system_control",
	nt.IRP_MJ_LOCK_CONTROL:             "lock_control",
	nt.IRP_MJ_QUERY_SECURITY:           "query_security",
	nt.IRP_MJ_SET_SECURITY:             "set_security",
	nt.IRP_MJ_SHUTDOWN:                 "shutdown",
}

// OpName gives a major function's name in a trace, "" for one that no client sends.
func OpName(m nt.MajorFunction) string {
	if int(m) < len(ops) {
		return ops[m]
	}
	return ""
}

// majorOf is the reverse of OpName.
func majorOf(op string) (nt.MajorFunction, bool) {
	switch op { // most are these
	case "ioctl":
		return nt.IRP_MJ_DEVICE_CONTROL, true
	case "read":
		return nt.IRP_MJ_READ, true
	case "write":
		return nt.IRP_MJ_WRITE, true
	}
	for m, name := range ops {
		if name == op && name != "" {
			return nt.MajorFunction(m), true
		}
	}
	return 0, false
}

// Describe gives a request's name for people: "ioctl 0x222004".
func (r *Request) Describe() string {
	name := OpName(r.Major)
	switch r.Major {
	case nt.IRP_MJ_READ, nt.IRP_MJ_WRITE:
		n := len(r.In)
		if r.Major == nt.IRP_MJ_READ {
			n = r.OutSize
		}
		name = fmt.Sprintf("%s of %d bytes", name, n)
		if r.Offset != FilePosition {
			name += fmt.Sprintf(" at %d", r.Offset)
		}
	case nt.IRP_MJ_FLUSH_BUFFERS, nt.IRP_MJ_SHUTDOWN:
	default:
		name = fmt.Sprintf("%s %#x", name, r.Code)
	}
	return name
}

// SyntaxError says where a trace is malformed, and what is wrong there.
type SyntaxError struct {
	File   string
	Line   int // from 1
	Column int // in characters, from 1
	Text   string
}

// Error gives "file:line:column: text".
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Text)
}
