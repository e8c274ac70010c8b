package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Events as objects: with handles and names.
var zwEventExports = []Export{
	{Name: "ZwCreateEvent", Fn: fn5(zwCreateEvent),
		Params:  "EventHandle DesiredAccess ObjectAttributes EventType:d InitialState:b",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwOpenEvent", Fn: fn3(zwOpenEvent), Params: "EventHandle DesiredAccess ObjectAttributes",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwSetEvent", Fn: fn2(zwSetEvent), Params: "EventHandle PreviousState", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwResetEvent", Fn: fn2(zwResetEvent), Params: "EventHandle PreviousState",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwClearEvent", Fn: fn1(zwClearEvent), Params: "EventHandle", MaxIRQL: passive,
		Support: Full},
	{Name: "IoCreateNotificationEvent", Fn: fn2(ioCreateNotificationEvent),
		Params: "EventName:ustr EventHandle", MaxIRQL: passive, Support: Full},
	{Name: "IoCreateSynchronizationEvent", Fn: fn2(ioCreateSynchronizationEvent),
		Params: "EventName:ustr EventHandle", MaxIRQL: passive, Support: Full},
}

// zwCreateEvent makes an event, or with OBJ_OPENIF opens one.
//
//	NTSTATUS ZwCreateEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, EVENT_TYPE EventType, BOOLEAN InitialState)
//
// STATUS_OBJECT_NAME_EXISTS for one that was opened, STATUS_OBJECT_NAME_COLLISION,
// STATUS_INVALID_PARAMETER for another type, and what the namespace says of the name.
// "ZwCreateEvent function (ntifs.h)".
func zwCreateEvent(c *Call, result guest.Addr, access uint32, attributes guest.Addr,
	typ nt.EventType,
	state nt.Boolean) nt.Status {
	if typ != nt.NotificationEvent && typ != nt.SynchronizationEvent {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.createNamed(result, access, attributes, c.types.event, c.eventMaker(typ, state != 0))
}

// eventMaker makes an event with a name, if that is not empty.
func (c *Call) eventMaker(typ nt.EventType, state bool) func(string, bool) (*ob.Object, nt.Status) {
	return func(path string, permanent bool) (*ob.Object, nt.Status) {
		o, err := c.Ob.Create(c.types.event, sizeOf[nt.KEvent](), nil)
		if err != nil {
			return nil, nt.STATUS_INSUFFICIENT_RESOURCES
		}
		c.Must(ke.InitializeEvent(o.Addr, typ, state))
		if path == "" {
			return o, nt.STATUS_SUCCESS
		}
		if status := c.Ob.Insert(o, path, permanent); status != nt.STATUS_SUCCESS {
			c.dereference(o)
			return nil, status
		}
		return o, nt.STATUS_SUCCESS
	}
}

// zwOpenEvent opens a named event.
//
//	NTSTATUS ZwOpenEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes)
//
// STATUS_OBJECT_TYPE_MISMATCH and what the namespace says of the name. "ZwOpenEvent function
// (ntifs.h)".
func zwOpenEvent(c *Call, result guest.Addr, access uint32, attributes guest.Addr) nt.Status {
	return c.openNamed(result, access, attributes, c.types.event)
}

// onEvent does something to the event of a handle.
func (c *Call) onEvent(h nt.Handle, previous guest.Addr,
	do func(event guest.Addr) (int32, error)) nt.Status {
	const modifyState = 2 // EVENT_MODIFY_STATE
	e, status := c.reference(h, modifyState, c.types.event, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	before, err := do(e.Object.Addr)
	c.Must(err)
	StoreOpt(c, previous, before)
	return nt.STATUS_SUCCESS
}

// zwSetEvent signals an event.
//
//	NTSTATUS ZwSetEvent(HANDLE EventHandle, PLONG PreviousState)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH. "ZwSetEvent function (ntifs.h)".
func zwSetEvent(c *Call, h nt.Handle, previous guest.Addr) nt.Status {
	return c.onEvent(h, previous, c.Ke.SetEvent)
}

// zwResetEvent makes an event not signalled.
//
//	NTSTATUS ZwResetEvent(HANDLE EventHandle, PLONG PreviousState)
//
// As for ZwSetEvent. The function is not documented.
func zwResetEvent(c *Call, h nt.Handle, previous guest.Addr) nt.Status {
	return c.onEvent(h, previous, c.Ke.ResetEvent)
}

// zwClearEvent makes an event not signalled.
//
//	NTSTATUS ZwClearEvent(HANDLE EventHandle)
//
// As for ZwSetEvent. The function is not documented.
func zwClearEvent(c *Call, h nt.Handle) nt.Status { return zwResetEvent(c, h, 0) }

// ioCreateNotificationEvent opens or makes a named notification event; a new one is signalled. The
// handle is the kernel's, and keeps the event.
//
//	PKEVENT IoCreateNotificationEvent(PUNICODE_STRING EventName, PHANDLE EventHandle)
//
// NULL if it cannot be had. "IoCreateNotificationEvent function (wdm.h)".
func ioCreateNotificationEvent(c *Call, name, handle guest.Addr) guest.Addr {
	return c.namedEvent(name, handle, nt.NotificationEvent)
}

// ioCreateSynchronizationEvent is the same for a synchronization event.
//
//	PKEVENT IoCreateSynchronizationEvent(PUNICODE_STRING EventName, PHANDLE EventHandle)
//
// "IoCreateSynchronizationEvent function (wdm.h)".
func ioCreateSynchronizationEvent(c *Call, name, handle guest.Addr) guest.Addr {
	return c.namedEvent(name, handle, nt.SynchronizationEvent)
}

func (c *Call) namedEvent(name, handle guest.Addr, typ nt.EventType) guest.Addr {
	path := c.UString(name)
	o, status := c.eventMaker(typ, true)(path, false)
	if status == nt.STATUS_OBJECT_NAME_COLLISION {
		o, status = c.openObject(path, c.types.event, 0)
	}
	if status != nt.STATUS_SUCCESS {
		return 0
	}
	defer c.dereference(o)
	h, status := c.newHandle(o, eventAllAccess, nt.OBJ_KERNEL_HANDLE)
	if status != nt.STATUS_SUCCESS {
		return 0
	}
	c.giveHandle(handle, h)
	return o.Addr
}
