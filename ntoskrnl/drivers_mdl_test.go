package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestMdlDriver(t *testing.T) {
	testScenarios(t, "mdl", map[string]crash{
		"mapping pages that are not locked": {
			code:   nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			params: map[int]uint64{0: 0xB3},
		},
		"locking pages twice": {
			code:   nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			params: map[int]uint64{0: 0xB0},
		},
		"unlocking a partial MDL": {
			code:   nt.DRIVER_VERIFIER_DETECTED_VIOLATION,
			params: map[int]uint64{0: 0xB4},
		},
		"writing to a mapping that is gone": {
			code:   nt.PAGE_FAULT_IN_NONPAGED_AREA,
			params: map[int]uint64{1: 1},
		},
		"freeing contiguous memory inside": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x60},
		},
		"freeing an MDL twice": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x07},
		},
		"locking pages at HIGH_LEVEL": {
			code:   nt.IRQL_NOT_LESS_OR_EQUAL,
			params: map[int]uint64{1: uint64(nt.HIGH_LEVEL)},
		},
		"reading device memory that is gone": {
			code:   nt.PAGE_FAULT_IN_NONPAGED_AREA,
			params: map[int]uint64{1: 0},
		},
	})
}
