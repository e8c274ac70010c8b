package ke

import (
	"runtime"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Calls of a routine on all processors at one time: KeGenericCallDpc. The routines count themselves
// down in a word, which is their SystemArgument1, and may meet at a barrier, which is
// SystemArgument2: the number of processors that are still to come, with a bit that changes each time
// when all have met, and behind it the number of processors.

// Layout of what the routines share, in bytes.
const (
	genericDone    = 0 // 32 bits
	genericBarrier = 16
	genericTotal   = 20
	genericDPC     = 32
)

// barrierSense is the bit of a barrier that changes when all have met.
const barrierSense = 1 << 31

// GenericCallDPC calls a routine at DISPATCH_LEVEL on every processor, as KeGenericCallDpc does, and
// waits until all have called SignalCallDPCDone. The IRQL is below DISPATCH_LEVEL. One such call runs
// at a time.
func (t *Thread) GenericCallDPC(routine, context guest.Addr) error {
	s := t.sys
	shared, err := s.Alloc(genericDPC + sizeofKDPC)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer s.Free(shared)
	n := uint32(len(s.procs))
	if err := guest.WriteSlice(shared+genericBarrier, []uint32{n, n}); err != nil {
		return err
	}
	if err := guest.Store32(shared+genericDone, n); err != nil {
		return err
	}
	if err := InitializeDPC(shared+genericDPC, routine, context, false); err != nil {
		return err
	}
	irql := t.suspend()
	s.generic.Lock()
	defer s.generic.Unlock()
	t.resume(irql)

	call := func(on *Thread) {
		on.Call(routine, uint64(shared+genericDPC), uint64(context), uint64(shared+genericDone),
			uint64(shared+genericBarrier))
	}
	t.RaiseIRQL(nt.DISPATCH_LEVEL)
	for _, p := range s.procs {
		if p != t.proc {
			p.enqueueDPC(queuedDPC{work: call}, true, t)
		}
	}
	call(t)
	for {
		left, err := guest.Load32(shared + genericDone)
		if err != nil || left == 0 {
			t.LowerIRQL(irql)
			return err
		}
		t.checkEnded()
		runtime.Gosched()
	}
}

// SignalCallDPCDone says that a routine of GenericCallDPC is done with.
func SignalCallDPCDone(done guest.Addr) error {
	_, err := guest.Add32(done, ^uint32(0))
	return err
}

// SignalCallDPCSynchronize waits until the routines on all processors have come here, and reports
// true to one of them.
func (t *Thread) SignalCallDPCSynchronize(barrier guest.Addr) (last bool, err error) {
	v, err := guest.Add32(barrier, ^uint32(0))
	if err != nil {
		return false, err
	}
	if v&^barrierSense == 0 {
		total, err := guest.Load32(barrier + genericTotal - genericBarrier)
		if err != nil {
			return false, err
		}
		return true, guest.Store32(barrier, total|v^barrierSense)
	}
	for {
		now, err := guest.Load32(barrier)
		if err != nil || (now^v)&barrierSense != 0 {
			return false, err
		}
		t.checkEnded()
		runtime.Gosched()
	}
}
