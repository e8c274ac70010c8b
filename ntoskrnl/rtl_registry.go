package ntoskrnl

import (
	"encoding/binary"
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Registry keys by path: the values of a table at once, and single values.
var rtlRegistryExports = []Export{
	{Name: "RtlCheckRegistryKey", Fn: fn2(rtlCheckRegistryKey), Params: "RelativeTo Path:wstr",
		MaxIRQL: passive, Support: Full},
	{Name: "RtlCreateRegistryKey", Fn: fn2(rtlCreateRegistryKey), Params: "RelativeTo Path:wstr",
		MaxIRQL: passive, Support: Full},
	{Name: "RtlDeleteRegistryValue", Fn: fn3(rtlDeleteRegistryValue),
		Params: "RelativeTo Path:wstr ValueName:wstr", MaxIRQL: passive, Support: Full},
	{Name: "RtlQueryRegistryValues", Fn: fn5(rtlQueryRegistryValues),
		Params: "RelativeTo Path:wstr QueryTable Context Environment", MaxIRQL: passive,
		Support: Partial, Note: expandNote},
	{Name: "RtlQueryRegistryValuesEx", Fn: fn5(rtlQueryRegistryValues),
		Params: "RelativeTo Path:wstr QueryTable Context Environment", MaxIRQL: passive,
		Support: Partial, Note: expandNote},
	{Name: "RtlWriteRegistryValue", Fn: fn6(rtlWriteRegistryValue),
		Params:  "RelativeTo Path:wstr ValueName:wstr ValueType:d ValueData ValueLength:d",
		MaxIRQL: passive, Support: Full},
}

const expandNote = "an Environment is not looked at: %NAME% is expanded with the system's " +
	"variables; registry callbacks are told of the key, and not of its values"

// relativePaths are what a path can be relative to, by RelativeTo.
var relativePaths = [...]string{
	nt.RTL_REGISTRY_ABSOLUTE:   "",
	nt.RTL_REGISTRY_SERVICES:   `\Registry\Machine\System\CurrentControlSet\Services`,
	nt.RTL_REGISTRY_CONTROL:    `\Registry\Machine\System\CurrentControlSet\Control`,
	nt.RTL_REGISTRY_WINDOWS_NT: `\Registry\Machine\Software\Microsoft\Windows NT\CurrentVersion`,
	nt.RTL_REGISTRY_DEVICEMAP:  `\Registry\Machine\Hardware\DeviceMap`,
	nt.RTL_REGISTRY_USER:       `\Registry\User\.Default`,
}

// relativePath gives the path that RelativeTo and Path name.
func (c *Call) relativePath(relative uint32, path guest.Addr) (string, nt.Status) {
	relative &^= nt.RTL_REGISTRY_OPTIONAL
	if relative >= uint32(len(relativePaths)) {
		return "", nt.STATUS_INVALID_PARAMETER
	}
	full := relativePaths[relative]
	if path == 0 {
		return full, nt.STATUS_SUCCESS
	}
	rest := c.wideText(path)
	switch {
	case full == "":
		full = rest
	case rest != "":
		full += `\` + strings.TrimPrefix(rest, `\`)
	}
	return full, nt.STATUS_SUCCESS
}

// relativeKey opens, or with create makes, the key that RelativeTo and Path name, as ZwOpenKey and
// ZwCreateKey do, and calls f with it: Path is a handle with RTL_REGISTRY_HANDLE.
func (c *Call) relativeKey(relative uint32, path guest.Addr, create bool,
	f func(h nt.Handle, k *cm.Key) nt.Status) nt.Status {
	do := func(h nt.Handle) nt.Status {
		return c.withKey(h, 0, func(_ *ob.Object, k *cm.Key) nt.Status { return f(h, k) })
	}
	if relative&nt.RTL_REGISTRY_HANDLE != 0 {
		return do(nt.Handle(path))
	}
	full, status := c.relativePath(relative, path)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	name, err := c.newUnicodeString(full)
	if err != nil {
		return nt.STATUS_NO_MEMORY
	}
	defer c.freeObject(name)
	size := sizeofObjectAttributes
	mem, err := c.allocObject(size + sizeOf[nt.Handle]())
	if err != nil {
		return nt.STATUS_NO_MEMORY
	}
	defer c.freeObject(mem)
	Store(c, mem, nt.ObjectAttributes{Length: uint32(size), ObjectName: nt.Addr(name),
		Attributes: nt.OBJ_KERNEL_HANDLE | nt.OBJ_CASE_INSENSITIVE})
	result := mem + guest.Addr(size)
	if create {
		status = zwCreateKey(c, result, nt.KEY_ALL_ACCESS, mem, 0, 0, 0, 0)
	} else {
		status = zwOpenKey(c, result, nt.KEY_ALL_ACCESS, mem)
	}
	if status != nt.STATUS_SUCCESS {
		return status
	}
	h := Load[nt.Handle](c, result)
	defer c.close(h, nt.KernelMode)
	return do(h)
}

// withName calls f with a value's name as a UNICODE_STRING.
func (c *Call) withName(name guest.Addr, f func(name guest.Addr) nt.Status) nt.Status {
	s, err := c.newUnicodeString(c.optWideText(name))
	if err != nil {
		return nt.STATUS_NO_MEMORY
	}
	defer c.freeObject(s)
	return f(s)
}

// wideText reads a text that ends with a zero.
func (c *Call) wideText(a guest.Addr) string {
	const longest = 32767
	s, err := guest.ReadUTF16Z(a, longest)
	c.Must(err)
	return s
}

func (c *Call) optWideText(a guest.Addr) string {
	if a == 0 {
		return ""
	}
	return c.wideText(a)
}

// rtlCheckRegistryKey tells whether a key exists.
//
//	NTSTATUS RtlCheckRegistryKey(ULONG RelativeTo, PWSTR Path)
//
// STATUS_OBJECT_NAME_NOT_FOUND, STATUS_INVALID_PARAMETER. "RtlCheckRegistryKey function (wdm.h)".
func rtlCheckRegistryKey(c *Call, relative uint32, path guest.Addr) nt.Status {
	return c.relativeKey(relative, path, false, succeed)
}

func succeed(nt.Handle, *cm.Key) nt.Status { return nt.STATUS_SUCCESS }

// rtlCreateRegistryKey makes a key, if it is not there.
//
//	NTSTATUS RtlCreateRegistryKey(ULONG RelativeTo, PWSTR Path)
//
// STATUS_OBJECT_NAME_NOT_FOUND if a key above it is missing, STATUS_INVALID_PARAMETER.
// "RtlCreateRegistryKey function (wdm.h)".
func rtlCreateRegistryKey(c *Call, relative uint32, path guest.Addr) nt.Status {
	return c.relativeKey(relative, path, true, succeed)
}

// rtlDeleteRegistryValue deletes a value.
//
//	NTSTATUS RtlDeleteRegistryValue(ULONG RelativeTo, PCWSTR Path, PCWSTR ValueName)
//
// STATUS_OBJECT_NAME_NOT_FOUND, STATUS_INVALID_PARAMETER. "RtlDeleteRegistryValue function (wdm.h)".
func rtlDeleteRegistryValue(c *Call, relative uint32, path, name guest.Addr) nt.Status {
	return c.relativeKey(relative, path, false, func(h nt.Handle, _ *cm.Key) nt.Status {
		return c.withName(name, func(name guest.Addr) nt.Status { return zwDeleteValueKey(c, h, name) })
	})
}

// rtlWriteRegistryValue sets a value. The key is made if it is missing, where the one above it is.
//
//	NTSTATUS RtlWriteRegistryValue(ULONG RelativeTo, PCWSTR Path, PCWSTR ValueName, ULONG ValueType,
//	    PVOID ValueData, ULONG ValueLength)
//
// As RtlCreateRegistryKey and ZwSetValueKey. "RtlWriteRegistryValue function (wdm.h)".
func rtlWriteRegistryValue(c *Call, relative uint32, path, name guest.Addr, typ uint32,
	data guest.Addr, size uint32) nt.Status {
	return c.relativeKey(relative, path, true, func(h nt.Handle, _ *cm.Key) nt.Status {
		return c.withName(name, func(name guest.Addr) nt.Status {
			return zwSetValueKey(c, h, name, 0, typ, data, size)
		})
	})
}

// registryQuery is an RtlQueryRegistryValues under way.
type registryQuery struct {
	*Call
	top, key *cm.Key
	context  guest.Addr
}

// rtlQueryRegistryValues reads the values that a table asks for, into the driver's variables
// (RTL_QUERY_REGISTRY_DIRECT) or by calling its routines.
//
//	NTSTATUS RtlQueryRegistryValues(ULONG RelativeTo, PCWSTR Path,
//	    PRTL_QUERY_REGISTRY_TABLE QueryTable, PVOID Context, PVOID Environment)
//
// STATUS_OBJECT_NAME_NOT_FOUND for a key or a required value that is missing,
// STATUS_INVALID_PARAMETER for a table that makes no sense, STATUS_BUFFER_TOO_SMALL for a variable
// that a value does not fit into, STATUS_OBJECT_TYPE_MISMATCH for a value of another type than
// RTL_QUERY_REGISTRY_TYPECHECK asks for, and what a routine fails with.
// "RtlQueryRegistryValues function (wdm.h)".
func rtlQueryRegistryValues(c *Call, relative uint32, path, table, context, _ guest.Addr) nt.Status {
	return c.relativeKey(relative, path, false, func(_ nt.Handle, key *cm.Key) nt.Status {
		q := &registryQuery{Call: c, top: key, key: key, context: context}
		return q.table(table)
	})
}

func (q *registryQuery) table(table guest.Addr) nt.Status {
	size := guest.Addr(sizeOf[nt.RTLQueryRegistryTable]())
	for ; ; table += size {
		e := Load[nt.RTLQueryRegistryTable](q.Call, table)
		if e.QueryRoutine == 0 && e.Flags&(nt.RTL_QUERY_REGISTRY_SUBKEY|
			nt.RTL_QUERY_REGISTRY_DIRECT) == 0 {
			return nt.STATUS_SUCCESS
		}
		if status := q.entry(&e); status != nt.STATUS_SUCCESS {
			return status
		}
	}
}

// entry does one row of the table.
func (q *registryQuery) entry(e *nt.RTLQueryRegistryTable) nt.Status {
	direct := e.Flags&nt.RTL_QUERY_REGISTRY_DIRECT != 0
	const exclusive = nt.RTL_QUERY_REGISTRY_SUBKEY | nt.RTL_QUERY_REGISTRY_NOVALUE
	if direct && (e.Name == 0 || e.Flags&exclusive != 0 || e.QueryRoutine != 0) {
		return nt.STATUS_INVALID_PARAMETER
	}
	if e.Flags&(nt.RTL_QUERY_REGISTRY_SUBKEY|nt.RTL_QUERY_REGISTRY_TOPKEY) != 0 {
		q.key = q.top
	}
	if e.Flags&nt.RTL_QUERY_REGISTRY_SUBKEY != 0 {
		if e.Name == 0 {
			return nt.STATUS_INVALID_PARAMETER
		}
		k, status := q.Registry().Open(q.top, q.wideText(e.Name), false)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		q.key = k
		if e.QueryRoutine == 0 {
			return nt.STATUS_SUCCESS
		}
		return q.every(e)
	}
	if e.Flags&nt.RTL_QUERY_REGISTRY_NOVALUE != 0 {
		return q.call(e, e.Name, nt.REG_NONE, nil)
	}
	if e.Name == 0 {
		return q.every(e)
	}
	name := q.wideText(e.Name)
	v, status := q.key.Value(name)
	if status == nt.STATUS_OBJECT_NAME_NOT_FOUND {
		return q.missing(e)
	}
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if status := q.give(e, e.Name, v); status != nt.STATUS_SUCCESS {
		return status
	}
	if e.Flags&nt.RTL_QUERY_REGISTRY_DELETE != 0 {
		q.key.DeleteValue(name)
	}
	return nt.STATUS_SUCCESS
}

// missing does a row whose value is not there.
func (q *registryQuery) missing(e *nt.RTLQueryRegistryTable) nt.Status {
	typ := e.DefaultType & 0xFFFFFF
	switch {
	case e.Flags&nt.RTL_QUERY_REGISTRY_REQUIRED != 0:
		return nt.STATUS_OBJECT_NAME_NOT_FOUND
	case typ == nt.REG_NONE:
		return nt.STATUS_SUCCESS
	}
	size := e.DefaultLength
	if size == 0 && e.DefaultData != 0 {
		switch typ {
		case nt.REG_SZ, nt.REG_EXPAND_SZ:
			size = uint32(len(cm.SZ(q.wideText(e.DefaultData))))
		case nt.REG_MULTI_SZ:
			for at := e.DefaultData; ; {
				s := q.wideText(at)
				n := uint32(len(cm.SZ(s)))
				at, size = at+guest.Addr(n), size+n
				if s == "" {
					break
				}
				if size > maxValueData {
					return nt.STATUS_INVALID_PARAMETER
				}
			}
		}
	}
	if size > maxValueData {
		return nt.STATUS_INVALID_PARAMETER
	}
	data := make([]byte, size)
	q.Must(guest.Read(data, e.DefaultData))
	row := *e
	row.Flags &^= nt.RTL_QUERY_REGISTRY_TYPECHECK // the type is the driver's own
	return q.give(&row, e.Name, cm.Value{Type: typ, Data: data})
}

// every calls the row's routine for each value of the key.
func (q *registryQuery) every(e *nt.RTLQueryRegistryTable) nt.Status {
	if e.QueryRoutine == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	found := false
	for i := 0; ; {
		v, status := q.key.ValueAt(i)
		if status == nt.STATUS_NO_MORE_ENTRIES {
			if !found && e.Flags&nt.RTL_QUERY_REGISTRY_REQUIRED != 0 {
				return nt.STATUS_OBJECT_NAME_NOT_FOUND
			}
			return nt.STATUS_SUCCESS
		}
		if status != nt.STATUS_SUCCESS {
			return status
		}
		found = true
		name, err := q.temporary(cm.SZ(v.Name))
		if err != nil {
			return nt.STATUS_NO_MEMORY
		}
		status = func() nt.Status {
			defer q.Mm.FreePool(name)
			return q.give(e, name, v)
		}()
		switch {
		case status == nt.STATUS_BUFFER_TOO_SMALL: // the routine may say so, and it goes on
		case status != nt.STATUS_SUCCESS:
			return status
		}
		if e.Flags&nt.RTL_QUERY_REGISTRY_DELETE == 0 || q.key.DeleteValue(v.Name) != nt.STATUS_SUCCESS {
			i++
		}
	}
}

// give hands a value to a row: as it is, or with RTL_QUERY_REGISTRY_NOEXPAND missing a REG_MULTI_SZ
// text by text and a REG_EXPAND_SZ expanded.
func (q *registryQuery) give(e *nt.RTLQueryRegistryTable, name guest.Addr, v cm.Value) nt.Status {
	direct := e.Flags&nt.RTL_QUERY_REGISTRY_DIRECT != 0
	const typeShift = 24 // RTL_QUERY_REGISTRY_TYPECHECK_SHIFT
	if direct && e.Flags&nt.RTL_QUERY_REGISTRY_TYPECHECK != 0 && e.DefaultType>>typeShift != v.Type {
		return nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	if e.Flags&nt.RTL_QUERY_REGISTRY_NOEXPAND == 0 {
		switch v.Type {
		case nt.REG_MULTI_SZ:
			if direct {
				break
			}
			for _, s := range v.Texts() {
				if status := q.call(e, name, nt.REG_SZ, cm.SZ(s)); status != nt.STATUS_SUCCESS {
					return status
				}
			}
			return nt.STATUS_SUCCESS
		case nt.REG_EXPAND_SZ:
			v.Type, v.Data = nt.REG_SZ, cm.SZ(q.expand(v.Text()))
		}
	}
	if direct {
		return q.store(e.EntryContext, v)
	}
	return q.call(e, name, v.Type, v.Data)
}

// call calls a row's routine:
//
//	NTSTATUS QueryRoutine(PWSTR ValueName, ULONG ValueType, PVOID ValueData, ULONG ValueLength,
//	    PVOID Context, PVOID EntryContext)
func (q *registryQuery) call(e *nt.RTLQueryRegistryTable, name guest.Addr, typ uint32,
	data []byte) nt.Status {
	at := guest.Addr(0)
	if data != nil {
		var err error
		if at, err = q.temporary(data); err != nil {
			return nt.STATUS_NO_MEMORY
		}
		defer q.Mm.FreePool(at)
	}
	return nt.Status(q.T.Call(e.QueryRoutine, uint64(name), uint64(typ), uint64(at),
		uint64(len(data)), uint64(q.context), uint64(e.EntryContext)))
}

// temporary gives guest memory with data in it.
func (q *registryQuery) temporary(data []byte) (guest.Addr, error) {
	a, err := q.allocString(uintptr(max(len(data), 2)))
	if err != nil {
		return 0, err
	}
	return a, guest.Write(a, data)
}

// store puts a value where a row with RTL_QUERY_REGISTRY_DIRECT wants it.
func (q *registryQuery) store(at guest.Addr, v cm.Value) nt.Status {
	switch v.Type {
	case nt.REG_SZ, nt.REG_EXPAND_SZ, nt.REG_MULTI_SZ:
		return q.storeString(at, v)
	}
	const long = 4
	if len(v.Data) <= long {
		q.Must(guest.Write(at, v.Data))
		return nt.STATUS_SUCCESS
	}
	size := Load[int32](q.Call, at)
	if size < 0 {
		if int64(len(v.Data)) > -int64(size) {
			return nt.STATUS_BUFFER_TOO_SMALL
		}
		q.Must(guest.Write(at, v.Data))
		return nt.STATUS_SUCCESS
	}
	if int64(len(v.Data))+2*long > int64(size) {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(v.Data)))
	b = binary.LittleEndian.AppendUint32(b, v.Type)
	q.Must(guest.Write(at, append(b, v.Data...)))
	return nt.STATUS_SUCCESS
}

// storeString stores text in a UNICODE_STRING, with a buffer of its own if that has none.
func (q *registryQuery) storeString(at guest.Addr, v cm.Value) nt.Status {
	s := Load[nt.UnicodeString](q.Call, at)
	data := v.Data
	length := len(data)
	if v.Type != nt.REG_MULTI_SZ {
		data = cm.SZ(v.Text())
		length = len(data) - 2
	}
	if len(data) > 0xFFFE {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	switch {
	case s.Buffer == 0:
		a, err := q.allocString(uintptr(max(len(data), 2)))
		if err != nil {
			return nt.STATUS_NO_MEMORY
		}
		s.Buffer, s.MaximumLength = a, uint16(len(data))
	case len(data) > int(s.MaximumLength):
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	q.Must(guest.Write(s.Buffer, data))
	s.Length = uint16(length)
	Store(q.Call, at, s)
	return nt.STATUS_SUCCESS
}

// systemVariables are what %NAME% stands for.
var systemVariables = map[string]string{"SYSTEMROOT": `C:\Windows`, "WINDIR": `C:\Windows`,
	"SYSTEMDRIVE": "C:", "OS": "Windows_NT", "PROCESSOR_ARCHITECTURE": "AMD64"}

// expand puts variables' values in the place of their names.
func (q *registryQuery) expand(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "%")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, ok := strings.Cut(rest, "%")
		if !ok {
			b.WriteString("%" + rest)
			return b.String()
		}
		if v, known := systemVariables[cm.Fold(name)]; known {
			b.WriteString(v)
			s = after
			continue
		}
		b.WriteString("%" + name)
		s = "%" + after
	}
}
