package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestStackDriver(t *testing.T) {
	testScenarios(t, "stack", map[string]crash{
		"a fault inside": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: uint64(nt.STATUS_ACCESS_VIOLATION)},
			reason: "write to 0x1230",
		},
		"an expanded stack overflows": {
			code:   nt.UNEXPECTED_KERNEL_MODE_TRAP,
			params: map[int]uint64{0: 8},
			reason: "kernel stack overflow",
		},
		"a thread ends inside": {
			code:   nt.KERNEL_STACK_LOCKED_AT_EXIT,
			reason: "KeExpandKernelStackAndCallout",
		},
	})
}
