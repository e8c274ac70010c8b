package trace

// The values of fields, and what they must be together.

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/drvhost/drvhost/nt"
)

// value reads the value of a field.
func (p *parser) value(f field) {
	switch f {
	case fT:
		p.time = int64(p.uint("t, in µs,", math.MaxInt64))
	case fEvent:
		p.eventName()
	case fFile:
		p.file = uint32(p.uint("the number of a file", math.MaxUint32))
	case fID:
		p.id = p.uint("the id of a request", math.MaxUint64)
	case fName:
		p.fileName = p.limited("a name", maxName)
	case fAccess:
		p.access = uint32(p.hex("access", math.MaxUint32))
	case fShare:
		p.share = uint32(p.hex("share", math.MaxUint16))
	case fDisposition:
		p.dispositionName()
	case fOptions:
		p.options = uint32(p.hex("options", 0xFFFFFF))
	case fAttributes:
		p.attributes = uint32(p.hex("attributes", math.MaxUint16))
	case fClient:
		p.clientObject()
	case fStatus:
		p.status = p.statusName()
	case fNT:
		p.nt = uint32(p.hex("a status", math.MaxUint32))
	case fIOStatus:
		p.ioStatus = p.statusName()
	case fInformation:
		p.information = p.uint("information", math.MaxUint64)
	case fOp:
		at := p.pos
		name := p.str()
		major, ok := majorOf(string(name))
		if p.err == "" && !ok {
			p.fail(at, "there is no operation %q", name)
		}
		p.major = major
	case fMinor:
		p.minor = uint8(p.uint("minor", math.MaxUint8))
	case fCode:
		p.code = uint32(p.hex("code", math.MaxUint32))
	case fKey:
		p.fields.key = uint32(p.hex("key", math.MaxUint32))
	case fFlags:
		p.flags = uint8(p.hex("flags", math.MaxUint8))
	case fOffset:
		at := p.pos
		v, negative := p.integer("an offset")
		if negative {
			p.offset = -int64(v)
		} else if p.offset = int64(v); v > math.MaxInt64 {
			p.fail(at, "an offset may be at most %d", int64(math.MaxInt64))
		}
	case fIn:
		p.in = p.bytesOf()
	case fOutSize:
		p.outSize = int(p.uint("out_size", MaxData))
	case fOutBefore:
		p.outBefore = p.bytesOf()
	case fOut:
		p.out = p.bytesOf()
	case fNote:
		p.note = string(p.str())
	case fIrpl:
		p.version = p.uint("the version", math.MaxUint32)
	case fHost:
		p.host = string(p.str())
	case fDrivers:
		p.drivers = nil
		p.array(p.driver)
	case fMask:
		p.mask = p.str()
	case fBytes:
		p.fields.bytes = nil
		p.array(p.byteRange)
	case fWhy:
		p.why = string(p.str())
	}
}

// limited reads a string of at most so many bytes.
func (p *parser) limited(what string, most int) []byte {
	at := p.pos
	text := p.str()
	if p.err == "" && len(text) > most {
		p.fail(at, "%s of %d bytes, more than it may have (%d)", what, len(text), most)
	}
	return text
}

func (p *parser) eventName() {
	at := p.pos
	name := p.str()
	for k, n := range kindNames {
		if n == string(name) {
			p.kind, p.kindKnown = Kind(k), true
			return
		}
	}
	p.fail(at, "there is no event %q", name)
}

// dispositions are the names of the create dispositions, by value.
var dispositions = [...]string{"supersede", "open", "create", "open_if", "overwrite", "overwrite_if"}

func (p *parser) dispositionName() {
	at := p.pos
	name := p.str()
	for v, n := range dispositions {
		if n == string(name) {
			p.disposition = uint32(v)
			return
		}
	}
	p.fail(at, "there is no disposition %q", name)
}

