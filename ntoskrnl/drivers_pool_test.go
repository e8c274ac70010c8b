package ntoskrnl_test

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

func TestPoolDriver(t *testing.T) {
	var (
		tag   = uint64(mm.MakeTag("Pool"))
		other = uint64(mm.MakeTag("Othr"))
	)
	testScenarios(t, "pool", map[string]crash{
		"freeing NULL": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x46, 1: 0},
		},
		"freeing a user address": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x40, 1: 0x20000000},
		},
		"freeing the driver's data": {
			code: nt.BAD_POOL_CALLER,
		},
		"freeing an address inside of a block": {
			code: nt.BAD_POOL_CALLER,
		},
		"freeing a block twice": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x07},
		},
		"freeing pages twice": {
			code: nt.BAD_POOL_CALLER,
		},
		"freeing with the wrong tag": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x0A, 2: tag, 3: other},
		},
		"freeing protected pool without its tag": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x0A, 2: tag | 0x80000000, 3: 0},
		},
		"writing a byte behind a block": {
			code:   nt.BAD_POOL_HEADER,
			params: map[int]uint64{0: 0x20},
		},
		"writing a byte behind a block of pages, on its last page": {
			code:   nt.BAD_POOL_HEADER,
			params: map[int]uint64{0: 0x20},
		},
		"writing a byte behind a block of whole pages": {
			code:   nt.PAGE_FAULT_IN_NONPAGED_AREA,
			params: map[int]uint64{1: 1},
		},
		"reading a page that was freed": {
			code:   nt.PAGE_FAULT_IN_NONPAGED_AREA,
			params: map[int]uint64{1: 0},
		},
		"filling a page that was freed": {
			code:   nt.PAGE_FAULT_IN_NONPAGED_AREA,
			params: map[int]uint64{1: 1},
		},
		"following a pointer in a block that was freed": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: uint64(nt.STATUS_ACCESS_VIOLATION)},
		},
		"allocating paged pool at DISPATCH_LEVEL": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x08, 1: uint64(nt.DISPATCH_LEVEL), 2: 1, 3: 100},
		},
		"freeing paged pool at DISPATCH_LEVEL": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x09, 1: uint64(nt.DISPATCH_LEVEL), 2: 1},
		},
		"allocating pool at HIGH_LEVEL": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x08, 1: uint64(nt.HIGH_LEVEL), 2: 512, 3: 100},
		},
		"allocating with a tag of 0": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x9B},
		},
		"allocating must-succeed pool": {
			code:   nt.BAD_POOL_CALLER,
			params: map[int]uint64{0: 0x9A},
		},
		"running what is in NX pool": {
			code: nt.ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY,
		},
		"asking for too much and an exception": {
			code:   nt.SYSTEM_SERVICE_EXCEPTION,
			params: map[int]uint64{0: uint64(nt.STATUS_INSUFFICIENT_RESOURCES)},
		},
	})
}
