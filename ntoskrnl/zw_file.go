package ntoskrnl

import (
	"strings"
	"unicode/utf16"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

const fileAPCNote = "an APC runs before the call returns, which waits for its request; no " +
	"extended attributes"

// Files by handle: devices of this host, and files on its volumes.
var zwFileExports = []Export{
	{Name: "ZwCreateFile", Fn: fn11(zwCreateFile),
		Params: "FileHandle DesiredAccess ObjectAttributes IoStatusBlock AllocationSize " +
			"FileAttributes ShareAccess CreateDisposition:d CreateOptions EaBuffer EaLength:d",
		MaxIRQL: passive, Support: Partial, Note: "no extended attributes, no opens by file id"},
	{Name: "NtCreateFile", Fn: fn11(zwCreateFile),
		Params: "FileHandle DesiredAccess ObjectAttributes IoStatusBlock AllocationSize " +
			"FileAttributes ShareAccess CreateDisposition:d CreateOptions EaBuffer EaLength:d",
		MaxIRQL: passive, Support: Partial,
		Note: "the caller is the kernel; no extended attributes, no opens by file id"},
	{Name: "IoCreateFile", Fn: fn14(ioCreateFile),
		Params: "FileHandle DesiredAccess ObjectAttributes IoStatusBlock AllocationSize " +
			"FileAttributes ShareAccess Disposition:d CreateOptions EaBuffer EaLength:d " +
			"CreateFileType:d InternalParameters Options",
		MaxIRQL: passive, Support: Partial,
		Note: "no extended attributes, no pipes and mailslots; Options have no effect"},
	{Name: "ZwOpenFile", Fn: fn6(zwOpenFile),
		Params:  "FileHandle DesiredAccess ObjectAttributes IoStatusBlock ShareAccess OpenOptions",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwReadFile", Fn: fn9(zwReadFile),
		Params:  "FileHandle Event ApcRoutine ApcContext IoStatusBlock Buffer Length:d ByteOffset Key",
		MaxIRQL: passive, Support: Partial, Note: fileAPCNote},
	{Name: "ZwWriteFile", Fn: fn9(zwWriteFile),
		Params:  "FileHandle Event ApcRoutine ApcContext IoStatusBlock Buffer Length:d ByteOffset Key",
		MaxIRQL: passive, Support: Partial, Note: fileAPCNote},
	{Name: "ZwDeviceIoControlFile", Fn: fn10(zwDeviceIoControlFile),
		Params: "FileHandle Event ApcRoutine ApcContext IoStatusBlock IoControlCode InputBuffer " +
			"InputBufferLength:d OutputBuffer OutputBufferLength:d",
		MaxIRQL: passive, Support: Partial, Note: fileAPCNote},
	{Name: "ZwFsControlFile", Fn: fn10(zwFsControlFile),
		Params: "FileHandle Event ApcRoutine ApcContext IoStatusBlock FsControlCode InputBuffer " +
			"InputBufferLength:d OutputBuffer OutputBufferLength:d",
		MaxIRQL: passive, Support: Partial,
		Note: fileAPCNote + "; volumes know no control codes"},
	{Name: "ZwFlushBuffersFile", Fn: fn2(zwFlushBuffersFile), Params: "FileHandle IoStatusBlock",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwQueryInformationFile", Fn: fn5(zwQueryInformationFile),
		Params:  "FileHandle IoStatusBlock FileInformation Length:d FileInformationClass:d",
		MaxIRQL: passive, Support: Partial,
		Note: "of a volume's files: basic, standard, internal, EA, access, name, position, mode, " +
			"alignment, all, network-open and attribute-tag information"},
	{Name: "ZwSetInformationFile", Fn: fn5(zwSetInformationFile),
		Params:  "FileHandle IoStatusBlock FileInformation Length:d FileInformationClass:d",
		MaxIRQL: passive, Support: Partial,
		Note: "of a volume's files: basic, rename, disposition, position, mode, allocation and " +
			"end-of-file information; a creation time is not kept"},
	{Name: "ZwQueryVolumeInformationFile", Fn: fn5(zwQueryVolumeInformationFile),
		Params:  "FileHandle IoStatusBlock FsInformation Length:d FsInformationClass:d",
		MaxIRQL: passive, Support: Partial,
		Note: "of a volume: volume, size, device, attribute and full-size information"},
	{Name: "ZwQueryDirectoryFile", Fn: fn11(zwQueryDirectoryFile),
		Params: "FileHandle Event ApcRoutine ApcContext IoStatusBlock FileInformation Length:d " +
			"FileInformationClass:d ReturnSingleEntry:b FileName RestartScan:b",
		MaxIRQL: passive, Support: Partial, Note: fileAPCNote + "; no short names"},
	{Name: "ZwDeleteFile", Fn: fn1(zwDeleteFile), Params: "ObjectAttributes", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwQueryFullAttributesFile", Fn: fn2(zwQueryFullAttributesFile),
		Params: "ObjectAttributes FileInformation", MaxIRQL: passive, Support: Partial,
		Note: "files on volumes only"},
}

func fn11[A, B, C, D, E, F, G, H, I, J, K, R word](
	f func(*Call, A, B, C, D, E, F, G, H, I, J, K) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5)), G(c.Arg(6)), H(c.Arg(7)), I(c.Arg(8)), J(c.Arg(9)), K(c.Arg(10))))
	}
}

