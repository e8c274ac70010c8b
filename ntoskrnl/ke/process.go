package ke

import (
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Process is an EPROCESS: the system itself, or a client.
type Process struct {
	sys      *System
	released atomic.Bool

	// Object is the address of the EPROCESS.
	Object guest.Addr
	// ID is the process identifier: a client's real one.
	ID uintptr
	// ParentID is the identifier of the process that has started it, 0 if it is not known.
	ParentID uintptr
	// Name is the image's name.
	Name string
	// Window is what the memory manager keeps for the process, Handles the object manager.
	Window  any
	Handles any
}

// NewProcess makes a process object. Release gives it back.
func (s *System) NewProcess(id uintptr, name string) (*Process, error) {
	p := &Process{sys: s, ID: id, Name: name}
	obj, err := newObject[nt.EProcess](s, KindProcess, sizeofEProcess, p)
	if err != nil {
		return nil, err
	}
	p.Object = obj.Addr()
	e := obj.Ref()
	e.Pcb.Header.Type = nt.ProcessObject
	e.Pcb.Header.Size = uint8(sizeofKProcess / 4 & 0xFF)
	initList(&e.Pcb.Header.WaitListHead)
	e.UniqueProcessId = nt.Handle(id)
	e.CreateTime = s.SystemTime()
	e.ExitStatus = nt.STATUS_PENDING
	copy(e.ImageFileName[:len(e.ImageFileName)-1], name)
	initList(&e.ThreadListHead)
	initList(&e.ActiveProcessLinks)
	s.registry.Lock()
	s.processes[p] = struct{}{}
	s.registry.Unlock()
	return p, nil
}

// ProcessAt gives the process whose EPROCESS is at addr, or nil.
func (s *System) ProcessAt(addr guest.Addr) *Process {
	s.registry.Lock()
	defer s.registry.Unlock()
	for p := range s.processes {
		if p.Object == addr {
			return p
		}
	}
	return nil
}

// Release gives back the process object. No thread may belong to it any more.
func (p *Process) Release() {
	if p.released.Swap(true) {
		return
	}
	p.sys.registry.Lock()
	delete(p.sys.processes, p)
	p.sys.registry.Unlock()
	p.sys.dropObject(p.Object)
}

// End marks the process as ended, with its exit status, and wakes those who wait for it. The object
// stays until Release and for as long as somebody has a reference to it.
func (p *Process) End(status nt.Status) {
	e := guest.Ptr[nt.EProcess](p.Object).Ref()
	e.ExitStatus, e.ExitTime = status, p.sys.SystemTime()
	atomic.StoreUint32(&e.Flags, atomic.LoadUint32(&e.Flags)|nt.PS_PROCESS_FLAGS_PROCESS_EXITING)
	// The object is the host's own memory: it cannot fault.
	_ = p.sys.signalForever(p.Object)
}
