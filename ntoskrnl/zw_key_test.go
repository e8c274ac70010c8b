package ntoskrnl

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const testKey = `\Registry\Machine\Software\Test`

// key makes a key with a handle.
func (r *driverRig) key(path string, root uint64) uint64 {
	r.t.Helper()
	h := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwCreateKey", h, uint64(nt.KEY_ALL_ACCESS),
		r.objectAttributes(path, root, nt.OBJ_KERNEL_HANDLE), 0, 0, 0, 0))
	return r.u64(h)
}

func (r *driverRig) setValue(h uint64, name string, typ uint32, data []byte) {
	r.t.Helper()
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwSetValueKey", h, r.ustr(name, 0), 0,
		uint64(typ), r.bytes(data), uint64(len(data))))
}

func TestKeysAreCreatedOpenedAndDeleted(t *testing.T) {
	r := newRig(t)
	h, d := r.mem(8), r.mem(4)
	create := func(path string, root, options uint64) nt.Status {
		return r.status("ZwCreateKey", h, uint64(nt.KEY_ALL_ACCESS),
			r.objectAttributes(path, root, nt.OBJ_KERNEL_HANDLE), 0, 0, options, d)
	}
	require.Equal(t, nt.STATUS_SUCCESS, create(testKey, 0, 0))
	assert.Equal(t, nt.REG_CREATED_NEW_KEY, r.u32(d))
	top := r.u64(h)
	require.Equal(t, nt.STATUS_SUCCESS, create(testKey, 0, 0))
	assert.Equal(t, nt.REG_OPENED_EXISTING_KEY, r.u32(d))
	r.call("ZwClose", r.u64(h))
	require.Equal(t, nt.STATUS_SUCCESS, create("Sub", top, uint64(nt.REG_OPTION_VOLATILE)))
	sub := r.u64(h)
	assert.Equal(t, nt.STATUS_CHILD_MUST_BE_VOLATILE, create("Stable", sub, 0))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, create(testKey+`\a\b`, 0, 0))
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, create(`\Registry\New`, 0, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, create(testKey, 0, 0x1000))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwCreateKey", h, 0, 0, 0, 0, 0, 0))

	open := func(path string, root uint64) nt.Status {
		return r.status("ZwOpenKey", h, uint64(nt.KEY_READ),
			r.objectAttributes(path, root, nt.OBJ_KERNEL_HANDLE))
	}
	assert.Equal(t, nt.STATUS_SUCCESS, open("sUB", top))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, open("None", top))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_SYNTAX_BAD, open("Registry", 0))
	event := r.event("", 0, nt.OBJ_KERNEL_HANDLE)
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, open("Sub", event))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwDeleteKey", event))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwOpenKeyEx", h, 0,
		r.objectAttributes(testKey, 0, 0), 0x100))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenKeyEx", h, uint64(nt.KEY_READ),
		r.objectAttributes(testKey, 0, 0), uint64(nt.REG_OPTION_OPEN_LINK)))

	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwFlushKey", sub))
	assert.Equal(t, nt.STATUS_CANNOT_DELETE, r.status("ZwDeleteKey", top))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwRenameKey", sub, r.ustr("Other", 0)))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, open("Sub", top))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_INVALID, r.status("ZwRenameKey", sub, r.ustr(`a\b`, 0)))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", sub))
	assert.Equal(t, nt.STATUS_KEY_DELETED, r.status("ZwDeleteKey", sub))
	assert.Equal(t, nt.STATUS_KEY_DELETED, r.status("ZwFlushKey", sub))
	assert.Equal(t, nt.STATUS_KEY_DELETED, open("", sub))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", sub))
}

