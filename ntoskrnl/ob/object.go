package ob

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Type is a kind of object.
type Type struct {
	// Name is the type's name in Windows: "Device".
	Name string
	// Owned says that the reference of an object's creation belongs to whoever created it, who gives
	// it back with Release: a Dereference that would take it is an error.
	Owned bool
	// Last, if set, is told when the last reference has gone, on the thread that gave it back. If it
	// says true the object stays: it has one reference again, Last's own, to be given back with
	// Dereference.
	Last func(o *Object) (keep bool)
	// Delete, if set, is called before the object's memory is given back.
	Delete func(o *Object)

	// Mapping is what the generic rights mean for objects of the type, Valid which rights they have.
	Mapping nt.GenericMapping
	Valid   uint32
	// Closed, if set, is told that a handle to the object was closed, and how many there still are. It
	// runs before the handle's reference is given back.
	Closed func(o *Object, left int64)

	index uint8
	addr  guest.Addr // of its OBJECT_TYPE
}

// Object is a kernel object.
type Object struct {
	Type *Type
	// Addr is the address of the object's body; the header lies before it.
	Addr guest.Addr
	// Body is what the owner of the type keeps for the object.
	Body any

	size   uintptr // with the header, in bytes
	number uint32  // in the table of the manager
	owned  atomic.Bool
	name   string // the last component; empty for an object without a name
	parent *directory

	permanent bool // keeps its name when the last handle is closed
	counted   bool // its name holds a reference
}

// Header offsets and size: OBJECT_HEADER on x64.
const (
	headerSize   = 0x30
	pointerCount = 0x00
	handleCount  = 0x08
	typeIndex    = 0x18
	objectNumber = 0x20 // where Windows points at what created the object
)

// Manager holds the objects of one kernel.
type Manager struct {
	// table has the objects by the number that their header holds, so that an address leads to its
	// object without a lock. It is replaced when it grows; numbers are used again.
	table atomic.Pointer[[]atomic.Pointer[Object]]

	mu     sync.RWMutex // guards what follows, and changes of table
	spare  []uint32     // numbers that are free
	memory memory
	root   *directory
	types  []*Type

	typeType, directoryType, linkType *Type
	kernel                            *HandleTable

	// LinkGone, if set, is told that a symbolic link has lost its name because the last handle to it
	// was closed.
	LinkGone func(path string)
}

// New makes a manager with an empty namespace. alloc gives zeroed nonpaged memory, aligned to 16
// bytes; it is called with the manager's lock held.
func New(alloc func(size uintptr) (guest.Addr, error), free func(addr guest.Addr)) *Manager {
	m := &Manager{memory: memory{alloc: alloc, free: free}}
	m.table.Store(new([]atomic.Pointer[Object]))
	m.kernel = m.NewHandleTable()
	m.directoryType, m.linkType = newDirectoryType(), newLinkType()
	m.root = newDirectory("", nil)
	for _, name := range []string{"Device", "Driver", "FileSystem", "GLOBAL??", "Callback",
		"BaseNamedObjects", "KernelObjects", "ObjectTypes"} {
		m.root.entries[fold(name)] = newDirectory(name, m.root)
	}
	for _, alias := range []string{"??", "DosDevices"} {
		m.root.entries[fold(alias)] = &link{name: alias, target: `\GLOBAL??`, system: true}
	}
	dos := m.root.entries[fold("GLOBAL??")].(*directory)
	dos.entries[fold("Global")] = &link{name: "Global", target: `\GLOBAL??`, system: true}
	dos.entries[fold("GLOBALROOT")] = &link{name: "GLOBALROOT", target: "", system: true}
	return m
}

// Close gives all memory back. No object may be used any more.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table.Store(new([]atomic.Pointer[Object]))
	m.spare = nil
	m.memory.close()
}

var errTooLarge = errors.New("ob: the object is too large")

// Create makes an object with a body of size zeroed bytes and one reference. It has no name yet.
func (m *Manager) Create(t *Type, size uintptr, body any) (*Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.create(t, size, body)
}

// create is Create; m.mu is held.
func (m *Manager) create(t *Type, size uintptr, body any) (*Object, error) {
	o := &Object{Type: t, Body: body, size: headerSize + size}
	base, err := m.memory.get(o.size)
	if err != nil {
		return nil, err
	}
	o.Addr = base + headerSize
	o.owned.Store(t.Owned)
	if len(m.spare) == 0 {
		m.grow()
	}
	o.number = m.spare[len(m.spare)-1]
	if err := errors.Join(guest.Store64(base+pointerCount, 1),
		guest.Store8(base+typeIndex, o.encodedType()),
		guest.Store32(base+objectNumber, o.number)); err != nil {
		return nil, err
	}
	m.spare = m.spare[:len(m.spare)-1]
	(*m.table.Load())[o.number].Store(o)
	return o, nil
}

// grow doubles the table. The caller holds m.mu.
func (m *Manager) grow() {
	old := *m.table.Load()
	bigger := make([]atomic.Pointer[Object], max(64, 2*len(old)))
	for i := range old {
		bigger[i].Store(old[i].Load())
	}
	for i := len(bigger) - 1; i >= len(old); i-- {
		m.spare = append(m.spare, uint32(i))
	}
	m.table.Store(&bigger)
}

// Find gives the object at an address, or nil when there is none: the number in the header before
// it says where in the table to look, and the table whether that is true.
func (m *Manager) Find(addr guest.Addr) *Object {
	if addr < headerSize {
		return nil
	}
	n, err := guest.Load32(addr - headerSize + objectNumber)
	if err != nil {
		return nil
	}
	if table := *m.table.Load(); n < uint32(len(table)) {
		if o := table[n].Load(); o != nil && o.Addr == addr {
			return o
		}
	}
	return nil
}

