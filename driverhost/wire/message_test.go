package wire

import (
	"strings"
	"testing"

	"github.com/drvhost/drvhost/nt"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	hello := Hello{VersionMin: 1, VersionMax: 7, Features: 1 << 40, Name: `Echo\sub\ä€😀`, Program: "cat ä",
		Access: 1, Share: 2, Disposition: 3, Options: 4, Attributes: 5}
	m, err := hello.Append(nil)
	require.NoError(t, err)
	typ, id, err := ParseHeader(m, len(m))
	require.NoError(t, err)
	assert.Equal(t, MsgHello, typ)
	assert.Equal(t, Magic, id)
	back, err := ParseHello(m)
	require.NoError(t, err)
	assert.Equal(t, hello, *back)

	welcome := Welcome{Version: 1, Status: nt.STATUS_ACCESS_DENIED, Information: 9, Features: 2,
		FileID: 3, MaxBuffer: 4, MaxInline: 5, MaxBytes: 6, MaxRequests: 7, HostPID: 8, Text: "näin"}
	w, err := ParseWelcome(welcome.Append(nil))
	require.NoError(t, err)
	assert.Equal(t, welcome, *w)

	request := RequestHeader{ID: 1, Major: 14, Minor: 2,
		Flags: FlagOffset | FlagInShared | FlagOutData, Code: 3, Key: 4, Offset: -5, InLen: 6, OutLen: 7, InPlace: 8, OutPlace: 9}
	m = make([]byte, RequestSize+7)
	request.Put(m)
	var r RequestHeader
	require.NoError(t, r.parse(m, VersionMax))
	assert.Equal(t, request, r)

	reply := ReplyHeader{ID: 1, Status: nt.STATUS_PENDING, IOStatus: nt.STATUS_CANCELLED,
		Information: 1 << 60, OutLen: 3}
	m = make([]byte, ReplySize+3)
	reply.put(m)
	var p ReplyHeader
	require.NoError(t, p.Parse(m))
	assert.Equal(t, reply, p)
	assert.Equal(t, nt.STATUS_CANCELLED, p.Final())

	m = appendGoodbye(nil, nt.STATUS_DEVICE_REMOVED, "bye\x1b[2J\n")
	status, text, err := ParseGoodbye(m)
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_DEVICE_REMOVED, status)
	assert.Equal(t, "bye [2J\n", text, "no terminal is driven by a host")
}

func TestEveryWindowsNameSurvives(t *testing.T) {
	for _, units := range [][]uint16{
		{}, {'a'}, {0xD800}, {0xDC00, 0xD800}, {0xD83D, 0xDE00}, {0xFFFF}, {'x', 0xDBFF, 'y'}, {0},
	} {
		assert.Equal(t, units, encodeUTF16(decodeUTF16(units)))
	}
	assert.Equal(t, []uint16{0xFFFD}, encodeUTF16("\xff"), "what is neither stays one character")
	_, err := (&Hello{Name: strings.Repeat("x", MaxNameUnits+1)}).Append(nil)
	assert.ErrorIs(t, err, nt.STATUS_NAME_TOO_LONG)
}

func TestTextsAreCutAtACharacter(t *testing.T) {
	long := strings.Repeat("ä", maxTextBytes)
	_, text, err := ParseGoodbye(appendGoodbye(nil, 0, "x"+long))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix("x"+long, text))
	assert.Greater(t, len(text), maxTextBytes-4)
}

// sample gives one well-formed message of each type that a client sends.
func sample() [][]byte {
	hello, _ := (&Hello{VersionMin: 1, VersionMax: 1, Name: "Echo"}).Append(nil)
	request := make([]byte, RequestSize+8)
	(&RequestHeader{ID: 7, Major: nt.IRP_MJ_DEVICE_CONTROL, InLen: 8, OutLen: 8}).Put(request)
	pend := make([]byte, RequestSize)
	(&RequestHeader{ID: 8, Major: nt.IRP_MJ_READ, OutLen: 8}).Put(pend)
	cancel := make([]byte, HeaderSize)
	PutHeader(cancel, MsgCancel, 8)
	done := make([]byte, HeaderSize)
	PutHeader(done, MsgClose, 9)
	return [][]byte{hello, request, pend, cancel, AppendBuffer(nil, 10, 1<<16), done}
}

func TestTruncatedAndOverlongMessagesAreErrors(t *testing.T) {
	for _, m := range sample() {
		for n := range m {
			_, _, err := ParseHeader(m[:n], n)
			assert.ErrorIs(t, err, ErrProtocol)
			short := append([]byte(nil), m[:n]...)
			if n >= HeaderSize {
				PutHeader(short, MsgType(m[4]), le.Uint64(m[8:])) // a size that is true
				copy(short[5:8], m[5:8])
			}
			var r RequestHeader
			switch MsgType(m[4]) {
			case MsgRequest:
				assert.ErrorIs(t, r.parse(short, VersionMax), ErrProtocol)
			case MsgHello:
				_, err := ParseHello(short)
				assert.ErrorIs(t, err, ErrProtocol)
			case MsgBuffer:
				_, err := parseBuffer(short)
				assert.ErrorIs(t, err, ErrProtocol)
			}
		}
		_, _, err := ParseHeader(m, len(m)+1)
		assert.ErrorIs(t, err, ErrProtocol)
	}
}
