package native

import (
	"unsafe"

	"github.com/drvhost/drvhost/nt"
)

func addrOf(mem []byte) nt.Addr { return nt.Addr(uintptr(unsafe.Pointer(&mem[0]))) }
