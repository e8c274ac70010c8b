package wire

// The messages: what each type is for, and how its bytes lie. All numbers are little-endian.
//
//	every message    0 size u32 | 4 type u8 | 5..7 by type | 8 id u64 | by type
//	MsgHello         5 zero | 8 Magic | 16 first, last version u16 | 20 name length u32 |
//	                 24 features u64 | 32 access u32 | 36 share u32 | 40 disposition u32 |
//	                 44 options u32 | 48 attributes u32 | 52 program length u32 |
//	                 56 name, UTF-16 | program, UTF-8
//	MsgWelcome       5 zero | 8 Magic | 16 version u16 | 18 zero u16 | 20 status u32 |
//	                 24 information u64 | 32 features u64 | 40 file u64 | 48 max buffer u64 |
//	                 56 max inline u32 | 60 max bytes u32 | 64 max requests u32 | 68 pid u32 |
//	                 72 text, UTF-8
//	MsgRequest       5 major | 6 minor | 7 flags | 8 id | 16 code u32 | 20 key u32 |
//	                 24 offset i64 | 32 in length u32 | 36 out length u32 | 40 in place u64 |
//	                 48 out place u64 | 56 stack flags u8 | 57 zero | 64 in data, out data
//	                 (in version 1 the stack flags are zero)
//	MsgReply         5 flags | 6 zero | 8 id | 16 status u32 | 20 I/O status u32 |
//	                 24 information u64 | 32 out length u32 | 36 zero u32 | 40 out data
//	MsgCancel        8 id of the request; no reply of its own
//	MsgClose         8 id; MsgReply when CLEANUP and CLOSE are done
//	MsgBuffer        8 id | 16 size u64; MsgBufferReply follows
//	MsgBufferReply   8 id | 16 status u32 | 20 zero | 24 size u64; the memfd comes with it
//	MsgGoodbye       16 status u32 | 20 zero | 24 text, UTF-8: the host ends the connection

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

// Magic opens a Hello and a Welcome, in the place of the request id: "drvhost" and a zero.
const Magic uint64 = 'd' | 'r'<<8 | 'v'<<16 | 'h'<<24 | 'o'<<32 | 's'<<40 | 't'<<48

// The versions of the protocol that this package speaks. A Hello has the range that the client
// speaks and a Welcome the version that the host chose, the highest that both do.
//
//	1  the first
//	2  a request has stack flags, and SHUTDOWN may be asked for
const (
	VersionMin uint16 = 1
	VersionMax uint16 = 2

	versionStackFlags uint16 = 2 // the first with RequestHeader.StackFlags
)

// HasStackFlags says whether requests have stack flags in a version.
func HasStackFlags(version uint16) bool { return version >= versionStackFlags }

// MsgType is the kind of a message.
type MsgType uint8

// The message types.
const (
	MsgHello       MsgType = 1 // client: open this name
	MsgWelcome     MsgType = 2 // host: the answer to Hello, also when it refuses
	MsgRequest     MsgType = 3 // client: one I/O request of any major function
	MsgReply       MsgType = 4 // host: a request has completed
	MsgCancel      MsgType = 5 // client: cancel the request with this id
	MsgClose       MsgType = 6 // client: close the file
	MsgBuffer      MsgType = 7 // client: pass me the shared buffer
	MsgBufferReply MsgType = 8 // host: here it is
	MsgGoodbye     MsgType = 9 // host: the connection ends, and why
)

// MaxProgram is how much of a program's name a Hello has at most, in bytes.
const MaxProgram = 64

// The lengths in bytes of the fixed parts.
const (
	HeaderSize      = 16
	HelloSize       = 56
	WelcomeSize     = 72
	RequestSize     = 64
	ReplySize       = 40
	BufferSize      = 24
	BufferReplySize = 32
	GoodbyeSize     = 24
	MaxNameUnits    = 32767 // UTF-16 units: what a UNICODE_STRING holds
	maxTextBytes    = 4096  // a human's message
)

// Flags of a request.
const (
	FlagOffset    uint8 = 1 << 0 // Offset is given; without it the host uses the file's position
	FlagInShared  uint8 = 1 << 1 // the input lies in the shared buffer
	FlagOutShared uint8 = 1 << 2 // the output goes to the shared buffer
	FlagOutData   uint8 = 1 << 3 // the output buffer's content comes with the request

	flagsKnown = FlagOffset | FlagInShared | FlagOutShared | FlagOutData
)

