package resident

import (
	"debug/elf"
	"fmt"
	"os"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The entries of the auxiliary vector that say where the program headers lie (getauxval(3)).
const (
	atPHDR  = 3
	atPHENT = 4
	atPHNUM = 5
)

// Trim gives back what the process does not need in memory while it rests: unused pages of Go's heap,
// and the pages of the program's file that cannot be written to. It takes some milliseconds, and the
// goroutines that run meanwhile fault in again what they use. Nothing changes but that.
func Trim() error {
	debug.FreeOSMemory()
	spans, err := readOnly()
	if err != nil {
		return err
	}
	for _, s := range spans {
		// Pages of a private mapping that nobody has written to: they come back as they were.
		if err := unix.Madvise(s, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("madvise: %w", err)
		}
	}
	return nil
}

// readOnly gives the program's own segments that it cannot write to, to whole pages.
func readOnly() ([][]byte, error) {
	vector, err := unix.Auxv()
	if err != nil {
		return nil, err
	}
	var headers, size, count uintptr
	for _, entry := range vector {
		switch entry[0] {
		case atPHDR:
			headers = entry[1]
		case atPHENT:
			size = entry[1]
		case atPHNUM:
			count = entry[1]
		}
	}
	if headers == 0 || size != unsafe.Sizeof(elf.Prog64{}) {
		return nil, fmt.Errorf("the auxiliary vector has no program headers of %d bytes",
			unsafe.Sizeof(elf.Prog64{}))
	}
	table := unsafe.Slice((*elf.Prog64)(pointer(headers)), count)
	var moved uint64 // how far from its addresses the program was loaded
	for _, p := range table {
		if elf.ProgType(p.Type) == elf.PT_PHDR {
			moved = uint64(headers) - p.Vaddr
		}
	}
	page := uint64(os.Getpagesize())
	var spans [][]byte
	for _, p := range table {
		if elf.ProgType(p.Type) != elf.PT_LOAD || elf.ProgFlag(p.Flags)&elf.PF_W != 0 {
			continue
		}
		start := (p.Vaddr + moved) &^ (page - 1)
		end := (p.Vaddr + moved + p.Memsz + page - 1) &^ (page - 1)
		spans = append(spans, unsafe.Slice((*byte)(pointer(uintptr(start))), end-start))
	}
	return spans, nil
}

// pointer makes a pointer to memory that is not Go's.
func pointer(a uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }
