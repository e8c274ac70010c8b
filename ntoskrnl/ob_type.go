package ntoskrnl

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Object types: the variables that point at their OBJECT_TYPEs, and what makes threads and
// processes objects.
var obTypeExports = []Export{
	typeVariable("ExEventObjectType", func(t *objectTypes) *ob.Type { return t.event }),
	typeVariable("IoDeviceObjectType", func(t *objectTypes) *ob.Type { return t.device }),
	typeVariable("IoDriverObjectType", func(t *objectTypes) *ob.Type { return t.driver }),
	typeVariable("IoFileObjectType", func(t *objectTypes) *ob.Type { return t.file }),
	typeVariable("PsProcessType", func(t *objectTypes) *ob.Type { return t.process }),
	typeVariable("PsThreadType", func(t *objectTypes) *ob.Type { return t.thread }),
	typeVariable("CmKeyObjectType", func(t *objectTypes) *ob.Type { return t.key }),
	emptyType("ExDesktopObjectType", func(t *objectTypes) *ob.Type { return t.desktop }),
	emptyType("ExSemaphoreObjectType", func(t *objectTypes) *ob.Type { return t.semaphore }),
	emptyType("LpcPortObjectType", func(t *objectTypes) *ob.Type { return t.port }),
	typeVariable("MmSectionObjectType", func(t *objectTypes) *ob.Type { return t.section }),
	emptyType("PsJobType", func(t *objectTypes) *ob.Type { return t.job }),
	emptyType("SeTokenObjectType", func(t *objectTypes) *ob.Type { return t.token }),
}

// typeVariable is the row of a POBJECT_TYPE.
func typeVariable(name string, which func(t *objectTypes) *ob.Type) Export {
	return Export{Name: name, Data: 8, MaxIRQL: anyIRQL, Support: Full,
		Init: func(k *Kernel) []byte { return addrBytes(which(&k.types).Addr()) }}
}

// emptyType is that of a type of which the system has no objects.
func emptyType(name string, which func(t *objectTypes) *ob.Type) Export {
	row := typeVariable(name, which)
	row.Support, row.Note = Partial, "there are no objects of the type"
	return row
}

// objectTypes are the types of a kernel's objects.
type objectTypes struct {
	process, thread                         *ob.Type
	event, semaphore                        *ob.Type
	driver, device, file                    *ob.Type
	directory, link                         *ob.Type
	key, desktop, port, section, token, job *ob.Type
}

// makeTypes makes the types. Their rights and what the generic ones mean are those of Windows 10.
func (k *Kernel) makeTypes() error {
	t := &k.types
	_, t.directory, t.link = k.Ob.Builtin()
	t.driver, t.device, t.file = k.Dev.Types()
	for _, typ := range []*ob.Type{t.driver, t.device, t.file} {
		typ.Mapping, typ.Valid = nt.FileGenericMapping, nt.FILE_ALL_ACCESS
	}
	t.process = &ob.Type{Name: "Process", Owned: true, Delete: k.processGone, Valid: 0x1FFFFF,
		Mapping: mapping(0x20410, 0x20BEA, 0x121001, 0x1FFFFF)}
	t.thread = &ob.Type{Name: "Thread", Owned: true, Delete: k.threadGone, Valid: 0x1FFFFF,
		Mapping: mapping(0x20048, 0x20437, 0x121800, 0x1FFFFF)}
	t.event = &ob.Type{Name: "Event", Valid: eventAllAccess,
		Mapping: mapping(0x20001, 0x20002, 0x120000, eventAllAccess)}
	t.semaphore = &ob.Type{Name: "Semaphore", Valid: 0x1F0003,
		Mapping: mapping(0x20001, 0x20002, 0x120000, 0x1F0003)}
	t.key = &ob.Type{Name: "Key", Delete: k.keyGone, Valid: 0x1F003F, Mapping: mapping(0x20019, 0x20006, 0x20039,
		0xF003F)}
	t.desktop = &ob.Type{Name: "Desktop", Valid: 0xF01FF,
		Mapping: mapping(0x20041, 0x200BE, 0x20100, 0xF01FF)}
	t.port = &ob.Type{Name: "ALPC Port", Valid: 0x1F0001,
		Mapping: mapping(0x20001, 0x10001, 0, 0x1F0001)}
	t.section = &ob.Type{Name: "Section", Delete: sectionGone, Valid: 0x1F001F,
		Mapping: mapping(0x20005, 0x20002, 0x20008, 0xF001F)}
	t.token = &ob.Type{Name: "Token", Valid: 0x1F01FF,
		Mapping: mapping(0x2001A, 0x201E0, 0x20005, 0xF01FF)}
	t.job = &ob.Type{Name: "Job", Valid: 0x1F003F,
		Mapping: mapping(0x20004, 0x2000B, 0x120000, 0x1F003F)}
	for _, typ := range []*ob.Type{t.directory, t.link, t.token, t.job, t.process, t.thread, t.event,
		t.semaphore, t.desktop, t.driver, t.device, t.file, t.section, t.key, t.port} {
		if err := k.Ob.AddType(typ); err != nil {
			return err
		}
	}
	return nil
}