// ErrProtocol is wrapped by each error that says what is wrong with a message.
var ErrProtocol = errors.New("protocol violation")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

var le = binary.LittleEndian

// ParseHeader gives the type and id of a message. n is the number of bytes that were received,
// which is more than len(b) when the message was cut off.
func ParseHeader(b []byte, n int) (MsgType, uint64, error) {
	if n > len(b) {
		return 0, 0, malformed("a message of %d bytes; at most %d fit", n, len(b))
	}
	if n < HeaderSize {
		return 0, 0, malformed("a message of %d bytes; a header has %d", n, HeaderSize)
	}
	if size := le.Uint32(b); uint64(size) != uint64(n) {
		return 0, 0, malformed("a message of %d bytes that says it has %d", n, size)
	}
	return MsgType(b[4]), le.Uint64(b[8:]), nil
}

// PutHeader writes the common header for a message of len(b) bytes.
func PutHeader(b []byte, t MsgType, id uint64) {
	_ = b[HeaderSize-1]
	le.PutUint32(b, uint32(len(b)))
	b[4], b[5], b[6], b[7] = byte(t), 0, 0, 0
	le.PutUint64(b[8:], id)
}

// Hello asks the host for a File. The parameters are those of NtCreateFile.
type Hello struct {
	VersionMin, VersionMax uint16
	Features               uint64 // bits that the client knows; none is defined
	Name                   string // after \\.\ : the link's name and what follows it
	Access                 uint32 // ACCESS_MASK
	Share                  uint32 // FILE_SHARE_*
	Disposition            uint32 // FILE_OPEN and its kin
	Options                uint32 // FILE_* create options
	Attributes             uint32 // FILE_ATTRIBUTE_*
	// Program is what the client calls itself; a host that cannot see for itself believes it. Of a
	// longer one there are the first MaxProgram bytes.
	Program string
}

// Append adds the message to b. A name that is not UTF-8 keeps its unpaired surrogates in the form
// that DecodeUTF16 gives them.
func (h *Hello) Append(b []byte) ([]byte, error) {
	name := encodeUTF16(h.Name)
	if len(name) > MaxNameUnits {
		return b, fmt.Errorf("a name of %d characters: %w", len(name), nt.STATUS_NAME_TOO_LONG)
	}
	program := h.Program[:min(len(h.Program), MaxProgram)]
	start := len(b)
	b = append(b, make([]byte, HelloSize+2*len(name))...)
	b = append(b, program...)
	m := b[start:]
	PutHeader(m, MsgHello, Magic)
	le.PutUint16(m[16:], h.VersionMin)
	le.PutUint16(m[18:], h.VersionMax)
	le.PutUint32(m[20:], uint32(len(name)))
	le.PutUint64(m[24:], h.Features)
	le.PutUint32(m[32:], h.Access)
	le.PutUint32(m[36:], h.Share)
	le.PutUint32(m[40:], h.Disposition)
	le.PutUint32(m[44:], h.Options)
	le.PutUint32(m[48:], h.Attributes)
	le.PutUint32(m[52:], uint32(len(program)))
	for i, u := range name {
		le.PutUint16(m[HelloSize+2*i:], u)
	}
	return b, nil
}

// ParseHello reads a Hello whose header has been parsed.
func ParseHello(m []byte) (*Hello, error) {
	if len(m) < HelloSize || le.Uint64(m[8:]) != Magic {
		return nil, malformed("the first message is not a Hello")
	}
	units, program := le.Uint32(m[20:]), le.Uint32(m[52:])
	if units > MaxNameUnits || program > MaxProgram || int(2*units+program) != len(m)-HelloSize {
		return nil, malformed("a Hello of %d bytes with a name of %d characters and a program's of %d",
			len(m), units, program)
	}
	name := make([]uint16, units)
	for i := range name {
		name[i] = le.Uint16(m[HelloSize+2*i:])
	}
	return &Hello{
		VersionMin:  le.Uint16(m[16:]),
		VersionMax:  le.Uint16(m[18:]),
		Features:    le.Uint64(m[24:]),
		Name:        decodeUTF16(name),
		Access:      le.Uint32(m[32:]),
		Share:       le.Uint32(m[36:]),
		Disposition: le.Uint32(m[40:]),
		Options:     le.Uint32(m[44:]),
		Attributes:  le.Uint32(m[48:]),
		Program:     strings.ToValidUTF8(string(m[HelloSize+2*units:]), "\uFFFD"),
	}, nil
}