// count is where the reference count of an object lies.
func (o *Object) count() guest.Addr { return o.Addr - headerSize + pointerCount }

// Reference adds a reference to the object at addr, and reports whether there is one. An object
// whose last reference has gone cannot be had any more.
func (m *Manager) Reference(addr guest.Addr) bool { return m.AddReference(addr) > 0 }

// AddReference is Reference, and gives the count that there is then: 0 if there is no such object.
func (m *Manager) AddReference(addr guest.Addr) int64 {
	o := m.Find(addr)
	if o == nil {
		return 0
	}
	return o.addReference()
}

func (o *Object) reference() bool { return o.addReference() > 0 }

func (o *Object) addReference() int64 {
	at := o.count()
	for {
		n, err := guest.Load64(at)
		if err != nil || int64(n) <= 0 {
			return 0
		}
		if done, err := guest.CompareAndSwap64(at, n, n+1); err != nil {
			return 0
		} else if done {
			return int64(n) + 1
		}
	}
}

// RefError says that a reference was given back that nobody had: Windows' bugcheck
// REFERENCE_BY_POINTER, with the object and its count.
type RefError struct {
	Object guest.Addr
	Count  int64
	// Type is the name of the object's type, "" if it is no object.
	Type string
}

// Error names the object.
func (e *RefError) Error() string {
	if e.Type == "" {
		return fmt.Sprintf("dereference of %v, which is no object", e.Object)
	}
	return fmt.Sprintf("dereference of %v, a %s object, of which the caller has no reference (count %d)",
		e.Object, e.Type, e.Count)
}

// BugCheck gives the code and the parameters.
func (e *RefError) BugCheck() (nt.BugCheck, [4]uint64) {
	const dereferenced = 2
	return nt.REFERENCE_BY_POINTER, [4]uint64{0, uint64(e.Object), dereferenced, uint64(e.Count)}
}

// Dereference takes a reference away; the last one deletes the object. The count that is left is
// given. A *RefError says that the caller has none.
func (m *Manager) Dereference(addr guest.Addr) (left int64, err error) {
	o := m.Find(addr)
	if o == nil {
		return 0, &RefError{Object: addr}
	}
	return m.dereference(o)
}

func (m *Manager) dereference(o *Object) (left int64, err error) {
	for {
		n, err := guest.Load64(o.count())
		if err != nil {
			return 0, err
		}
		left = int64(n) - 1
		if left < o.least() || left == 0 && o.Handles() > 0 {
			// The owner, or a handle of a moment ago, may have come in between.
			if now, err := guest.Load64(o.count()); err == nil && now != n {
				continue
			}
			return left, &RefError{Object: o.Addr, Count: left, Type: o.Type.Name}
		}
		done, err := guest.CompareAndSwap64(o.count(), n, uint64(left))
		if err != nil {
			return 0, err
		}
		if done {
			break
		}
	}
	if left > 0 {
		return left, nil
	}
	if o.Type.Last != nil {
		// Last's reference is there before Last is called: who it tells may give it back at once.
		if err := guest.Store64(o.count(), 1); err != nil {
			return 0, err
		}
		if o.Type.Last(o) {
			return 0, nil
		}
		if err := guest.Store64(o.count(), 0); err != nil {
			return 0, err
		}
	}
	m.delete(o)
	return 0, nil
}

// least is the count that a Dereference may leave at least. It must be asked for after the count was
// read: Release first ends the ownership, and then takes the owner's reference away.
func (o *Object) least() int64 {
	if o.owned.Load() {
		return 1
	}
	return 0
}

// Release gives back the reference that the object's creation gave to its owner, once. It reports
// whether it was the last.
func (m *Manager) Release(o *Object) (last bool) {
	if !o.owned.Swap(false) {
		return false
	}
	// A driver that has overwritten the count has made the object immortal.
	left, err := m.dereference(o)
	return err == nil && left == 0
}

// Held reports whether anybody but the owner has a reference to the object.
func (m *Manager) Held(o *Object) bool {
	n := m.References(o)
	if o.owned.Load() {
		n--
	}
	return n > 0
}

// References gives the object's reference count.
func (m *Manager) References(o *Object) int64 {
	n, err := guest.Load64(o.count())
	if err != nil {
		return 0
	}
	return int64(n)
}

func (m *Manager) delete(o *Object) {
	m.mu.Lock()
	slot := &(*m.table.Load())[o.number]
	if !slot.CompareAndSwap(o, nil) {
		m.mu.Unlock()
		return
	}
	m.spare = append(m.spare, o.number)
	m.unname(o)
	m.mu.Unlock()
	if o.Type.Delete != nil {
		o.Type.Delete(o)
	}
	m.mu.Lock()
	m.memory.put(o.Addr-headerSize, o.size)
	m.mu.Unlock()
}

// Outstanding gives the objects that still exist, in no order.
func (m *Manager) Outstanding() []*Object {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var all []*Object
	table := *m.table.Load()
	for i := range table {
		if o := table[i].Load(); o != nil {
			all = append(all, o)
		}
	}
	return all
}

// Path gives the object's full name, or "" when it has none. That of the root is a backslash.
func (m *Manager) Path(o *Object) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if o.Body == any(m.root) {
		return `\`
	}
	if o.parent == nil {
		return ""
	}
	return o.parent.path() + `\` + o.name
}