func fn14[A, B, C, D, E, F, G, H, I, J, K, L, M, N, R word](
	f func(*Call, A, B, C, D, E, F, G, H, I, J, K, L, M, N) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5)), G(c.Arg(6)), H(c.Arg(7)), I(c.Arg(8)), J(c.Arg(9)), K(c.Arg(10)),
			L(c.Arg(11)), M(c.Arg(12)), N(c.Arg(13))))
	}
}

// zwCreateFile opens or makes a file, a directory or a device.
//
//	NTSTATUS ZwCreateFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PIO_STATUS_BLOCK IoStatusBlock,
//	    PLARGE_INTEGER AllocationSize, ULONG FileAttributes, ULONG ShareAccess,
//	    ULONG CreateDisposition, ULONG CreateOptions, PVOID EaBuffer, ULONG EaLength)
//
// STATUS_INVALID_PARAMETER for options that do not go together, STATUS_EAS_NOT_SUPPORTED, what the
// namespace says of the name, and the driver's or the volume's status (see package volume).
// "ZwCreateFile function (wdm.h)".
func zwCreateFile(c *Call, handle guest.Addr, access uint32, attributes, iosb, allocation guest.Addr,
	fileAttributes, share, disposition, options uint32, ea guest.Addr, eaLength uint32) nt.Status {
	if eaLength != 0 {
		return nt.STATUS_EAS_NOT_SUPPORTED
	}
	h, information, status := c.openFile(openRequest{access, fileAttributes, share, disposition,
		options}, attributes)
	if status.Success() {
		c.giveHandle(handle, h)
	}
	if status.Success() || information != 0 {
		c.storeIosb(iosb, status, information)
	}
	return status
}

// ioCreateFile is ZwCreateFile for the kernel's own use.
//
//	NTSTATUS IoCreateFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PIO_STATUS_BLOCK IoStatusBlock,
//	    PLARGE_INTEGER AllocationSize, ULONG FileAttributes, ULONG ShareAccess, ULONG Disposition,
//	    ULONG CreateOptions, PVOID EaBuffer, ULONG EaLength, CREATE_FILE_TYPE CreateFileType,
//	    PVOID InternalParameters, ULONG Options)
//
// STATUS_INVALID_PARAMETER for a pipe or a mailslot. "IoCreateFile function (wdm.h)".
func ioCreateFile(c *Call, handle guest.Addr, access uint32, attributes, iosb, allocation guest.Addr,
	fileAttributes, share, disposition, options uint32, ea guest.Addr, eaLength, kind uint32,
	parameters guest.Addr, flags uint32) nt.Status {
	if kind != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return zwCreateFile(c, handle, access, attributes, iosb, allocation, fileAttributes, share,
		disposition, options, ea, eaLength)
}

// zwOpenFile opens what is there.
//
//	NTSTATUS ZwOpenFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PIO_STATUS_BLOCK IoStatusBlock, ULONG ShareAccess,
//	    ULONG OpenOptions)
//
// As ZwCreateFile with FILE_OPEN. "ZwOpenFile function (wdm.h)".
func zwOpenFile(c *Call, handle guest.Addr, access uint32, attributes, iosb guest.Addr, share,
	options uint32) nt.Status {
	return zwCreateFile(c, handle, access, attributes, iosb, 0, 0, share, nt.FILE_OPEN, options, 0, 0)
}