func TestValuesOfKeys(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	r.setValue(h, "Number", nt.REG_DWORD, cm.DWord(42))
	r.setValue(h, "", nt.REG_SZ, cm.SZ("default"))
	r.setValue(h, "Empty", nt.REG_BINARY, nil)
	buf, result := r.mem(256), r.mem(4)
	query := func(name string, class, length uint64) nt.Status {
		r.write(buf, make([]byte, 256))
		return r.status("ZwQueryValueKey", h, r.ustr(name, 0), class, buf, length, result)
	}
	require.Equal(t, nt.STATUS_SUCCESS, query("number", 2, 256))
	assert.Equal(t, nt.KeyValuePartial{Type: nt.REG_DWORD, DataLength: 4},
		loadAt[nt.KeyValuePartial](r, buf))
	assert.EqualValues(t, 42, r.u32(buf+12))
	assert.EqualValues(t, 16, r.u32(result))

	require.Equal(t, nt.STATUS_SUCCESS, query("number", 1, 256))
	full := loadAt[nt.KeyValueFull](r, buf)
	assert.Equal(t, nt.KeyValueFull{Type: nt.REG_DWORD, DataOffset: 32, DataLength: 4,
		NameLength: 12}, full)
	assert.EqualValues(t, 42, r.u32(buf+32))
	assert.Equal(t, guest.EncodeUTF16("Number"), r.read(buf+20, 12))

	require.Equal(t, nt.STATUS_SUCCESS, query("Empty", 1, 256))
	assert.EqualValues(t, 0xFFFFFFFF, loadAt[nt.KeyValueFull](r, buf).DataOffset)
	require.Equal(t, nt.STATUS_SUCCESS, query("", 0, 256))
	assert.Equal(t, nt.KeyValueBasic{Type: nt.REG_SZ}, loadAt[nt.KeyValueBasic](r, buf))
	require.Equal(t, nt.STATUS_SUCCESS, query("Number", 3, 256))
	assert.EqualValues(t, 32, loadAt[nt.KeyValueFull](r, buf).DataOffset)
	require.Equal(t, nt.STATUS_SUCCESS, query("Number", 4, 256))
	assert.Equal(t, []uint32{nt.REG_DWORD, 4, 42}, []uint32{r.u32(buf), r.u32(buf + 4), r.u32(buf + 8)})

	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, query("Number", 2, 11))
	assert.EqualValues(t, 16, r.u32(result))
	assert.Zero(t, r.u32(buf+4), "nothing is written")
	assert.Equal(t, nt.STATUS_BUFFER_OVERFLOW, query("Number", 2, 14))
	assert.Equal(t, nt.REG_DWORD, r.u32(buf+4))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, query("Number", 5, 256))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, query("None", 2, 256))

	enumerate := func(i uint64) nt.Status {
		return r.status("ZwEnumerateValueKey", h, i, 0, buf, 256, result)
	}
	require.Equal(t, nt.STATUS_SUCCESS, enumerate(0))
	assert.Equal(t, guest.EncodeUTF16("Number"), r.read(buf+12, 12))
	assert.Equal(t, nt.STATUS_NO_MORE_ENTRIES, enumerate(3))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteValueKey", h, r.ustr("number", 0)))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND,
		r.status("ZwDeleteValueKey", h, r.ustr("number", 0)))
}

// loadAt reads a structure.
func loadAt[T any](r *driverRig, a uint64) T {
	v, err := guest.Ptr[T](a).Load()
	require.NoError(r.t, err)
	return v
}

func TestInformationOfKeys(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	r.key("Beta", h)
	r.key("alpha", h)
	r.setValue(h, "Value", nt.REG_BINARY, make([]byte, 9))
	buf, result := r.mem(256), r.mem(4)
	query := func(class, length uint64) nt.Status {
		return r.status("ZwQueryKey", h, class, buf, length, result)
	}
	require.Equal(t, nt.STATUS_SUCCESS, query(0, 256))
	assert.Equal(t, guest.EncodeUTF16("Test"), r.read(buf+16, 8))
	assert.NotZero(t, r.u64(buf))
	require.Equal(t, nt.STATUS_SUCCESS, query(1, 256))
	assert.EqualValues(t, 0xFFFFFFFF, r.u32(buf+12), "no class")
	assert.Equal(t, guest.EncodeUTF16("Test"), r.read(buf+24, 8))
	require.Equal(t, nt.STATUS_SUCCESS, query(2, 256))
	var words []uint32
	for at := uint64(20); at < 44; at += 4 {
		words = append(words, r.u32(buf+at))
	}
	assert.Equal(t, []uint32{2, 10, 0, 1, 10, 9}, words)
	require.Equal(t, nt.STATUS_SUCCESS, query(3, 256))
	const path = `\REGISTRY\MACHINE\Software\Test`
	assert.Equal(t, guest.EncodeUTF16(path), r.read(buf+4, int(r.u32(buf))))
	assert.EqualValues(t, 4+2*len(path), r.u32(result))
	require.Equal(t, nt.STATUS_SUCCESS, query(4, 256))
	assert.EqualValues(t, 2, r.u32(buf+12))
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, query(0, 15))
	assert.Equal(t, nt.STATUS_BUFFER_OVERFLOW, query(0, 17))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, query(9, 256))

	var names []string
	for i := uint64(0); ; i++ {
		status := r.status("ZwEnumerateKey", h, i, 0, buf, 256, result)
		if status == nt.STATUS_NO_MORE_ENTRIES {
			break
		}
		require.Equal(t, nt.STATUS_SUCCESS, status)
		name, err := guest.ReadUTF16(guest.Addr(buf+16), int(r.u32(buf+12)))
		require.NoError(t, err)
		names = append(names, name)
	}
	assert.Equal(t, []string{"alpha", "Beta"}, names)
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("ZwEnumerateKey", h, 0, 3, buf, 256, result))

	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObQueryNameString", r.objectOf(h), buf, 256, result))
	assert.Equal(t, path, r.readUstr(buf))
}

