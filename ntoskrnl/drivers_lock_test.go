package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestLockDriver(t *testing.T) {
	testScenarios(t, "lock", map[string]crash{
		"releasing a resource that is free": {
			code: nt.RESOURCE_NOT_OWNED,
		},
		"releasing a resource for a thread that does not own it": {
			code: nt.RESOURCE_NOT_OWNED,
		},
		"deleting a resource that is held": {
			code: nt.RESOURCE_NOT_OWNED,
		},
		"acquiring a resource at DISPATCH_LEVEL": {
			code:   nt.IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{1: uint64(nt.DISPATCH_LEVEL)},
		},
	})
}
