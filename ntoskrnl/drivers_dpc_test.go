package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestDpcDriver(t *testing.T) {
	testScenarios(t, "dpc", map[string]crash{
		"waiting in a DPC": {
			code: nt.ATTEMPTED_SWITCH_FROM_DPC,
		},
		"returning from a DPC at HIGH_LEVEL": {
			code: nt.IRQL_UNEXPECTED_VALUE,
		},
		"returning from a DPC at PASSIVE_LEVEL": {
			code: nt.IRQL_UNEXPECTED_VALUE,
		},
		"touching address 0x123 in a DPC": {
			code:   nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{0: 0x123, 1: uint64(nt.DISPATCH_LEVEL), 2: 1},
		},
		"queueing what is no DPC": {
			code: nt.REFERENCE_BY_POINTER,
		},
		"overwriting a DPC that is queued": {
			code:   nt.TIMER_OR_DPC_INVALID,
			params: map[int]uint64{0: 1},
		},
		"flushing DPCs at DISPATCH_LEVEL": {
			code:   nt.IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{1: uint64(nt.DISPATCH_LEVEL)},
		},
		"queueing a work item twice": {
			code: nt.WORKER_INVALID,
		},
		"returning from a work item at APC_LEVEL": {
			code: nt.WORKER_THREAD_RETURNED_AT_BAD_IRQL,
		},
		"ending a worker thread": {
			code: nt.ACTIVE_EX_WORKER_THREAD_TERMINATION,
		},
	})
}