func TestADriverFindsItsServiceKey(t *testing.T) {
	r := newRig(t)
	r.addService("mine")
	r.key(`\Registry\Machine\System\CurrentControlSet\Services\mine\Parameters`, 0)
	k, status := r.Registry().Open(nil, Services+"mine", false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, status := k.Value("ImagePath")
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, `\SystemRoot\System32\drivers\mine.sys`, v.Text())
}

func TestChangesOfKeysAreNotified(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	event, iosb := r.event("", 0x1F0003, nt.OBJ_KERNEL_HANDLE), r.mem(16)
	watch := func(event uint64, filter uint32, asynchronous uint64) nt.Status {
		return r.status("ZwNotifyChangeKey", h, event, 0, 0, iosb, uint64(filter), 0, 0, 0, asynchronous)
	}
	require.Equal(t, nt.STATUS_PENDING, watch(event, nt.REG_NOTIFY_CHANGE_LAST_SET, 1))
	assert.Equal(t, uint32(nt.STATUS_PENDING), r.u32(iosb))
	r.setValue(h, "x", nt.REG_DWORD, cm.DWord(1))
	assert.Equal(t, uint32(nt.STATUS_NOTIFY_ENUM_DIR), r.u32(iosb))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", event, 0, 0))

	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, watch(event, 0, 1))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, watch(event, 16, 1))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, watch(0x7770, nt.REG_NOTIFY_CHANGE_NAME, 1))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("ZwNotifyChangeKey", h, event, r.mem(32), 7, iosb, 4, 0, 0, 0, 1), "no queue")

	require.Equal(t, nt.STATUS_PENDING, watch(event, nt.REG_NOTIFY_CHANGE_LAST_SET, 1))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	assert.Equal(t, uint32(nt.STATUS_NOTIFY_CLEANUP), r.u32(iosb))

	h = r.key(testKey, 0)
	go func() {
		k, _ := r.Registry().Open(nil, testKey, false)
		for i := uint32(0); ; i++ { // until it is seen
			if k.Set("y", nt.REG_DWORD, cm.DWord(i)) != nt.STATUS_SUCCESS {
				return
			}
		}
	}()
	assert.Equal(t, nt.STATUS_NOTIFY_ENUM_DIR, watch(0, nt.REG_NOTIFY_CHANGE_LAST_SET, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", h))
}

func TestAChangeBetweenTwoRequestsIsNotLost(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	sub := r.key("Sub", h)
	iosb := r.mem(16)
	watch := func(filter uint32, tree uint64) nt.Status {
		return r.status("ZwNotifyChangeKey", h, 0, 0, 0, iosb, uint64(filter), tree, 0, 0, 1)
	}
	completed := func() bool { return nt.Status(r.u32(iosb)) == nt.STATUS_NOTIFY_ENUM_DIR }
	require.Equal(t, nt.STATUS_PENDING, watch(nt.REG_NOTIFY_CHANGE_LAST_SET, 1))
	r.key("Other", h)
	assert.False(t, completed(), "that is none of the filter's")
	r.setValue(sub, "x", nt.REG_DWORD, nil)
	assert.True(t, completed(), "of the tree")
	require.Equal(t, nt.STATUS_PENDING, watch(nt.REG_NOTIFY_CHANGE_LAST_SET, 1))
	assert.False(t, completed())
	r.setValue(sub, "x", nt.REG_DWORD, nil)
	r.setValue(sub, "y", nt.REG_DWORD, nil)
	require.Equal(t, nt.STATUS_PENDING, watch(nt.REG_NOTIFY_CHANGE_LAST_SET, 1))
	assert.True(t, completed(), "it came before the request")
	require.Equal(t, nt.STATUS_PENDING, watch(nt.REG_NOTIFY_CHANGE_NAME, 0))
	r.key("Third", h)
	assert.False(t, completed(), "the first request's filter holds")
	r.setValue(sub, "x", nt.REG_DWORD, nil)
	assert.True(t, completed(), "and its tree")
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", sub))
	require.Equal(t, nt.STATUS_PENDING, watch(nt.REG_NOTIFY_CHANGE_LAST_SET, 1))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	assert.Equal(t, nt.STATUS_NOTIFY_CLEANUP, nt.Status(r.u32(iosb)))
	assert.False(t, r.Registry().Watched(), "nobody watches any more")

	flat := r.key(testKey, 0)
	iosb = r.mem(16)
	require.Equal(t, nt.STATUS_PENDING, r.status("ZwNotifyChangeKey", flat, 0, 0, 0, iosb, 4, 0, 0, 0, 1))
	other := r.key("Other", flat)
	r.setValue(other, "x", nt.REG_DWORD, nil)
	assert.False(t, completed(), "not below")

	gone := r.key("Gone", flat)
	require.Equal(t, nt.STATUS_PENDING, r.status("ZwNotifyChangeKey", gone, 0, 0, 0, iosb, 4, 0, 0, 0, 1))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", gone))
	assert.True(t, completed())
	assert.Equal(t, nt.STATUS_KEY_DELETED,
		r.status("ZwNotifyChangeKey", gone, 0, 0, 0, iosb, 4, 0, 0, 0, 1))
}

func TestAChangeQueuesAWorkItem(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	routine, at := r.recordSuccess()
	item := r.mem(32)
	r.put64(item+16, routine)
	r.put64(item+24, 77)
	require.Equal(t, nt.STATUS_PENDING, r.status("ZwNotifyChangeKey", h, 0, item, 1, r.mem(16),
		uint64(nt.REG_NOTIFY_CHANGE_LAST_SET|nt.REG_NOTIFY_THREAD_AGNOSTIC), 0, 0, 0, 1))
	assert.Zero(t, r.u64(at))
	r.setValue(h, "x", nt.REG_DWORD, nil)
	require.Eventually(t, func() bool { return r.u64(at) == 77 }, 20*time.Second, time.Millisecond)
}

// recordSuccess is record with a routine that returns STATUS_SUCCESS.
func (r *driverRig) recordSuccess() (routine, at uint64) {
	inner, at := r.record()
	code := []byte{0x48, 0x83, 0xEC, 0x28, 0x48, 0xB8} // sub rsp, 28h; mov rax, inner
	code = binary.LittleEndian.AppendUint64(code, inner)
	// call rax; add rsp, 28h; xor eax, eax; ret
	return r.routine(append(code, 0xFF, 0xD0, 0x48, 0x83, 0xC4, 0x28, 0x31, 0xC0, 0xC3)...), at
}

func TestRegistryCallbacksSeeAndRefuse(t *testing.T) {
	r := newRig(t)
	routine, at := r.recordSuccess()
	cookie := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", routine, 77, cookie))
	h := r.key(testKey, 0)
	words := r.words(at, 2)
	assert.Equal(t, []uint64{77, uint64(regCreateKeyEx.post)}, words)

	r.setValue(h, "x", nt.REG_DWORD, cm.DWord(1))
	assert.EqualValues(t, regSetValueKey.post, r.u64(at+8))
	refuse := r.routine(0xB8, 0x22, 0x00, 0x00, 0xC0, 0xC3) // mov eax, STATUS_ACCESS_DENIED; ret
	second := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallbackEx", refuse, r.ustr("400000", 0), 1,
		0, second, 0))
	assert.Equal(t, nt.STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, r.status("CmRegisterCallbackEx", refuse,
		r.ustr("400000.0", 0), 1, 0, r.mem(8), 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("CmRegisterCallbackEx", refuse,
		r.ustr("high", 0), 1, 0, r.mem(8), 0))
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, r.status("ZwDeleteKey", h))
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, r.status("ZwDeleteValueKey", h, r.ustr("x", 0)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(second)))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("CmUnRegisterCallback", r.u64(second)))

	object, old, name := r.objectOf(h), r.mem(8), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmSetCallbackObjectContext", object, cookie, 5, old))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmSetCallbackObjectContext", object, cookie, 6, old))
	assert.EqualValues(t, 5, r.u64(old))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("CmSetCallbackObjectContext", object, r.mem(8), 6, old))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmCallbackGetKeyObjectID", cookie, object, old, name))
	assert.Equal(t, `\REGISTRY\MACHINE\Software\Test`, r.readUstr(r.u64(name)))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER,
		r.status("CmCallbackGetKeyObjectID", cookie, r.mem(8), old, name))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	assert.EqualValues(t, regKeyHandleClose.post, r.u64(at+8), "the last that is told is the close")
	major, minor := r.mem(4), r.mem(4)
	r.call("CmGetCallbackVersion", major, minor)
	assert.Equal(t, []uint32{1, 1}, []uint32{r.u32(major), r.u32(minor)})
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))
}

