package ntoskrnl

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Callbacks of the registry: drivers that are told of each operation, before and after, and may
// refuse it.
var cmCallbackExports = []Export{
	{Name: "CmRegisterCallback", Fn: fn3(cmRegisterCallback), Params: "Function Context Cookie",
		MaxIRQL: apc, Support: Full},
	{Name: "CmRegisterCallbackEx", Fn: fn6(cmRegisterCallbackEx),
		Params: "Function Altitude:ustr Driver Context Cookie Reserved", MaxIRQL: apc, Support: Full},
	{Name: "CmUnRegisterCallback", Fn: fn1(cmUnRegisterCallback), Params: "Cookie", MaxIRQL: apc,
		Support: Full},
	{Name: "CmGetCallbackVersion", Fn: do2(cmGetCallbackVersion), Params: "Major Minor",
		MaxIRQL: apc, Support: Full},
	{Name: "CmCallbackGetKeyObjectID", Fn: fn4(cmCallbackGetKeyObjectID),
		Params: "Cookie Object ObjectID ObjectName", MaxIRQL: apc, Support: Partial,
		Note: "the name lives as long as the key's object, and is what the path was when first asked"},
	{Name: "CmCallbackGetKeyObjectIDEx", Fn: fn5(cmCallbackGetKeyObjectIDEx),
		Params: "Cookie Object ObjectID ObjectName Flags", MaxIRQL: apc, Support: Full},
	{Name: "CmCallbackReleaseKeyObjectIDEx", Fn: do1(cmCallbackReleaseKeyObjectIDEx),
		Params: "ObjectName", MaxIRQL: apc, Support: Full},
	{Name: "CmSetCallbackObjectContext", Fn: fn4(cmSetCallbackObjectContext),
		Params: "Object Cookie NewContext OldContext", MaxIRQL: apc, Support: Full},
}

// A kind of operation: the REG_NOTIFY_CLASS before it and after it ("REG_NOTIFY_CLASS enumeration").
type registryOperation struct{ pre, post uint32 }

var (
	regDeleteKey         = registryOperation{0, 15}
	regSetValueKey       = registryOperation{1, 16}
	regDeleteValueKey    = registryOperation{2, 17}
	regRenameKey         = registryOperation{4, 19}
	regEnumerateKey      = registryOperation{5, 20}
	regEnumerateValueKey = registryOperation{6, 21}
	regQueryKey          = registryOperation{7, 22}
	regQueryValueKey     = registryOperation{8, 23}
	regKeyHandleClose    = registryOperation{14, 25}
	regCreateKeyEx       = registryOperation{26, 27}
	regOpenKeyEx         = registryOperation{28, 29}
	regFlushKey          = registryOperation{30, 31}
)

// regContextCleanup tells of a key object that is gone.
const regContextCleanup = 40

// registryCallback is a routine that was registered.
type registryCallback struct {
	routine  guest.Addr
	context  guest.Addr
	altitude string
	cookie   int64
}

// keyContexts are the contexts that drivers have given to a key's object, by cookie.
type keyContexts struct {
	mu sync.Mutex
	by map[int64]guest.Addr
}

func (k *keyContexts) get(cookie int64) guest.Addr {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.by[cookie]
}

func (k *keyContexts) set(cookie int64, v guest.Addr) (old guest.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old = k.by[cookie]
	if k.by == nil {
		k.by = make(map[int64]guest.Addr)
	}
	k.by[cookie] = v
	return old
}

func validAltitude(a string) bool {
	return a != "" && strings.Trim(a, "0123456789.") == "" && strings.Count(a, ".") <= 1 &&
		!strings.HasPrefix(a, ".")
}

// defaultAltitude is where CmRegisterCallback puts a routine.
const defaultAltitude = "328010"

// cmRegisterCallback has a routine told of registry operations.
//
//	NTSTATUS CmRegisterCallback(PEX_CALLBACK_FUNCTION Function, PVOID Context, PLARGE_INTEGER Cookie)
//
// STATUS_INSUFFICIENT_RESOURCES. "CmRegisterCallback function (wdm.h)".
func cmRegisterCallback(c *Call, routine, context, cookie guest.Addr) nt.Status {
	return c.registerCallback(routine, context, cookie, defaultAltitude, true)
}

