package volume

import (
	"os"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/drvhost/drvhost/nt"
)

// scan is where an enumeration of a directory is. The names are read when it begins.
type scan struct {
	begun   bool
	pattern string
	names   []string
	next    int
	given   bool // an entry has been
}

func utf16le(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = le.AppendUint16(b, u)
	}
	return b
}

// Directory classes.
const (
	directory = 1
	full      = 2
	both      = 3
	names     = 12
	idBoth    = 37
	idFull    = 38
)

// List gives the next entries of a directory that fit: of the pattern of the first call, which
// restart begins again. STATUS_NO_SUCH_FILE when nothing matches, STATUS_NO_MORE_FILES at the end,
// STATUS_BUFFER_OVERFLOW for a first entry that does not fit whole, STATUS_INVALID_PARAMETER of what
// is no directory ("ZwQueryDirectoryFile function (ntifs.h)").
func (f *File) List(class uint32, pattern string, restart, single bool, room int) ([]byte, nt.Status) {
	if !f.dir {
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	s := &f.scan
	if !s.begun || restart {
		if status := f.begin(pattern); status != nt.STATUS_SUCCESS {
			return nil, status
		}
	}
	var out []byte
	last := -1 // where the entry before begins
	for ; s.next < len(s.names); s.next++ {
		name := s.names[s.next]
		info, ok := f.entry(name)
		if !ok {
			continue
		}
		e := encode(class, name, factsOf(info), uint32(s.next))
		start := (len(out) + 7) &^ 7
		if start+len(e) > room {
			if last >= 0 {
				return out, nt.STATUS_SUCCESS
			}
			s.next++
			s.given = true
			return e[:room], nt.STATUS_BUFFER_OVERFLOW
		}
		out = append(out, make([]byte, start-len(out))...)
		if last >= 0 {
			le.PutUint32(out[last:], uint32(start-last))
		}
		last = start
		out = append(out, e...)
		s.given = true
		if single {
			s.next++
			break
		}
	}
	switch {
	case last >= 0:
		return out, nt.STATUS_SUCCESS
	case s.given:
		return nil, nt.STATUS_NO_MORE_FILES
	}
	return nil, nt.STATUS_NO_SUCH_FILE
}

func (f *File) begin(pattern string) nt.Status {
	all, err := f.v.list(f.n.path)
	if err != nil {
		return statusOf(err, true)
	}
	slices.SortFunc(all, func(a, b string) int {
		return strings.Compare(strings.ToUpper(a), strings.ToUpper(b))
	})
	if f.n.path != "." {
		all = append([]string{".", ".."}, all...)
	}
	s := &f.scan
	if !s.begun {
		s.pattern = pattern
	} else if pattern != "" {
		s.pattern = pattern
	}
	s.begun, s.given, s.next, s.names = true, false, 0, nil
	for _, n := range all {
		if (n == "." || n == ".." || validName(n)) && utf8.ValidString(n) && match(s.pattern, n) {
			s.names = append(s.names, n)
		}
	}
	return nt.STATUS_SUCCESS
}

// entry tells about a name in the directory. What a link leads to is told if that is inside the
// volume; another one, and what is neither file nor directory, is not there.
func (f *File) entry(name string) (os.FileInfo, bool) {
	at := path.Join(f.n.path, name)
	if name == ".." && f.n.path == "." {
		return nil, false
	}
	info, err := f.v.root.Stat(at)
	return info, err == nil && (info.IsDir() || info.Mode().IsRegular())
}

// encode makes an entry of a class.
func encode(class uint32, name string, x facts, index uint32) []byte {
	n := utf16le(name)
	b := le.AppendUint32(make([]byte, 4), index)
	if class == names {
		b = le.AppendUint32(b, uint32(len(n)))
		return append(b, n...)
	}
	for _, t := range [...]uint64{x.created, x.accessed, x.written, x.changed, x.size, x.allocated} {
		b = le.AppendUint64(b, t)
	}
	b = le.AppendUint32(b, x.attributes)
	b = le.AppendUint32(b, uint32(len(n)))
	const shortName = 2 + 24 // its length, and 12 characters; there are none
	switch class {
	case full:
		b = append(b, make([]byte, 4)...)
	case idFull:
		b = le.AppendUint64(append(b, make([]byte, 8)...), x.id)
	case both:
		b = append(b, make([]byte, 4+shortName)...)
	case idBoth:
		b = le.AppendUint64(append(b, make([]byte, 4+shortName+2)...), x.id)
	}
	return append(b, n...)
}

// match reports whether a name matches a pattern: * any characters, ? one, in any case. The DOS
// forms <, > and " count as *, ? and a point. An empty pattern matches all.
func match(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	p, n := fold(pattern), fold(name)
	star, from := -1, 0
	i, j := 0, 0
	for j < len(n) {
		switch {
		case i < len(p) && (p[i] == '*' || p[i] == '<'):
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == '>' || p[i] == n[j] || p[i] == '"' && n[j] == '.'):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && (p[i] == '*' || p[i] == '<') {
		i++
	}
	return i == len(p)
}

func fold(s string) []rune { return []rune(strings.Map(unicode.ToUpper, s)) }
