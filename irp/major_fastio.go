package irp

// Fast I/O: the driver's routines that do a request without an IRP, where it offers them. A routine
// that says FALSE has done nothing, and the request goes on as an IRP ("FAST_IO_DISPATCH structure
// (wdm.h)").

import (
	"errors"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// fastIO tries a request on the fast I/O routines at table, and reports whether that did it. A
// control request goes there always, a read or write only if the file is cached and open for
// synchronous I/O, and of the queries FileBasicInformation and FileStandardInformation.
func (m *Manager) fastIO(t *ke.Thread, r *Request, dev *devobj.Device, table guest.Addr) bool {
	switch r.Major {
	case nt.IRP_MJ_DEVICE_CONTROL, nt.IRP_MJ_READ, nt.IRP_MJ_WRITE, nt.IRP_MJ_QUERY_INFORMATION:
	default:
		return false
	}
	d, err := guest.Ptr[nt.FastIODispatch](table).Load()
	if err != nil {
		return false
	}
	has := func(routine guest.Addr, end uint32) guest.Addr {
		if d.SizeOfFastIoDispatch < end {
			return 0
		}
		return routine
	}
	file := r.Open.File.Object.Ref()
	cached := file.Flags&nt.FO_SYNCHRONOUS_IO != 0 && file.PrivateCacheMap != 0
	switch r.Major {
	case nt.IRP_MJ_DEVICE_CONTROL:
		if fn := has(d.FastIoDeviceControl, fastControlEnd); fn != 0 && r.mayControl() {
			return m.fastCall(t, r, func(iosb guest.Addr) uint64 {
				return t.Call(fn, uint64(r.Open.File.Object.Addr()), 1, uint64(r.bufferAt(0)),
					uint64(len(r.In)), uint64(r.bufferAt(1)), uint64(r.OutLen), uint64(r.Code),
					uint64(iosb), uint64(dev.Object.Addr()))
			})
		}
	case nt.IRP_MJ_READ:
		fn := has(d.FastIoRead, fastReadEnd)
		if fn != 0 && cached && r.offset() >= 0 && r.Open.Access&nt.FILE_READ_DATA != 0 {
			return m.fastTransfer(t, r, dev, fn, 1, r.OutLen)
		}
	case nt.IRP_MJ_WRITE:
		fn := has(d.FastIoWrite, fastWriteEnd)
		if fn != 0 && cached && r.offset() >= 0 && r.Open.Access&nt.FILE_WRITE_DATA != 0 {
			return m.fastTransfer(t, r, dev, fn, 0, len(r.In))
		}
	case nt.IRP_MJ_QUERY_INFORMATION:
		fn := guest.Addr(0)
		switch uint32(r.Code) {
		case nt.FileBasicInformation:
			fn = has(d.FastIoQueryBasicInfo, fastBasicEnd)
		case nt.FileStandardInformation:
			fn = has(d.FastIoQueryStandardInfo, fastStandardEnd)
		}
		if fn != 0 && r.check(queryFileRules, r.OutLen) == nt.STATUS_SUCCESS {
			return m.fastQuery(t, r, dev, fn)
		}
	}
	return false
}

// The sizes that a table must have for its routines, in bytes.
const (
	fastReadEnd     = 0x18
	fastWriteEnd    = 0x20
	fastBasicEnd    = 0x28
	fastStandardEnd = 0x30
	fastControlEnd  = 0x58
)

// mayControl reports whether the handle has the access that an IOCTL's code asks for.
func (r *Request) mayControl() bool {
	access := r.Code.Access()
	return (access&nt.FILE_READ_ACCESS == 0 || r.Open.Access&nt.FILE_READ_DATA != 0) &&
		(access&nt.FILE_WRITE_ACCESS == 0 || r.Open.Access&nt.FILE_WRITE_DATA != 0)
}

// bufferAt gives the address of the input (0) or output (1) buffer as the driver gets it.
func (r *Request) bufferAt(which int) guest.Addr {
	if r.Open.Window == nil {
		return r.Buffers[which]
	}
	return r.window[which]
}

// fastTransfer does a read or write: FastIoRead and FastIoWrite have the same parameters. The file's
// position moves by what was done.
func (m *Manager) fastTransfer(t *ke.Thread, r *Request, dev *devobj.Device, fn guest.Addr, which,
	length int) bool {
	offset, err := m.allocBuffer(8)
	if err != nil {
		return false
	}
	defer func() { _ = m.mm.FreePool(offset) }() // the driver has a copy of the address at most
	at := r.offset()
	_ = guest.Store64(offset, uint64(at)) // allocated a moment ago
	done := m.fastCall(t, r, func(iosb guest.Addr) uint64 {
		return t.Call(fn, uint64(r.Open.File.Object.Addr()), uint64(offset), uint64(length), 1,
			uint64(r.Key), uint64(r.bufferAt(which)), uint64(iosb), uint64(dev.Object.Addr()))
	})
	return done
}

// fastQuery does a query whose routine fills a buffer of the system's.
func (m *Manager) fastQuery(t *ke.Thread, r *Request, dev *devobj.Device, fn guest.Addr) bool {
	const room = 64 // more than either structure
	buffer, err := m.allocBuffer(room)
	if err != nil {
		return false
	}
	size := uint64(40)
	if uint32(r.Code) == nt.FileStandardInformation {
		size = 24
	}
	done := m.fastCall(t, r, func(iosb guest.Addr) uint64 {
		return t.Call(fn, uint64(r.Open.File.Object.Addr()), 1, uint64(buffer), uint64(iosb),
			uint64(dev.Object.Addr()))
	})
	if done && r.IOStatus.Success() {
		r.Information = min(r.Information, size)
		r.take(buffer, int(r.Information))
	}
	m.mustFree(t, m.mm.FreePool(buffer))
	return done
}

// fastCall calls a routine with the request's buffers where the driver can reach them, and takes its
// results.
func (m *Manager) fastCall(t *ke.Thread, r *Request, call func(iosb guest.Addr) uint64) bool {
	iosb, err := m.allocBuffer(iosbSize)
	if err != nil {
		return false
	}
	_ = guest.Fill(iosb, 0, iosbSize) // allocated a moment ago
	var done bool
	var in, out guest.Addr
	status := m.neither(r, 0, r.In, len(r.In), &in)
	if status == nt.STATUS_SUCCESS && r.Major != nt.IRP_MJ_QUERY_INFORMATION {
		status = m.neither(r, 1, r.OutData, r.OutLen, &out)
	}
	if status == nt.STATUS_SUCCESS && uint8(call(iosb)) != 0 {
		done = true
		result, err := guest.Ptr[nt.IOStatusBlock](iosb).Load()
		if err != nil {
			result.Status = nt.STATUS_ACCESS_VIOLATION
		}
		r.Status, r.IOStatus, r.Information = result.Status, result.Status, uint64(result.Information)
		if r.window[1] != 0 {
			r.take(r.window[1], r.OutLen)
		}
	}
	m.mustFree(t, errors.Join(m.releaseBuffers(r), m.mm.FreePool(iosb)))
	return done
}
