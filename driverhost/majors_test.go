package driverhost_test

import (
	"encoding/binary"
	"os"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

// Every major function that a client can send, and fast I/O, through fastio.sys.

// The codes of fastio.h.
const (
	fastioRecord = 0x222000
	fastioFast   = 0x222004
	fastioSlow   = 0x222008
	fastioCopy   = 0x22200F
	fastioCache  = 0x222010
)

// fastRecord is FASTIO_RECORD.
type fastRecord struct {
	Major, Minor, StackFlags, Fast         uint8
	SystemBuffer, MDL, UserBuffer, Related uint8
	FileNumber, DataLength                 uint32
	Parameters                             [4]uint64
	Data                                   [64]byte
	NameLength                             uint32
	FileName                               [32]uint16
	Cleanups                               uint32
}

func (r *fastRecord) data() []byte { return r.Data[:min(r.DataLength, 64)] }

func (r *fastRecord) name() string {
	return string(utf16.Decode(r.FileName[:min(r.NameLength/2, 32)]))
}

func recordOf(t testing.TB, f *client.File) *fastRecord {
	t.Helper()
	out := make([]byte, 0xB8)
	n, err := f.DeviceIoControl(background, fastioRecord, nil, out)
	require.NoError(t, err)
	r := new(fastRecord)
	_, err = binary.Decode(out[:n], binary.LittleEndian, r)
	require.NoError(t, err)
	return r
}

// openFastio loads fastio.sys and opens it by the socket.
func openFastio(t *testing.T, name string, opts ...client.Option) (*client.File, string) {
	t.Helper()
	h := drivertest.Load(t, fixture(t, "fastio"))
	dir := serve(t, h)
	f, err := client.Open(name, append(opts, client.RuntimeDir(dir))...)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f, dir
}

func TestEachMajorFunctionReachesTheDriver(t *testing.T) {
	const everything = nt.GENERIC_READ | nt.GENERIC_WRITE | nt.GENERIC_EXECUTE | nt.DELETE |
		nt.WRITE_DAC | nt.WRITE_OWNER | nt.READ_CONTROL | nt.FILE_READ_ATTRIBUTES | nt.SYNCHRONIZE
	f, _ := openFastio(t, `\\.\FastIo\sub\path`, client.Access(everything))
	assert.Equal(t, `\sub\path`, recordOf(t, f).name())

	buf := make([]byte, 100)
	filled := func(n int, err error, want int, with byte) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, want, n)
		for _, b := range buf[:n] {
			require.Equal(t, with, b)
		}
	}
	n, err := f.QueryInformation(nt.FileInternalInformation, buf[:8])
	filled(n, err, 8, 0x11)
	r := recordOf(t, f)
	assert.Equal(t, nt.IRP_MJ_QUERY_INFORMATION, nt.MajorFunction(r.Major))
	assert.Equal(t, [2]uint64{8, uint64(nt.FileInternalInformation)}, [2]uint64(r.Parameters[:2]))
	assert.NotZero(t, r.SystemBuffer)

	require.NoError(t, f.SetInformation(nt.FileEndOfFileInformation, pattern(8, 3)))
	r = recordOf(t, f)
	assert.Equal(t, nt.IRP_MJ_SET_INFORMATION, nt.MajorFunction(r.Major))
	assert.Equal(t, pattern(8, 3), r.data())

	n, err = f.QueryVolumeInformation(nt.FileFsSizeInformation, buf[:24])
	filled(n, err, 24, 0x22)
	assert.Equal(t, nt.IRP_MJ_QUERY_VOLUME_INFORMATION, nt.MajorFunction(recordOf(t, f).Major))
	require.NoError(t, f.SetVolumeInformation(2, pattern(8, 4)))
	assert.Equal(t, nt.IRP_MJ_SET_VOLUME_INFORMATION, nt.MajorFunction(recordOf(t, f).Major))

	n, err = f.QueryDirectory(nt.FileDirectoryInformation,
		client.DirectoryQuery{Pattern: "*.sys", Restart: true, Single: true}, buf[:96])
	filled(n, err, 96, 0x33)
	r = recordOf(t, f)
	assert.Equal(t, nt.IRP_MJ_DIRECTORY_CONTROL, nt.MajorFunction(r.Major))
	assert.Equal(t, nt.IRP_MN_QUERY_DIRECTORY, r.Minor)
	assert.Equal(t, nt.SL_RESTART_SCAN|nt.SL_RETURN_SINGLE_ENTRY, r.StackFlags)
	assert.Equal(t, "*\x00.\x00s\x00y\x00s\x00", string(r.data()))

	require.NoError(t, f.Lock(background, client.Range{Offset: 5, Length: 6, Key: 7},
		client.LockExclusive))
	r = recordOf(t, f)
	assert.Equal(t, nt.IRP_MJ_LOCK_CONTROL, nt.MajorFunction(r.Major))
	assert.Equal(t, nt.IRP_MN_LOCK, r.Minor)
	assert.Equal(t, nt.SL_EXCLUSIVE_LOCK, r.StackFlags)
	assert.Equal(t, binary.LittleEndian.AppendUint64(nil, 6), r.data())
	assert.Equal(t, [2]uint64{7, 5}, [2]uint64(r.Parameters[1:3]))
	require.NoError(t, f.Unlock(client.Range{Offset: 5, Length: 6, Key: 7}))
	assert.Equal(t, nt.IRP_MN_UNLOCK_SINGLE, recordOf(t, f).Minor)

	n, err = f.QuerySecurity(nt.DACL_SECURITY_INFORMATION, buf)
	require.NoError(t, err)
	assert.Equal(t, 20, n)
	assert.Equal(t, nt.IRP_MJ_QUERY_SECURITY, nt.MajorFunction(recordOf(t, f).Major))
	n, err = f.QuerySecurity(nt.DACL_SECURITY_INFORMATION, buf[:4])
	assert.ErrorIs(t, err, nt.STATUS_BUFFER_OVERFLOW)
	assert.Equal(t, 20, n, "how much it takes")
	everybody := (&nt.Descriptor{}).Append(nil)
	require.NoError(t, f.SetSecurity(nt.DACL_SECURITY_INFORMATION, everybody))
	r = recordOf(t, f)
	assert.Equal(t, nt.IRP_MJ_SET_SECURITY, nt.MajorFunction(r.Major))
	assert.Equal(t, everybody, r.data())

	_, err = f.FsControl(background, 0x90000, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, nt.IRP_MJ_FILE_SYSTEM_CONTROL, nt.MajorFunction(recordOf(t, f).Major))
	require.NoError(t, f.Shutdown())
	assert.Equal(t, nt.IRP_MJ_SHUTDOWN, nt.MajorFunction(recordOf(t, f).Major))
	require.NoError(t, f.Flush())
	assert.Equal(t, nt.IRP_MJ_FLUSH_BUFFERS, nt.MajorFunction(recordOf(t, f).Major))
}

