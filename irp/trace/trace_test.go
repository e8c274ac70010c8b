package trace

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

const (
	head = `{"irpl":1,"drivers":[{"file":"a.sys"}]}` + "\n"
	open = `{"t":1,"event":"open","file":1,"name":"Echo","access":"0x1","share":"0x3",` +
		`"disposition":"open","options":"0x60","attributes":"0x80"}` + "\n" +
		`{"t":2,"event":"opened","file":1,"status":"STATUS_SUCCESS","information":1}` + "\n"
	request = `{"t":3,"event":"request","id":1,"file":1,"op":"ioctl","code":"0x222004",` +
		`"in":"hi","out_size":8}` + "\n"
	result = `{"t":4,"event":"result","id":1,"status":"STATUS_SUCCESS","information":2,"out":"hi"}` + "\n"
	whole  = head + open + request + result
)

func parse(t *testing.T, text string) *Trace {
	t.Helper()
	tr, err := Parse("x.irpl", []byte(text), nil)
	require.NoError(t, err)
	return tr
}

func TestATraceIsRead(t *testing.T) {
	tr := parse(t, head+"# a comment\n\n"+
		`{"mask":"out","op":"ioctl","code":"0x222004","bytes":["0x1+1","8+*"],"why":"time"}`+"\r\n"+
		open+request+
		`{"t":3,"event":"request","id":9,"file":1,"op":"read","offset":-1,"key":"0x7","flags":"0x1",`+
		`"minor":2,"out_size":4,"out_before":"hex:01020304","note":"overlaps"}`+"\n"+
		`{"t":4,"event":"cancel","id":9}`+"\n"+
		`{"t":5,"event":"result","id":9,"status":"0xc0000120","io_status":"STATUS_CANCELLED"}`+"\n"+
		strings.Replace(result, `"t":4`, `"t":6`, 1)+
		`{"t":7,"event":"close","file":1}`+"\n"+`{"t":8,"event":"closed","file":1}`)
	require.Equal(t, []Driver{{File: "a.sys"}}, tr.Drivers)
	require.Equal(t, []Mask{{What: MaskOut, HasOp: true, Op: nt.IRP_MJ_DEVICE_CONTROL, HasCode: true,
		Code: 0x222004, Bytes: []Range{{1, 1}, {8, math.MaxUint64}}, Why: "time"}}, tr.Masks)
	require.Len(t, tr.Events, 9)
	require.Equal(t, 2, tr.Requests())
	require.Equal(t, "Echo", tr.FileName(1))
	r, n := tr.Request(&tr.Events[3])
	require.Equal(t, 1, n)
	require.Equal(t, &Request{ID: 9, File: 1, Major: nt.IRP_MJ_READ, Minor: 2, Flags: 1, Began: 3,
		Ended: 5, Key: 7, Offset: -1, OutSize: 4, OutBefore: []byte{1, 2, 3, 4}}, r)
	assert.Equal(t, "read of 4 bytes at -1", r.Describe())
	res := tr.Result(&tr.Events[5])
	assert.Equal(t, nt.STATUS_CANCELLED, res.Status)
	e, i, ok := tr.At(8)
	require.True(t, ok)
	assert.Equal(t, 3, i)
	assert.Equal(t, KindRequest, e.Kind)
	_, _, ok = tr.At(2)
	assert.False(t, ok)
}

