// Probes, valid addresses and copies.

package mm

import (
	"errors"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// ProbeForRead is ProbeForRead: the status to raise, or nt.STATUS_SUCCESS. user is the user memory
// of the current process, in which the n bytes at a must lie. With n = 0 nothing is checked. align
// is a power of two.
func (m *Manager) ProbeForRead(a nt.Addr, n, align uintptr, user UserMemory) nt.Status {
	switch {
	case n == 0:
		return nt.STATUS_SUCCESS
	case uintptr(a)&(align-1) != 0 && align != 0:
		return nt.STATUS_DATATYPE_MISALIGNMENT
	case user == nil || !m.space.IsUserRange(a, n) || !user.Contains(a, n):
		return nt.STATUS_ACCESS_VIOLATION
	}
	return nt.STATUS_SUCCESS
}

// ProbeForWrite is ProbeForWrite: as ProbeForRead, and every page can be written.
func (m *Manager) ProbeForWrite(a nt.Addr, n, align uintptr, user UserMemory) nt.Status {
	if s := m.ProbeForRead(a, n, align, user); s != nt.STATUS_SUCCESS || n == 0 {
		return s
	}
	// All of a window can be written.
	if m.userWindow(a) == nil && !m.accessible(a, n, guest.ProtRW) {
		return nt.STATUS_ACCESS_VIOLATION
	}
	return nt.STATUS_SUCCESS
}

// IsAddressValid is MmIsAddressValid: whether a read at a would not fault. Any memory counts: pool,
// images, stacks, windows.
func (m *Manager) IsAddressValid(a nt.Addr) bool {
	return m.accessible(a, 1, guest.ProtRead)
}

// The flags of MmCopyMemory.
const (
	MM_COPY_MEMORY_PHYSICAL uint32 = 1
	MM_COPY_MEMORY_VIRTUAL  uint32 = 2
)

// CopyMemory is MmCopyMemory: it copies n bytes from source, a system address or, with
// MM_COPY_MEMORY_PHYSICAL, a physical one, to target, and gives back how many it copied. The status
// is STATUS_INVALID_ADDRESS for a source that is not there, and STATUS_INVALID_PARAMETER for other
// flags than one of the two. Device memory that nothing maps can not be copied.
func (m *Manager) CopyMemory(target nt.Addr, source uint64, n uintptr, flags uint32) (
	done uintptr, status nt.Status) {
	switch flags {
	case MM_COPY_MEMORY_VIRTUAL:
		return copyGuest(target, nt.Addr(source), n)
	case MM_COPY_MEMORY_PHYSICAL:
	default:
		return 0, nt.STATUS_INVALID_PARAMETER
	}
	for done < n {
		p := source + uint64(done)
		a := m.VirtualForPhysical(p)
		if a == 0 {
			return done, nt.STATUS_INVALID_ADDRESS
		}
		step := min(n-done, pageSize-uintptr(p&(pageSize-1)))
		k, status := copyGuest(target+nt.Addr(done), a, step)
		done += k
		if status != nt.STATUS_SUCCESS {
			return done, status
		}
	}
	return done, nt.STATUS_SUCCESS
}

// copyGuest copies until something faults.
func copyGuest(target, source nt.Addr, n uintptr) (done uintptr, status nt.Status) {
	for done < n {
		step := min(n-done, pageSize-uintptr(source+nt.Addr(done))&(pageSize-1))
		err := guest.Move(target+nt.Addr(done), source+nt.Addr(done), step)
		if err == nil {
			done += step
			continue
		}
		var fault *guest.FaultError
		if errors.As(err, &fault) && fault.Access == guest.AccessRead {
			return done, nt.STATUS_INVALID_ADDRESS
		}
		return done, nt.STATUS_ACCESS_VIOLATION
	}
	return done, nt.STATUS_SUCCESS
}