func TestTheIOManagerAnswersWhatWindowsAnswers(t *testing.T) {
	f, _ := openFastio(t, `\\.\FastIo`)
	before := recordOf(t, f)
	u32 := func(class uint32) uint32 {
		t.Helper()
		buf := make([]byte, 4)
		n, err := f.QueryInformation(class, buf)
		require.NoError(t, err)
		require.Equal(t, 4, n)
		return binary.LittleEndian.Uint32(buf)
	}
	assert.Equal(t, nt.FILE_GENERIC_READ|nt.FILE_GENERIC_WRITE, u32(nt.FileAccessInformation))
	assert.Equal(t, nt.FILE_SYNCHRONOUS_IO_NONALERT, u32(nt.FileModeInformation))
	assert.Zero(t, u32(nt.FileAlignmentInformation))

	position := binary.LittleEndian.AppendUint64(nil, 1<<33)
	require.NoError(t, f.SetInformation(nt.FilePositionInformation, position))
	buf := make([]byte, 8)
	_, err := f.QueryInformation(nt.FilePositionInformation, buf)
	require.NoError(t, err)
	assert.Equal(t, position, buf)

	_, err = f.QueryVolumeInformation(nt.FileFsDeviceInformation, buf)
	require.NoError(t, err)
	assert.Equal(t, uint32(0x22), binary.LittleEndian.Uint32(buf), "FILE_DEVICE_UNKNOWN")
	assert.Equal(t, before, recordOf(t, f), "none of it went to the driver")

	for _, c := range []struct {
		fact string
		err  error
		want nt.Status
	}{
		{"an unknown class", second(f.QueryInformation(999, buf)), nt.STATUS_INVALID_INFO_CLASS},
		{"a short buffer", second(f.QueryInformation(nt.FileAllInformation, buf)),
			nt.STATUS_INFO_LENGTH_MISMATCH},
		{"an unknown class to set", f.SetInformation(nt.FileInternalInformation, buf),
			nt.STATUS_INVALID_INFO_CLASS},
		{"deleting without DELETE", f.SetInformation(nt.FileDispositionInformation, []byte{1}),
			nt.STATUS_ACCESS_DENIED},
		{"a negative position", f.SetInformation(nt.FilePositionInformation,
			binary.LittleEndian.AppendUint64(nil, 1<<63)), nt.STATUS_INVALID_PARAMETER},
		{"a mode that is not synchronous", f.SetInformation(nt.FileModeInformation, make([]byte, 4)),
			nt.STATUS_INVALID_PARAMETER},
		{"an unknown class of directory", second(f.QueryDirectory(99, client.DirectoryQuery{}, buf)),
			nt.STATUS_INVALID_INFO_CLASS},
		{"an unknown class of volume", second(f.QueryVolumeInformation(99, buf)),
			nt.STATUS_INVALID_INFO_CLASS},
		{"a descriptor that is none", f.SetSecurity(nt.DACL_SECURITY_INFORMATION, buf),
			nt.STATUS_ACCESS_DENIED},
	} {
		assert.ErrorIs(t, c.err, c.want, c.fact)
	}
	for _, major := range []nt.MajorFunction{nt.IRP_MJ_CREATE, nt.IRP_MJ_CLOSE, nt.IRP_MJ_CLEANUP,
		nt.IRP_MJ_INTERNAL_DEVICE_CONTROL, nt.IRP_MJ_POWER, nt.IRP_MJ_PNP} {
		res, err := f.Do(background, &client.Request{Major: major})
		require.NoError(t, err)
		assert.Equal(t, nt.STATUS_INVALID_PARAMETER, res.Final(), "%v is no client's", major)
	}
}

