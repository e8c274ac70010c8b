package ntoskrnl

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Values of registry keys.
var zwKeyValueExports = []Export{
	{Name: "ZwSetValueKey", Fn: fn6(zwSetValueKey),
		Params: "KeyHandle ValueName:ustr TitleIndex Type:d Data DataSize:d", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwDeleteValueKey", Fn: fn2(zwDeleteValueKey), Params: "KeyHandle ValueName:ustr",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwQueryValueKey", Fn: fn6(zwQueryValueKey),
		Params: "KeyHandle ValueName:ustr KeyValueInformationClass:d KeyValueInformation Length:d " +
			"ResultLength",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwEnumerateValueKey", Fn: fn6(zwEnumerateValueKey),
		Params: "KeyHandle Index:d KeyValueInformationClass:d KeyValueInformation Length:d " +
			"ResultLength",
		MaxIRQL: passive, Support: Full},
}

// maxValueData is the most bytes of data that a call may bring.
const maxValueData = 64 << 20

// zwSetValueKey sets a value. The data may be anything, whatever the type.
//
//	NTSTATUS ZwSetValueKey(HANDLE KeyHandle, PUNICODE_STRING ValueName, ULONG TitleIndex, ULONG Type,
//	    PVOID Data, ULONG DataSize)
//
// STATUS_INVALID_HANDLE, STATUS_KEY_DELETED, STATUS_INVALID_PARAMETER for a name that is too long,
// STATUS_INSUFFICIENT_RESOURCES, STATUS_REGISTRY_QUOTA_LIMIT. "ZwSetValueKey function (wdm.h)".
func zwSetValueKey(c *Call, h nt.Handle, name guest.Addr, title, typ uint32, data guest.Addr,
	size uint32) nt.Status {
	value := c.OptUString(name)
	if size > maxValueData {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	b := make([]byte, size)
	c.Must(guest.Read(b, data))
	return c.withKey(h, nt.KEY_SET_VALUE, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(name), uint64(title) | uint64(typ)<<32, uint64(data), uint64(size)}
		return c.watchKey(regSetValueKey, o, slots, func() nt.Status { return k.Set(value, typ, b) })
	})
}

// zwDeleteValueKey deletes a value.
//
//	NTSTATUS ZwDeleteValueKey(HANDLE KeyHandle, PUNICODE_STRING ValueName)
//
// STATUS_OBJECT_NAME_NOT_FOUND, STATUS_INVALID_HANDLE, STATUS_KEY_DELETED.
// "ZwDeleteValueKey function (wdm.h)".
func zwDeleteValueKey(c *Call, h nt.Handle, name guest.Addr) nt.Status {
	value := c.OptUString(name)
	return c.withKey(h, nt.KEY_SET_VALUE, func(o *ob.Object, k *cm.Key) nt.Status {
		return c.watchKey(regDeleteValueKey, o, []uint64{uint64(name)}, func() nt.Status {
			return k.DeleteValue(value)
		})
	})
}

// zwQueryValueKey gives a value.
//
//	NTSTATUS ZwQueryValueKey(HANDLE KeyHandle, PUNICODE_STRING ValueName,
//	    KEY_VALUE_INFORMATION_CLASS KeyValueInformationClass, PVOID KeyValueInformation,
//	    ULONG Length, PULONG ResultLength)
//
// STATUS_OBJECT_NAME_NOT_FOUND, STATUS_BUFFER_TOO_SMALL without room for the structure,
// STATUS_BUFFER_OVERFLOW without room for all behind it, STATUS_INVALID_PARAMETER for another
// class. "ZwQueryValueKey function (wdm.h)".
func zwQueryValueKey(c *Call, h nt.Handle, name guest.Addr, class uint32, info guest.Addr,
	length uint32, result guest.Addr) nt.Status {
	value := c.OptUString(name)
	if class > nt.KeyValuePartialInformationAlign64 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.withKey(h, nt.KEY_QUERY_VALUE, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(name), uint64(class), uint64(info), uint64(length), uint64(result)}
		return c.watchKey(regQueryValueKey, o, slots, func() nt.Status {
			v, status := k.Value(value)
			if status != nt.STATUS_SUCCESS {
				return status
			}
			return c.valueInformation(v, class, info, length, result)
		})
	})
}

// zwEnumerateValueKey gives a value by its index from 0.
//
//	NTSTATUS ZwEnumerateValueKey(HANDLE KeyHandle, ULONG Index,
//	    KEY_VALUE_INFORMATION_CLASS KeyValueInformationClass, PVOID KeyValueInformation,
//	    ULONG Length, PULONG ResultLength)
//
// STATUS_NO_MORE_ENTRIES, and as ZwQueryValueKey. "ZwEnumerateValueKey function (wdm.h)".
func zwEnumerateValueKey(c *Call, h nt.Handle, index, class uint32, info guest.Addr,
	length uint32, result guest.Addr) nt.Status {
	if class > nt.KeyValuePartialInformationAlign64 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.withKey(h, nt.KEY_QUERY_VALUE, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(index) | uint64(class)<<32, uint64(info), uint64(length),
			uint64(result)}
		return c.watchKey(regEnumerateValueKey, o, slots, func() nt.Status {
			v, status := k.ValueAt(int(index))
			if status != nt.STATUS_SUCCESS {
				return status
			}
			return c.valueInformation(v, class, info, length, result)
		})
	})
}

// Sizes of the structures before what is behind them.
const (
	valueBasicSize     = 12
	valueFullSize      = 20
	valuePartialSize   = 12
	valuePartial64Size = 8
)

// valueInformation writes a value ("KEY_VALUE_FULL_INFORMATION structure" and those of the others).
func (c *Call) valueInformation(v cm.Value, class uint32, info guest.Addr, length uint32,
	result guest.Addr) nt.Status {
	name := guest.EncodeUTF16(v.Name)
	le := binary.LittleEndian
	b := le.AppendUint32(le.AppendUint32(nil, 0), v.Type) // TitleIndex, Type
	least, align := 0, 4
	switch class {
	case nt.KeyValueBasicInformation:
		least = valueBasicSize
		b = append(le.AppendUint32(b, uint32(len(name))), name...)
	case nt.KeyValueFullInformationAlign64:
		align = 8
		fallthrough
	case nt.KeyValueFullInformation:
		least = valueFullSize
		at := (valueFullSize + len(name) + align - 1) &^ (align - 1)
		offset := uint32(at)
		if len(v.Data) == 0 {
			offset, at = noOffset, valueFullSize+len(name)
		}
		b = le.AppendUint32(b, offset)
		b = le.AppendUint32(b, uint32(len(v.Data)))
		b = append(le.AppendUint32(b, uint32(len(name))), name...)
		b = append(append(b, make([]byte, at-len(b))...), v.Data...)
	case nt.KeyValuePartialInformation:
		least = valuePartialSize
		b = append(le.AppendUint32(b, uint32(len(v.Data))), v.Data...)
	case nt.KeyValuePartialInformationAlign64:
		least = valuePartial64Size
		b = append(le.AppendUint32(b[4:], uint32(len(v.Data))), v.Data...)
	}
	return c.putInformation(b, least, info, length, result)
}