func (c *Call) storeIosb(at guest.Addr, status nt.Status, information uint64) {
	Store(c, at, nt.IOStatusBlock{Status: status, Information: uintptr(information)})
}

// ioCall is what the services with an event and an APC have in common.
type ioCall struct {
	event        nt.Handle
	apc, context guest.Addr
	iosb         guest.Addr
}

// kernelRequest is a request of the kernel's under way.
type kernelRequest struct {
	irp.Request
	c      *Kernel
	out    []byte
	iosb   guest.Addr
	object *ob.Object // the file's, referenced
	event  *ob.Object // referenced, or nil
}

// Out gives a buffer; what the driver's output is goes from there to the caller's.
func (r *kernelRequest) Out(*irp.Request) []byte {
	if r.out == nil {
		r.out = make([]byte, r.OutLen)
	}
	return r.out
}

// Done ends a request that has pended: results are stored, and the events set.
func (r *kernelRequest) Done(*irp.Request) { _ = r.finish() }

// finish stores the results. The error says that the caller's memory is not there.
func (r *kernelRequest) finish() error {
	var err error
	if r.Written > 0 && len(r.out) >= r.Written {
		err = guest.Write(r.Buffers[1], r.out[:r.Written])
	}
	if !r.IOStatus.IsError() || r.Pended() {
		e := guest.Ptr[nt.IOStatusBlock](r.iosb).Store(nt.IOStatusBlock{Status: r.IOStatus,
			Information: uintptr(r.Information)})
		if err == nil {
			err = e
		}
	}
	if r.event != nil {
		_, _ = r.c.Ke.SetEvent(r.event.Addr) // an event, referenced
		_, _ = r.c.Ob.Dereference(r.event.Addr)
		r.event = nil
	}
	if r.object != nil {
		_, _ = r.c.Ke.SetEvent(r.object.Addr + fileEventOffset)
		_, _ = r.c.Ob.Dereference(r.object.Addr)
		r.object = nil
	}
	return err
}

// perform makes a request on the file of a handle.
func (c *Call) perform(h nt.Handle, access uint32, io ioCall, r *kernelRequest,
	prepare func(f *kernelFile) nt.Status) nt.Status {
	f, e, status := c.fileOf(h, access)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	r.c, r.object, r.iosb, r.Open = c.Kernel, e.Object, io.iosb, f.open
	r.Client = r
	if io.event != 0 {
		const modifyState = 2 // EVENT_MODIFY_STATE
		ev, status := c.reference(io.event, modifyState, c.types.event, nt.KernelMode)
		if status != nt.STATUS_SUCCESS {
			c.dereference(e.Object)
			return status
		}
		r.event = ev.Object
		_, _ = c.Ke.ResetEvent(ev.Object.Addr)
	}
	if prepare != nil {
		if status := prepare(f); status != nt.STATUS_SUCCESS {
			r.drop(c)
			return status
		}
	}
	_, _ = c.Ke.ResetEvent(e.Object.Addr + fileEventOffset)
	sync := f.synchronous()
	if sync {
		f.take(c.T)
		defer f.give()
	}
	if f.host != nil {
		c.serveVolume(f, &r.Request)
		return c.completed(r, io)
	}
	if sync || io.apc != 0 {
		w := &parked{kernelRequest: r, t: c.T, done: make(chan struct{})}
		r.Client = w
		if !c.IO.Start(c.T, &r.Request) {
			c.T.Park(w.isDone)
		}
		return c.completed(r, io)
	}
	if !c.IO.Start(c.T, &r.Request) {
		return nt.STATUS_PENDING
	}
	return c.completed(r, io)
}

// drop gives back what a request that is not made holds.
func (r *kernelRequest) drop(c *Call) {
	if r.event != nil {
		c.dereference(r.event)
	}
	c.dereference(r.object)
	r.event, r.object = nil, nil
}

