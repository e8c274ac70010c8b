package rtl

// IPv4 and IPv6 addresses as text: RtlIpv4AddressToString, RtlIpv6AddressToString and the Ex forms.

import (
	"strconv"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// AppendIPv4 appends an IN_ADDR in dotted form.
func AppendIPv4(b []byte, ip [4]byte) []byte {
	for i, v := range ip {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// AppendIPv6 appends an IN6_ADDR: the longest run of two or more zero words, the first of equals,
// is "::". The last two words are dotted in IPv4-compatible, -mapped and -translated addresses with
// a first word that is not 0, and in ISATAP addresses.
func AppendIPv6(b []byte, ip [16]byte) []byte {
	var w [8]uint16
	for i := range w {
		w[i] = uint16(ip[2*i])<<8 | uint16(ip[2*i+1])
	}
	isatap := w[4]&0xFDFF == 0 && w[5] == 0x5EFE
	zeros := w[0]|w[1]|w[2]|w[3] == 0
	embedded := zeros && w[6] != 0 &&
		(w[4] == 0 && (w[5] == 0 || w[5] == 0xFFFF) || w[4] == 0xFFFF && w[5] == 0)
	n := 8
	if isatap || embedded {
		n = 6
	}
	at, run := -1, 1
	for i := 0; i < n; i++ {
		j := i
		for j < n && w[j] == 0 {
			j++
		}
		if j-i > run {
			at, run = i, j-i
		}
		i = max(i, j-1)
	}
	for i := 0; i < n; i++ {
		switch {
		case i == at:
			b = append(b, "::"...)
			i += run - 1
			continue
		case i > 0 && i != at+run || i > 0 && at < 0:
			b = append(b, ':')
		}
		b = strconv.AppendUint(b, uint64(w[i]), 16)
	}
	if n == 6 {
		if at < 0 || at+run < 6 {
			b = append(b, ':')
		}
		b = AppendIPv4(b, [4]byte(ip[12:]))
	}
	return b
}

// AppendIPv4Port appends the address and, unless port is 0, ":port".
func AppendIPv4Port(b []byte, ip [4]byte, port uint16) []byte {
	b = AppendIPv4(b, ip)
	if port != 0 {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(port), 10)
	}
	return b
}

// AppendIPv6Port appends the address, unless scope is 0 "%scope", and, unless port is 0, brackets
// and ":port".
func AppendIPv6Port(b []byte, ip [16]byte, scope uint32, port uint16) []byte {
	if port != 0 {
		b = append(b, '[')
	}
	b = AppendIPv6(b, ip)
	if scope != 0 {
		b = append(b, '%')
		b = strconv.AppendUint(b, uint64(scope), 10)
	}
	if port != 0 {
		b = append(b, "]:"...)
		b = strconv.AppendUint(b, uint64(port), 10)
	}
	return b
}

// storeText writes text and a NUL at dst in units of C, and returns the address of the NUL.
func storeText[C char](dst nt.Addr, text []byte) (nt.Addr, error) {
	var w writer[C]
	w.start(dst)
	for _, c := range text {
		if err := w.put(C(c)); err != nil {
			return 0, err
		}
	}
	if err := w.put(0); err != nil {
		return 0, err
	}
	return offset[C](dst, uintptr(len(text))), w.flush()
}

// storeTextEx is the end of the Ex forms: *size, in units, must hold text and NUL; it gets the
// units used or needed. STATUS_INVALID_PARAMETER if it is too small or a pointer is null.
func storeTextEx[C char](dst, size nt.Addr, text []byte) error {
	if size == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	have, err := guest.Load32(size)
	if err != nil {
		return err
	}
	need := uint32(len(text) + 1)
	if err := guest.Store32(size, need); err != nil {
		return err
	}
	if dst == 0 || have < need {
		return nt.STATUS_INVALID_PARAMETER
	}
	_, err = storeText[C](dst, text)
	return err
}

// loadBytes reads an address structure; a null pointer is STATUS_INVALID_PARAMETER.
func loadBytes(b []byte, a nt.Addr) error {
	if a == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return guest.Read(b, a)
}

func swapPort(port uint16) uint16 { return UshortByteSwap(port) }

func ipv4ToString[C char](ip, dst nt.Addr) (nt.Addr, error) {
	var a [4]byte
	if err := guest.Read(a[:], ip); err != nil {
		return 0, err
	}
	var buf [16]byte
	return storeText[C](dst, AppendIPv4(buf[:0], a))
}

// Ipv4AddressToStringA is RtlIpv4AddressToStringA: text and NUL at dst (16 bytes); it returns the
// NUL's address.
func Ipv4AddressToStringA(ip, dst nt.Addr) (nt.Addr, error) { return ipv4ToString[uint8](ip, dst) }

// Ipv4AddressToStringW is RtlIpv4AddressToStringW.
func Ipv4AddressToStringW(ip, dst nt.Addr) (nt.Addr, error) { return ipv4ToString[uint16](ip, dst) }

func ipv4ToStringEx[C char](ip nt.Addr, port uint16, dst, size nt.Addr) error {
	var a [4]byte
	if err := loadBytes(a[:], ip); err != nil {
		return err
	}
	var buf [24]byte
	return storeTextEx[C](dst, size, AppendIPv4Port(buf[:0], a, swapPort(port)))
}

// Ipv4AddressToStringExA is RtlIpv4AddressToStringExA, with port in network byte order and *size in
// characters.
func Ipv4AddressToStringExA(ip nt.Addr, port uint16, dst, size nt.Addr) error {
	return ipv4ToStringEx[uint8](ip, port, dst, size)
}

// Ipv4AddressToStringExW is RtlIpv4AddressToStringExW.
func Ipv4AddressToStringExW(ip nt.Addr, port uint16, dst, size nt.Addr) error {
	return ipv4ToStringEx[uint16](ip, port, dst, size)
}

func ipv6ToString[C char](ip, dst nt.Addr) (nt.Addr, error) {
	var a [16]byte
	if err := guest.Read(a[:], ip); err != nil {
		return 0, err
	}
	var buf [48]byte
	return storeText[C](dst, AppendIPv6(buf[:0], a))
}

// Ipv6AddressToStringA is RtlIpv6AddressToStringA: text and NUL at dst (46 bytes).
func Ipv6AddressToStringA(ip, dst nt.Addr) (nt.Addr, error) { return ipv6ToString[uint8](ip, dst) }

// Ipv6AddressToStringW is RtlIpv6AddressToStringW.
func Ipv6AddressToStringW(ip, dst nt.Addr) (nt.Addr, error) { return ipv6ToString[uint16](ip, dst) }

func ipv6ToStringEx[C char](ip nt.Addr, scope uint32, port uint16, dst, size nt.Addr) error {
	var a [16]byte
	if err := loadBytes(a[:], ip); err != nil {
		return err
	}
	var buf [72]byte
	return storeTextEx[C](dst, size, AppendIPv6Port(buf[:0], a, scope, swapPort(port)))
}

// Ipv6AddressToStringExA is RtlIpv6AddressToStringExA, with port in network byte order.
func Ipv6AddressToStringExA(ip nt.Addr, scope uint32, port uint16, dst, size nt.Addr) error {
	return ipv6ToStringEx[uint8](ip, scope, port, dst, size)
}

// Ipv6AddressToStringExW is RtlIpv6AddressToStringExW.
func Ipv6AddressToStringExW(ip nt.Addr, scope uint32, port uint16, dst, size nt.Addr) error {
	return ipv6ToStringEx[uint16](ip, scope, port, dst, size)
}
