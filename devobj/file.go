package devobj

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// File is a file object: a device that somebody has open.
type File struct {
	// Object is the FILE_OBJECT in guest memory.
	Object guest.Ptr[nt.FileObject]
	// Device is the device that was opened; requests go to the top of its stack.
	Device *Device
	// Owner is what who opened the file keeps for it.
	Owner any

	object *ob.Object
	name   guest.Addr
	state  atomic.Uint32
	last   func()
}

// What has become of the client's reference to a file object.
const (
	fileOpen      = iota
	fileReleasing // it is being given back
	fileLingers   // it was, but drivers have others
	fileClosing   // IRP_MJ_CLOSE is due, or the file needs none
)

// OpenInfo is what an open asks for.
type OpenInfo struct {
	// Name is what follows the device's name, with its backslash, or "".
	Name        string
	Access      uint32 // ACCESS_MASK
	ShareAccess uint16
	Options     uint32 // FILE_SYNCHRONOUS_IO_NONALERT and the like
	// Attach opens a device to attach to it, which an exclusive one that is open allows too.
	Attach bool
	// Related is the file that the open is relative to, or nil. It is held until IRP_MJ_CREATE is done.
	Related *File
}

// Open makes a file object for a device. It is not open until the driver has agreed: the caller
// sends IRP_MJ_CREATE. STATUS_NO_SUCH_DEVICE while the device or its driver is being set up or once it
// is deleted, STATUS_ACCESS_DENIED when it is exclusive and open.
func (m *Manager) Open(dev *Device, info OpenInfo) (*File, nt.Status) {
	m.mu.Lock()
	o := dev.Object.Ref()
	switch {
	case dev.deleted || !dev.Driver.running || dev.Driver.marked || o.Flags&nt.DO_DEVICE_INITIALIZING != 0:
		m.mu.Unlock()
		return nil, nt.STATUS_NO_SUCH_DEVICE
	case dev.exclusive && dev.opens > 0 && !info.Attach:
		m.mu.Unlock()
		return nil, nt.STATUS_ACCESS_DENIED
	}
	dev.opens++
	dev.Driver.opens++
	o.ReferenceCount = int32(dev.opens)
	m.mu.Unlock()

	f := &File{Device: dev}
	if status := m.makeFile(f, info); status != nt.STATUS_SUCCESS {
		if f.object != nil {
			m.Close(f)
		} else {
			m.closed(f)
		}
		return nil, status
	}
	return f, nt.STATUS_SUCCESS
}

func (m *Manager) makeFile(f *File, info OpenInfo) nt.Status {
	enc := guest.EncodeUTF16(info.Name)
	if len(enc) > maxString {
		return nt.STATUS_OBJECT_NAME_INVALID
	}
	obj, err := m.Ob.Create(m.fileType, sizeofFileObject, f)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	f.object, f.Object = obj, guest.Ptr[nt.FileObject](obj.Addr)
	o := f.Object.Ref()
	o.Type, o.Size = nt.IO_TYPE_FILE, int16(sizeofFileObject)
	o.DeviceObject = f.Device.Object.Addr()
	if info.Options&(nt.FILE_SYNCHRONOUS_IO_ALERT|nt.FILE_SYNCHRONOUS_IO_NONALERT) != 0 {
		o.Flags |= nt.FO_SYNCHRONOUS_IO
		if info.Options&nt.FILE_SYNCHRONOUS_IO_ALERT != 0 {
			o.Flags |= nt.FO_ALERTABLE_IO
		}
	}
	for _, f := range [...]struct{ option, flag uint32 }{
		{nt.FILE_WRITE_THROUGH, nt.FO_WRITE_THROUGH}, {nt.FILE_SEQUENTIAL_ONLY, nt.FO_SEQUENTIAL_ONLY},
		{nt.FILE_NO_INTERMEDIATE_BUFFERING, nt.FO_NO_INTERMEDIATE_BUFFERING},
		{nt.FILE_RANDOM_ACCESS, nt.FO_RANDOM_ACCESS}, {nt.FILE_DELETE_ON_CLOSE, nt.FO_DELETE_ON_CLOSE},
	} {
		if info.Options&f.option != 0 {
			o.Flags |= f.flag
		}
	}
	if info.Related != nil {
		o.RelatedFileObject = info.Related.Object.Addr()
	}
	o.ReadAccess = boolean(info.Access&(nt.FILE_READ_DATA|nt.FILE_EXECUTE) != 0)
	o.WriteAccess = boolean(info.Access&(nt.FILE_WRITE_DATA|nt.FILE_APPEND_DATA) != 0)
	o.DeleteAccess = boolean(info.Access&nt.DELETE != 0)
	o.SharedRead = boolean(uint32(info.ShareAccess)&nt.FILE_SHARE_READ != 0)
	o.SharedWrite = boolean(uint32(info.ShareAccess)&nt.FILE_SHARE_WRITE != 0)
	o.SharedDelete = boolean(uint32(info.ShareAccess)&nt.FILE_SHARE_DELETE != 0)
	for _, e := range []*nt.KEvent{&o.Lock, &o.Event} {
		e.Header.Size = uint8(sizeofEvent / 4)
		initList(&e.Header.WaitListHead)
	}
	o.Lock.Header.Type = nt.EventSynchronizationObject
	o.Lock.Header.SignalState = 1
	o.Event.Header.Type = nt.EventNotificationObject
	initList(&o.IrpList)
	if len(enc) > 0 {
		if f.name, err = m.alloc(uintptr(len(enc)) + 2); err != nil {
			return nt.STATUS_INSUFFICIENT_RESOURCES
		}
		if err = guest.Write(f.name, enc); err != nil {
			return nt.STATUS_INSUFFICIENT_RESOURCES
		}
		n := uint16(len(enc))
		o.FileName = nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: f.name}
	}
	return nt.STATUS_SUCCESS
}

