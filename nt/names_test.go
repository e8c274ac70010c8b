// Statuses, bugchecks, control codes, functions and levels have Windows' names and values.
package nt_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

func TestStatusNames(t *testing.T) {
	for _, c := range []struct {
		fact   string
		status nt.Status
		want   string
	}{
		{"zero is success, not WAIT_0", 0, "STATUS_SUCCESS"},
		{"the last of a range", 0x3F, "STATUS_WAIT_63"},
		{"an abandoned wait", 0x80, "STATUS_ABANDONED_WAIT_0"},
		{"informational", 0x103, "STATUS_PENDING"},
		{"a warning", 0x80000005, "STATUS_BUFFER_OVERFLOW"},
		{"an error", 0xC000000E, "STATUS_NO_SUCH_DEVICE"},
		{"one that mingw lacks", 0xC0000507, "STATUS_DEVICE_HUNG"},
		{"beyond the last", 0xFFFFFFFF, "0xFFFFFFFF"},
		{"between two", 0xC0FFEE00, "0xC0FFEE00"},
		{"a small one without a name", 0x42, "0x00000042"},
	} {
		assert.Equal(t, c.want, c.status.String(), c.fact)
	}
	assert.Equal(t, nt.STATUS_WAIT_0, nt.STATUS_SUCCESS)
}

func TestStatusKinds(t *testing.T) {
	for _, c := range []struct {
		status                         nt.Status
		success, info, warning, failed bool
		severity                       string
	}{
		{nt.STATUS_SUCCESS, true, false, false, false, "success"},
		{nt.STATUS_PENDING, true, false, false, false, "success"},
		{nt.STATUS_OBJECT_NAME_EXISTS, true, true, false, false, "informational"},
		{nt.STATUS_BUFFER_OVERFLOW, false, false, true, false, "warning"},
		{nt.STATUS_NO_MORE_ENTRIES, false, false, true, false, "warning"},
		{nt.STATUS_ACCESS_DENIED, false, false, false, true, "error"},
	} {
		assert.Equal(t, c.success, c.status.Success(), "%s Success", c.status)
		assert.Equal(t, c.info, c.status.Information(), "%s Information", c.status)
		assert.Equal(t, c.warning, c.status.Warning(), "%s Warning", c.status)
		assert.Equal(t, c.failed, c.status.IsError(), "%s IsError", c.status)
		assert.Equal(t, c.severity, c.status.Severity().String(), "%s Severity", c.status)
		assert.Equal(t, c.success, c.status.Err() == nil, "%s Err", c.status)
	}
	assert.True(t, nt.STATUS_CPP_EH_EXCEPTION.Customer())
	assert.EqualValues(t, 0x1C, nt.STATUS_FLT_DO_NOT_ATTACH.Facility())
}

func TestStatusIsAnError(t *testing.T) {
	err := fmt.Errorf(`open \\.\Echo: %w`, nt.STATUS_NO_SUCH_DEVICE)
	assert.ErrorIs(t, err, nt.STATUS_NO_SUCH_DEVICE)
	assert.NotErrorIs(t, err, nt.STATUS_ACCESS_DENIED)
	var status nt.Status
	require.ErrorAs(t, err, &status)
	assert.Equal(t, nt.STATUS_NO_SUCH_DEVICE, status)
	assert.False(t, errors.Is(err, fs.ErrNotExist))
	assert.Equal(t, "STATUS_NO_SUCH_DEVICE (0xC000000E): no such device",
		nt.STATUS_NO_SUCH_DEVICE.Error())
	assert.Equal(t, "STATUS_FLOAT_OVERFLOW (0xC0000091)", nt.STATUS_FLOAT_OVERFLOW.Error())
	assert.Equal(t, "status 0xC0FFEE00", nt.Status(0xC0FFEE00).Error())
}

func TestParseStatus(t *testing.T) {
	for text, want := range map[string]nt.Status{
		"STATUS_PENDING":               nt.STATUS_PENDING,
		"status_pending":               nt.STATUS_PENDING,
		" NO_SUCH_DEVICE ":             nt.STATUS_NO_SUCH_DEVICE,
		"STATUS_WAIT_0":                nt.STATUS_SUCCESS,
		"STATUS_FWP_TOO_MANY_CALLOUTS": nt.STATUS_FWP_TOO_MANY_CALLOUTS,
		"0xC000000E":                   nt.STATUS_NO_SUCH_DEVICE,
		"3221225486":                   nt.STATUS_NO_SUCH_DEVICE,
		"-1073741810":                  nt.STATUS_NO_SUCH_DEVICE,
		"0":                            nt.STATUS_SUCCESS,
	} {
		got, err := nt.ParseStatus(text)
		if assert.NoError(t, err, text) {
			assert.Equal(t, want, got, text)
		}
	}
	for _, text := range []string{
		"", "STATUS_", "STATUS_NO_SUCH_NAME", "0x100000000", "-2147483649", "0xZZ",
	} {
		_, err := nt.ParseStatus(text)
		assert.Error(t, err, text)
	}
}

