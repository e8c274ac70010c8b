package ntoskrnl

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Registry keys with handles. What callbacks of CmRegisterCallback want to know is in cm_callback.go.
var zwKeyExports = []Export{
	{Name: "ZwCreateKey", Fn: fn7(zwCreateKey),
		Params: "KeyHandle DesiredAccess ObjectAttributes TitleIndex Class:ustr CreateOptions " +
			"Disposition",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwOpenKey", Fn: fn3(zwOpenKey), Params: "KeyHandle DesiredAccess ObjectAttributes",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwOpenKeyEx", Fn: fn4(zwOpenKeyEx),
		Params: "KeyHandle DesiredAccess ObjectAttributes OpenOptions", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwDeleteKey", Fn: fn1(zwDeleteKey), Params: "KeyHandle", MaxIRQL: passive, Support: Full},
	{Name: "ZwFlushKey", Fn: fn1(zwFlushKey), Params: "KeyHandle", MaxIRQL: passive, Support: Full},
	{Name: "ZwRenameKey", Fn: fn2(zwRenameKey), Params: "KeyHandle NewName:ustr", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwQueryKey", Fn: fn5(zwQueryKey),
		Params:  "KeyHandle KeyInformationClass:d KeyInformation Length:d ResultLength",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwEnumerateKey", Fn: fn6(zwEnumerateKey),
		Params:  "KeyHandle Index:d KeyInformationClass:d KeyInformation Length:d ResultLength",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwSetInformationKey", Fn: fn4(zwSetInformationKey),
		Params:  "KeyHandle KeySetInformationClass:d KeySetInformation KeySetInformationLength:d",
		MaxIRQL: passive, Support: Partial,
		Note: "KeyWriteTimeInformation, which holds for this host until the key is changed"},
	{Name: "ZwNotifyChangeKey", Fn: fn10(zwNotifyChangeKey),
		Params: "KeyHandle Event WorkItem QueueType IoStatusBlock CompletionFilter WatchTree:b " +
			"Buffer BufferSize:d Asynchronous:b",
		MaxIRQL: passive, Support: Full},
}

// sizeofKey is what a key's object takes in guest memory, where nothing looks into it.
const sizeofKey = 0x40

// keyObject is the body of a key's object. Each open makes one, as on Windows.
type keyObject struct {
	*cm.Key
	context keyContexts // of the registry callbacks
	watches keyWatches
	name    guest.Addr // a UNICODE_STRING with its path, for those callbacks
}

// keyGone ends what a key's object still has.
func (k *Kernel) keyGone(o *ob.Object) {
	key := o.Body.(*keyObject)
	k.openKeys.remove(key)
	key.watches.end(key.Key)
	k.freeObject(key.name)
}

// openKeys are the keys that have objects: a hive with one of its keys open is not unloaded.
type openKeys struct {
	mu  sync.Mutex
	all map[*keyObject]bool
}

func (o *openKeys) add(k *keyObject) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*keyObject]bool)
	}
	o.all[k] = true
}

func (o *openKeys) remove(k *keyObject) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, k)
}

