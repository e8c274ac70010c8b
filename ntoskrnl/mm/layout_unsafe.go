// Sizes of Windows' structures, and a cheap number that differs between goroutines.

package mm

import (
	"unsafe"

	"github.com/drvhost/drvhost/nt"
)

const (
	// mdlHeader is the size of the fixed part of an MDL, and frameSize of a page frame number.
	mdlHeader = unsafe.Sizeof(nt.MDL{})
	frameSize = unsafe.Sizeof(uintptr(0))
)

// stackHint gives a number that is mostly the same for one goroutine and mostly differs between
// two: a hash of where the goroutine's stack lies.
func stackHint() uintptr {
	var here byte
	return uintptr(uint64(uintptr(unsafe.Pointer(&here))>>11) * 0x9E3779B97F4A7C15 >> 56)
}
