package cm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

// .reg files: "Windows Registry Editor Version 5.00" in UTF-16 or UTF-8, and REGEDIT4, in which
// REG_EXPAND_SZ and REG_MULTI_SZ are in the ANSI code page, here UTF-8. ("How to add, modify, or
// delete registry subkeys and values by using a .reg file".)

// maxRegFile is the largest .reg file that is read, in bytes.
const maxRegFile = 256 << 20

// Edit is what one line of a .reg file asks for.
type Edit struct {
	Line   int
	Key    string // full path, from \Registry on
	Delete bool   // the key, or the value if there is one
	Value  *Value // nil for the key alone
}

// SyntaxError says what is wrong with a .reg file, and where.
type SyntaxError struct {
	File string
	Line int
	What string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.What) }

// Parse reads a .reg file. The name is for errors, which are *SyntaxError unless reading itself fails.
func Parse(name string, in io.Reader) ([]Edit, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxRegFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxRegFile {
		return nil, &SyntaxError{name, 1, fmt.Sprintf("larger than %d bytes", maxRegFile)}
	}
	text, err := regText(data)
	if err != nil {
		return nil, &SyntaxError{name, 1, err.Error()}
	}
	p := parser{name: name, rest: text}
	return p.file()
}

// regText gives the text of a file in any of the encodings that such files have.
func regText(data []byte) (string, error) {
	if rest, ok := bytes.CutPrefix(data, []byte{0xFF, 0xFE}); ok {
		if len(rest)%2 != 0 {
			return "", fmt.Errorf("UTF-16 with an odd number of bytes")
		}
		units := make([]uint16, len(rest)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(rest[2*i:])
		}
		return string(utf16.Decode(units)), nil
	}
	data = bytes.TrimPrefix(data, []byte{0xEF, 0xBB, 0xBF})
	if !utf8.Valid(data) {
		return "", fmt.Errorf("neither UTF-16 with a byte order mark nor UTF-8")
	}
	return string(data), nil
}

type parser struct {
	name  string
	rest  string
	line  int // of what next has given
	next  int // of what it gives next, less one
	ansi  bool
	key   string
	alive bool // the key is not one that is deleted
	edits []Edit
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{p.name, p.line, fmt.Sprintf(format, args...)}
}

