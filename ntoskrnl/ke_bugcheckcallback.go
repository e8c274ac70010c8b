package ntoskrnl

import (
	"slices"
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Callbacks at a bugcheck. They are called by the thread that crashes the system, while others may
// still run; not when no thread is to blame, as for a DPC that does not end.
var keBugCheckCallbackExports = []Export{
	{Name: "KeRegisterBugCheckCallback", Fn: fn5(keRegisterBugCheckCallback),
		Params:  "CallbackRecord CallbackRoutine Buffer Length:d Component:str",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeDeregisterBugCheckCallback", Fn: fn1(keDeregisterBugCheckCallback),
		Params: "CallbackRecord", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeRegisterBugCheckReasonCallback", Fn: fn4(keRegisterBugCheckReasonCallback),
		Params: "CallbackRecord CallbackRoutine Reason:d Component:str", MaxIRQL: anyIRQL,
		Support: Partial, Note: "no crash dump is written, so the routine is not called"},
	{Name: "KeDeregisterBugCheckReasonCallback", Fn: fn1(keDeregisterBugCheckReasonCallback),
		Params: "CallbackRecord", MaxIRQL: anyIRQL, Support: Full},
}

// bugCheckRecord is KBUGCHECK_CALLBACK_RECORD.
type bugCheckRecord struct {
	Entry           nt.ListEntry
	CallbackRoutine guest.Addr
	Buffer          guest.Addr
	Length          uint32
	Component       guest.Addr
	Checksum        uintptr
	State           uint8
}

// bugCheckReasonRecord is KBUGCHECK_REASON_CALLBACK_RECORD.
type bugCheckReasonRecord struct {
	Entry           nt.ListEntry
	CallbackRoutine guest.Addr
	Component       guest.Addr
	Checksum        uintptr
	Reason          uint32
	State           uint8
}

// The states of a record: the values of KBUGCHECK_BUFFER_DUMP_STATE.
const (
	bufferEmpty uint8 = iota
	bufferInserted
	bufferStarted
	bufferFinished
	bufferIncomplete
)

// bugCheckCallbacks is the registered records, the last first, as on Windows.
type bugCheckCallbacks struct {
	mu      sync.Mutex
	records []guest.Addr
	reasons []guest.Addr
}

// register puts a record into a list. The state of one that is not must be BufferEmpty.
func (b *bugCheckCallbacks) register(list *[]guest.Addr, record, state guest.Addr,
	store func() error) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := guest.Load8(state)
	if err != nil || s != bufferEmpty || slices.Contains(*list, record) {
		return false, err
	}
	if err := store(); err != nil {
		return false, err
	}
	*list = slices.Insert(*list, 0, record)
	return true, nil
}

// deregister takes a record off a list, and makes its state BufferEmpty.
func (b *bugCheckCallbacks) deregister(list *[]guest.Addr, record, state guest.Addr) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(*list, record)
	if i < 0 {
		return false, nil
	}
	*list = slices.Delete(*list, i, i+1)
	return true, guest.Store8(state, bufferEmpty)
}

// keRegisterBugCheckCallback registers a routine that is called at a bugcheck.
//
//	BOOLEAN KeRegisterBugCheckCallback(PKBUGCHECK_CALLBACK_RECORD CallbackRecord,
//	    PKBUGCHECK_CALLBACK_ROUTINE CallbackRoutine, PVOID Buffer, ULONG Length, PUCHAR Component)
//
// FALSE if the record is registered, or was not made by KeInitializeCallbackRecord.
// "KeRegisterBugCheckCallback function (wdm.h)".
func keRegisterBugCheckCallback(c *Call, record, routine, buffer guest.Addr, length uint32,
	component guest.Addr) nt.Boolean {
	b := &c.bugChecks
	ok, err := b.register(&b.records, record, record+bugCheckState, func() error {
		return guest.Ptr[bugCheckRecord](record).Store(bugCheckRecord{CallbackRoutine: routine,
			Buffer: buffer, Length: length, Component: component,
			Checksum: uintptr(routine) + uintptr(buffer) + uintptr(length) + uintptr(component),
			State:    bufferInserted})
	})
	c.Must(err)
	return boolean(ok)
}

// keDeregisterBugCheckCallback undoes it.
//
//	BOOLEAN KeDeregisterBugCheckCallback(PKBUGCHECK_CALLBACK_RECORD CallbackRecord)
//
// FALSE if the record is not registered. "KeDeregisterBugCheckCallback function (wdm.h)".
func keDeregisterBugCheckCallback(c *Call, record guest.Addr) nt.Boolean {
	b := &c.bugChecks
	ok, err := b.deregister(&b.records, record, record+bugCheckState)
	c.Must(err)
	return boolean(ok)
}

// keRegisterBugCheckReasonCallback registers a routine that adds to a crash dump.
//
//	BOOLEAN KeRegisterBugCheckReasonCallback(PKBUGCHECK_REASON_CALLBACK_RECORD CallbackRecord,
//	    PKBUGCHECK_REASON_CALLBACK_ROUTINE CallbackRoutine, KBUGCHECK_CALLBACK_REASON Reason,
//	    PUCHAR Component)
//
// FALSE if the record is registered. "KeRegisterBugCheckReasonCallback function (wdm.h)".
func keRegisterBugCheckReasonCallback(c *Call, record, routine guest.Addr, reason uint32,
	component guest.Addr) nt.Boolean {
	b := &c.bugChecks
	ok, err := b.register(&b.reasons, record, record+bugCheckReasonState, func() error {
		return guest.Ptr[bugCheckReasonRecord](record).Store(bugCheckReasonRecord{
			CallbackRoutine: routine, Component: component, Reason: reason,
			Checksum: uintptr(routine) + uintptr(reason) + uintptr(component),
			State:    bufferInserted})
	})
	c.Must(err)
	return boolean(ok)
}

// keDeregisterBugCheckReasonCallback undoes it.
//
//	BOOLEAN KeDeregisterBugCheckReasonCallback(PKBUGCHECK_REASON_CALLBACK_RECORD CallbackRecord)
//
// FALSE if the record is not registered. "KeDeregisterBugCheckReasonCallback function (wdm.h)".
func keDeregisterBugCheckReasonCallback(c *Call, record guest.Addr) nt.Boolean {
	b := &c.bugChecks
	ok, err := b.deregister(&b.reasons, record, record+bugCheckReasonState)
	c.Must(err)
	return boolean(ok)
}

// callBugCheckCallbacks calls the registered routines at a bugcheck by t.
func (k *Kernel) callBugCheckCallbacks(t *ke.Thread) {
	b := &k.bugChecks
	b.mu.Lock()
	records := slices.Clone(b.records)
	b.mu.Unlock()
	for _, a := range records {
		r, err := guest.Ptr[bugCheckRecord](a).Load()
		if err != nil || r.State != bufferInserted ||
			guest.Store8(a+bugCheckState, bufferStarted) != nil {
			k.log.Warn("a bugcheck callback's record is damaged", "record", a.String())
			continue
		}
		t.Call(r.CallbackRoutine, uint64(r.Buffer), uint64(r.Length))
		_ = guest.Store8(a+bugCheckState, bufferFinished) // there is nobody to tell
	}
}