// clientObject reads {"pid":1,"uid":0,"gid":0,"groups":[4],"program":"x"}; each may be missing.
func (p *parser) clientObject() {
	const maxGroups = 1 << 16
	p.client = Client{}
	if !p.object() {
		return
	}
	var seen [5]bool
	for {
		key, ok := p.scanner.key()
		if !ok {
			p.first = false // of the object around it
			return
		}
		at, n := p.keyPos, 0
		p.space()
		switch string(key) {
		case "pid":
			n = 0
			p.client.PID = int(p.uint("a pid", math.MaxInt32))
		case "uid":
			n = 1
			p.client.UID = uint32(p.uint("a uid", math.MaxUint32))
		case "gid":
			n = 2
			p.client.GID = uint32(p.uint("a gid", math.MaxUint32))
		case "groups":
			n = 3
			p.array(func() {
				g := p.uint("a gid", math.MaxUint32)
				if len(p.client.Groups) == maxGroups {
					p.fail(p.pos, "more than %d groups", maxGroups)
					return
				}
				p.client.Groups = append(p.client.Groups, uint32(g))
			})
		case "program":
			n = 4
			p.client.Program = string(p.limited("the name of a program", 255))
		default:
			p.fail(at, "a client has no field %q", key)
			return
		}
		if seen[n] {
			p.fail(at, "a second field %q", key)
			return
		}
		seen[n] = true
	}
}

// driver reads {"file":"x.sys","sha256":"…"}.
func (p *parser) driver() {
	const maxDrivers = 256
	var d Driver
	p.space()
	start := p.pos
	if !p.object() {
		return
	}
	for {
		key, ok := p.scanner.key()
		if !ok {
			break
		}
		at := p.keyPos
		p.space()
		switch {
		case string(key) == "file" && d.File == "":
			d.File = string(p.limited("a path", 4096))
		case string(key) == "sha256" && d.SHA256 == "":
			pos := p.pos
			d.SHA256 = string(p.str())
			if sum, err := hex.DecodeString(d.SHA256); p.err == "" && (err != nil || len(sum) != sha256.Size) {
				p.fail(pos, "a SHA-256 has 64 hexadecimal digits")
			}
		default:
			p.fail(at, `a driver has "file" and "sha256", once each, and no %q`, key)
		}
	}
	if p.err == "" && d.File == "" {
		p.fail(start, `a driver without "file"`)
	}
	if len(p.drivers) == maxDrivers {
		p.fail(start, "more than %d drivers", maxDrivers)
	}
	p.drivers = append(p.drivers, d)
}

// statusName reads a status: its name, or its value as "0xC0000001".
func (p *parser) statusName() nt.Status {
	at := p.pos
	text := p.str()
	switch {
	case p.err != "":
		return 0
	case string(text) == p.lastName:
		return p.lastNT
	}
	s, ok := p.statuses[string(text)]
	if !ok {
		var err error
		if v, hexadecimal := parseHex(text); hexadecimal && v <= math.MaxUint32 {
			s = nt.Status(v)
		} else if s, err = nt.ParseStatus(string(text)); err != nil || text[0] < 'A' {
			p.fail(at, `there is no status %q: want a name of ntstatus.h, or a number as "0xc0000001"`,
				text)
			return 0
		}
		const enough = 1 << 12 // a hostile trace may have as many numbers as lines
		if len(p.statuses) < enough {
			p.statuses[string(text)] = s
		}
	}
	p.lastName, p.lastNT = string(text), s
	return s
}

// bytesOf reads data.
func (p *parser) bytesOf() []byte {
	at := p.pos
	text := p.str()
	if p.err != "" {
		return nil
	}
	var data []byte
	switch {
	case !hasPrefix(text):
		data = text
	case text[0] == 't':
		data = text[len(prefixText):]
	case text[0] == 'h':
		data = p.decodeHex(at, text[len(prefixHex):])
	default:
		data = p.sideFile(at, text[len(prefixHash):])
	}
	if len(data) > MaxData {
		p.fail(at, "%d bytes of data, more than a request may have (%d)", len(data), MaxData)
	}
	return data
}