func second[T any](_ T, err error) error { return err }

func TestFastIOIsTriedBeforeAnIRP(t *testing.T) {
	f, _ := openFastio(t, `\\.\FastIo`)
	out := make([]byte, 16)
	n, err := f.DeviceIoControl(background, fastioFast, nil, out)
	require.NoError(t, err)
	assert.Equal(t, "fast", string(out[:n]))
	assert.Equal(t, uint8(1), recordOf(t, f).Fast)

	n, err = f.DeviceIoControl(background, fastioSlow, nil, out)
	require.NoError(t, err)
	assert.Equal(t, "irp", string(out[:n]), "FALSE makes it an IRP")
	assert.Zero(t, recordOf(t, f).Fast)

	n, err = f.DeviceIoControl(background, fastioCopy, []byte("HAL"), out)
	require.NoError(t, err)
	assert.Equal(t, "IBM", string(out[:n]))

	info := make([]byte, 40)
	_, err = f.QueryInformation(nt.FileBasicInformation, info)
	require.NoError(t, err)
	assert.Equal(t, byte(0x44), info[0], "by FastIoQueryBasicInfo")
	_, err = f.QueryInformation(nt.FileStandardInformation, info[:24])
	require.NoError(t, err)
	assert.Equal(t, byte(0x11), info[0], "there is no FastIoQueryStandardInfo")

	read := func(n int) byte {
		t.Helper()
		p := make([]byte, n)
		_, err := f.ReadAt(p, 8)
		require.NoError(t, err)
		return p[n-1]
	}
	assert.Equal(t, byte('I'), read(8), "a file that is not cached is read by IRP")
	_, err = f.DeviceIoControl(background, fastioCache, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, byte('F'), read(8))
	assert.Equal(t, byte('I'), read(100), "the routine refuses long reads")
	_, err = f.WriteAt([]byte("abc"), 3)
	require.NoError(t, err)
	r := recordOf(t, f)
	assert.Equal(t, uint8(1), r.Fast)
	assert.Equal(t, "abc", string(r.data()))
	assert.Equal(t, [3]uint64{3, 0, 3}, [3]uint64(r.Parameters[:3]))
}

