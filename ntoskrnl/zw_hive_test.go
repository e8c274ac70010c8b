package ntoskrnl

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
)

// newVolumeRig makes a rig with an empty directory as C:.
func newVolumeRig(t *testing.T) (r *driverRig, dir string) {
	dir = t.TempDir()
	return newRigOf(t, newKernel(t, Options{Processors: 1, Volumes: map[string]string{"C": dir}})), dir
}

// file opens a file, and makes it if it is not there.
func (r *driverRig) file(name string, access uint32) uint64 {
	r.t.Helper()
	h, iosb := r.mem(8), r.mem(16)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwCreateFile", h, uint64(access|nt.SYNCHRONIZE),
		r.objectAttributes(name, 0, nt.OBJ_KERNEL_HANDLE), iosb, 0, 0, uint64(nt.FILE_SHARE_READ),
		uint64(nt.FILE_OPEN_IF), uint64(nt.FILE_SYNCHRONOUS_IO_NONALERT), 0, 0))
	return r.u64(h)
}

// sampleKey makes a key with something in it.
func (r *driverRig) sampleKey() (h uint64) {
	h = r.key(testKey, 0)
	r.setValue(h, "Number", nt.REG_DWORD, cm.DWord(42))
	sub := r.key("Sub", h)
	r.setValue(sub, "Big", nt.REG_BINARY, make([]byte, 20000))
	v := r.mem(8)
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwCreateKey", v, uint64(nt.KEY_ALL_ACCESS),
		r.objectAttributes("Volatile", h, nt.OBJ_KERNEL_HANDLE), 0, 0, uint64(nt.REG_OPTION_VOLATILE), 0))
	for _, h := range []uint64{sub, r.u64(v)} {
		require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	}
	return h
}

func TestZwSaveKeyWritesAHive(t *testing.T) {
	r, dir := newVolumeRig(t)
	h := r.sampleKey()
	path := filepath.Join(dir, "x.hiv")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	file := r.file(`\??\C:\x.hiv`, nt.FILE_WRITE_DATA)
	for format, minor := range map[uint32]uint32{nt.REG_STANDARD_FORMAT: 3, nt.REG_LATEST_FORMAT: 5} {
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSaveKeyEx", h, file, uint64(format)))
		got, err := hive.Open(path)
		require.NoError(t, err)
		assert.Equal(t, minor, got.Minor)
		assert.Equal(t, "x.hiv", got.Name)
		assert.Equal(t, "Test", got.Root.Name)
		v, _ := got.Root.Value("number")
		assert.Equal(t, cm.DWord(42), v.Data)
		assert.Len(t, got.Root.Keys, 1, "what is volatile is not saved")
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(1<<20), "what the file had before has gone")
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSaveKey", h, file))
	got, err := hive.Open(path)
	require.NoError(t, err)
	assert.EqualValues(t, 3, got.Minor)

	save := func(key, file uint64, format uint32) nt.Status {
		return r.status("ZwSaveKeyEx", key, file, uint64(format))
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, save(h, file, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, save(h, file, 3))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, save(h, file, nt.REG_NO_COMPRESSION), "no hive's root")
	assert.Equal(t, nt.STATUS_SUCCESS, save(r.key(`\Registry\Machine\Software`, 0), file,
		nt.REG_NO_COMPRESSION))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, save(0x7770, file, 1))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, save(h, 0x7770, 1))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, save(file, file, 1))
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, save(h, h, 1))
	read := r.file(`\??\C:\other`, nt.FILE_READ_DATA)
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, save(h, read, 1))
	gone := r.key("Gone", h)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwDeleteKey", gone))
	assert.Equal(t, nt.STATUS_KEY_DELETED, save(gone, file, 1))
}

