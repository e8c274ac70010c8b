package rtl

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestTimeFields(t *testing.T) {
	for _, c := range []struct {
		name string
		t    int64
		f    TimeFields
	}{
		{"the beginning", 0, TimeFields{1601, 1, 1, 0, 0, 0, 0, 1}},
		{"Unix's beginning", SecondsTo1970 * ticksPerSecond, TimeFields{1970, 1, 1, 0, 0, 0, 0, 4}},
		{"1980", SecondsTo1980 * ticksPerSecond, TimeFields{1980, 1, 1, 0, 0, 0, 0, 2}},
		{"a leap day", 125963423991230000, TimeFields{2000, 2, 29, 23, 59, 59, 123, 2}},
		{"the last millisecond of 400 years", 126227807999990000, TimeFields{2000, 12, 31, 23, 59, 59, 999, 0}},
		{"no leap day in 1900", 94405824000000000, TimeFields{1900, 3, 1, 0, 0, 0, 0, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := TimeToTimeFields(c.t)
			require.Equal(t, c.f, got)
			back, ok := TimeFieldsToTime(got)
			require.True(t, ok)
			require.Equal(t, c.t, back)
		})
	}
	t.Run("every day agrees with package time", func(t *testing.T) {
		day := time.Date(1601, 1, 1, 12, 34, 56, 789e6, time.UTC)
		ticks := int64((12*3600+34*60+56)*ticksPerSecond + 789*10000)
		for range 500 * 365 {
			f := TimeToTimeFields(ticks)
			y, mo, d := day.Date()
			if int(f.Year) != y || int(f.Month) != int(mo) || int(f.Day) != d ||
				int(f.Weekday) != int(day.Weekday()) || f.Hour != 12 || f.Milliseconds != 789 {
				t.Fatalf("%v: %+v", day, f)
			}
			day = day.AddDate(0, 0, 1)
			ticks += ticksPerDay
		}
	})
	t.Run("any time gives fields", func(t *testing.T) {
		for _, v := range []int64{-1, math.MinInt64, math.MaxInt64} {
			f := TimeToTimeFields(v)
			require.True(t, f.Month >= 1 && f.Month <= 12 && f.Day >= 1 && f.Day <= 31)
		}
	})
	for name, f := range map[string]TimeFields{
		"year 1600": {1600, 1, 1, 0, 0, 0, 0, 0}, "month 13": {2000, 13, 1, 0, 0, 0, 0, 0},
		"month 0": {2000, 0, 1, 0, 0, 0, 0, 0}, "29 February 1900": {1900, 2, 29, 0, 0, 0, 0, 0},
		"day 0": {2000, 1, 0, 0, 0, 0, 0, 0}, "hour 24": {2000, 1, 1, 24, 0, 0, 0, 0},
		"minute 60": {2000, 1, 1, 0, 60, 0, 0, 0}, "second 60": {2000, 1, 1, 0, 0, 60, 0, 0},
		"millisecond 1000": {2000, 1, 1, 0, 0, 0, 1000, 0}, "year 30828": {30828, 1, 1, 0, 0, 0, 0, 0},
	} {
		_, ok := TimeFieldsToTime(f)
		require.False(t, ok, name)
	}
	m := newMemory(t)
	a := m.alloc(16)
	f := TimeFields{2024, 5, 6, 7, 8, 9, 10, 1}
	require.NoError(t, f.Store(a))
	back, err := LoadTimeFields(a)
	require.NoError(t, err)
	require.Equal(t, f, back)
	require.Equal(t, []byte{0xE8, 7, 5, 0}, m.read(a, 4))
}

func TestSecondsSince(t *testing.T) {
	s, ok := TimeToSecondsSince1970(116444736000000000)
	require.True(t, ok)
	require.Zero(t, s)
	_, ok = TimeToSecondsSince1970(116444736000000000 - 1)
	require.False(t, ok, "before 1970")
	s, ok = TimeToSecondsSince1970(SecondsSince1970ToTime(math.MaxUint32))
	require.True(t, ok)
	require.EqualValues(t, math.MaxUint32, s)
	_, ok = TimeToSecondsSince1970(SecondsSince1970ToTime(math.MaxUint32) + ticksPerSecond)
	require.False(t, ok, "after 2106")
	s, ok = TimeToSecondsSince1980(SecondsSince1980ToTime(12345))
	require.True(t, ok)
	require.EqualValues(t, 12345, s)
}

