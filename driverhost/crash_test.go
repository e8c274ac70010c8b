package driverhost_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Crashes: what ends the host, what it says, and what others see of it.

func TestEachFaultIsTheBugcheckThatWindowsShows(t *testing.T) {
	const av = uint64(nt.STATUS_ACCESS_VIOLATION)
	for _, c := range []struct {
		name   string
		code   uint32
		want   nt.BugCheck
		status uint64 // of an exception: the first parameter
		reason string
	}{
		{"a write to null", fixtures.IOCTL_FAULTS_WRITE_NULL, nt.SYSTEM_SERVICE_EXCEPTION, av,
			`write to 0x0 at faults\.sys\+0x`},
		{"a read from null", fixtures.IOCTL_FAULTS_READ_NULL, nt.SYSTEM_SERVICE_EXCEPTION, av,
			`read from 0x10 at faults\.sys\+0x`},
		{"a call of null", fixtures.IOCTL_FAULTS_CALL_NULL, nt.SYSTEM_SERVICE_EXCEPTION, av,
			`jump to 0x0`},
		{"a wild jump", fixtures.IOCTL_FAULTS_WILD_JUMP, nt.SYSTEM_SERVICE_EXCEPTION, av,
			`jump to 0xdead0000`},
		{"a stack overflow", fixtures.IOCTL_FAULTS_STACK_OVERFLOW, nt.UNEXPECTED_KERNEL_MODE_TRAP, 8,
			`stack overflow at faults\.sys\+0x`},
		{"a division by zero", fixtures.IOCTL_FAULTS_DIVIDE, nt.SYSTEM_SERVICE_EXCEPTION,
			uint64(nt.STATUS_INTEGER_DIVIDE_BY_ZERO), `faults\.sys\+0x`},
		{"int3", fixtures.IOCTL_FAULTS_INT3, nt.SYSTEM_SERVICE_EXCEPTION, uint64(nt.STATUS_BREAKPOINT),
			`faults\.sys\+0x`},
		{"ud2", fixtures.IOCTL_FAULTS_UD2, nt.SYSTEM_SERVICE_EXCEPTION,
			uint64(nt.STATUS_ILLEGAL_INSTRUCTION), `faults\.sys\+0x`},
		{"a raw system call", fixtures.IOCTL_FAULTS_SYSCALL, nt.SYSTEM_SERVICE_EXCEPTION,
			uint64(nt.STATUS_ILLEGAL_INSTRUCTION), `raw system call`},
		{"int 0x80", fixtures.IOCTL_FAULTS_INT80, nt.SYSTEM_SERVICE_EXCEPTION,
			uint64(nt.STATUS_ILLEGAL_INSTRUCTION), `raw system call`},
		{"KeBugCheckEx", fixtures.IOCTL_FAULTS_BUGCHECK, fixtures.FAULTS_BUGCHECK, 1, ``},
		{"a missing export", fixtures.IOCTL_FAULTS_NO_EXPORT, nt.SYSTEM_SERVICE_EXCEPTION, 0,
			`DrvhostNoSuchRoutine is not implemented; called by faults\.sys\+0x`},
		{"a non-canonical address", fixtures.IOCTL_FAULTS_NON_CANONICAL, nt.SYSTEM_SERVICE_EXCEPTION,
			av, `non-canonical`},
		{"a write to code", fixtures.IOCTL_FAULTS_WRITE_CODE, 0, 0, `faults\.sys\+0x`},
		{"data that is run", fixtures.IOCTL_FAULTS_RUN_DATA, 0, 0, `faults\.sys\+0x`},
		{"a fast fail", fixtures.IOCTL_FAULTS_FAST_FAIL, 0, 0, `faults\.sys\+0x`},
		{"an assertion", fixtures.IOCTL_FAULTS_ASSERT, 0, 0, `faults\.sys\+0x`},
		{"rdmsr", fixtures.IOCTL_FAULTS_READ_MSR, 0, 0, `faults\.sys\+0x`},
		{"a fault in a DPC", fixtures.IOCTL_FAULTS_DPC, nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL, 0,
			`write to 0x0 at faults\.sys\+0x.* at DISPATCH_LEVEL`},
		{"a fault in a work item", fixtures.IOCTL_FAULTS_WORK_ITEM,
			nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, av, `write to 0x0 at faults\.sys\+0x`},
		{"a misaligned movaps", fixtures.IOCTL_FAULTS_MISALIGNED, 0, 0, `faults\.sys\+0x`},
		{"a fault two calls down", fixtures.IOCTL_FAULTS_DEEP, nt.SYSTEM_SERVICE_EXCEPTION, av,
			`write to 0x0 at faults\.sys\+0x`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := drivertest.Load(t, fixture(t, "faults"), drivertest.MayCrash())
			f := drivertest.Open(t, h, `\\.\Faults`)
			pending := drivertest.Open(t, h, `\\.\Faults`)
			_, err := f.DeviceIoControl(background, c.code, nil, make([]byte, 8))
			if c.code == fixtures.IOCTL_FAULTS_WORK_ITEM || c.code == fixtures.IOCTL_FAULTS_DPC {
				<-h.Done()
			} else {
				assert.ErrorIs(t, err, driverhost.StatusGone)
				var crash *ke.Bugcheck
				assert.ErrorAs(t, err, &crash)
			}
			b := drivertest.Crash(t, h)
			assert.NotEqual(t, ke.HostFault, b.Code, b.HostStack)
			if c.want != 0 {
				assert.Equal(t, c.want, b.Code, b.Error())
			}
			if c.status != 0 {
				assert.Equal(t, c.status, b.Params[0], b.Error())
			}
			assert.Regexp(t, regexp.MustCompile(c.reason), b.Reason)
			_, err = pending.DeviceIoControl(background, fixtures.IOCTL_FAULTS_NONE, nil, nil)
			assert.ErrorIs(t, err, driverhost.StatusGone)
			_, err = h.Open(`\\.\Faults`, driverhost.OpenOptions{})
			assert.Error(t, err)
			_, err = h.Load(fixture(t, "hello"))
			assert.Error(t, err)
			report, ok := h.CrashReport()
			require.True(t, ok)
			if c.code == fixtures.IOCTL_FAULTS_STACK_OVERFLOW || c.code == fixtures.IOCTL_FAULTS_DEEP {
				assert.NotEmpty(t, report.Stack)
			}
		})
	}
}

