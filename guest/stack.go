// Kernel stacks: carved from pools, each with a guard page below it.
//
// A pool is a list of chunks, and a chunk is one region of up to maxSlots slots:
//
//	low  ┌───────┬────────────────┬───────┬────────────────┬─ ─ ─ high
//	     │ guard │ stack, slot 0  │ guard │ stack, slot 1  │
//	     └───────┴────────────────┴───────┴────────────────┴─ ─ ─
//
// The guard page is put in when a slot is used for the first time. Where Linux has lightweight
// guard pages (MADV_GUARD_INSTALL, 6.13 on) a chunk stays one mapping; elsewhere each slot costs
// two, so that 10,000 stacks are 20,000 of the 65,530 mappings that a process may have by default.

package guest

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// DefaultStackSize is the usable size in bytes of a stack when none is asked for. Windows gives
	// a kernel thread 24 KiB on x64 (Using the Kernel Stack).
	DefaultStackSize = 32 << 10

	// MaxStackSize is the largest stack in bytes.
	MaxStackSize = 16 << 20

	minStackSize = 8 << 10

	// A chunk has as many slots as make up chunkBytes of stacks, at most maxSlots.
	maxSlots   = 64
	chunkBytes = MaxStackSize

	// warmBytes bounds the free stacks of a pool that keep their pages, so that a stack that is
	// soon used again costs neither a system call nor page faults.
	warmBytes = 1 << 20
)

// What Lookup calls the parts of a stack region.
const (
	stackName = "kernel stack"
	guardName = "guard page of a kernel stack"
)

// Stack is a stack for guest code. It is readable and writable; its pages appear as they are
// touched, and hold whatever the stack's last user left. Below Base is a guard page.
type Stack struct {
	base  Addr
	size  uintptr
	chunk *stackChunk // nil after Free
	slot  int
}

// Base gives the lowest usable address.
func (s *Stack) Base() Addr { return s.base }

// Size gives the usable size in bytes.
func (s *Stack) Size() uintptr { return s.size }

// Top gives the address behind the highest usable byte, where the stack pointer starts.
func (s *Stack) Top() Addr { return s.base + Addr(s.size) }

// Contains says whether a lies on the stack.
func (s *Stack) Contains(a Addr) bool { return a >= s.base && a < s.Top() }

// InGuard says whether a lies in the guard page below the stack: an overflow.
func (s *Stack) InGuard(a Addr) bool { return a < s.base && a >= s.base-guardSize }

// stackPools are the pools of a space, one for each size.
type stackPools struct {
	space *Space

	mu      sync.Mutex
	pools   map[uintptr]*stackPool
	inUse   int
	bytes   uintptr
	protect bool // guard pages are put in by mprotect: Linux has no MADV_GUARD_INSTALL
}

type stackPool struct {
	owner  *stackPools
	size   uintptr // usable, of a stack
	slots  int     // of a chunk
	chunks []*stackChunk
	free   int // slots
	warm   int // slots that are free and have their pages
}

// stackChunk is a region of stacks. The bits of a mask are its slots.
type stackChunk struct {
	pool    *stackPool
	region  *Region
	free    uint64
	warm    uint64 // of the free ones: those that keep their pages
	guarded uint64 // has its guard page
}

// AllocStack gives a stack with at least size usable bytes, or DefaultStackSize if size is 0. The
// error is a *MapError.
func (s *Space) AllocStack(size uintptr) (*Stack, error) {
	if size == 0 {
		size = DefaultStackSize
	}
	if size > MaxStackSize {
		return nil, &MapError{Op: "allocate", What: stackName, Size: size,
			Err: fmt.Errorf("the largest stack has %#x bytes: %w", MaxStackSize, unix.EINVAL)}
	}
	size = uintptr(1) << bits.Len64(uint64(max(size, minStackSize)-1))
	return s.stacks.alloc(size)
}

// Free gives the stack back. A second Free is ErrFreed.
func (s *Stack) Free() error {
	c := s.chunk
	if c == nil {
		return ErrFreed
	}
	s.chunk = nil
	return c.pool.owner.put(c, s.slot)
}

// slotSize is the size of a slot with its guard page.
func (p *stackPool) slotSize() uintptr { return p.size + guardSize }

// all is the mask of all slots of a chunk.
func (p *stackPool) all() uint64 { return ^uint64(0) >> (maxSlots - p.slots) }

// base gives the lowest usable address of a slot.
func (c *stackChunk) base(slot int) uintptr {
	return uintptr(c.region.base) + uintptr(slot)*c.pool.slotSize() + guardSize
}

