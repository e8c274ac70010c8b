package ntoskrnl

import (
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Callback objects.
var exCallbackExports = []Export{
	{Name: "ExCreateCallback", Fn: fn4(exCreateCallback),
		Params:  "CallbackObject ObjectAttributes Create:b AllowMultipleCallbacks:b",
		MaxIRQL: apc, Support: Full},
	{Name: "ExRegisterCallback", Fn: fn3(exRegisterCallback),
		Params: "CallbackObject CallbackFunction CallbackContext", MaxIRQL: apc, Support: Full},
	{Name: "ExUnregisterCallback", Fn: do1(exUnregisterCallback), Params: "CbRegistration",
		MaxIRQL: apc, Support: Full},
	{Name: "ExNotifyCallback", Fn: do3(exNotifyCallback),
		Params: "CallbackObject Argument1 Argument2", MaxIRQL: dispatch, Support: Full},
}

// The types of a callback object and of a function registered with one.
var (
	callbackType     = &ob.Type{Name: "Callback"}
	registrationType = &ob.Type{Name: "Callback registration"}
)

// systemCallbacks are the callbacks that the system itself makes. Nothing of what they tell happens
// here.
var systemCallbacks = []string{`\Callback\SetSystemTime`, `\Callback\PowerState`,
	`\Callback\ProcessorAdd`}

// callbackObject is CALLBACK_OBJECT, which is opaque to drivers.
type callbackObject struct {
	Signature              uint32
	Lock                   uintptr
	RegisteredCallbacks    nt.ListEntry
	AllowMultipleCallbacks nt.Boolean
	ExpCallbackList        nt.ListEntry
}

const callbackSignature = 'C' | 'a'<<8 | 'l'<<16 | 'l'<<24

// exCreateCallback opens or makes a callback object.
//
//	NTSTATUS ExCreateCallback(PCALLBACK_OBJECT *CallbackObject, POBJECT_ATTRIBUTES ObjectAttributes,
//	    BOOLEAN Create, BOOLEAN AllowMultipleCallbacks)
//
// STATUS_OBJECT_NAME_NOT_FOUND or STATUS_UNSUCCESSFUL if there is none and none is to be made, and
// what the namespace says of the name. "ExCreateCallback function (wdm.h)".
func exCreateCallback(c *Call, result, attributes guest.Addr, create, many nt.Boolean) nt.Status {
	name := ""
	if attributes != 0 {
		name = c.OptUString(Load[nt.ObjectAttributes](c, attributes).ObjectName)
	}
	if name != "" {
		o, rest, status := c.Ob.Lookup(name)
		for _, own := range systemCallbacks {
			if status == nt.STATUS_OBJECT_NAME_NOT_FOUND && strings.EqualFold(name, own) {
				create, many = nt.TRUE, nt.TRUE
			}
		}
		switch {
		case status == nt.STATUS_SUCCESS && rest == "" && o.Type == callbackType:
			c.Ob.Reference(o.Addr)
			Store(c, result, o.Addr)
			return nt.STATUS_SUCCESS
		case status == nt.STATUS_SUCCESS:
			return nt.STATUS_OBJECT_TYPE_MISMATCH
		case create == 0 || status != nt.STATUS_OBJECT_NAME_NOT_FOUND:
			return status
		}
	} else if create == 0 {
		return nt.STATUS_UNSUCCESSFUL
	}
	o, err := c.Ob.Create(callbackType, sizeofCallback, ke.NewCallback(many != 0))
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	body := guest.Ptr[callbackObject](o.Addr).Ref()
	body.Signature, body.AllowMultipleCallbacks = callbackSignature, many
	if name != "" {
		if status := c.Ob.Name(o, name); status != nt.STATUS_SUCCESS {
			_, _ = c.Ob.Dereference(o.Addr) // the reference that creation gave
			return status
		}
	}
	Store(c, result, o.Addr)
	return nt.STATUS_SUCCESS
}

// callback gives the callback whose object the driver passed.
func (c *Call) callback(a guest.Addr) *ke.Callback {
	if o := c.Ob.Find(a); o != nil && o.Type == callbackType {
		return o.Body.(*ke.Callback)
	}
	c.notAnObject(a, "CALLBACK_OBJECT")
	return nil
}

// exRegisterCallback has a function called when a callback is notified.
//
//	PVOID ExRegisterCallback(PCALLBACK_OBJECT CallbackObject, PCALLBACK_FUNCTION CallbackFunction,
//	    PVOID CallbackContext)
//
// A registration for ExUnregisterCallback, or NULL if the callback has a function and may have one
// only. "ExRegisterCallback function (wdm.h)".
func exRegisterCallback(c *Call, callback, function, context guest.Addr) guest.Addr {
	r := c.callback(callback).Register(function, context)
	if r == nil {
		return 0
	}
	o, err := c.Ob.Create(registrationType, registrationSize, registration{r, callback})
	if err != nil {
		c.T.Unregister(r)
		return 0
	}
	c.Ob.Reference(callback)
	return o.Addr
}

// registration is what Go keeps for a registration: it holds a reference to the callback.
type registration struct {
	*ke.Registration
	callback guest.Addr
}

// registrationSize is what a registration takes of memory, in bytes: its address is what counts.
const registrationSize = 16

// exUnregisterCallback has a function called no more, and waits for calls that are under way.
//
//	VOID ExUnregisterCallback(PVOID CbRegistration)
//
// "ExUnregisterCallback function (wdm.h)".
func exUnregisterCallback(c *Call, a guest.Addr) {
	o := c.Ob.Find(a)
	if o == nil || o.Type != registrationType {
		c.notAnObject(a, "registration of a callback")
	}
	r := o.Body.(registration)
	if !c.T.Unregister(r.Registration) {
		return // another thread is at it
	}
	// Both references are there: one is the registration's own, the other was taken with it.
	_, _ = c.Ob.Dereference(a)
	_, _ = c.Ob.Dereference(r.callback)
}

// exNotifyCallback calls the functions of a callback.
//
//	VOID ExNotifyCallback(PVOID CallbackObject, PVOID Argument1, PVOID Argument2)
//
// "ExNotifyCallback function (wdm.h)".
func exNotifyCallback(c *Call, callback guest.Addr, arg1, arg2 uint64) {
	c.T.Notify(c.callback(callback), arg1, arg2)
}
