package ke

import (
	"runtime"
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Spin locks. The word in guest memory is the lock: 0 when it is free, else the owner's KTHREAD
// with bit 0 set, as checked builds of Windows have it, so that guest code may take and release the
// same lock without leaving for Go, and a thread that spins for its own lock is found.

func (t *Thread) spinWord() uint64 { return uint64(t.Object) | 1 }

// AcquireSpinLock takes the lock at DISPATCH_LEVEL or above, where the caller is already. For a
// lock that t owns it is SPIN_LOCK_ALREADY_OWNED.
func (t *Thread) AcquireSpinLock(lock guest.Addr) error {
	for spins := 0; ; spins++ {
		ok, err := guest.CompareAndSwap64(lock, 0, t.spinWord())
		if err != nil || ok {
			return err
		}
		if spins == 0 {
			owner, err := guest.Load64(lock)
			if err == nil && owner == t.spinWord() {
				t.Bugcheck(nt.SPIN_LOCK_ALREADY_OWNED, uint64(lock), 0, 0, 0)
			}
		}
		t.spin(spins)
	}
}

// spin lets time pass for a thread that spins. The owner of what it wants has a processor and does
// not wait, so it is soon over; but the owner's goroutine may be without an OS thread.
func (t *Thread) spin(spins int) {
	t.checkEnded()
	if spins < 128 {
		runtime.Gosched()
		return
	}
	time.Sleep(20 * time.Microsecond)
}

// TryAcquireSpinLock takes the lock if it is free, and reports whether it was.
func (t *Thread) TryAcquireSpinLock(lock guest.Addr) (bool, error) {
	return guest.CompareAndSwap64(lock, 0, t.spinWord())
}

// ReleaseSpinLock gives the lock back. For one that t does not own it is SPIN_LOCK_NOT_OWNED.
func (t *Thread) ReleaseSpinLock(lock guest.Addr) error {
	ok, err := guest.CompareAndSwap64(lock, t.spinWord(), 0)
	if err == nil && !ok {
		owner, _ := guest.Load64(lock)
		t.Bugcheck(nt.SPIN_LOCK_NOT_OWNED, uint64(lock), owner, 0, 0)
	}
	return err
}

// SpinLockFree reports whether nobody has the lock.
func SpinLockFree(lock guest.Addr) (bool, error) {
	v, err := guest.Load64(lock)
	return v == 0, err
}