func mapping(read, write, execute, all uint32) nt.GenericMapping {
	return nt.GenericMapping{GenericRead: read, GenericWrite: write, GenericExecute: execute,
		GenericAll: all}
}

// eventAllAccess is EVENT_ALL_ACCESS.
const eventAllAccess uint32 = 0x1F0003

// newKeObject makes the object of a thread or process. A thread's holds a reference to its
// process's.
func (k *Kernel) newKeObject(kind ke.ObjectKind, size uintptr, body any) (guest.Addr, error) {
	typ, id := k.types.thread, objectID{kind: kind}
	switch b := body.(type) {
	case *ke.Process:
		typ, id.id = k.types.process, b.ID
		b.Handles = k.Ob.NewHandleTable()
		if b.ID == systemProcessID {
			b.Handles = k.Ob.KernelHandles()
		}
	case *ke.Thread:
		id.id = b.ID
		if !k.Ob.Reference(b.Process.Object) {
			return 0, nt.STATUS_PROCESS_IS_TERMINATING
		}
	}
	o, err := k.Ob.Create(typ, size, body)
	if err != nil {
		if t, ok := body.(*ke.Thread); ok {
			_, _ = k.Ob.Dereference(t.Process.Object) // taken above
		}
		return 0, err
	}
	k.ids.Lock()
	k.byID[id] = o.Addr
	k.ids.Unlock()
	return o.Addr, nil
}

const systemProcessID = 4

// dropKeObject gives back the reference that its creation gave.
func (k *Kernel) dropKeObject(a guest.Addr) {
	if o := k.Ob.Find(a); o != nil {
		k.Ob.Release(o)
	}
}

// objectID is the identifier of a process or thread.
type objectID struct {
	kind ke.ObjectKind
	id   uintptr
}

// forgetID says that the object with an identifier is gone. A process that has the same one by now
// keeps it.
func (k *Kernel) forgetID(id objectID, a guest.Addr) {
	k.ids.Lock()
	defer k.ids.Unlock()
	if k.byID[id] == a {
		delete(k.byID, id)
	}
}

func (k *Kernel) processGone(o *ob.Object) {
	k.forgetID(objectID{ke.KindProcess, o.Body.(*ke.Process).ID}, o.Addr)
}

func (k *Kernel) threadGone(o *ob.Object) {
	t := o.Body.(*ke.Thread)
	k.forgetID(objectID{ke.KindThread, t.ID}, o.Addr)
	// It fails when a driver has given back the thread's reference as its own; that was said then.
	_, _ = k.Ob.Dereference(t.Process.Object)
}

// lookupID gives the process or thread with an identifier, with a reference to it, also when it has
// ended but somebody has a reference to its object. STATUS_INVALID_CID.
func (k *Kernel) lookupID(kind ke.ObjectKind, id uintptr) (*ob.Object, nt.Status) {
	k.ids.Lock()
	defer k.ids.Unlock()
	// While it is in the table its memory is its own.
	o := k.Ob.Find(k.byID[objectID{kind, id}])
	if o == nil || !k.ready(o) || !k.Ob.Reference(o.Addr) {
		return nil, nt.STATUS_INVALID_CID
	}
	return o, nt.STATUS_SUCCESS
}

// ready reports whether an object is made to the end, which its identifier says, and not about to
// be deleted: a thread is that has ended and to which only the system itself has a reference.
func (k *Kernel) ready(o *ob.Object) bool {
	if o.Type == k.types.process {
		return guest.Ptr[nt.EProcess](o.Addr).Ref().UniqueProcessId != 0
	}
	t := guest.Ptr[nt.EThread](o.Addr).Ref()
	ended := atomic.LoadUint32(&t.CrossThreadFlags)&nt.PS_CROSS_THREAD_FLAGS_TERMINATED != 0
	return t.Cid.UniqueThread != 0 && (!ended || k.Ob.Held(o))
}
