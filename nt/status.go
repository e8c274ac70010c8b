// Status is NTSTATUS: its names, its severity, and its use as a Go error.
package nt

import (
	"fmt"
	"strconv"
	"strings"
)

// Status is an NTSTATUS value. It is comparable and an error, so errors.Is(err, STATUS_CANCELLED)
// works, also through wrapping. Every Status is a non-nil error, STATUS_SUCCESS too: use Err to
// turn a status into an error that is nil on success.
//
// Source: [MS-ERREF] section 2.3, NTSTATUS.
type Status uint32

// Severity is the kind of a status: its two highest bits.
type Severity uint8

// The severities, with the values of ntstatus.h.
const (
	STATUS_SEVERITY_SUCCESS       Severity = 0
	STATUS_SEVERITY_INFORMATIONAL Severity = 1
	STATUS_SEVERITY_WARNING       Severity = 2
	STATUS_SEVERITY_ERROR         Severity = 3
)

// String gives "success", "informational", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case STATUS_SEVERITY_SUCCESS:
		return "success"
	case STATUS_SEVERITY_INFORMATIONAL:
		return "informational"
	case STATUS_SEVERITY_WARNING:
		return "warning"
	case STATUS_SEVERITY_ERROR:
		return "error"
	}
	return "severity " + strconv.Itoa(int(s))
}

// Severity gives the status's two highest bits.
func (s Status) Severity() Severity { return Severity(s >> 30) }

// Facility gives the component that defined the status: bits 16 to 27.
func (s Status) Facility() uint16 { return uint16(s>>16) & 0xFFF }

// Customer reports whether bit 29 is set: the status is not Microsoft's.
func (s Status) Customer() bool { return s&(1<<29) != 0 }

// Success is NT_SUCCESS: true for success and informational statuses, so also for STATUS_PENDING.
func (s Status) Success() bool { return int32(s) >= 0 }

// Information is NT_INFORMATION: true for informational statuses only.
func (s Status) Information() bool { return s.Severity() == STATUS_SEVERITY_INFORMATIONAL }

// Warning is NT_WARNING: true for warnings only.
func (s Status) Warning() bool { return s.Severity() == STATUS_SEVERITY_WARNING }

// IsError is NT_ERROR: true for errors only, so not for a warning such as STATUS_BUFFER_OVERFLOW.
func (s Status) IsError() bool { return s.Severity() == STATUS_SEVERITY_ERROR }

// Err gives nil if the status is a success (NT_SUCCESS), else the status itself.
func (s Status) Err() error {
	if s.Success() {
		return nil
	}
	return s
}

// String gives the name in ntstatus.h, such as STATUS_PENDING; for a value without one, 0x%08X.
func (s Status) String() string {
	if name, ok := s.name(); ok {
		return name
	}
	return fmt.Sprintf("0x%08X", uint32(s))
}

// Error gives name and value, and a few words if the status is a well-known one:
// "STATUS_NO_SUCH_DEVICE (0xC000000E): no such device".
func (s Status) Error() string {
	name, ok := s.name()
	if !ok {
		return fmt.Sprintf("status 0x%08X", uint32(s))
	}
	text := fmt.Sprintf("%s (0x%08X)", name, uint32(s))
	if d := s.Description(); d != "" {
		text += ": " + d
	}
	return text
}

// name looks the value up by binary search.
func (s Status) name() (string, bool) {
	lo, hi := 0, len(statusRows)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if statusRows[mid].value < s {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(statusRows) && statusRows[lo].value == s {
		return statusRows[lo].name, true
	}
	return "", false
}

// ParseStatus gives the status with a name ("STATUS_PENDING", also without "STATUS_", in any case)
// or a number ("0xC000000E", "3221225486", or negative, as a signed 32-bit integer).
func ParseStatus(text string) (Status, error) {
	t := strings.TrimSpace(text)
	if n, err := strconv.ParseInt(t, 0, 64); err == nil {
		if n < -1<<31 || n > 1<<32-1 {
			return 0, fmt.Errorf("status %q does not fit 32 bits", text)
		}
		return Status(uint32(n)), nil
	}
	name := strings.ToUpper(t)
	for _, prefix := range [...]string{"", "STATUS_"} {
		for i := range statusRows {
			if r := &statusRows[i]; r.name == prefix+name {
				return r.value, nil
			}
		}
		for i := range statusRowsAliases {
			if r := &statusRowsAliases[i]; r.name == prefix+name {
				return r.value, nil
			}
		}
	}
	return 0, fmt.Errorf("unknown status %q: give a name of ntstatus.h, such as "+
		"STATUS_NO_SUCH_DEVICE, or a number, such as 0xC000000E", text)
}