func TestGetVersion(t *testing.T) {
	m := newMemory(t)
	for _, c := range []struct {
		name string
		size uint32
		ex   byte
	}{{"RTL_OSVERSIONINFOW", 276, 0xEE}, {"RTL_OSVERSIONINFOEXW", 284, 0}} {
		t.Run(c.name, func(t *testing.T) {
			a := m.alloc(300)
			require.NoError(t, guest.Fill(a, 0xEE, 300))
			require.NoError(t, guest.Store32(a, c.size))
			require.NoError(t, GetVersion(a))
			b := m.read(a, 300)
			require.Equal(t, []byte{10, 0, 0, 0, 0, 0, 0, 0, 0x65, 0x4A, 0, 0, 2, 0, 0, 0, 0, 0}, b[4:22])
			require.Equal(t, c.ex, b[276])
			require.Equal(t, byte(0xEE), b[284])
			if c.ex == 0 {
				require.Equal(t, []byte{0, 0, 0, 0, 0, 1, 1, 0}, b[276:284])
			}
		})
	}
	requireFault(t, GetVersion(unmapped), unmapped)
}

func TestVerifyVersionInfo(t *testing.T) {
	at := func(major, minor uint32) Version { return Version{Major: major, Minor: minor} }
	both := uint32(VER_MAJORVERSION | VER_MINORVERSION)
	conditions := func(c ...uint64) (mask uint64) {
		for i := 0; i < len(c); i += 2 {
			mask = VerSetConditionMask(mask, uint32(c[i]), uint8(c[i+1]))
		}
		return mask
	}
	ge := conditions(VER_MAJORVERSION, VER_GREATER_EQUAL, VER_MINORVERSION, VER_GREATER_EQUAL)
	for _, c := range []struct {
		name string
		want Version
		mask uint32
		cond uint64
		err  error
	}{
		{"at least Windows 10", at(10, 0), both, ge, nil},
		{"at least Windows 7: the minor version does not count", at(6, 1), both, ge, nil},
		{"at least 10.1", at(10, 1), both, ge, nt.STATUS_REVISION_MISMATCH},
		{"at least 11", at(11, 0), both, ge, nt.STATUS_REVISION_MISMATCH},
		{"exactly 10", at(10, 0), VER_MAJORVERSION, conditions(VER_MAJORVERSION, VER_EQUAL), nil},
		{"exactly 6", at(6, 0), VER_MAJORVERSION, conditions(VER_MAJORVERSION, VER_EQUAL), nt.STATUS_REVISION_MISMATCH},
		{"before 11", at(11, 0), VER_MAJORVERSION, conditions(VER_MAJORVERSION, VER_LESS), nil},
		{"a build", Version{Build: 17763}, VER_BUILDNUMBER, conditions(VER_BUILDNUMBER, VER_GREATER_EQUAL), nil},
		{"a later build", Version{Build: 22000}, VER_BUILDNUMBER, conditions(VER_BUILDNUMBER, VER_GREATER_EQUAL), nt.STATUS_REVISION_MISMATCH},
		{"a server", Version{ProductType: 3}, VER_PRODUCT_TYPE, conditions(VER_PRODUCT_TYPE, VER_EQUAL), nt.STATUS_REVISION_MISMATCH},
		{"a suite, all", Version{SuiteMask: 0x102}, VER_SUITENAME, conditions(VER_SUITENAME, VER_AND), nt.STATUS_REVISION_MISMATCH},
		{"a suite, any", Version{SuiteMask: 0x102}, VER_SUITENAME, conditions(VER_SUITENAME, VER_OR), nil},
		{"nothing asked", at(10, 0), 0, ge, nt.STATUS_INVALID_PARAMETER},
		{"no condition", at(10, 0), both, 0, nt.STATUS_INVALID_PARAMETER},
		{"a part without condition", at(10, 0), both, conditions(VER_MAJORVERSION, VER_EQUAL), nt.STATUS_INVALID_PARAMETER},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.err, System.Verify(c.want, c.mask, c.cond)) })
	}
	m := newMemory(t)
	a := m.alloc(284)
	require.NoError(t, guest.Store32(a+4, 10))
	require.NoError(t, VerifyVersionInfo(a, both, ge))
	require.EqualValues(t, VER_GREATER_EQUAL<<3|VER_GREATER_EQUAL, ge)
}

