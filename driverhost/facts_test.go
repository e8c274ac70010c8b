package driverhost_test

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// What a driver sees in an IRP, as echo.sys tells it.

// facts asks what the driver saw in the last IRP of a major function; with major -1, in this one.
func facts(t testing.TB, d device, major int) fixtures.EchoFacts {
	t.Helper()
	var in []byte
	if major >= 0 {
		in = binary.LittleEndian.AppendUint32(nil, uint32(major))
	}
	out := make([]byte, fixtures.EchoFactsSize)
	r, err := d.ioctl(background, fixtures.IOCTL_ECHO_FACTS, in, out)
	require.NoError(t, err)
	require.Equal(t, nt.STATUS_SUCCESS, r.Status)
	f, err := fixtures.ParseEchoFacts(out)
	require.NoError(t, err)
	return f
}

// Bits that hold in every IRP that a client's request makes.
const everywhere = fixtures.ECHO_FACT_THREAD_IS_CURRENT | fixtures.ECHO_FACT_FILE_IS_ORIGINAL |
	fixtures.ECHO_FACT_FILE_DEVICE | fixtures.ECHO_FACT_STACK_DEVICE | fixtures.ECHO_FACT_USER_IOSB |
	fixtures.ECHO_FACT_IRP_TYPE | fixtures.ECHO_FACT_FILE_TYPE

