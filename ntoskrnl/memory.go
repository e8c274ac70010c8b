package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Memory for the kernel's own objects, from the nonpaged pool like everything that drivers see.

var objectTag = mm.MakeTag("Obj ")

// allocObject gives zeroed nonpaged memory, aligned to 16 bytes.
func (k *Kernel) allocObject(size uintptr) (guest.Addr, error) {
	return k.Mm.AllocatePool2(nt.POOL_FLAG_NON_PAGED, size, objectTag)
}

// freeObject gives it back. A driver may have freed or overrun it; then the block is left alone, and
// said so.
func (k *Kernel) freeObject(a guest.Addr) {
	if a == 0 {
		return
	}
	if err := k.Mm.FreePoolWithTag(a, objectTag); err != nil {
		k.log.Error("a kernel object's memory is damaged", "address", a.String(), "error", err.Error())
	}
}
