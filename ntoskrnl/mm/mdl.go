// MDLs: allocation, the page frames of a buffer, locking.
//
// An MDL's truth is in guest memory, where drivers read and sometimes write it. Besides, the
// manager knows by an MDL's address what it has locked, for as long as it is locked.

package mm

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	// mdlTag is the tag of MDLs.
	mdlTag Tag = 'M' | 'd'<<8 | 'l'<<16 | ' '<<24

	// fixedPages is the number of pages of an MDL of the fixed size that IoAllocateMdl prefers.
	fixedPages = 23
)

// LockOperation is LOCK_OPERATION: what a driver will do with the pages that it locks.
type LockOperation uint32

// The lock operations.
const (
	IoReadAccess   LockOperation = 0
	IoWriteAccess  LockOperation = 1
	IoModifyAccess LockOperation = 2
)

// SpanPages is ADDRESS_AND_SIZE_TO_SPAN_PAGES: the number of pages that the n bytes at a touch.
func SpanPages(a nt.Addr, n uintptr) uintptr {
	off := uintptr(a) & (pageSize - 1)
	return n>>pageShift + (n&(pageSize-1)+off+pageSize-1)>>pageShift
}

// SizeOfMdl is MmSizeOfMdl: the size in bytes of the MDL for the n bytes at a.
func SizeOfMdl(a nt.Addr, n uintptr) uintptr { return mdlHeader + frameSize*SpanPages(a, n) }

// loadMdl reads the fixed part of an MDL. The error is nt.STATUS_ACCESS_VIOLATION.
func loadMdl(mdl nt.Addr) (nt.MDL, error) {
	h, err := guest.Ptr[nt.MDL](mdl).Load()
	if err != nil {
		return h, nt.STATUS_ACCESS_VIOLATION
	}
	return h, nil
}

// storeMdl writes the fixed part of an MDL.
func storeMdl(mdl nt.Addr, h nt.MDL) error {
	if guest.Ptr[nt.MDL](mdl).Store(h) != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	return nil
}

// flagsOf gives the flags without a sign.
func flagsOf(h *nt.MDL) uint16 { return uint16(h.MdlFlags) }

// bufferOf gives the address that an MDL describes (MmGetMdlVirtualAddress).
func bufferOf(h *nt.MDL) nt.Addr { return h.StartVa + nt.Addr(h.ByteOffset) }

// pagesOf gives the number of pages that an MDL describes.
func pagesOf(h *nt.MDL) uintptr {
	return SpanPages(nt.Addr(h.ByteOffset&(pageSize-1)), uintptr(h.ByteCount))
}

// framesAt gives the address of an MDL's page frame i.
func framesAt(mdl nt.Addr, i uintptr) nt.Addr { return mdl + nt.Addr(mdlHeader+i*frameSize) }

// InitializeMdl is MmInitializeMdl: it writes the fixed part of the MDL for the n bytes at a.
func InitializeMdl(mdl, a nt.Addr, n uint32) error { return initializeMdl(mdl, a, n, 0) }

func initializeMdl(mdl, a nt.Addr, n uint32, flags uint16) error {
	return storeMdl(mdl, nt.MDL{
		Size:       int16(uint16(SizeOfMdl(a, uintptr(n)))),
		MdlFlags:   int16(flags),
		StartVa:    a &^ (pageSize - 1),
		ByteOffset: uint32(a & (pageSize - 1)),
		ByteCount:  n,
	})
}