// cmRegisterCallbackEx is CmRegisterCallback with an altitude: higher routines are called first.
//
//	NTSTATUS CmRegisterCallbackEx(PEX_CALLBACK_FUNCTION Function, PCUNICODE_STRING Altitude,
//	    PVOID Driver, PVOID Context, PLARGE_INTEGER Cookie, PVOID Reserved)
//
// STATUS_FLT_INSTANCE_ALTITUDE_COLLISION if the altitude is taken, STATUS_INVALID_PARAMETER for what
// is none. "CmRegisterCallbackEx function (wdm.h)".
func cmRegisterCallbackEx(c *Call, routine, altitude, driver, context, cookie,
	_ guest.Addr) nt.Status {
	at := c.UString(altitude)
	if !validAltitude(at) || driver == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.registerCallback(routine, context, cookie, at, false)
}

func (c *Call) registerCallback(routine, context, cookie guest.Addr, altitude string,
	shared bool) nt.Status {
	r := &registryCallback{routine: routine, context: context, altitude: altitude,
		cookie: c.registryCookies.Add(1)}
	Store(c, cookie, r.cookie) // before it is called
	ok := c.registryCallbacks.insert(r,
		func(old *registryCallback) bool { return compareAltitudes(old.altitude, altitude) < 0 },
		func(old *registryCallback) bool {
			return !shared && compareAltitudes(old.altitude, altitude) == 0
		})
	if !ok {
		return nt.STATUS_FLT_INSTANCE_ALTITUDE_COLLISION
	}
	return nt.STATUS_SUCCESS
}

// cmUnRegisterCallback takes a routine off; when it returns the routine is not under way any more.
//
//	NTSTATUS CmUnRegisterCallback(LARGE_INTEGER Cookie)
//
// STATUS_INVALID_PARAMETER for a cookie that is none. "CmUnRegisterCallback function (wdm.h)".
func cmUnRegisterCallback(c *Call, cookie int64) nt.Status {
	if !c.registryCallbacks.remove(c.T, func(r *registryCallback) bool { return r.cookie == cookie }) {
		return nt.STATUS_INVALID_PARAMETER
	}
	return nt.STATUS_SUCCESS
}

// cmGetCallbackVersion gives the version of the callbacks: 1.1, that of Windows 10.
//
//	VOID CmGetCallbackVersion(PULONG Major, PULONG Minor)
//
// Both may be null. "CmGetCallbackVersion function (wdm.h)".
func cmGetCallbackVersion(c *Call, major, minor guest.Addr) {
	StoreOpt(c, major, uint32(1))
	StoreOpt(c, minor, uint32(1))
}

// cmCallbackGetKeyObjectID names a key for a callback. Each key object has an identifier of its own.
//
//	NTSTATUS CmCallbackGetKeyObjectID(PLARGE_INTEGER Cookie, PVOID Object, PULONG_PTR ObjectID,
//	    PCUNICODE_STRING *ObjectName)
//
// STATUS_INVALID_PARAMETER for what is no key. "CmCallbackGetKeyObjectID function (wdm.h)".
func cmCallbackGetKeyObjectID(c *Call, _, object, id, name guest.Addr) nt.Status {
	k := c.keyAt(object)
	if k == nil {
		return nt.STATUS_INVALID_PARAMETER
	}
	StoreOpt(c, id, uint64(object))
	if name != 0 {
		if k.name == 0 {
			var err error
			if k.name, err = c.newUnicodeString(k.Path()); err != nil {
				return nt.STATUS_INSUFFICIENT_RESOURCES
			}
		}
		Store(c, name, k.name)
	}
	return nt.STATUS_SUCCESS
}

// cmCallbackGetKeyObjectIDEx is CmCallbackGetKeyObjectID with a name that the caller gives back by
// CmCallbackReleaseKeyObjectIDEx: what the path is now.
//
//	NTSTATUS CmCallbackGetKeyObjectIDEx(PLARGE_INTEGER Cookie, PVOID Object, PULONG_PTR ObjectID,
//	    PCUNICODE_STRING *ObjectName, ULONG Flags)
//
// STATUS_INVALID_PARAMETER for what is no key, and for any flag; STATUS_INSUFFICIENT_RESOURCES.
// "CmCallbackGetKeyObjectIDEx function (wdm.h)".
func cmCallbackGetKeyObjectIDEx(c *Call, _, object, id, name guest.Addr, flags uint32) nt.Status {
	k := c.keyAt(object)
	if k == nil || flags != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	if name != 0 {
		text, err := c.newUnicodeString(k.Path())
		if err != nil {
			return nt.STATUS_INSUFFICIENT_RESOURCES
		}
		c.keyNames.Store(text, true)
		Store(c, name, text)
	}
	StoreOpt(c, id, uint64(object))
	return nt.STATUS_SUCCESS
}

