package sandbox

// Capabilities: what is left of root's power.

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keptCapabilities are about files' owners and modes, which a host that root has started needs for
// the directories that it may use: Landlock says which they are.
const keptCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE |
	1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

// dropCapabilities takes every other capability from every thread. A process that has none, as most
// have, is left alone.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("sandbox: capabilities: %w", err)
	}
	want := have
	for i, kept := range [2]uint32{keptCapabilities, 0} {
		want[i].Effective &= kept
		want[i].Permitted &= kept
		want[i].Inheritable = 0
	}
	if want == have {
		return nil
	}
	if err := setCapabilities(&header, &want); err != nil {
		return fmt.Errorf("sandbox: capabilities: %w", err)
	}
	return nil
}
