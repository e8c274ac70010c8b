package ob

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
)

// Type is a kind of object.
type Type struct {
	// Name is the type's name in Windows: "Device".
	Name string
	// Delete is called when the last reference has gone, before the memory is given back. It may be
	// nil.
	Delete func(o *Object)
}

// Object is a kernel object.
type Object struct {
	Type *Type
	// Addr is the address of the object's body; the header lies before it.
	Addr guest.Addr
	// Body is what the owner of the type keeps for the object.
	Body any

	number uint32 // in the table of the manager
	name   string // the last component; empty for an object without a name
	parent *directory
}

// Header offsets and size: OBJECT_HEADER on x64.
const (
	headerSize   = 0x30
	pointerCount = 0x00
	objectNumber = 0x20 // where Windows points at what created the object
)

// Manager holds the objects of one kernel.
type Manager struct {
	alloc func(size uintptr) (guest.Addr, error)
	free  func(addr guest.Addr)

	// table has the objects by the number that their header holds, so that an address leads to its
	// object without a lock. It is replaced when it grows; numbers are used again.
	table atomic.Pointer[[]atomic.Pointer[Object]]

	mu    sync.RWMutex // guards what follows, and changes of table
	spare []uint32     // numbers that are free
	root  *directory
}

// New makes a manager with an empty namespace. alloc gives zeroed nonpaged memory, aligned to 16
// bytes.
func New(alloc func(size uintptr) (guest.Addr, error), free func(addr guest.Addr)) *Manager {
	m := &Manager{alloc: alloc, free: free}
	m.table.Store(new([]atomic.Pointer[Object]))
	m.root = newDirectory("", nil)
	for _, name := range []string{`\Device`, `\Driver`, `\FileSystem`, `\GLOBAL??`, `\Callback`,
		`\BaseNamedObjects`, `\KernelObjects`, `\ObjectTypes`} {
		m.root.entries[fold(name[1:])] = newDirectory(name[1:], m.root)
	}
	for _, alias := range []string{"??", "DosDevices"} {
		m.root.entries[fold(alias)] = &link{name: alias, target: `\GLOBAL??`}
	}
	return m
}

// Create makes an object with a body of size zeroed bytes and one reference. It has no name yet.
func (m *Manager) Create(t *Type, size uintptr, body any) (*Object, error) {
	base, err := m.alloc(headerSize + size)
	if err != nil {
		return nil, err
	}
	o := &Object{Type: t, Addr: base + headerSize, Body: body}
	if err := guest.Store64(base+pointerCount, 1); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.spare) == 0 {
		m.grow()
	}
	o.number = m.spare[len(m.spare)-1]
	if err := guest.Store32(base+objectNumber, o.number); err != nil {
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

// Reference adds a reference to the object at addr, and reports whether there is one.
func (m *Manager) Reference(addr guest.Addr) bool {
	if m.Find(addr) == nil {
		return false
	}
	_, err := guest.Add64(addr-headerSize+pointerCount, 1)
	return err == nil
}

// RefError says that a reference was given back that nobody had: Windows' bugcheck
// REFERENCE_BY_POINTER, with the object and its count.
type RefError struct {
	Object guest.Addr
	Count  int64
}

// Error names the object.
func (e *RefError) Error() string {
	return fmt.Sprintf("dereference of %v, which is no object with references (count %d)", e.Object, e.Count)
}

// Dereference takes a reference away; the last one deletes the object. The count that is left is
// given.
func (m *Manager) Dereference(addr guest.Addr) (left int64, err error) {
	o := m.Find(addr)
	if o == nil {
		return 0, &RefError{Object: addr}
	}
	count, err := guest.Add64(addr-headerSize+pointerCount, ^uint64(0))
	if err != nil {
		return 0, err
	}
	switch left = int64(count); {
	case left < 0:
		return left, &RefError{Object: addr, Count: left}
	case left == 0:
		m.delete(o)
	}
	return left, nil
}

// References gives the object's reference count.
func (m *Manager) References(o *Object) int64 {
	n, err := guest.Load64(o.Addr - headerSize + pointerCount)
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
	m.free(o.Addr - headerSize)
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

// Path gives the object's full name, or "" when it has none.
func (m *Manager) Path(o *Object) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if o.parent == nil {
		return ""
	}
	return o.parent.path() + `\` + o.name
}