// table makes an RTL_QUERY_REGISTRY_TABLE, which an empty row ends.
func (r *driverRig) queryTable(rows ...nt.RTLQueryRegistryTable) uint64 {
	size := sizeOf[nt.RTLQueryRegistryTable]()
	a := r.mem(int(size) * (len(rows) + 1))
	for i, row := range rows {
		require.NoError(r.t, guest.Ptr[nt.RTLQueryRegistryTable](guest.Addr(a)+guest.Addr(i)*guest.Addr(size)).Store(row))
	}
	return a
}

func TestRtlQueryRegistryValues(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	r.setValue(h, "Number", nt.REG_DWORD, cm.DWord(42))
	r.setValue(h, "Text", nt.REG_SZ, cm.SZ("words"))
	r.setValue(h, "Expand", nt.REG_EXPAND_SZ, cm.SZ("%SystemRoot%\\x%none%"))
	r.setValue(h, "Many", nt.REG_MULTI_SZ, cm.MultiSZ("a", "bc"))
	r.setValue(h, "Big", nt.REG_QWORD, cm.QWord(0x1122334455667788))
	sub := r.key("Sub", h)
	r.setValue(sub, "Inner", nt.REG_DWORD, cm.DWord(7))
	path := r.wstr(testKey)
	query := func(rows ...nt.RTLQueryRegistryTable) nt.Status {
		return r.status("RtlQueryRegistryValues", uint64(nt.RTL_REGISTRY_ABSOLUTE), path,
			r.queryTable(rows...), 0, 0)
	}
	name := func(s string) nt.Addr { return nt.Addr(r.wstr(s)) }
	const direct = nt.RTL_QUERY_REGISTRY_DIRECT
	row := func(flags uint32, value string, at uint64) nt.RTLQueryRegistryTable {
		return nt.RTLQueryRegistryTable{Flags: flags, Name: name(value), EntryContext: nt.Addr(at)}
	}
	typed := func(v nt.RTLQueryRegistryTable, typ uint32) nt.RTLQueryRegistryTable {
		v.Flags |= nt.RTL_QUERY_REGISTRY_TYPECHECK
		v.DefaultType = typ << 24
		return v
	}

	number, text, inner := r.mem(4), r.mem(16), r.mem(4)
	require.Equal(t, nt.STATUS_SUCCESS, query(row(direct, "Number", number),
		row(direct, "Text", text), row(nt.RTL_QUERY_REGISTRY_SUBKEY, "Sub", 0),
		row(direct|nt.RTL_QUERY_REGISTRY_REQUIRED, "Inner", inner)))
	assert.EqualValues(t, 42, r.u32(number))
	assert.Equal(t, "words", r.readUstr(text), "in a buffer of the pool")
	assert.EqualValues(t, 7, r.u32(inner))
	r.call("RtlFreeUnicodeString", text)

	require.Equal(t, nt.STATUS_SUCCESS, query(row(direct, "Expand", text)))
	assert.Equal(t, `C:\Windows\x%none%`, r.readUstr(text))
	r.call("RtlFreeUnicodeString", text)
	small := r.ustr("", 4)
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, query(row(direct, "Text", small)))

	big := r.mem(32)
	for _, c := range []struct {
		room int32
		want nt.Status
		data []byte
	}{
		{-8, nt.STATUS_SUCCESS, cm.QWord(0x1122334455667788)},
		{-7, nt.STATUS_BUFFER_TOO_SMALL, nil},
		{16, nt.STATUS_SUCCESS, append(append(cm.DWord(8), cm.DWord(nt.REG_QWORD)...),
			cm.QWord(0x1122334455667788)...)},
		{15, nt.STATUS_BUFFER_TOO_SMALL, nil},
	} {
		r.put32(big, uint32(c.room))
		assert.Equal(t, c.want, query(row(direct, "Big", big)), c.room)
		if c.data != nil {
			assert.Equal(t, c.data, r.read(big, len(c.data)))
		}
	}

	assert.Equal(t, nt.STATUS_SUCCESS, query(row(direct, "None", number)), "it was not required")
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND,
		query(row(direct|nt.RTL_QUERY_REGISTRY_REQUIRED, "None", number)))
	withDefault := row(direct, "None", number)
	withDefault.DefaultType, withDefault.DefaultData = nt.REG_DWORD, nt.Addr(r.bytes(cm.DWord(5)))
	withDefault.DefaultLength = 4
	require.Equal(t, nt.STATUS_SUCCESS, query(withDefault))
	assert.EqualValues(t, 5, r.u32(number))
	assert.Equal(t, nt.STATUS_SUCCESS, query(typed(row(direct, "Number", number), nt.REG_DWORD)))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, query(typed(row(direct, "Number", number),
		nt.REG_SZ)))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND,
		query(row(nt.RTL_QUERY_REGISTRY_SUBKEY, "None", 0)))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, query(nt.RTLQueryRegistryTable{Flags: direct}))

	routine, at := r.recordSuccess()
	calls := func(flags uint32, value string) {
		e := row(flags, value, 9)
		if value == "" {
			e.Name = 0
		}
		e.QueryRoutine = nt.Addr(routine)
		require.Equal(t, nt.STATUS_SUCCESS, query(e), value)
	}
	calls(0, "Many")
	assert.EqualValues(t, nt.REG_SZ, r.u64(at+8), "text by text; the last")
	calls(nt.RTL_QUERY_REGISTRY_NOEXPAND, "Many")
	assert.EqualValues(t, nt.REG_MULTI_SZ, r.u64(at+8))
	calls(nt.RTL_QUERY_REGISTRY_NOVALUE, "Many")
	assert.Zero(t, r.u64(at+8))
	calls(0, "")
	assert.EqualValues(t, nt.REG_QWORD, r.u64(at+8), "every value; the last")
	calls(nt.RTL_QUERY_REGISTRY_DELETE, "Number")
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND,
		query(row(direct|nt.RTL_QUERY_REGISTRY_REQUIRED, "Number", number)))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("RtlQueryRegistryValuesEx",
		uint64(nt.RTL_REGISTRY_HANDLE), h, r.queryTable(row(direct, "Text", text)), 0, 0))
}

