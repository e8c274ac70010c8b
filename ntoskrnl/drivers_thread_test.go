package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestThreadDriver(t *testing.T) {
	testScenarios(t, "thread", map[string]crash{
		"raising to a lower IRQL": {
			code: nt.IRQL_NOT_GREATER_OR_EQUAL,
		},
		"lowering to a higher IRQL": {
			code: nt.IRQL_NOT_LESS_OR_EQUAL,
		},
		"returning from a thread at DISPATCH_LEVEL": {
			code:   nt.KERNEL_APC_PENDING_DURING_EXIT,
			params: map[int]uint64{2: uint64(nt.DISPATCH_LEVEL)},
		},
		"returning from a thread in a critical region": {
			code:   nt.KERNEL_APC_PENDING_DURING_EXIT,
			params: map[int]uint64{1: 0xFFFF},
		},
		"ending a thread in a critical region": {
			code:   nt.KERNEL_APC_PENDING_DURING_EXIT,
			params: map[int]uint64{1: 0xFFFF},
		},
		"returning from a dispatch routine at DISPATCH_LEVEL": {
			code:   nt.IRQL_GT_ZERO_AT_SYSTEM_SERVICE,
			params: map[int]uint64{1: uint64(nt.DISPATCH_LEVEL)},
		},
		"creating a thread at DISPATCH_LEVEL": {
			code:   nt.IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{1: uint64(nt.DISPATCH_LEVEL)},
		},
		"a fault in a system thread": {
			code:   nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED,
			params: map[int]uint64{0: uint64(nt.STATUS_ACCESS_VIOLATION)},
		},
	})
}
