// KUSER_SHARED_DATA: what drivers read at 0xFFFFF78000000000. No page can be mapped there, so each
// load is served on its own, and the times in it are those of the load.
package ntoskrnl

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/nt"
)

// Times are in units of 100 ns. The system time counts from 1601-01-01 UTC (KeQuerySystemTime); the
// interrupt time from the start of the machine, and neither time that it sleeps from now on nor
// changes of the clock show in it (KeQueryInterruptTime).
const (
	timeUnit      = 100 * time.Nanosecond
	epochOffset   = 11644473600 * int64(time.Second/timeUnit) // from 1601 to 1970
	tickLength    = 156250                                    // KeQueryTimeIncrement: 15.625 ms
	ticksToMillis = 0xFA00000                                 // 15.625 × 2^24
	qpcFrequency  = 10_000_000                                // KeQueryPerformanceCounter, in Hz
)

// systemTime gives the system time at now.
func systemTime(now time.Time) uint64 {
	return uint64(now.UnixNano()/int64(timeUnit) + epochOffset)
}

// booted is a moment and the time since the machine started then.
var booted = sync.OnceValue(func() (at struct {
	now   time.Time
	since time.Duration
}) {
	var ts unix.Timespec
	at.now = time.Now()
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		at.since = time.Duration(ts.Nano())
	}
	return at
})

// interruptTime gives the interrupt time at now.
func interruptTime(now time.Time) uint64 {
	at := booted()
	return uint64((at.since + now.Sub(at.now)) / timeUnit)
}

// tickCount gives the tick count at now (KeQueryTickCount).
func tickCount(now time.Time) uint64 { return interruptTime(now) / tickLength }

// timeZoneBias gives what is to be subtracted from the system time to have the local time.
func timeZoneBias(now time.Time) uint64 {
	_, east := now.Zone()
	return uint64(-int64(east) * int64(time.Second/timeUnit))
}

// timeZoneID gives TIME_ZONE_ID_STANDARD or TIME_ZONE_ID_DAYLIGHT.
func timeZoneID(now time.Time) uint64 {
	if now.IsDST() {
		return 2
	}
	return 1
}

// A sharedField is a part of the page that is worked out when it is read.
type sharedField struct {
	at, size uint64
	timeOf   func(now time.Time) uint64 // of fields that change with time
	count    func(processors int) uint64
}

// sharedFields are these parts. A time of 12 bytes is a KSYSTEM_TIME, whose second high part repeats
// the first.
var sharedFields = [...]sharedField{
	{at: sharedInterruptTime, size: 12, timeOf: interruptTime},
	{at: sharedSystemTime, size: 12, timeOf: systemTime},
	{at: sharedTimeZoneBias, size: 12, timeOf: timeZoneBias},
	{at: sharedTimeZoneID, size: 4, timeOf: timeZoneID},
	{at: sharedTickCount, size: 12, timeOf: tickCount},
	{at: sharedUnparked, size: 2, count: func(n int) uint64 { return uint64(n) }},
	{at: sharedProcessors, size: 4, count: func(n int) uint64 { return uint64(n) }},
}

// maxSharedLoad is the widest load in bytes.
const maxSharedLoad = 16

// loadShared gives width bytes of the page from off on, of a system with so many processors. All of
// them are of one moment.
func loadShared(off uint64, width, processors int) (lo, hi uint64) {
	end := off + uint64(width)
	page := sharedPage()
	var now time.Time
	var b [maxSharedLoad]byte
	copy(b[:width], page[off:])
	for i := range sharedFields {
		f := &sharedFields[i]
		if end <= f.at || off >= f.at+f.size {
			continue
		}
		var v uint64
		if f.timeOf != nil {
			if now.IsZero() {
				now = time.Now()
			}
			v = f.timeOf(now)
		} else {
			v = f.count(processors)
		}
		var field [12]byte
		binary.LittleEndian.PutUint64(field[:], v)
		copy(field[8:], field[4:8])
		if off >= f.at {
			copy(b[:width], field[off-f.at:f.size])
		} else {
			copy(b[f.at-off:width], field[:f.size])
		}
	}
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
}

// sharedPage gives the page, with zeros in the fields that change. It is the same for every kernel
// of a process.
var sharedPage = sync.OnceValue(func() *[nt.KUserSharedDataPageSize]byte {
	d := nt.KUserSharedData{
		TickCountMultiplier:         ticksToMillis,
		ImageNumberLow:              imageMachineAMD64,
		ImageNumberHigh:             imageMachineAMD64,
		LargePageMinimum:            2 << 20,
		NtBuildNumber:               nt.BuildNumber,
		NtProductType:               uint32(nt.VER_NT_WORKSTATION),
		ProductTypeIsValid:          nt.TRUE,
		NativeProcessorArchitecture: processorArchitectureAMD64,
		NtMajorVersion:              nt.MajorVersion,
		NtMinorVersion:              nt.MinorVersion,
		ProcessorFeatures:           processorFeatures(),
		SuiteMask:                   uint32(nt.VER_SUITE_SINGLEUSERTS),
		ActiveConsoleId:             1,
		ComPlusPackage:              0xFFFFFFFF,
		NumberOfPhysicalPages:       physicalPages(),
		TestRetInstruction:          0xC3,
		QpcFrequency:                qpcFrequency,
		ActiveGroupCount:            1,
	}
	copy(d.NtSystemRoot[:len(d.NtSystemRoot)-1], utf16.Encode([]rune(nt.SystemRoot)))
	var cookie [4]byte
	_, _ = rand.Read(cookie[:]) // it ends the program rather than fail
	d.Cookie = binary.LittleEndian.Uint32(cookie[:])

	page := new([nt.KUserSharedDataPageSize]byte)
	copy(page[:], sharedBytes(&d))
	return page
})

const (
	imageMachineAMD64          = 0x8664 // IMAGE_FILE_MACHINE_AMD64
	processorArchitectureAMD64 = 9      // PROCESSOR_ARCHITECTURE_AMD64
)

// physicalPages gives the machine's memory in pages.
func physicalPages() uint32 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint32(min(info.Totalram*uint64(info.Unit)/nt.PAGE_SIZE, 1<<32-1))
}

// processorFeatures gives what ExIsProcessorFeaturePresent asks for. The numbers are the PF_ ones of
// the documentation of IsProcessorFeaturePresent. XSAVE and what depends on it are left out, because
// the page's XSTATE_CONFIGURATION describes no state.
func processorFeatures() (f [nt.PROCESSOR_FEATURE_MAX]nt.Boolean) {
	for n, has := range map[int]bool{
		2:  true, // compare-exchange of 8 bytes
		3:  true, // MMX
		6:  true, // SSE
		8:  true, // RDTSC
		9:  true, // PAE
		10: true, // SSE2
		12: true, // NX
		13: cpu.X86.HasSSE3,
		14: cpu.X86.HasCX16, // compare-exchange of 16 bytes
		22: true,            // RDFSGSBASE, which the engine needs
		23: true,            // fast fail
		28: cpu.X86.HasRDRAND,
		36: cpu.X86.HasSSSE3,
		37: cpu.X86.HasSSE41,
		38: cpu.X86.HasSSE42,
	} {
		if has {
			f[n] = nt.TRUE
		}
	}
	return f
}
