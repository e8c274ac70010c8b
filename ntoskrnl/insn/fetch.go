// Fetching instructions, and the cache of decoded ones.

package insn

import (
	"sync/atomic"

	"golang.org/x/arch/x86/x86asm"

	"github.com/drvhost/drvhost/guest"
)

// maxLength is the length of the longest instruction in bytes (Intel SDM volume 2, 2.3.11).
const maxLength = 15

// cache holds decoded instructions by where they were found. An entry never changes, and is used
// only if the bytes at RIP are its bytes: what it says is true of these bytes anywhere, so it is no
// matter which thread or kernel has put it there, or that the code there is another by now.
var cache [cacheSize]atomic.Pointer[inst]

const cacheSize = 512

func slotOf(rip uint64) *atomic.Pointer[inst] {
	return &cache[(rip^rip>>9^rip>>18)%cacheSize]
}

// fetch gives the instruction at rip, or nil if there is none.
func fetch(rip uint64) *inst {
	slot := slotOf(rip)
	if in := slot.Load(); in != nil {
		var code [maxLength]byte
		if guest.Read(code[:in.length], guest.Addr(rip)) == nil && code == in.code {
			return in
		}
	}
	in := fetchNew(rip)
	if in != nil {
		slot.Store(in)
	}
	return in
}

// fetchNew reads and decodes. What lies on the next page is read only if it is needed: that page
// need not be there.
func fetchNew(rip uint64) *inst {
	var code [maxLength]byte
	n := min(maxLength, guest.PageSize-int(rip%guest.PageSize))
	if guest.Read(code[:n], guest.Addr(rip)) != nil {
		return nil
	}
	in, _ := decode(code[:n])
	if in == nil && n < maxLength {
		if guest.Read(code[n:], guest.Addr(rip)+guest.Addr(n)) != nil {
			return nil
		}
		in, _ = decode(code[:])
	}
	return in
}

// decode decodes the instruction that code begins with, or gives nil. What x86asm says of it has no
// Op if it is one that x86asm does not know.
func decode(code []byte) (*inst, x86asm.Inst) {
	if s, in := decodeSpecial(code); s != nil {
		return in, x86asm.Inst{Len: int(in.length)}
	}
	x, err := x86asm.Decode(code, 64)
	if err != nil || x.Op == 0 || x.Len > maxLength {
		return nil, x
	}
	in := &inst{length: uint8(x.Len)}
	copy(in.code[:], code[:x.Len])
	in.classify(&x)
	return in, x
}
