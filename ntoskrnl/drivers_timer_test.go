package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestTimerDriver(t *testing.T) {
	testScenarios(t, "timer", map[string]crash{
		"initializing a timer that is set": {
			code:   nt.TIMER_OR_DPC_INVALID,
			params: map[int]uint64{0: 0},
		},
		"setting what is no timer": {
			code: nt.REFERENCE_BY_POINTER,
		},
		"freeing a timer that is set": {
			code:   nt.TIMER_OR_DPC_INVALID,
			params: map[int]uint64{0: 0},
		},
		"overwriting a timer that is set": {
			code:   nt.TIMER_OR_DPC_INVALID,
			params: map[int]uint64{0: 0},
		},
		"a delay at DISPATCH_LEVEL": {
			code:   nt.IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{1: uint64(nt.DISPATCH_LEVEL)},
		},
	})
}
