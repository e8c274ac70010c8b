package trace

// Reading a trace.

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"syscall"
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

// The fields that lines may have.
type field uint8

const (
	fT field = iota
	fEvent
	fFile
	fID
	fName
	fAccess
	fShare
	fDisposition
	fOptions
	fAttributes
	fClient
	fStatus
	fNT
	fIOStatus
	fInformation
	fOp
	fMinor
	fCode
	fKey
	fFlags
	fOffset
	fIn
	fOutSize
	fOutBefore
	fOut
	fNote
	fIrpl
	fHost
	fDrivers
	fMask
	fBytes
	fWhy
	fieldCount
)

var fieldNames = [fieldCount]string{"t", "event", "file", "id", "name", "access", "share",
	"disposition", "options", "attributes", "client", "status", "nt", "io_status", "information",
	"op", "minor", "code", "key", "flags", "offset", "in", "out_size", "out_before", "out", "note",
	"irpl", "host", "drivers", "mask", "bytes", "why"}

// fieldOf finds a field by its name.
func fieldOf(name []byte) (field, bool) {
	switch string(name) { // in the order of how often they come
	case "t":
		return fT, true
	case "event":
		return fEvent, true
	case "id":
		return fID, true
	case "status":
		return fStatus, true
	case "nt":
		return fNT, true
	case "information":
		return fInformation, true
	case "out":
		return fOut, true
	case "file":
		return fFile, true
	case "op":
		return fOp, true
	case "code":
		return fCode, true
	case "in":
		return fIn, true
	case "out_size":
		return fOutSize, true
	}
	for f, n := range fieldNames {
		if n == string(name) {
			return field(f), true
		}
	}
	return 0, false
}

// has is a set of fields.
type has uint32

func set(fields ...field) (h has) {
	for _, f := range fields {
		h |= 1 << f
	}
	return h
}

func (h has) has(f field) bool { return h&(1<<f) != 0 }

// The fields that each kind of line must have, and those that it may have besides.
var (
	required = [kinds]has{
		KindOpen:    set(fT, fEvent, fFile, fName, fAccess, fShare, fDisposition, fOptions, fAttributes),
		KindOpened:  set(fT, fEvent, fFile, fStatus),
		KindRequest: set(fT, fEvent, fID, fFile, fOp),
		KindResult:  set(fT, fEvent, fID, fStatus),
		KindCancel:  set(fT, fEvent, fID),
		KindClose:   set(fT, fEvent, fFile),
		KindClosed:  set(fT, fEvent, fFile),
	}
	optional = [kinds]has{
		KindOpen:   set(fClient, fNote),
		KindOpened: set(fNT, fInformation, fNote),
		KindRequest: set(fMinor, fCode, fKey, fFlags, fOffset, fIn, fOutSize, fOutBefore,
			fNote),
		KindResult: set(fNT, fIOStatus, fInformation, fOut, fNote),
		KindCancel: set(fNote),
		KindClose:  set(fNote),
		KindClosed: set(fNote),
	}
	headerNeeds, headerMay = set(fIrpl), set(fHost, fDrivers, fNote)
	maskNeeds, maskMay     = set(fMask), set(fOp, fCode, fID, fName, fBytes, fWhy)
)

// fields are what a line has.
type fields struct {
	have has
	at   [fieldCount]int32 // where each value begins

	kind        Kind
	kindKnown   bool
	version     uint64
	time        int64
	file        uint32
	id          uint64
	fileName    []byte
	access      uint32
	share       uint32
	disposition uint32
	options     uint32
	attributes  uint32
	client      Client
	status      nt.Status
	nt          uint32
	ioStatus    nt.Status
	information uint64
	major       nt.MajorFunction
	minor       uint8
	code        uint32
	key         uint32
	flags       uint8
	offset      int64
	in          []byte
	outSize     int
	outBefore   []byte
	out         []byte
	host        string
	note        string
	drivers     []Driver
	mask        []byte
	bytes       []Range
	why         string
}

// fileState is what has become of a file of the trace.
type fileState uint8

const (
	fileOpening fileState = iota + 1
	fileOpen
	fileRefused
	fileClosing
	fileClosed
)

// openRequest is a request without a result so far.
type openRequest struct {
	id    uint64
	index int32
	ok    bool
}

