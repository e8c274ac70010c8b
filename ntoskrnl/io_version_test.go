package ntoskrnl

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func TestMachine(t *testing.T) {
	runCases(t, []exportCase{
		{"the last version", "IoIsWdmVersionAvailable", []any{6, 0}, true, nil},
		{"an old version", "IoIsWdmVersionAvailable", []any{1, 0x30}, true, nil},
		{"a later version", "IoIsWdmVersionAvailable", []any{6, 1}, false, nil},
		{"no client is", "IoIs32bitProcess", []any{0}, false, nil},
		{"no UEFI", "ExGetFirmwareEnvironmentVariable",
			[]any{uni{"SecureBoot", 0}, room(16), room(8), room(4), 0}, nt.STATUS_NOT_IMPLEMENTED, nil},
		{"no UEFI", "ExSetFirmwareEnvironmentVariable",
			[]any{uni{"SecureBoot", 0}, room(16), room(8), 8, 7}, nt.STATUS_NOT_IMPLEMENTED, nil},
	})
}
