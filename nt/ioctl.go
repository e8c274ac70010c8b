// I/O control codes.
package nt

import "fmt"

// IOCTL is an I/O control code: device type, access, function and transfer method in 32 bits.
//
// Source: Defining I/O Control Codes (Windows driver documentation).
type IOCTL uint32

// Method is how an I/O control code's buffers reach the driver.
type Method uint8

// The transfer methods.
const (
	METHOD_BUFFERED   Method = 0
	METHOD_IN_DIRECT  Method = 1
	METHOD_OUT_DIRECT Method = 2
	METHOD_NEITHER    Method = 3
)

// String gives the name, such as METHOD_BUFFERED.
func (m Method) String() string {
	switch m {
	case METHOD_BUFFERED:
		return "METHOD_BUFFERED"
	case METHOD_IN_DIRECT:
		return "METHOD_IN_DIRECT"
	case METHOD_OUT_DIRECT:
		return "METHOD_OUT_DIRECT"
	case METHOD_NEITHER:
		return "METHOD_NEITHER"
	}
	return fmt.Sprintf("METHOD_%d", uint8(m))
}

// IOCTLAccess is the access that the caller's handle must have been opened with.
type IOCTLAccess uint8

// The accesses of a control code. FILE_SPECIAL_ACCESS is FILE_ANY_ACCESS by another name.
const (
	FILE_ANY_ACCESS     IOCTLAccess = 0
	FILE_SPECIAL_ACCESS IOCTLAccess = 0
	FILE_READ_ACCESS    IOCTLAccess = 1
	FILE_WRITE_ACCESS   IOCTLAccess = 2
)

// String gives the name, such as FILE_ANY_ACCESS; both rights are joined with "|".
func (a IOCTLAccess) String() string {
	switch a {
	case FILE_ANY_ACCESS:
		return "FILE_ANY_ACCESS"
	case FILE_READ_ACCESS:
		return "FILE_READ_ACCESS"
	case FILE_WRITE_ACCESS:
		return "FILE_WRITE_ACCESS"
	case FILE_READ_ACCESS | FILE_WRITE_ACCESS:
		return "FILE_READ_ACCESS|FILE_WRITE_ACCESS"
	}
	return fmt.Sprintf("access %d", uint8(a))
}

// CTLCode is the macro CTL_CODE. The function has 12 bits, of which driver writers use 0x800–0xFFF.
func CTLCode(deviceType uint32, function uint16, method Method, access IOCTLAccess) uint32 {
	return deviceType<<16 | uint32(access&3)<<14 | uint32(function&0xFFF)<<2 | uint32(method&3)
}

// DeviceType gives the FILE_DEVICE_* value.
func (c IOCTL) DeviceType() uint32 { return uint32(c >> 16) }

// Access gives the required access.
func (c IOCTL) Access() IOCTLAccess { return IOCTLAccess(c>>14) & 3 }

// Function gives the function code, 12 bits.
func (c IOCTL) Function() uint16 { return uint16(c>>2) & 0xFFF }

// Method gives the transfer method.
func (c IOCTL) Method() Method { return Method(c & 3) }

// String gives the code as its definition would write it:
// CTL_CODE(0x22, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS).
func (c IOCTL) String() string {
	return fmt.Sprintf("CTL_CODE(0x%X, 0x%X, %s, %s)",
		c.DeviceType(), c.Function(), c.Method(), c.Access())
}
