// User memory at an address of the caller's choice.

package guest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ReserveUserAt is ReserveUser at exactly addr, a multiple of the page size in the user arena,
// without guard gaps. The error is a *TakenError when something is there or the range is not in the
// arena, else a *MapError.
func (s *Space) ReserveUserAt(addr Addr, size uintptr, what string) (*Region, error) {
	rounded, ok := pageAlign(size)
	if !ok || size == 0 || addr%PageSize != 0 {
		return nil, &MapError{Op: fmt.Sprintf("allocate at %v", addr), What: what, Size: size,
			Err: unix.EINVAL}
	}
	if addr < UserBase || addr >= UserEnd || rounded > uintptr(UserEnd-addr) {
		return nil, &TakenError{Addr: addr, Size: size, By: "not all of it is in the user arena"}
	}
	a := &s.arenas[ArenaUser]
	r := &Region{space: s, base: addr, size: rounded, kind: KindUser, what: what, arena: a}
	r.runs.Store(&[]pageRun{{0, ProtNone, false}})
	r.taken = r.span()
	s.mu.Lock()
	ok = a.free.takeAt(r.taken)
	if ok {
		s.insert(r)
	}
	s.mu.Unlock()
	if !ok {
		return nil, &TakenError{Addr: addr, Size: size, By: s.occupant(r.taken)}
	}
	return r, nil
}