// Welcome answers a Hello. With a Status that is not a success the File was not opened, Text may
// say more to a human, and the host closes the connection.
type Welcome struct {
	Version     uint16
	Status      nt.Status
	Information uint64 // FILE_OPENED and its kin
	Features    uint64
	FileID      uint64 // the host's name for the File, for logs
	MaxBuffer   uint64 // bytes of the shared buffer; 0: the host has none
	MaxInline   uint32 // bytes of input, and of output, that a message may carry
	MaxBytes    uint32 // bytes of input and output in all messages outstanding
	MaxRequests uint32 // requests outstanding
	HostPID     uint32
	Text        string
}

// Append adds the message to b.
func (w *Welcome) Append(b []byte) []byte {
	text := cutText(w.Text)
	start := len(b)
	b = append(b, make([]byte, WelcomeSize)...)
	b = append(b, text...)
	m := b[start:]
	PutHeader(m, MsgWelcome, Magic)
	le.PutUint16(m[16:], w.Version)
	le.PutUint32(m[20:], uint32(w.Status))
	le.PutUint64(m[24:], w.Information)
	le.PutUint64(m[32:], w.Features)
	le.PutUint64(m[40:], w.FileID)
	le.PutUint64(m[48:], w.MaxBuffer)
	le.PutUint32(m[56:], w.MaxInline)
	le.PutUint32(m[60:], w.MaxBytes)
	le.PutUint32(m[64:], w.MaxRequests)
	le.PutUint32(m[68:], w.HostPID)
	return b
}

// ParseWelcome reads a Welcome whose header has been parsed.
func ParseWelcome(m []byte) (*Welcome, error) {
	if len(m) < WelcomeSize || MsgType(m[4]) != MsgWelcome || le.Uint64(m[8:]) != Magic {
		return nil, malformed("the answer to Hello is not a Welcome")
	}
	return &Welcome{
		Version:     le.Uint16(m[16:]),
		Status:      nt.Status(le.Uint32(m[20:])),
		Information: le.Uint64(m[24:]),
		Features:    le.Uint64(m[32:]),
		FileID:      le.Uint64(m[40:]),
		MaxBuffer:   le.Uint64(m[48:]),
		MaxInline:   le.Uint32(m[56:]),
		MaxBytes:    le.Uint32(m[60:]),
		MaxRequests: le.Uint32(m[64:]),
		HostPID:     le.Uint32(m[68:]),
		Text:        cleanText(m[WelcomeSize:]),
	}, nil
}

// RequestHeader is the fixed part of a MsgRequest. It serves every major function: Code is the
// control code of DEVICE_CONTROL and its kin, the information class of the query and set requests,
// the SECURITY_INFORMATION of QUERY_SECURITY and SET_SECURITY. Of LOCK_CONTROL the input is the
// length in 8 bytes, of DIRECTORY_CONTROL the pattern in UTF-16, and Key the file's index.
type RequestHeader struct {
	ID       uint64
	Major    nt.MajorFunction
	Minor    uint8
	Flags    uint8
	Code     uint32
	Key      uint32
	Offset   int64
	InLen    uint32 // bytes
	OutLen   uint32 // bytes
	InPlace  uint64 // offset in the shared buffer, with FlagInShared
	OutPlace uint64 // offset in the shared buffer, with FlagOutShared
	// StackFlags are the SL_ bits of the stack location that a caller may choose, from version 2 on.
	StackFlags uint8
}

// Put writes the header into m, which is the whole message.
func (r *RequestHeader) Put(m []byte) {
	_ = m[RequestSize-1]
	PutHeader(m, MsgRequest, r.ID)
	m[5], m[6], m[7] = byte(r.Major), r.Minor, r.Flags
	le.PutUint32(m[16:], r.Code)
	le.PutUint32(m[20:], r.Key)
	le.PutUint64(m[24:], uint64(r.Offset))
	le.PutUint32(m[32:], r.InLen)
	le.PutUint32(m[36:], r.OutLen)
	le.PutUint64(m[40:], r.InPlace)
	le.PutUint64(m[48:], r.OutPlace)
	le.PutUint64(m[56:], uint64(r.StackFlags))
}

