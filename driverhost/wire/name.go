package wire

// The names of devices, as clients write them and as files of the runtime directory carry them.

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/drvhost/drvhost/nt"
)

// devicePrefixes are the ways to say "in the DosDevices directory", longest first.
var devicePrefixes = [...]string{`\DosDevices\`, `\GLOBAL??\`, `\??\`, `\\.\`, `\\?\`}

// TrimDevicePrefix takes `\\.\`, `\\?\`, `\??\`, `\GLOBAL??\` or `\DosDevices\` off name, with
// slashes of either kind, and a `Global\` after it: all of them mean the same directory here. A
// name without a prefix stays as it is.
func TrimDevicePrefix(name string) string {
	for _, p := range devicePrefixes {
		if rest, ok := cutPrefixFold(name, p); ok {
			name = rest
			break
		}
	}
	if rest, ok := cutPrefixFold(name, `Global\`); ok {
		name = rest
	}
	return name
}

// cutPrefixFold is strings.CutPrefix that takes '/' for '\' and ignores the case of ASCII letters.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) {
		return s, false
	}
	for i := 0; i < len(prefix); i++ {
		a, b := s[i], prefix[i]
		if a == '/' {
			a = '\\'
		}
		if lowerASCII(a) != lowerASCII(b) {
			return s, false
		}
	}
	return s[len(prefix):], true
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// SplitDeviceName gives the link's name and what follows it: `Echo\sub\path` is Echo and
// `\sub\path`. A prefix is taken off first.
func SplitDeviceName(name string) (link, rest string) {
	name = TrimDevicePrefix(name)
	if i := strings.IndexByte(name, '\\'); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// EscapeName gives the file name that stands for a link's name. Windows ignores case there, so the
// name is upcased. ASCII letters and digits and the characters _ - : # $ { } & ~ + = @ , stand for
// themselves; any other UTF-16 unit u becomes %XXXX, its four hexadecimal digits. It fails with
// STATUS_OBJECT_NAME_INVALID for an empty name or one with a backslash, and with
// STATUS_NAME_TOO_LONG when no file can have the name.
func EscapeName(name string) (string, error) {
	const hex = "0123456789ABCDEF"
	const most = 255 // bytes: NAME_MAX
	out := make([]byte, 0, len(name))
	for _, u := range encodeUTF16(name) {
		u = upcase(u)
		switch {
		case u == '\\' || u == 0:
			return "", fmt.Errorf("device name %q: %w", name, nt.STATUS_OBJECT_NAME_INVALID)
		case u < 0x80 && plainInFile(byte(u)):
			out = append(out, byte(u))
		default:
			out = append(out, '%', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
		}
	}
	if len(out) == 0 {
		return "", fmt.Errorf(`no device name: want \\.\Name or Name: %w`, nt.STATUS_OBJECT_NAME_INVALID)
	}
	if len(out) > most {
		return "", fmt.Errorf("device name %q: %w", name, nt.STATUS_NAME_TOO_LONG)
	}
	return string(out), nil
}

func plainInFile(c byte) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("_-:#${}&~+=@,", c) >= 0
}

// UnescapeName is the inverse of EscapeName, but for the case; ok is false for a file name that
// EscapeName does not give.
func UnescapeName(file string) (name string, ok bool) {
	units := make([]uint16, 0, len(file))
	for i := 0; i < len(file); i++ {
		c := file[i]
		if c != '%' {
			if !plainInFile(c) {
				return "", false
			}
			units = append(units, uint16(c))
			continue
		}
		if i+5 > len(file) {
			return "", false
		}
		var u uint16
		for _, d := range []byte(file[i+1 : i+5]) {
			v := strings.IndexByte("0123456789ABCDEF", d)
			if v < 0 {
				return "", false
			}
			u = u<<4 | uint16(v)
		}
		units = append(units, u)
		i += 4
	}
	name = decodeUTF16(units)
	back, err := EscapeName(name)
	return name, err == nil && back == file
}

// upcase maps one UTF-16 unit to upper case as object names compare: one unit to one unit. A
// character outside ASCII never becomes one inside (unlike Unicode's mapping of U+0131 and U+017F).
func upcase(u uint16) uint16 {
	if u < 0x80 {
		if 'a' <= u && u <= 'z' {
			u -= 'a' - 'A'
		}
		return u
	}
	if r := unicode.ToUpper(rune(u)); r >= 0x80 && r <= 0xFFFF {
		return uint16(r)
	}
	return u
}
