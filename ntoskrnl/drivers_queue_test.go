package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestQueueDriver(t *testing.T) {
	testScenarios(t, "queue", map[string]crash{
		"waiting at DISPATCH_LEVEL": {
			code:   nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			params: map[int]uint64{0: 0x3B, 1: uint64(nt.DISPATCH_LEVEL), 3: 0},
		},
		"inserting into an event": {
			code: nt.REFERENCE_BY_POINTER,
		},
	})
}