// parse reads the header of a request and checks that the message has the data it promises. What
// the numbers ask for is checked later: a bad value there fails the request, not the connection.
func (r *RequestHeader) parse(m []byte, version uint16) error {
	if len(m) < RequestSize {
		return malformed("a request of %d bytes; its fixed part has %d", len(m), RequestSize)
	}
	r.ID = le.Uint64(m[8:])
	r.Major, r.Minor, r.Flags = nt.MajorFunction(m[5]), m[6], m[7]
	r.Code = le.Uint32(m[16:])
	r.Key = le.Uint32(m[20:])
	r.Offset = int64(le.Uint64(m[24:]))
	r.InLen = le.Uint32(m[32:])
	r.OutLen = le.Uint32(m[36:])
	r.InPlace = le.Uint64(m[40:])
	r.OutPlace = le.Uint64(m[48:])
	last := le.Uint64(m[56:])
	r.StackFlags = uint8(last)
	if r.Flags&^flagsKnown != 0 || last > 0xFF || last != 0 && !HasStackFlags(version) {
		return malformed("a request with flags %#x, %#x that version %d does not know",
			r.Flags, last, version)
	}
	if want := r.inlineIn() + r.inlineOutData(); want != uint64(len(m)-RequestSize) {
		return malformed("a request with %d bytes of data that should have %d",
			len(m)-RequestSize, want)
	}
	return nil
}

// inlineIn is how many bytes of input the message carries.
func (r *RequestHeader) inlineIn() uint64 {
	if r.Flags&FlagInShared != 0 {
		return 0
	}
	return uint64(r.InLen)
}

// inlineOutData is how many bytes of the output buffer's content the message carries.
func (r *RequestHeader) inlineOutData() uint64 {
	if r.Flags&FlagOutData == 0 || r.Flags&FlagOutShared != 0 {
		return 0
	}
	return uint64(r.OutLen)
}

// Charge is how many bytes the request counts against Welcome.MaxBytes.
func (r *RequestHeader) Charge() int {
	n := int(r.inlineIn())
	if r.Flags&FlagOutShared == 0 {
		n += int(r.OutLen)
	}
	return n
}

// ReplyHeader is the fixed part of a MsgReply.
type ReplyHeader struct {
	ID          uint64
	Shared      bool      // the output lies in the shared buffer
	Status      nt.Status // what the dispatch routine returned
	IOStatus    nt.Status // IoStatus.Status
	Information uint64    // IoStatus.Information
	OutLen      uint32    // bytes of output that came back
}

// put writes the header into m, which is the whole message.
func (r *ReplyHeader) put(m []byte) {
	_ = m[ReplySize-1]
	PutHeader(m, MsgReply, r.ID)
	if r.Shared {
		m[5] = 1
	}
	le.PutUint32(m[16:], uint32(r.Status))
	le.PutUint32(m[20:], uint32(r.IOStatus))
	le.PutUint64(m[24:], r.Information)
	le.PutUint32(m[32:], r.OutLen)
	le.PutUint32(m[36:], 0)
}

// Parse reads a reply whose header has been parsed; m is the whole message.
func (r *ReplyHeader) Parse(m []byte) error {
	if len(m) < ReplySize {
		return malformed("a reply of %d bytes; its fixed part has %d", len(m), ReplySize)
	}
	r.ID = le.Uint64(m[8:])
	r.Shared = m[5] == 1
	r.Status = nt.Status(le.Uint32(m[16:]))
	r.IOStatus = nt.Status(le.Uint32(m[20:]))
	r.Information = le.Uint64(m[24:])
	r.OutLen = le.Uint32(m[32:])
	inline := uint64(r.OutLen)
	if r.Shared {
		inline = 0
	}
	if m[5] > 1 || inline != uint64(len(m)-ReplySize) {
		return malformed("a reply with %d bytes of data that should have %d",
			len(m)-ReplySize, inline)
	}
	return nil
}