// completed ends a request that the caller has waited for.
func (c *Call) completed(r *kernelRequest, io ioCall) nt.Status {
	status := r.Status
	c.Must(r.finish())
	if io.apc != 0 && !status.IsError() {
		c.T.Call(io.apc, uint64(io.context), uint64(io.iosb), 0)
	}
	return status
}

// parked is a request whose caller waits.
type parked struct {
	*kernelRequest
	t    *ke.Thread
	done chan struct{}
}

// Done wakes the caller.
func (w *parked) Done(*irp.Request) {
	close(w.done)
	w.t.Unpark()
}

func (w *parked) isDone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// readIn copies a caller's input. STATUS_ACCESS_VIOLATION is raised in the driver.
func (c *Call) readIn(at guest.Addr, n uint32) []byte {
	if n == 0 {
		return nil
	}
	_, err := guest.Load8(at + guest.Addr(n) - 1) // before so much is allocated
	c.Must(err)
	b := make([]byte, n)
	c.Must(guest.Read(b, at))
	return b
}

// offsetOf reads a ByteOffset: a file for asynchronous I/O on a volume needs one.
func (c *Call) offsetOf(at guest.Addr) int64 {
	if at == 0 {
		return irp.FilePosition
	}
	return Load[int64](c, at)
}

// zwReadFile reads.
//
//	NTSTATUS ZwReadFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length,
//	    PLARGE_INTEGER ByteOffset, PULONG Key)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_ACCESS_DENIED for a handle without
// FILE_READ_DATA, STATUS_INVALID_PARAMETER, STATUS_END_OF_FILE, STATUS_PENDING, and the driver's.
// "ZwReadFile function (wdm.h)".
func zwReadFile(c *Call, h, event nt.Handle, apc, context, iosb, buffer guest.Addr, length uint32,
	offset, key guest.Addr) nt.Status {
	r := &kernelRequest{}
	r.Major, r.OutLen, r.Buffers[1] = nt.IRP_MJ_READ, int(length), buffer
	r.Offset = c.offsetOf(offset)
	if key != 0 {
		r.Key = Load[uint32](c, key)
	}
	return c.perform(h, nt.FILE_READ_DATA, ioCall{event, apc, context, iosb}, r, nil)
}

// zwWriteFile writes.
//
//	NTSTATUS ZwWriteFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length,
//	    PLARGE_INTEGER ByteOffset, PULONG Key)
//
// As ZwReadFile, with FILE_WRITE_DATA or FILE_APPEND_DATA. "ZwWriteFile function (wdm.h)".
func zwWriteFile(c *Call, h, event nt.Handle, apc, context, iosb, buffer guest.Addr, length uint32,
	offset, key guest.Addr) nt.Status {
	r := &kernelRequest{}
	r.Major, r.Buffers[0] = nt.IRP_MJ_WRITE, buffer
	r.Offset = c.offsetOf(offset)
	if key != 0 {
		r.Key = Load[uint32](c, key)
	}
	r.In = c.readIn(buffer, length)
	return c.perform(h, 0, ioCall{event, apc, context, iosb}, r, nil)
}

// zwDeviceIoControlFile sends an IOCTL.
//
//	NTSTATUS ZwDeviceIoControlFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, ULONG IoControlCode, PVOID InputBuffer,
//	    ULONG InputBufferLength, PVOID OutputBuffer, ULONG OutputBufferLength)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_ACCESS_DENIED, STATUS_PENDING, and the
// driver's. "ZwDeviceIoControlFile function (ntifs.h)".
func zwDeviceIoControlFile(c *Call, h, event nt.Handle, apc, context, iosb guest.Addr, code uint32,
	in guest.Addr, inLength uint32, out guest.Addr, outLength uint32) nt.Status {
	return c.control(nt.IRP_MJ_DEVICE_CONTROL, h, ioCall{event, apc, context, iosb}, code, in,
		inLength, out, outLength)
}

// zwFsControlFile is the same for a file system's codes.
//
//	NTSTATUS ZwFsControlFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, ULONG FsControlCode, PVOID InputBuffer,
//	    ULONG InputBufferLength, PVOID OutputBuffer, ULONG OutputBufferLength)
//
// "ZwFsControlFile function (ntifs.h)".
func zwFsControlFile(c *Call, h, event nt.Handle, apc, context, iosb guest.Addr, code uint32,
	in guest.Addr, inLength uint32, out guest.Addr, outLength uint32) nt.Status {
	return c.control(nt.IRP_MJ_FILE_SYSTEM_CONTROL, h, ioCall{event, apc, context, iosb}, code, in,
		inLength, out, outLength)
}

