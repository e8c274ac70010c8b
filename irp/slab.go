package irp

import (
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Slabs: where IRPs live, and how the Go side of one is found.

// packet is the Go side of an IRP.
type packet struct {
	addr guest.Addr
	irp  *nt.IRP // in place: the host's own memory, mapped as long as the manager lives
	room int8    // stack locations that fit
	// use tells one life of the packet from the next: it is odd while the IRP is in use, and counts up
	// when that begins and ends. Who ends it, by a successful compare-and-swap, is the only one.
	use atomic.Uint32
	// req is the client's request that it carries, if any, and reqUse which use of that.
	req    *Request
	reqUse uint64
	next   *packet // in the free list
	// built is told of the end of an IRP of Build's; nil for others.
	built func(t *ke.Thread, e Ended)
	// master is the IRP that it is associated with, or 0.
	master  guest.Addr
	foreign bool // it lies in memory of a driver's

	// The list of its thread's IRPs, under owned.mu.
	owner                *ke.Thread
	ownedNext, ownedPrev *packet

	sends  atomic.Uint64 // how often drivers have sent it
	levels []level       // by stack location, from 0

	// buffer lies behind the IRP, and is its system buffer when that is small; buffered is its size
	// then, in bytes, or -1.
	buffer   guest.Addr
	buffered int
}

// Tag is the pool tag of IRPs, as Windows has it.
var Tag = mm.MakeTag("Irp ")

func inUse(use uint32) bool { return use&1 != 0 }

// slab is a block of nonpaged pool with IRPs of one size. The first one lies a bit behind its start, so
// that no driver frees the block when it takes an IRP for pool of its own.
type slab struct {
	block   guest.Addr
	base    guest.Addr // of the first IRP
	size    uintptr    // bytes from there
	large   bool
	packets []packet
}

// Sizes of slots: most IRPs have few stack locations, and none has more than devobj.MaxStack.
const (
	smallStack = 6
	smallIRP   = (nt.IRPSize + smallStack*nt.IOStackLocationSize + 63) &^ 63
	largeIRP   = (nt.IRPSize + devobj.MaxStack*nt.IOStackLocationSize + 63) &^ 63
	smallSlot  = smallIRP + packetBuffer
	largeSlot  = largeIRP + packetBuffer

	// A slab is twice as large as the one before, from minSlab to maxSlab bytes.
	minSlab = 64 << 10
	maxSlab = 4 << 20

	slabHeader = 64 // bytes before the first IRP
)

// slabs is the set of all slabs, by class.
type slabs struct {
	mm   *mm.Manager
	all  atomic.Pointer[[]*slab] // replaced when one is added
	mu   sync.Mutex
	free [2]*packet
	size [2]uintptr // of the next slab
}

func (s *slabs) init(memory *mm.Manager) {
	s.mm = memory
	s.all.Store(new([]*slab))
	s.size = [2]uintptr{minSlab, minSlab}
}

func classOf(n int8) int {
	if n > smallStack {
		return 1
	}
	return 0
}

// alloc gives a packet with a zeroed IRP of n stack locations.
func (s *slabs) alloc(n int8) (*packet, error) {
	class := classOf(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free[class] == nil {
		if err := s.grow(class); err != nil {
			return nil, err
		}
	}
	p := s.free[class]
	s.free[class] = p.next
	p.next, p.built, p.master = nil, nil, 0
	p.begin(n)
	return p, nil
}

// begin makes a free packet's IRP a new one of n stack locations, which fit.
func (p *packet) begin(n int8) {
	initIRP(p.irp, n)
	p.use.Add(1)
}

func (s *slabs) grow(class int) error {
	size, slot, room := s.size[class], uintptr(smallSlot), int8(smallStack)
	if class == 1 {
		slot, room = largeSlot, devobj.MaxStack
	}
	block, err := s.mm.AllocatePool(nt.NonPagedPoolNx, size, Tag)
	if err != nil {
		return err
	}
	sl := &slab{block: block, base: block + slabHeader, size: size - slabHeader, large: class == 1}
	sl.packets = make([]packet, sl.size/slot)
	levels := make([]level, len(sl.packets)*int(room))
	for i := range sl.packets {
		p := &sl.packets[i]
		p.addr = sl.base + guest.Addr(uintptr(i)*slot)
		p.irp = guest.Ptr[nt.IRP](p.addr).Ref()
		p.room, p.buffered = room, -1
		p.levels = levels[i*int(room):][:room:room]
		p.buffer = p.addr + guest.Addr(slot-packetBuffer)
		p.next, s.free[class] = s.free[class], p
	}
	all := append(append([]*slab(nil), *s.all.Load()...), sl)
	s.all.Store(&all)
	s.size[class] = min(2*size, maxSlab)
	return nil
}

// find gives the packet of an IRP in use, and its life, or nil for an address that is none.
func (s *slabs) find(addr guest.Addr) (p *packet, use uint32) {
	for _, sl := range *s.all.Load() {
		off := uintptr(addr - sl.base)
		if off >= sl.size {
			continue
		}
		i := off / smallSlot
		if sl.large {
			i = off / largeSlot
		}
		if i >= uintptr(len(sl.packets)) {
			return nil, 0
		}
		p := &sl.packets[i]
		if use := p.use.Load(); p.addr == addr && inUse(use) {
			return p, use
		}
		return nil, 0
	}
	return nil, 0
}

// end ends the life use of a packet, and reports whether it was still that one. The IRP's type is
// cleared, so that a driver that still uses it is found out. The packet is the caller's now.
func (p *packet) end(use uint32) bool {
	if !p.use.CompareAndSwap(use, use+1) {
		return false
	}
	p.irp.Type = 0
	p.req = nil
	return true
}

// put makes a packet free whose life has ended.
func (s *slabs) put(p *packet) {
	class := classOf(p.room)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.next, s.free[class] = s.free[class], p
}

func (s *slabs) close() (err error) {
	for _, sl := range *s.all.Load() {
		if e := s.mm.FreePoolWithTag(sl.block, Tag); e != nil {
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
			if inUse(sl.packets[i].use.Load()) {
				n++
			}
		}
	}
	return n
}
