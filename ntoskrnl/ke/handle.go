package ke

import (
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Handles is the table of kernel handles to threads. The zero value is an empty table.
type Handles struct {
	mu      sync.Mutex
	objects map[nt.Handle]guest.Addr
	last    nt.Handle
}

// Kernel handles are negative; handles are multiples of 4.
const kernelHandle = ^nt.Handle(0x7FFFFFFF)

// Add makes a handle to the object at addr.
func (h *Handles) Add(addr guest.Addr) nt.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.objects == nil {
		h.objects = make(map[nt.Handle]guest.Addr)
	}
	h.last += 4
	v := kernelHandle | h.last
	h.objects[v] = addr
	return v
}

// Object gives the object of a handle; ok is false for one that is not in the table.
func (h *Handles) Object(handle nt.Handle) (addr guest.Addr, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	addr, ok = h.objects[handle]
	return addr, ok
}

// Close takes a handle out of the table, and reports whether it was there.
func (h *Handles) Close(handle nt.Handle) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.objects[handle]
	delete(h.objects, handle)
	return ok
}
