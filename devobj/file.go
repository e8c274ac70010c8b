package devobj

import (
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

	object *ob.Object
	name   guest.Addr
}

// OpenInfo is what an open asks for.
type OpenInfo struct {
	// Name is what follows the device's name, with its backslash, or "".
	Name        string
	Access      uint32 // ACCESS_MASK
	ShareAccess uint16
	Options     uint32 // FILE_SYNCHRONOUS_IO_NONALERT and the like
}

// Open makes a file object for a device. It is not open until the driver has agreed: the caller
// sends IRP_MJ_CREATE. STATUS_NO_SUCH_DEVICE while the device is being set up or once it is deleted,
// STATUS_ACCESS_DENIED when it is exclusive and open.
func (m *Manager) Open(dev *Device, info OpenInfo) (*File, nt.Status) {
	m.mu.Lock()
	o := dev.Object.Ref()
	switch {
	case dev.deleted || o.Flags&nt.DO_DEVICE_INITIALIZING != 0:
		m.mu.Unlock()
		return nil, nt.STATUS_NO_SUCH_DEVICE
	case dev.exclusive && dev.opens > 0:
		m.mu.Unlock()
		return nil, nt.STATUS_ACCESS_DENIED
	}
	dev.opens++
	o.ReferenceCount = int32(dev.opens)
	m.mu.Unlock()

	f := &File{Device: dev}
	if err := m.makeFile(f, info); err != nil {
		m.closed(f)
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	return f, nt.STATUS_SUCCESS
}

func (m *Manager) makeFile(f *File, info OpenInfo) error {
	enc := guest.EncodeUTF16(info.Name)
	if len(enc) > 0xFFFC {
		return nt.STATUS_OBJECT_NAME_INVALID
	}
	obj, err := m.Ob.Create(m.fileType, sizeofFileObject, f)
	if err != nil {
		return err
	}
	f.object, f.Object = obj, guest.Ptr[nt.FileObject](obj.Addr)
	o := f.Object.Ref()
	o.Type, o.Size = nt.IO_TYPE_FILE, int16(sizeofFileObject)
	o.DeviceObject = f.Device.Object.Addr()
	if info.Options&(nt.FILE_SYNCHRONOUS_IO_ALERT|nt.FILE_SYNCHRONOUS_IO_NONALERT) != 0 {
		o.Flags |= nt.FO_SYNCHRONOUS_IO
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
			return err
		}
		if err = guest.Write(f.name, enc); err != nil {
			return err
		}
		n := uint16(len(enc))
		o.FileName = nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: f.name}
	}
	return nil
}

// File gives the file whose object is at addr, or nil.
func (m *Manager) File(addr guest.Addr) *File {
	o := m.Ob.Find(addr)
	if o == nil {
		return nil
	}
	f, _ := o.Body.(*File)
	return f
}

// Close drops the reference that Open gave. The device counts as open until the object is gone.
func (m *Manager) Close(f *File) { m.drop(f.object) }

func (m *Manager) fileGone(o *ob.Object) { m.closed(o.Body.(*File)) }

// closed takes f off its device; a deleted device goes with its last file.
func (m *Manager) closed(f *File) {
	if f.name != 0 {
		m.free(f.name)
	}
	dev := f.Device
	m.mu.Lock()
	dev.opens--
	dev.Object.Ref().ReferenceCount = int32(dev.opens)
	gone := dev.deleted && dev.opens == 0
	m.mu.Unlock()
	if gone {
		m.drop(dev.object)
	}
}

func boolean(b bool) nt.Boolean {
	if b {
		return nt.TRUE
	}
	return nt.FALSE
}
