package ntoskrnl

import (
	"encoding/binary"
	"errors"
	"path"
	"strings"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
	"github.com/drvhost/drvhost/ntoskrnl/volume"
)

const (
	hiveFileNote = "files on volumes"
	hiveLoadNote = "files on volumes; the file is not held open, and is written when the hive is " +
		"unloaded"
)

// Registry keys and the binary files that hold them. A driver calls these in kernel mode, where the
// privileges that they want of others (SeBackupPrivilege, SeRestorePrivilege) are not asked for.
var zwHiveExports = []Export{
	{Name: "ZwSaveKey", Fn: fn2(zwSaveKey), Params: "KeyHandle FileHandle", MaxIRQL: passive,
		Support: Partial, Note: hiveFileNote},
	{Name: "ZwSaveKeyEx", Fn: fn3(zwSaveKeyEx), Params: "KeyHandle FileHandle Format",
		MaxIRQL: passive, Support: Partial, Note: hiveFileNote},
	{Name: "ZwRestoreKey", Fn: fn3(zwRestoreKey), Params: "KeyHandle FileHandle Flags",
		MaxIRQL: passive, Support: Partial,
		Note: hiveFileNote + "; of the flags REG_FORCE_RESTORE and REG_NO_LAZY_FLUSH only"},
	{Name: "ZwLoadKey", Fn: fn2(zwLoadKey), Params: "TargetKey SourceFile", MaxIRQL: passive,
		Support: Partial, Note: hiveLoadNote},
	{Name: "ZwLoadKeyEx", Fn: fn8(zwLoadKeyEx),
		Params:  "TargetKey SourceFile Flags TrustClassKey Event DesiredAccess RootHandle IoStatus",
		MaxIRQL: passive, Support: Partial,
		Note: hiveLoadNote + "; no application hives, none that are read-only or volatile"},
	{Name: "ZwUnloadKey", Fn: fn1(zwUnloadKey), Params: "TargetKey", MaxIRQL: passive,
		Support: Partial, Note: hiveFileNote},
	{Name: "ZwUnloadKeyEx", Fn: fn2(zwUnloadKeyEx), Params: "TargetKey Event", MaxIRQL: passive,
		Support: Partial, Note: hiveFileNote + "; a hive with open keys is refused, Event or not"},
}

// Their operations for callbacks.
var (
	regLoadKey    = registryOperation{32, 33}
	regUnLoadKey  = registryOperation{34, 35}
	regRestoreKey = registryOperation{41, 42}
	regSaveKey    = registryOperation{43, 44}
)

// hiveStatus gives the status for what is wrong with a hive.
func hiveStatus(err error) nt.Status {
	var bad *hive.Error
	switch {
	case err == nil:
		return nt.STATUS_SUCCESS
	case errors.As(err, &bad) && bad.NoHive():
		return nt.STATUS_NOT_REGISTRY_FILE
	case errors.As(err, &bad):
		return nt.STATUS_REGISTRY_CORRUPT
	}
	return nt.STATUS_INSUFFICIENT_RESOURCES
}

// hiveFile gives the volume's file of a handle; the caller dereferences the object.
func (c *Call) hiveFile(h nt.Handle, access uint32) (*volume.File, *ob.Object, nt.Status) {
	f, e, status := c.fileOf(h, access)
	switch {
	case status != nt.STATUS_SUCCESS:
		return nil, nil, status
	case f.host == nil:
		status = nt.STATUS_INVALID_DEVICE_REQUEST
	case f.open.Access&access != access:
		status = nt.STATUS_ACCESS_DENIED
	default:
		return f.host, e.Object, status
	}
	c.dereference(e.Object)
	return nil, nil, status
}

func readWhole(f *volume.File) ([]byte, nt.Status) {
	size := f.Size()
	if size > hive.MaxSize {
		return nil, nt.STATUS_REGISTRY_CORRUPT
	}
	data := make([]byte, size)
	n, status := f.ReadAt(data, 0)
	if status == nt.STATUS_END_OF_FILE {
		status = nt.STATUS_SUCCESS
	}
	return data[:n], status
}