func (ps *stackPools) alloc(size uintptr) (*Stack, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.pools[size]
	if p == nil {
		if ps.pools == nil {
			ps.pools = map[uintptr]*stackPool{}
		}
		p = &stackPool{owner: ps, size: size, slots: min(maxSlots, int(chunkBytes/size))}
		ps.pools[size] = p
	}
	if p.free == 0 {
		if err := ps.grow(p); err != nil {
			return nil, err
		}
	}
	c, slot := p.pick()
	bit := uint64(1) << slot
	if c.guarded&bit == 0 {
		if err := ps.guard(c.base(slot) - guardSize); err != nil {
			return nil, err
		}
		c.guarded |= bit
	}
	if c.warm&bit != 0 {
		c.warm &^= bit
		p.warm--
	}
	c.free &^= bit
	p.free--
	ps.inUse++
	return &Stack{base: Addr(c.base(slot)), size: size, chunk: c, slot: slot}, nil
}

// pick gives a free slot, a warm one if there is one. There is a free one.
func (p *stackPool) pick() (*stackChunk, int) {
	var cold *stackChunk
	for _, c := range p.chunks {
		if c.warm != 0 {
			return c, bits.TrailingZeros64(c.warm)
		}
		if cold == nil && c.free != 0 {
			cold = c
			if p.warm == 0 {
				break
			}
		}
	}
	return cold, bits.TrailingZeros64(cold.free)
}

// grow adds a chunk to p.
func (ps *stackPools) grow(p *stackPool) error {
	s := ps.space
	r, err := s.take(ArenaSystem, KindStack, uintptr(p.slots)*p.slotSize(), "kernel stacks")
	if err != nil {
		return err
	}
	if err := mprotect(uintptr(r.base), r.size, ProtRW); err != nil {
		return r.abandon("allocate", err)
	}
	r.runs.Store(&[]pageRun{{0, ProtRW, true}})
	r.slot = p.slotSize()
	s.mu.Lock()
	s.insert(r)
	s.mu.Unlock()
	p.chunks = append(p.chunks, &stackChunk{pool: p, region: r, free: p.all()})
	p.free += p.slots
	ps.bytes += r.size
	return nil
}

// guard makes the page at addr fault for good.
func (ps *stackPools) guard(addr uintptr) error {
	if !ps.protect {
		err := madvise(addr, guardSize, unix.MADV_GUARD_INSTALL)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINVAL) {
			return &MapError{Op: "guard", What: stackName, Size: guardSize, Err: err}
		}
		ps.protect = true
	}
	if err := mprotect(addr, guardSize, ProtNone); err != nil {
		return &MapError{Op: "guard", What: stackName, Size: guardSize, Err: err}
	}
	return nil
}

func (ps *stackPools) put(c *stackChunk, slot int) error {
	p := c.pool
	ps.mu.Lock()
	defer ps.mu.Unlock()
	bit := uint64(1) << slot
	if p.warm < int(warmBytes/p.size) {
		c.warm |= bit
		p.warm++
	} else if err := madvise(c.base(slot), p.size, unix.MADV_DONTNEED); err != nil {
		return &MapError{Op: "free", What: stackName, Size: p.size, Err: err}
	}
	c.free |= bit
	p.free++
	ps.inUse--
	if c.free == p.all() && p.free >= 2*p.slots {
		return ps.shrink(c)
	}
	return nil
}

// shrink gives back a chunk that has no stack in use.
func (ps *stackPools) shrink(c *stackChunk) error {
	p := c.pool
	for i := range p.chunks {
		if p.chunks[i] == c {
			last := len(p.chunks) - 1
			p.chunks[i], p.chunks[last] = p.chunks[last], nil
			p.chunks = p.chunks[:last]
			break
		}
	}
	p.free -= p.slots
	p.warm -= bits.OnesCount64(c.warm)
	ps.bytes -= c.region.size
	return c.region.Free()
}

// describeStack narrows what Lookup says of a region of stacks to the one stack at a.
func (r *Region) describeStack(a Addr, info *RegionInfo) {
	slot := uintptr(a-r.base) / r.slot
	info.Base = r.base + Addr(slot*r.slot) + guardSize
	info.Size = r.slot - guardSize
	info.What = stackName
	if a < info.Base {
		info.Base -= guardSize
		info.Size = guardSize
		info.What = guardName
		info.Committed, info.Prot = false, ProtNone
	}
}

func (ps *stackPools) stats() Stats {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return Stats{Stacks: ps.inUse, StackBytes: ps.bytes}
}