func TestRtlRegistryFunctions(t *testing.T) {
	r := newRig(t)
	const windows = uint64(nt.RTL_REGISTRY_WINDOWS_NT)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("RtlCheckRegistryKey", windows, 0))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("RtlCheckRegistryKey", windows,
		r.wstr("None")))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("RtlCheckRegistryKey", 99, 0))
	const services = uint64(nt.RTL_REGISTRY_SERVICES)
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("RtlCreateRegistryKey", services, r.wstr("svc")))
	data := r.bytes(binary.LittleEndian.AppendUint32(nil, 3))
	write := func() nt.Status {
		return r.status("RtlWriteRegistryValue", services, r.wstr(`svc\Parameters`), r.wstr("v"),
			uint64(nt.REG_DWORD), data, 4)
	}
	require.Equal(t, nt.STATUS_SUCCESS, write())
	k, status := r.Registry().Open(nil, Services+`svc\Parameters`, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, _ := k.Value("v")
	assert.Equal(t, cm.DWord(3), v.Data)
	remove := func() nt.Status {
		return r.status("RtlDeleteRegistryValue", services, r.wstr(`svc\Parameters`), r.wstr("v"))
	}
	assert.Equal(t, nt.STATUS_SUCCESS, remove())
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, remove())
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("RtlWriteRegistryValue", uint64(nt.RTL_REGISTRY_HANDLE),
		r.key(testKey, 0), 0, uint64(nt.REG_DWORD), data, 4), "the default value, by a handle")
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("RtlWriteRegistryValue", services,
		r.wstr(`none\Parameters`), 0, uint64(nt.REG_DWORD), data, 4))
	refuse := r.routine(0xB8, 0x22, 0x00, 0x00, 0xC0, 0xC3) // mov eax, STATUS_ACCESS_DENIED; ret
	cookie := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", refuse, 0, cookie))
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, write())
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, remove())
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, r.status("RtlCheckRegistryKey", windows, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))
	const svc = `\Registry\Machine\System\ControlSet001\Services\svc`
	assert.False(t, r.openKeys.below(svc, true), "no key stays open")
	h := r.key(svc, 0)
	assert.True(t, r.openKeys.below(svc, true))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
}
