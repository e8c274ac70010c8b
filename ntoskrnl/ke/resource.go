package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Executive resources: ERESOURCE, locks for many readers or one writer. Who owns one, and how many
// wait, is in guest memory; Go has the waiters, by the addresses of the structure's two fields for
// them, in the bucket of the structure's own address, whose lock makes each step one.

// ResourceError is a bugcheck that misuse of an ERESOURCE ends in.
type ResourceError struct {
	Code     nt.BugCheck
	Resource guest.Addr
	Thread   uintptr
	Fact     string
}

// Error names the resource.
func (e *ResourceError) Error() string {
	return fmt.Sprintf("the ERESOURCE at %v %s", e.Resource, e.Fact)
}

// BugCheck gives the bugcheck's code and parameters.
func (e *ResourceError) BugCheck() (nt.BugCheck, [4]uint64) {
	return e.Code, [4]uint64{uint64(e.Resource), uint64(e.Thread), 0, 0}
}

// SharedMode says which exclusive waiters a reader lets go first.
type SharedMode uint8

// The ways to acquire a resource shared.
const (
	// Shared waits behind exclusive waiters, unless the thread is an owner already.
	Shared SharedMode = iota
	// SharedStarveExclusive does not wait behind them.
	SharedStarveExclusive
	// SharedWaitForExclusive waits behind them even as an owner.
	SharedWaitForExclusive
)

// ownerCount is one acquisition in OWNER_ENTRY.TableSize, which has flags below it.
const ownerCount = 1 << 3

// resource is an ERESOURCE under work, with the lock of its bucket held.
type resource struct {
	nt.EResource
	sys  *System
	addr guest.Addr
	b    *bucket
}

// lockResource loads the ERESOURCE at addr and holds its lock, until unlock.
func (s *System) lockResource(addr guest.Addr) (*resource, error) {
	b := s.bucket(addr)
	b.mu.Lock()
	v, err := guest.Ptr[nt.EResource](addr).Load()
	if err != nil {
		b.mu.Unlock()
		return nil, err
	}
	return &resource{EResource: v, sys: s, addr: addr, b: b}, nil
}

// unlock writes the ERESOURCE back.
func (r *resource) unlock() error {
	err := r.store()
	r.b.mu.Unlock()
	return err
}

func (r *resource) store() error { return guest.Ptr[nt.EResource](r.addr).Store(r.EResource) }

// InitializeResource makes the ERESOURCE at addr free.
func InitializeResource(addr guest.Addr) error {
	return guest.Ptr[nt.EResource](addr).Store(nt.EResource{
		SystemResourcesList: nt.ListEntry{Flink: addr, Blink: addr}})
}

// DeleteResource gives back what belongs to an ERESOURCE. One that is owned is a bugcheck.
func (s *System) DeleteResource(addr guest.Addr) error {
	r, err := s.lockResource(addr)
	if err != nil {
		return err
	}
	if r.ActiveCount != 0 || r.b.hasWaiters(addr+resourceShared) ||
		r.b.hasWaiters(addr+resourceExclusive) {
		r.b.mu.Unlock()
		return &ResourceError{nt.RESOURCE_NOT_OWNED, addr, r.OwnerEntry.OwnerThread,
			"is deleted while it is owned"}
	}
	table := r.OwnerTable
	r.OwnerTable = 0
	err = r.unlock()
	if table != 0 && err == nil {
		s.Free(table)
	}
	return err
}

func (r *resource) exclusive() bool { return r.Flag&nt.ResourceOwnedExclusive != 0 }

// tableSize gives the number of entries of the owner table; the first has it, and is no entry.
func (r *resource) tableSize() (int, error) {
	if r.OwnerTable == 0 {
		return 0, nil
	}
	first, err := guest.Ptr[nt.OwnerEntry](r.OwnerTable).Load()
	const most = 1 << 20
	if err == nil && first.TableSize > most {
		err = &ResourceError{nt.RESOURCE_NOT_OWNED, r.addr, 0,
			"has an owner table that was overwritten"}
	}
	return int(first.TableSize), err
}

