package irp

import (
	"errors"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Transfer methods: how a request's data reaches the driver and comes back.

func (m *Manager) prepareRead(r *Request, i *nt.IRP, loc *nt.IOStackLocation, flags uint32) nt.Status {
	if r.Open.Access&nt.FILE_READ_DATA == 0 {
		return nt.STATUS_ACCESS_DENIED
	}
	offset := r.offset()
	if offset < 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	i.Flags |= nt.IRP_READ_OPERATION | nt.IRP_DEFER_IO_COMPLETION
	*loc.Parameters.Read() = nt.ParametersRead{Length: uint32(r.OutLen), Key: r.Key,
		ByteOffset: offset}
	switch {
	case r.OutLen == 0:
		return nt.STATUS_SUCCESS
	case flags&nt.DO_BUFFERED_IO != 0:
		i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER | nt.IRP_INPUT_OPERATION
		i.UserBuffer = r.userBase()
		return m.systemBuffer(r, i, nil, r.OutLen)
	case flags&nt.DO_DIRECT_IO != 0:
		return m.direct(r, i, 1, r.OutData, r.OutLen, mm.IoWriteAccess)
	}
	return m.neither(r, 1, r.OutData, r.OutLen, &i.UserBuffer)
}

func (m *Manager) prepareWrite(r *Request, i *nt.IRP, loc *nt.IOStackLocation, flags uint32) nt.Status {
	if r.Open.Access&(nt.FILE_WRITE_DATA|nt.FILE_APPEND_DATA) == 0 {
		return nt.STATUS_ACCESS_DENIED
	}
	offset := r.offset()
	if r.Open.Access&nt.FILE_WRITE_DATA == 0 {
		offset = EndOfFile // a handle that may only append
	}
	if offset < EndOfFile {
		return nt.STATUS_INVALID_PARAMETER
	}
	i.Flags |= nt.IRP_WRITE_OPERATION | nt.IRP_DEFER_IO_COMPLETION
	*loc.Parameters.Write() = nt.ParametersWrite{Length: uint32(len(r.In)), Key: r.Key,
		ByteOffset: offset}
	switch {
	case len(r.In) == 0:
		return nt.STATUS_SUCCESS
	case flags&nt.DO_BUFFERED_IO != 0:
		i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER
		i.UserBuffer = r.userBase()
		return m.systemBuffer(r, i, r.In, len(r.In))
	case flags&nt.DO_DIRECT_IO != 0:
		return m.direct(r, i, 0, r.In, len(r.In), mm.IoReadAccess)
	}
	return m.neither(r, 0, r.In, len(r.In), &i.UserBuffer)
}

// offset gives the byte offset of a read or write: the request's, or the file's position. A file that
// is open for asynchronous I/O has none: then it is FilePosition.
func (r *Request) offset() int64 {
	if r.Offset == FilePosition {
		if f := r.Open.File.Object.Ref(); f.Flags&nt.FO_SYNCHRONOUS_IO != 0 {
			return f.CurrentByteOffset
		}
	}
	return r.Offset
}

// prepareControl lays out an IOCTL's buffers by its method ("Buffer Descriptions for I/O Control
// Codes"). The handle must have the access that the code asks for, else STATUS_ACCESS_DENIED.
func (m *Manager) prepareControl(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	access := r.Code.Access()
	if access&nt.FILE_READ_ACCESS != 0 && r.Open.Access&nt.FILE_READ_DATA == 0 ||
		access&nt.FILE_WRITE_ACCESS != 0 && r.Open.Access&nt.FILE_WRITE_DATA == 0 {
		return nt.STATUS_ACCESS_DENIED
	}
	if r.Open.Access&nt.FILE_READ_DATA != 0 {
		loc.Flags |= nt.SL_READ_ACCESS_GRANTED
	}
	if r.Open.Access&nt.FILE_WRITE_DATA != 0 {
		loc.Flags |= nt.SL_WRITE_ACCESS_GRANTED
	}
	params := loc.Parameters.DeviceIoControl()
	*params = nt.ParametersDeviceIoControl{OutputBufferLength: uint32(r.OutLen),
		InputBufferLength: uint32(len(r.In)), IoControlCode: uint32(r.Code)}
	switch method := r.Code.Method(); method {
	case nt.METHOD_BUFFERED:
		if len(r.In) == 0 && r.OutLen == 0 {
			return nt.STATUS_SUCCESS
		}
		i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER
		if r.OutLen != 0 {
			i.Flags |= nt.IRP_INPUT_OPERATION
			i.UserBuffer = r.userBase()
		}
		return m.systemBuffer(r, i, r.In, max(len(r.In), r.OutLen))
	case nt.METHOD_IN_DIRECT, nt.METHOD_OUT_DIRECT:
		if len(r.In) != 0 {
			i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER
			if status := m.systemBuffer(r, i, r.In, len(r.In)); status != nt.STATUS_SUCCESS {
				return status
			}
		}
		if r.OutLen == 0 {
			return nt.STATUS_SUCCESS
		}
		op := mm.IoReadAccess
		if method == nt.METHOD_OUT_DIRECT {
			op = mm.IoWriteAccess
		}
		return m.direct(r, i, 1, r.OutData, r.OutLen, op)
	default: // METHOD_NEITHER
		if status := m.neither(r, 0, r.In, len(r.In), &params.Type3InputBuffer); status != nt.STATUS_SUCCESS {
			return status
		}
		return m.neither(r, 1, r.OutData, r.OutLen, &i.UserBuffer)
	}
}

// systemBuffer gives the IRP a buffer of size bytes, with a copy of in: behind the IRP if it is small,
// else in nonpaged pool. The rest is zeroed: Windows leaves there what the pool held, which a driver
// must not rely on.
func (m *Manager) systemBuffer(r *Request, i *nt.IRP, in []byte, size int) nt.Status {
	if size <= maxPacketBuffer {
		i.AssociatedIrp.SystemBuffer = r.packet.setBuffer(in, size)
		return nt.STATUS_SUCCESS
	}
	a, err := m.allocBuffer(uintptr(size))
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	r.system = a
	i.AssociatedIrp.SystemBuffer = a
	return fill(a, in, size)
}

// fill puts data at a, and zeros behind it up to size bytes.
func fill(a guest.Addr, data []byte, size int) nt.Status {
	data = data[:min(len(data), size)]
	err := guest.Write(a, data)
	if rest := size - len(data); err == nil && rest > 0 {
		err = guest.Fill(a+guest.Addr(len(data)), 0, uintptr(rest))
	}
	if err != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	return nt.STATUS_SUCCESS
}

// neither gives the driver the client's own address of a buffer of size bytes that holds data: that
// of its copy in the client's window.
func (m *Manager) neither(r *Request, which int, data []byte, size int, field *guest.Addr) nt.Status {
	if size == 0 {
		return nt.STATUS_SUCCESS
	}
	if r.Open.Window == nil {
		*field = r.Buffers[which]
		return nt.STATUS_SUCCESS
	}
	a, ok := r.Open.Window.Alloc(uintptr(size), 16)
	if !ok {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	r.window[which] = a
	*field = a
	return fill(a, data, size)
}

// directOutput gives the IRP an MDL of the output buffer, for a driver that writes there.
func (m *Manager) directOutput(r *Request, i *nt.IRP) nt.Status {
	if r.OutLen == 0 {
		return nt.STATUS_SUCCESS
	}
	return m.direct(r, i, 1, r.OutData, r.OutLen, mm.IoWriteAccess)
}

// direct gives the IRP an MDL of the client's buffer, locked.
func (m *Manager) direct(r *Request, i *nt.IRP, which int, data []byte, size int,
	op mm.LockOperation) nt.Status {
	var at guest.Addr
	if status := m.neither(r, which, data, size, &at); status != nt.STATUS_SUCCESS {
		return status
	}
	mdl, err := m.mm.AllocateMdl(at, uintptr(size))
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	r.mdl = mdl
	i.MdlAddress = mdl
	if err := m.mm.ProbeAndLockPages(mdl, r.Open.mode(), op, r.Open.Window); err != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	return nt.STATUS_SUCCESS
}

// takeResults brings the driver's output back to the client's buffer. flags and system are the IRP's
// when it was completed.
func (r *Request) takeResults(flags uint32, system guest.Addr) {
	const buffered = nt.IRP_BUFFERED_IO | nt.IRP_INPUT_OPERATION
	switch {
	case r.window[1] != 0:
		// The driver wrote to the client's own buffer, whatever its status and Information say.
		r.take(r.window[1], r.OutLen)
	case flags&buffered == buffered && !r.IOStatus.IsError() && r.IOStatus != nt.STATUS_VERIFY_REQUIRED:
		r.take(system, int(min(r.Information, uint64(r.OutLen))))
	}
}

// take copies n bytes from a to the client's output buffer.
func (r *Request) take(a guest.Addr, n int) {
	if n > 0 && guest.Read(r.Client.Out(r)[:n], a) == nil {
		r.Written = n
	}
}

// freeMDLs unlocks and frees the chain of MDLs that an IRP was completed with.
func (m *Manager) freeMDLs(r *Request, mdl guest.Addr) (err error) {
	for n := 0; mdl != 0 && n < maxMDLChain; n++ {
		h, e := guest.Ptr[nt.MDL](mdl).Load()
		if e != nil {
			return errors.Join(err, e)
		}
		if uint16(h.MdlFlags)&(nt.MDL_PAGES_LOCKED|nt.MDL_PARTIAL) == nt.MDL_PAGES_LOCKED {
			err = errors.Join(err, m.mm.UnlockPages(mdl))
		}
		err = errors.Join(err, m.mm.FreeMdl(mdl))
		if mdl == r.mdl {
			r.mdl = 0
		}
		mdl = h.Next
	}
	r.mdl = 0 // a driver that has taken it off the IRP has to free it
	return err
}

// freeChain unlocks and frees a chain of MDLs.
func (m *Manager) freeChain(mdl guest.Addr) error { return m.freeMDLs(new(Request), mdl) }

// maxMDLChain bounds how far a chain is followed that a driver may have made circular.
const maxMDLChain = 1 << 10

// releaseBuffers frees what prepare allocated and is still there. The error says what a driver has
// done to it.
func (m *Manager) releaseBuffers(r *Request) (err error) {
	if r.mdl != 0 {
		// The lock of an MDL that could not be locked fails to be undone.
		_ = m.mm.UnlockPages(r.mdl)
		err = m.mm.FreeMdl(r.mdl)
		r.mdl = 0
	}
	if r.aux != 0 {
		err = errors.Join(err, m.mm.FreePool(r.aux))
		r.aux = 0
	}
	for k, a := range r.window {
		if a != 0 {
			_ = r.Open.Window.Free(a) // it came from there
			r.window[k] = 0
		}
	}
	if r.system != 0 {
		if e := m.mm.FreePool(r.system); e != nil {
			err = errors.Join(err, e)
		}
		r.system = 0
	}
	return err
}

// BufferTag is the pool tag of system buffers, as Windows has it.
var BufferTag = mm.MakeTag("Io  ")

func (m *Manager) allocBuffer(size uintptr) (guest.Addr, error) {
	return m.mm.AllocatePool(nt.NonPagedPoolNx, size, BufferTag)
}
