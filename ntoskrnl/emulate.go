package ntoskrnl

import (
	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// emulate does an instruction that a kernel may execute and a process may not.
func (k *Kernel) emulate(t *ke.Thread, f *engine.Fault) bool { return false }
