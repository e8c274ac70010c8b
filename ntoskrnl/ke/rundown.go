package ke

import "github.com/drvhost/drvhost/guest"

// Run-down protection: EX_RUNDOWN_REF. Bit 0 says that the object is being run down; above it is
// the count of those who use it. Who waits for them is in a bucket, by the reference's address.

// AcquireRundown takes protection count times, and reports whether it got it: not when the object
// is being run down.
func AcquireRundown(ref guest.Addr, count uint32) (bool, error) {
	for {
		v, err := guest.Load64(ref)
		if err != nil || v&1 != 0 {
			return false, err
		}
		ok, err := guest.CompareAndSwap64(ref, v, v+uint64(count)*2)
		if err != nil || ok {
			return ok, err
		}
	}
}

// ReleaseRundown gives protection back, and wakes who waits for the last.
func (s *System) ReleaseRundown(ref guest.Addr, count uint32) error {
	for {
		v, err := guest.Load64(ref)
		if err != nil {
			return err
		}
		if v&^1 < uint64(count)*2 {
			return &ObjectError{Object: ref, Want: "EX_RUNDOWN_REF",
				Fact: "is released more often than it was acquired"}
		}
		left := v - uint64(count)*2
		ok, err := guest.CompareAndSwap64(ref, v, left)
		if err != nil {
			return err
		}
		if ok {
			if left == 1 {
				s.wakeRundown(ref)
			}
			return nil
		}
	}
}

// rundownDone is the state of a reference that is run down and that nobody uses any more.
const rundownDone = 1

// WaitForRundown stops new protection and waits until nobody has it any more. Below DISPATCH_LEVEL.
func (t *Thread) WaitForRundown(ref guest.Addr) error {
	for {
		v, err := guest.Load64(ref)
		if err != nil || v == rundownDone {
			return err
		}
		ok, err := guest.CompareAndSwap64(ref, v, v|1)
		if err != nil {
			return err
		}
		if ok {
			break
		}
	}
	b := t.sys.bucket(ref)
	b.mu.Lock()
	v, err := guest.Load64(ref)
	if err != nil || v == rundownDone {
		b.mu.Unlock()
		return err
	}
	t.waitFor(b, ref, 0, Forever)
	return nil
}

// wakeRundown wakes those who wait for the last user of ref.
func (s *System) wakeRundown(ref guest.Addr) {
	b := s.bucket(ref)
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.wakeOne(ref) != nil {
	}
}

// InitializeRundown makes a reference, or makes one that was run down usable again.
func InitializeRundown(ref guest.Addr) error { return guest.Store64(ref, 0) }

// RundownCompleted marks a reference as run down, as ExRundownCompleted does.
func RundownCompleted(ref guest.Addr) error { return guest.Store64(ref, rundownDone) }