func TestShareAccessIsTheDrivers(t *testing.T) {
	f, dir := openFastio(t, `\\.\FastIo`)
	_ = f
	open := func(access, share uint32) (*client.File, error) {
		return client.Open(`\\.\FastIo\share`, client.RuntimeDir(dir), client.Access(access),
			client.Share(share))
	}
	for _, c := range []struct {
		fact                             string
		access1, share1, access2, share2 uint32
		want                             nt.Status
	}{
		{"two readers that share", nt.GENERIC_READ, 1, nt.GENERIC_READ, 1, 0},
		{"the second writes, and the first does not allow it", nt.GENERIC_READ, 1, nt.GENERIC_WRITE,
			1, nt.STATUS_SHARING_VIOLATION},
		{"the second does not allow what the first does", nt.GENERIC_READ, 7, nt.GENERIC_READ, 2,
			nt.STATUS_SHARING_VIOLATION},
		{"the second deletes", nt.GENERIC_READ, 3, nt.DELETE, 7, nt.STATUS_SHARING_VIOLATION},
		{"attributes do not count", nt.GENERIC_READ, 0, nt.FILE_READ_ATTRIBUTES, 0, 0},
	} {
		one, err := open(c.access1, c.share1)
		require.NoError(t, err, c.fact)
		two, err := open(c.access2, c.share2)
		if c.want == 0 {
			require.NoError(t, err, c.fact)
			two.Close()
		} else {
			require.ErrorIs(t, err, c.want, c.fact)
		}
		one.Close()
		one, err = open(nt.GENERIC_READ|nt.GENERIC_WRITE|nt.DELETE, 0)
		require.NoError(t, err, "%s: nothing is left of it", c.fact)
		one.Close()
	}
}

func TestDuplicatesAreOneFileObject(t *testing.T) {
	f, dir := openFastio(t, `\\.\FastIo`)
	a, err := client.Open(`\\.\FastIo`, client.RuntimeDir(dir))
	require.NoError(t, err)
	b, err := a.Duplicate()
	require.NoError(t, err)
	cleanups := recordOf(t, f).Cleanups
	_, err = a.DeviceIoControl(background, fastioSlow, nil, make([]byte, 3))
	require.NoError(t, err)
	number := recordOf(t, f).FileNumber
	require.NoError(t, a.Close())
	assert.ErrorIs(t, a.Flush(), os.ErrClosed)
	assert.ErrorIs(t, a.Close(), nt.STATUS_INVALID_HANDLE)
	_, err = a.Duplicate()
	assert.ErrorIs(t, err, nt.STATUS_INVALID_HANDLE)
	assert.Equal(t, cleanups, recordOf(t, f).Cleanups, "one handle is open still")
	_, err = b.DeviceIoControl(background, fastioSlow, nil, make([]byte, 3))
	require.NoError(t, err)
	assert.Equal(t, number, recordOf(t, f).FileNumber)
	require.NoError(t, b.Close())
	assert.Equal(t, cleanups+1, recordOf(t, f).Cleanups)
}

func TestManyRequestsPendAndAreCancelledAtOnce(t *testing.T) {
	h := loadEcho(t)
	dir := serve(t, h)
	f, err := client.Open(`\\.\Echo`, client.RuntimeDir(dir), client.Overlapped())
	require.NoError(t, err)
	defer f.Close()
	assert.ErrorIs(t, f.CancelIo(), nt.STATUS_NOT_FOUND)
	ops := make([]*client.Operation, 3000)
	for i := range ops {
		ops[i] = f.Begin(&client.Request{Major: nt.IRP_MJ_DEVICE_CONTROL,
			Code: fixtures.IOCTL_ECHO_PEND_FOREVER})
	}
	require.NoError(t, ops[7].Cancel())
	r, err := ops[7].Wait()
	require.NoError(t, err)
	assert.Equal(t, nt.STATUS_CANCELLED, r.Final())
	assert.ErrorIs(t, ops[7].Cancel(), nt.STATUS_NOT_FOUND)
	require.NoError(t, f.CancelIo())
	for _, o := range ops {
		r, err := o.Wait()
		require.NoError(t, err)
		require.Equal(t, nt.STATUS_CANCELLED, r.Final())
	}
}
