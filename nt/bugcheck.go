// BugCheck is the code of a system crash: the first argument of KeBugCheckEx.
package nt

import (
	"fmt"
	"strconv"
	"strings"
)

// BugCheck is a bugcheck (stop) code.
//
// Source: Bug check code reference (Windows driver documentation).
type BugCheck uint32

// String gives the name in bugcodes.h, such as IRQL_NOT_LESS_OR_EQUAL; for a code without one, 0x%X.
// The bit 0x10000000, with which Windows marks that a driver was at fault, is ignored.
func (b BugCheck) String() string {
	if name, ok := b.name(); ok {
		return name
	}
	return fmt.Sprintf("0x%X", uint32(b))
}

// Error gives name and code as the debugger does: "IRQL_NOT_LESS_OR_EQUAL (0xA)".
func (b BugCheck) Error() string {
	if name, ok := b.name(); ok {
		return fmt.Sprintf("%s (0x%X)", name, uint32(b))
	}
	return fmt.Sprintf("bugcheck 0x%X", uint32(b))
}

// name looks the code up by binary search, without and with the mark of a third-party driver.
func (b BugCheck) name() (string, bool) {
	for _, v := range [...]BugCheck{b, b &^ 0x10000000} {
		lo, hi := 0, len(bugCheckRows)
		for lo < hi {
			mid := int(uint(lo+hi) >> 1)
			if bugCheckRows[mid].value < v {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo < len(bugCheckRows) && bugCheckRows[lo].value == v {
			return bugCheckRows[lo].name, true
		}
	}
	return "", false
}

// ParseBugCheck gives the code with a name of bugcodes.h, in any case, or a number.
func ParseBugCheck(text string) (BugCheck, error) {
	t := strings.TrimSpace(text)
	if n, err := strconv.ParseUint(t, 0, 32); err == nil {
		return BugCheck(n), nil
	}
	name := strings.ToUpper(t)
	for i := range bugCheckRows {
		if bugCheckRows[i].name == name {
			return bugCheckRows[i].value, nil
		}
	}
	for i := range bugCheckRowsAliases {
		if bugCheckRowsAliases[i].name == name {
			return bugCheckRowsAliases[i].value, nil
		}
	}
	return 0, fmt.Errorf("unknown bugcheck %q", text)
}
