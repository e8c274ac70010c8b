package ke

import (
	"errors"
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Sizes of kernel objects, in bytes.
const (
	sizeofEThread  = unsafe.Sizeof(nt.EThread{})
	sizeofKThread  = unsafe.Sizeof(nt.KThread{})
	sizeofEProcess = unsafe.Sizeof(nt.EProcess{})
	sizeofKProcess = unsafe.Sizeof(nt.KProcess{})

	kdpcDataOffset = guest.Addr(unsafe.Offsetof(nt.KDPC{}.DpcData))
)

// initList makes a list head in guest memory empty: it points at itself.
func initList(head *nt.ListEntry) {
	a := guest.AddrOf(head)
	head.Flink, head.Blink = a, a
}

func errorsJoin(errs ...error) error { return errors.Join(errs...) }