func TestAMalformedTraceIsRefusedWithItsPlace(t *testing.T) {
	line := func(fields string) string { return head + open + `{"t":3,` + fields + "}\n" }
	for _, c := range []struct {
		text         string
		line, column int
		says         string
	}{
		{"", 1, 1, "no header"},
		{"# only a comment\n", 2, 1, "no header"},
		{"hello\n", 1, 1, "want an object"},
		{`{"event":"open"}` + "\n", 1, 1, "want the header first"},
		{`{"irpl":2}`, 1, 9, "version 2"},
		{`{"irpl":1,"irpl":1}`, 1, 11, `a second field "irpl"`},
		{`{"irpl":1,"who":1}`, 1, 11, `no field "who"`},
		{`{"irpl":1,"drivers":[{}]}`, 1, 22, `without "file"`},
		{`{"irpl":1,"drivers":[{"file":"a","sha256":"12"}]}`, 1, 43, "64 hexadecimal digits"},
		{head + head, 2, 9, "a second header"},
		{head + `{"t":1}`, 2, 1, `want an "event" or a "mask"`},
		{head + `{"t":1,"event":"opne"}`, 2, 16, `no event "opne"`},
		{head + `{"t":1,"event":"open","file":1}`, 2, 1, `open without "name"`},
		{line(`"event":"request","id":1,"file":1,"op":"ioctl","status":"STATUS_SUCCESS"`), 4, 64,
			`request has no "status"`},
		{line(`"event":"request","id":1,"file":2,"op":"ioctl"`), 4, 40, "file 2 is not open"},
		{line(`"event":"request","id":1,"file":1,"op":"create"`), 4, 47, `no operation "create"`},
		{line(`"event":"request","id":1,"file":1,"op":"read","out_size":99999999999`), 4, 65, "may be 0 to"},
		{line(`"event":"request","id":1,"file":1,"op":"read","code":12`), 4, 61, "a string in quotes"},
		{line(`"event":"request","id":1,"file":1,"op":"read","code":"12"`), 4, 61, "hexadecimal"},
		{line(`"event":"request","id":1,"file":1,"op":"read","out_size":2,"out_before":"a"`), 4, 80,
			"out_before has 1 bytes"},
		{line(`"event":"request","id":1,"file":1,"op":"write","in":"hex:123"`), 4, 60, "odd number"},
		{line(`"event":"request","id":1,"file":1,"op":"write","in":"hex:12zz"`), 4, 67, "no byte"},
		{line(`"event":"request","id":1,"file":1,"op":"write","in":"sha256:12"`), 4, 60, "64 hexadecimal"},
		{line(`"event":"request","id":1,"file":1,"op":"write","in":"sha256:` + strings.Repeat("0", 64) + `"`),
			4, 60, "no directory"},
		{line(`"event":"request","id":1,"file":1,"op":"write","in":"\x"`), 4, 61, `\x is no escape`},
		{line(`"event":"request","id":1,"file":1,"op":"write","in":"\ud800"`), 4, 61, "surrogate"},
		{line("\"event\":\"request\",\"id\":1,\"file\":1,\"op\":\"write\",\"in\":\"\xff\""), 4, 61, "not UTF-8"},
		{line(`"event":"result","id":7,"status":"STATUS_SUCCESS"`), 4, 30, "no request 7"},
		{line(`"event":"cancel","id":7`), 4, 30, "no request 7"},
		{line(`"event":"close","file":2`), 4, 31, "file 2 is not open"},
		{line(`"event":"closed","file":1`), 4, 32, "is not being closed"},
		{line(`"event":"open","file":1,"name":"x","access":"0x1","share":"0x0","disposition":"open",` +
			`"options":"0x0","attributes":"0x0"`), 4, 30, "another file's"},
		{head + open + `{"t":1,"event":"close","file":1}`, 4, 6, "the time goes back"},
		{head + open + request + `{"t":4,"event":"result","id":1,"status":"STATUS_SUCESS"}`, 5, 41,
			"no status"},
		{head + open + request + `{"t":4,"event":"result","id":1,"status":"STATUS_SUCCESS","nt":"0xc0000001"}`,
			5, 63, "and not 0xc0000001"},
		{head + open + request + `{"t":4,"event":"result","id":1,"status":"STATUS_SUCCESS","out":"123456789"}`,
			5, 64, "room for 8"},
		{whole + strings.Replace(request, `"t":3`, `"t":4`, 1), 6, 31, "a second request 1"},
		{whole + `{"mask":"out"}`, 6, 1, "a mask after the first event"},
		{head + `{"mask":"nothing"}`, 2, 9, `no mask "nothing"`},
		{head + `{"mask":"status","bytes":["0+1"]}`, 2, 26, "only a mask of out"},
		{head + `{"mask":"out","bytes":["1-2"]}`, 2, 24, "want a range"},
		{head + `{"t":1,"event":"open"} x`, 2, 24, "end of the line"},
		{head + `{"t":01}`, 2, 6, "may not begin with 0"},
		{head + `{"t":1.5}`, 2, 7, "whole number"},
		{head + `{"t":18446744073709551616}`, 2, 6, "64 bits"},
		{head + `{"t":1,"event":"open`, 2, 16, "a string without end"},
		{head + `{"é":1}`, 2, 2, `no field "é"`},
	} {
		_, err := Parse("x.irpl", []byte(c.text), nil)
		var s *SyntaxError
		require.ErrorAs(t, err, &s, c.text)
		assert.Contains(t, s.Text, c.says, c.text)
		assert.Equal(t, []int{c.line, c.column}, []int{s.Line, s.Column}, "%s\n%v", c.text, err)
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x.irpl")
	w, err := Create(dir, Header{Host: "a host", Note: "a note",
		Drivers: []Driver{{"b.sys", strings.Repeat("0a", 32)}}})
	require.NoError(t, err)
	w.Mask(Mask{What: MaskInformation, HasID: true, ID: 2, Name: `\\.\Echo`, Why: "so"})
	large := bytes.Repeat([]byte{7}, 2*Large)
	file := w.Open(&Open{Name: `Echo\ä"`, Access: 1, Share: 7, Disposition: 3, Options: 0x60,
		Attributes: 0x80, Client: Client{PID: 7, UID: 8, GID: 9, Groups: []uint32{1, 2}, Program: "c"}})
	w.Opened(file, nt.STATUS_SUCCESS, 1)
	for _, data := range [][]byte{nil, []byte("text"), []byte("hex:12"), []byte("text:x"), {0, 1, 0xFF},
		[]byte("tab\tline\n\u2028 \u00e9"), large} {
		id := w.Request(&Request{File: file, Major: nt.IRP_MJ_WRITE, In: data, Offset: FilePosition})
		w.Result(&Result{ID: id, Status: nt.STATUS_PENDING, IOStatus: 0xE0001234, Information: 1 << 40})
	}
	w.Cancel(w.Request(&Request{File: file, Major: nt.IRP_MJ_READ, Offset: 1, OutSize: 3,
		OutBefore: []byte("abc")}))
	assert.Zero(t, w.Request(&Request{OutSize: MaxData + 1}), "more than a trace may hold")
	w.Closing(file)
	w.Closed(file)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close(), "twice")

	tr, err := ReadFile(dir)
	require.NoError(t, err)
	was, err := os.ReadFile(dir)
	require.NoError(t, err)
	again, err := tr.Format(Dir(DataDir(dir)))
	require.NoError(t, err)
	assert.Equal(t, string(was), string(again))
	r, _ := tr.Request(&tr.Events[14])
	assert.Equal(t, large, r.In)

	sum := firstFile(t, DataDir(dir))
	require.NoError(t, os.WriteFile(sum, []byte("other"), 0o600))
	_, err = ReadFile(dir)
	require.ErrorContains(t, err, "has other data in it")
	require.NoError(t, os.Remove(sum))
	_, err = ReadFile(dir)
	require.ErrorContains(t, err, "the data is not there")
}

