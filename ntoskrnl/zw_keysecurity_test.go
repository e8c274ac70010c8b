package ntoskrnl

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// descriptor makes a self-relative descriptor with an owner.
func (r *driverRig) descriptor(owner string) uint64 {
	s := sid(owner)
	d := nt.Descriptor{Owner: &s}
	return r.bytes(d.Append(nil))
}

// ownerOf gives the owner of a key.
func (r *driverRig) ownerOf(h uint64) string {
	buf, needed := r.mem(256), r.mem(4)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwQuerySecurityObject", h,
		uint64(nt.OWNER_SECURITY_INFORMATION), buf, 256, needed))
	d, err := nt.ParseDescriptor(r.read(buf, int(r.u32(needed))))
	require.NoError(r.t, err)
	require.NotNil(r.t, d.Owner)
	return d.Owner.String()
}

func TestKeysKeepTheirSecurity(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	sub := r.key("Sub", h)
	assert.Equal(t, "S-1-5-32-544", r.ownerOf(sub), "of a key of which nobody says anything")
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetSecurityObject", h,
		uint64(nt.OWNER_SECURITY_INFORMATION), r.descriptor("S-1-5-19")))
	assert.Equal(t, "S-1-5-19", r.ownerOf(h))
	assert.Equal(t, "S-1-5-19", r.ownerOf(sub), "that of the key above")
	oa := r.objectAttributes("Own", h, nt.OBJ_KERNEL_HANDLE)
	r.put64(oa+32, r.descriptor("S-1-5-20"))
	result := r.mem(8)
	create := func() nt.Status {
		return r.status("ZwCreateKey", result, uint64(nt.KEY_ALL_ACCESS), oa, 0, 0, 0, 0)
	}
	require.Equal(t, nt.STATUS_SUCCESS, create())
	assert.Equal(t, "S-1-5-20", r.ownerOf(r.u64(result)), "what it was made with")
	r.put64(oa+32, r.descriptor("S-1-5-18"))
	require.Equal(t, nt.STATUS_SUCCESS, create())
	assert.Equal(t, "S-1-5-20", r.ownerOf(r.u64(result)), "a key that was there keeps its own")
	r.put64(oa+32, r.mem(40))
	assert.Equal(t, nt.STATUS_UNKNOWN_REVISION, create())

	needed := r.mem(4)
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, r.status("ZwQuerySecurityObject", h,
		uint64(nt.OWNER_SECURITY_INFORMATION), 0, 0, needed))
	assert.EqualValues(t, 32, r.u32(needed))
	assert.Equal(t, nt.STATUS_UNKNOWN_REVISION, r.status("ZwSetSecurityObject", h, 1, r.mem(40)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", sub))
	assert.Equal(t, nt.STATUS_KEY_DELETED, r.status("ZwQuerySecurityObject", sub, 1, 0, 0, needed))
	assert.Equal(t, nt.STATUS_KEY_DELETED, r.status("ZwSetSecurityObject", sub, 1,
		r.descriptor("S-1-5-19")))

	routine, at := r.recordSuccess()
	cookie := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", routine, 77, cookie))
	r.ownerOf(h)
	assert.EqualValues(t, regQueryKeySecurity.post, r.u64(at+8))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetSecurityObject", h, 1, r.descriptor("S-1-5-18")))
	assert.EqualValues(t, regSetKeySecurity.post, r.u64(at+8))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))
}

func TestFlagsAndTimesOfKeys(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	buf, result := r.mem(64), r.mem(8)
	query := func(h, class, length uint64) nt.Status {
		return r.status("ZwQueryKey", h, class, buf, length, result)
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwCreateKey", result, uint64(nt.KEY_ALL_ACCESS),
		r.objectAttributes("V", h, nt.OBJ_KERNEL_HANDLE), 0, 0,
		uint64(nt.REG_OPTION_VOLATILE|nt.REG_OPTION_CREATE_LINK), 0))
	v := r.u64(result)
	require.Equal(t, nt.STATUS_SUCCESS, query(h, 5, 12))
	assert.Zero(t, r.u32(buf+4))
	require.Equal(t, nt.STATUS_SUCCESS, query(v, 5, 12))
	assert.EqualValues(t, regFlagVolatile|regFlagLink, r.u32(buf+4))
	assert.Equal(t, nt.STATUS_BUFFER_TOO_SMALL, query(v, 5, 11))
	for _, class := range []uint64{6, 7} {
		r.put32(buf, 99)
		require.Equal(t, nt.STATUS_SUCCESS, query(h, class, 4))
		assert.Zero(t, r.u32(buf))
	}

	const when = 0x01D0_1234_5678_9ABC
	r.put64(buf, when)
	set := func(h, class, length uint64) nt.Status {
		return r.status("ZwSetInformationKey", h, class, buf, length)
	}
	require.Equal(t, nt.STATUS_SUCCESS, set(h, 0, 8))
	r.put64(buf, 0)
	require.Equal(t, nt.STATUS_SUCCESS, query(h, 0, 64))
	assert.EqualValues(t, when, r.u64(buf))
	r.setValue(h, "x", nt.REG_DWORD, nil)
	require.Equal(t, nt.STATUS_SUCCESS, query(h, 0, 64))
	assert.NotEqualValues(t, when, r.u64(buf), "it was written")
	assert.Equal(t, nt.STATUS_INFO_LENGTH_MISMATCH, set(h, 0, 4))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, set(h, 1, 4))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, set(0x7770, 0, 8))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", v))
	assert.Equal(t, nt.STATUS_KEY_DELETED, set(v, 0, 8))
}