func (c *Call) control(major nt.MajorFunction, h nt.Handle, io ioCall, code uint32, in guest.Addr,
	inLength uint32, out guest.Addr, outLength uint32) nt.Status {
	r := &kernelRequest{}
	r.Major, r.Code = major, nt.IOCTL(code)
	r.In, r.OutLen = c.readIn(in, inLength), int(outLength)
	r.Buffers = [2]guest.Addr{in, out}
	return c.perform(h, 0, io, r, nil)
}

// zwFlushBuffersFile writes what is cached.
//
//	NTSTATUS ZwFlushBuffersFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock)
//
// "ZwFlushBuffersFile function (ntifs.h)".
func zwFlushBuffersFile(c *Call, h nt.Handle, iosb guest.Addr) nt.Status {
	r := &kernelRequest{}
	r.Major = nt.IRP_MJ_FLUSH_BUFFERS
	return c.performSync(h, iosb, r)
}

// performSync makes a request that is waited for, whatever the file is open for.
func (c *Call) performSync(h nt.Handle, iosb guest.Addr, r *kernelRequest) nt.Status {
	f, e, status := c.fileOf(h, 0)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	r.c, r.object, r.iosb, r.Open = c.Kernel, e.Object, iosb, f.open
	if f.synchronous() {
		f.take(c.T)
		defer f.give()
	}
	if f.host != nil {
		r.Client = r
		c.serveVolume(f, &r.Request)
		return c.completed(r, ioCall{})
	}
	w := &parked{kernelRequest: r, t: c.T, done: make(chan struct{})}
	r.Client = w
	if !c.IO.Start(c.T, &r.Request) {
		c.T.Park(w.isDone)
	}
	return c.completed(r, ioCall{})
}

// zwQueryInformationFile tells about a file.
//
//	NTSTATUS ZwQueryInformationFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock,
//	    PVOID FileInformation, ULONG Length, FILE_INFORMATION_CLASS FileInformationClass)
//
// STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH, STATUS_ACCESS_DENIED,
// STATUS_BUFFER_OVERFLOW with what there is room for. "ZwQueryInformationFile function (wdm.h)".
func zwQueryInformationFile(c *Call, h nt.Handle, iosb, info guest.Addr, length,
	class uint32) nt.Status {
	r := &kernelRequest{}
	r.Major, r.Code, r.OutLen = nt.IRP_MJ_QUERY_INFORMATION, nt.IOCTL(class), int(length)
	r.Buffers[1] = info
	return c.performSync(h, iosb, r)
}

// zwSetInformationFile changes a file.
//
//	NTSTATUS ZwSetInformationFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock,
//	    PVOID FileInformation, ULONG Length, FILE_INFORMATION_CLASS FileInformationClass)
//
// STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH, STATUS_ACCESS_DENIED,
// STATUS_CANNOT_DELETE, STATUS_DIRECTORY_NOT_EMPTY, STATUS_OBJECT_NAME_COLLISION.
// "ZwSetInformationFile function (wdm.h)".
func zwSetInformationFile(c *Call, h nt.Handle, iosb, info guest.Addr, length,
	class uint32) nt.Status {
	r := &kernelRequest{}
	r.Major, r.Code, r.In = nt.IRP_MJ_SET_INFORMATION, nt.IOCTL(class), c.readIn(info, length)
	r.Buffers[0] = info
	return c.performSync(h, iosb, r)
}

// zwQueryVolumeInformationFile tells about the volume or device of a file.
//
//	NTSTATUS ZwQueryVolumeInformationFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock,
//	    PVOID FsInformation, ULONG Length, FS_INFORMATION_CLASS FsInformationClass)
//
// STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH.
// "ZwQueryVolumeInformationFile function (ntifs.h)".
func zwQueryVolumeInformationFile(c *Call, h nt.Handle, iosb, info guest.Addr, length,
	class uint32) nt.Status {
	r := &kernelRequest{}
	r.Major, r.Code, r.OutLen = nt.IRP_MJ_QUERY_VOLUME_INFORMATION, nt.IOCTL(class), int(length)
	r.Buffers[1] = info
	return c.performSync(h, iosb, r)
}

