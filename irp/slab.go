package irp

import (
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Slabs: where IRPs live, and how the Go side of one is found.

// packet is the Go side of an IRP.
type packet struct {
	addr guest.Addr
	irp  *nt.IRP // in place: the host's own memory, mapped as long as the manager lives
	room int8    // stack locations that fit
	busy atomic.Bool
	req  *Request // the client's request that it carries, if any
	next *packet  // in the free list
}

// slab is a region of IRPs of one size.
type slab struct {
	region  *guest.Region
	base    guest.Addr
	slot    uintptr // bytes of an IRP's slot
	packets []packet
}

// Sizes of slots: most IRPs have few stack locations, and none has more than 127.
const (
	smallStack = 6
	largeStack = 127
	slabBytes  = 64 << 10
)

// slabs is the set of all slabs, by class.
type slabs struct {
	space *guest.Space
	all   atomic.Pointer[[]*slab] // replaced when one is added
	mu    sync.Mutex
	free  [2]*packet
}

func (s *slabs) init(space *guest.Space) {
	s.space = space
	s.all.Store(new([]*slab))
}

// alloc gives a packet with a zeroed IRP of n stack locations.
func (s *slabs) alloc(n int8) (*packet, error) {
	class, room := 0, int8(smallStack)
	if n > smallStack {
		class, room = 1, largeStack
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free[class] == nil {
		if err := s.grow(class, room); err != nil {
			return nil, err
		}
	}
	p := s.free[class]
	s.free[class] = p.next
	p.next = nil
	p.busy.Store(true)
	initIRP(p.irp, n)
	return p, nil
}

func (s *slabs) grow(class int, room int8) error {
	slot := (uintptr(nt.IoSizeOfIrp(room)) + 63) &^ 63
	region, err := s.space.AllocSystem(slabBytes, guest.ProtRW, "IRPs")
	if err != nil {
		return err
	}
	sl := &slab{region: region, base: region.Base(), slot: slot,
		packets: make([]packet, slabBytes/slot)}
	for i := range sl.packets {
		p := &sl.packets[i]
		p.addr = sl.base + guest.Addr(uintptr(i)*slot)
		p.irp = guest.Ptr[nt.IRP](p.addr).Ref()
		p.room = room
		p.next, s.free[class] = s.free[class], p
	}
	all := append(append([]*slab(nil), *s.all.Load()...), sl)
	s.all.Store(&all)
	return nil
}

// find gives the packet of an IRP in use, or nil for an address that is none.
func (s *slabs) find(addr guest.Addr) *packet {
	for _, sl := range *s.all.Load() {
		off := uintptr(addr - sl.base)
		if off >= slabBytes {
			continue
		}
		i := off / sl.slot
		if i*sl.slot != off || i >= uintptr(len(sl.packets)) || !sl.packets[i].busy.Load() {
			return nil
		}
		return &sl.packets[i]
	}
	return nil
}

// put takes a packet back. Its type is cleared, so that a driver that still uses it is found out.
func (s *slabs) put(p *packet) {
	class := 0
	if p.room == largeStack {
		class = 1
	}
	p.irp.Type = 0
	p.req = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.busy.Swap(false) {
		p.next, s.free[class] = s.free[class], p
	}
}

func (s *slabs) close() (err error) {
	for _, sl := range *s.all.Load() {
		if e := sl.region.Free(); e != nil {
			err = e
		}
	}
	s.all.Store(new([]*slab))
	s.free = [2]*packet{}
	return err
}

// outstanding counts the IRPs in use.
func (s *slabs) outstanding() (n int) {
	for _, sl := range *s.all.Load() {
		for i := range sl.packets {
			if sl.packets[i].busy.Load() {
				n++
			}
		}
	}
	return n
}