// decodeHex decodes pairs of digits, into memory that many of them share.
func (p *parser) decodeHex(at int, digits []byte) []byte {
	n := len(digits) / 2
	if n*2 != len(digits) {
		p.fail(at, "an odd number of hexadecimal digits")
		return nil
	}
	const chunk = 64 << 10
	if cap(p.arena)-len(p.arena) < n {
		if n >= chunk/4 {
			p.arena = make([]byte, 0, n)
		} else {
			p.arena = make([]byte, 0, chunk)
		}
	}
	start := len(p.arena)
	p.arena = p.arena[:start+n]
	out := p.arena[start : start+n : start+n]
	for i := range out {
		hi, lo := hexDigit[digits[2*i]], hexDigit[digits[2*i+1]]
		if hi|lo < 0 {
			p.fail(at+1+len(prefixHex)+2*i, "%q is no byte in hexadecimal", digits[2*i:2*i+2])
			return nil
		}
		out[i] = byte(hi)<<4 | byte(lo)
	}
	return out
}

// sideFile gives data that lies in a file of its own.
func (p *parser) sideFile(at int, digits []byte) []byte {
	var sum [sha256.Size]byte
	if n, err := hex.Decode(sum[:], digits[:min(len(digits), 2*sha256.Size)]); err != nil ||
		n != sha256.Size || len(digits) != 2*sha256.Size {
		p.fail(at, "a SHA-256 has 64 hexadecimal digits")
		return nil
	}
	if data, ok := p.loaded[sum]; ok {
		return data
	}
	if p.data == nil {
		p.fail(at, "there is no directory with the data of this trace")
		return nil
	}
	data, err := p.data.Get(sum)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.fail(at, "the data is not there: %v", err)
	case err != nil:
		p.fail(at, "the data cannot be read: %v", err)
	case sha256.Sum256(data) != sum:
		p.fail(at, "the file with this data has other data in it")
	case p.total+int64(len(data)) > MaxSize:
		p.fail(at, "more than %d bytes of data in files", MaxSize)
	default:
		p.total += int64(len(data))
		p.loaded[sum] = data
		return data
	}
	return nil
}

// allowed checks that the fields of a line are those that it must and may have.
func (p *parser) allowed(what string, needs, may has) bool {
	if p.have&^may == needs {
		return true
	}
	for f := range fieldCount {
		switch {
		case needs.has(f) && !p.have.has(f):
			p.fail(0, "%s without %q", what, fieldNames[f])
		case p.have.has(f) && !(needs | may).has(f):
			p.fail(int(p.at[f]), "%s has no %q", what, fieldNames[f])
		}
	}
	return false
}

// header takes the first line.
func (p *parser) header() {
	if !p.have.has(fIrpl) {
		p.fail(0, `want the header first, which is {"irpl":1,…}: this is no trace`)
		return
	}
	if p.version != Version {
		p.fail(int(p.at[fIrpl]), "version %d; this drvhost reads version %d", p.version, Version)
		return
	}
	if !p.allowed("the header", headerNeeds, headerMay) {
		return
	}
	p.started = true
	if p.have.has(fHost) {
		p.Host = p.host
	}
	if p.have.has(fDrivers) {
		p.Drivers = p.drivers
	}
	if p.have.has(fNote) {
		p.Note = p.note
	}
}

