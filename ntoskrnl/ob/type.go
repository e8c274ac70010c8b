package ob

import (
	"errors"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Object types as drivers see them: OBJECT_TYPE, itself an object in \ObjectTypes.

// Offsets in OBJECT_TYPE and its size, in bytes. Source: the type information in Microsoft's public
// symbols for ntoskrnl.exe of Windows 10 2004 to 22H2.
const (
	sizeofObjectType = 0xD8

	typeList     = 0x00 // LIST_ENTRY
	typeName     = 0x10 // UNICODE_STRING
	typeNumber   = 0x28 // UCHAR Index
	typeInfo     = 0x40 // OBJECT_TYPE_INITIALIZER
	typeKey      = 0xC0 // the pool tag of its objects
	typeCallback = 0xC8 // LIST_ENTRY

	infoLength  = typeInfo + 0x00 // USHORT
	infoFlags   = typeInfo + 0x02 // USHORT
	infoMapping = typeInfo + 0x0C // GENERIC_MAPPING
	infoValid   = typeInfo + 0x1C // ULONG ValidAccessMask
	infoPool    = typeInfo + 0x24 // POOL_TYPE

	sizeofTypeInfo = 0x78

	caseInsensitive = 1 << 0 // in infoFlags

	nonPagedPoolNx = 0x200
)

// firstType is the index of the first type, that of types themselves, as on Windows.
const firstType = 2

// AddType makes the OBJECT_TYPE of t, named \ObjectTypes\NAME. It comes before the first object of
// the type, and a Type belongs to one manager.
func (m *Manager) AddType(t *Type) error {
	if m.typeType == nil {
		m.typeType = &Type{Name: "Type", Owned: true, Valid: 0x1F0001, Mapping: nt.GenericMapping{
			GenericRead: 0x20000, GenericWrite: 0x20000, GenericExecute: 0x20000,
			GenericAll: 0x1F0001}}
		if err := m.AddType(m.typeType); err != nil {
			return err
		}
	}
	m.mu.Lock()
	t.index = uint8(firstType + len(m.types))
	m.types = append(m.types, t)
	m.mu.Unlock()

	enc := guest.EncodeUTF16(t.Name)
	o, err := m.Create(m.typeType, sizeofObjectType+uintptr(len(enc))+2, t)
	if err != nil {
		return err
	}
	a, n := o.Addr, uint16(len(enc))
	t.addr = a
	text := a + sizeofObjectType
	key := append([]byte(t.Name), "    "...)[:4]
	if err := errors.Join(
		guest.Ptr[nt.ListEntry](a+typeList).Store(nt.ListEntry{Flink: a + typeList,
			Blink: a + typeList}),
		guest.Ptr[nt.ListEntry](a+typeCallback).Store(nt.ListEntry{Flink: a + typeCallback,
			Blink: a + typeCallback}),
		guest.Write(text, enc),
		guest.Ptr[nt.UnicodeString](a+typeName).Store(nt.UnicodeString{Length: n,
			MaximumLength: n + 2, Buffer: text}),
		guest.Store8(a+typeNumber, t.index),
		guest.Store16(a+infoLength, sizeofTypeInfo),
		guest.Store16(a+infoFlags, caseInsensitive),
		guest.Ptr[nt.GenericMapping](a+infoMapping).Store(t.Mapping),
		guest.Store32(a+infoValid, t.Valid),
		guest.Store32(a+infoPool, nonPagedPoolNx),
		guest.Write(a+typeKey, key),
	); err != nil {
		return err
	}
	if status := m.Name(o, `\ObjectTypes\`+t.Name); status != nt.STATUS_SUCCESS {
		return status
	}
	return nil
}

// Addr gives the address of the OBJECT_TYPE, or 0 for a type that drivers do not see.
func (t *Type) Addr() guest.Addr { return t.addr }

// Access turns the rights that somebody asks for into those of the type: generic rights are mapped,
// MAXIMUM_ALLOWED is all of them, and what the type does not have falls away.
func (t *Type) Access(desired uint32) uint32 {
	if desired&nt.MAXIMUM_ALLOWED != 0 {
		desired = desired&^nt.MAXIMUM_ALLOWED | nt.GENERIC_ALL
	}
	return nt.MapGenericAccess(desired, t.Mapping) & (t.Valid | nt.ACCESS_SYSTEM_SECURITY)
}

// TypeAt gives the type whose OBJECT_TYPE is at addr, or nil.
func (m *Manager) TypeAt(addr guest.Addr) *Type {
	o := m.Find(addr)
	if o == nil {
		return nil
	}
	t, _ := o.Body.(*Type)
	return t
}

// Builtin gives the types that the manager has itself: of types, directories and symbolic links.
// The first is nil before a type was added.
func (m *Manager) Builtin() (types, directories, links *Type) {
	return m.typeType, m.directoryType, m.linkType
}

// encodedType is what the header has for the type: its index, mixed with the second byte of the
// header's address, as Windows 10 does. The cookie that it mixes in too is 0 here.
func (o *Object) encodedType() uint8 { return o.Type.index ^ uint8((o.Addr-headerSize)>>8) }
