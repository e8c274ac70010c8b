package ntoskrnl

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// IRPs that the I/O manager builds for drivers, with their buffers, and cleans up after.
var ioBuildExports = []Export{
	{Name: "IoBuildDeviceIoControlRequest", Fn: fn9(ioBuildDeviceIoControlRequest),
		Params: "IoControlCode DeviceObject InputBuffer InputBufferLength:d OutputBuffer " +
			"OutputBufferLength:d InternalDeviceIoControl:b Event IoStatusBlock",
		MaxIRQL: apc, Support: Full},
	{Name: "IoBuildSynchronousFsdRequest", Fn: fn7(ioBuildSynchronousFsdRequest),
		Params:  "MajorFunction:d DeviceObject Buffer Length:d StartingOffset Event IoStatusBlock",
		MaxIRQL: apc, Support: Full},
	{Name: "IoBuildAsynchronousFsdRequest", Fn: fn6(ioBuildAsynchronousFsdRequest),
		Params:  "MajorFunction:d DeviceObject Buffer Length:d StartingOffset IoStatusBlock",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoGetDeviceObjectPointer", Fn: fn4(ioGetDeviceObjectPointer),
		Params: "ObjectName:ustr DesiredAccess FileObject DeviceObject", MaxIRQL: passive,
		Support: Full},
	{Name: "IoGetRelatedDeviceObject", Fn: fn1(ioGetRelatedDeviceObject), Params: "FileObject",
		MaxIRQL: dispatch, Support: Full},
}

// ioBufferTag is the pool tag of system buffers, as Windows has it.
var ioBufferTag = mm.MakeTag("Io  ")

// builtIRP is an IRP that is being built. What it holds is given back by drop, if it comes to nothing.
type builtIRP struct {
	*Call
	dev    *devobj.Device
	flags  uint32
	system guest.Addr
	mdl    guest.Addr
	user   guest.Addr
	size   uint32 // of the system buffer, in bytes
	failed bool
	owned  bool // it belongs to the thread
}

// buffered gives the IRP a system buffer of size bytes with a copy of what is at in.
func (b *builtIRP) buffered(in guest.Addr, length, size uint32) {
	if size == 0 || b.failed {
		return
	}
	a, err := b.Mm.AllocatePool(nt.NonPagedPoolNx, uintptr(size), ioBufferTag)
	if err != nil {
		b.failed = true
		return
	}
	b.system, b.size = a, size
	b.flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER
	if length == 0 {
		return
	}
	if err := guest.Move(a, in, uintptr(length)); err != nil {
		b.drop()
		b.Must(err)
	}
}

// direct gives the IRP an MDL of a buffer, whose pages are locked.
func (b *builtIRP) direct(at guest.Addr, size uint32, op mm.LockOperation) {
	if size == 0 || b.failed {
		return
	}
	mdl, err := b.Mm.AllocateMdl(at, uintptr(size))
	if err != nil {
		b.failed = true
		return
	}
	if err := b.Mm.ProbeAndLockPages(mdl, nt.KernelMode, op, b.userMemory()); err != nil {
		_ = b.Mm.FreeMdl(mdl) // made a moment ago
		b.failed = true
		return
	}
	b.mdl = mdl
}

func (b *builtIRP) drop() {
	if b.system != 0 {
		_ = b.Mm.FreePoolWithTag(b.system, ioBufferTag) // made a moment ago
	}
	if b.mdl != 0 {
		_ = b.Mm.UnlockPages(b.mdl)
		_ = b.Mm.FreeMdl(b.mdl)
	}
}

// build makes the IRP; event and iosb may be 0.
func (b *builtIRP) build(major nt.MajorFunction, event, iosb guest.Addr,
	params func(loc *nt.IOStackLocation)) guest.Addr {
	if b.failed {
		b.drop()
		return 0
	}
	a := b.IO.Build(b.T, b.dev, func(i *nt.IRP, loc *nt.IOStackLocation) {
		i.Flags |= b.flags
		i.AssociatedIrp.SystemBuffer, i.MdlAddress, i.UserBuffer = b.system, b.mdl, b.user
		i.UserIosb, i.UserEvent = iosb, event
		loc.MajorFunction = major
		params(loc)
	}, func(t *ke.Thread, e irp.Ended) { b.Kernel.endBuilt(t, e, b.size, event, iosb) })
	switch {
	case a == 0:
		b.drop()
	case b.owned:
		b.IO.Own(b.T, a)
	}
	return a
}