func TestBugCheckNames(t *testing.T) {
	for code, want := range map[nt.BugCheck]string{
		0x0A:       "IRQL_NOT_LESS_OR_EQUAL",
		0x1E:       "KMODE_EXCEPTION_NOT_HANDLED",
		0x50:       "PAGE_FAULT_IN_NONPAGED_AREA",
		0x7E:       "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
		0x7F:       "UNEXPECTED_KERNEL_MODE_TRAP",
		0x9F:       "DRIVER_POWER_STATE_FAILURE",
		0xC4:       "DRIVER_VERIFIER_DETECTED_VIOLATION",
		0xC9:       "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
		0xD1:       "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
		0xDF:       "IMPERSONATING_WORKER_THREAD", // mingw's header has it as 0xFA
		0xE6:       "DRIVER_VERIFIER_DMA_VIOLATION",
		0xFA:       "HTTP_DRIVER_CORRUPTED",
		0xFC:       "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
		0x133:      "DPC_WATCHDOG_VIOLATION",
		0x139:      "KERNEL_SECURITY_CHECK_FAILURE",
		0x1000007E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M",
		0x100000D1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL", // with the mark of a third-party driver
		0x7777:     "0x7777",
	} {
		assert.Equal(t, want, code.String())
	}
	assert.Equal(t, "IRQL_NOT_LESS_OR_EQUAL (0xA)", nt.IRQL_NOT_LESS_OR_EQUAL.Error())
	assert.Equal(t, "bugcheck 0x7777", nt.BugCheck(0x7777).Error())
	got, err := nt.ParseBugCheck("dpc_watchdog_violation")
	require.NoError(t, err)
	assert.Equal(t, nt.DPC_WATCHDOG_VIOLATION, got)
	got, err = nt.ParseBugCheck("0xd1")
	require.NoError(t, err)
	assert.Equal(t, nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL, got)
	_, err = nt.ParseBugCheck("NO_SUCH_BUGCHECK")
	assert.Error(t, err)
}

func TestIOCTL(t *testing.T) {
	code := nt.CTLCode(nt.FILE_DEVICE_UNKNOWN, 0x801, nt.METHOD_BUFFERED, nt.FILE_ANY_ACCESS)
	assert.EqualValues(t, 0x222004, code)
	for _, c := range []struct {
		code       nt.IOCTL
		deviceType uint32
		function   uint16
		method     nt.Method
		access     nt.IOCTLAccess
		text       string
	}{
		{0x222004, 0x22, 0x801, nt.METHOD_BUFFERED, nt.FILE_ANY_ACCESS,
			"CTL_CODE(0x22, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)"},
		{0x4D014, 4, 0x405, nt.METHOD_BUFFERED, 3, // IOCTL_SCSI_PASS_THROUGH_DIRECT
			"CTL_CODE(0x4, 0x405, METHOD_BUFFERED, FILE_READ_ACCESS|FILE_WRITE_ACCESS)"},
		{0x90028, 9, 10, nt.METHOD_BUFFERED, nt.FILE_ANY_ACCESS, // FSCTL_IS_VOLUME_MOUNTED
			"CTL_CODE(0x9, 0xA, METHOD_BUFFERED, FILE_ANY_ACCESS)"},
		{0xFFFFFFFF, 0xFFFF, 0xFFF, nt.METHOD_NEITHER, 3,
			"CTL_CODE(0xFFFF, 0xFFF, METHOD_NEITHER, FILE_READ_ACCESS|FILE_WRITE_ACCESS)"},
		{0, 0, 0, nt.METHOD_BUFFERED, nt.FILE_ANY_ACCESS,
			"CTL_CODE(0x0, 0x0, METHOD_BUFFERED, FILE_ANY_ACCESS)"},
		{0x22A00D, 0x22, 0x803, nt.METHOD_IN_DIRECT, nt.FILE_WRITE_ACCESS,
			"CTL_CODE(0x22, 0x803, METHOD_IN_DIRECT, FILE_WRITE_ACCESS)"},
		{0x226012, 0x22, 0x804, nt.METHOD_OUT_DIRECT, nt.FILE_READ_ACCESS,
			"CTL_CODE(0x22, 0x804, METHOD_OUT_DIRECT, FILE_READ_ACCESS)"},
	} {
		assert.Equal(t, c.deviceType, c.code.DeviceType(), c.text)
		assert.Equal(t, c.function, c.code.Function(), c.text)
		assert.Equal(t, c.method, c.code.Method(), c.text)
		assert.Equal(t, c.access, c.code.Access(), c.text)
		assert.Equal(t, c.text, c.code.String())
		assert.EqualValues(t, c.code, nt.CTLCode(c.deviceType, c.function, c.method, c.access), c.text)
	}
}