func firstFile(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
	return filepath.Join(dir, list[0].Name())
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	_, err := ReadFile(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
	_, err = ReadFile("/dev/zero")
	require.ErrorContains(t, err, "not a regular file")
}

func TestAWriterKeepsItsFirstError(t *testing.T) {
	w := NewWriter(failing{}, nil, Header{})
	for range 10_000 {
		w.Opened(1, nt.STATUS_SUCCESS, 0)
	}
	require.ErrorIs(t, w.Close(), errFull)
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestResultsAreRewritten(t *testing.T) {
	text := strings.Replace(whole, request, "# before\n"+request+"  # not a comment? it is, with blanks\n", 1)
	tr := parse(t, text)
	e, i, ok := tr.At(7)
	require.True(t, ok)
	require.Equal(t, KindResult, e.Kind)
	out, err := tr.Rewrite(map[int]*Result{i: {ID: 1, Status: nt.STATUS_ACCESS_DENIED,
		IOStatus: nt.STATUS_ACCESS_DENIED}}, nil)
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(text, result,
		`{"t":4,"event":"result","id":1,"status":"STATUS_ACCESS_DENIED","nt":"0xc0000022"}`+"\n", 1),
		string(out))
	_, err = tr.Rewrite(map[int]*Result{0: {}}, nil)
	require.Error(t, err)
}

func TestMasks(t *testing.T) {
	want := Result{ID: 1, Information: 4, Out: []byte("abcd")}
	have := Result{ID: 1, Information: 5, Out: []byte("abXde"), Status: nt.STATUS_BUFFER_OVERFLOW,
		IOStatus: nt.STATUS_BUFFER_OVERFLOW}
	all := []Field{FieldStatus, FieldInformation, FieldOutput}
	for _, c := range []struct {
		masks string
		want  []Field
	}{
		{``, all},
		{`{"mask":"status"}`, []Field{FieldInformation, FieldOutput}},
		{`{"mask":"information"}`, []Field{FieldStatus, FieldOutput}},
		{`{"mask":"out"}`, all},
		{`{"mask":"length"}`, all},
		{`{"mask":"out"}` + "\n" + `{"mask":"length"}`, []Field{FieldStatus, FieldInformation}},
		{`{"mask":"out","bytes":["0x2+1"]}` + "\n" + `{"mask":"length"}`,
			[]Field{FieldStatus, FieldInformation}},
		{`{"mask":"out","bytes":["0+1"]}` + "\n" + `{"mask":"length"}`, all},
		{`{"mask":"status","op":"read"}`, all},
		{`{"mask":"status","op":"ioctl","code":"0x222004","name":"\\\\.\\eCHO","id":1}`,
			[]Field{FieldInformation, FieldOutput}},
		{`{"mask":"status","code":"0x222005"}`, all},
		{`{"mask":"status","name":"Other"}`, all},
	} {
		tr := parse(t, head+c.masks+"\n"+open+request+result)
		e, _, _ := tr.At(len(strings.Split(strings.TrimSpace(head+c.masks+"\n"+open+request), "\n")))
		r, _ := tr.Request(e)
		assert.Equal(t, c.want, tr.Compare(r, tr.FileName(1), &want, &have).Fields, c.masks)
		assert.Empty(t, tr.Compare(r, tr.FileName(1), &want, &want).Fields)
	}
}

// FuzzParse: whatever the text, there is an error with a place, or a trace that is the same when it
// is written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(head + `{"mask":"out","bytes":["0x48+16","1+*"],"why":"\u00e9\n"}` + "\n" + open + request))
	f.Add([]byte(head + open + request + `{"t":4,"event":"cancel","id":1}` + "\n" + result))
	f.Fuzz(func(t *testing.T, text []byte) {
		tr, err := Parse("x", text, nil)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) || s.Line < 1 || s.Column < 1 {
				t.Fatalf("no place: %v", err)
			}
			return
		}
		once, err := tr.Format(nil)
		if err != nil {
			t.Fatal(err)
		}
		tr2, err := Parse("y", once, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if twice, _ := tr2.Format(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%s\nbecame\n%s", once, twice)
		}
	})
}