// AllocateMdl is IoAllocateMdl without the IRP: an MDL for the n bytes at a, whose page frames are
// not filled in. The error is nt.STATUS_INSUFFICIENT_RESOURCES where Windows gives NULL: too little
// memory, or 4 GiB and more less a page.
func (m *Manager) AllocateMdl(a nt.Addr, n uintptr) (nt.Addr, error) {
	if n > 1<<32-pageSize-1 {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	size, flags := SizeOfMdl(a, n), uint16(0)
	if fixed := mdlHeader + fixedPages*frameSize; size <= fixed {
		size, flags = fixed, nt.MDL_ALLOCATED_FIXED_SIZE
	}
	mdl, err := m.allocate(kindNonPaged, false, false, size, mdlTag)
	if err != nil {
		return 0, err
	}
	return mdl, initializeMdl(mdl, a, uint32(n), flags)
}

// FreeMdl is IoFreeMdl. A partial MDL that was mapped is unmapped first. The error is that of
// FreePool, or nt.STATUS_ACCESS_VIOLATION when there is no MDL.
func (m *Manager) FreeMdl(mdl nt.Addr) error {
	if err := m.PrepareMdlForReuse(mdl); err != nil {
		return err
	}
	return m.FreePool(mdl)
}

// PrepareMdlForReuse is MmPrepareMdlForReuse: it unmaps a partial MDL that was mapped.
func (m *Manager) PrepareMdlForReuse(mdl nt.Addr) error {
	h, err := loadMdl(mdl)
	if err != nil {
		return err
	}
	if flagsOf(&h)&nt.MDL_PARTIAL_HAS_BEEN_MAPPED != 0 {
		return m.UnmapLockedPages(h.MappedSystemVa, mdl)
	}
	return nil
}

// BuildMdlForNonPagedPool is MmBuildMdlForNonPagedPool: it fills in the page frames of a buffer in
// system memory that cannot go away. The error is nt.STATUS_ACCESS_VIOLATION when there are no
// pages, or no MDL.
func (m *Manager) BuildMdlForNonPagedPool(mdl nt.Addr) error {
	h, err := loadMdl(mdl)
	if err != nil {
		return err
	}
	if err := m.fillFrames(mdl, &h, nil); err != nil {
		return err
	}
	h.MdlFlags |= int16(nt.MDL_SOURCE_IS_NONPAGED_POOL)
	h.MappedSystemVa = bufferOf(&h)
	h.Process = 0
	return storeMdl(mdl, h)
}

// fillFrames writes the page frame numbers of an MDL's buffer behind its fixed part. w is the
// window that the buffer lies in, if the caller knows.
func (m *Manager) fillFrames(mdl nt.Addr, h *nt.MDL, w *Window) error {
	var buf [64]uint64
	pages := pagesOf(h)
	for i := uintptr(0); i < pages; {
		n := min(pages-i, uintptr(len(buf)))
		for j := range buf[:n] {
			if w != nil {
				at := w.sysBase + nt.Addr(w.offset(h.StartVa)+(i+uintptr(j))<<pageShift)
				buf[j] = otherFrame(at)
				continue
			}
			pfn, ok := m.pfnOf(h.StartVa + nt.Addr((i+uintptr(j))<<pageShift))
			if !ok {
				return nt.STATUS_ACCESS_VIOLATION
			}
			buf[j] = pfn
		}
		if guest.WriteSlice(framesAt(mdl, i), buf[:n]) != nil {
			return nt.STATUS_ACCESS_VIOLATION
		}
		i += n
	}
	return nil
}

// readFrames appends the page frame numbers of an MDL to runs.
func readFrames(runs []frameRun, mdl nt.Addr, pages uintptr) ([]frameRun, error) {
	var buf [64]uint64
	for i := uintptr(0); i < pages; {
		n := min(pages-i, uintptr(len(buf)))
		if guest.ReadSlice(buf[:n], framesAt(mdl, i)) != nil {
			return nil, nt.STATUS_ACCESS_VIOLATION
		}
		for _, pfn := range buf[:n] {
			if k := len(runs); k > 0 && runs[k-1].first+runs[k-1].n == pfn {
				runs[k-1].n++
			} else {
				runs = append(runs, frameRun{pfn, 1})
			}
		}
		i += n
	}
	return runs, nil
}

// pageLock is what one MDL has locked.
type pageLock struct {
	window  *Window  // whose pages, or nil: system memory
	section *Section // of whose view, or nil
	pages   int
	older   *pageLock // a lock of an MDL that was at the same address and never unlocked
}

// lockFlags are the flags of an MDL that cannot be locked, or is.
const lockFlags = nt.MDL_MAPPED_TO_SYSTEM_VA | nt.MDL_PAGES_LOCKED | nt.MDL_SOURCE_IS_NONPAGED_POOL |
	nt.MDL_PARTIAL | nt.MDL_IO_SPACE

// ProbeAndLockPages is MmProbeAndLockPages: it checks that the buffer of an MDL may be accessed as
// op says, keeps its pages, and fills in their frames. user is the user memory of the current
// process, in which a buffer in user space must lie, whatever the mode; a request of user mode
// cannot name system memory. The MDL then names the process whose window its buffer is in.
//
// The error is nt.STATUS_ACCESS_VIOLATION, which Windows raises, or a *StopError.
func (m *Manager) ProbeAndLockPages(mdl nt.Addr, mode nt.ProcessorMode, op LockOperation,
	user UserMemory) error {
	h, err := loadMdl(mdl)
	if err != nil {
		return err
	}
	if wrong := flagsOf(&h) & lockFlags; wrong != 0 {
		return mdlFlagsError(verifierLockFlags, "MmProbeAndLockPages", mdl, &h, wrong)
	}
	a, n := bufferOf(&h), uintptr(h.ByteCount)
	if op > IoModifyAccess || a+nt.Addr(n) < a {
		return nt.STATUS_ACCESS_VIOLATION
	}
	w, err := m.checkLock(a, n, mode, op, user)
	if err != nil {
		return err
	}
	pages := int(pagesOf(&h))
	if w != nil && !w.pin(pages) {
		return nt.STATUS_ACCESS_VIOLATION
	}
	var s *Section
	if w == nil {
		s = m.sectionAt(a)
	}
	if err := m.fillFrames(mdl, &h, w); err != nil {
		if w != nil {
			_ = w.unlock(pages)
		}
		if s != nil {
			s.Release()
		}
		return err
	}
	m.addLock(mdl, w, s, pages)
	h.Process = 0
	if w != nil {
		h.Process = nt.Addr(w.process.Load())
	}
	h.MdlFlags = int16(flagsOf(&h)&^nt.MDL_WRITE_OPERATION | nt.MDL_PAGES_LOCKED)
	if op != IoReadAccess {
		h.MdlFlags |= int16(nt.MDL_WRITE_OPERATION)
	}
	return storeMdl(mdl, h)
}

// checkLock finds whether a buffer may be locked, and the window that it lies in, if any.
func (m *Manager) checkLock(a nt.Addr, n uintptr, mode nt.ProcessorMode, op LockOperation,
	user UserMemory) (*Window, error) {
	if m.space.IsUserRange(a, n) {
		if user == nil || !user.Contains(a, n) {
			return nil, nt.STATUS_ACCESS_VIOLATION
		}
		// All of a window can be read and written.
		if w := m.userWindow(a); w != nil {
			return w, nil
		}
	} else if mode != nt.KernelMode {
		return nil, nt.STATUS_ACCESS_VIOLATION
	}
	need := guest.ProtRead
	if op != IoReadAccess {
		need = guest.ProtRW
	}
	if !m.accessible(a, n, need) {
		return nil, nt.STATUS_ACCESS_VIOLATION
	}
	return m.systemWindow(a), nil
}

// accessible says whether all pages of the n bytes at a have at least the protection need.
func (m *Manager) accessible(a nt.Addr, n uintptr, need guest.Prot) bool {
	page := a &^ (pageSize - 1)
	for range SpanPages(a, n) {
		if m.ram.contains(page) && m.ram.liveBlock(page) == nil {
			return false
		}
		info, ok := m.space.Lookup(page)
		if !ok || info.Prot&need != need {
			return false
		}
		page += pageSize
	}
	return true
}

// addLock notes what an MDL has locked.
func (m *Manager) addLock(mdl nt.Addr, w *Window, s *Section, pages int) {
	m.lockMu.Lock()
	defer m.lockMu.Unlock()
	l := m.lockCache
	if l == nil {
		l = new(pageLock)
	} else {
		m.lockCache = l.older
	}
	*l = pageLock{window: w, section: s, pages: pages, older: m.locks[mdl]}
	m.locks[mdl] = l
	m.locked += pages
}

// removeLock takes the note away; ok is false when there is none.
func (m *Manager) removeLock(mdl nt.Addr) (lock pageLock, ok bool) {
	m.lockMu.Lock()
	defer m.lockMu.Unlock()
	l := m.locks[mdl]
	if l == nil {
		return pageLock{}, false
	}
	lock = *l
	if l.older != nil {
		m.locks[mdl] = l.older
	} else {
		delete(m.locks, mdl)
	}
	m.locked -= l.pages
	*l = pageLock{older: m.lockCache}
	m.lockCache = l
	return lock, true
}

// UnlockPages is MmUnlockPages. Pages that are mapped to system space are unmapped first. The error
// is a *StopError: the pages are not locked, or the MDL is a partial one.
func (m *Manager) UnlockPages(mdl nt.Addr) error {
	h, err := loadMdl(mdl)
	if err != nil {
		return err
	}
	flags := flagsOf(&h)
	if flags&nt.MDL_PARTIAL != 0 {
		return mdlFlagsError(verifierUnlockFlags, "MmUnlockPages", mdl, &h, nt.MDL_PARTIAL)
	}
	if flags&nt.MDL_MAPPED_TO_SYSTEM_VA != 0 {
		if err := m.UnmapLockedPages(h.MappedSystemVa, mdl); err != nil {
			return err
		}
		if h, err = loadMdl(mdl); err != nil {
			return err
		}
	}
	lock, ok := m.removeLock(mdl)
	if !ok || flags&nt.MDL_PAGES_LOCKED == 0 {
		first, _ := guest.Load64(framesAt(mdl, 0))
		return &StopError{
			Code:   nt.PFN_LIST_CORRUPT,
			Params: [4]uint64{0x07, first, 0, 0},
			What:   fmt.Sprintf("MmUnlockPages of the MDL at %v, whose pages are not locked", mdl),
		}
	}
	if lock.window != nil {
		if err := lock.window.unlock(lock.pages); err != nil {
			return err
		}
	}
	if lock.section != nil {
		lock.section.Release()
	}
	h.MdlFlags = int16(flagsOf(&h) &^ (nt.MDL_PAGES_LOCKED | nt.MDL_WRITE_OPERATION))
	return storeMdl(mdl, h)
}

// mdlFlagsError makes the error of an MDL routine that was given an MDL with the wrong flags.
func mdlFlagsError(kind uint64, routine string, mdl nt.Addr, h *nt.MDL, flags uint16) error {
	how := "which has"
	if kind == verifierMapFlags {
		how = "which has none of"
	}
	return &StopError{
		Code:   nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
		Params: [4]uint64{kind, uint64(mdl), uint64(flagsOf(h)), uint64(flags)},
		What: fmt.Sprintf("%s of the MDL at %v with flags %#x, %s the flags %#x", routine, mdl,
			flagsOf(h), how, flags),
	}
}

// BuildPartialMdl is IoBuildPartialMdl: target describes the n bytes at a, which are part of the
// buffer of source; with n = 0 all from a to that buffer's end. The error is
// nt.STATUS_INVALID_PARAMETER when they are not part of it, or target is too small for them; Windows
// does not check.
func (m *Manager) BuildPartialMdl(source, target, a nt.Addr, n uint32) error {
	src, err := loadMdl(source)
	if err != nil {
		return err
	}
	dst, err := loadMdl(target)
	if err != nil {
		return err
	}
	off := uintptr(a - bufferOf(&src))
	if off > uintptr(src.ByteCount) || uintptr(n) > uintptr(src.ByteCount)-off {
		return nt.STATUS_INVALID_PARAMETER
	}
	if n == 0 {
		n = src.ByteCount - uint32(off)
	}
	pages := SpanPages(a, uintptr(n))
	if mdlHeader+pages*frameSize > m.mdlRoom(target, &dst) {
		return nt.STATUS_INVALID_PARAMETER
	}
	first := uintptr(a-src.StartVa) >> pageShift
	if guest.Move(framesAt(target, 0), framesAt(source, first), pages*frameSize) != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	flags := flagsOf(&dst)&(nt.MDL_ALLOCATED_FIXED_SIZE|nt.MDL_ALLOCATED_MUST_SUCCEED) |
		nt.MDL_PARTIAL | flagsOf(&src)&(nt.MDL_IO_SPACE|nt.MDL_IO_PAGE_READ)
	dst.StartVa = a &^ (pageSize - 1)
	dst.ByteOffset = uint32(a & (pageSize - 1))
	dst.ByteCount = n
	dst.Process = src.Process
	switch {
	case flagsOf(&src)&nt.MDL_SOURCE_IS_NONPAGED_POOL != 0:
		flags |= nt.MDL_SOURCE_IS_NONPAGED_POOL
		dst.MappedSystemVa = src.MappedSystemVa + nt.Addr(off)
	case flagsOf(&src)&nt.MDL_MAPPED_TO_SYSTEM_VA != 0:
		flags |= nt.MDL_PARENT_MAPPED_SYSTEM_VA
		dst.MappedSystemVa = src.MappedSystemVa + nt.Addr(off)
	}
	dst.MdlFlags = int16(flags)
	return storeMdl(target, dst)
}

// mdlRoom gives the number of bytes in which an MDL lies: its block in the pool where it is one,
// else what its Size says.
func (m *Manager) mdlRoom(mdl nt.Addr, h *nt.MDL) uintptr {
	if b, ok := m.BlockAt(mdl); ok && !b.Freed {
		return b.Size - uintptr(mdl-b.Addr)
	}
	return uintptr(uint16(h.Size))
}