// owner finds the entry of a thread: at 0 is OwnerEntry, above it are those of the table. index is
// -1 if it owns nothing, and free is the first entry that nobody has, or -1.
func (r *resource) owner(thread uintptr) (index, free int, e nt.OwnerEntry, err error) {
	index, free = -1, -1
	if r.OwnerEntry.OwnerThread == thread && r.OwnerEntry.TableSize >= ownerCount {
		return 0, free, r.OwnerEntry, nil
	}
	if r.OwnerEntry.OwnerThread == 0 {
		free = 0
	}
	n, err := r.tableSize()
	for i := 1; i < n && err == nil; i++ {
		e, err = guest.Ptr[nt.OwnerEntry](r.OwnerTable).At(i).Load()
		if err == nil && e.OwnerThread == thread {
			return i, free, e, nil
		}
		if err == nil && e.OwnerThread == 0 && free < 0 {
			free = i
		}
	}
	return index, free, nt.OwnerEntry{}, err
}

func (r *resource) setOwner(i int, e nt.OwnerEntry) error {
	if i == 0 {
		r.OwnerEntry = e
		return nil
	}
	return guest.Ptr[nt.OwnerEntry](r.OwnerTable).At(i).Store(e)
}

// own adds one acquisition of a thread.
func (r *resource) own(thread uintptr) error {
	i, free, e, err := r.owner(thread)
	if err != nil {
		return err
	}
	if i >= 0 {
		e.TableSize += ownerCount
		return r.setOwner(i, e)
	}
	if free < 0 {
		if free, err = r.growTable(); err != nil {
			return err
		}
	}
	r.ActiveCount++
	r.ActiveEntries++
	return r.setOwner(free, nt.OwnerEntry{OwnerThread: thread, TableSize: ownerCount})
}

