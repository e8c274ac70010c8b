package trace

// Data: text where it is readable, hexadecimal where it is not, and a file of its own where it is
// large.

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode"
	"unicode/utf8"
)

// The prefixes of data that is not simply text.
const (
	prefixText = "text:"
	prefixHex  = "hex:"
	prefixHash = "sha256:"
)

// Large is from how many bytes on a Writer puts data into a file of its own.
const Large = 4096

// Data has the large data of a trace, by SHA-256.
type Data interface {
	// Get gives what has this hash.
	Get(sum [sha256.Size]byte) ([]byte, error)
	// Put keeps data.
	Put(sum [sha256.Size]byte, data []byte) error
}

// DataDir gives the directory for the large data of the trace in a file: "x.irpl" has "x.data".
func DataDir(file string) string {
	if ext := filepath.Ext(file); ext == Extension {
		file = file[:len(file)-len(ext)]
	}
	return file + ".data"
}

// Extension is how the names of files with traces end.
const Extension = ".irpl"

// Dir is a directory with a file for each piece of data, which is named by its hash. It is made when
// it is first needed.
type Dir string

// Get reads a file.
func (d Dir) Get(sum [sha256.Size]byte) ([]byte, error) {
	path := d.path(sum)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxData {
		return nil, fmt.Errorf("%s: no regular file of at most %d bytes", path, MaxData)
	}
	return io.ReadAll(io.LimitReader(f, MaxData+1))
}

// Put writes a file, unless it is there.
func (d Dir) Put(sum [sha256.Size]byte, data []byte) error {
	if err := os.Mkdir(string(d), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	path := d.path(sum)
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(data)) {
		return nil
	}
	f, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, as it should, once the file has its name
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644) // as the trace, which others may read
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (d Dir) path(sum [sha256.Size]byte) string {
	return filepath.Join(string(d), hex.EncodeToString(sum[:]))
}

// readable says whether data is text that a person can read and an editor keeps as it is.
func readable(data []byte) bool {
	for i := 0; i < len(data); {
		c := data[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\n' && c != '\t' || c == 0x7F {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
		i += n
	}
	return true
}

// hasPrefix reports whether text would be taken for something else.
func hasPrefix(text []byte) bool {
	for _, p := range [...]string{prefixText, prefixHex, prefixHash} {
		if len(text) >= len(p) && string(text[:len(p)]) == p {
			return true
		}
	}
	return false
}

// appendData adds data as a JSON string.
func appendData(b, data []byte) []byte {
	if !readable(data) {
		b = append(b, '"')
		b = append(b, prefixHex...)
		b = hex.AppendEncode(b, data)
		return append(b, '"')
	}
	b = append(b, '"')
	if hasPrefix(data) {
		b = append(b, prefixText...)
	}
	b = appendEscaped(b, data)
	return append(b, '"')
}

// appendString adds a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(b []byte, text string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, []byte(text))
	return append(b, '"')
}

func appendEscaped(b, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ' || c == 0x7F:
			b = fmt.Appendf(b, `\u%04x`, c)
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRune(text[i:])
			if r == '\u2028' || r == '\u2029' || r == '\u0085' { // line ends, to some editors
				b = fmt.Appendf(b, `\u%04x`, r)
			} else {
				b = utf8.AppendRune(b, r)
			}
			i += n - 1
		}
		i++
	}
	return b
}