func TestZwRestoreKeyMakesAKeyWhatAHiveHas(t *testing.T) {
	r, dir := newVolumeRig(t)
	h := r.sampleKey()
	file := r.file(`\??\C:\x.hiv`, nt.FILE_WRITE_DATA|nt.FILE_READ_DATA)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSaveKey", h, file))
	r.setValue(h, "Number", nt.REG_DWORD, cm.DWord(43))
	r.setValue(h, "Other", nt.REG_SZ, nil)
	other := r.key("Other", h)
	restore := func(file uint64, flags uint32) nt.Status {
		return r.status("ZwRestoreKey", h, file, uint64(flags))
	}
	assert.Equal(t, nt.STATUS_CANNOT_DELETE, restore(file, 0), "a key below is open")
	assert.Equal(t, nt.STATUS_SUCCESS, restore(file, nt.REG_FORCE_RESTORE))
	assert.Equal(t, nt.STATUS_KEY_DELETED, r.status("ZwFlushKey", other))
	k, status := r.Registry().Open(nil, testKey, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	tree, _ := k.Tree()
	require.Len(t, tree.Values, 1)
	assert.Equal(t, cm.DWord(42), tree.Values[0].Data)
	require.Len(t, tree.Keys, 1)
	assert.Len(t, tree.Keys[0].Values[0].Data, 20000)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", other))
	assert.Equal(t, nt.STATUS_SUCCESS, restore(file, nt.REG_NO_LAZY_FLUSH))

	for text, want := range map[string]nt.Status{"MZ": nt.STATUS_NOT_REGISTRY_FILE,
		"": nt.STATUS_NOT_REGISTRY_FILE, string(make([]byte, 5000)): nt.STATUS_NOT_REGISTRY_FILE,
		"regf" + string(make([]byte, 5000)): nt.STATUS_REGISTRY_CORRUPT} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "bad"), []byte(text), 0o600))
		bad := r.file(`\??\C:\bad`, nt.FILE_READ_DATA)
		assert.Equal(t, want, restore(bad, 0), "%.4q", text)
		require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", bad))
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, restore(file, nt.REG_WHOLE_HIVE_VOLATILE))
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, restore(r.file(`\??\C:\w`, nt.FILE_WRITE_DATA), 0))
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, r.status("ZwRestoreKey",
		r.key(`\Registry\Machine`, 0), file, 8))
	assert.Equal(t, nt.STATUS_INVALID_HANDLE, restore(0x7770, 0))
}

func TestHivesAreLoadedAndUnloaded(t *testing.T) {
	r, dir := newVolumeRig(t)
	path := filepath.Join(dir, "Mixed.hiv")
	data, err := (&hive.Hive{Root: &cm.Tree{Values: []cm.Value{{Name: "v", Type: nt.REG_SZ,
		Data: cm.SZ("text")}}}}).Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	const key = `\Registry\Machine\Loaded`
	oa := func(name string) uint64 { return r.objectAttributes(name, 0, nt.OBJ_KERNEL_HANDLE) }
	load := func(key, file string) nt.Status { return r.status("ZwLoadKey", oa(key), oa(file)) }
	require.Equal(t, nt.STATUS_SUCCESS, load(key, `\??\C:\mixed.HIV`))
	list, status := r.Registry().Open(nil, hive.List, false)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, status := list.Value(`\REGISTRY\MACHINE\Loaded`)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, `\Device\HarddiskVolume1\Mixed.hiv`, v.Text())

	h := r.key(key, 0)
	assert.Equal(t, nt.STATUS_CANNOT_DELETE, r.status("ZwUnloadKey", oa(key)), "it is open")
	r.setValue(h, "w", nt.REG_DWORD, cm.DWord(1))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", h))
	event := r.event("", 0x1F0003, nt.OBJ_KERNEL_HANDLE)
	assert.Equal(t, nt.STATUS_OBJECT_TYPE_MISMATCH, r.status("ZwUnloadKeyEx", oa(key),
		r.file(`\??\C:\x`, nt.FILE_READ_DATA)))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwUnloadKeyEx", oa(key), event))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwWaitForSingleObject", event, 0, 0))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_NOT_FOUND, r.status("ZwUnloadKey", oa(key)))
	got, err := hive.Open(path)
	require.NoError(t, err)
	assert.Len(t, got.Root.Values, 2, "what was written is in the file")
	_, err = os.Stat(path + ".new")
	assert.ErrorIs(t, err, os.ErrNotExist)

	root := r.mem(8)
	ex := func(key string, flags uint32, root uint64) nt.Status {
		return r.status("ZwLoadKeyEx", oa(key), oa(`\??\C:\mixed.hiv`), uint64(flags), 0, 0,
			uint64(nt.KEY_READ), root, 0)
	}
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, ex(key, nt.REG_APP_HIVE, 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, ex(key, 0, root))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, ex(key, nt.REG_LOAD_HIVE_OPEN_HANDLE, 0))
	require.Equal(t, nt.STATUS_SUCCESS, ex(key, nt.REG_LOAD_HIVE_OPEN_HANDLE|nt.REG_HIVE_NO_RM, root))
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwFlushKey", r.u64(root)))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, ex(key, 0, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", r.u64(root)))
	before, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwUnloadKey", oa(key)))
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after), "nothing has changed, and nothing is written")

	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, load(`\Registry\Machine\Software\x`, `\??\C:\Mixed.hiv`))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, load(`\Registry\x`, `\??\C:\Mixed.hiv`))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_COLLISION, load(`\Registry\Machine\Software`, `\??\C:\Mixed.hiv`))
	assert.Equal(t, nt.STATUS_OBJECT_PATH_NOT_FOUND, load(key, `\??\C:\no\such`))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwLoadKey", oa(key), 0))
	assert.Equal(t, nt.STATUS_INVALID_PARAMETER, r.status("ZwUnloadKey", oa(`\Registry\Machine\Software`)))
	require.NoError(t, os.WriteFile(path, []byte("no hive"), 0o600))
	assert.Equal(t, nt.STATUS_NOT_REGISTRY_FILE, load(key, `\??\C:\Mixed.hiv`))

	require.Equal(t, nt.STATUS_SUCCESS, load(`\Registry\User\New`, `\??\C:\new.hiv`), "a new one")
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwUnloadKey", oa(`\Registry\User\New`)))
	got, err = hive.Open(filepath.Join(dir, "new.hiv"))
	require.NoError(t, err, "it is written, though it has nothing")
	assert.Empty(t, got.Root.Values)
}

