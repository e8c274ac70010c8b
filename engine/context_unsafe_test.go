package engine

import (
	"testing"
	"unsafe"

	"github.com/drvhost/drvhost/nt"
)

const contextSize = unsafe.Sizeof(Context{})

// newContext makes a context with a stack, as an engine would.
func newContext(t *testing.T) *Context {
	const image, stack = 1 << 10, 4 << 10
	mem := make([]uint64, (XSaveOffset+image)/8)
	c := (*Context)(unsafe.Pointer(&mem[0]))
	room := make([]uint64, stack/8+2)
	base := (uintptr(unsafe.Pointer(&room[0])) + 15) &^ 15
	c.Setup(nt.Addr(base), nt.Addr(base+stack), [3]uint64{}, 3, image)
	t.Cleanup(func() { clear(room) })
	return c
}
