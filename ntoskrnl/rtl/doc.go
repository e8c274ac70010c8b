// Package rtl holds the pure routines of ntoskrnl.exe as plain Go: the Rtl* family (strings,
// conversions, bitmaps, time fields, tables, compression, security descriptors) and the C runtime
// that the kernel exports (printf family, str*, wcs*, ctype, number parsing).
//
// Nothing here knows registers, exports, IRQL or pool. A routine comes in one of two shapes: a
// function on Go values ([]uint16, []byte, numbers), and, where the layout in memory matters, a
// function on addresses that reaches guest memory through package guest. What must allocate takes
// an [Alloc]; what calls back into the driver takes a Go func.
//
// Results follow Windows. An error is an [nt.Status] where Windows documents a status and a
// *guest.FaultError where an address is bad; nil is STATUS_SUCCESS. Hostile data (absurd lengths,
// cyclic trees, unterminated strings) ends in an error, never in a panic or a large allocation.
//
// The ANSI and OEM code pages are UTF-8 (65001), as on a Windows 10 with "Use Unicode UTF-8 for
// worldwide language support" switched on. Plain ASCII drivers see no difference to code page 1252.
//
// May import nt and guest. The package has no locks; a caller synchronises access to one object.
package rtl