func TestALoopIsKickedOutWhenTheHostCloses(t *testing.T) {
	for name, code := range map[string]uint32{"at PASSIVE_LEVEL": fixtures.IOCTL_FAULTS_LOOP,
		"with a spin lock held": fixtures.IOCTL_FAULTS_LOOP_DISPATCH} {
		t.Run(name, func(t *testing.T) {
			h := drivertest.Load(t, fixture(t, "faults"), drivertest.Patience(50*time.Millisecond))
			f := drivertest.Open(t, h, `\\.\Faults`)
			done := async(background, local{f}, code, nil, nil)
			eventually(t, "begun", func() bool { return h.Kernel.IO.Outstanding() == 1 })
			report, err := h.Close()
			require.NoError(t, err)
			assert.Len(t, report.Stuck, 1)
			r := <-done
			require.NoError(t, r.err)
			assert.Equal(t, driverhost.StatusGone, r.Status)
			assert.ErrorIs(t, f.Close(), driverhost.ErrClosed)
		})
	}
}

func TestTheHarmlessFaultIsNone(t *testing.T) {
	h := drivertest.Load(t, fixture(t, "faults"))
	out := make([]byte, 8)
	n, err := drivertest.Open(t, h, `\\.\Faults`).DeviceIoControl(background,
		fixtures.IOCTL_FAULTS_NONE, nil, out)
	require.NoError(t, err)
	assert.Equal(t, 8, n)
	assert.Equal(t, uint64(fixtures.FAULTS_ALIVE), binary.LittleEndian.Uint64(out))
}

// A host of its own process, and clients of its.
func init() {
	children["host"] = func(args []string) error {
		h, err := driverhost.New(driverhost.Options{})
		if err != nil {
			return err
		}
		for _, driver := range args {
			if _, err := h.Load(driver); err != nil {
				return err
			}
		}
		if err := h.Listen(os.Getenv("DRVHOST_RUNTIME_DIR")); err != nil {
			return err
		}
		fmt.Println("listening")
		go h.Serve()
		<-h.Done()
		r, _ := h.CrashReport()
		fmt.Printf("%s in %s at %v: %s\n", r.Name, r.Module, r.Offset, r.Reason)
		_, err = h.Close()
		return err
	}
}

// startHost starts a host in a process of its own.
func startHost(t *testing.T, dir string, drivers ...string) (lines *bufio.Reader, pid int, wait func() error) {
	cmd := child(t, "host", dir, drivers...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	lines = bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "listening\n", line)
	return lines, cmd.Process.Pid, cmd.Wait
}

