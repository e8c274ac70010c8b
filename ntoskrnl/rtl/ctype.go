package rtl

// Character classification and case of the C runtime in the "C" locale.

// Ctype classes, as _isctype and ctype.h have them.
const (
	ctypeUpper = 1 << iota
	ctypeLower
	ctypeDigit
	ctypeSpace
	ctypePunct
	ctypeControl
	ctypeBlank
	ctypeHex
)

// class gives the classes of an ASCII character; other characters have none.
func class(c int32) int32 {
	switch {
	case c < 0 || c > 0x7F:
		return 0
	case c == ' ':
		return ctypeSpace | ctypeBlank
	case c == '\t':
		return ctypeSpace | ctypeControl
	case c >= '\n' && c <= '\r':
		return ctypeSpace | ctypeControl
	case c < ' ' || c == 0x7F:
		return ctypeControl
	case c >= '0' && c <= '9':
		return ctypeDigit | ctypeHex
	case c >= 'A' && c <= 'F':
		return ctypeUpper | ctypeHex
	case c >= 'A' && c <= 'Z':
		return ctypeUpper
	case c >= 'a' && c <= 'f':
		return ctypeLower | ctypeHex
	case c >= 'a' && c <= 'z':
		return ctypeLower
	}
	return ctypePunct
}

// Isupper is isupper. Like all here it returns non-zero for true.
func Isupper(c int32) int32 { return class(c) & ctypeUpper }

// Islower is islower.
func Islower(c int32) int32 { return class(c) & ctypeLower }

// Isdigit is isdigit.
func Isdigit(c int32) int32 { return class(c) & ctypeDigit }

// Isxdigit is isxdigit.
func Isxdigit(c int32) int32 { return class(c) & ctypeHex }

// Isspace is isspace.
func Isspace(c int32) int32 { return class(c) & ctypeSpace }

// Isalpha is isalpha.
func Isalpha(c int32) int32 { return class(c) & (ctypeUpper | ctypeLower) }

// Isalnum is isalnum.
func Isalnum(c int32) int32 { return class(c) & (ctypeUpper | ctypeLower | ctypeDigit) }

// Ispunct is ispunct.
func Ispunct(c int32) int32 { return class(c) & ctypePunct }

// Iscntrl is iscntrl.
func Iscntrl(c int32) int32 { return class(c) & ctypeControl }

// Isprint is isprint.
func Isprint(c int32) int32 {
	return class(c) & (ctypeUpper | ctypeLower | ctypeDigit | ctypePunct | ctypeBlank)
}

// Isgraph is isgraph.
func Isgraph(c int32) int32 {
	return class(c) & (ctypeUpper | ctypeLower | ctypeDigit | ctypePunct)
}

// Tolower is tolower: it changes A-Z only.
func Tolower(c int32) int32 {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Toupper is toupper: it changes a-z only.
func Toupper(c int32) int32 {
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// Towlower is towlower, by the NLS tables.
func Towlower(c uint16) uint16 { return DowncaseUnicodeChar(c) }

// Towupper is towupper, by the NLS tables.
func Towupper(c uint16) uint16 { return UpcaseUnicodeChar(c) }
