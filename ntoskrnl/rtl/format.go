package rtl

// The kernel's printf formatter: one engine for DbgPrint and the printf family of the C runtime.

import (
	"errors"
	"math"
	"unicode/utf8"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// ErrFormat says that a format string asks for what the runtime refuses: %n. The C functions
// return -1 then.
var ErrFormat = errors.New("rtl: %n is not supported in a format string")

// errFull ends the formatting early: the destination holds no more.
var errFull = errors.New("rtl: destination is full")

// noLimit is the limit of a destination whose size the caller did not give (sprintf).
const noLimit = math.MaxInt32

// Flags and size prefixes of one conversion.
const (
	flagLeft = 1 << iota
	flagPlus
	flagSpace
	flagAlt
	flagZero
	sizeChar  // hh
	sizeShort // h
	sizeLong  // l
	sizeI64   // ll, I64, j; I, z and t where pointers have 8 bytes
	sizeWide  // w
)

// spec is one conversion of a format string, parsed.
type spec struct {
	flags uint16
	width int // 0: none
	prec  int // -1: default
}

// printer formats into guest memory, or, with to == nil as address 0, into a Go slice.
type printer struct {
	wide  bool // units are WCHAR: the format string's and the output's
	ptr   int  // bytes of a pointer
	args  Args
	limit int  // units that the destination holds
	n     int  // units produced
	count bool // only count: there is no destination

	dst []byte  // Go destination, used when at is 0
	at  nt.Addr // guest destination of stage

	staged int
	stage  [chunkSize]byte

	// The format string: the window fbuf[fpos:fend] of it, and where its next piece is: in rest, or
	// in guest memory at fnext (0: nowhere).
	fpos, fend int
	rest       string
	fnext      nt.Addr
	fbuf       [chunkSize]byte
}

const pointerSize = 4 << (^uintptr(0) >> 63)

// FormatGuest formats with a format string in guest memory into dst. wide says that the format
// string and the output consist of WCHARs (dst then gets UTF-16, low byte first). It returns the
// bytes written to dst; truncated is true when there was no room for all. No NUL is added.
//
// Errors: a *guest.FaultError for a bad pointer (what was formatted before it is in dst),
// [ErrFormat], or what args returns.
func FormatGuest(
	dst []byte, format nt.Addr, wide bool, args Args,
) (n int, truncated bool, err error) {
	p := printer{wide: wide, args: args, fnext: format, dst: dst, limit: len(dst)}
	if format == 0 {
		_, err := guest.Load8(0)
		return 0, false, err
	}
	if wide {
		p.limit /= 2
	}
	return p.intoSlice()
}

// Format is FormatGuest with a format string in Go memory and narrow output.
func Format(dst []byte, format string, args Args) (n int, truncated bool, err error) {
	p := printer{args: args, dst: dst, limit: len(dst), rest: format}
	return p.intoSlice()
}

func (p *printer) intoSlice() (int, bool, error) {
	err := p.run()
	n := min(p.n, p.limit)
	if p.wide {
		n *= 2
	}
	if err == errFull {
		return n, true, nil
	}
	return n, false, err
}

// run formats everything and flushes. errFull: the output was cut at limit.
func (p *printer) run() error {
	p.ptr = pointerSize
	err := p.loop()
	if e := p.flush(); e != nil && (err == nil || err == errFull) {
		err = e
	}
	return err
}

// Reading the format string.

func (p *printer) fillFormat() error {
	if p.fnext == 0 {
		n := copy(p.fbuf[:], p.rest)
		p.rest = p.rest[n:]
		p.fpos, p.fend = 0, n
		return nil
	}
	unit := 1
	if p.wide {
		unit = 2
	}
	n, err := readChunk(p.fbuf[:], p.fnext, unit)
	if err != nil {
		return err
	}
	p.fpos, p.fend = 0, n
	p.fnext += nt.Addr(n)
	return nil
}

// peek returns the format's unit under the cursor, 0 at the end.
func (p *printer) peek() (uint16, error) {
	if p.fpos >= p.fend {
		if err := p.fillFormat(); err != nil {
			return 0, err
		}
		if p.fpos >= p.fend {
			return 0, nil
		}
	}
	if p.wide {
		return uint16(p.fbuf[p.fpos]) | uint16(p.fbuf[p.fpos+1])<<8, nil
	}
	return uint16(p.fbuf[p.fpos]), nil
}

// skip moves over the unit that peek returned.
func (p *printer) skip() {
	p.fpos++
	if p.wide {
		p.fpos++
	}
}

// Writing the output.

func (p *printer) flush() error {
	n := p.staged
	p.staged = 0
	if n == 0 {
		return nil
	}
	if p.at == 0 {
		p.dst = p.dst[copy(p.dst, p.stage[:n]):]
		return nil
	}
	if err := guest.Write(p.at, p.stage[:n]); err != nil {
		return err
	}
	p.at += nt.Addr(n)
	return nil
}

func (p *printer) room(bytes int) error {
	if p.n >= p.limit {
		p.n++
		return errFull
	}
	if p.staged+bytes > len(p.stage) {
		return p.flush()
	}
	return nil
}

// unit writes one unit of the output's own kind.
func (p *printer) unit(u uint16) error {
	if p.wide {
		if err := p.room(2); err != nil {
			return err
		}
		p.stage[p.staged], p.stage[p.staged+1] = byte(u), byte(u>>8)
		p.staged += 2
	} else {
		if err := p.room(1); err != nil {
			return err
		}
		p.stage[p.staged] = byte(u)
		p.staged++
	}
	p.n++
	return nil
}

// rune writes one character in the output's encoding.
func (p *printer) rune(r rune) error {
	if p.wide {
		if r > 0xFFFF {
			hi, lo := surrogates(r)
			if err := p.unit(hi); err != nil {
				return err
			}
			return p.unit(lo)
		}
		return p.unit(uint16(r))
	}
	if r < utf8.RuneSelf {
		return p.unit(uint16(r))
	}
	var b [utf8.UTFMax]byte
	return p.ascii(b[:utf8.EncodeRune(b[:], r)])
}

// ascii writes bytes as they are (narrow) or each as one unit (wide).
func (p *printer) ascii(b []byte) error {
	if !p.wide {
		return p.raw(b)
	}
	for _, c := range b {
		if err := p.unit(uint16(c)); err != nil {
			return err
		}
	}
	return nil
}

// raw writes units of the output's own kind, as they lie in memory.
func (p *printer) raw(b []byte) error {
	for len(b) > 0 {
		if p.staged == len(p.stage) {
			if err := p.flush(); err != nil {
				return err
			}
		}
		size := 1
		if p.wide {
			size = 2
		}
		units := min(len(b)/size, (len(p.stage)-p.staged)/size, p.limit-p.n)
		if units <= 0 {
			p.n = p.limit + 1
			return errFull
		}
		p.staged += copy(p.stage[p.staged:], b[:units*size])
		p.n += units
		b = b[units*size:]
	}
	return nil
}

func (p *printer) pad(c byte, n int) error {
	if p.count && n > 0 {
		if n > p.limit-p.n {
			return errFull
		}
		p.n += n
		return nil
	}
	for ; n > 0; n-- {
		if err := p.unit(uint16(c)); err != nil {
			return err
		}
	}
	return nil
}

// loop walks the format string.
func (p *printer) loop() error {
	for {
		u, err := p.peek()
		if err != nil {
			return err
		}
		if u == 0 {
			return nil
		}
		if u == '%' {
			p.skip()
			err = p.conversion()
		} else {
			err = p.literal()
		}
		if err != nil {
			return err
		}
	}
}

// literal copies the format's text up to a '%', the end, or the end of the window.
func (p *printer) literal() error {
	from := p.fpos
	for p.fpos < p.fend {
		u, err := p.peek()
		if err != nil {
			return err
		}
		if u == 0 || u == '%' {
			break
		}
		p.skip()
	}
	return p.raw(p.fbuf[from:p.fpos])
}

// number reads a decimal number of the format string, or an argument for "*".
func (p *printer) number() (int, error) {
	u, err := p.peek()
	if err != nil {
		return 0, err
	}
	if u == '*' {
		p.skip()
		w, err := p.args.Next(4)
		return int(int32(w)), err
	}
	n := 0
	for u >= '0' && u <= '9' {
		n = min(n*10+int(u-'0'), math.MaxInt32)
		p.skip()
		if u, err = p.peek(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// conversion handles what follows a '%'. A character that is no conversion is printed as it is
// ("Format specification syntax: printf and wprintf functions"), and so is a second '%'.
func (p *printer) conversion() error {
	s := spec{prec: -1}
	u, err := p.peek()
	if err != nil {
		return err
	}
flags:
	for {
		switch u {
		case '-':
			s.flags |= flagLeft
		case '+':
			s.flags |= flagPlus
		case ' ':
			s.flags |= flagSpace
		case '#':
			s.flags |= flagAlt
		case '0':
			s.flags |= flagZero
		default:
			break flags
		}
		p.skip()
		if u, err = p.peek(); err != nil {
			return err
		}
	}
	if s.width, err = p.number(); err != nil {
		return err
	}
	if s.width < 0 {
		s.flags |= flagLeft
		s.width = min(-s.width, math.MaxInt32)
	}
	if u, err = p.peek(); err != nil {
		return err
	}
	if u == '.' {
		p.skip()
		if s.prec, err = p.number(); err != nil {
			return err
		}
		s.prec = max(s.prec, -1)
	}
	done, err := p.sizes(&s)
	if err != nil || done {
		return err
	}
	if u, err = p.peek(); err != nil || u == 0 {
		return err
	}
	p.skip()
	return p.convert(u, &s)
}

// sizes reads the size prefixes. done: what stands there is an I without meaning, printed already.
func (p *printer) sizes(s *spec) (done bool, err error) {
	for {
		u, err := p.peek()
		if err != nil {
			return false, err
		}
		switch u {
		case 'h':
			if s.flags&sizeShort != 0 {
				s.flags |= sizeChar
			}
			s.flags |= sizeShort
		case 'l':
			if s.flags&sizeLong != 0 {
				s.flags |= sizeI64
			}
			s.flags |= sizeLong
		case 'w':
			s.flags |= sizeWide
		case 'L':
		case 'j':
			s.flags |= sizeI64
		case 'z', 't':
			s.nativeSize(p.ptr)
		case 'I':
			p.skip()
			if done, err := p.sizeI(s); err != nil || done {
				return done, err
			}
			continue
		default:
			return false, nil
		}
		p.skip()
	}
}

func (s *spec) nativeSize(ptr int) {
	if ptr == 8 {
		s.flags |= sizeI64
	}
}

// sizeI reads what follows an I: 64, 32, or an integer conversion. Any other I is plain text.
func (p *printer) sizeI(s *spec) (done bool, err error) {
	u, err := p.peek()
	if err != nil {
		return false, err
	}
	var second uint16
	switch u {
	case '6':
		second = '4'
	case '3':
		second = '2'
	case 'd', 'i', 'o', 'u', 'x', 'X', 'p':
		s.nativeSize(p.ptr)
		return false, nil
	default:
		return true, p.unit('I')
	}
	p.skip()
	v, err := p.peek()
	if err != nil {
		return false, err
	}
	if v != second {
		if err := p.unit('I'); err != nil {
			return false, err
		}
		return true, p.unit(u)
	}
	p.skip()
	if second == '4' {
		s.flags |= sizeI64
	} else {
		s.flags &^= sizeI64
	}
	return false, nil
}

// convert prints one argument.
func (p *printer) convert(u uint16, s *spec) error {
	switch u {
	case 'd', 'i':
		return p.integer(s, 10, true, false)
	case 'u':
		return p.integer(s, 10, false, false)
	case 'o':
		return p.integer(s, 8, false, false)
	case 'x':
		return p.integer(s, 16, false, false)
	case 'X':
		return p.integer(s, 16, false, true)
	case 'p':
		// A pointer is all its digits in upper case, without 0x.
		s.prec = 2 * p.ptr
		s.flags &^= sizeShort | sizeChar
		s.nativeSize(p.ptr)
		return p.integer(s, 16, false, true)
	case 'c', 'C':
		return p.character(s, p.wideText(s, u == 'C'))
	case 's', 'S':
		a, err := p.args.Next(p.ptr)
		if err != nil {
			return err
		}
		if a == 0 {
			return p.null(s, true)
		}
		most := s.prec
		if most < 0 {
			most = math.MaxInt
		}
		return p.text(s, nt.Addr(a), p.wideText(s, u == 'S'), most, true)
	case 'Z':
		return p.counted(s)
	case 'e', 'E', 'f', 'F', 'g', 'G', 'a', 'A':
		bits, err := p.args.Next(8)
		if err != nil {
			return err
		}
		return p.float(s, byte(u), math.Float64frombits(bits))
	case 'n':
		return ErrFormat
	}
	return p.unit(u)
}

// wideText decides whether %c, %C, %s or %S names wide text: a prefix decides, else the lower-case
// letter is text of the format string's own kind, and the upper-case one of the other.
func (p *printer) wideText(s *spec, upper bool) bool {
	switch {
	case s.flags&(sizeLong|sizeWide) != 0:
		return true
	case s.flags&sizeShort != 0:
		return false
	}
	return p.wide != upper
}

// lead writes the padding before a field of n units, trail the padding behind it. Zeros pad
// whatever the conversion is, as they do in Microsoft's runtime.
func (p *printer) lead(s *spec, n int) error {
	if s.flags&flagLeft != 0 || n >= s.width {
		return nil
	}
	if s.flags&flagZero != 0 {
		return p.pad('0', s.width-n)
	}
	return p.pad(' ', s.width-n)
}

func (p *printer) trail(s *spec, n int) error {
	if s.flags&flagLeft == 0 || n >= s.width {
		return nil
	}
	return p.pad(' ', s.width-n)
}

func (p *printer) null(s *spec, cut bool) error {
	t := []byte("(null)")
	if cut && s.prec >= 0 && s.prec < len(t) {
		t = t[:s.prec]
	}
	if err := p.lead(s, len(t)); err != nil {
		return err
	}
	if err := p.ascii(t); err != nil {
		return err
	}
	return p.trail(s, len(t))
}

func (p *printer) character(s *spec, wide bool) error {
	w, err := p.args.Next(4)
	if err != nil {
		return err
	}
	if err := p.lead(s, 1); err != nil {
		return err
	}
	switch {
	case wide == p.wide:
		err = p.unit(uint16(w))
	case wide:
		err = p.rune(bmp(uint16(w)))
	case byte(w) < utf8.RuneSelf:
		err = p.unit(uint16(byte(w)))
	default:
		err = p.unit(utf8.RuneError)
	}
	if err != nil {
		return err
	}
	return p.trail(s, 1)
}

// counted prints %Z (ANSI_STRING) and %wZ (UNICODE_STRING). The precision does not matter.
func (p *printer) counted(s *spec) error {
	w, err := p.args.Next(p.ptr)
	if err != nil {
		return err
	}
	if w == 0 {
		return p.null(s, false)
	}
	str, err := loadString(nt.Addr(w))
	if err != nil {
		return err
	}
	if str.Buffer == 0 {
		return p.null(s, false)
	}
	wide := s.flags&(sizeWide|sizeLong) != 0
	n := int(str.Length)
	if wide {
		n /= 2
	}
	return p.text(s, str.Buffer, wide, n, false)
}

// text prints at most most units from a, up to a NUL if z is set. Width counts the source's units.
func (p *printer) text(s *spec, a nt.Addr, wide bool, most int, z bool) error {
	var n int
	if s.width > 0 && s.flags&flagLeft == 0 {
		n = most
		if z {
			var err error
			if n, err = textLength(a, wide, most); err != nil {
				return err
			}
			most = n
		}
		if err := p.lead(s, n); err != nil {
			return err
		}
		if _, err := p.copyText(a, wide, most, z); err != nil {
			return err
		}
		return nil
	}
	n, err := p.copyText(a, wide, most, z)
	if err != nil {
		return err
	}
	return p.trail(s, n)
}

// textLength is strnlen or wcsnlen.
func textLength(a nt.Addr, wide bool, most int) (int, error) {
	if wide {
		n, err := Wcsnlen(a, uintptr(most))
		return int(n), err
	}
	n, err := Strnlen(a, uintptr(most))
	return int(n), err
}

// copyText writes text of guest memory to the output and returns the source units consumed.
func (p *printer) copyText(a nt.Addr, wide bool, most int, z bool) (int, error) {
	switch {
	case wide && p.wide:
		return copySame[uint16](p, a, most, z)
	case wide:
		return p.copyWide(a, most, z)
	case p.wide:
		return p.copyNarrow(a, most, z)
	}
	return copySame[uint8](p, a, most, z)
}

// copySame copies text whose units are the output's.
func copySame[C char](p *printer, a nt.Addr, most int, z bool) (int, error) {
	var c cursor[C]
	c.start(a)
	n := 0
	for n < most {
		if err := c.fill(); err != nil {
			return n, err
		}
		k := min(c.n/unitSize[C](), most-n)
		end := false
		if z {
			if i := indexZero[C](c.buf[:k*unitSize[C]()]); i >= 0 {
				k, end = i, true
			}
		}
		n += k
		if err := p.raw(c.buf[:k*unitSize[C]()]); err != nil || end {
			return n, err
		}
	}
	return n, nil
}

func (p *printer) copyWide(a nt.Addr, most int, z bool) (int, error) {
	var c cursor[uint16]
	c.start(a)
	n := 0
	for n < most {
		u, err := c.get()
		if err != nil {
			return n, err
		}
		if u == 0 && z {
			break
		}
		n++
		r := bmp(u)
		if isHighSurrogate(u) && n < most {
			// The partner is read only if it belongs to the string: no NUL has been met.
			v, err := c.peek()
			if err != nil {
				return n, err
			}
			if isLowSurrogate(v) {
				c.pos += 2
				n++
				r = pair(u, v)
			}
		}
		if err := p.rune(r); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (p *printer) copyNarrow(a nt.Addr, most int, z bool) (int, error) {
	var c cursor[uint8]
	c.start(a)
	var d utf8Decoder
	n := 0
	for n < most {
		u, err := c.get()
		if err != nil {
			return n, err
		}
		if u == 0 && z {
			break
		}
		n++
		if err := d.add(u, p.rune); err != nil {
			return n, err
		}
	}
	return n, d.end(p.rune)
}

// integer prints d, i, u, o, x, X and p.
func (p *printer) integer(s *spec, base uint64, signed, upper bool) error {
	size := 4
	if s.flags&sizeI64 != 0 {
		size = 8
	}
	v, err := p.args.Next(size)
	if err != nil {
		return err
	}
	switch {
	case s.flags&sizeI64 != 0:
	case s.flags&sizeChar != 0 && signed:
		v = uint64(int8(v))
	case s.flags&sizeChar != 0:
		v = uint64(uint8(v))
	case s.flags&sizeShort != 0 && signed:
		v = uint64(int16(v))
	case s.flags&sizeShort != 0:
		v = uint64(uint16(v))
	case signed:
		v = uint64(int32(v))
	default:
		v = uint64(uint32(v))
	}
	var prefix [2]byte
	np := 0
	if signed {
		switch {
		case int64(v) < 0:
			v = -v
			prefix[0], np = '-', 1
		case s.flags&flagPlus != 0:
			prefix[0], np = '+', 1
		case s.flags&flagSpace != 0:
			prefix[0], np = ' ', 1
		}
	}
	if base == 16 && s.flags&flagAlt != 0 && v != 0 {
		prefix[0], prefix[1], np = '0', 'x', 2
		if upper {
			prefix[1] = 'X'
		}
	}
	var digits [24]byte
	i := len(digits)
	alphabet := "0123456789abcdef"
	if upper {
		alphabet = "0123456789ABCDEF"
	}
	for v != 0 {
		i--
		digits[i] = alphabet[v%base]
		v /= base
	}
	nd := len(digits) - i
	least := 1
	if s.prec >= 0 {
		least = s.prec
		s.flags &^= flagZero
	}
	if base == 8 && s.flags&flagAlt != 0 {
		least = max(least, nd+1)
	}
	return p.field(s, prefix[:np], max(least-nd, 0), digits[i:], 0, nil)
}

// field prints prefix, zeros, digits, more zeros and tail, padded to the width; a zero flag pads
// between prefix and digits.
func (p *printer) field(
	s *spec, prefix []byte, zeros int, digits []byte, after int, tail []byte,
) error {
	n := len(prefix) + zeros + len(digits) + after + len(tail)
	if s.flags&(flagLeft|flagZero) == 0 {
		if err := p.lead(s, n); err != nil {
			return err
		}
	}
	if err := p.ascii(prefix); err != nil {
		return err
	}
	if s.flags&(flagLeft|flagZero) == flagZero {
		if err := p.lead(s, n); err != nil {
			return err
		}
	}
	if err := p.pad('0', zeros); err != nil {
		return err
	}
	if err := p.ascii(digits); err != nil {
		return err
	}
	if err := p.pad('0', after); err != nil {
		return err
	}
	if err := p.ascii(tail); err != nil {
		return err
	}
	return p.trail(s, n)
}