// cmCallbackReleaseKeyObjectIDEx gives a name back.
//
//	VOID CmCallbackReleaseKeyObjectIDEx(PCUNICODE_STRING ObjectName)
//
// "CmCallbackReleaseKeyObjectIDEx function (wdm.h)".
func cmCallbackReleaseKeyObjectIDEx(c *Call, name guest.Addr) {
	if _, ours := c.keyNames.LoadAndDelete(name); !ours {
		c.notAnObject(name, "name of a key")
	}
	c.freeObject(name)
}

// cmSetCallbackObjectContext gives a key's object a context, which callbacks with that cookie find in
// ObjectContext. When the object goes the callback is told.
//
//	NTSTATUS CmSetCallbackObjectContext(PVOID Object, PLARGE_INTEGER Cookie, PVOID NewContext,
//	    PVOID *OldContext)
//
// STATUS_INVALID_PARAMETER for what is no key, and for a cookie of nobody.
// "CmSetCallbackObjectContext function (wdm.h)".
func cmSetCallbackObjectContext(c *Call, object, cookie, context, old guest.Addr) nt.Status {
	k, id := c.keyAt(object), Load[int64](c, cookie)
	known := slices.ContainsFunc(c.registryCallbacks.snapshot(),
		func(r *routine[*registryCallback]) bool { return r.is.cookie == id })
	if k == nil || !known {
		return nt.STATUS_INVALID_PARAMETER
	}
	before := k.context.set(id, context)
	StoreOpt(c, old, before)
	return nt.STATUS_SUCCESS
}

// keyClosed tells the callbacks that have contexts for a key's object that its last handle is closed.
func (c *Call) keyClosed(o *ob.Object, key *keyObject) {
	key.watches.end(key.Key)
	key.context.mu.Lock()
	by := key.context.by
	key.context.by = nil
	key.context.mu.Unlock()
	for _, r := range c.registryCallbacks.snapshot() {
		context := by[r.is.cookie]
		if context == 0 {
			continue
		}
		mem, err := c.allocObject(24) // REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION
		if err != nil {
			return
		}
		c.putWords(mem, []uint64{uint64(o.Addr), uint64(context), 0})
		c.registryCallbacks.do(r, c.T, func(cb *registryCallback) {
			c.registryCallback(cb, regContextCleanup, mem)
		})
		c.freeObject(mem)
	}
}

// keyAt gives the key whose object is at an address, or nil.
func (k *Kernel) keyAt(a guest.Addr) *keyObject {
	if o := k.Ob.Find(a); o != nil {
		key, _ := o.Body.(*keyObject)
		return key
	}
	return nil
}

// registryCallback calls a callback.
func (c *Call) registryCallback(r *registryCallback, class uint32, info guest.Addr) nt.Status {
	return nt.Status(c.T.Call(r.routine, uint64(r.context), uint64(class), uint64(info)))
}

// watchKey does an operation on a key, between the callbacks. slots are the operation's structure
// behind Object and before CallContext, in 64-bit words.
//
// A callback that fails an operation ends it with its status; STATUS_CALLBACK_BYPASS ends it with
// success, and from a callback afterwards puts ReturnStatus in the place of the result.
func (c *Call) watchKey(op registryOperation, o *ob.Object, slots []uint64,
	do func() nt.Status) nt.Status {
	all := c.registryCallbacks.snapshot()
	if len(all) == 0 {
		return do()
	}
	info := append([]uint64{uint64(o.Addr)}, slots...)
	return c.aroundKey(op, all, o.Addr, 0, info, do)
}

