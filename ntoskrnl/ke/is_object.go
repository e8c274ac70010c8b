package ke

import "github.com/drvhost/drvhost/guest"

// IsObject reports whether an address is that of a thread's or a process's object.
func (s *System) IsObject(a guest.Addr) bool {
	s.registry.Lock()
	defer s.registry.Unlock()
	for t := range s.threads {
		if t.Object == a {
			return true
		}
	}
	for p := range s.processes {
		if p.Object == a {
			return true
		}
	}
	return false
}
