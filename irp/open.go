package irp

import (
	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// OpenInfo is what a client's open asks for, besides the name.
type OpenInfo struct {
	devobj.OpenInfo
	Disposition    uint8  // FILE_OPEN and the like
	FileAttributes uint16 // FILE_ATTRIBUTE_*
	// Begun, if set, is called before the driver is: from then on the open can be cancelled.
	Begun func(o *Open)
}

// Create opens a device for a client: it makes a file object, sends IRP_MJ_CREATE on thread t, which
// must be in Do, waits for it, and gives the file if the driver agreed. information is the IRP's:
// FILE_OPENED and the like.
func (m *Manager) Create(t *ke.Thread, dev *devobj.Device, w *mm.Window, info OpenInfo) (
	o *Open, status nt.Status, information uint64) {
	f, status := m.devices.Open(dev, info.OpenInfo)
	if status != nt.STATUS_SUCCESS {
		return nil, status, 0
	}
	security, err := m.allocBuffer(securityContextSize)
	if err != nil {
		m.devices.Close(f)
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES, 0
	}
	iosb, ok := guest.Addr(0), true
	if w != nil {
		iosb, ok = w.Alloc(iosbSize, 16)
	}
	if !ok {
		_ = m.mm.FreePool(security) // no driver has seen it
		m.devices.Close(f)
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES, 0
	}
	fillSecurityContext(security, info.Access, info.Options)
	o = NewOpen(f, t, info.Access, w, iosb)
	if info.Begun != nil {
		info.Begun(o)
	}
	r := &Request{Open: o, Major: nt.IRP_MJ_CREATE}
	*r.Params.Create() = nt.ParametersCreate{SecurityContext: security,
		Options:     info.Options&0xFFFFFF | uint32(info.Disposition)<<24,
		ShareAccess: info.ShareAccess, FileAttributes: info.FileAttributes}
	m.Sync(t, r)
	m.mustFree(t, m.mm.FreePool(security))
	f.Object.Ref().RelatedFileObject = 0 // it is there for IRP_MJ_CREATE only
	if !r.Status.Success() {
		m.Abandon(o)
		return nil, r.Status, r.Information
	}
	o.File.Object.Ref().Flags |= nt.FO_HANDLE_CREATED
	return o, r.Status, r.Information
}

// Cleanup tells the driver that the client's last handle is gone: IRP_MJ_CLEANUP. What the driver
// does not complete there should be cancelled next.
func (m *Manager) Cleanup(t *ke.Thread, o *Open) {
	o.File.Object.Ref().Flags |= nt.FO_CLEANUP_COMPLETE
	m.Sync(t, &Request{Open: o, Major: nt.IRP_MJ_CLEANUP})
}

// Release gives the client's reference to the file object back; no request is in flight. It reports
// whether it was the last: then CloseFile is due. Else last is called when drivers have given back
// theirs, on a thread of theirs that it must not hold up, and CloseFile is due then.
func (m *Manager) Release(o *Open, last func()) bool { return m.devices.Release(o.File, last) }

// CloseFile tells the driver that the file object goes: IRP_MJ_CLOSE. Release comes first. The file
// is gone afterwards.
func (m *Manager) CloseFile(t *ke.Thread, o *Open) {
	m.Sync(t, &Request{Open: o, Major: nt.IRP_MJ_CLOSE})
	m.devices.Delete(o.File)
	m.dropOpen(o)
}

// Abandon gives a file back without telling its driver, which has refused the open or has crashed.
func (m *Manager) Abandon(o *Open) {
	m.devices.Close(o.File)
	m.dropOpen(o)
}

func (m *Manager) dropOpen(o *Open) {
	if o.Window != nil {
		_ = o.Window.Free(o.Iosb) // it is the window's, as long as that lives
	}
	o.mu.Lock()
	spare := o.spare
	o.spare = nil
	o.mu.Unlock()
	if spare != nil {
		m.slabs.put(spare)
	}
}

// waiter is the client of a request that Sync waits for.
type waiter struct {
	t    *ke.Thread
	out  []byte
	done chan struct{}
}

func (w *waiter) Out(*Request) []byte { return w.out }

func (w *waiter) Done(*Request) {
	close(w.done)
	w.t.Unpark()
}

// Sync is Start, and waits until the request is done, with thread t giving up its processor
// meanwhile. The output goes to r.OutData.
func (m *Manager) Sync(t *ke.Thread, r *Request) {
	w := &waiter{t: t, out: r.OutData, done: make(chan struct{})}
	r.Client = w
	if m.Start(t, r) {
		return
	}
	done := func() bool {
		select {
		case <-w.done:
			return true
		default:
			return false
		}
	}
	if !done() {
		t.Park(done)
	}
}

// fillSecurityContext makes the IO_SECURITY_CONTEXT of an open, and the ACCESS_STATE behind it.
func fillSecurityContext(at guest.Addr, access, options uint32) {
	state := at + guest.Addr(sizeofSecurityContext)
	*guest.Ptr[nt.IOSecurityContext](at).Ref() = nt.IOSecurityContext{AccessState: state,
		DesiredAccess: access, FullCreateOptions: options}
	s := guest.Ptr[nt.AccessState](state).Ref()
	*s = nt.AccessState{}
	s.OriginalDesiredAccess, s.PreviouslyGrantedAccess = access, access
}