// endBuilt does what the I/O manager does when such an IRP has been completed: the data goes to the
// caller's buffer, buffers are given back, the IO_STATUS_BLOCK is written and the event signalled.
func (k *Kernel) endBuilt(t *ke.Thread, e irp.Ended, size uint32, event, iosb guest.Addr) {
	c := k.call(t)
	copies := e.Flags&(nt.IRP_BUFFERED_IO|nt.IRP_INPUT_OPERATION) ==
		nt.IRP_BUFFERED_IO|nt.IRP_INPUT_OPERATION
	if copies && !e.Result.Status.IsError() && e.System != 0 && e.User != 0 {
		c.Must(guest.Move(e.User, e.System, min(uintptr(e.Result.Information), uintptr(size))))
	}
	if e.System != 0 && e.Flags&nt.IRP_DEALLOCATE_BUFFER != 0 {
		c.Must(k.Mm.FreePoolWithTag(e.System, ioBufferTag))
	}
	for mdl, n := e.MDL, 0; mdl != 0 && n < maxMDLChain; n++ {
		next := Load[guest.Addr](c, mdl)
		if h := Load[nt.MDL](c, mdl); uint16(h.MdlFlags)&nt.MDL_PAGES_LOCKED != 0 {
			c.Must(k.Mm.UnlockPages(mdl))
		}
		c.Must(k.Mm.FreeMdl(mdl))
		mdl = next
	}
	if iosb != 0 {
		Store(c, iosb, e.Result)
	}
	if event != 0 {
		_, err := k.Ke.SetEvent(event)
		c.Must(err)
	}
}

// ioBuildDeviceIoControlRequest builds an IOCTL for the driver of a device.
//
//	PIRP IoBuildDeviceIoControlRequest(ULONG IoControlCode, PDEVICE_OBJECT DeviceObject,
//	    PVOID InputBuffer, ULONG InputBufferLength, PVOID OutputBuffer, ULONG OutputBufferLength,
//	    BOOLEAN InternalDeviceIoControl, PKEVENT Event, PIO_STATUS_BLOCK IoStatusBlock)
//
// NULL without memory, and for a buffer of a direct method that cannot be locked. The IRP belongs to the
// thread, which cancels it when it ends; the driver must not free it. "IoBuildDeviceIoControlRequest function (wdm.h)".
func ioBuildDeviceIoControlRequest(c *Call, code nt.IOCTL, device, in guest.Addr, inLen uint32,
	out guest.Addr, outLen uint32, internal nt.Boolean, event, iosb guest.Addr) guest.Addr {
	b := &builtIRP{Call: c, dev: c.deviceObject(device), user: out, owned: true}
	var type3 guest.Addr
	switch code.Method() {
	case nt.METHOD_BUFFERED:
		b.buffered(in, inLen, max(inLen, outLen))
		if outLen != 0 {
			b.flags |= nt.IRP_INPUT_OPERATION
		}
	case nt.METHOD_IN_DIRECT:
		b.buffered(in, inLen, inLen)
		b.direct(out, outLen, mm.IoReadAccess)
	case nt.METHOD_OUT_DIRECT:
		b.buffered(in, inLen, inLen)
		b.direct(out, outLen, mm.IoWriteAccess)
	default:
		type3 = in
	}
	major := nt.IRP_MJ_DEVICE_CONTROL
	if internal != 0 {
		major = nt.IRP_MJ_INTERNAL_DEVICE_CONTROL
	}
	return b.build(major, event, iosb, func(loc *nt.IOStackLocation) {
		*loc.Parameters.DeviceIoControl() = nt.ParametersDeviceIoControl{OutputBufferLength: outLen,
			InputBufferLength: inLen, IoControlCode: uint32(code), Type3InputBuffer: type3}
	})
}

// fsdRequest builds a read, a write, or a function without a buffer.
func (c *Call) fsdRequest(major nt.MajorFunction, device, buffer guest.Addr, length uint32,
	offset, event, iosb guest.Addr, owned bool) guest.Addr {
	b := &builtIRP{Call: c, dev: c.deviceObject(device), owned: owned}
	var at int64
	transfers := major == nt.IRP_MJ_READ || major == nt.IRP_MJ_WRITE
	if transfers && offset != 0 {
		at = Load[int64](c, offset)
	}
	flags := b.dev.Object.Ref().Flags
	switch {
	case !transfers:
	case flags&nt.DO_BUFFERED_IO != 0 && major == nt.IRP_MJ_READ:
		b.user = buffer
		b.buffered(0, 0, length)
		b.flags |= nt.IRP_INPUT_OPERATION
	case flags&nt.DO_BUFFERED_IO != 0:
		b.user = buffer
		b.buffered(buffer, length, length)
	case flags&nt.DO_DIRECT_IO != 0:
		op := mm.IoReadAccess
		if major == nt.IRP_MJ_READ {
			op = mm.IoWriteAccess
		}
		b.direct(buffer, length, op)
	default:
		b.user = buffer
	}
	return b.build(major, event, iosb, func(loc *nt.IOStackLocation) {
		switch major {
		case nt.IRP_MJ_READ:
			*loc.Parameters.Read() = nt.ParametersRead{Length: length, ByteOffset: at}
		case nt.IRP_MJ_WRITE:
			*loc.Parameters.Write() = nt.ParametersWrite{Length: length, ByteOffset: at}
		}
	})
}