// read gives the next line, with those that a backslash joins to it.
func (p *parser) read() (string, bool) {
	if p.rest == "" {
		return "", false
	}
	line, rest, _ := strings.Cut(p.rest, "\n")
	p.rest, p.next = rest, p.next+1
	p.line = p.next
	line = strings.TrimSpace(strings.TrimRight(line, "\r"))
	if !strings.HasPrefix(line, `[`) && strings.HasSuffix(line, `\`) && !inString(line) {
		var whole strings.Builder
		for more := true; more && p.rest != ""; {
			whole.WriteString(strings.TrimSuffix(line, `\`))
			line, rest, _ = strings.Cut(p.rest, "\n")
			p.rest, p.next = rest, p.next+1
			line = strings.TrimSpace(strings.TrimRight(line, "\r"))
			more = strings.HasSuffix(line, `\`)
		}
		whole.WriteString(strings.TrimSuffix(line, `\`))
		line = whole.String()
	}
	return line, true
}

// inString reports whether a line ends inside quotes.
func inString(line string) (in bool) {
	for i := 0; i < len(line); i++ {
		switch {
		case in && line[i] == '\\':
			i++
		case line[i] == '"':
			in = !in
		}
	}
	return in
}

func (p *parser) file() ([]Edit, error) {
	first, _ := p.read()
	switch first {
	case "Windows Registry Editor Version 5.00":
	case "REGEDIT4":
		p.ansi = true
	default:
		p.line = 1
		return nil, p.fail("the first line is neither %q nor %q",
			"Windows Registry Editor Version 5.00", "REGEDIT4")
	}
	for {
		line, ok := p.read()
		if !ok {
			return p.edits, nil
		}
		var err error
		switch {
		case line == "" || line[0] == ';':
		case line[0] == '[':
			err = p.keyLine(line)
		default:
			err = p.valueLine(line)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) keyLine(line string) error {
	path, ok := strings.CutSuffix(line[1:], "]")
	if !ok {
		return p.fail("the key has no closing bracket")
	}
	path, del := strings.CutPrefix(path, "-")
	full, err := FullPath(path)
	if err != nil {
		return p.fail("%v", err)
	}
	p.key, p.alive = full, !del
	p.edits = append(p.edits, Edit{Line: p.line, Key: full, Delete: del})
	return nil
}

// hives are the names that people give the registry's parts.
var hives = [...]struct{ short, long, path string }{
	{"HKLM", "HKEY_LOCAL_MACHINE", `\Registry\Machine`},
	{"HKU", "HKEY_USERS", `\Registry\User`},
	{"HKCR", "HKEY_CLASSES_ROOT", `\Registry\Machine\Software\Classes`},
	{"HKCC", "HKEY_CURRENT_CONFIG",
		`\Registry\Machine\System\CurrentControlSet\Hardware Profiles\Current`},
	{"HKCU", "HKEY_CURRENT_USER", `\Registry\User\.Default`},
}

// FullPath gives the kernel's path of a key that is named as people do, HKLM\Software or
// HKEY_LOCAL_MACHINE\Software, or already by its path.
func FullPath(path string) (string, error) {
	root, rest, _ := strings.Cut(path, `\`)
	if root == "" {
		return path, nil
	}
	for _, h := range hives {
		if strings.EqualFold(root, h.short) || strings.EqualFold(root, h.long) {
			if rest == "" {
				return h.path, nil
			}
			return h.path + `\` + rest, nil
		}
	}
	return "", fmt.Errorf("%q begins with none of HKLM, HKU, HKCR, HKCC, HKCU and \\Registry", path)
}

// UserPath is FullPath's inverse, with the long names: what .reg files have.
func UserPath(path string) string {
	for _, h := range hives[:2] {
		if len(path) >= len(h.path) && strings.EqualFold(path[:len(h.path)], h.path) {
			return h.long + path[len(h.path):]
		}
	}
	return path
}

func (p *parser) valueLine(line string) error {
	switch {
	case p.key == "":
		return p.fail("a value before the first key")
	case !p.alive:
		return p.fail("a value of a key that is deleted")
	}
	name, rest := "", ""
	if line[0] == '@' {
		rest = line[1:]
	} else {
		var err error
		if name, rest, err = p.quoted(line); err != nil {
			return err
		}
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(rest), "=")
	if !ok {
		return p.fail("no = behind the value's name")
	}
	rest = strings.TrimSpace(rest)
	e := Edit{Line: p.line, Key: p.key, Value: &Value{Name: name}}
	if rest == "-" {
		e.Delete = true
	} else if err := p.data(e.Value, rest); err != nil {
		return err
	}
	p.edits = append(p.edits, e)
	return nil
}

// quoted reads a string in quotes, and gives what follows it.
func (p *parser) quoted(line string) (s, rest string, err error) {
	if line == "" || line[0] != '"' {
		return "", "", p.fail("%q is no key, no value's name in quotes, and no @", line)
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			return b.String(), line[i+1:], nil
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", p.fail("a quote is not closed")
}

func (p *parser) data(v *Value, text string) error {
	switch kind, rest, _ := strings.Cut(text, ":"); {
	case text != "" && text[0] == '"':
		s, rest, err := p.quoted(text)
		if err != nil {
			return err
		}
		if rest = strings.TrimSpace(rest); rest != "" && rest[0] != ';' {
			return p.fail("%q behind the data", rest)
		}
		v.Type, v.Data = nt.REG_SZ, SZ(s)
	case kind == "dword":
		rest, _, _ = strings.Cut(rest, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(rest), 16, 32)
		if err != nil {
			return p.fail("%q is no hexadecimal number of 32 bits", rest)
		}
		v.Type, v.Data = nt.REG_DWORD, DWord(uint32(n))
	case kind == "hex":
		return p.hex(v, nt.REG_BINARY, rest)
	case strings.HasPrefix(kind, "hex(") && strings.HasSuffix(kind, ")"):
		typ, err := strconv.ParseUint(kind[4:len(kind)-1], 16, 32)
		if err != nil {
			return p.fail("%q names no type", kind)
		}
		return p.hex(v, uint32(typ), rest)
	default:
		return p.fail("data %q is neither text in quotes nor dword: nor hex:", clip(text))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (p *parser) hex(v *Value, typ uint32, text string) error {
	v.Type, v.Data = typ, []byte{}
	text, _, _ = strings.Cut(text, ";")
	for len(strings.TrimSpace(text)) > 0 {
		var field string
		field, text, _ = strings.Cut(text, ",")
		field = strings.TrimSpace(field)
		b, err := strconv.ParseUint(field, 16, 8)
		if err != nil {
			return p.fail("%q is no byte in hexadecimal", clip(field))
		}
		v.Data = append(v.Data, byte(b))
	}
	if p.ansi && ansiType(typ) {
		v.Data = Encode(string(v.Data), false)
	}
	return nil
}

// Do does what .reg files ask for, in order: keys are made with those above them. It stops at the
// first that the registry refuses.
func (r *Registry) Do(edits []Edit) error {
	for _, e := range edits {
		if status := r.do(e); status != nt.STATUS_SUCCESS {
			return fmt.Errorf("line %d: %s: %w", e.Line, UserPath(e.Key), status)
		}
	}
	return nil
}

func (r *Registry) do(e Edit) nt.Status {
	if e.Delete {
		k, status := r.Open(nil, e.Key, true)
		switch {
		case status == nt.STATUS_OBJECT_NAME_NOT_FOUND:
			return nt.STATUS_SUCCESS
		case status != nt.STATUS_SUCCESS:
			return status
		case e.Value == nil:
			return k.DeleteTree()
		}
		if status = k.DeleteValue(e.Value.Name); status == nt.STATUS_OBJECT_NAME_NOT_FOUND {
			return nt.STATUS_SUCCESS
		}
		return status
	}
	k, _, status := r.Create(nil, e.Key, CreateOptions{Parents: true})
	if status == nt.STATUS_SUCCESS && e.Value != nil {
		status = k.Set(e.Value.Name, e.Value.Type, e.Value.Data)
	}
	return status
}

// Export writes a key with everything below it as a .reg file, in UTF-8 without a byte order mark,
// with lines that end as Windows' do. What is volatile is written too.
func (k *Key) Export(w io.Writer) error { return k.ExportAs(w, UserPath(k.Path())) }

// ExportAs is Export with the name by which the file is to know the key, as FullPath takes it. Links
// below the key are left out: what they lead to is written where it is.
func (k *Key) ExportAs(w io.Writer, name string) error {
	return k.export(w, name, exporter{})
}

// ExportRegedit4 is ExportAs as REGEDIT4 has it, in UTF-8. Data of a REG_EXPAND_SZ or REG_MULTI_SZ
// that is no text, and could not be read again, is an error.
func (k *Key) ExportRegedit4(w io.Writer, name string) error {
	return k.export(w, name, exporter{ansi: true})
}

// exporter writes a .reg file.
type exporter struct {
	bytes.Buffer
	ansi bool // REGEDIT4
	err  error
}

func (k *Key) export(w io.Writer, name string, e exporter) error {
	e.WriteString("Windows Registry Editor Version 5.00\r\n\r\n")
	if e.ansi {
		e.Reset()
		e.WriteString("REGEDIT4\r\n\r\n")
	}
	k.r.refresh()
	k.r.mu.RLock()
	if k.n.deleted {
		k.r.mu.RUnlock()
		return nt.STATUS_KEY_DELETED
	}
	e.key(k.n, name)
	k.r.mu.RUnlock()
	if e.err != nil {
		return e.err
	}
	_, err := w.Write(e.Bytes())
	return err
}

func (e *exporter) key(n *node, path string) {
	fmt.Fprintf(e, "[%s]\r\n", path)
	for i := range n.values {
		e.value(&n.values[i], path)
	}
	e.WriteString("\r\n")
	for _, k := range n.keys {
		if !k.link {
			e.key(k, path+`\`+k.name)
		}
	}
}

// lineWidth is where lines of bytes are broken, in characters.
const lineWidth = 76

func (e *exporter) value(v *Value, path string) {
	var line strings.Builder
	if v.Name == "" {
		line.WriteString("@=")
	} else {
		line.WriteString(quote(v.Name) + "=")
	}
	if v.Type == nt.REG_SZ && plain(v.Data) {
		e.WriteString(line.String() + quote(v.Text()) + "\r\n")
		return
	}
	if v.Type == nt.REG_DWORD && len(v.Data) == 4 {
		fmt.Fprintf(e, "%sdword:%08x\r\n", line.String(), binary.LittleEndian.Uint32(v.Data))
		return
	}
	if v.Type == nt.REG_BINARY {
		line.WriteString("hex:")
	} else {
		fmt.Fprintf(&line, "hex(%x):", v.Type)
	}
	data := v.Data
	if e.ansi && ansiType(v.Type) {
		if data = narrow(data); data == nil && e.err == nil {
			e.err = fmt.Errorf("%s: %q has data that is no text, which REGEDIT4 cannot have", path, v.Name)
		}
	}
	for i, c := range data {
		if line.Len() >= lineWidth {
			e.WriteString(line.String() + "\\\r\n")
			line.Reset()
			line.WriteString("  ")
		}
		line.WriteString(hex.EncodeToString([]byte{c}))
		if i < len(data)-1 {
			line.WriteByte(',')
		}
	}
	e.WriteString(line.String() + "\r\n")
}

// ansiType says whether REGEDIT4 has a type's data in another encoding than the registry.
func ansiType(t uint32) bool { return t == nt.REG_EXPAND_SZ || t == nt.REG_MULTI_SZ }

// narrow gives UTF-16 as UTF-8, or nil for what is not that.
func narrow(data []byte) []byte {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	s := string(utf16.Decode(units))
	if !bytes.Equal(Encode(s, false), data) {
		return nil
	}
	return []byte(s)
}

// plain reports whether the data of a REG_SZ is text with one zero, at its end, that a line can hold.
func plain(data []byte) bool {
	s := decode(data)
	return bytes.Equal(SZ(s), data) && !strings.ContainsAny(s, "\r\n")
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