// parser reads a trace.
type parser struct {
	*Trace
	scanner
	fields
	data     Data
	lineNo   int
	started  bool // there was a header
	files    map[uint32]fileState
	lastFile uint32 // the file of the last request, which is open
	maxID    uint64
	ids      map[uint64]struct{} // of all requests, once one came out of order
	recent   openRequest         // the last one without a result, or none: mostly the only one
	pending  map[uint64]int32    // the others, by their ids
	arena    []byte              // for data that had to be decoded
	loaded   map[[sha256.Size]byte][]byte
	total    int64 // bytes of side files
	statuses map[string]nt.Status
	lastName string // of a status
	lastNT   nt.Status
}

// ReadFile reads the trace in a file. An error is of the file, or a *SyntaxError.
func ReadFile(path string) (*Trace, error) {
	// O_NONBLOCK: a FIFO in place of a file must not hang the open.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, Dir(DataDir(path)))
}

// Read reads the trace in an open file, and its large data from data.
func Read(f *os.File, data Data) (*Trace, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file (%s)", f.Name(), info.Mode().Type())
	}
	if info.Size() > MaxSize {
		return nil, fmt.Errorf("%s: %d bytes, more than a trace may have (%d)", f.Name(), info.Size(),
			MaxSize)
	}
	text := make([]byte, 0, info.Size()+1)
	for {
		n, err := f.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case err == io.EOF:
			return Parse(f.Name(), text, data)
		case err != nil:
			return nil, err
		case len(text) == cap(text):
			return nil, fmt.Errorf("%s: it grows while it is read", f.Name())
		}
	}
}

// Parse reads a trace, which the Trace keeps. name is for errors; data has what lies in files of its
// own, and may be nil if there is none. An error is a *SyntaxError.
func Parse(name string, text []byte, data Data) (*Trace, error) {
	p := parser{Trace: &Trace{name: name, text: text, names: make(map[uint32]string)}, data: data,
		files:    make(map[uint32]fileState),
		pending:  make(map[uint64]int32),
		loaded:   make(map[[sha256.Size]byte][]byte),
		statuses: make(map[string]nt.Status)}
	if len(text) > MaxSize {
		return nil, p.syntax(fmt.Sprintf("%d bytes, more than a trace may have (%d)", len(text), MaxSize),
			0, nil)
	}
	// A line has some 130 bytes: this saves copying while the slices grow, and costs little.
	const shortest = 64
	p.Events = make([]Event, 0, min(len(text)/shortest, MaxEvents))
	p.requests = make([]Request, 0, cap(p.Events)/3)
	p.results = make([]Result, 0, cap(p.Events)/3)
	for start := 0; start < len(text); {
		end := bytes.IndexByte(text[start:], '\n')
		next := start + end + 1
		if end < 0 {
			end, next = len(text)-start, len(text)
		}
		end += start
		p.lineNo++
		line := text[start:end]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if !p.oneLine(line, start) {
			return nil, p.syntax(p.err, p.errPos, line)
		}
		start = next
	}
	if !p.started {
		p.lineNo++
		return nil, p.syntax(`it has no header, which is {"irpl":1,…}`, 0, nil)
	}
	return p.Trace, nil
}

// syntax makes the error for a place in the current line.
func (p *parser) syntax(text string, pos int, line []byte) error {
	column := utf8.RuneCount(line[:max(0, min(pos, len(line)))]) + 1
	return &SyntaxError{File: p.name, Line: max(p.lineNo, 1), Column: column, Text: text}
}

// oneLine reads a line, which begins at start. It reports whether it is right.
func (p *parser) oneLine(line []byte, start int) bool {
	p.scanner = scanner{line: line}
	switch p.peek() {
	case 0, '#':
		return true
	}
	if len(line) > MaxLine {
		p.fail(0, "a line of %d bytes, more than one may have (%d)", len(line), MaxLine)
		return false
	}
	p.have, p.kindKnown = 0, false
	if !p.object() {
		return false
	}
	for {
		key, ok := p.scanner.key()
		if !ok {
			break
		}
		f, known := fieldOf(key)
		if !known {
			p.fail(p.keyPos, "there is no field %q", key)
			break
		}
		if p.have.has(f) {
			p.fail(p.keyPos, "a second field %q", key)
			break
		}
		p.have |= 1 << f
		p.space()
		p.at[f] = int32(p.pos)
		p.value(f)
	}
	p.end()
	if p.err != "" {
		return false
	}
	switch {
	case !p.started:
		p.header()
	case p.have.has(fMask):
		p.rule()
	case p.have.has(fEvent):
		p.event(start, start+len(line))
	case p.have.has(fIrpl):
		p.fail(int(p.at[fIrpl]), "a second header")
	default:
		p.fail(0, `want an "event" or a "mask"`)
	}
	return p.err == ""
}