// ioBuildSynchronousFsdRequest builds a read, write, flush, shutdown or PnP request whose end signals
// an event.
//
//	PIRP IoBuildSynchronousFsdRequest(ULONG MajorFunction, PDEVICE_OBJECT DeviceObject,
//	    PVOID Buffer, ULONG Length, PLARGE_INTEGER StartingOffset, PKEVENT Event,
//	    PIO_STATUS_BLOCK IoStatusBlock)
//
// NULL without memory. The IRP belongs to the thread, which cancels it when it ends; the driver must
// not free it. "IoBuildSynchronousFsdRequest
// function (wdm.h)".
func ioBuildSynchronousFsdRequest(c *Call, major uint32, device, buffer guest.Addr, length uint32,
	offset, event, iosb guest.Addr) guest.Addr {
	return c.fsdRequest(nt.MajorFunction(major), device, buffer, length, offset, event, iosb, true)
}

// ioBuildAsynchronousFsdRequest builds a read, write, flush, shutdown or PnP request. A completion
// routine of the driver's frees it, with the MDL and the system buffer, and keeps it from coming
// further.
//
//	PIRP IoBuildAsynchronousFsdRequest(ULONG MajorFunction, PDEVICE_OBJECT DeviceObject,
//	    PVOID Buffer, ULONG Length, PLARGE_INTEGER StartingOffset, PIO_STATUS_BLOCK IoStatusBlock)
//
// NULL without memory. "IoBuildAsynchronousFsdRequest function (wdm.h)".
func ioBuildAsynchronousFsdRequest(c *Call, major uint32, device, buffer guest.Addr, length uint32,
	offset, iosb guest.Addr) guest.Addr {
	return c.fsdRequest(nt.MajorFunction(major), device, buffer, length, offset, 0, iosb, false)
}

// ioGetDeviceObjectPointer opens a device by its name, and gives the file object, with a reference, and
// the top of the device's stack, without one: it stays for as long as the file object does.
//
//	NTSTATUS IoGetDeviceObjectPointer(PUNICODE_STRING ObjectName, ACCESS_MASK DesiredAccess,
//	    PFILE_OBJECT *FileObject, PDEVICE_OBJECT *DeviceObject)
//
// What the namespace and the driver's CREATE say. "IoGetDeviceObjectPointer function (wdm.h)".
func ioGetDeviceObjectPointer(c *Call, name guest.Addr, access uint32, file,
	device guest.Addr) nt.Status {
	attributes := guest.Addr(sizeofObjectAttributes)
	mem, err := c.allocObject(uintptr(attributes) + 32)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer c.freeObject(mem)
	Store(c, mem, nt.ObjectAttributes{Length: uint32(attributes), ObjectName: name,
		Attributes: nt.OBJ_KERNEL_HANDLE})
	handle, iosb := mem+attributes, mem+attributes+16
	const shareAll, nonDirectory = 7, 0x40
	status := zwOpenFile(c, handle, access, mem, iosb, shareAll, nonDirectory)
	if !status.Success() {
		return status
	}
	h := Load[nt.Handle](c, handle)
	e, status := c.reference(h, 0, c.types.file, nt.KernelMode)
	if status == nt.STATUS_SUCCESS {
		Store(c, file, e.Object.Addr) // with the reference
		Store(c, device, ioGetRelatedDeviceObject(c, e.Object.Addr))
	}
	c.close(h, nt.KernelMode)
	return status
}

// ioGetRelatedDeviceObject gives the top of the stack of a file's device, without a reference.
//
//	PDEVICE_OBJECT IoGetRelatedDeviceObject(PFILE_OBJECT FileObject)
//
// "IoGetRelatedDeviceObject function (ntifs.h)".
func ioGetRelatedDeviceObject(c *Call, file guest.Addr) guest.Addr {
	if f, ok := c.object(file).Body.(*devobj.File); ok {
		return c.Dev.Top(f.Device).Object.Addr()
	}
	c.notAnObject(file, "file object")
	return 0
}