func TestAnIRPIsAsWindowsMakesIt(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		d := open(`\\.\Echo\sub\path`)
		in, out := pattern(100, 1), pattern(5000, 2)
		_, err := d.Write(in)
		require.NoError(t, err)
		_, err = d.ReadAt(out[:50], 7)
		require.NoError(t, err)
		require.NoError(t, d.Flush())

		type row struct {
			major int
			code  uint32
			check func(t *testing.T, f fixtures.EchoFacts)
		}
		user := func(t *testing.T, a uint64, what string) {
			assert.GreaterOrEqual(t, a, uint64(guest.UserBase), what)
			assert.Less(t, a, uint64(guest.UserEnd), what)
		}
		system := func(t *testing.T, a uint64, what string) {
			assert.GreaterOrEqual(t, a, uint64(guest.SystemRangeStart), what)
		}
		for name, row := range map[string]row{
			"CREATE": {int(nt.IRP_MJ_CREATE), 0, func(t *testing.T, f fixtures.EchoFacts) {
				assert.Equal(t, nt.IRP_CREATE_OPERATION|nt.IRP_SYNCHRONOUS_API|
					nt.IRP_DEFER_IO_COMPLETION, f.IrpFlags)
				assert.True(t, f.Has(fixtures.ECHO_FACT_SECURITY_CONTEXT))
				assert.Equal(t, nt.FILE_SYNCHRONOUS_IO_NONALERT|nt.FILE_NON_DIRECTORY_FILE|
					uint32(nt.FILE_OPEN)<<24, f.CreateOptions)
				assert.EqualValues(t, nt.FILE_SHARE_READ|nt.FILE_SHARE_WRITE, f.ShareAccess)
				assert.EqualValues(t, 0x80, f.FileAttributes, "FILE_ATTRIBUTE_NORMAL")
				want := nt.MapGenericAccess(nt.GENERIC_READ|nt.GENERIC_WRITE|nt.SYNCHRONIZE|
					nt.FILE_READ_ATTRIBUTES, nt.FileGenericMapping)
				assert.Equal(t, want, f.DesiredAccess)
				assert.Equal(t, nt.FO_SYNCHRONOUS_IO, f.FileFlags)
			}},
			"WRITE": {int(nt.IRP_MJ_WRITE), 0, func(t *testing.T, f fixtures.EchoFacts) {
				assert.Equal(t, nt.IRP_WRITE_OPERATION|nt.IRP_DEFER_IO_COMPLETION|
					nt.IRP_BUFFERED_IO|nt.IRP_DEALLOCATE_BUFFER, f.IrpFlags)
				assert.EqualValues(t, 100, f.InputLength)
				assert.EqualValues(t, 0, f.ByteOffset)
				system(t, f.SystemBuffer, "SystemBuffer")
			}},
			"READ": {int(nt.IRP_MJ_READ), 0, func(t *testing.T, f fixtures.EchoFacts) {
				assert.Equal(t, nt.IRP_READ_OPERATION|nt.IRP_DEFER_IO_COMPLETION|nt.IRP_BUFFERED_IO|
					nt.IRP_DEALLOCATE_BUFFER|nt.IRP_INPUT_OPERATION, f.IrpFlags)
				assert.EqualValues(t, 50, f.OutputLength)
				assert.EqualValues(t, 7, f.ByteOffset)
				user(t, f.UserBuffer, "UserBuffer")
			}},
			"FLUSH_BUFFERS": {int(nt.IRP_MJ_FLUSH_BUFFERS), 0,
				func(t *testing.T, f fixtures.EchoFacts) {
					assert.Equal(t, nt.IRP_SYNCHRONOUS_API, f.IrpFlags)
				}},
			"METHOD_BUFFERED": {int(nt.IRP_MJ_DEVICE_CONTROL), fixtures.IOCTL_ECHO_RECORD_BUFFERED,
				func(t *testing.T, f fixtures.EchoFacts) {
					assert.Equal(t, nt.IRP_BUFFERED_IO|nt.IRP_DEALLOCATE_BUFFER|
						nt.IRP_INPUT_OPERATION, f.IrpFlags)
					system(t, f.SystemBuffer, "SystemBuffer")
					assert.Zero(t, f.Type3InputBuffer)
					assert.False(t, f.Has(fixtures.ECHO_FACT_MDL))
				}},
			"METHOD_IN_DIRECT": {int(nt.IRP_MJ_DEVICE_CONTROL), fixtures.IOCTL_ECHO_RECORD_IN_DIRECT,
				func(t *testing.T, f fixtures.EchoFacts) {
					system(t, f.SystemBuffer, "SystemBuffer")
					assert.True(t, f.Has(fixtures.ECHO_FACT_MDL|fixtures.ECHO_FACT_MDL_LOCKED))
					user(t, f.MdlVirtualAddress, "MmGetMdlVirtualAddress")
					assert.EqualValues(t, 5000, f.MdlByteCount)
					assert.Zero(t, f.MdlFlags&uint32(nt.MDL_WRITE_OPERATION))
				}},
			"METHOD_OUT_DIRECT": {int(nt.IRP_MJ_DEVICE_CONTROL),
				fixtures.IOCTL_ECHO_RECORD_OUT_DIRECT,
				func(t *testing.T, f fixtures.EchoFacts) {
					system(t, f.SystemBuffer, "SystemBuffer")
					assert.True(t, f.Has(fixtures.ECHO_FACT_MDL|fixtures.ECHO_FACT_MDL_LOCKED))
					assert.EqualValues(t, 5000, f.MdlByteCount)
					assert.NotZero(t, f.MdlFlags&uint32(nt.MDL_WRITE_OPERATION))
				}},
			"METHOD_NEITHER": {int(nt.IRP_MJ_DEVICE_CONTROL), fixtures.IOCTL_ECHO_RECORD_NEITHER,
				func(t *testing.T, f fixtures.EchoFacts) {
					assert.Zero(t, f.SystemBuffer)
					assert.Zero(t, f.IrpFlags)
					user(t, f.Type3InputBuffer, "Type3InputBuffer")
					user(t, f.UserBuffer, "UserBuffer")
					assert.False(t, f.Has(fixtures.ECHO_FACT_MDL))
				}},
		} {
			t.Run(name, func(t *testing.T) {
				if row.code != 0 {
					r, err := d.ioctl(background, row.code, in, out)
					require.NoError(t, err)
					require.Equal(t, nt.STATUS_SUCCESS, r.Status)
				}
				f := facts(t, d, row.major)
				assert.True(t, f.Has(everywhere), "bits %#x lack %#x", f.Bits, everywhere&^f.Bits)
				assert.Zero(t, f.Bits&(fixtures.ECHO_FACT_CANCEL_ROUTINE|fixtures.ECHO_FACT_CANCEL|
					fixtures.ECHO_FACT_PENDING_RETURNED|fixtures.ECHO_FACT_COMPLETION_ROUTINE|
					fixtures.ECHO_FACT_USER_EVENT|fixtures.ECHO_FACT_RELATED_FILE))
				assert.EqualValues(t, row.major, f.MajorFunction)
				assert.EqualValues(t, 1, f.StackCount)
				assert.EqualValues(t, 1, f.CurrentLocation)
				assert.EqualValues(t, nt.UserMode, f.RequestorMode)
				assert.EqualValues(t, nt.PASSIVE_LEVEL, f.Irql)
				assert.EqualValues(t, os.Getpid(), f.ProcessId, "the client's real process")
				assert.Zero(t, f.ThreadId%4)
				assert.NotZero(t, f.ThreadId)
				assert.Equal(t, `\sub\path`, f.Name())
				assert.Zero(t, f.StackControl)
				if row.major != int(nt.IRP_MJ_CREATE) {
					assert.NotZero(t, f.FileFlags&nt.FO_HANDLE_CREATED)
				}
				if row.code != 0 {
					assert.Equal(t, row.code, f.IoControlCode)
					assert.EqualValues(t, len(in), f.InputLength)
					assert.EqualValues(t, len(out), f.OutputLength)
				}
				row.check(t, f)
			})
		}
		this := facts(t, d, -1)
		assert.EqualValues(t, fixtures.IOCTL_ECHO_FACTS, this.IoControlCode)
		other := facts(t, open(`\\.\Echo`), -1)
		assert.NotEqual(t, this.ThreadId, other.ThreadId, "each file is a thread of its own")
		assert.NotEqual(t, this.FileObject, other.FileObject)
		assert.Equal(t, "", other.Name())
	})
}