// zwQueryDirectoryFile gives the entries of a directory.
//
//	NTSTATUS ZwQueryDirectoryFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine,
//	    PVOID ApcContext, PIO_STATUS_BLOCK IoStatusBlock, PVOID FileInformation, ULONG Length,
//	    FILE_INFORMATION_CLASS FileInformationClass, BOOLEAN ReturnSingleEntry,
//	    PUNICODE_STRING FileName, BOOLEAN RestartScan)
//
// STATUS_NO_SUCH_FILE, STATUS_NO_MORE_FILES, STATUS_BUFFER_OVERFLOW, STATUS_INVALID_PARAMETER of
// what is no directory. "ZwQueryDirectoryFile function (ntifs.h)".
func zwQueryDirectoryFile(c *Call, h, event nt.Handle, apc, context, iosb, info guest.Addr, length,
	class uint32, single nt.Boolean, name guest.Addr, restart nt.Boolean) nt.Status {
	r := &kernelRequest{}
	r.Major, r.Minor = nt.IRP_MJ_DIRECTORY_CONTROL, nt.IRP_MN_QUERY_DIRECTORY
	r.Code, r.OutLen, r.Buffers[1] = nt.IOCTL(class), int(length), info
	r.In = guest.EncodeUTF16(c.OptUString(name))
	if single != 0 {
		r.Flags |= nt.SL_RETURN_SINGLE_ENTRY
	}
	if restart != 0 {
		r.Flags |= nt.SL_RESTART_SCAN
	}
	return c.perform(h, nt.FILE_LIST_DIRECTORY, ioCall{event, apc, context, iosb}, r, nil)
}

// zwDeleteFile deletes a file.
//
//	NTSTATUS ZwDeleteFile(POBJECT_ATTRIBUTES ObjectAttributes)
//
// As an open with FILE_DELETE_ON_CLOSE. "ZwDeleteFile function (ntifs.h)".
func zwDeleteFile(c *Call, attributes guest.Addr) nt.Status {
	h, _, status := c.openFile(openRequest{access: nt.DELETE, share: nt.FILE_SHARE_VALID_FLAGS,
		disposition: nt.FILE_OPEN, options: nt.FILE_DELETE_ON_CLOSE}, attributes)
	if !status.Success() {
		return status
	}
	return c.close(h, nt.KernelMode)
}

// zwQueryFullAttributesFile tells about a file by its name.
//
//	NTSTATUS ZwQueryFullAttributesFile(POBJECT_ATTRIBUTES ObjectAttributes,
//	    PFILE_NETWORK_OPEN_INFORMATION FileInformation)
//
// "ZwQueryFullAttributesFile function (ntddk.h)".
func zwQueryFullAttributesFile(c *Call, attributes, info guest.Addr) nt.Status {
	n, status := c.fileNameOf(attributes)
	defer c.dropName(n)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	v := c.volumes[n.dev]
	if v == nil || n.related != nil {
		return nt.STATUS_INVALID_DEVICE_REQUEST
	}
	b, status := v.Attributes(n.rest)
	if status == nt.STATUS_SUCCESS {
		c.Must(guest.Write(info, b))
	}
	return status
}

// serveVolume does a request on a file of a volume.
func (c *Call) serveVolume(f *kernelFile, r *irp.Request) {
	r.Status, r.Information, r.Written = nt.STATUS_SUCCESS, 0, 0
	if r.Answer() {
		return
	}
	var out []byte
	status := nt.STATUS_INVALID_DEVICE_REQUEST
	file := f.open.File.Object.Ref()
	switch r.Major {
	case nt.IRP_MJ_READ:
		out, status = c.readVolume(f, r, file)
	case nt.IRP_MJ_WRITE:
		r.Information, status = c.writeVolume(f, r, file)
	case nt.IRP_MJ_FLUSH_BUFFERS:
		status = f.host.Flush()
	case nt.IRP_MJ_QUERY_INFORMATION:
		out, status = f.host.Query(uint32(r.Code), r.OutLen, f.open.Access, f.open.Mode(),
			file.CurrentByteOffset)
	case nt.IRP_MJ_SET_INFORMATION:
		status = c.setVolumeFile(f, r)
	case nt.IRP_MJ_QUERY_VOLUME_INFORMATION:
		out, status = f.host.QueryVolume(uint32(r.Code), r.OutLen)
	case nt.IRP_MJ_DIRECTORY_CONTROL:
		out, status = f.host.List(uint32(r.Code), utf16String(r.In), r.Flags&nt.SL_RESTART_SCAN != 0,
			r.Flags&nt.SL_RETURN_SINGLE_ENTRY != 0, r.OutLen)
	}
	if len(out) > 0 {
		r.Written = copy(r.Client.Out(r), out)
		r.Information = uint64(len(out))
	}
	r.Status, r.IOStatus = status, status
}

