package ntoskrnl

import (
	"errors"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// MDLs that the I/O manager allocates.
var ioMDLExports = []Export{
	{Name: "IoAllocateMdl", Fn: fn5(ioAllocateMdl),
		Params: "VirtualAddress Length:d SecondaryBuffer:b ChargeQuota:b Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "IoFreeMdl", Fn: do1(ioFreeMdl), Params: "Mdl", MaxIRQL: dispatch, Support: Full},
	{Name: "IoBuildPartialMdl", Fn: do4(ioBuildPartialMdl),
		Params: "SourceMdl TargetMdl VirtualAddress Length:d", MaxIRQL: dispatch, Support: Full},
}

// ioAllocateMdl makes an MDL for a buffer, and hangs it on an IRP if it is given one: as the IRP's
// first, or, as a secondary buffer, behind those that it has.
//
//	PMDL IoAllocateMdl(PVOID VirtualAddress, ULONG Length, BOOLEAN SecondaryBuffer,
//	    BOOLEAN ChargeQuota, PIRP Irp)
//
// NULL without memory. "IoAllocateMdl function (wdm.h)".
func ioAllocateMdl(c *Call, va guest.Addr, length uint32, secondary, quota nt.Boolean,
	irp guest.Addr) guest.Addr {
	mdl, err := c.Mm.AllocateMdl(va, uintptr(length))
	if errors.Is(err, nt.STATUS_INSUFFICIENT_RESOURCES) {
		return 0
	}
	c.Must(err)
	if irp == 0 {
		return mdl
	}
	// The field that gets the address: MdlAddress, or Next of the last MDL in the chain.
	field := irp + irpMdlOffset
	if secondary != 0 {
		for range maxMDLChain {
			next := Load[guest.Addr](c, field)
			if next == 0 {
				break
			}
			field = next // Next is an MDL's first field
		}
	}
	Store(c, field, mdl)
	return mdl
}

// maxMDLChain bounds how far a chain is followed that a driver may have made circular.
const maxMDLChain = 1 << 16

// ioFreeMdl frees an MDL, whose pages are not locked any more.
//
//	VOID IoFreeMdl(PMDL Mdl)
//
// "IoFreeMdl function (wdm.h)".
func ioFreeMdl(c *Call, mdl guest.Addr) { c.Must(c.Mm.FreeMdl(mdl)) }

// ioBuildPartialMdl makes an MDL describe a part of another one's buffer.
//
//	VOID IoBuildPartialMdl(PMDL SourceMdl, PMDL TargetMdl, PVOID VirtualAddress, ULONG Length)
//
// "IoBuildPartialMdl function (wdm.h)".
func ioBuildPartialMdl(c *Call, source, target, va guest.Addr, length uint32) {
	c.Must(c.Mm.BuildPartialMdl(source, target, va, length))
}
