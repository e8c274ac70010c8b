package ke

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Events and semaphores.

// InitializeEvent makes the KEVENT at event ready, as KeInitializeEvent does.
func InitializeEvent(event guest.Addr, typ nt.EventType, state bool) error {
	signal := int32(0)
	if state {
		signal = 1
	}
	return guest.Ptr[nt.KEvent](event).Store(nt.KEvent{
		Header: newHeader(event, uint8(typ), sizeofKEvent, signal)})
}

func loadEvent(event guest.Addr) (header, error) {
	return loadAs(event, nt.EventNotificationObject, nt.EventSynchronizationObject, "KEVENT")
}

// SetEvent signals an event and wakes who waits for it: everybody if it is a notification event,
// the first if it is a synchronization event, which is reset then. It gives the state from before.
func (s *System) SetEvent(event guest.Addr) (before int32, err error) {
	b := s.bucket(event)
	b.mu.Lock()
	h, err := loadEvent(event)
	if err == nil {
		err = storeState(event, 1)
	}
	if err != nil || b.blocks == 0 {
		b.mu.Unlock()
		return h.state, err
	}
	return h.state, s.wakeAndUnlock(b, event)
}

// ResetEvent makes an event not signalled, and gives the state from before.
func (s *System) ResetEvent(event guest.Addr) (before int32, err error) {
	b := s.bucket(event)
	b.mu.Lock()
	defer b.mu.Unlock()
	h, err := loadEvent(event)
	if err == nil {
		err = storeState(event, 0)
	}
	return h.state, err
}

// PulseEvent signals an event for those who wait for it now, and leaves it not signalled. It gives
// the state from before.
func (s *System) PulseEvent(event guest.Addr) (before int32, err error) {
	before, err = s.SetEvent(event)
	if err == nil {
		_, err = s.ResetEvent(event)
	}
	return before, err
}

// ReadState gives the state of an event, semaphore, mutant or timer: SignalState.
func ReadState(object guest.Addr) (int32, error) {
	h, err := loadWaitable(object)
	return h.state, err
}

// InitializeSemaphore makes the KSEMAPHORE at semaphore ready, as KeInitializeSemaphore does.
func InitializeSemaphore(semaphore guest.Addr, count, limit int32) error {
	return guest.Ptr[nt.KSemaphore](semaphore).Store(nt.KSemaphore{
		Header: newHeader(semaphore, nt.SemaphoreObject, sizeofKSemaphore, count), Limit: limit})
}

// ReleaseSemaphore adds adjustment to a semaphore's count and wakes as many waiters. It gives the
// count from before. STATUS_SEMAPHORE_LIMIT_EXCEEDED, to be raised, if the count would exceed the
// limit or shrink; it stays as it is then.
func (s *System) ReleaseSemaphore(semaphore guest.Addr, adjustment int32) (before int32,
	err error) {
	b := s.bucket(semaphore)
	b.mu.Lock()
	h, err := loadAs(semaphore, nt.SemaphoreObject, nt.SemaphoreObject, "KSEMAPHORE")
	var limit uint32
	if err == nil {
		limit, err = guest.Load32(semaphore + semaphoreLimit)
	}
	count := h.state + adjustment
	if err == nil && (count > int32(limit) || count < h.state) {
		err = nt.STATUS_SEMAPHORE_LIMIT_EXCEEDED
	}
	if err == nil {
		err = storeState(semaphore, count)
	}
	if err != nil || b.blocks == 0 {
		b.mu.Unlock()
		return h.state, err
	}
	return h.state, s.wakeAndUnlock(b, semaphore)
}