// event takes an event, which lies at start to end in the text.
func (p *parser) event(start, end int) {
	if !p.kindKnown || !p.allowed(kindNames[p.kind], required[p.kind], optional[p.kind]) {
		return
	}
	if len(p.Events) == MaxEvents {
		p.fail(0, "more than %d events", MaxEvents)
		return
	}
	e := Event{Kind: p.kind, Line: int32(p.lineNo), Time: p.time, start: uint32(start),
		end: uint32(end)}
	if n := len(p.Events); n > 0 && p.time < p.Events[n-1].Time {
		p.fail(int(p.at[fT]), "the time goes back, from %d to %d", p.Events[n-1].Time, p.time)
		return
	}
	if p.have.has(fNT) && p.nt != uint32(p.status) {
		p.fail(int(p.at[fNT]), "the status %v is 0x%08x, and not 0x%08x", p.status, uint32(p.status),
			p.nt)
		return
	}
	switch p.kind {
	case KindOpen:
		p.addOpen(&e)
	case KindOpened:
		p.addOpened(&e)
	case KindRequest:
		p.addRequest(&e)
	case KindResult:
		p.addResult(&e)
	case KindCancel:
		e.index = int32(len(p.cancels))
		if number := p.outstanding(false); number >= 0 {
			p.cancels = append(p.cancels, number)
		}
	case KindClose:
		p.transition(&e, fileOpen, fileClosing, "is not open")
	case KindClosed:
		p.transition(&e, fileClosing, fileClosed, "is not being closed")
	}
	p.Events = append(p.Events, e)
}

// transition changes the state of the file that the event is of.
func (p *parser) transition(e *Event, from, to fileState, not string) {
	e.File = p.file
	if p.files[p.file] != from {
		p.fail(int(p.at[fFile]), "file %d %s", p.file, not)
		return
	}
	p.files[p.file] = to
	p.lastFile = 0
}

func (p *parser) addOpen(e *Event) {
	e.File, e.index = p.file, int32(len(p.opens))
	if p.file == 0 || p.files[p.file] != 0 {
		p.fail(int(p.at[fFile]), "the number %d is 0, or another file's", p.file)
		return
	}
	if !p.have.has(fClient) {
		p.client = Client{}
	}
	p.files[p.file] = fileOpening
	p.names[p.file] = string(p.fileName)
	p.opens = append(p.opens, Open{File: p.file, Name: string(p.fileName), Access: p.access,
		Share: p.share, Disposition: p.disposition, Options: p.options, Attributes: p.attributes,
		Client: p.client})
}

func (p *parser) addOpened(e *Event) {
	e.index = int32(len(p.opened))
	to := fileOpen
	if !p.status.Success() {
		to = fileRefused
	}
	p.transition(e, fileOpening, to, "is not being opened")
	r := Result{ID: uint64(p.file), Status: p.status, IOStatus: p.status}
	if p.have.has(fInformation) {
		r.Information = p.information
	}
	p.opened = append(p.opened, r)
}

func (p *parser) addRequest(e *Event) {
	e.File, e.index = p.file, int32(len(p.requests))
	if p.file != p.lastFile || p.file == 0 {
		if p.files[p.file] != fileOpen {
			p.fail(int(p.at[fFile]), "file %d is not open", p.file)
			return
		}
		p.lastFile = p.file
	}
	if !p.newID() {
		p.fail(int(p.at[fID]), "a second request %d", p.id)
		return
	}
	const most = 1 << 16 // outstanding requests: what a host lets a file have
	if len(p.pending) == most {
		p.fail(int(p.at[fID]), "more than %d requests without a result", most)
		return
	}
	r := Request{ID: p.id, File: p.file, Major: p.major, Offset: FilePosition,
		Began: int32(len(p.Events))}
	if p.have.has(fMinor) {
		r.Minor = p.minor
	}
	if p.have.has(fCode) {
		r.Code = p.code
	}
	if p.have.has(fKey) {
		r.Key = p.fields.key
	}
	if p.have.has(fFlags) {
		r.Flags = p.flags
	}
	if p.have.has(fOffset) {
		r.Offset = p.offset
	}
	if p.have.has(fIn) {
		r.In = p.in
	}
	if p.have.has(fOutSize) {
		r.OutSize = p.outSize
		p.maxOut = max(p.maxOut, r.OutSize)
	}
	if p.have.has(fOutBefore) {
		if r.OutBefore = p.outBefore; len(r.OutBefore) != r.OutSize {
			p.fail(int(p.at[fOutBefore]), "out_before has %d bytes, and out_size is %d",
				len(r.OutBefore), r.OutSize)
			return
		}
	}
	if p.recent.ok {
		p.pending[p.recent.id] = p.recent.index
	}
	p.recent = openRequest{p.id, e.index, true}
	p.requests = append(p.requests, r)
}

