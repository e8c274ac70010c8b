package client

// The shared buffer: the host's memfd, mapped, and which pieces of it are in use.

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
)

const (
	// sharedFrom is the length in bytes from which data goes through the shared buffer: two copies
	// instead of four. An echo on one CPU takes, as multiples of a bare ping-pong of the size,
	// 1.15 against 1.21 in messages at 4 KiB, 1.07 against 1.22 at 8, 0.78 against 1.38 at 64.
	sharedFrom = 8 << 10
	slotAlign  = 4096
)

var errNoBuffer = errors.New("the host has no shared buffer")

// extent is a piece of the shared buffer.
type extent struct{ place, size uint64 }

// slots hands out disjoint pieces of the shared buffer, always the lowest that fits: its pages have
// been touched before.
type slots struct {
	free []extent // by place, never adjacent
}

func slotSize(n int) uint64 { return (uint64(n) + slotAlign - 1) &^ (slotAlign - 1) }

// take finds room for n bytes.
func (s *slots) take(n int) (extent, bool) {
	size := slotSize(n)
	for i := range s.free {
		e := &s.free[i]
		if e.size < size {
			continue
		}
		got := extent{e.place, size}
		e.place += size
		e.size -= size
		if e.size == 0 {
			s.free = append(s.free[:i], s.free[i+1:]...)
		}
		return got, true
	}
	return extent{}, false
}

// give takes a piece back.
func (s *slots) give(e extent) {
	if e.size == 0 {
		return
	}
	i := 0
	for i < len(s.free) && s.free[i].place < e.place {
		i++
	}
	before := i > 0 && s.free[i-1].place+s.free[i-1].size == e.place
	after := i < len(s.free) && e.place+e.size == s.free[i].place
	switch {
	case before && after:
		s.free[i-1].size += e.size + s.free[i].size
		s.free = append(s.free[:i], s.free[i+1:]...)
	case before:
		s.free[i-1].size += e.size
	case after:
		s.free[i].place, s.free[i].size = e.place, e.size+s.free[i].size
	default:
		s.free = append(s.free, extent{})
		copy(s.free[i+1:], s.free[i:])
		s.free[i] = e
	}
}

// borrow takes room for in and for out bytes of the shared buffer, 0 for none, both at once. It
// waits until other requests have given back enough.
func (f *File) borrow(ctx context.Context, in, out int) (inAt, outAt extent, err error) {
	if total := slotSize(in) + slotSize(out); in > math.MaxUint32 || out > math.MaxUint32 ||
		total > f.maxBuffer {
		return inAt, outAt, fmt.Errorf("%d bytes of input and %d of output; the host takes %d together: %w",
			in, out, f.maxBuffer, nt.STATUS_INVALID_BUFFER_SIZE)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	try := func() bool {
		if f.mapped == nil {
			return !f.mapping
		}
		inAt, outAt = extent{}, extent{}
		ok := true
		if in > 0 {
			inAt, ok = f.slots.take(in)
		}
		if ok && out > 0 {
			if outAt, ok = f.slots.take(out); !ok {
				f.slots.give(inAt)
			}
		}
		return ok
	}
	for {
		got := try()
		if !got {
			if err := f.waitFor(ctx, func() bool { got = try(); return got }); err != nil {
				return extent{}, extent{}, err
			}
		}
		if f.err != nil || f.closing {
			if got && f.mapped != nil {
				f.slots.give(inAt)
				f.slots.give(outAt)
			}
			if f.closing {
				return extent{}, extent{}, errClosed
			}
			return extent{}, extent{}, f.err
		}
		if f.mapped != nil {
			f.users++
			return inAt, outAt, nil
		}
		f.mapping = true
		f.mu.Unlock()
		mem, err := f.fetchBuffer(ctx)
		f.mu.Lock()
		f.mapping = false
		f.changed.Broadcast()
		if err != nil {
			return extent{}, extent{}, err
		}
		f.mapped = mem
		f.slots.free = append(f.slots.free[:0], extent{0, uint64(len(mem)) &^ (slotAlign - 1)})
	}
}

// repay gives back what borrow gave.
func (f *File) repay(inAt, outAt extent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots.give(inAt)
	f.slots.give(outAt)
	f.leave()
}

// fetchBuffer has the host pass the shared buffer, and maps it. A reply that was received by one
// who was not prepared for a descriptor comes without; then the host is asked again.
func (f *File) fetchBuffer(ctx context.Context) ([]byte, error) {
	f.expectFD.Store(true)
	defer f.expectFD.Store(false)
	for range 3 {
		c, err := f.begin(ctx, expected{kind: wire.MsgBufferReply}, 0, false)
		if err != nil {
			return nil, err
		}
		c.msg = wire.AppendBuffer(c.msg[:0], c.id, f.maxBuffer)
		e := f.perform(context.WithoutCancel(ctx), c)
		switch {
		case e.err != nil:
			return nil, e.err
		case !e.reply.Status.Success():
			if e.fd >= 0 {
				_ = syscall.Close(e.fd)
			}
			return nil, fmt.Errorf("%w: %w", errNoBuffer, e.reply.Status)
		case e.fd < 0:
			continue
		}
		mem, err := wire.MapBuffer(e.fd, min(e.size, f.maxBuffer))
		if err != nil {
			return nil, err
		}
		return mem, nil
	}
	return nil, fmt.Errorf("%w: the shared buffer came without a descriptor", wire.ErrProtocol)
}
