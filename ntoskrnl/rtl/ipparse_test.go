package rtl

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestParseIPv4(t *testing.T) {
	type result struct {
		ok  bool
		end int
		ip  [4]byte
	}
	bad := func(end int) result { return result{end: end} }
	good := func(end int, a, b, c, d byte) result { return result{true, end, [4]byte{a, b, c, d}} }
	for _, c := range []struct {
		text   string
		loose  result
		strict result
	}{
		{"1.2.3.4", good(7, 1, 2, 3, 4), good(7, 1, 2, 3, 4)},
		{"a", bad(0), bad(0)},
		{"1.1.1.0xaA", good(10, 1, 1, 1, 170), bad(8)},
		{"1.1.1.0x", bad(8), bad(8)},
		{"1.1.1.0x100", bad(11), bad(8)},
		{"1.1.1.010", good(9, 1, 1, 1, 8), bad(7)},
		{"1.1.1.08", bad(7), bad(7)},
		{"1.1.1.008", good(8, 1, 1, 1, 0), bad(7)},
		{"1.1.1.0a", good(7, 1, 1, 1, 0), good(7, 1, 1, 1, 0)},
		{"1.1.1.-2", bad(6), bad(6)},
		{"1", good(1, 0, 0, 0, 1), bad(1)},
		{"1.2", good(3, 1, 0, 0, 2), bad(3)},
		{"1000.2000", bad(9), bad(9)},
		{"1.2.", bad(4), bad(4)},
		{"1..2", bad(3), bad(3)},
		{"1.2.3", good(5, 1, 2, 0, 3), bad(5)},
		{"203569230", good(9, 12, 34, 56, 78), bad(9)},
		{"1.223756", good(8, 1, 3, 106, 12), bad(8)},
		{"756.3.4", bad(7), bad(7)},
		{"3.4.65536", bad(9), bad(9)},
		{"3.4.5.6.7", bad(7), bad(7)},
		{" 3.4.5.6", bad(0), bad(0)},
		{"3.4.5.6 ", good(7, 3, 4, 5, 6), good(7, 3, 4, 5, 6)},
		{".", bad(1), bad(1)},
		{".1.2.3", bad(1), bad(1)},
		{"0.1.2.3.", bad(7), bad(7)},
		{"255.255.255.4294967296", bad(21), bad(21)},
		{"0x1234", good(6, 0, 0, 18, 52), bad(2)},
		{"0x00010Q03", good(7, 0, 0, 0, 16), bad(2)},
		{"1234BEEF", good(4, 0, 0, 4, 210), bad(4)},
		{"017700000001", good(12, 127, 0, 0, 1), bad(1)},
		{"::1", bad(0), bad(0)},
		{"", bad(0), bad(0)},
	} {
		for strict, want := range map[bool]result{false: c.loose, true: c.strict} {
			ip, end, ok := ParseIPv4([]byte(c.text), strict)
			if !ok {
				ip = [4]byte{}
			}
			require.Equal(t, want, result{ok, end, ip}, "%q, strict %v", c.text, strict)
		}
	}
	for _, c := range []struct {
		text  string
		port  uint16
		ipOK  bool
		valid bool
	}{
		{"", 0, false, false}, {"1.1.1.1", 0, true, true}, {"1.1.1.1:", 0, true, false}, {"1.1.1.1:1", 1, true, true},
		{"1.2.3.4:0", 0, true, false}, {"1.2.3.4:65535", 65535, true, true}, {"1.2.3.4:65536", 0, true, false},
		{"1.2.3.4:0XfFfF", 65535, true, true}, {"1.2.3.4:011064", 0x1234, true, true}, {"1.2.3.4:1234a", 0, true, false},
		{"1.2.3.4: 1234", 0, true, false}, {"1.1.1.1+", 0, true, false},
	} {
		_, port, ipOK, ok := ParseIPv4Port([]byte(c.text), false)
		require.Equal(t, c.valid, ok, c.text)
		require.Equal(t, c.ipOK, ipOK, c.text)
		if ok {
			require.Equal(t, c.port, port, c.text)
		}
	}
}

