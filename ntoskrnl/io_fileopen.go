package ntoskrnl

import (
	"strings"
	"sync"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
	"github.com/drvhost/drvhost/ntoskrnl/volume"
)

// Files that the kernel has open: devices of this host, and files on its volumes.

// kernelFile is a file that was opened by ZwCreateFile or one of its kin. It lives as long as it has
// handles.
type kernelFile struct {
	open *irp.Open
	host *volume.File // of a file on a volume; else requests go to the device's driver

	serial sync.Mutex // of a file for synchronous I/O: see take
	busy   bool
	queue  []*ke.Thread
}

// fileName says what an OBJECT_ATTRIBUTES names: a device and what follows its name.
type fileName struct {
	dev        *devobj.Device
	object     *ob.Object // the device's, referenced
	rest       string
	related    *devobj.File // that the name is relative to, referenced
	relatedRef *ob.Object
	attributes uint32
}

func (c *Call) dropName(n fileName) {
	if n.object != nil {
		c.dereference(n.object)
	}
	if n.relatedRef != nil {
		c.dereference(n.relatedRef)
	}
}

// fileNameOf reads the OBJECT_ATTRIBUTES at a. The caller drops the result in any case.
func (c *Call) fileNameOf(a guest.Addr) (n fileName, status nt.Status) {
	oa := Load[nt.ObjectAttributes](c, a)
	if oa.Length != uint32(sizeofObjectAttributes) || oa.Attributes&^nt.OBJ_VALID_ATTRIBUTES != 0 {
		return n, nt.STATUS_INVALID_PARAMETER
	}
	n.attributes = oa.Attributes
	if oa.RootDirectory != 0 {
		e, status := c.reference(oa.RootDirectory, 0, nil, nt.KernelMode)
		if status != nt.STATUS_SUCCESS {
			return n, status
		}
		if f, ok := e.Object.Body.(*devobj.File); ok {
			n.related, n.relatedRef = f, e.Object
			n.rest = c.OptUString(oa.ObjectName)
			n.dev, n.object = f.Device, c.Ob.Find(f.Device.Object.Addr())
			if n.object == nil || !c.Ob.Reference(n.object.Addr) {
				n.object = nil
				return n, nt.STATUS_NO_SUCH_DEVICE
			}
			if strings.HasPrefix(n.rest, `\`) {
				return n, nt.STATUS_OBJECT_NAME_INVALID
			}
			return n, nt.STATUS_SUCCESS
		}
		c.dereference(e.Object)
	}
	full, status := c.attributesOf(a)
	if status != nt.STATUS_SUCCESS {
		return n, status
	}
	if full.path == "" {
		return n, nt.STATUS_OBJECT_PATH_SYNTAX_BAD
	}
	n.object, n.rest, status = c.Ob.LookupReference(full.path)
	if status != nt.STATUS_SUCCESS {
		n.object = nil
		return n, status
	}
	var ok bool
	if n.dev, ok = n.object.Body.(*devobj.Device); !ok {
		return n, nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	return n, nt.STATUS_SUCCESS
}

// openRequest is what ZwCreateFile is told besides the name.
type openRequest struct {
	access, attributes, share, disposition, options uint32
}

// openFile opens what an OBJECT_ATTRIBUTES names and makes a handle.
func (c *Call) openFile(r openRequest, attributes guest.Addr) (h nt.Handle, information uint64,
	status nt.Status) {
	n, status := c.fileNameOf(attributes)
	defer c.dropName(n)
	if status != nt.STATUS_SUCCESS {
		return 0, 0, status
	}
	if r.access&nt.MAXIMUM_ALLOWED != 0 {
		r.access = r.access&^nt.MAXIMUM_ALLOWED | nt.GENERIC_ALL
	}
	r.access = nt.MapGenericAccess(r.access, nt.FileGenericMapping)
	const synchronous = nt.FILE_SYNCHRONOUS_IO_ALERT | nt.FILE_SYNCHRONOUS_IO_NONALERT
	switch {
	case r.disposition > nt.FILE_OVERWRITE_IF, r.share&^nt.FILE_SHARE_VALID_FLAGS != 0,
		r.options&synchronous == synchronous,
		r.options&synchronous != 0 && r.access&nt.SYNCHRONIZE == 0:
		return 0, 0, nt.STATUS_INVALID_PARAMETER
	}
	f := &kernelFile{}
	if v := c.volumes[n.dev]; v != nil {
		information, status = c.openOnVolume(f, v, n, r)
	} else {
		f.open, status, information = c.IO.Create(c.T, n.dev, nil, irp.OpenInfo{
			OpenInfo: devobj.OpenInfo{Name: n.rest, Access: r.access, ShareAccess: uint16(r.share),
				Options: r.options, Related: n.related},
			Disposition: uint8(r.disposition), FileAttributes: uint16(r.attributes)})
	}
	if f.open == nil {
		return 0, information, status
	}
	f.open.File.Owner = f
	o := c.Ob.Find(f.open.File.Object.Addr())
	h, s := c.newHandle(o, r.access, n.attributes)
	if s != nt.STATUS_SUCCESS {
		c.endFile(c.T, f)
		return 0, 0, s
	}
	return h, information, status
}

func (c *Call) openOnVolume(f *kernelFile, v *volume.Volume, n fileName, r openRequest) (
	information uint64, status nt.Status) {
	name := n.rest
	if n.related != nil {
		dir, _ := n.related.Owner.(*kernelFile)
		if dir == nil || dir.host == nil {
			return 0, nt.STATUS_OBJECT_TYPE_MISMATCH
		}
		name = strings.TrimSuffix(dir.host.Name(), `\`)
		if n.rest != "" {
			name += `\` + n.rest
		}
	}
	host, opened, status := v.Open(volume.Request{Name: name, Access: r.access, Share: r.share,
		Disposition: r.disposition, Options: r.options, Attributes: r.attributes})
	if status != nt.STATUS_SUCCESS {
		return 0, status
	}
	file, status := c.Dev.Open(n.dev, devobj.OpenInfo{Name: host.Name(), Access: r.access,
		ShareAccess: uint16(r.share), Options: r.options})
	if status != nt.STATUS_SUCCESS {
		host.Close()
		return 0, status
	}
	f.host = host
	f.open = irp.NewOpen(file, c.T, r.access, nil, 0)
	return uint64(opened), nt.STATUS_SUCCESS
}

// fileClosed is told of every closed handle to a file: the last one of the kernel's ends the file, on
// the thread that closed it if that is known, else on one of its own.
func (k *Kernel) fileClosed(o *ob.Object, left int64) {
	file, ok := o.Body.(*devobj.File)
	if !ok || left != 0 {
		return
	}
	f, ok := file.Owner.(*kernelFile)
	if !ok || !k.Ob.Reference(o.Addr) { // the handle's goes next
		return
	}
	k.closingMu.Lock()
	k.closing = append(k.closing, f)
	k.closingMu.Unlock()
}

// finishFiles ends the files whose last handles were closed, on thread t.
func (k *Kernel) finishFiles(t *ke.Thread) {
	for {
		k.closingMu.Lock()
		n := len(k.closing)
		if n == 0 {
			k.closingMu.Unlock()
			return
		}
		f := k.closing[0]
		k.closing = k.closing[1:]
		k.closingMu.Unlock()
		if o := k.Ob.Find(f.open.File.Object.Addr()); o != nil {
			_, _ = k.Ob.Dereference(o.Addr) // fileClosed's
		}
		k.endFile(t, f)
	}
}

// finishFilesElsewhere is finishFiles where no thread is at hand.
func (k *Kernel) finishFilesElsewhere() {
	k.closingMu.Lock()
	n := len(k.closing)
	k.closingMu.Unlock()
	if n == 0 {
		return
	}
	t, err := k.Ke.NewThread(k.Ke.SystemProcess)
	if err != nil {
		return // the kernel has ended
	}
	_ = t.Do(func() { k.finishFiles(t) })
	t.Release()
}

// endFile does what follows when a file has no handles any more: CLEANUP, what pends is cancelled,
// and CLOSE when drivers have no references to it either.
func (k *Kernel) endFile(t *ke.Thread, f *kernelFile) {
	if f.host != nil {
		f.host.Close()
		// Who has a reference keeps the memory only.
		if k.IO.Release(f.open, func() { k.later(func() { k.Dev.Delete(f.open.File) }) }) {
			k.Dev.Delete(f.open.File)
		}
		return
	}
	k.IO.Cleanup(t, f.open)
	k.IO.CancelAll(t, f.open)
	if k.IO.Release(f.open, func() { k.later(func() { k.closeFileElsewhere(f.open) }) }) {
		k.IO.CloseFile(t, f.open)
	}
}

// later ends a file on a goroutine of its own, for which waitForCloses waits. When the kernel ends,
// which gives back what the file has with all else, it does nothing.
func (k *Kernel) later(end func()) {
	k.closingMu.Lock()
	if k.closesEnded {
		k.closingMu.Unlock()
		return
	}
	k.closesLater++
	k.closingMu.Unlock()
	go func() {
		end()
		k.closingMu.Lock()
		k.closesLater--
		if k.closesLater == 0 && k.closesDone != nil {
			close(k.closesDone)
			k.closesDone = nil
		}
		k.closingMu.Unlock()
	}()
}

// endCloses waits for the files that end, and has no others end.
func (k *Kernel) endCloses() {
	k.closingMu.Lock()
	k.closesEnded = true
	k.closingMu.Unlock()
	k.waitForCloses()
}

// waitForCloses waits for the files whose last references have gone, so that a driver that is about
// to be unloaded has none of them open.
func (k *Kernel) waitForCloses() {
	k.closingMu.Lock()
	if k.closesLater == 0 {
		k.closingMu.Unlock()
		return
	}
	if k.closesDone == nil {
		k.closesDone = make(chan struct{})
	}
	done := k.closesDone
	k.closingMu.Unlock()
	<-done
}

func (k *Kernel) closeFileElsewhere(f *irp.Open) {
	t, err := k.Ke.NewThread(k.Ke.SystemProcess)
	if err != nil {
		return // the kernel has ended
	}
	_ = t.Do(func() { k.IO.CloseFile(t, f) })
	t.Release()
}

// fileOf gives the file of a handle, with a reference to its object. access is what a handle in user
// mode would need.
func (c *Call) fileOf(h nt.Handle, access uint32) (*kernelFile, ob.Handle, nt.Status) {
	e, status := c.reference(h, access, c.types.file, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return nil, e, status
	}
	f, ok := e.Object.Body.(*devobj.File).Owner.(*kernelFile)
	if !ok {
		c.dereference(e.Object)
		return nil, e, nt.STATUS_INVALID_HANDLE // a client's
	}
	return f, e, nt.STATUS_SUCCESS
}

// synchronous reports whether the file is open for synchronous I/O.
func (f *kernelFile) synchronous() bool {
	return f.open.File.Object.Ref().Flags&nt.FO_SYNCHRONOUS_IO != 0
}

// take makes the thread the one that has a request on a file for synchronous I/O, as the file
// object's lock does; give lets the next one in.
func (f *kernelFile) take(t *ke.Thread) {
	f.serial.Lock()
	if !f.busy {
		f.busy = true
		f.serial.Unlock()
		return
	}
	f.queue = append(f.queue, t)
	f.serial.Unlock()
	t.Park(func() bool {
		f.serial.Lock()
		defer f.serial.Unlock()
		for _, w := range f.queue {
			if w == t {
				return false
			}
		}
		return true
	})
}

func (f *kernelFile) give() {
	f.serial.Lock()
	var next *ke.Thread
	if len(f.queue) > 0 {
		next, f.queue = f.queue[0], f.queue[1:]
	} else {
		f.busy = false
	}
	f.serial.Unlock()
	if next != nil {
		next.Unpark()
	}
}
