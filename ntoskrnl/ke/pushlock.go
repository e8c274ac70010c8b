package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Push locks, and the executive's reader/writer spin locks.

// A push lock's word is 0 when it is free. Bit 0 says that it is held, bit 1 that somebody waits;
// from bit 4 up is the number of readers. It is changed under the lock of its bucket only.
const (
	pushLocked  = 1
	pushWaiting = 2
	pushReader  = 16
)

// AcquirePushLock takes the push lock at addr, exclusively or shared, and waits for it; those who
// came first are served first.
func (t *Thread) AcquirePushLock(addr guest.Addr, exclusive bool) error {
	b := t.sys.bucket(addr)
	b.mu.Lock()
	v, err := guest.Load64(addr)
	if err == nil && v&pushWaiting == 0 && (v == 0 || !exclusive && v >= pushReader) {
		err = guest.Store64(addr, pushTaken(v, exclusive))
		b.mu.Unlock()
		return err
	}
	if err == nil {
		err = guest.Store64(addr, v|pushWaiting)
	}
	if err != nil {
		b.mu.Unlock()
		return err
	}
	index := int32(0)
	if !exclusive {
		index = 1
	}
	t.waitFor(b, addr, index, Forever)
	return nil
}

// TryAcquirePushLock takes the push lock if nobody stands in the way, and reports whether it did.
func (s *System) TryAcquirePushLock(addr guest.Addr, exclusive bool) (bool, error) {
	b := s.bucket(addr)
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := guest.Load64(addr)
	if err != nil || v&pushWaiting != 0 || v != 0 && (exclusive || v < pushReader) {
		return false, err
	}
	return true, guest.Store64(addr, pushTaken(v, exclusive))
}

// pushTaken gives the word of a push lock after one more has taken it.
func pushTaken(v uint64, exclusive bool) uint64 {
	if exclusive {
		return v | pushLocked
	}
	return (v | pushLocked) + pushReader
}

// ReleasePushLock gives the push lock back, and lets in those who wait: one writer, or all readers
// before the next writer.
func (s *System) ReleasePushLock(addr guest.Addr) error {
	b := s.bucket(addr)
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := guest.Load64(addr)
	if err != nil {
		return err
	}
	if v&pushLocked == 0 {
		return &ObjectError{Object: addr, Want: "EX_PUSH_LOCK",
			Fact: "is released, and nobody holds it"}
	}
	if v >= pushReader {
		v -= pushReader
	}
	if v < pushReader {
		v = s.passPushLock(b, addr)
	}
	return guest.Store64(addr, v)
}

// passPushLock lets in those who wait for a push lock that is free, and gives its word.
func (s *System) passPushLock(b *bucket, addr guest.Addr) (v uint64) {
	for b.hasWaiters(addr) {
		exclusive := b.queues[addr].first.index == 0
		if exclusive && v != 0 {
			break
		}
		if b.wakeOne(addr) == nil {
			break
		}
		if v = pushTaken(v, exclusive); exclusive {
			break
		}
	}
	if b.hasWaiters(addr) {
		v |= pushWaiting
	}
	return v
}

// An EX_SPIN_LOCK's word: bit 31 says that a writer has it, bit 30 that one waits, the rest is the
// number of readers.
const (
	exSpinExclusive = 1 << 31
	exSpinWaiting   = 1 << 30
)

// AcquireSharedSpinLock takes an EX_SPIN_LOCK as a reader, at DISPATCH_LEVEL or above. Readers wait
// behind a writer that waits.
func (t *Thread) AcquireSharedSpinLock(lock guest.Addr) error {
	for spins := 0; ; spins++ {
		v, err := guest.Load32(lock)
		if err != nil {
			return err
		}
		if v&(exSpinExclusive|exSpinWaiting) == 0 {
			ok, err := guest.CompareAndSwap32(lock, v, v+1)
			if err != nil || ok {
				return err
			}
			continue
		}
		t.spin(spins)
	}
}

// ReleaseSharedSpinLock gives it back. SPIN_LOCK_NOT_OWNED if there is no reader.
func (t *Thread) ReleaseSharedSpinLock(lock guest.Addr) error {
	for {
		v, err := guest.Load32(lock)
		if err != nil {
			return err
		}
		if v&exSpinExclusive != 0 || v&^exSpinWaiting == 0 {
			t.Bugcheck(nt.SPIN_LOCK_NOT_OWNED, uint64(lock), uint64(v), 0, 0)
		}
		ok, err := guest.CompareAndSwap32(lock, v, v-1)
		if err != nil || ok {
			return err
		}
	}
}

// AcquireExclusiveSpinLock takes an EX_SPIN_LOCK as the writer, at DISPATCH_LEVEL or above.
func (t *Thread) AcquireExclusiveSpinLock(lock guest.Addr) error {
	for spins := 0; ; spins++ {
		v, err := guest.Load32(lock)
		if err != nil {
			return err
		}
		want := v | exSpinWaiting
		if v&^exSpinWaiting == 0 {
			want = exSpinExclusive
		}
		ok, err := guest.CompareAndSwap32(lock, v, want)
		if err != nil || ok && want == exSpinExclusive {
			return err
		}
		t.spin(spins)
	}
}

// TryConvertSpinLock makes the one reader of an EX_SPIN_LOCK its writer, and reports whether it was
// the only one.
func TryConvertSpinLock(lock guest.Addr) (bool, error) {
	return guest.CompareAndSwap32(lock, 1, exSpinExclusive)
}

// ReleaseExclusiveSpinLock gives it back. SPIN_LOCK_NOT_OWNED if there is no writer.
func (t *Thread) ReleaseExclusiveSpinLock(lock guest.Addr) error {
	v, err := guest.And32(lock, ^uint32(exSpinExclusive))
	if err == nil && v&exSpinExclusive == 0 {
		t.Bugcheck(nt.SPIN_LOCK_NOT_OWNED, uint64(lock), uint64(v), 0, 0)
	}
	return err
}
