package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestIrpDriver(t *testing.T) {
	violation := func(kind uint64, reason string) crash {
		return crash{code: nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION, params: map[int]uint64{0: kind},
			reason: reason}
	}
	testScenarios(t, "irp", map[string]crash{
		"completing an IRP twice":              {code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
		"completing with a cancel routine set": {code: nt.CANCEL_STATE_IN_COMPLETED_IRP},
		"sending an IRP that was freed":        {code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
		"freeing an IRP twice":                 {code: nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
		"no stack location left":               {code: nt.NO_MORE_IRP_STACK_LOCATIONS},
		"freeing an IRP that belongs to a thread": violation(0x02,
			"belongs to a thread"),
		"passing on with a cancel routine set": violation(0x203, "cancel routine"),
		"returning another status than the IRP's": violation(0x224,
			"returned STATUS_SUCCESS, and completed the IRP with STATUS_UNSUCCESSFUL"),
		"forgetting an IRP": violation(0x226, "neither completed the IRP nor passed it on"),
		"a dispatch routine that returns at another IRQL": {
			code: nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION,
			params: map[int]uint64{0: 0x05, 2: uint64(nt.PASSIVE_LEVEL),
				3: uint64(nt.DISPATCH_LEVEL)},
		},
		"not passing pending on": violation(0x228, "called with PendingReturned"),
		"a completion routine that returns at another IRQL": {
			code: nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			params: map[int]uint64{0: 0xFA, 2: uint64(nt.PASSIVE_LEVEL),
				3: uint64(nt.DISPATCH_LEVEL)},
		},
		"a second timer for a device": violation(0x0A, "second time"),
	})
}
