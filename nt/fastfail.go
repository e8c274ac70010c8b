// The codes of int 29h, __fastfail: the first parameter of KERNEL_SECURITY_CHECK_FAILURE.
package nt

import "strconv"

// FastFail is a code of __fastfail, which the driver passes in ECX.
type FastFail uint32

// The codes. Source: winnt.h; Bug Check 0x139 (Windows driver documentation).
const (
	FAST_FAIL_LEGACY_GS_VIOLATION         FastFail = 0
	FAST_FAIL_VTGUARD_CHECK_FAILURE       FastFail = 1
	FAST_FAIL_STACK_COOKIE_CHECK_FAILURE  FastFail = 2
	FAST_FAIL_CORRUPT_LIST_ENTRY          FastFail = 3
	FAST_FAIL_INCORRECT_STACK             FastFail = 4
	FAST_FAIL_INVALID_ARG                 FastFail = 5
	FAST_FAIL_GS_COOKIE_INIT              FastFail = 6
	FAST_FAIL_FATAL_APP_EXIT              FastFail = 7
	FAST_FAIL_RANGE_CHECK_FAILURE         FastFail = 8
	FAST_FAIL_UNSAFE_REGISTRY_ACCESS      FastFail = 9
	FAST_FAIL_GUARD_ICALL_CHECK_FAILURE   FastFail = 10
	FAST_FAIL_GUARD_WRITE_CHECK_FAILURE   FastFail = 11
	FAST_FAIL_INVALID_FIBER_SWITCH        FastFail = 12
	FAST_FAIL_INVALID_SET_OF_CONTEXT      FastFail = 13
	FAST_FAIL_INVALID_REFERENCE_COUNT     FastFail = 14
	FAST_FAIL_INVALID_JUMP_BUFFER         FastFail = 18
	FAST_FAIL_MRDATA_MODIFIED             FastFail = 19
	FAST_FAIL_CERTIFICATION_FAILURE       FastFail = 20
	FAST_FAIL_INVALID_EXCEPTION_CHAIN     FastFail = 21
	FAST_FAIL_CRYPTO_LIBRARY              FastFail = 22
	FAST_FAIL_INVALID_CALL_IN_DLL_CALLOUT FastFail = 23
	FAST_FAIL_INVALID_IMAGE_BASE          FastFail = 24
	FAST_FAIL_DLOAD_PROTECTION_FAILURE    FastFail = 25
	FAST_FAIL_UNSAFE_EXTENSION_CALL       FastFail = 26
)

// String gives a few words on what was found corrupt.
func (f FastFail) String() string {
	switch f {
	case FAST_FAIL_LEGACY_GS_VIOLATION, FAST_FAIL_STACK_COOKIE_CHECK_FAILURE:
		return "a stack buffer was overrun (security cookie)"
	case FAST_FAIL_CORRUPT_LIST_ENTRY:
		return "a LIST_ENTRY is corrupt"
	case FAST_FAIL_INCORRECT_STACK:
		return "the stack pointer is outside the stack"
	case FAST_FAIL_INVALID_ARG:
		return "an argument that may never be is"
	case FAST_FAIL_GS_COOKIE_INIT:
		return "the security cookie was not initialised"
	case FAST_FAIL_FATAL_APP_EXIT:
		return "a fatal exit"
	case FAST_FAIL_RANGE_CHECK_FAILURE:
		return "an index is out of range"
	case FAST_FAIL_GUARD_ICALL_CHECK_FAILURE:
		return "an indirect call to what is no function (control flow guard)"
	case FAST_FAIL_INVALID_REFERENCE_COUNT:
		return "a reference count is corrupt"
	case FAST_FAIL_INVALID_EXCEPTION_CHAIN:
		return "the chain of exception handlers is corrupt"
	}
	return "fast fail " + strconv.Itoa(int(f))
}