func TestCallbacksAreToldOfTheObjectThatWasOpened(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	seen, cookie := r.mem(16), r.mem(8)
	// cmp edx, 29; jne over; mov rax, [r8]; mov [rcx], rax; over: xor eax, eax; ret
	after := r.routine(0x83, 0xFA, 29, 0x75, 6, 0x49, 0x8B, 0, 0x48, 0x89, 1, 0x31, 0xC0, 0xC3)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", after, seen, cookie))
	result := r.mem(8)
	open := func(name string) nt.Status {
		return r.status("ZwOpenKey", result, uint64(nt.KEY_READ),
			r.objectAttributes(name, h, nt.OBJ_KERNEL_HANDLE))
	}
	require.Equal(t, nt.STATUS_SUCCESS, open(""))
	assert.Equal(t, r.objectOf(r.u64(result)), r.u64(seen))
	require.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, open("None"))
	assert.Zero(t, r.u64(seen), "there is none")
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))

	// cmp edx, 28; jne over; mov rax, [r8+56]; mov [rcx], rax... the context of the root, at 11 words.
	before := r.routine(0x83, 0xFA, 28, 0x75, 7, 0x49, 0x8B, 0x40, 88, 0x48, 0x89, 1, 0x31, 0xC0, 0xC3)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", before, seen, cookie))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmSetCallbackObjectContext", r.objectOf(h), cookie, 55, 0))
	require.Equal(t, nt.STATUS_SUCCESS, open(""))
	assert.EqualValues(t, 55, r.u64(seen), "RootObjectContext")
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))
}

func TestACallbackMayOpenAnotherKey(t *testing.T) {
	r := newRig(t)
	other := r.key(testKey, 0)
	r.setValue(other, "x", nt.REG_DWORD, cm.DWord(1))
	object := r.objectOf(other)
	// cmp edx, 28; jne over; mov rax, [r8+72]; mov [rax], rcx; mov eax, STATUS_CALLBACK_BYPASS; ret
	// over: xor eax, eax; ret
	bypass := r.routine(0x83, 0xFA, 28, 0x75, 13, 0x49, 0x8B, 0x40, 72, 0x48, 0x89, 8,
		0xB8, 0x03, 0x05, 0, 0xC0, 0xC3, 0x31, 0xC0, 0xC3)
	cookie, result := r.mem(8), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", bypass, object, cookie))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwOpenKey", result, uint64(nt.KEY_READ),
		r.objectAttributes(`\Registry\No\Such`, 0, nt.OBJ_KERNEL_HANDLE)))
	assert.Equal(t, object, r.objectOf(r.u64(result)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(result)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))
}

func TestNamesOfKeysForCallbacks(t *testing.T) {
	r := newRig(t)
	h := r.key(testKey, 0)
	object, id, name := r.objectOf(h), r.mem(8), r.mem(8)
	get := func(object, flags uint64) nt.Status {
		return r.status("CmCallbackGetKeyObjectIDEx", 0, object, id, name, flags)
	}
	require.Equal(t, nt.STATUS_SUCCESS, get(object, 0))
	first := r.u64(name)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwRenameKey", h, r.ustr("Renamed", 0)))
	require.Equal(t, nt.STATUS_SUCCESS, get(object, 0))
	assert.Equal(t, `\REGISTRY\MACHINE\Software\Test`, r.readUstr(first))
	assert.Equal(t, `\REGISTRY\MACHINE\Software\Renamed`, r.readUstr(r.u64(name)), "what it is now")
	r.call("CmCallbackReleaseKeyObjectIDEx", first)
	r.call("CmCallbackReleaseKeyObjectIDEx", r.u64(name))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, get(object, 1))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, get(r.mem(8), 0))
	_, err := r.callAt(nt.PASSIVE_LEVEL, "CmCallbackReleaseKeyObjectIDEx", first)
	assert.Error(t, err, "it was given back")
}

func TestKeysOfADriver(t *testing.T) {
	r := newRig(t)
	d, err := r.LoadFile(fixture(t, "hello"))
	require.NoError(t, err)
	result := r.mem(8)
	open := func(kind, flags uint64) nt.Status {
		return r.status("IoOpenDriverRegistryKey", uint64(d.Object.Addr()), kind, uint64(nt.KEY_ALL_ACCESS),
			flags, result)
	}
	for kind, name := range driverKeys {
		require.Equal(t, nt.STATUS_SUCCESS, open(uint64(kind), 0))
		r.setValue(r.u64(result), "x", nt.REG_DWORD, cm.DWord(1))
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(result)))
		k, status := r.Registry().Open(nil, Services+`hello\`+name, false)
		require.Equal(t, nt.STATUS_SUCCESS, status)
		_, status = k.Value("x")
		assert.Equal(t, nt.STATUS_SUCCESS, status)
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, open(2, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, open(0, 1))
}
