package ntoskrnl

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// newSystem gives the core of a kernel with three processors.
func newSystem(t *testing.T) *ke.System {
	k, err := New(Options{Processors: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k.Ke
}

// Offsets as the documentation of KUSER_SHARED_DATA gives them.
func TestSharedDataSaysWhatTheSystemIs(t *testing.T) {
	s := newSystem(t)
	for _, tt := range []struct {
		name  string
		at    uint64
		width int
		want  uint64
	}{
		{"TickCountMultiplier", 0x4, 4, 0xFA00000},
		{"ImageNumberLow and ImageNumberHigh", 0x2C, 4, 0x86648664},
		{"NtSystemRoot begins", 0x30, 8, 'C' | ':'<<16 | '\\'<<32 | 'W'<<48},
		{"NtSystemRoot ends", 0x30 + 18, 4, 's'},
		{"LargePageMinimum", 0x244, 4, 0x200000},
		{"NtBuildNumber", 0x260, 4, 19045},
		{"NtProductType", 0x264, 4, 1},
		{"ProductTypeIsValid", 0x268, 1, 1},
		{"NativeProcessorArchitecture", 0x26A, 2, 9},
		{"NtMajorVersion", 0x26C, 4, 10},
		{"NtMinorVersion", 0x270, 4, 0},
		{"ProcessorFeatures: SSE2", 0x274 + 10, 1, 1},
		{"ProcessorFeatures: NX", 0x274 + 12, 1, 1},
		{"ProcessorFeatures: XSAVE", 0x274 + 17, 1, 0},
		{"KdDebuggerEnabled", 0x2D4, 1, 0},
		{"TestRetInstruction", 0x2F8, 8, 0xC3},
		{"QpcFrequency", 0x300, 8, 10_000_000},
		{"ActiveProcessorCount", 0x3C0, 4, 3},
		{"ActiveProcessorCount, its second byte", 0x3C1, 1, 0},
		{"ActiveProcessorCount and ActiveGroupCount", 0x3C0, 8, 3 | 1<<32},
		{"QpcBypassEnabled", 0x3C6, 1, 0},
		{"what follows the structure", 0xFF8, 8, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, hi := loadShared(s, tt.at, tt.width)
			require.Equal(t, tt.want, v)
			require.Zero(t, hi)
		})
	}
	v, _ := loadShared(s, 0x2E8, 4)
	require.Positive(t, v, "NumberOfPhysicalPages")
}

func TestSharedTimesAreTrue(t *testing.T) {
	s := newSystem(t)
	read := func(at uint64) uint64 { v, _ := loadShared(s, at, 8); return v }
	between := func(name string, at uint64, clock func() uint64) {
		before := clock()
		v := read(at)
		require.GreaterOrEqual(t, v, before, name)
		require.LessOrEqual(t, v, clock(), name)
		require.Positive(t, v, name)
	}
	between("InterruptTime", 0x8, s.InterruptTime)
	between("SystemTime", 0x14, func() uint64 { return uint64(s.SystemTime()) })
	between("TickCount", 0x320, s.TickCount)

	ticks := read(0x320)
	millis := ticks * (read(0x4) & 0xFFFFFFFF) >> 24
	require.InDelta(t, float64(ticks)*15.625, float64(millis), 1)

	now := time.Now()
	const second = 10_000_000
	var bias int64 = -5400 * second
	require.Equal(t, uint64(bias), timeZoneBias(now.In(time.FixedZone("east", 5400))))
	_, east := now.Zone()
	bias = -int64(east) * second
	require.Equal(t, uint64(bias), read(0x20))
}

// A reader of a KSYSTEM_TIME takes High1Time, LowPart and High2Time, and wants equal high parts.
func TestSharedTimesHaveTwoEqualHighParts(t *testing.T) {
	s := newSystem(t)
	for name, at := range map[string]uint64{"InterruptTime": 0x8, "SystemTime": 0x14,
		"TimeZoneBias": 0x20, "TickCount": 0x320} {
		t.Run(name, func(t *testing.T) {
			lo, hi := loadShared(s, at, 16)
			require.Equal(t, uint32(lo>>32), uint32(hi))
			high, _ := loadShared(s, at+4, 8)
			require.Equal(t, uint32(high), uint32(high>>32))
		})
	}
}

// Whatever the width and place of a load, it sees the same page. Of the fields that change all the
// time, only the high parts are compared.
func TestSharedLoadsOfAllWidthsAgree(t *testing.T) {
	s := newSystem(t)
	var page [nt.KUserSharedDataPageSize]byte
	for off := range uint64(len(page)) {
		v, _ := loadShared(s, off, 1)
		page[off] = byte(v)
	}
	ticking := func(off uint64) bool {
		return off >= 0x8 && off < 0xC || off >= 0x14 && off < 0x18 || off >= 0x320 && off < 0x324
	}
	for _, width := range []int{1, 2, 4, 8, 16} {
		for off := range uint64(len(page) - width + 1) {
			var b [16]byte
			lo, hi := loadShared(s, off, width)
			binary.LittleEndian.PutUint64(b[:], lo)
			binary.LittleEndian.PutUint64(b[8:], hi)
			for i := range uint64(16) {
				if want := byte(0); i >= uint64(width) {
					require.Equal(t, want, b[i], "byte %d of %d at %#x", i, width, off)
				} else if !ticking(off + i) {
					require.Equal(t, page[off+i], b[i], "byte %d of %d at %#x", i, width, off)
				}
			}
		}
	}
}

func TestSharedLoadAllocatesNothing(t *testing.T) {
	s := newSystem(t)
	require.Zero(t, testing.AllocsPerRun(100, func() { loadShared(s, 0x14, 8) }))
}