func TestParseIPv6(t *testing.T) {
	for _, c := range []struct {
		text string
		end  int
		ok   bool
		want string // as AppendIPv6 prints it
	}{
		{"0000:0000:0000:0000:0000:0000:0000:0001", 39, true, "::1"},
		{"0:0:0:0:0:0:13.1.68.3", 21, true, "::13.1.68.3"},
		{"0:0:0:0:0:FFFF:129.144.52.38", 28, true, "::ffff:129.144.52.38"},
		{"1080:0:0:0:8:800:200c:417a", 26, true, "1080::8:800:200c:417a"},
		{"1111:2222:3333:4444:5555:6666:7777::", 36, true, "1111:2222:3333:4444:5555:6666:7777:0"},
		{"1111:2222:3333:4444:5555:6666::7777:8888", 35, true, "1111:2222:3333:4444:5555:6666:0:7777"},
		{"1111:2222:3333:4444:5555:6666:7777::8888", 36, true, "1111:2222:3333:4444:5555:6666:7777:0"},
		{"1111:2222:3333:4444:5555::123.123.123.123", 41, true, "1111:2222:3333:4444:5555:0:7b7b:7b7b"},
		{"1111::3333:4444:5555:6666:123.123.123.123", 41, true, "1111:0:3333:4444:5555:6666:7b7b:7b7b"},
		{"1111:2222:3333:4444:5555:6666::1.2.3.4", 32, true, "1111:2222:3333:4444:5555:6666:0:1"},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999", 39, true, "1111:2222:3333:4444:5555:6666:7777:8888"},
		{"1111:2222:::", 11, true, "1111:2222::"},
		{"1111::3333::5555:6666:1.2.3.4", 10, true, "1111::3333"},
		{"1111::", 6, true, "1111::"},
		{"::", 2, true, "::"},
		{"::%16", 2, true, "::"},
		{"::0:0:0:0:0:0:0", 15, true, "::"},
		{"2001:0::b.0", 9, true, "2001::b"},
		{"1::001.2.3.4", 12, true, "1::102:304"},
		{"1::1.2.3.4::1", 10, true, "1::102:304"},
		{"::.", 2, true, "::"},
		{"::01234", 6, false, ""},
		{"1::0001.2.3.4", 0, false, ""},
		{"1::1.2.256.4", 0, false, ""},
		{"1::1.2.3", 8, false, ""},
		{"1::1.", 5, false, ""},
		{"1.2.3.4", 7, false, ""},
		{"1111", 4, false, ""},
		{"1111:2222:", 10, false, ""},
		{"1111:2222:1.2.3.4", 17, false, ""},
		{"1111:2222:3333:4444:x555:6666:7777:8888", 20, false, ""},
		{"1111::5555:", 11, false, ""},
		{"12345::6:7:8", 0, false, ""},
		{"':10.0.0.1", 0, false, ""},
		{":1", 0, false, ""},
		{"[::]", 0, false, ""},
		{"", 0, false, ""},
	} {
		ip, end, ok := ParseIPv6([]byte(c.text))
		require.Equal(t, c.ok, ok, c.text)
		if c.ok {
			require.Equal(t, c.want, string(AppendIPv6(nil, ip)), c.text)
			require.Equal(t, c.end, end, c.text)
		} else if c.end != 0 {
			require.Equal(t, c.end, end, c.text)
		}
	}
	for _, c := range []struct {
		text  string
		scope uint32
		port  uint16
		ok    bool
	}{
		{"::1", 0, 0, true}, {"::1%4294949819", 0xFFFFBBBB, 0, true}, {"[::1%1]:256", 1, 256, true}, {"[::1]:256", 0, 256, true},
		{"[::1]", 0, 0, true}, {"[::1", 0, 0, false}, {"::1]", 0, 0, false}, {"::1:", 0, 0, false}, {"::1%", 0, 0, false},
		{"::1%4294967296", 0, 0, false}, {"[::1]:0", 0, 0, false}, {"[::1]:65536", 0, 0, false}, {"[::1]x", 0, 0, false},
	} {
		_, scope, port, ok := ParseIPv6Port([]byte(c.text))
		require.Equal(t, c.ok, ok, c.text)
		if ok {
			require.Equal(t, c.scope, scope, c.text)
			require.Equal(t, c.port, port, c.text)
		}
	}
}

func TestStringToAddress(t *testing.T) {
	m := newMemory(t)
	dst, end, port, scope := m.alloc(16), m.alloc(8), m.alloc(2), m.alloc(4)
	src, wide := m.str("1.2.3.4x"), m.wstr("1.2.3.4x")
	require.NoError(t, Ipv4StringToAddressA(src, true, end, dst))
	require.Equal(t, []byte{1, 2, 3, 4}, m.read(dst, 4))
	at, err := guest.LoadAddr(end)
	require.NoError(t, err)
	require.Equal(t, src+7, at)
	require.NoError(t, Ipv4StringToAddressW(wide, true, end, dst))
	at, err = guest.LoadAddr(end)
	require.NoError(t, err)
	require.Equal(t, wide+14, at)
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, Ipv4StringToAddressA(m.str("1.2"), true, end, dst))
	require.NoError(t, Ipv6StringToAddressA(m.str("1111::1"), end, dst))
	require.Equal(t, []byte{0x11, 0x11, 0, 0}, m.read(dst, 4))
	require.NoError(t, Ipv6StringToAddressW(m.wstr("2222::1"), end, dst))
	require.Equal(t, []byte{0x22, 0x22, 0, 0}, m.read(dst, 4))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, Ipv6StringToAddressW(m.wstr("1111:\u2222"), end, dst))

	require.NoError(t, Ipv4StringToAddressExA(m.str("9.8.7.6:80"), true, dst, port))
	require.Equal(t, []byte{0, 80}, m.read(port, 2), "the port is in network byte order")
	require.NoError(t, Ipv4StringToAddressExW(m.wstr("9.8.7.6"), true, dst, port))
	require.Equal(t, []byte{0, 0}, m.read(port, 2))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, Ipv4StringToAddressExA(0, true, dst, port))
	require.NoError(t, Ipv6StringToAddressExA(m.str("[::1%5]:256"), dst, scope, port))
	require.Equal(t, []byte{1, 0}, m.read(port, 2))
	require.Equal(t, []byte{5, 0, 0, 0}, m.read(scope, 4))
	require.NoError(t, Ipv6StringToAddressExW(m.wstr("::1"), dst, scope, port))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, Ipv6StringToAddressExA(m.str("x"), dst, scope, port))
	requireFault(t, Ipv4StringToAddressA(unmapped, true, end, dst), unmapped)
}