// writeWhole makes data all that a file has.
func writeWhole(f *volume.File, data []byte) nt.Status {
	_, _, status := f.WriteAt(data, 0)
	if status == nt.STATUS_SUCCESS {
		size := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
		status = f.Set(nt.FileEndOfFileInformation, size, "", false)
	}
	if status == nt.STATUS_SUCCESS {
		status = f.Flush()
	}
	return status
}

// zwSaveKey writes a key and what is below it as a hive, of version 1.3.
//
//	NTSTATUS ZwSaveKey(HANDLE KeyHandle, HANDLE FileHandle)
//
// As ZwSaveKeyEx with REG_STANDARD_FORMAT. "ZwSaveKey function (ntifs.h)".
func zwSaveKey(c *Call, h, file nt.Handle) nt.Status {
	return zwSaveKeyEx(c, h, file, nt.REG_STANDARD_FORMAT)
}

// zwSaveKeyEx writes a key and what is below it, without what is volatile, as a hive, from the
// file's beginning on: in REG_STANDARD_FORMAT (1.3) or REG_LATEST_FORMAT (1.5); REG_NO_COMPRESSION
// is for what a whole hive is loaded at, which is written in the latest.
//
//	NTSTATUS ZwSaveKeyEx(HANDLE KeyHandle, HANDLE FileHandle, ULONG Format)
//
// STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_INVALID_PARAMETER for another format,
// STATUS_ACCESS_DENIED for a file that is not open for writing, STATUS_INVALID_DEVICE_REQUEST for
// what is no file of a volume, STATUS_KEY_DELETED, and the volume's. "RegSaveKeyExW function
// (winreg.h)".
func zwSaveKeyEx(c *Call, h, file nt.Handle, format uint32) nt.Status {
	return c.withKey(h, 0, func(o *ob.Object, k *cm.Key) nt.Status {
		minor := hive.Latest
		switch {
		case format == nt.REG_STANDARD_FORMAT:
			minor = hive.Standard
		case format == nt.REG_NO_COMPRESSION && strings.Count(k.Path(), `\`) > 3,
			format != nt.REG_NO_COMPRESSION && format != nt.REG_LATEST_FORMAT:
			return nt.STATUS_INVALID_PARAMETER
		}
		slots := []uint64{uint64(file), uint64(format)}
		return c.watchKey(regSaveKey, o, slots, func() nt.Status {
			f, fo, status := c.hiveFile(file, nt.FILE_WRITE_DATA)
			if status != nt.STATUS_SUCCESS {
				return status
			}
			defer c.dereference(fo)
			hv, status := hive.Of(k, path.Base(strings.ReplaceAll(f.Name(), `\`, "/")))
			if status != nt.STATUS_SUCCESS {
				return status
			}
			hv.Minor = minor
			data, err := hv.Encode()
			if err != nil {
				return nt.STATUS_INSUFFICIENT_RESOURCES
			}
			return writeWhole(f, data)
		})
	})
}

// zwRestoreKey makes a key and what is below it what a hive has.
//
//	NTSTATUS ZwRestoreKey(HANDLE KeyHandle, HANDLE FileHandle, ULONG Flags)
//
// STATUS_CANNOT_DELETE while a key below it is open, unless Flags has REG_FORCE_RESTORE;
// STATUS_NOT_REGISTRY_FILE, STATUS_REGISTRY_CORRUPT, STATUS_ACCESS_DENIED for a file that is not
// open for reading and for the roots, STATUS_INVALID_PARAMETER for other flags, and as ZwSaveKey.
// "ZwRestoreKey function (ntifs.h)".
func zwRestoreKey(c *Call, h, file nt.Handle, flags uint32) nt.Status {
	if flags&^(nt.REG_FORCE_RESTORE|nt.REG_NO_LAZY_FLUSH) != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	return c.withKey(h, 0, func(o *ob.Object, k *cm.Key) nt.Status {
		slots := []uint64{uint64(file), uint64(flags)}
		return c.watchKey(regRestoreKey, o, slots, func() nt.Status {
			f, fo, status := c.hiveFile(file, nt.FILE_READ_DATA)
			if status != nt.STATUS_SUCCESS {
				return status
			}
			defer c.dereference(fo)
			data, status := readWhole(f)
			if status != nt.STATUS_SUCCESS {
				return status
			}
			hv, err := hive.Read(f.Name(), data)
			if err != nil {
				c.log.Warn("a hive cannot be restored", "error", err)
				return hiveStatus(err)
			}
			at := k.Path()
			switch {
			case strings.Count(at, `\`) < 3:
				return nt.STATUS_ACCESS_DENIED
			case flags&nt.REG_FORCE_RESTORE == 0 && c.openKeys.below(at, false):
				return nt.STATUS_CANNOT_DELETE
			}
			return k.Restore(hv.Root)
		})
	})
}

// volumeOf gives the volume that a name is on, and the name there.
func (c *Call) volumeOf(n fileName) (v *volume.Volume, name string, status nt.Status) {
	if v = c.volumes[n.dev]; v == nil {
		return nil, "", nt.STATUS_INVALID_DEVICE_REQUEST
	}
	if n.related == nil {
		return v, n.rest, nt.STATUS_SUCCESS
	}
	dir, _ := n.related.Owner.(*kernelFile)
	if dir == nil || dir.host == nil {
		return nil, "", nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	return v, strings.TrimSuffix(dir.host.Name(), `\`) + `\` + n.rest, nt.STATUS_SUCCESS
}

// hiveRequest is how a hive's file is opened.
func hiveRequest(name string, access, disposition uint32) volume.Request {
	return volume.Request{Name: name, Access: access | nt.SYNCHRONIZE, Share: nt.FILE_SHARE_READ,
		Disposition: disposition,
		Options:     nt.FILE_NON_DIRECTORY_FILE | nt.FILE_SYNCHRONOUS_IO_NONALERT}
}

// readHive reads the hive of a volume's file and its logs; a file that is not there is made, and
// one with nothing in it is an empty hive. name is the file's as the volume spells it.
func (c *Call) readHive(v *volume.Volume, name string) (h *hive.Hive, spelt string,
	status nt.Status) {
	f, _, status := v.Open(hiveRequest(name, nt.FILE_READ_DATA|nt.FILE_WRITE_DATA, nt.FILE_OPEN_IF))
	if status != nt.STATUS_SUCCESS {
		return nil, "", status
	}
	defer f.Close()
	spelt = f.Name()
	data, status := readWhole(f)
	switch {
	case status != nt.STATUS_SUCCESS:
		return nil, "", status
	case len(data) == 0:
		return &hive.Hive{Root: &cm.Tree{}}, spelt, nt.STATUS_SUCCESS
	}
	var logs []hive.Log
	for _, end := range []string{".LOG", ".LOG1", ".LOG2"} {
		l, _, status := v.Open(hiveRequest(name+end, nt.FILE_READ_DATA, nt.FILE_OPEN))
		if status != nt.STATUS_SUCCESS {
			continue
		}
		if data, status := readWhole(l); status == nt.STATUS_SUCCESS {
			logs = append(logs, hive.Log{Name: l.Name(), Data: data})
		}
		l.Close()
	}
	if h, err := hive.Read(spelt, data, logs...); err == nil {
		return h, spelt, nt.STATUS_SUCCESS
	} else {
		c.log.Warn("a hive cannot be loaded", "error", err)
		return nil, "", hiveStatus(err)
	}
}

// zwLoadKey loads a hive as a new key.
//
//	NTSTATUS ZwLoadKey(POBJECT_ATTRIBUTES TargetKey, POBJECT_ATTRIBUTES SourceFile)
//
// As ZwLoadKeyEx without flags. "ZwLoadKey function (ntifs.h)".
func zwLoadKey(c *Call, target, source guest.Addr) nt.Status {
	return zwLoadKeyEx(c, target, source, 0, 0, 0, 0, 0, 0)
}

// loadFlags are what ZwLoadKeyEx takes: REG_LOAD_HIVE_OPEN_HANDLE, and those that are about how a
// hive's file is written (REG_NO_LAZY_FLUSH, REG_HIVE_EXACT_FILE_GROWTH, REG_HIVE_NO_RM,
// REG_HIVE_SINGLE_LOG, REG_FLUSH_HIVE_FILE_GROWTH), which change nothing here.
const loadFlags = nt.REG_LOAD_HIVE_OPEN_HANDLE | nt.REG_NO_LAZY_FLUSH |
	nt.REG_HIVE_EXACT_FILE_GROWTH | nt.REG_HIVE_NO_RM | nt.REG_HIVE_SINGLE_LOG |
	nt.REG_FLUSH_HIVE_FILE_GROWTH

// zwLoadKeyEx loads a hive as a new key, directly below \Registry\Machine or \Registry\User. Its
// file is made if it is not there, and is noted in the key hivelist. With REG_LOAD_HIVE_OPEN_HANDLE
// the key is opened too.
//
//	NTSTATUS ZwLoadKeyEx(POBJECT_ATTRIBUTES TargetKey, POBJECT_ATTRIBUTES SourceFile, ULONG Flags,
//	    HANDLE TrustClassKey, HANDLE Event, ACCESS_MASK DesiredAccess, PHANDLE RootHandle,
//	    PIO_STATUS_BLOCK IoStatus)
//
// STATUS_INVALID_PARAMETER for another place, other flags, and RootHandle without that flag or that
// flag without it; STATUS_OBJECT_NAME_COLLISION for a key that is there, STATUS_NOT_REGISTRY_FILE,
// STATUS_REGISTRY_CORRUPT, STATUS_INVALID_DEVICE_REQUEST for what is no file of a volume, and what
// opening the file gives. The function is not documented; "RegLoadKeyW function (winreg.h)".
func zwLoadKeyEx(c *Call, target, source guest.Addr, flags uint32, trust, event nt.Handle,
	access uint32, root, iosb guest.Addr) nt.Status {
	open := flags&nt.REG_LOAD_HIVE_OPEN_HANDLE != 0
	if flags&^loadFlags != 0 || open != (root != 0) {
		return nt.STATUS_INVALID_PARAMETER
	}
	name, status := c.keyAttributes(target)
	defer c.releaseKeyName(name)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if source == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	n, status := c.fileNameOf(source)
	defer c.dropName(n)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	all := c.registryCallbacks.snapshot()
	load := func() nt.Status { return c.loadHive(name, n, root, access) }
	if len(all) == 0 {
		return load()
	}
	object := c.registryRoot()
	if name.root != nil {
		object = name.root.Addr
	}
	file := Load[nt.ObjectAttributes](c, source).ObjectName
	info := []uint64{uint64(object), uint64(name.name), uint64(file), uint64(flags), 0, 0,
		uint64(access), uint64(root)} // REG_LOAD_KEY_INFORMATION
	return c.aroundKey(regLoadKey, all, object, 0, info, load)
}

func (c *Call) loadHive(name keyName, n fileName, root guest.Addr, access uint32) nt.Status {
	v, file, status := c.volumeOf(n)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	at := name.full()
	if !hive.MayMount(at) {
		return nt.STATUS_INVALID_PARAMETER
	}
	if _, status := c.Registry().Open(nil, at, true); status == nt.STATUS_SUCCESS {
		return nt.STATUS_OBJECT_NAME_COLLISION
	}
	h, spelt, status := c.readHive(v, file)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if status = h.Mount(c.Registry(), at, n.dev.Name+spelt); status != nt.STATUS_SUCCESS || root == 0 {
		return status
	}
	k, status := c.Registry().Open(nil, at, true)
	if status == nt.STATUS_SUCCESS {
		_, status = c.giveKey(root, k, access, name.attributes)
	}
	return status
}

// full gives the path of a key that is named.
func (k *keyName) full() string {
	if k.from == nil {
		return k.path
	}
	return k.from.Path() + `\` + k.path
}

// zwUnloadKey takes a hive off that was loaded. What has changed of it is written to its file.
//
//	NTSTATUS ZwUnloadKey(POBJECT_ATTRIBUTES TargetKey)
//
// STATUS_INVALID_PARAMETER where no hive is loaded, STATUS_CANNOT_DELETE while one of its keys is
// open, STATUS_OBJECT_NAME_NOT_FOUND, and what the file's volume says. "ZwUnloadKey function
// (ntifs.h)".
func zwUnloadKey(c *Call, target guest.Addr) nt.Status {
	return c.unloadHive(target, 0)
}

// zwUnloadKeyEx takes a hive off that was loaded, and signals an event then.
//
//	NTSTATUS ZwUnloadKeyEx(POBJECT_ATTRIBUTES TargetKey, HANDLE Event)
//
// As ZwUnloadKey, and STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH. The function is not
// documented.
func zwUnloadKeyEx(c *Call, target guest.Addr, event nt.Handle) nt.Status {
	if event == 0 {
		return c.unloadHive(target, 0)
	}
	e, status := c.reference(event, 0, c.types.event, nt.KernelMode)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(e.Object)
	if status = c.unloadHive(target, e.Object.Addr); status == nt.STATUS_SUCCESS {
		_, _ = c.Ke.SetEvent(e.Object.Addr) // an event, referenced
	}
	return status
}

func (c *Call) unloadHive(target, event guest.Addr) nt.Status {
	name, status := c.keyAttributes(target)
	defer c.releaseKeyName(name)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	k, status := c.Registry().Open(name.from, name.path, true)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	unload := func() nt.Status { return c.endHive(k) }
	if len(c.registryCallbacks.snapshot()) == 0 {
		return unload()
	}
	o, status := c.newKey(k)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	c.openKeys.remove(o.Body.(*keyObject)) // it is for the callbacks only
	defer c.dereference(o)
	return c.watchKey(regUnLoadKey, o, []uint64{uint64(event)}, unload)
}

func (c *Call) endHive(k *cm.Key) nt.Status {
	at := k.Path()
	_, file, status := hive.Mounted(c.Registry(), at)
	switch {
	case status != nt.STATUS_SUCCESS:
		return status
	case c.openKeys.below(at, true):
		return nt.STATUS_CANNOT_DELETE
	}
	if status := c.writeHive(k, file); status != nt.STATUS_SUCCESS {
		return status
	}
	return hive.Unmount(c.Registry(), at)
}

// writeHive writes a loaded hive to its file, if anything of it has changed: beside it first, so
// that it is there whole or as it was.
func (c *Call) writeHive(k *cm.Key, file string) nt.Status {
	o, rest, status := c.Ob.LookupReference(file)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer c.dereference(o)
	dev, _ := o.Body.(*devobj.Device)
	v := c.volumes[dev]
	if v == nil {
		return nt.STATUS_INVALID_DEVICE_REQUEST
	}
	name := rest[strings.LastIndexByte(rest, '\\')+1:]
	h, status := hive.Of(k, name)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	old, _, status := c.readHive(v, rest)
	if status == nt.STATUS_SUCCESS && old.Minor != 0 && cm.Equal(old.Root, h.Root) {
		return nt.STATUS_SUCCESS
	}
	data, err := h.Encode()
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	f, _, status := v.Open(hiveRequest(rest+".new", nt.FILE_WRITE_DATA|nt.DELETE,
		nt.FILE_OVERWRITE_IF))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	defer f.Close()
	if status = writeWhole(f, data); status == nt.STATUS_SUCCESS {
		status = f.Set(nt.FileRenameInformation, nil, rest, true)
	}
	if status != nt.STATUS_SUCCESS {
		f.Set(nt.FileDispositionInformation, []byte{1}, "", false)
	}
	return status
}