func TestACrashTakesDownItsOwnHostAndTellsItsClients(t *testing.T) {
	dir := runtimeDir(t)
	lines, pid, wait := startHost(t, dir, fixture(t, "bench"), fixture(t, "echo"))
	pending, err := client.Open(`\\.\Echo`, client.RuntimeDir(dir))
	require.NoError(t, err)
	defer pending.Close()
	watch, err := client.Open(`\\.\Echo`, client.RuntimeDir(dir))
	require.NoError(t, err)
	defer watch.Close()
	done := async(background, remote{pending}, fixtures.IOCTL_ECHO_PEND_FOREVER, nil, nil)
	eventually(t, "pended", func() bool { return counts(t, remote{watch}).Waiting == 1 })

	f, err := client.Open(`\\.\BenchDrv`, client.RuntimeDir(dir))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.DeviceIoControl(background, fixtures.IOCTL_BENCH_CRASH, nil, nil)
	var gone *client.HostGoneError
	require.ErrorAs(t, err, &gone)
	assert.Equal(t, pid, gone.PID)
	assert.Contains(t, gone.Text, "write to 0x10 at bench.sys+0x")
	r := <-done
	assert.ErrorAs(t, r.err, &gone, "pending requests of others fail at once")

	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	assert.Regexp(t, `^SYSTEM_SERVICE_EXCEPTION in bench\.sys at 0x[0-9a-f]+: .*ACCESS_VIOLATION`, line)
	assert.NoError(t, wait())
	_, err = client.Open(`\\.\BenchDrv`, client.RuntimeDir(dir))
	assert.ErrorIs(t, err, os.ErrNotExist, "its links are gone")

	// And a new one takes its place.
	_, _, _ = startHost(t, dir, fixture(t, "bench"))
	f, err = client.Open(`\\.\BenchDrv`, client.RuntimeDir(dir))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestBenchAnswersEachOfItsCodesFromAnotherProcess(t *testing.T) {
	dir := runtimeDir(t)
	startHost(t, dir, fixture(t, "bench"))
	f, err := client.Open(`\\.\BenchDrv`, client.RuntimeDir(dir))
	require.NoError(t, err)
	defer f.Close()
	count := func(code uint32, n uint64) uint64 {
		out := make([]byte, 8)
		got, err := f.DeviceIoControl(background, code, binary.LittleEndian.AppendUint64(nil, n), out)
		require.NoError(t, err)
		require.Equal(t, 8, got)
		return binary.LittleEndian.Uint64(out)
	}
	n, err := f.DeviceIoControl(background, fixtures.IOCTL_BENCH_NULL, nil, nil)
	require.NoError(t, err)
	assert.Zero(t, n)
	for _, code := range []uint32{fixtures.IOCTL_BENCH_ECHO, fixtures.IOCTL_BENCH_ECHO_OUTD,
		fixtures.IOCTL_BENCH_ECHO_NEI} {
		in, out := pattern(4096, 5), make([]byte, 4096)
		n, err := f.DeviceIoControl(background, code, in, out)
		require.NoError(t, err)
		assert.Equal(t, 4096, n)
		same(t, in, out, "echo")
	}
	n, err = f.DeviceIoControl(background, fixtures.IOCTL_BENCH_ECHO_IND, nil, make([]byte, 100))
	require.NoError(t, err)
	assert.Equal(t, 100, n)
	_, err = f.DeviceIoControl(background, fixtures.IOCTL_BENCH_PEND, nil, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 0x4267f41960709186, count(fixtures.IOCTL_BENCH_COMPUTE, 1e8))
	assert.Zero(t, count(fixtures.IOCTL_BENCH_CR8, 100), "PASSIVE_LEVEL")
	count(fixtures.IOCTL_BENCH_USD, 101)
	assert.Zero(t, count(fixtures.IOCTL_BENCH_ALLOC, 1000))
	assert.Zero(t, count(fixtures.IOCTL_BENCH_SPIN, 1000))
	assert.Zero(t, count(fixtures.IOCTL_BENCH_EVENT, 1000))
	data, have := pattern(1<<20, 1), make([]byte, 1<<20)
	n, err = f.Write(data)
	require.NoError(t, err)
	assert.Equal(t, len(data), n)
	_, err = f.Read(have)
	require.NoError(t, err)
	same(t, data, have, "write and read of 1 MiB")
}
