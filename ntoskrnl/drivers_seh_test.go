package ntoskrnl_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/drivertest"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

func TestSehDriver(t *testing.T) {
	const one = 0xE0000001
	testScenarios(t, "seh", map[string]crash{
		"nobody catches a fault": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: uint64(nt.STATUS_ACCESS_VIOLATION), 3: 0},
			reason: "read from 0x1230",
		},
		"nobody catches a status": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: one},
			reason: "raised by ExRaiseStatus",
		},
		"nobody catches on a system thread": {
			code:   nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED,
			params: map[int]uint64{0: one},
		},
		"a filter always faults": {
			code:   nt.UNEXPECTED_KERNEL_MODE_TRAP,
			params: map[int]uint64{0: 8},
		},
		"a system address": {
			code:   nt.PAGE_FAULT_IN_NONPAGED_AREA,
			params: map[int]uint64{0: 0x7FFF00000000, 1: 0},
		},
		"a fast fail in a __try block": {
			code:   nt.KERNEL_SECURITY_CHECK_FAILURE,
			params: map[int]uint64{0: uint64(nt.FAST_FAIL_CORRUPT_LIST_ENTRY)},
		},
		"a fault at DISPATCH_LEVEL": {
			code:   nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{0: 0x1230, 1: 2, 2: 0},
		},
	})
}

// A time is one access violation that an __except block of the same function takes.
func BenchmarkCaughtFault(b *testing.B) {
	host := loadScenarios(b, "seh", 1)
	f := drivertest.Open(b, host, deviceOf("seh"))
	var many fixtures.Scenario
	for _, s := range listScenarios(b, f) {
		if s.Name == "an exception is caught many times" {
			many = s
		}
	}
	const times = 1000
	for b.Loop() {
		out := make([]byte, fixtures.ScenarioResultSize)
		in := binary.LittleEndian.AppendUint32(nil, many.Number)
		_, err := f.DeviceIoControl(b.Context(), fixtures.IOCTL_SCENARIO_RUN, in, out)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/times, "ns/exception")
}
