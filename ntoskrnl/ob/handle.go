package ob

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Handles: a table for each process, whose entries lead to objects with the access that was
// granted.

// HandleTable is the handles of one process. Its methods may be called from any goroutine.
type HandleTable struct {
	m *Manager

	mu      sync.RWMutex
	entries []handleEntry
	free    []uint32 // indexes, the one that was freed longest ago first
	count   int
}

type handleEntry struct {
	object     *Object // nil: free
	access     uint32
	attributes uint32
}

// Handle is what a handle leads to.
type Handle struct {
	Object *Object
	// Access are the rights that were granted, Attributes OBJ_INHERIT and OBJ_PROTECT_CLOSE.
	Access     uint32
	Attributes uint32
}

// CurrentProcess and CurrentThread are the pseudo handles of the caller's process and thread, which
// are in no table.
const (
	CurrentProcess = ^nt.Handle(0)
	CurrentThread  = ^nt.Handle(1)
)

// OBJ_PROTECT_CLOSE is the attribute of a handle that must not be closed.
const OBJ_PROTECT_CLOSE uint32 = 0x00000001

const (
	// handleStep is the difference between two handles: their two lowest bits are the owner's.
	handleStep = 4
	// maxHandles is how many handles a table can have, as on Windows.
	maxHandles = 1 << 24
	// keptHandles is how many closed handles are not used again yet, so that one that is used after it
	// was closed is noticed.
	keptHandles = 64

	// kernelBits are set in handles of the kernel's table.
	kernelBits = ^nt.Handle(0x7FFFFFFF)
)

// IsKernelHandle reports whether a handle is one of the kernel's table. The pseudo handles of the
// current process and thread are not.
func IsKernelHandle(h nt.Handle) bool {
	return h&kernelBits == kernelBits && h != CurrentProcess && h != CurrentThread
}

// KernelHandle gives the form that a handle of the kernel's table has everywhere.
func KernelHandle(h nt.Handle) nt.Handle { return h | kernelBits }

// NewHandleTable makes an empty table.
func (m *Manager) NewHandleTable() *HandleTable { return &HandleTable{m: m} }

// KernelHandles gives the kernel's table, which is also that of the System process.
func (m *Manager) KernelHandles() *HandleTable { return m.kernel }

// Handles gives the number of handles to the object.
func (o *Object) Handles() int64 {
	n, err := guest.Load64(o.Addr - headerSize + handleCount)
	if err != nil {
		return 0
	}
	return int64(n)
}

// Add makes a handle with the given rights, which holds a reference to the object.
// STATUS_INSUFFICIENT_RESOURCES when the table is full.
func (h *HandleTable) Add(o *Object, access, attributes uint32) (nt.Handle, nt.Status) {
	if !o.reference() {
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	h.mu.Lock()
	var i uint32
	switch {
	case len(h.free) > keptHandles:
		i = h.free[0]
		h.free = h.free[1:]
	case len(h.entries) < maxHandles:
		if len(h.entries) == 0 {
			h.entries = append(h.entries, handleEntry{}) // there is no handle 0
		}
		i = uint32(len(h.entries))
		h.entries = append(h.entries, handleEntry{})
	default:
		h.mu.Unlock()
		_, _ = h.m.dereference(o) // taken above
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	o.addHandle(1)
	h.entries[i] = handleEntry{o, access, attributes & (nt.OBJ_INHERIT | OBJ_PROTECT_CLOSE)}
	h.count++
	h.mu.Unlock()
	return nt.Handle(i) * handleStep, nt.STATUS_SUCCESS
}

// addHandle counts a handle, or with -1 one less, and gives how many there are.
func (o *Object) addHandle(n int64) int64 {
	// The header is mapped as long as the manager lives.
	now, _ := guest.Add64(o.Addr-headerSize+handleCount, uint64(n))
	return int64(now)
}

// entry gives the entry of a handle, or nil. The caller holds h.mu.
func (h *HandleTable) entry(handle nt.Handle) *handleEntry {
	if IsKernelHandle(handle) {
		handle &^= kernelBits
	}
	i := uint64(handle) / handleStep
	if i >= uint64(len(h.entries)) || h.entries[i].object == nil {
		return nil
	}
	return &h.entries[i]
}

// Reference gives what a handle leads to, with a reference to the object. STATUS_INVALID_HANDLE.
func (h *HandleTable) Reference(handle nt.Handle) (Handle, nt.Status) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	e := h.entry(handle)
	if e == nil || !e.object.reference() {
		return Handle{}, nt.STATUS_INVALID_HANDLE
	}
	return Handle{e.object, e.access, e.attributes}, nt.STATUS_SUCCESS
}

// SetAttributes sets the attributes of a handle: OBJ_INHERIT and OBJ_PROTECT_CLOSE or neither.
// STATUS_INVALID_HANDLE.
func (h *HandleTable) SetAttributes(handle nt.Handle, attributes uint32) nt.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entry(handle)
	if e == nil {
		return nt.STATUS_INVALID_HANDLE
	}
	e.attributes = attributes & (nt.OBJ_INHERIT | OBJ_PROTECT_CLOSE)
	return nt.STATUS_SUCCESS
}

// Close closes a handle. STATUS_INVALID_HANDLE, STATUS_HANDLE_NOT_CLOSABLE for one that is
// protected. An error is a *RefError: the handle's own reference was given back by somebody else
// before.
func (h *HandleTable) Close(handle nt.Handle) (nt.Status, error) {
	h.mu.Lock()
	e := h.entry(handle)
	switch {
	case e == nil:
		h.mu.Unlock()
		return nt.STATUS_INVALID_HANDLE, nil
	case e.attributes&OBJ_PROTECT_CLOSE != 0:
		h.mu.Unlock()
		return nt.STATUS_HANDLE_NOT_CLOSABLE, nil
	}
	o := e.object
	*e = handleEntry{}
	h.free = append(h.free, uint32((handle&^kernelBits)/handleStep))
	h.count--
	h.mu.Unlock()
	return nt.STATUS_SUCCESS, h.m.closed(o)
}

// closed does what follows when a handle to o is gone.
func (m *Manager) closed(o *Object) error {
	left := o.addHandle(-1)
	if o.Type.Closed != nil {
		o.Type.Closed(o, left)
	}
	if left == 0 {
		m.removeName(o, func() bool { return !o.permanent && o.Handles() == 0 })
	}
	_, err := m.dereference(o)
	return err
}

// CloseAll closes every handle, also those that are protected: the process has ended.
func (h *HandleTable) CloseAll() {
	h.mu.Lock()
	entries := h.entries
	h.entries, h.free, h.count = nil, nil, 0
	h.mu.Unlock()
	for _, e := range entries {
		if e.object != nil {
			// A driver that has given back the handle's reference was told so.
			_ = h.m.closed(e.object)
		}
	}
}

// Len gives how many handles there are.
func (h *HandleTable) Len() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.count
}

// Find gives the first handle for which match says true.
func (h *HandleTable) Find(match func(Handle) bool) (nt.Handle, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for i, e := range h.entries {
		if e.object != nil && match(Handle{e.object, e.access, e.attributes}) {
			return nt.Handle(i) * handleStep, true
		}
	}
	return 0, false
}
