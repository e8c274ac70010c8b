package seh

import (
	"unsafe"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/nt"
)

// contextGPR gives a CONTEXT's general registers, which lie in it in the order of encodings.
func contextGPR(c *nt.Context) *[16]uint64 { return (*[16]uint64)(unsafe.Pointer(&c.Rax)) }

// contextXMM gives a CONTEXT's XMM registers.
func contextXMM(c *nt.Context) *[16]engine.XMM {
	return (*[16]engine.XMM)(unsafe.Pointer(&c.FltSave.XmmRegisters))
}

// contextFltSave gives a CONTEXT's floating-point part as the bytes that FXSAVE writes.
func contextFltSave(c *nt.Context) []byte { return fltSaveBytes(&c.FltSave) }

func fltSaveBytes(f *nt.XSaveFormat) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(f)), unsafe.Sizeof(*f))
}
