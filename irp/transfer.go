package irp

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Transfer methods: how a request's data reaches the driver and comes back.

func (m *Manager) prepareRead(r *Request, i *nt.IRP, loc *nt.IOStackLocation, flags uint32) nt.Status {
	if r.Open.Access&nt.FILE_READ_DATA == 0 {
		return nt.STATUS_ACCESS_DENIED
	}
	i.Flags |= nt.IRP_READ_OPERATION | nt.IRP_DEFER_IO_COMPLETION
	*loc.Parameters.Read() = nt.ParametersRead{Length: uint32(r.OutLen), Key: r.Key,
		ByteOffset: r.offset()}
	switch {
	case r.OutLen == 0:
		return nt.STATUS_SUCCESS
	case flags&nt.DO_BUFFERED_IO != 0:
		i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER | nt.IRP_INPUT_OPERATION
		i.UserBuffer = r.Open.Window.Base()
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
	i.Flags |= nt.IRP_WRITE_OPERATION | nt.IRP_DEFER_IO_COMPLETION
	*loc.Parameters.Write() = nt.ParametersWrite{Length: uint32(len(r.In)), Key: r.Key,
		ByteOffset: r.offset()}
	switch {
	case len(r.In) == 0:
		return nt.STATUS_SUCCESS
	case flags&nt.DO_BUFFERED_IO != 0:
		i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER
		i.UserBuffer = r.Open.Window.Base()
		return m.systemBuffer(r, i, r.In, len(r.In))
	case flags&nt.DO_DIRECT_IO != 0:
		return m.direct(r, i, 0, r.In, len(r.In), mm.IoReadAccess)
	}
	return m.neither(r, 0, r.In, len(r.In), &i.UserBuffer)
}

// offset gives the byte offset of a read or write: the request's, or the file's position.
func (r *Request) offset() int64 {
	if r.Offset == NoOffset {
		return r.Open.File.Object.Ref().CurrentByteOffset
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
			i.UserBuffer = r.Open.Window.Base()
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

// systemBuffer gives the IRP a buffer of size bytes in nonpaged pool, with a copy of in. The rest
// is zeroed: Windows leaves there what the pool held, which a driver must not rely on.
func (m *Manager) systemBuffer(r *Request, i *nt.IRP, in []byte, size int) nt.Status {
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
	a, ok := r.Open.Window.Alloc(uintptr(size), 16)
	if !ok {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	r.window[which] = a
	*field = a
	return fill(a, data, size)
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
	if err := m.mm.ProbeAndLockPages(mdl, nt.UserMode, op, r.Open.Window); err != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	r.locked = true
	return nt.STATUS_SUCCESS
}

// takeResults brings the driver's output back to the client's buffer.
func (m *Manager) takeResults(r *Request) {
	if r.window[1] != 0 {
		// The driver wrote to the client's own buffer, whatever its status and Information say.
		r.take(r.window[1], r.OutLen)
		return
	}
	if r.system == 0 || r.OutLen == 0 || r.IOStatus.IsError() {
		return
	}
	r.take(r.system, int(min(r.Information, uint64(r.OutLen))))
}

// take copies n bytes from a to the client's output buffer.
func (r *Request) take(a guest.Addr, n int) {
	if n > 0 && guest.Read(r.Client.Out(r)[:n], a) == nil {
		r.Written = n
	}
}

// releaseBuffers frees what prepare allocated.
func (m *Manager) releaseBuffers(r *Request) {
	if r.mdl != 0 {
		// A driver that has unlocked or freed the client's MDL itself is told so by those calls.
		if r.locked {
			_ = m.mm.UnlockPages(r.mdl)
			r.locked = false
		}
		_ = m.mm.FreeMdl(r.mdl)
		r.mdl = 0
	}
	for k, a := range r.window {
		if a != 0 {
			_ = r.Open.Window.Free(a) // it came from there
			r.window[k] = 0
		}
	}
	if r.system != 0 {
		m.freeBuffer(r.system)
		r.system = 0
	}
}

// bufferTag is the pool tag of system buffers, as Windows has it.
var bufferTag = mm.MakeTag("Io  ")

func (m *Manager) allocBuffer(size uintptr) (guest.Addr, error) {
	return m.mm.AllocatePool(nt.NonPagedPoolNx, size, bufferTag)
}

// freeBuffer frees a system buffer. One that the driver has freed, or run over, is reported by the
// pool's own checks.
func (m *Manager) freeBuffer(a guest.Addr) { _ = m.mm.FreePoolWithTag(a, bufferTag) }