func TestNtDdiVersion(t *testing.T) {
	require.True(t, IsNtDdiVersionAvailable(0x0A000000))
	require.True(t, IsNtDdiVersionAvailable(0x06010000))
	require.False(t, IsNtDdiVersionAvailable(0x0B000000))
	require.False(t, IsNtDdiVersionAvailable(0x06000100), "a service pack is not asked here")
	require.True(t, IsServicePackVersionInstalled(0x0A000000))
	require.False(t, IsServicePackVersionInstalled(0x06000100))
}

func TestRandom(t *testing.T) {
	require.EqualValues(t, 0x7FFFFFC3, Uniform(0))
	require.EqualValues(t, (uint64(1)*0x7FFFFFED+0x7FFFFFC3)%0x7FFFFFFF, Uniform(1))
	var r Random
	seed := uint32(0)
	seen := map[uint32]bool{}
	for range 10000 {
		var v uint32
		v, seed = r.Next(seed)
		require.Less(t, v, uint32(0x7FFFFFFF))
		require.Less(t, seed, uint32(0x7FFFFFFF))
		seen[v] = true
	}
	require.Greater(t, len(seen), 9700)
	c := NewRand()
	require.Equal(t, []int32{41, 18467, 6334}, []int32{c.Next(), c.Next(), c.Next()})
	c.Seed(1)
	require.EqualValues(t, 41, c.Next())
}

func TestChecksumsAndSwaps(t *testing.T) {
	m := newMemory(t)
	s := m.str("123456789")
	v, err := Crc32(0, s, 9)
	require.NoError(t, err)
	require.EqualValues(t, 0xCBF43926, v)
	v, err = Crc32(0, s, 4)
	require.NoError(t, err)
	v, err = Crc32(v, s+4, 5)
	require.NoError(t, err)
	require.EqualValues(t, 0xCBF43926, v)
	_, err = Crc32(0, unmapped, 4)
	requireFault(t, err, unmapped)
	require.EqualValues(t, 0x3412, UshortByteSwap(0x1234))
	require.EqualValues(t, 0x78563412, UlongByteSwap(0x12345678))
	require.EqualValues(t, uint64(0xF0DEBC9A78563412), UlonglongByteSwap(0x123456789ABCDEF0))
}

func TestIPv4(t *testing.T) {
	m := newMemory(t)
	ip := m.bytes([]byte{192, 168, 0, 255})
	dst := m.alloc(64)
	end, err := Ipv4AddressToStringA(ip, dst)
	require.NoError(t, err)
	require.Equal(t, "192.168.0.255", m.cstr(dst))
	require.Equal(t, dst+13, end)
	end, err = Ipv4AddressToStringW(ip, dst)
	require.NoError(t, err)
	require.Equal(t, "192.168.0.255", m.cwstr(dst))
	require.Equal(t, dst+26, end)

	size := m.alloc(4)
	for _, c := range []struct {
		port uint16
		size uint32
		want string
		need uint32
		err  error
	}{
		{0, 22, "192.168.0.255", 14, nil},
		{0x5000, 22, "192.168.0.255:80", 17, nil},
		{0x5000, 16, "", 17, nt.STATUS_INVALID_PARAMETER},
	} {
		require.NoError(t, guest.Store32(size, c.size))
		require.Equal(t, c.err, Ipv4AddressToStringExA(ip, c.port, dst, size))
		need, err := guest.Load32(size)
		require.NoError(t, err)
		require.Equal(t, c.need, need)
		if c.err == nil {
			require.Equal(t, c.want, m.cstr(dst))
			require.NoError(t, Ipv4AddressToStringExW(ip, c.port, dst, size))
			require.Equal(t, c.want, m.cwstr(dst))
		}
	}
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, Ipv4AddressToStringExA(0, 0, dst, size))
	require.Equal(t, nt.STATUS_INVALID_PARAMETER, Ipv4AddressToStringExA(ip, 0, dst, 0))
}