func TestADirtyHiveIsLoadedWithItsLog(t *testing.T) {
	r, dir := newVolumeRig(t)
	data, err := (&hive.Hive{Root: &cm.Tree{}}).Encode()
	require.NoError(t, err)
	data[4]++ // a sequence number
	require.NoError(t, os.WriteFile(filepath.Join(dir, "d"), data, 0o600))
	oa := func(name string) uint64 { return r.objectAttributes(name, 0, nt.OBJ_KERNEL_HANDLE) }
	load := func() nt.Status {
		return r.status("ZwLoadKey", oa(`\Registry\Machine\D`), oa(`\??\C:\d`))
	}
	assert.Equal(t, nt.STATUS_REGISTRY_CORRUPT, load())
	data[4]--
	require.NoError(t, os.WriteFile(filepath.Join(dir, "d.LOG1"), dirtyLog(data), 0o600))
	assert.Equal(t, nt.STATUS_SUCCESS, load())
}

// dirtyLog is a log of the old format, in which nothing has changed.
func dirtyLog(data []byte) []byte {
	log := append([]byte(nil), data[:512]...)
	log[28] = 1 // its type
	log[508] ^= 1
	log = append(log, "DIRT"...)
	return append(log, make([]byte, 508)...)
}

func TestCallbacksSeeHives(t *testing.T) {
	r, _ := newVolumeRig(t)
	h := r.sampleKey()
	file := r.file(`\??\C:\x.hiv`, nt.FILE_WRITE_DATA|nt.FILE_READ_DATA)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSaveKey", h, file))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwClose", file))
	routine, at := r.recordSuccess()
	cookie := r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmRegisterCallback", routine, 77, cookie))
	file = r.file(`\??\C:\x.hiv`, nt.FILE_WRITE_DATA|nt.FILE_READ_DATA)
	oa := func(name string) uint64 { return r.objectAttributes(name, 0, nt.OBJ_KERNEL_HANDLE) }
	for _, c := range []struct {
		name string
		op   registryOperation
		args []uint64
	}{
		{"ZwSaveKey", regSaveKey, []uint64{h, file}},
		{"ZwRestoreKey", regRestoreKey, []uint64{h, file, 0}},
		{"ZwClose", registryOperation{}, []uint64{file}},
		{"ZwLoadKey", regLoadKey, []uint64{oa(`\Registry\User\X`), oa(`\??\C:\x.hiv`)}},
		{"ZwUnloadKey", regUnLoadKey, []uint64{oa(`\Registry\User\X`)}},
	} {
		require.Equal(t, nt.STATUS_SUCCESS, r.status(c.name, c.args...), c.name)
		if c.op.post != 0 {
			assert.EqualValues(t, c.op.post, r.u64(at+8), c.name)
		}
	}
	require.Equal(t, nt.STATUS_SUCCESS, r.status("CmUnRegisterCallback", r.u64(cookie)))
}