// below reports whether a key below a path is open, or with itself the key of that path.
func (o *openKeys) below(path string, itself bool) bool {
	path = cm.Fold(path)
	o.mu.Lock()
	all := slices.Collect(maps.Keys(o.all))
	o.mu.Unlock() // to look at a key may bring changes, and call what waits for them
	for _, k := range all {
		at := cm.Fold(k.Path())
		if _, deleted := k.Info(); deleted != nt.STATUS_SUCCESS {
			continue
		}
		if strings.HasPrefix(at, path+`\`) || itself && at == path {
			return true
		}
	}
	return false
}

// newKey makes the object of an open key; the caller has a reference.
func (c *Call) newKey(key *cm.Key) (*ob.Object, nt.Status) {
	body := &keyObject{Key: key}
	o, err := c.Ob.Create(c.types.key, sizeofKey, body)
	if err != nil {
		return nil, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	c.openKeys.add(body)
	return o, nt.STATUS_SUCCESS
}

// keyName is which key an OBJECT_ATTRIBUTES names.
type keyName struct {
	root       *ob.Object // referenced, or nil
	from       *cm.Key    // nil for a full path
	path       string
	attributes uint32
	name       guest.Addr // UNICODE_STRING
	descriptor guest.Addr
	quality    guest.Addr // of service, for security
}

func (c *Call) keyAttributes(a guest.Addr) (k keyName, status nt.Status) {
	if a == 0 {
		return k, nt.STATUS_INVALID_PARAMETER
	}
	oa := Load[nt.ObjectAttributes](c, a)
	if oa.Length != uint32(sizeofObjectAttributes) || oa.Attributes&^nt.OBJ_VALID_ATTRIBUTES != 0 {
		return k, nt.STATUS_INVALID_PARAMETER
	}
	k.attributes, k.name = oa.Attributes, oa.ObjectName
	k.descriptor, k.quality = oa.SecurityDescriptor, oa.SecurityQualityOfService
	k.path = c.OptUString(oa.ObjectName)
	if oa.RootDirectory == 0 {
		return k, nt.STATUS_SUCCESS
	}
	e, status := c.reference(oa.RootDirectory, 0, c.types.key, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return k, status
	}
	k.root, k.from = e.Object, e.Object.Body.(*keyObject).Key
	return k, status
}

func (c *Call) releaseKeyName(k keyName) {
	if k.root != nil {
		c.dereference(k.root)
	}
}

// giveKey makes the object and the handle of an open key.
func (c *Call) giveKey(result guest.Addr, key *cm.Key, access, attributes uint32) (guest.Addr,
	nt.Status) {
	o, status := c.newKey(key)
	if status != nt.STATUS_SUCCESS {
		return 0, status
	}
	defer c.dereference(o)
	h, status := c.newHandle(o, access, attributes)
	if status == nt.STATUS_SUCCESS {
		c.giveHandle(result, h)
	}
	return o.Addr, status
}

// zwCreateKey opens a key, or makes it.
//
//	NTSTATUS ZwCreateKey(PHANDLE KeyHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, ULONG TitleIndex, PUNICODE_STRING Class,
//	    ULONG CreateOptions, PULONG Disposition)
//
// STATUS_OBJECT_NAME_NOT_FOUND if a key above it is missing, STATUS_CHILD_MUST_BE_VOLATILE,
// STATUS_ACCESS_DENIED below \Registry, STATUS_OBJECT_NAME_INVALID, STATUS_INVALID_PARAMETER,
// STATUS_INVALID_HANDLE, STATUS_KEY_DELETED, what is wrong with a security descriptor, and what
// callbacks say. The disposition is REG_CREATED_NEW_KEY or REG_OPENED_EXISTING_KEY. "ZwCreateKey
// function (wdm.h)".
func zwCreateKey(c *Call, result guest.Addr, access uint32, attributes guest.Addr, title uint32,
	class guest.Addr, options uint32, disposition guest.Addr) nt.Status {
	const known = nt.REG_OPTION_VOLATILE | nt.REG_OPTION_CREATE_LINK | nt.REG_OPTION_BACKUP_RESTORE |
		nt.REG_OPTION_OPEN_LINK
	if options&^known != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	name, status := c.keyAttributes(attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.releaseKeyName(name)
	o := cm.CreateOptions{Class: c.OptUString(class),
		Volatile: options&nt.REG_OPTION_VOLATILE != 0, Link: options&nt.REG_OPTION_CREATE_LINK != 0}
	var own *nt.Descriptor
	if name.descriptor != 0 {
		d, status := c.loadDescriptor(name.descriptor)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		own = &d
	}
	open := keyOpening{name: name, access: access, options: options, class: class, create: true,
		disposition: disposition, handle: result}
	return c.watchOpen(&open, func() (guest.Addr, nt.Status) {
		key, created, status := c.Registry().Create(name.from, name.path, o)
		if status == nt.STATUS_SUCCESS && created && own != nil {
			status = key.SetSecurity(own.Append(nil))
		}
		if status != nt.STATUS_SUCCESS {
			return 0, status
		}
		object, status := c.giveKey(result, key, access, name.attributes)
		if status == nt.STATUS_SUCCESS {
			what := nt.REG_OPENED_EXISTING_KEY
			if created {
				what = nt.REG_CREATED_NEW_KEY
			}
			StoreOpt(c, disposition, what)
		}
		return object, status
	})
}

// zwOpenKey opens a key.
//
//	NTSTATUS ZwOpenKey(PHANDLE KeyHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes)
//
// STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_PATH_SYNTAX_BAD,
// STATUS_INVALID_PARAMETER, STATUS_INVALID_HANDLE, STATUS_KEY_DELETED, and what callbacks say.
// "ZwOpenKey function (wdm.h)".
func zwOpenKey(c *Call, result guest.Addr, access uint32, attributes guest.Addr) nt.Status {
	return zwOpenKeyEx(c, result, access, attributes, 0)
}

// zwOpenKeyEx opens a key, or with REG_OPTION_OPEN_LINK a link itself.
//
//	NTSTATUS ZwOpenKeyEx(PHANDLE KeyHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, ULONG OpenOptions)
//
// As ZwOpenKey. "ZwOpenKeyEx function (wdm.h)".
func zwOpenKeyEx(c *Call, result guest.Addr, access uint32, attributes guest.Addr,
	options uint32) nt.Status {
	if options&^(nt.REG_OPTION_BACKUP_RESTORE|nt.REG_OPTION_OPEN_LINK) != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	name, status := c.keyAttributes(attributes)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.releaseKeyName(name)
	itself := options&nt.REG_OPTION_OPEN_LINK != 0 || name.attributes&nt.OBJ_OPENLINK != 0
	open := keyOpening{name: name, access: access, options: options, handle: result}
	return c.watchOpen(&open, func() (guest.Addr, nt.Status) {
		key, status := c.Registry().Open(name.from, name.path, itself)
		if status != nt.STATUS_SUCCESS {
			return 0, status
		}
		return c.giveKey(result, key, access, name.attributes)
	})
}

// withKey runs f with the key of a handle.
func (c *Call) withKey(h nt.Handle, access uint32, f func(o *ob.Object, k *cm.Key) nt.Status) nt.Status {
	e, status := c.reference(h, access, c.types.key, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	return f(e.Object, e.Object.Body.(*keyObject).Key)
}

// zwDeleteKey deletes a key. Its handles stay, and are good for ZwClose.
//
//	NTSTATUS ZwDeleteKey(HANDLE KeyHandle)
//
// STATUS_CANNOT_DELETE if it has subkeys, STATUS_KEY_DELETED, STATUS_INVALID_HANDLE.
// "ZwDeleteKey function (wdm.h)".
func zwDeleteKey(c *Call, h nt.Handle) nt.Status {
	return c.withKey(h, nt.DELETE, func(o *ob.Object, k *cm.Key) nt.Status {
		return c.watchKey(regDeleteKey, o, nil, k.Delete)
	})
}

// zwFlushKey makes a key durable, which it is.
//
//	NTSTATUS ZwFlushKey(HANDLE KeyHandle)
//
// STATUS_INVALID_HANDLE. "ZwFlushKey function (wdm.h)".
func zwFlushKey(c *Call, h nt.Handle) nt.Status {
	return c.withKey(h, 0, func(o *ob.Object, k *cm.Key) nt.Status {
		return c.watchKey(regFlushKey, o, nil, func() nt.Status {
			_, status := k.Info()
			return status
		})
	})
}

// zwRenameKey gives a key another name.
//
//	NTSTATUS ZwRenameKey(HANDLE KeyHandle, PUNICODE_STRING NewName)
//
// STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_INVALID, STATUS_ACCESS_DENIED.
// "NtRenameKey function (winternl.h)".
func zwRenameKey(c *Call, h nt.Handle, name guest.Addr) nt.Status {
	to := c.UString(name)
	return c.withKey(h, nt.KEY_WRITE, func(o *ob.Object, k *cm.Key) nt.Status {
		return c.watchKey(regRenameKey, o, []uint64{uint64(name)}, func() nt.Status {
			return k.Rename(to)
		})
	})
}

// zwQueryKey tells of a key.
//
//	NTSTATUS ZwQueryKey(HANDLE KeyHandle, KEY_INFORMATION_CLASS KeyInformationClass,
//	    PVOID KeyInformation, ULONG Length, PULONG ResultLength)
//
// STATUS_BUFFER_TOO_SMALL without room for the structure, STATUS_BUFFER_OVERFLOW without room for
// all behind it, STATUS_INVALID_PARAMETER for another class. "ZwQueryKey function (wdm.h)".
func zwQueryKey(c *Call, h nt.Handle, class uint32, info guest.Addr, length uint32,
	result guest.Addr) nt.Status {
	return c.withKey(h, 0, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(class), uint64(info), uint64(length), uint64(result)}
		return c.watchKey(regQueryKey, o, slots, func() nt.Status {
			i, status := k.Info()
			if status != nt.STATUS_SUCCESS {
				return status
			}
			path := ""
			if class == nt.KeyNameInformation {
				path = k.Path()
			}
			return c.keyInformation(i, path, class, info, length, result)
		})
	})
}

// zwEnumerateKey tells of a subkey, by its index from 0, in the order of their names.
//
//	NTSTATUS ZwEnumerateKey(HANDLE KeyHandle, ULONG Index,
//	    KEY_INFORMATION_CLASS KeyInformationClass, PVOID KeyInformation, ULONG Length,
//	    PULONG ResultLength)
//
// STATUS_NO_MORE_ENTRIES, and as ZwQueryKey; the classes are KeyBasic, KeyNode and
// KeyFullInformation. "ZwEnumerateKey function (wdm.h)".
func zwEnumerateKey(c *Call, h nt.Handle, index, class uint32, info guest.Addr, length uint32,
	result guest.Addr) nt.Status {
	if class > nt.KeyFullInformation {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.withKey(h, nt.KEY_ENUMERATE_SUB_KEYS, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(index) | uint64(class)<<32, uint64(info), uint64(length),
			uint64(result)}
		return c.watchKey(regEnumerateKey, o, slots, func() nt.Status {
			i, status := k.Subkey(int(index))
			if status != nt.STATUS_SUCCESS {
				return status
			}
			return c.keyInformation(i, "", class, info, length, result)
		})
	})
}

var regSetInformationKey = registryOperation{3, 18}

// zwSetInformationKey sets what is known of a key: with KeyWriteTimeInformation when it was last
// written.
//
//	NTSTATUS ZwSetInformationKey(HANDLE KeyHandle,
//	    KEY_SET_INFORMATION_CLASS KeySetInformationClass, PVOID KeySetInformation,
//	    ULONG KeySetInformationLength)
//
// STATUS_INFO_LENGTH_MISMATCH, STATUS_INVALID_PARAMETER for another class, STATUS_INVALID_HANDLE,
// STATUS_KEY_DELETED. "ZwSetInformationKey function (wdm.h)".
func zwSetInformationKey(c *Call, h nt.Handle, class uint32, info guest.Addr,
	length uint32) nt.Status {
	switch {
	case class != nt.KeyWriteTimeInformation:
		return nt.STATUS_INVALID_PARAMETER
	case length != uint32(sizeOf[int64]()):
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	at := Load[int64](c, info)
	return c.withKey(h, nt.KEY_SET_VALUE, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(class), uint64(info), uint64(length)}
		return c.watchKey(regSetInformationKey, o, slots, func() nt.Status { return k.SetWritten(at) })
	})
}

// Sizes of the structures before what is behind them ("KEY_BASIC_INFORMATION structure" and those
// of the others).
const (
	keyBasicSize  = 16
	keyNodeSize   = 24
	keyFullSize   = 44
	keyNameSize   = 4
	keyCachedSize = 40
	keyFlagsSize  = 12
	keyBitsSize   = 4
)

// Flags of KeyFlagsInformation.
const (
	regFlagVolatile = 1
	regFlagLink     = 2
)

// noOffset stands where there is no class.
const noOffset = ^uint32(0)

// keyInformation writes what is known of a key.
func (c *Call) keyInformation(i cm.Info, path string, class uint32, info guest.Addr, length uint32,
	result guest.Addr) nt.Status {
	name, cls := guest.EncodeUTF16(i.Name), guest.EncodeUTF16(i.Class)
	le := binary.LittleEndian
	b := le.AppendUint64(nil, uint64(i.LastWrite))
	b = le.AppendUint32(b, 0) // TitleIndex
	least := 0
	switch class {
	case nt.KeyBasicInformation:
		least = keyBasicSize
		b = append(le.AppendUint32(b, uint32(len(name))), name...)
	case nt.KeyNodeInformation:
		least = keyNodeSize
		at := noOffset
		if len(cls) > 0 {
			at = uint32(keyNodeSize+len(name)+3) &^ 3
		}
		b = le.AppendUint32(b, at)
		b = le.AppendUint32(b, uint32(len(cls)))
		b = append(le.AppendUint32(b, uint32(len(name))), name...)
		if len(cls) > 0 {
			b = append(append(b, make([]byte, int(at)-len(b))...), cls...)
		}
	case nt.KeyFullInformation:
		least = keyFullSize
		at := noOffset
		if len(cls) > 0 {
			at = keyFullSize
		}
		for _, v := range []int{int(at), len(cls), i.Subkeys, i.MaxSubkey, i.MaxClass, i.Values,
			i.MaxValueName, i.MaxData} {
			b = le.AppendUint32(b, uint32(v))
		}
		b = append(b, cls...)
	case nt.KeyNameInformation:
		least = keyNameSize
		full := guest.EncodeUTF16(path)
		b = append(le.AppendUint32(nil, uint32(len(full))), full...)
	case nt.KeyCachedInformation:
		least = keyCachedSize
		for _, v := range []int{i.Subkeys, i.MaxSubkey, i.Values, i.MaxValueName, i.MaxData,
			len(name), 0} {
			b = le.AppendUint32(b, uint32(v))
		}
	case nt.KeyFlagsInformation:
		least = keyFlagsSize
		flags := uint32(0)
		if i.Volatile {
			flags |= regFlagVolatile
		}
		if i.Link {
			flags |= regFlagLink
		}
		b = le.AppendUint32(make([]byte, 4), flags)
		b = le.AppendUint32(b, 0)
	case nt.KeyVirtualizationInformation, nt.KeyHandleTagsInformation: // of none
		least = keyBitsSize
		b = make([]byte, keyBitsSize)
	default:
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.putInformation(b, least, info, length, result)
}

// putInformation writes as much of a structure as there is room for. Of less than least bytes
// nothing is written.
func (c *Call) putInformation(b []byte, least int, info guest.Addr, length uint32,
	result guest.Addr) nt.Status {
	Store(c, result, uint32(len(b)))
	switch {
	case int(length) < least:
		return nt.STATUS_BUFFER_TOO_SMALL
	case int(length) < len(b):
		c.Must(guest.Write(info, b[:length]))
		return nt.STATUS_BUFFER_OVERFLOW
	}
	c.Must(guest.Write(info, b))
	return nt.STATUS_SUCCESS
}
