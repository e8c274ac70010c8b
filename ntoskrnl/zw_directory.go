package ntoskrnl

import (
	"slices"
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Directories and symbolic links of the namespace, with handles.
var zwDirectoryExports = []Export{
	{Name: "ZwCreateDirectoryObject", Fn: fn3(zwCreateDirectoryObject),
		Params: "DirectoryHandle DesiredAccess ObjectAttributes", MaxIRQL: passive, Support: Full},
	{Name: "ZwOpenDirectoryObject", Fn: fn3(zwOpenDirectoryObject),
		Params: "DirectoryHandle DesiredAccess ObjectAttributes", MaxIRQL: passive, Support: Full},
	{Name: "ZwQueryDirectoryObject", Fn: fn7(zwQueryDirectoryObject),
		Params: "DirectoryHandle Buffer Length:d ReturnSingleEntry:b RestartScan:b Context " +
			"ReturnLength",
		MaxIRQL: passive, Support: Full},
	{Name: "ZwCreateSymbolicLinkObject", Fn: fn4(zwCreateSymbolicLinkObject),
		Params: "LinkHandle DesiredAccess ObjectAttributes LinkTarget:ustr", MaxIRQL: passive,
		Support: Full},
	{Name: "ZwOpenSymbolicLinkObject", Fn: fn3(zwOpenSymbolicLinkObject),
		Params: "LinkHandle DesiredAccess ObjectAttributes", MaxIRQL: passive, Support: Full},
	{Name: "ZwQuerySymbolicLinkObject", Fn: fn3(zwQuerySymbolicLinkObject),
		Params: "LinkHandle LinkTarget ReturnedLength", MaxIRQL: passive, Support: Full},
}

// zwCreateDirectoryObject makes a directory, or with OBJ_OPENIF opens one.
//
//	NTSTATUS ZwCreateDirectoryObject(PHANDLE DirectoryHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes)
//
// STATUS_OBJECT_NAME_EXISTS for one that was opened, STATUS_OBJECT_NAME_COLLISION, and what the
// namespace says of the name. "ZwCreateDirectoryObject function (wdm.h)".
func zwCreateDirectoryObject(c *Call, result guest.Addr, access uint32,
	attributes guest.Addr) nt.Status {
	return c.createNamed(result, access, attributes, c.types.directory, c.Ob.CreateDirectory)
}

// zwOpenDirectoryObject opens a directory.
//
//	NTSTATUS ZwOpenDirectoryObject(PHANDLE DirectoryHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes)
//
// STATUS_OBJECT_TYPE_MISMATCH and what the namespace says of the name. "ZwOpenDirectoryObject
// function".
func zwOpenDirectoryObject(c *Call, result guest.Addr, access uint32,
	attributes guest.Addr) nt.Status {
	return c.openNamed(result, access, attributes, c.types.directory)
}

// objectDirectoryInformation is OBJECT_DIRECTORY_INFORMATION.
type objectDirectoryInformation struct{ Name, TypeName nt.UnicodeString }

// zwQueryDirectoryObject lists a directory: structures, the last one zero, with their strings
// behind them. Context is where the next call goes on.
//
//	NTSTATUS ZwQueryDirectoryObject(HANDLE DirectoryHandle, PVOID Buffer, ULONG Length,
//	    BOOLEAN ReturnSingleEntry, BOOLEAN RestartScan, PULONG Context, PULONG ReturnLength)
//
// STATUS_MORE_ENTRIES if not all have room, STATUS_BUFFER_TOO_SMALL if not even one has,
// STATUS_NO_MORE_ENTRIES. "NtQueryDirectoryObject function".
func zwQueryDirectoryObject(c *Call, h nt.Handle, buffer guest.Addr, length uint32, single,
	restart nt.Boolean, context, needed guest.Addr) nt.Status {
	e, status := c.reference(h, 0, c.types.directory, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	entries, _ := c.Ob.Entries(e.Object)
	from := uint32(0)
	if restart == 0 {
		from = Load[uint32](c, context)
	}
	entries = entries[min(int(from), len(entries)):]
	if len(entries) == 0 {
		return nt.STATUS_NO_MORE_ENTRIES
	}
	size := uint32(sizeOf[objectDirectoryInformation]())
	total, fit := size, 0
	for _, entry := range entries {
		n := size + stringSize(entry.Name) + stringSize(entry.Type)
		if total+n > length || single != 0 && fit == 1 {
			if fit == 0 {
				StoreOpt(c, needed, total+n)
				return nt.STATUS_BUFFER_TOO_SMALL
			}
			break
		}
		total, fit = total+n, fit+1
	}
	text := buffer + guest.Addr(fit+1)*guest.Addr(size)
	list := make([]objectDirectoryInformation, fit+1)
	for i, entry := range entries[:fit] {
		list[i].Name, text = c.putString(text, entry.Name)
		list[i].TypeName, text = c.putString(text, entry.Type)
	}
	c.Must(guest.WriteSlice(buffer, list))
	Store(c, context, from+uint32(fit))
	StoreOpt(c, needed, total)
	if fit < len(entries) && single == 0 {
		return nt.STATUS_MORE_ENTRIES
	}
	return nt.STATUS_SUCCESS
}

// stringSize is what a string takes with a zero behind it, in bytes.
func stringSize(s string) uint32 { return uint32(len(guest.EncodeUTF16(s))) + 2 }

// putString writes a string with a zero behind it, and gives what follows.
func (c *Call) putString(at guest.Addr, s string) (nt.UnicodeString, guest.Addr) {
	enc := guest.EncodeUTF16(s)
	n := uint16(len(enc))
	c.Must(guest.Write(at, append(enc, 0, 0)))
	return nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: at}, at + guest.Addr(n) + 2
}

// zwCreateSymbolicLinkObject makes a symbolic link, or with OBJ_OPENIF opens one.
//
//	NTSTATUS ZwCreateSymbolicLinkObject(PHANDLE LinkHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes, PUNICODE_STRING LinkTarget)
//
// As for ZwCreateDirectoryObject. The function is not documented.
func zwCreateSymbolicLinkObject(c *Call, result guest.Addr, access uint32, attributes,
	target guest.Addr) nt.Status {
	to, made := c.UString(target), ""
	status := c.createNamed(result, access, attributes, c.types.link,
		func(path string, permanent bool) (*ob.Object, nt.Status) {
			o, status := c.Ob.CreateLinkObject(path, to, permanent)
			if status == nt.STATUS_SUCCESS {
				made = path
			}
			return o, status
		})
	if status == nt.STATUS_SUCCESS && made != "" {
		c.noteLink(c.Caller(), made)
	}
	return status
}

// zwOpenSymbolicLinkObject opens a symbolic link itself.
//
//	NTSTATUS ZwOpenSymbolicLinkObject(PHANDLE LinkHandle, ACCESS_MASK DesiredAccess,
//	    POBJECT_ATTRIBUTES ObjectAttributes)
//
// STATUS_OBJECT_TYPE_MISMATCH and what the namespace says of the name. "ZwOpenSymbolicLinkObject
// function (wdm.h)".
func zwOpenSymbolicLinkObject(c *Call, result guest.Addr, access uint32,
	attributes guest.Addr) nt.Status {
	return c.openNamed(result, access, attributes, c.types.link)
}

// zwQuerySymbolicLinkObject gives what a symbolic link stands for.
//
//	NTSTATUS ZwQuerySymbolicLinkObject(HANDLE LinkHandle, PUNICODE_STRING LinkTarget,
//	    PULONG ReturnedLength)
//
// STATUS_BUFFER_TOO_SMALL if the string has no room for it; ReturnedLength, which then counts the
// zero too, says how much is needed. "ZwQuerySymbolicLinkObject function (wdm.h)".
func zwQuerySymbolicLinkObject(c *Call, h nt.Handle, target, needed guest.Addr) nt.Status {
	e, status := c.reference(h, 0, c.types.link, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	to, _ := c.Ob.Target(e.Object)
	enc := guest.EncodeUTF16(to)
	us := Load[nt.UnicodeString](c, target)
	whole := uint32(len(enc)) + 2
	if needed != 0 && whole > uint32(us.MaximumLength) || uint32(len(enc)) > uint32(us.MaximumLength) {
		StoreOpt(c, needed, whole)
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	us.Length = uint16(len(enc))
	if needed != 0 {
		Store(c, needed, whole)
		enc = append(enc, 0, 0)
	}
	c.Must(guest.Write(us.Buffer, enc))
	Store(c, target, us)
	return nt.STATUS_SUCCESS
}

// linkGone follows a link that has lost its name because its last handle was closed.
func (k *Kernel) linkGone(path string) {
	k.mu.Lock()
	k.links = slices.DeleteFunc(k.links, func(l ownedLink) bool {
		return strings.EqualFold(globalName(l.name), path)
	})
	k.mu.Unlock()
	k.linksChanged()
}

// globalName gives the path of a Win32 name's link without the links that lead there.
func globalName(path string) string {
	for _, alias := range []string{`\??\`, `\DosDevices\`} {
		if len(path) > len(alias) && strings.EqualFold(path[:len(alias)], alias) {
			return `\GLOBAL??\` + path[len(alias):]
		}
	}
	return path
}
