package engine

import "unsafe"

// callFrame is the part of a call frame that PushCall fills.
type callFrame struct {
	ret     uint64
	args    [MaxArgs]uint64
	machine [5]uint64
}

// pointer turns an address on a guest stack, or behind a context, into a Go pointer.
func pointer(addr uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// callFrame gives the frame at addr, which the caller has checked to lie on the guest stack: that
// memory is the host's own and stays mapped for as long as the context lives.
func (c *Context) callFrame(addr uint64) *callFrame { return (*callFrame)(pointer(addr)) }

func (c *Context) word(addr uint64) *uint64 { return (*uint64)(pointer(addr)) }

// XSaveOffset is where the XSAVE image lies, from the start of the context.
const XSaveOffset = 0x400

// XSave gives the XSAVE image (standard format) of the last full exit: what it holds is true after
// ExitFault and ExitKick.
func (c *Context) XSave() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(c), XSaveOffset)), c.xsaveSize)
}

// Offsets into an XSAVE image of the standard format ("Intel 64 and IA-32 Architectures Software
// Developer's Manual", volume 1, "Managing state using the XSAVE feature set").
const (
	legacyFCW    = 0
	legacyMXCSR  = 24
	legacyXMM    = 160
	xsaveHeader  = 512
	xsaveArea    = xsaveHeader + 64
	componentX87 = 1 // bits of XSTATE_BV, the header's first word
	componentSSE = 2
)

// resetXSave makes an image in which all is as it was at first, but for the control words, which
// are the context's.
func (c *Context) resetXSave() {
	image := c.XSave()
	clear(image[:xsaveArea])
	*(*uint16)(unsafe.Pointer(&image[legacyFCW])) = c.FCW
	*(*uint32)(unsafe.Pointer(&image[legacyMXCSR])) = c.MXCSR
	*(*uint64)(unsafe.Pointer(&image[xsaveHeader])) = componentX87 | componentSSE
}

func (c *Context) fullXMM(n int) XMM {
	return *(*XMM)(unsafe.Add(unsafe.Pointer(c), XSaveOffset+legacyXMM+16*n))
}

// FullXMM gives XMM register n of a full exit; SetFullXMM changes it for the resume.
func (c *Context) FullXMM(n int) XMM { return c.fullXMM(n & 15) }

// SetFullXMM sets XMM register n for the next ResumeFull.
func (c *Context) SetFullXMM(n int, v XMM) {
	*(*XMM)(unsafe.Add(unsafe.Pointer(c), XSaveOffset+legacyXMM+16*(n&15))) = v
}

// Offsets of Context's fields, for the engines' assembly.
const (
	OffsetGPR       = unsafe.Offsetof(Context{}.GPR)
	OffsetRIP       = unsafe.Offsetof(Context{}.RIP)
	OffsetRFLAGS    = unsafe.Offsetof(Context{}.RFLAGS)
	OffsetXMM6      = unsafe.Offsetof(Context{}.XMM6)
	OffsetGSBase    = unsafe.Offsetof(Context{}.GSBase)
	OffsetMXCSR     = unsafe.Offsetof(Context{}.MXCSR)
	OffsetFCW       = unsafe.Offsetof(Context{}.FCW)
	OffsetResume    = unsafe.Offsetof(Context{}.Resume)
	OffsetFault     = unsafe.Offsetof(Context{}.Fault)
	OffsetKick      = unsafe.Offsetof(Context{}.kick)
	OffsetTID       = unsafe.Offsetof(Context{}.tid)
	OffsetFrame     = unsafe.Offsetof(Context{}.frame)
	OffsetGates     = unsafe.Offsetof(Context{}.gates)
	OffsetXSaveMask = unsafe.Offsetof(Context{}.xsaveMask)
	OffsetXSaveSize = unsafe.Offsetof(Context{}.xsaveSize)
)
