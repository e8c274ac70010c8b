package ntoskrnl

import (
	"cmp"
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Callbacks of drivers that watch handles to processes and threads being made.
var obCallbackExports = []Export{
	{Name: "ObRegisterCallbacks", Fn: fn2(obRegisterCallbacks),
		Params: "CallbackRegistration RegistrationHandle", MaxIRQL: apc, Support: Full},
	{Name: "ObUnRegisterCallbacks", Fn: do1(obUnRegisterCallbacks), Params: "RegistrationHandle",
		MaxIRQL: apc, Support: Full},
	{Name: "ObGetFilterVersion", Fn: fn0(obGetFilterVersion), MaxIRQL: anyIRQL, Support: Full},
}

// obCallbackRegistration is OB_CALLBACK_REGISTRATION.
type obCallbackRegistration struct {
	Version                    uint16
	OperationRegistrationCount uint16
	_                          [4]byte
	Altitude                   nt.UnicodeString
	RegistrationContext        guest.Addr
	OperationRegistration      guest.Addr
}

// obOperationRegistration is OB_OPERATION_REGISTRATION.
type obOperationRegistration struct {
	ObjectType    guest.Addr // of a POBJECT_TYPE
	Operations    uint32
	_             [4]byte
	PreOperation  guest.Addr
	PostOperation guest.Addr
}

// obPreOperation is OB_PRE_OPERATION_INFORMATION with what Parameters points at behind it.
type obPreOperation struct {
	Operation   uint32
	Flags       uint32 // bit 0: KernelHandle
	Object      guest.Addr
	ObjectType  guest.Addr
	CallContext guest.Addr
	Parameters  guest.Addr

	DesiredAccess         uint32
	OriginalDesiredAccess uint32
	SourceProcess         guest.Addr // of a duplication
	TargetProcess         guest.Addr
}

// obPostOperation is OB_POST_OPERATION_INFORMATION, likewise.
type obPostOperation struct {
	Operation    uint32
	Flags        uint32
	Object       guest.Addr
	ObjectType   guest.Addr
	CallContext  guest.Addr
	ReturnStatus nt.Status
	_            [4]byte
	Parameters   guest.Addr

	GrantedAccess uint32
	_             [4]byte
}

// Operations on handles, and the version of all this.
const (
	operationCreate    uint32 = 1
	operationDuplicate uint32 = 2

	filterVersion = 0x0100
)

// handleCallback is one driver's registration.
type handleCallback struct {
	handle   guest.Addr
	altitude string
	context  guest.Addr
	watches  []handleWatch
}

// handleWatch is the callbacks for one type.
type handleWatch struct {
	typ        *ob.Type
	operations uint32
	pre, post  guest.Addr
}

// obRegisterCallbacks has callbacks called when handles to processes, threads and desktops are made
// or duplicated, the highest altitude first.
//
//	NTSTATUS ObRegisterCallbacks(POB_CALLBACK_REGISTRATION CallbackRegistration,
//	    PVOID *RegistrationHandle)
//
// STATUS_INVALID_PARAMETER, STATUS_FLT_INSTANCE_ALTITUDE_COLLISION,
// STATUS_INSUFFICIENT_RESOURCES. Every image counts as signed. "ObRegisterCallbacks function
// (wdm.h)".
func obRegisterCallbacks(c *Call, registration, result guest.Addr) nt.Status {
	reg := Load[obCallbackRegistration](c, registration)
	if reg.Version&0xFF00 != filterVersion || reg.OperationRegistrationCount == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	r := &handleCallback{context: reg.RegistrationContext,
		altitude: c.UString(registration + altitudeOffset)}
	for i := range int(reg.OperationRegistrationCount) {
		op := Load[obOperationRegistration](c,
			reg.OperationRegistration+guest.Addr(i)*guest.Addr(sizeOf[obOperationRegistration]()))
		w := handleWatch{operations: op.Operations, pre: op.PreOperation, post: op.PostOperation}
		if w.pre == 0 && w.post == 0 || w.operations == 0 ||
			w.operations&^(operationCreate|operationDuplicate) != 0 {
			return nt.STATUS_INVALID_PARAMETER
		}
		w.typ = c.typeAt(Load[guest.Addr](c, op.ObjectType))
		if w.typ == nil || w.typ != c.types.process && w.typ != c.types.thread &&
			w.typ != c.types.desktop {
			return nt.STATUS_INVALID_PARAMETER
		}
		r.watches = append(r.watches, w)
	}
	var err error
	if r.handle, err = c.allocObject(sizeofUnicodeString); err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	if !c.handleCallbacks.insert(r, func(old *handleCallback) bool {
		return compareAltitudes(old.altitude, r.altitude) < 0
	}, func(old *handleCallback) bool {
		return compareAltitudes(old.altitude, r.altitude) == 0
	}) {
		c.freeObject(r.handle)
		return nt.STATUS_FLT_INSTANCE_ALTITUDE_COLLISION
	}
	Store(c, result, r.handle)
	return nt.STATUS_SUCCESS
}

// compareAltitudes compares two decimal numbers of any length.
func compareAltitudes(a, b string) int {
	wholeA, fractionA, _ := strings.Cut(a, ".")
	wholeB, fractionB, _ := strings.Cut(b, ".")
	wholeA, wholeB = strings.TrimLeft(wholeA, "0"), strings.TrimLeft(wholeB, "0")
	if c := cmp.Compare(len(wholeA), len(wholeB)); c != 0 {
		return c
	}
	if c := strings.Compare(wholeA, wholeB); c != 0 {
		return c
	}
	return strings.Compare(strings.TrimRight(fractionA, "0"), strings.TrimRight(fractionB, "0"))
}

// obUnRegisterCallbacks has them called no more, and waits for calls that are under way.
//
//	VOID ObUnRegisterCallbacks(PVOID RegistrationHandle)
//
// "ObUnRegisterCallbacks function (wdm.h)".
func obUnRegisterCallbacks(c *Call, handle guest.Addr) {
	if !c.handleCallbacks.remove(c.T, func(r *handleCallback) bool { return r.handle == handle }) {
		c.notAnObject(handle, "registration of ObRegisterCallbacks")
	}
	c.freeObject(handle)
}

// obGetFilterVersion gives the version of the structures of ObRegisterCallbacks.
//
//	USHORT ObGetFilterVersion(VOID)
//
// OB_FLT_REGISTRATION_VERSION, 0x100. "ObGetFilterVersion function (wdm.h)".
func obGetFilterVersion(*Call) uint16 { return filterVersion }

// handleOperation is a handle that is about to be made.
type handleOperation struct {
	operation      uint32
	object         *ob.Object
	access         uint32
	kernel         bool
	source, target guest.Addr // processes of a duplication
}

// watched makes a handle with the rights that the callbacks leave.
func (c *Call) watched(op *handleOperation, add func(access uint32) (nt.Handle, nt.Status)) (
	nt.Handle, nt.Status) {
	type called struct {
		routine *routine[*handleCallback]
		watch   *handleWatch
		context guest.Addr
	}
	all := c.handleCallbacks.snapshot()
	if len(all) == 0 {
		return add(op.access)
	}
	info, err := c.allocObject(max(sizeOf[obPreOperation](), sizeOf[obPostOperation]()))
	if err != nil {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer c.freeObject(info)
	access, flags := op.access, uint32(boolean(op.kernel))
	var before []called
	for _, r := range all {
		w := r.is.watch(op)
		if w == nil {
			continue
		}
		done := called{routine: r, watch: w}
		there := c.handleCallbacks.do(r, c.T, func(r *handleCallback) {
			if w.pre == 0 {
				return
			}
			at := guest.Ptr[obPreOperation](info)
			Store(c, info, obPreOperation{Operation: op.operation, Flags: flags,
				Object: op.object.Addr, ObjectType: op.object.Type.Addr(),
				Parameters: info + preParametersOffset, DesiredAccess: access,
				OriginalDesiredAccess: op.access, SourceProcess: op.source, TargetProcess: op.target})
			c.T.Call(w.pre, uint64(r.context), uint64(info))
			pre := Load[obPreOperation](c, at.Addr())
			access &= pre.DesiredAccess
			done.context = pre.CallContext
		})
		if there && w.post != 0 {
			before = append(before, done)
		}
	}
	h, status := add(access)
	for i := len(before) - 1; i >= 0; i-- {
		d := before[i]
		c.handleCallbacks.do(d.routine, c.T, func(r *handleCallback) {
			post := obPostOperation{Operation: op.operation, Flags: flags, Object: op.object.Addr,
				ObjectType: op.object.Type.Addr(), CallContext: d.context, ReturnStatus: status,
				Parameters: info + postParametersOffset}
			if status == nt.STATUS_SUCCESS {
				post.GrantedAccess = access
			}
			Store(c, info, post)
			c.T.Call(d.watch.post, uint64(r.context), uint64(info))
		})
	}
	return h, status
}

// watch gives what a registration has for an operation, or nil.
func (r *handleCallback) watch(op *handleOperation) *handleWatch {
	for i := range r.watches {
		if w := &r.watches[i]; w.typ == op.object.Type && w.operations&op.operation != 0 {
			return w
		}
	}
	return nil
}