// aroundKey calls the callbacks around an operation on a key's object. info is its structure up to
// CallContext, with ObjectContext behind that. result, if it is not null, is where the operation
// stores the object that it makes, which is the one that callbacks after it are told of.
func (c *Call) aroundKey(op registryOperation, all []*routine[*registryCallback], object,
	result guest.Addr, info []uint64, do func() nt.Status) nt.Status {
	context := len(info)
	info = append(info, make([]uint64, 4)...)
	mem, err := c.allocObject(uintptr(8*len(info) + 8*postWords))
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer c.freeObject(mem)
	c.putWords(mem, info)
	type told struct {
		r       *routine[*registryCallback]
		context uint64
	}
	var after []told
	status, stopped := nt.STATUS_SUCCESS, false
	key := c.keyAt(object)
	for _, r := range all {
		own := guest.Addr(0)
		if key != nil {
			own = key.context.get(r.is.cookie)
		}
		Store(c, mem+guest.Addr(8*context), uint64(0))
		Store(c, mem+guest.Addr(8*context+8), own)
		c.registryCallbacks.do(r, c.T, func(cb *registryCallback) {
			status = c.registryCallback(cb, op.pre, mem)
		})
		if status != nt.STATUS_SUCCESS && !status.Success() || status == nt.STATUS_CALLBACK_BYPASS {
			stopped = true
			break
		}
		after = append(after, told{r, Load[uint64](c, mem+guest.Addr(8*context))})
	}
	switch {
	case !stopped:
		status = do()
	case status == nt.STATUS_CALLBACK_BYPASS:
		status = nt.STATUS_SUCCESS
	}
	post := mem + guest.Addr(8*len(info))
	if result != 0 {
		object = Load[guest.Addr](c, result)
		key = c.keyAt(object)
	}
	for _, t := range slices.Backward(after) {
		own := guest.Addr(0)
		if key != nil {
			own = key.context.get(t.r.is.cookie)
		}
		c.putWords(post, []uint64{uint64(object), uint64(status), uint64(mem), uint64(status),
			t.context, uint64(own), 0})
		answer := nt.STATUS_SUCCESS
		c.registryCallbacks.do(t.r, c.T, func(cb *registryCallback) {
			answer = c.registryCallback(cb, op.post, post)
		})
		if answer == nt.STATUS_CALLBACK_BYPASS {
			status = Load[nt.Status](c, post+24)
		}
	}
	return status
}

// postWords is the size of REG_POST_OPERATION_INFORMATION in 64-bit words.
const postWords = 7

func (c *Call) putWords(at guest.Addr, words []uint64) {
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	c.Must(guest.Write(at, b))
}

// keyOpening is an open or a creation of a key.
type keyOpening struct {
	name        keyName
	access      uint32
	options     uint32
	class       guest.Addr
	create      bool
	disposition guest.Addr
	handle      guest.Addr // of the result
}

// watchOpen opens a key between the callbacks. open gives the key's object. A callback that does it
// itself, with STATUS_CALLBACK_BYPASS, gives the object of a key, and gets a handle made for it.
func (c *Call) watchOpen(k *keyOpening, open func() (guest.Addr, nt.Status)) nt.Status {
	all := c.registryCallbacks.snapshot()
	if len(all) == 0 {
		_, status := open()
		return status
	}
	root := c.registryRoot()
	if k.name.root != nil {
		root = k.name.root.Addr
	}
	// REG_OPEN_KEY_INFORMATION, which is REG_CREATE_KEY_INFORMATION.
	result, err := c.allocObject(8)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer c.freeObject(result)
	info := []uint64{uint64(k.name.name), uint64(root), uint64(c.types.key.Addr()),
		uint64(k.options), uint64(k.class), uint64(k.name.descriptor), uint64(k.name.quality),
		uint64(k.access) | uint64(k.access)<<32, uint64(k.disposition), uint64(result)}
	op := regOpenKeyEx
	if k.create {
		op = regCreateKeyEx
	}
	opened := false
	status := c.aroundKey(op, all, root, result, info, func() nt.Status {
		object, status := open()
		Store(c, result, object)
		opened = true
		return status
	})
	if opened || status != nt.STATUS_SUCCESS {
		return status
	}
	o := c.Ob.Find(Load[guest.Addr](c, result))
	if o == nil || c.keyAt(o.Addr) == nil {
		return nt.STATUS_SUCCESS // it has given none
	}
	h, status := c.newHandle(o, k.access, k.name.attributes)
	if status == nt.STATUS_SUCCESS {
		c.giveHandle(k.handle, h)
	}
	return status
}

// registryRoot gives the object of \REGISTRY, which full paths are relative to.
func (c *Call) registryRoot() guest.Addr {
	c.registryOnce.Do(func() {
		if o, status := c.newKey(c.Registry().Root()); status == nt.STATUS_SUCCESS {
			c.registryRootObject = o
		}
	})
	if c.registryRootObject == nil {
		return 0
	}
	return c.registryRootObject.Addr
}
