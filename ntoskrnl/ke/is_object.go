package ke

import (
	"slices"

	"github.com/drvhost/drvhost/guest"
)

// IsObject reports whether an address is that of a thread's or a process's object. A system thread
// that has ended still has one.
func (s *System) IsObject(a guest.Addr) bool {
	s.registry.Lock()
	defer s.registry.Unlock()
	if s.byObject[a] != nil || slices.Contains(s.graves, a) {
		return true
	}
	for p := range s.processes {
		if p.Object == a {
			return true
		}
	}
	return false
}
