package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestObjectDriver(t *testing.T) {
	const (
		dereferenced    = 2
		closedProtected = 0
		closedInvalid   = 1
	)
	testScenarios(t, "object", map[string]crash{
		"giving back a reference that is not one's own": {
			code:   nt.REFERENCE_BY_POINTER,
			params: map[int]uint64{0: 0, 2: dereferenced},
		},
		"referencing what is no object": {
			code: nt.REFERENCE_BY_POINTER,
		},
		"closing a kernel handle twice": {
			code:   nt.INVALID_KERNEL_HANDLE,
			params: map[int]uint64{1: closedInvalid},
		},
		"closing a protected kernel handle": {
			code:   nt.INVALID_KERNEL_HANDLE,
			params: map[int]uint64{1: closedProtected},
		},
		"looking up a handle at DISPATCH_LEVEL": {
			code:   nt.IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{1: uint64(nt.DISPATCH_LEVEL)},
		},
		"ending a thread that is attached": {
			code: nt.INVALID_PROCESS_ATTACH_ATTEMPT,
		},
		"attaching a second time": {
			code: nt.INVALID_PROCESS_ATTACH_ATTEMPT,
		},
	})
}