func utf16String(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return string(utf16.Decode(u))
}

// position gives where a read or write begins, and whether the request is right. -1 is the end.
func (f *kernelFile) position(r *irp.Request, file *nt.FileObject) (int64, bool) {
	at := r.Offset
	if at == irp.FilePosition {
		if !f.synchronous() {
			return 0, false
		}
		at = file.CurrentByteOffset
	}
	return at, at >= 0 || at == irp.EndOfFile && r.Major == nt.IRP_MJ_WRITE
}

func (c *Call) readVolume(f *kernelFile, r *irp.Request, file *nt.FileObject) ([]byte, nt.Status) {
	at, ok := f.position(r, file)
	switch {
	case f.open.Access&nt.FILE_READ_DATA == 0:
		return nil, nt.STATUS_ACCESS_DENIED
	case !ok:
		return nil, nt.STATUS_INVALID_PARAMETER
	}
	if n := r.OutLen; n > 0 { // before so much is allocated
		_, err := guest.Load8(r.Buffers[1] + guest.Addr(n) - 1)
		c.Must(err)
	}
	out := r.Client.Out(r)
	n, status := f.host.ReadAt(out, at)
	if f.synchronous() && status == nt.STATUS_SUCCESS {
		file.CurrentByteOffset = at + int64(n)
	}
	return out[:n], status
}

func (c *Call) writeVolume(f *kernelFile, r *irp.Request, file *nt.FileObject) (uint64, nt.Status) {
	at, ok := f.position(r, file)
	if f.open.Access&(nt.FILE_WRITE_DATA|nt.FILE_APPEND_DATA) == nt.FILE_APPEND_DATA {
		at, ok = irp.EndOfFile, true
	}
	switch {
	case f.open.Access&(nt.FILE_WRITE_DATA|nt.FILE_APPEND_DATA) == 0:
		return 0, nt.STATUS_ACCESS_DENIED
	case !ok:
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	n, end, status := f.host.WriteAt(r.In, at)
	if f.synchronous() && status == nt.STATUS_SUCCESS {
		file.CurrentByteOffset = end
	}
	return uint64(n), status
}

// setVolumeFile sets information; FILE_RENAME_INFORMATION is taken apart.
func (c *Call) setVolumeFile(f *kernelFile, r *irp.Request) nt.Status {
	if uint32(r.Code) != nt.FileRenameInformation {
		return f.host.Set(uint32(r.Code), r.In, "", false)
	}
	const rootAt, lengthAt, nameAt = 8, 16, 20
	length := uint64(r.In[lengthAt]) | uint64(r.In[lengthAt+1])<<8 | uint64(r.In[lengthAt+2])<<16 |
		uint64(r.In[lengthAt+3])<<24
	if length%2 != 0 || length > uint64(len(r.In)-nameAt) {
		return nt.STATUS_INVALID_PARAMETER
	}
	for _, b := range r.In[rootAt:lengthAt] {
		if b != 0 {
			return nt.STATUS_NOT_SUPPORTED // a name below another directory's handle
		}
	}
	name := utf16String(r.In[nameAt : nameAt+length])
	if strings.HasPrefix(name, `\`) {
		o, rest, status := c.Ob.LookupReference(name)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		defer c.dereference(o)
		if o.Addr != f.open.File.Device.Object.Addr() {
			return nt.STATUS_NOT_SAME_DEVICE
		}
		name = rest
	}
	return f.host.Set(uint32(r.Code), r.In, name, r.In[0] != 0)
}
