package ntoskrnl_test

import (
	"testing"

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
		"a fault at DISPATCH_LEVEL": {
			code:   nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{0: 0x1230, 1: 2, 2: 0},
		},
	})
}
