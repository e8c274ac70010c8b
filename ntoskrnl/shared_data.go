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
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// ticksToMillis is TickCountMultiplier: 15.625 ms, the time between two ticks, as a fixed-point
// number with 24 bits behind the point.
const ticksToMillis = ke.TimeIncrement << 24 / 10000

// timeZoneBias gives what is to be subtracted from the system time to have the local time, in units
// of 100 ns.
func timeZoneBias(now time.Time) uint64 {
	_, east := now.Zone()
	return uint64(-int64(east) * 10_000_000)
}

// timeZoneID gives TIME_ZONE_ID_STANDARD or TIME_ZONE_ID_DAYLIGHT.
func timeZoneID(now time.Time) uint64 {
	if now.IsDST() {
		return 2
	}
	return 1
}

// sharedFields are the parts of the page that are worked out when they are read. One of 12 bytes is
// a KSYSTEM_TIME, whose second high part repeats the first.
var sharedFields = [...]struct {
	at, size uint64
	value    func(s *ke.System) uint64
}{
	{sharedInterruptTime, 12, (*ke.System).InterruptTime},
	{sharedSystemTime, 12, func(s *ke.System) uint64 { return uint64(s.SystemTime()) }},
	{sharedTimeZoneBias, 12, func(*ke.System) uint64 { return timeZoneBias(time.Now()) }},
	{sharedTimeZoneID, 4, func(*ke.System) uint64 { return timeZoneID(time.Now()) }},
	{sharedTickCount, 12, (*ke.System).TickCount},
	{sharedUnparked, 2, func(s *ke.System) uint64 { return uint64(s.Processors()) }},
	{sharedProcessors, 4, func(s *ke.System) uint64 { return uint64(s.Processors()) }},
}

// maxSharedLoad is the widest load in bytes.
const maxSharedLoad = 16

// loadShared gives width bytes of s's page from off on.
func loadShared(s *ke.System, off uint64, width int) (lo, hi uint64) {
	end := off + uint64(width)
	var b [maxSharedLoad]byte
	copy(b[:width], sharedPage()[off:])
	for i := range sharedFields {
		f := &sharedFields[i]
		if end <= f.at || off >= f.at+f.size {
			continue
		}
		var field [12]byte
		binary.LittleEndian.PutUint64(field[:], f.value(s))
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
		QpcFrequency:                ke.PerformanceFrequency,
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

// processorFeatures gives what ExIsProcessorFeaturePresent asks for. The numbers are the PF_ ones
// of the documentation of IsProcessorFeaturePresent. XSAVE and what depends on it are left out,
// because the page's XSTATE_CONFIGURATION describes no state.
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
