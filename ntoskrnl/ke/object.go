package ke

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Dispatcher objects as they lie in guest memory: their headers, when they are signalled, and what
// a wait that they satisfy does to them.

// ObjectError says that an address does not lead to the object that it should. Windows follows the
// pointer; here it is the bugcheck REFERENCE_BY_POINTER, which names it.
type ObjectError struct {
	Object guest.Addr
	Want   string // the structure's name
	Type   uint8  // what the header's Type says
	Fact   string // in place of the type, if set
}

// Error names the address and what is there.
func (e *ObjectError) Error() string {
	if e.Fact != "" {
		return fmt.Sprintf("the %s at %v %s", e.Want, e.Object, e.Fact)
	}
	return fmt.Sprintf("%v is no %s: its type is %d", e.Object, e.Want, e.Type)
}

// BugCheck gives the bugcheck's code and parameters.
func (e *ObjectError) BugCheck() (nt.BugCheck, [4]uint64) {
	return nt.REFERENCE_BY_POINTER, [4]uint64{0, uint64(e.Object), uint64(e.Type), 0}
}

// header is what the first eight bytes of a DISPATCHER_HEADER say.
type header struct {
	typ   uint8
	state int32
}

// lockBit is the spin bit of a DISPATCHER_HEADER's first word.
const lockBit = 0x80

func loadHeader(object guest.Addr) (header, error) {
	v, err := guest.Load64(object)
	return header{typ: uint8(v) &^ lockBit, state: int32(v >> 32)}, err
}

func storeState(object guest.Addr, state int32) error {
	return guest.Store32(object+headerState, uint32(state))
}

// loadAs is loadHeader for an object that must be of one of two types.
func loadAs(object guest.Addr, a, b uint8, want string) (header, error) {
	h, err := loadHeader(object)
	if err == nil && h.typ != a && h.typ != b {
		err = &ObjectError{Object: object, Want: want, Type: h.typ}
	}
	return h, err
}

// loadWaitable is loadHeader for an object that can be waited for.
func loadWaitable(object guest.Addr) (header, error) {
	h, err := loadHeader(object)
	if err != nil {
		return h, err
	}
	switch h.typ {
	case nt.EventNotificationObject, nt.EventSynchronizationObject, nt.MutantObject,
		nt.ProcessObject, nt.QueueObject, nt.SemaphoreObject, nt.ThreadObject,
		nt.TimerNotificationObject, nt.TimerSynchronizationObject:
		return h, nil
	}
	return h, &ObjectError{Object: object, Want: "object that can be waited for", Type: h.typ}
}

// signalled reports whether a wait of t for the object ends at once.
func (h header) signalled(object guest.Addr, t *Thread) (bool, error) {
	if h.state > 0 {
		if h.typ == nt.QueueObject && t.removing {
			return mayTakeEntry(object)
		}
		return true, nil
	}
	if h.typ != nt.MutantObject {
		return false, nil
	}
	owner, err := guest.LoadAddr(object + mutantOwner)
	return owner == t.Object && err == nil, err
}

// satisfy does to the object what a wait of t does that it satisfies, and reports whether it was an
// abandoned mutant. The caller holds the lock of the object's bucket.
func (h header) satisfy(object guest.Addr, t *Thread) (abandoned bool, err error) {
	switch h.typ {
	case nt.EventSynchronizationObject, nt.TimerSynchronizationObject:
		return false, storeState(object, 0)
	case nt.SemaphoreObject:
		return false, storeState(object, h.state-1)
	case nt.MutantObject:
		return t.ownMutant(object, h)
	case nt.QueueObject:
		if t.removing {
			return false, t.takeEntry(object, h)
		}
	}
	return false, nil
}

// newHeader makes the header of an object at address object, of size bytes.
func newHeader(object guest.Addr, typ uint8, size uintptr, state int32) nt.DispatcherHeader {
	list := object + headerList
	return nt.DispatcherHeader{Type: typ, Size: uint8(size / 4), SignalState: state,
		WaitListHead: nt.ListEntry{Flink: list, Blink: list}}
}