// maxString is the most bytes that a UNICODE_STRING with a zero behind it can have.
const maxString = 0xFFFC

// File gives the file whose object is at addr, or nil.
func (m *Manager) File(addr guest.Addr) *File {
	o := m.Ob.Find(addr)
	if o == nil {
		return nil
	}
	f, _ := o.Body.(*File)
	return f
}

// Release gives the client's reference back, once CLEANUP is done. If drivers have no others it says
// true: then the caller sends IRP_MJ_CLOSE and calls Delete. Else last is called, on a thread that must
// not be held up, when the others have gone, and the caller does so then.
func (m *Manager) Release(f *File, last func()) bool {
	f.last = last
	f.state.Store(fileReleasing)
	return m.Ob.Release(f.object) || !f.state.CompareAndSwap(fileReleasing, fileLingers)
}

// fileLast keeps a file object whose last reference has gone until IRP_MJ_CLOSE is done.
func (m *Manager) fileLast(o *ob.Object) (keep bool) {
	f := o.Body.(*File)
	switch {
	case f.state.CompareAndSwap(fileReleasing, fileClosing):
		return true
	case f.state.CompareAndSwap(fileLingers, fileClosing):
		f.last()
		return true
	}
	return false
}

// Delete ends a file for which Release said true or called last.
func (m *Manager) Delete(f *File) { m.dereference(f.object) }

// Close ends a file whose driver is not told by IRP_MJ_CLOSE: it has refused the open, or it cannot
// run any more.
func (m *Manager) Close(f *File) {
	f.state.Store(fileClosing)
	m.Ob.Release(f.object)
}

// Holders counts the references that others than the client have to the file.
func (m *Manager) Holders(f *File) int64 {
	n := m.Ob.References(f.object)
	if f.state.Load() == fileOpen {
		n--
	}
	return n
}

func (m *Manager) fileGone(o *ob.Object) { m.closed(o.Body.(*File)) }

// closed takes f off its device, which counts as open until then; a deleted device goes with its
// last file.
func (m *Manager) closed(f *File) {
	if f.name != 0 {
		m.free(f.name)
	}
	dev := f.Device
	m.mu.Lock()
	dev.opens--
	dev.Driver.opens--
	dev.Object.Ref().ReferenceCount = int32(dev.opens)
	gone := dev.deleted && dev.opens == 0
	m.mu.Unlock()
	m.tellIdle(dev.Driver)
	if gone {
		m.Ob.Release(dev.object)
	}
}

func boolean(b bool) nt.Boolean {
	if b {
		return nt.TRUE
	}
	return nt.FALSE
}
