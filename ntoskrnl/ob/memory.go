package ob

import "github.com/drvhost/drvhost/guest"

// memory is where objects live. It comes in chunks from the pool and goes back only with the
// manager, so that what the kernel reads in place stays mapped, even when a driver's bug has
// deleted the object too early. A freed object is overwritten, and waits before its memory is used
// again.
type memory struct {
	alloc  func(size uintptr) (guest.Addr, error)
	free   func(addr guest.Addr)
	chunks []guest.Addr

	next, end guest.Addr // what is left of the last chunk for small objects
	freed     [sizeClasses][]guest.Addr
}

const (
	// smallest is the least size of an object with its header in bytes; each class of sizes is
	// twice as large as the one before.
	smallest    = 256
	sizeClasses = 10 // to 128 KiB: a DEVICE_OBJECT has at most 64 KiB and its extension

	// chunkSize in bytes is what is taken from the pool at a time. Larger objects have a chunk each.
	chunkSize = 16 << 10

	// keptFree is how many freed objects of a class are not used again yet.
	keptFree = 4

	// freedByte overwrites a freed object. As a pointer, eight of them are not canonical.
	freedByte = 0xDD
)

// classOf gives the class for a size, and the size that its objects have.
func classOf(size uintptr) (class int, slot uintptr) {
	slot = smallest
	for slot < size {
		slot *= 2
		class++
	}
	return class, slot
}

// get gives size bytes of zeros.
func (m *memory) get(size uintptr) (guest.Addr, error) {
	class, slot := classOf(size)
	if class >= sizeClasses {
		return 0, errTooLarge
	}
	if list := m.freed[class]; len(list) > keptFree {
		a := list[0]
		m.freed[class] = list[1:]
		return a, guest.Fill(a, 0, slot)
	}
	if slot > chunkSize {
		return m.chunk(slot)
	}
	if uintptr(m.end-m.next) < slot {
		a, err := m.chunk(chunkSize)
		if err != nil {
			return 0, err
		}
		m.next, m.end = a, a+chunkSize
	}
	a := m.next
	m.next += guest.Addr(slot)
	return a, nil
}

func (m *memory) chunk(size uintptr) (guest.Addr, error) {
	a, err := m.alloc(size)
	if err == nil {
		m.chunks = append(m.chunks, a)
	}
	return a, err
}

// put takes back what get gave for that size.
func (m *memory) put(a guest.Addr, size uintptr) {
	class, slot := classOf(size)
	_ = guest.Fill(a, freedByte, slot) // it is mapped: a chunk is the manager's own
	m.freed[class] = append(m.freed[class], a)
}

func (m *memory) close() {
	for _, a := range m.chunks {
		m.free(a)
	}
	*m = memory{alloc: m.alloc, free: m.free}
}