func TestIPv6(t *testing.T) {
	for _, c := range []struct {
		want  string
		words [8]uint16
	}{
		{"::", [8]uint16{}},
		{"::1", [8]uint16{7: 1}},
		{"::ffff", [8]uint16{7: 0xFFFF}},
		{"::0.1.0.0", [8]uint16{6: 1}},
		{"::13.1.68.3", [8]uint16{6: 0xD01, 7: 0x4403}},
		{"::ffff:13.1.68.3", [8]uint16{5: 0xFFFF, 6: 0xD01, 7: 0x4403}},
		{"::ffff:13.1.0.0", [8]uint16{5: 0xFFFF, 6: 0xD01}},
		{"::ffff:0:4403", [8]uint16{5: 0xFFFF, 7: 0x4403}},
		{"::ffff:0:0", [8]uint16{5: 0xFFFF}},
		{"::feff:d01:4403", [8]uint16{5: 0xFEFF, 6: 0xD01, 7: 0x4403}},
		{"::1:0:d01:4403", [8]uint16{4: 1, 6: 0xD01, 7: 0x4403}},
		{"::ffff:0:13.1.68.3", [8]uint16{4: 0xFFFF, 6: 0xD01, 7: 0x4403}},
		{"::ffff:ffff:d01:4403", [8]uint16{4: 0xFFFF, 5: 0xFFFF, 6: 0xD01, 7: 0x4403}},
		{"::5efe:0.0.0.0", [8]uint16{5: 0x5EFE}},
		{"::200:5efe:129.144.52.38", [8]uint16{4: 0x200, 5: 0x5EFE, 6: 0x8190, 7: 0x3426}},
		{"::300:5efe:8190:3426", [8]uint16{4: 0x300, 5: 0x5EFE, 6: 0x8190, 7: 0x3426}},
		{"1111:2222:3333:4444:0:5efe:129.144.52.38", [8]uint16{0x1111, 0x2222, 0x3333, 0x4444, 0, 0x5EFE, 0x8190, 0x3426}},
		{"1111:2222:3333::5efe:129.144.52.38", [8]uint16{0x1111, 0x2222, 0x3333, 0, 0, 0x5EFE, 0x8190, 0x3426}},
		{"0:1:2:3:4:5:6:7", [8]uint16{0, 1, 2, 3, 4, 5, 6, 7}},
		{"1111::", [8]uint16{0x1111}},
		{"1111::8888", [8]uint16{0: 0x1111, 7: 0x8888}},
		{"1111:0:3333:4444:5555:6666:7777:8888", [8]uint16{0x1111, 0, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777, 0x8888}},
		{"1:2:3:4:5:6:0:8", [8]uint16{1, 2, 3, 4, 5, 6, 0, 8}},
		{"2001:0:1234::c1c0:abcd:876", [8]uint16{0x2001, 0, 0x1234, 0, 0, 0xC1C0, 0xABCD, 0x876}},
		{"3ffe:b00::1:0:0:a", [8]uint16{0x3FFE, 0xB00, 0, 0, 1, 0, 0, 0xA}},
		{"::a:b:c:d:e", [8]uint16{3: 0xA, 4: 0xB, 5: 0xC, 6: 0xD, 7: 0xE}},
	} {
		var ip [16]byte
		for i, w := range c.words {
			ip[2*i], ip[2*i+1] = byte(w>>8), byte(w)
		}
		require.Equal(t, c.want, string(AppendIPv6(nil, ip)))
	}
	m := newMemory(t)
	ip := m.bytes([]byte{0x11, 0x11, 15: 0})
	dst, size := m.alloc(160), m.alloc(4)
	end, err := Ipv6AddressToStringA(ip, dst)
	require.NoError(t, err)
	require.Equal(t, "1111::", m.cstr(dst))
	require.Equal(t, dst+6, end)
	_, err = Ipv6AddressToStringW(ip, dst)
	require.NoError(t, err)
	require.Equal(t, "1111::", m.cwstr(dst))
	for _, c := range []struct {
		scope uint32
		port  uint16
		want  string
	}{
		{0, 0, "1111::"}, {1, 0, "1111::%1"}, {0xFFFFBBBB, 0xEEFF, "[1111::%4294949819]:65518"}, {0, 1, "[1111::]:256"},
	} {
		require.NoError(t, guest.Store32(size, 65))
		require.NoError(t, Ipv6AddressToStringExA(ip, c.scope, c.port, dst, size))
		require.Equal(t, c.want, m.cstr(dst))
		require.NoError(t, guest.Store32(size, 65))
		require.NoError(t, Ipv6AddressToStringExW(ip, c.scope, c.port, dst, size))
		require.Equal(t, c.want, m.cwstr(dst))
		need, err := guest.Load32(size)
		require.NoError(t, err)
		require.EqualValues(t, len(c.want)+1, need)
	}
}
