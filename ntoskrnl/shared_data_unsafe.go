// The memory of KUSER_SHARED_DATA.

package ntoskrnl

import (
	"unsafe"

	"github.com/drvhost/drvhost/nt"
)

// Where the fields of KUSER_SHARED_DATA that change lie, in bytes.
const (
	sharedInterruptTime   = uint64(unsafe.Offsetof(nt.KUserSharedData{}.InterruptTime))
	sharedSystemTime      = uint64(unsafe.Offsetof(nt.KUserSharedData{}.SystemTime))
	sharedTimeZoneBias    = uint64(unsafe.Offsetof(nt.KUserSharedData{}.TimeZoneBias))
	sharedTimeZoneID      = uint64(unsafe.Offsetof(nt.KUserSharedData{}.TimeZoneId))
	sharedTickCount       = uint64(unsafe.Offsetof(nt.KUserSharedData{}.TickCount))
	sharedUnparked        = uint64(unsafe.Offsetof(nt.KUserSharedData{}.UnparkedProcessorCount))
	sharedProcessors      = uint64(unsafe.Offsetof(nt.KUserSharedData{}.ActiveProcessorCount))
	sizeofKUserSharedData = unsafe.Sizeof(nt.KUserSharedData{})
)

// sharedBytes gives the memory of d.
func sharedBytes(d *nt.KUserSharedData) []byte {
	return (*[sizeofKUserSharedData]byte)(unsafe.Pointer(d))[:]
}