func TestFunctionAndLevelNames(t *testing.T) {
	for _, c := range []struct {
		got  fmt.Stringer
		want string
	}{
		{nt.IRP_MJ_CREATE, "IRP_MJ_CREATE"},
		{nt.IRP_MJ_DEVICE_CONTROL, "IRP_MJ_DEVICE_CONTROL"},
		{nt.IRP_MJ_SCSI, "IRP_MJ_INTERNAL_DEVICE_CONTROL"},
		{nt.IRP_MJ_CLEANUP, "IRP_MJ_CLEANUP"},
		{nt.IRP_MJ_PNP, "IRP_MJ_PNP"},
		{nt.MajorFunction(0x1C), "IRP_MJ_0x1c"},
		{nt.MajorFunction(0xFF), "IRP_MJ_0xff"},
		{nt.PASSIVE_LEVEL, "PASSIVE_LEVEL"},
		{nt.APC_LEVEL, "APC_LEVEL"},
		{nt.DISPATCH_LEVEL, "DISPATCH_LEVEL"},
		{nt.IRQL(7), "DIRQL 7"},
		{nt.HIGH_LEVEL, "HIGH_LEVEL"},
		{nt.IRQL(16), "IRQL 16"},
		{nt.KernelMode, "KernelMode"},
		{nt.UserMode, "UserMode"},
		{nt.Addr(0x40001000), "0x40001000"},
	} {
		assert.Equal(t, c.want, c.got.String())
	}
}

func TestPoolTypes(t *testing.T) {
	for _, c := range []struct {
		pool                     nt.PoolType
		paged, executable, cache bool
	}{
		{nt.NonPagedPool, false, true, false},
		{nt.NonPagedPoolNx, false, false, false},
		{nt.PagedPool, true, false, false},
		{nt.NonPagedPoolNxCacheAligned, false, false, true},
		{nt.PagedPoolCacheAligned, true, false, true},
		{nt.PagedPoolSession, true, false, false},
		{nt.PagedPool | nt.POOL_COLD_ALLOCATION, true, false, false},
	} {
		assert.Equal(t, c.paged, c.pool.Paged(), "%d", c.pool)
		assert.Equal(t, c.executable, c.pool.Executable(), "%d", c.pool)
		assert.Equal(t, c.cache, c.pool.CacheAligned(), "%d", c.pool)
	}
}

func TestParametersViewsShareMemory(t *testing.T) {
	var sl nt.IOStackLocation
	sl.MajorFunction = nt.IRP_MJ_DEVICE_CONTROL
	d := sl.Parameters.DeviceIoControl()
	d.OutputBufferLength, d.InputBufferLength = 64, 32
	d.IoControlCode, d.Type3InputBuffer = 0x222004, 0x10000000
	assert.EqualValues(t, 64, sl.Parameters.Others.Argument1)
	assert.EqualValues(t, 32, sl.Parameters.Others.Argument2)
	assert.EqualValues(t, 0x222004, sl.Parameters.Others.Argument3)
	assert.EqualValues(t, 0x10000000, sl.Parameters.Others.Argument4)
	sl.Parameters.Read().ByteOffset = 0x1_0000_0001
	assert.EqualValues(t, 1, d.IoControlCode)
}

func TestSListHeader(t *testing.T) {
	h := nt.SListHeader{Alignment: 0x30002, Region: 0x12345670 | 1}
	assert.EqualValues(t, 2, h.Depth())
	assert.EqualValues(t, 3, h.Sequence())
	assert.EqualValues(t, 0x12345670, h.NextEntry())
}

func TestDescriptionsAreShort(t *testing.T) {
	n := 0
	for v := range nt.Status(0x1000) {
		for _, high := range []nt.Status{0, 0x40000000, 0x80000000, 0xC0000000} {
			if d := (high | v).Description(); d != "" {
				n++
				assert.LessOrEqual(t, len(d), 80, d)
				assert.NotContains(t, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", d[:1], d)
				assert.NotEqual(t, byte('.'), d[len(d)-1], d)
			}
		}
	}
	assert.Greater(t, n, 50)
}

func TestNamesCostNoAllocation(t *testing.T) {
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		_ = nt.STATUS_NO_SUCH_DEVICE.String()
		_ = nt.IRP_MJ_READ.String()
		_ = nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL.String()
	}))
}