// Final is the status that a caller who waited sees: the dispatch routine's, or IoStatus.Status
// when that was STATUS_PENDING.
func (r ReplyHeader) Final() nt.Status {
	if r.Status == nt.STATUS_PENDING {
		return r.IOStatus
	}
	return r.Status
}

// AppendBuffer adds a MsgBuffer that asks for at least size bytes.
func AppendBuffer(b []byte, id, size uint64) []byte {
	var m [BufferSize]byte
	PutHeader(m[:], MsgBuffer, id)
	le.PutUint64(m[16:], size)
	return append(b, m[:]...)
}

func parseBuffer(m []byte) (size uint64, err error) {
	if len(m) != BufferSize {
		return 0, malformed("a buffer request of %d bytes", len(m))
	}
	return le.Uint64(m[16:]), nil
}

func appendBufferReply(b []byte, id uint64, status nt.Status, size uint64) []byte {
	var m [BufferReplySize]byte
	PutHeader(m[:], MsgBufferReply, id)
	le.PutUint32(m[16:], uint32(status))
	le.PutUint64(m[24:], size)
	return append(b, m[:]...)
}

// ParseBufferReply reads a MsgBufferReply whose header has been parsed.
func ParseBufferReply(m []byte) (nt.Status, uint64, error) {
	if len(m) != BufferReplySize {
		return 0, 0, malformed("a buffer reply of %d bytes", len(m))
	}
	return nt.Status(le.Uint32(m[16:])), le.Uint64(m[24:]), nil
}

func appendGoodbye(b []byte, status nt.Status, text string) []byte {
	start := len(b)
	b = append(b, make([]byte, GoodbyeSize)...)
	b = append(b, cutText(text)...)
	PutHeader(b[start:], MsgGoodbye, 0)
	le.PutUint32(b[start+16:], uint32(status))
	return b
}

// ParseGoodbye reads a MsgGoodbye whose header has been parsed.
func ParseGoodbye(m []byte) (nt.Status, string, error) {
	if len(m) < GoodbyeSize {
		return 0, "", malformed("a goodbye of %d bytes", len(m))
	}
	return nt.Status(le.Uint32(m[16:])), cleanText(m[GoodbyeSize:]), nil
}

// cutText shortens a human's message to what a message may carry.
func cutText(s string) string {
	if len(s) <= maxTextBytes {
		return s
	}
	s = s[:maxTextBytes]
	for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s[:max(len(s)-1, 0)]
}

// cleanText makes received text safe to print: control characters, which could drive a terminal,
// become spaces.
func cleanText(b []byte) string {
	if len(b) > maxTextBytes {
		b = b[:maxTextBytes]
	}
	out := make([]rune, 0, len(b))
	for _, r := range string(b) {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

// encodeUTF16 gives the UTF-16 units of s. An unpaired surrogate may stand in s as the three bytes
// that UTF-8 would give it (WTF-8), so that every Windows name passes unchanged.
func encodeUTF16(s string) []uint16 {
	out := make([]uint16, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			if u, ok := loneSurrogate(s[i:]); ok {
				out = append(out, u)
				i += 3
				continue
			}
		}
		out = utf16.AppendRune(out, r)
		i += n
	}
	return out
}

// loneSurrogate decodes the three bytes ED A0..BF 80..BF.
func loneSurrogate(s string) (uint16, bool) {
	if len(s) < 3 || s[0] != 0xED || s[1] < 0xA0 || s[1] > 0xBF || s[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | uint16(s[1]&0x3F)<<6 | uint16(s[2]&0x3F), true
}

// decodeUTF16 is the inverse of encodeUTF16.
func decodeUTF16(u []uint16) string {
	out := make([]byte, 0, len(u))
	for i := 0; i < len(u); i++ {
		c := u[i]
		if utf16.IsSurrogate(rune(c)) {
			if i+1 < len(u) {
				if r := utf16.DecodeRune(rune(c), rune(u[i+1])); r != utf8.RuneError {
					out = utf8.AppendRune(out, r)
					i++
					continue
				}
			}
			out = append(out, 0xED, byte(0x80|c>>6&0x3F), byte(0x80|c&0x3F))
			continue
		}
		out = utf8.AppendRune(out, rune(c))
	}
	return string(out)
}