func TestDirectAndNeitherReadsAndWritesAreAsWindowsMakesThem(t *testing.T) {
	bothWays(t, "echo", func(t *testing.T, open func(string) device) {
		for _, c := range []struct {
			name  string
			major nt.MajorFunction
			check func(f fixtures.EchoFacts)
		}{
			{`\\.\EchoDirect`, nt.IRP_MJ_WRITE, func(f fixtures.EchoFacts) {
				assert.Zero(t, f.SystemBuffer)
				assert.True(t, f.Has(fixtures.ECHO_FACT_MDL|fixtures.ECHO_FACT_MDL_LOCKED))
				assert.Zero(t, f.MdlFlags&uint32(nt.MDL_WRITE_OPERATION), "the driver only reads")
			}},
			{`\\.\EchoDirect`, nt.IRP_MJ_READ, func(f fixtures.EchoFacts) {
				assert.True(t, f.Has(fixtures.ECHO_FACT_MDL|fixtures.ECHO_FACT_MDL_LOCKED))
				assert.NotZero(t, f.MdlFlags&uint32(nt.MDL_WRITE_OPERATION))
				assert.EqualValues(t, 100, f.MdlByteCount)
			}},
			{`\\.\EchoNeither`, nt.IRP_MJ_WRITE, func(f fixtures.EchoFacts) {
				assert.Zero(t, f.SystemBuffer)
				assert.False(t, f.Has(fixtures.ECHO_FACT_MDL))
				assert.NotZero(t, f.UserBuffer)
			}},
			{`\\.\EchoNeither`, nt.IRP_MJ_READ, func(f fixtures.EchoFacts) {
				assert.NotZero(t, f.UserBuffer)
			}},
		} {
			d := open(c.name)
			_, err := d.WriteAt(make([]byte, 100), 0)
			require.NoError(t, err)
			_, err = d.ReadAt(make([]byte, 100), 0)
			require.NoError(t, err)
			c.check(facts(t, d, int(c.major)))
		}
	})
}