// growTable makes room in the owner table, and gives the first new entry.
func (r *resource) growTable() (int, error) {
	n, err := r.tableSize()
	if err != nil {
		return 0, err
	}
	size := max(4, 2*n)
	table, err := r.sys.Alloc(uintptr(size) * sizeofOwnerEntry)
	if err != nil {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	if n > 0 {
		if err := guest.Move(table, r.OwnerTable, uintptr(n)*sizeofOwnerEntry); err != nil {
			return 0, err
		}
		r.sys.Free(r.OwnerTable)
	}
	r.OwnerTable = table
	err = guest.Ptr[nt.OwnerEntry](table).Store(nt.OwnerEntry{TableSize: uint32(size)})
	return max(1, n), err
}

// AcquireExclusive makes t the writer, and waits for that if wait is set. It reports whether t is.
// The writer may acquire the resource again, shared or exclusive, and counts once more.
func (t *Thread) AcquireExclusive(addr guest.Addr, wait bool) (bool, error) {
	r, err := t.sys.lockResource(addr)
	if err != nil {
		return false, err
	}
	me := uintptr(t.Object)
	if r.ActiveCount == 0 || r.exclusive() && r.OwnerEntry.OwnerThread == me {
		r.Flag |= nt.ResourceOwnedExclusive
		if err := r.own(me); err != nil {
			r.b.mu.Unlock()
			return false, err
		}
		return true, r.unlock()
	}
	if !wait {
		r.b.mu.Unlock()
		return false, nil
	}
	r.NumberOfExclusiveWaiters++
	return true, r.wait(t, resourceExclusive)
}

// AcquireShared makes t a reader, and waits for that if wait is set. It reports whether t is.
func (t *Thread) AcquireShared(addr guest.Addr, wait bool, mode SharedMode) (bool, error) {
	r, err := t.sys.lockResource(addr)
	if err != nil {
		return false, err
	}
	me := uintptr(t.Object)
	mine, _, _, err := r.owner(me)
	if err != nil {
		r.b.mu.Unlock()
		return false, err
	}
	behind := r.NumberOfExclusiveWaiters > 0
	switch mode {
	case Shared:
		behind = behind && mine < 0
	case SharedStarveExclusive:
		behind = false
	}
	free := r.ActiveCount == 0
	if free || r.exclusive() && mine >= 0 || !r.exclusive() && !behind {
		if free {
			r.Flag &^= nt.ResourceOwnedExclusive
		}
		if err := r.own(me); err != nil {
			r.b.mu.Unlock()
			return false, err
		}
		return true, r.unlock()
	}
	if !wait {
		r.b.mu.Unlock()
		return false, nil
	}
	r.NumberOfSharedWaiters++
	return true, r.wait(t, resourceShared)
}

// wait lets t wait; whoever releases the resource makes it an owner. It unlocks r.
func (r *resource) wait(t *Thread, queue guest.Addr) error {
	r.ContentionCount++
	if err := r.store(); err != nil {
		r.b.mu.Unlock()
		return err
	}
	t.waitFor(r.b, r.addr+queue, 0, Forever)
	return nil
}

// Release takes back one acquisition of the thread whose identifier is given: its ETHREAD's
// address. RESOURCE_NOT_OWNED if it has none.
func (s *System) ReleaseResource(addr guest.Addr, thread uintptr) error {
	r, err := s.lockResource(addr)
	if err != nil {
		return err
	}
	i, _, e, err := r.owner(thread)
	if err == nil && i < 0 {
		err = &ResourceError{nt.RESOURCE_NOT_OWNED, addr, thread, fmt.Sprintf(
			"is released by thread %#x, which does not own it", thread)}
	}
	if err != nil {
		r.b.mu.Unlock()
		return err
	}
	if e.TableSize -= ownerCount; e.TableSize >= ownerCount {
		err = r.setOwner(i, e)
	} else {
		r.ActiveCount--
		r.ActiveEntries--
		if err = r.setOwner(i, nt.OwnerEntry{}); err == nil && r.ActiveCount == 0 {
			err = r.handOver()
		}
	}
	if e := r.unlock(); err == nil {
		err = e
	}
	return err
}

// handOver gives a resource that is free to those who wait: after a writer to all readers, else to
// the first writer.
func (r *resource) handOver() error {
	wrote := r.exclusive()
	r.Flag &^= nt.ResourceOwnedExclusive
	if wrote && r.NumberOfSharedWaiters > 0 || r.NumberOfExclusiveWaiters == 0 {
		return r.letReadersIn()
	}
	if t := r.b.wakeOne(r.addr + resourceExclusive); t != nil {
		r.NumberOfExclusiveWaiters--
		r.Flag |= nt.ResourceOwnedExclusive
		return r.own(uintptr(t.Object))
	}
	return nil
}

func (r *resource) letReadersIn() error {
	for {
		t := r.b.wakeOne(r.addr + resourceShared)
		if t == nil {
			r.NumberOfSharedWaiters = 0
			return nil
		}
		if err := r.own(uintptr(t.Object)); err != nil {
			return err
		}
	}
}

// ConvertToShared makes the writer t a reader, and lets in the readers that wait.
func (t *Thread) ConvertToShared(addr guest.Addr) error {
	r, err := t.sys.lockResource(addr)
	if err != nil {
		return err
	}
	if !r.exclusive() || r.OwnerEntry.OwnerThread != uintptr(t.Object) {
		r.b.mu.Unlock()
		return &ResourceError{nt.RESOURCE_NOT_OWNED, addr, uintptr(t.Object),
			"is converted by a thread that does not own it exclusively"}
	}
	r.Flag &^= nt.ResourceOwnedExclusive
	err = r.letReadersIn()
	if e := r.unlock(); err == nil {
		err = e
	}
	return err
}

// ResourceState is what can be asked about an ERESOURCE.
type ResourceState struct {
	Exclusive                       bool   // the thread is its writer
	Count                           uint32 // how often the thread has acquired it, in either way
	SharedWaiters, ExclusiveWaiters uint32
}

// ResourceState tells how t and others stand to an ERESOURCE.
func (t *Thread) ResourceState(addr guest.Addr) (v ResourceState, err error) {
	r, err := t.sys.lockResource(addr)
	if err != nil {
		return v, err
	}
	defer r.b.mu.Unlock()
	i, _, e, err := r.owner(uintptr(t.Object))
	if i >= 0 {
		v.Count = e.TableSize / ownerCount
		v.Exclusive = r.exclusive()
	}
	v.SharedWaiters, v.ExclusiveWaiters = r.NumberOfSharedWaiters, r.NumberOfExclusiveWaiters
	return v, err
}