// newID notes the id of a request, and says false if another one has it. Ids that grow, as a
// recorder's do, need no memory.
func (p *parser) newID() bool {
	if p.id > p.maxID {
		p.maxID = p.id
		if p.ids != nil {
			p.ids[p.id] = struct{}{}
		}
		return true
	}
	if p.ids == nil {
		p.ids = make(map[uint64]struct{}, len(p.requests))
		for i := range p.requests {
			p.ids[p.requests[i].ID] = struct{}{}
		}
	}
	if _, ok := p.ids[p.id]; ok {
		return false
	}
	p.ids[p.id] = struct{}{}
	return true
}

// outstanding finds the request with the line's id among those without a result, and with take ends
// its being one. -1 if there is none.
func (p *parser) outstanding(take bool) int32 {
	if p.recent.ok && p.recent.id == p.id {
		p.recent.ok = !take
		return p.recent.index
	}
	if number, ok := p.pending[p.id]; ok {
		if take {
			delete(p.pending, p.id)
		}
		return number
	}
	p.fail(int(p.at[fID]), "there is no request %d that waits for its result", p.id)
	return -1
}

func (p *parser) addResult(e *Event) {
	e.index = int32(len(p.results))
	number := p.outstanding(true)
	if number < 0 {
		return
	}
	req := &p.requests[number]
	req.Ended, e.File = int32(len(p.Events)), req.File
	r := Result{ID: p.id, Status: p.status, IOStatus: p.status, request: number}
	if p.have.has(fIOStatus) {
		r.IOStatus = p.ioStatus
	}
	if p.have.has(fInformation) {
		r.Information = p.information
	}
	if p.have.has(fOut) {
		r.Out = p.out
	}
	if len(r.Out) > req.OutSize {
		p.fail(int(p.at[fOut]), "%d bytes of output, and request %d has room for %d", len(r.Out), r.ID,
			req.OutSize)
		return
	}
	p.results = append(p.results, r)
}

// byteRange reads "0x48+16" or "0x48+*".
func (p *parser) byteRange() {
	p.space()
	at := p.pos
	text := p.str()
	if p.err != "" {
		return
	}
	r, err := parseRange(string(text))
	if err != nil {
		p.fail(at, "%v", err)
		return
	}
	const most = 1 << 12
	if len(p.fields.bytes) == most {
		p.fail(at, "more than %d ranges", most)
		return
	}
	p.fields.bytes = append(p.fields.bytes, r)
}

// rule takes a mask.
func (p *parser) rule() {
	if !p.allowed("a mask", maskNeeds, maskMay) {
		return
	}
	if len(p.Events) > 0 {
		p.fail(0, "a mask after the first event")
		return
	}
	if len(p.Masks) == MaxMasks {
		p.fail(0, "more than %d masks", MaxMasks)
		return
	}
	m := Mask{}
	what, ok := maskOf(string(p.mask))
	if !ok {
		p.fail(int(p.at[fMask]),
			"there is no mask %q: want out, length, information, status or io_status", p.mask)
		return
	}
	m.What = what
	if p.have.has(fOp) {
		m.Op, m.HasOp = p.major, true
	}
	if p.have.has(fCode) {
		m.Code, m.HasCode = p.code, true
	}
	if p.have.has(fID) {
		m.ID, m.HasID = p.id, true
	}
	if p.have.has(fName) {
		m.Name = string(p.fileName)
	}
	if p.have.has(fBytes) {
		if m.Bytes = p.fields.bytes; what != MaskOut {
			p.fail(int(p.at[fBytes]), "only a mask of out has bytes")
			return
		}
	}
	if p.have.has(fWhy) {
		m.Why = p.why
	}
	p.Masks = append(p.Masks, m)
}

var errRange = fmt.Errorf(`want a range of bytes as "0x48+16": where it begins and how many, * for all`)