func TestCleanupAndCloseComeFromTheKernel(t *testing.T) {
	h := loadEcho(t)
	f := drivertest.Open(t, h, `\\.\Echo\first`)
	require.NoError(t, f.Close())
	d := local{drivertest.Open(t, h, `\\.\Echo`)}
	for _, major := range []nt.MajorFunction{nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE} {
		f := facts(t, d, int(major))
		assert.Equal(t, nt.IRP_CLOSE_OPERATION|nt.IRP_SYNCHRONOUS_API, f.IrpFlags)
		assert.EqualValues(t, nt.KernelMode, f.RequestorMode)
		assert.NotZero(t, f.FileFlags&nt.FO_CLEANUP_COMPLETE)
		assert.Equal(t, `\first`, f.Name())
		assert.EqualValues(t, os.Getpid(), f.ProcessId)
		assert.True(t, f.Has(everywhere))
	}
}

func TestTheHandlesAccessIsChecked(t *testing.T) {
	h := loadEcho(t)
	read := func(f *driverhost.File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err }
	write := func(f *driverhost.File) error { _, err := f.WriteAt(make([]byte, 1), 0); return err }
	control := func(code uint32) func(f *driverhost.File) error {
		return func(f *driverhost.File) error {
			_, err := f.DeviceIoControl(background, code, nil, nil)
			return err
		}
	}
	const r, w, a = nt.GENERIC_READ, nt.GENERIC_WRITE, nt.FILE_APPEND_DATA
	for _, c := range []struct {
		name    string
		do      func(f *driverhost.File) error
		allowed []uint32
		refused []uint32
	}{
		{"write", write, []uint32{w, r | w, a}, []uint32{r, nt.SYNCHRONIZE}},
		{"read", read, []uint32{r | w}, []uint32{w, nt.SYNCHRONIZE}},
		{"FILE_ANY_ACCESS", control(fixtures.IOCTL_ECHO_BUFFERED),
			[]uint32{r, w, r | w, nt.SYNCHRONIZE}, nil},
		{"FILE_READ_ACCESS", control(fixtures.IOCTL_ECHO_NEEDS_READ), []uint32{r, r | w},
			[]uint32{w, nt.SYNCHRONIZE}},
		{"FILE_WRITE_ACCESS", control(fixtures.IOCTL_ECHO_NEEDS_WRITE), []uint32{w, r | w},
			[]uint32{r, nt.SYNCHRONIZE, a}},
		{"both", control(fixtures.IOCTL_ECHO_NEEDS_BOTH), []uint32{r | w},
			[]uint32{r, w, nt.SYNCHRONIZE}},
	} {
		try := func(access uint32) error {
			f, err := h.Open(`\\.\Echo`, driverhost.OpenOptions{Access: access})
			require.NoError(t, err)
			defer f.Close()
			if access&w != 0 {
				_, err = f.WriteAt([]byte("data"), 0)
				require.NoError(t, err)
			}
			return c.do(f)
		}
		for _, access := range c.allowed {
			assert.NoError(t, try(access), "%s with %#x", c.name, access)
		}
		for _, access := range c.refused {
			assert.ErrorIs(t, try(access), nt.STATUS_ACCESS_DENIED, "%s with %#x", c.name, access)
		}
	}
}

func TestAnOverlappedFileHasNoPosition(t *testing.T) {
	h := loadEcho(t)
	f, err := h.Open(`\\.\Echo`, driverhost.OpenOptions{Overlapped: true})
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("x"), 0)
	assert.NoError(t, err)
	_, err = f.Read(make([]byte, 1))
	assert.ErrorIs(t, err, nt.STATUS_INVALID_PARAMETER)
	assert.Zero(t, facts(t, local{f}, -1).FileFlags&nt.FO_SYNCHRONOUS_IO)
}
