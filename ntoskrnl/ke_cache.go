package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Caches, which x64 keeps coherent with devices: there is nothing to flush.
var keCacheExports = []Export{
	{Name: "KeFlushIoBuffers", Fn: do3(keFlushIoBuffers),
		Params:  "Mdl ReadOperation:b DmaOperation:b",
		MaxIRQL: dispatch, Support: Full},
	{Name: "KeFlushWriteBuffer", Fn: do0(keFlushWriteBuffer), Hal: true, MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeInvalidateAllCaches", Fn: fn0(keInvalidateAllCaches), MaxIRQL: dispatch,
		Support: Full},
}

// keFlushIoBuffers makes processors and devices see the same of a buffer. On x64 they always do.
//
//	VOID KeFlushIoBuffers(PMDL Mdl, BOOLEAN ReadOperation, BOOLEAN DmaOperation)
//
// "KeFlushIoBuffers function (wdm.h)".
func keFlushIoBuffers(c *Call, mdl guest.Addr, read, dma nt.Boolean) {}

// keFlushWriteBuffer has what was written reach memory, which leaving the driver's code has done.
//
//	VOID KeFlushWriteBuffer(VOID)
//
// "KeFlushWriteBuffer function (ntddk.h)".
func keFlushWriteBuffer(c *Call) {}

// keInvalidateAllCaches writes all caches back, which are coherent.
//
//	BOOLEAN KeInvalidateAllCaches(VOID)
//
// TRUE.
func keInvalidateAllCaches(c *Call) nt.Boolean { return nt.TRUE }
