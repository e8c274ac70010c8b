package rtl

// IPv4 and IPv6 addresses from text: RtlIpv4StringToAddress, RtlIpv6StringToAddress and the Ex forms.

import (
	"math"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// at gives s[i], or 0 behind the end.
func at(s []byte, i int) byte {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// parseNumber reads a number at s[i:]: decimal, or after 0x hexadecimal, or after 0 octal. strict
// allows decimal only, without leading zeros.
func parseNumber(s []byte, i int, strict bool) (v uint32, end int, ok bool) {
	base := uint32(10)
	if d, isDigit := digitValue(uint16(at(s, i))); !isDigit || d > 9 {
		return 0, i, false
	}
	if at(s, i) == '0' {
		next := at(s, i+1)
		switch {
		case next == 'x' || next == 'X':
			i += 2
			d, isDigit := digitValue(uint16(at(s, i)))
			if strict || !isDigit || d > 15 {
				return 0, i, false
			}
			base = 16
		case next >= '0' && next <= '9':
			i++
			if strict || next > '7' {
				return 0, i, false
			}
			base = 8
		}
	}
	for {
		d, isDigit := digitValue(uint16(at(s, i)))
		if !isDigit || d >= base {
			return v, i, true
		}
		if uint64(v)*uint64(base)+uint64(d) > math.MaxUint32 {
			return v, i, false
		}
		v = v*base + d
		i++
	}
}

// ParseIPv4 is RtlIpv4StringToAddress on Go values: one to four numbers, the last of which fills the
// bytes that are left; strict demands four decimal ones. end is where the address, or what is wrong
// with it, ends.
func ParseIPv4(s []byte, strict bool) (ip [4]byte, end int, ok bool) {
	var parts [4]uint32
	n, i := 0, 0
	for {
		v, e, ok := parseNumber(s, i, strict)
		if !ok {
			if at(s, e) == '.' && e == i {
				e++
			}
			return ip, e, false
		}
		parts[n], i = v, e
		n++
		if at(s, i) != '.' {
			break
		}
		if n == 4 {
			return ip, i, false
		}
		i++
	}
	if strict && n < 4 {
		return ip, i, false
	}
	for k, v := range parts[:n-1] {
		if v > 0xFF {
			return ip, i, false
		}
		ip[k] = byte(v)
	}
	last := parts[n-1]
	if uint64(last) >= 1<<(8*(5-n)) {
		return [4]byte{}, i, false
	}
	for k := 3; k >= n-1; k-- {
		ip[k] = byte(last)
		last >>= 8
	}
	return ip, i, true
}

// ParseIPv6 is RtlIpv6StringToAddress on Go values: groups of up to four hexadecimal digits, one "::",
// and perhaps a dotted end. Text behind a complete address is not looked at.
func ParseIPv6(s []byte) (ip [16]byte, end int, ok bool) {
	var words [8]uint16
	n, gap, i := 0, -1, 0
	if at(s, 0) == ':' {
		if at(s, 1) != ':' {
			return ip, 0, false
		}
		gap, i = 0, 2
	}
	room := func() int {
		if gap >= 0 {
			return 7 - n
		}
		return 8 - n
	}
	for room() > 0 {
		start, v := i, uint32(0)
		for {
			d, isDigit := digitValue(uint16(at(s, i)))
			if !isDigit || d > 15 {
				break
			}
			if i-start == 4 {
				return ip, i, false
			}
			v = v<<4 | d
			i++
		}
		if i == start {
			if gap == n { // directly behind "::"
				break
			}
			return ip, i, false
		}
		if at(s, i) == '.' && room() >= 2 && decimal(s[start:i]) {
			four, e, ok := parseDotted(s[start:])
			i = start + e
			if !ok {
				return ip, i, false
			}
			words[n], words[n+1] = uint16(four>>16), uint16(four)
			n += 2
			break
		}
		words[n] = uint16(v)
		n++
		if room() == 0 || at(s, i) != ':' {
			break
		}
		if at(s, i+1) != ':' {
			i++
			continue
		}
		if gap >= 0 {
			break
		}
		gap = n
		i += 2
	}
	if gap < 0 && n < 8 {
		return ip, i, false
	}
	if gap >= 0 {
		copy(words[8-(n-gap):], words[gap:n])
		clear(words[gap : 8-(n-gap)])
	}
	for k, w := range words {
		ip[2*k], ip[2*k+1] = byte(w>>8), byte(w)
	}
	return ip, i, true
}

func decimal(s []byte) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// parseDotted reads the four decimal numbers at the end of an IPv6 address; leading zeros may fill
// them up to three digits.
func parseDotted(s []byte) (v uint32, end int, ok bool) {
	i := 0
	for k := range 4 {
		start, part := i, uint32(0)
		for c := at(s, i); c >= '0' && c <= '9'; c = at(s, i) {
			if i-start == 3 {
				return 0, i, false
			}
			part = part*10 + uint32(c-'0')
			i++
		}
		if i == start || part > 0xFF {
			return 0, i, false
		}
		v = v<<8 | part
		if k == 3 {
			return v, i, true
		}
		if at(s, i) != '.' {
			return 0, i, false
		}
		i++
	}
	return v, i, true
}

// parsePort reads ":port" up to the end of the text.
func parsePort(s []byte) (uint16, bool) {
	if at(s, 0) != ':' {
		return 0, false
	}
	v, end, ok := parseNumber(s, 1, false)
	return uint16(v), ok && end == len(s) && v > 0 && v <= 0xFFFF
}

// ParseIPv4Port is RtlIpv4StringToAddressEx on Go values: nothing may follow but ":port". The port is
// in host byte order. ipOK says that the address was read, also when what follows is wrong.
func ParseIPv4Port(s []byte, strict bool) (ip [4]byte, port uint16, ipOK, ok bool) {
	ip, end, ok := ParseIPv4(s, strict)
	if !ok || end == len(s) {
		return ip, 0, ok, ok
	}
	port, ok = parsePort(s[end:])
	return ip, port, true, ok
}

// ParseIPv6Port is RtlIpv6StringToAddressEx on Go values: address, "%scope", and with brackets
// "]:port".
func ParseIPv6Port(s []byte) (ip [16]byte, scope uint32, port uint16, ok bool) {
	bracket := at(s, 0) == '['
	if bracket {
		s = s[1:]
	}
	ip, end, ok := ParseIPv6(s)
	if !ok {
		return ip, 0, 0, false
	}
	s = s[end:]
	if at(s, 0) == '%' {
		i := 1
		v := uint64(0)
		for ; at(s, i) >= '0' && at(s, i) <= '9'; i++ {
			if v = v*10 + uint64(s[i]-'0'); v > math.MaxUint32 {
				return ip, 0, 0, false
			}
		}
		if i == 1 {
			return ip, 0, 0, false
		}
		scope, s = uint32(v), s[i:]
	}
	if bracket {
		if at(s, 0) != ']' {
			return ip, 0, 0, false
		}
		if s = s[1:]; len(s) > 0 {
			port, ok = parsePort(s)
			return ip, scope, port, ok
		}
	}
	return ip, scope, 0, len(s) == 0
}

// mostAddressText is more than any address takes; longer text is wrong in any case.
const mostAddressText = 128

// loadAddressText reads text up to its NUL. A WCHAR that is not ASCII becomes 0xFF, which no address
// contains.
func loadAddressText[C char](a nt.Addr, buf *[mostAddressText]byte) ([]byte, error) {
	var c cursor[C]
	c.start(a)
	for i := range buf {
		u, err := c.get()
		if err != nil {
			return nil, err
		}
		if u == 0 {
			return buf[:i], nil
		}
		buf[i] = byte(min(uint16(u), 0xFF))
	}
	return buf[:], nil
}

func storeParsed[C char](src, terminator, dst nt.Addr, end int, ok bool, ip []byte) error {
	if err := guest.StoreAddr(terminator, offset[C](src, uintptr(end))); err != nil {
		return err
	}
	if !ok {
		return nt.STATUS_INVALID_PARAMETER
	}
	return guest.Write(dst, ip)
}

func ipv4FromString[C char](src nt.Addr, strict bool, terminator, dst nt.Addr) error {
	var buf [mostAddressText]byte
	s, err := loadAddressText[C](src, &buf)
	if err != nil {
		return err
	}
	ip, end, ok := ParseIPv4(s, strict)
	return storeParsed[C](src, terminator, dst, end, ok, ip[:])
}

// Ipv4StringToAddressA is RtlIpv4StringToAddressA; see [ParseIPv4]. *terminator gets the end.
// STATUS_INVALID_PARAMETER for no address.
func Ipv4StringToAddressA(src nt.Addr, strict bool, terminator, dst nt.Addr) error {
	return ipv4FromString[uint8](src, strict, terminator, dst)
}

// Ipv4StringToAddressW is RtlIpv4StringToAddressW.
func Ipv4StringToAddressW(src nt.Addr, strict bool, terminator, dst nt.Addr) error {
	return ipv4FromString[uint16](src, strict, terminator, dst)
}

func ipv6FromString[C char](src, terminator, dst nt.Addr) error {
	var buf [mostAddressText]byte
	s, err := loadAddressText[C](src, &buf)
	if err != nil {
		return err
	}
	ip, end, ok := ParseIPv6(s)
	return storeParsed[C](src, terminator, dst, end, ok, ip[:])
}

// Ipv6StringToAddressA is RtlIpv6StringToAddressA; see [ParseIPv6].
func Ipv6StringToAddressA(src, terminator, dst nt.Addr) error {
	return ipv6FromString[uint8](src, terminator, dst)
}

// Ipv6StringToAddressW is RtlIpv6StringToAddressW.
func Ipv6StringToAddressW(src, terminator, dst nt.Addr) error {
	return ipv6FromString[uint16](src, terminator, dst)
}

func ipv4FromStringEx[C char](src nt.Addr, strict bool, dst, port nt.Addr) error {
	if src == 0 || dst == 0 || port == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	var buf [mostAddressText]byte
	s, err := loadAddressText[C](src, &buf)
	if err != nil {
		return err
	}
	ip, number, ipOK, ok := ParseIPv4Port(s, strict)
	if ipOK {
		if err := guest.Write(dst, ip[:]); err != nil {
			return err
		}
	}
	if !ok {
		return nt.STATUS_INVALID_PARAMETER
	}
	return guest.Store16(port, swapPort(number))
}

// Ipv4StringToAddressExA is RtlIpv4StringToAddressExA: *port gets the port in network byte order, 0
// if there is none.
func Ipv4StringToAddressExA(src nt.Addr, strict bool, dst, port nt.Addr) error {
	return ipv4FromStringEx[uint8](src, strict, dst, port)
}

// Ipv4StringToAddressExW is RtlIpv4StringToAddressExW.
func Ipv4StringToAddressExW(src nt.Addr, strict bool, dst, port nt.Addr) error {
	return ipv4FromStringEx[uint16](src, strict, dst, port)
}

func ipv6FromStringEx[C char](src, dst, scope, port nt.Addr) error {
	if src == 0 || dst == 0 || scope == 0 || port == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	var buf [mostAddressText]byte
	s, err := loadAddressText[C](src, &buf)
	if err != nil {
		return err
	}
	ip, zone, number, ok := ParseIPv6Port(s)
	if !ok {
		return nt.STATUS_INVALID_PARAMETER
	}
	if err := guest.Write(dst, ip[:]); err != nil {
		return err
	}
	if err := guest.Store32(scope, zone); err != nil {
		return err
	}
	return guest.Store16(port, swapPort(number))
}

// Ipv6StringToAddressExA is RtlIpv6StringToAddressExA: *scope gets the number behind '%', *port the
// port in network byte order.
func Ipv6StringToAddressExA(src, dst, scope, port nt.Addr) error {
	return ipv6FromStringEx[uint8](src, dst, scope, port)
}

// Ipv6StringToAddressExW is RtlIpv6StringToAddressExW.
func Ipv6StringToAddressExW(src, dst, scope, port nt.Addr) error {
	return ipv6FromStringEx[uint16](src, dst, scope, port)
}
