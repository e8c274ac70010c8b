package native

import (
	"testing"
	"unsafe"

	"github.com/drvhost/drvhost/nt"
)

func addrOf(mem []byte) nt.Addr { return nt.Addr(uintptr(unsafe.Pointer(&mem[0]))) }

func addr(v uint64) nt.Addr { return nt.Addr(v) }

func storeWord(at, v uint64) { *(*uint64)(pointer(uintptr(at))) = v }

// undefinedInGoText gives the address of an instruction in Go's text that faults: the UD2 behind
// signalReturn's system call.
func undefinedInGoText(t testing.TB) uintptr {
	code := unsafe.Slice((*byte)(pointer(addrSignalReturn)), 32)
	for i := range code[1:] {
		if code[i] == 0x0F && code[i+1] == 0x0B {
			return addrSignalReturn + uintptr(i)
		}
	}
	t.Fatal("signalReturn does not end in UD2")
	return 0
}

func addrOfWord(p *uint64) nt.Addr { return nt.Addr(uintptr(unsafe.Pointer(p))) }
