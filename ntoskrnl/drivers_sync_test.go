package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestSyncDriver(t *testing.T) {
	testScenarios(t, "sync", map[string]crash{
		"a wait with a time-out at DISPATCH_LEVEL": {
			code:   nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			params: map[int]uint64{0: 0x3B, 1: uint64(nt.DISPATCH_LEVEL)},
		},
		"four objects without wait blocks": {
			code: nt.MAXIMUM_WAIT_OBJECTS_EXCEEDED,
		},
		"releasing a mutex that is free": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: uint64(nt.STATUS_MUTANT_NOT_OWNED)},
		},
		"releasing another thread's mutex": {
			code:   nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED,
			params: map[int]uint64{0: uint64(nt.STATUS_MUTANT_NOT_OWNED)},
		},
		"ending a thread that owns a mutex": {
			code: 0x4000008A, // THREAD_TERMINATE_HELD_MUTEX
		},
		"acquiring a fast mutex twice": {
			code: nt.MUTEX_ALREADY_OWNED,
		},
		"releasing a fast mutex that is free": {
			code: nt.THREAD_NOT_MUTEX_OWNER,
		},
		"acquiring a spin lock twice": {
			code: nt.SPIN_LOCK_ALREADY_OWNED,
		},
		"releasing a spin lock that is free": {
			code: nt.SPIN_LOCK_NOT_OWNED,
		},
		"waiting for what is no dispatcher object": {
			code: nt.REFERENCE_BY_POINTER,
		},
		"releasing a semaphore over its limit": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: uint64(nt.STATUS_SEMAPHORE_LIMIT_EXCEEDED)},
		},
	})
}
