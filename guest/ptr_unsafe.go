// Typed access to guest memory.

package guest

import "unsafe"

// Ptr is the guest address of a T. T is data as the driver sees it, such as the structs of package
// nt: it holds no Go pointer, slice, string, map, channel, function or interface.
type Ptr[T any] Addr

// Addr gives the address.
func (p Ptr[T]) Addr() Addr { return Addr(p) }

// IsNull says whether p is the null pointer.
func (p Ptr[T]) IsNull() bool { return p == 0 }

// At gives the address of the element i places behind p, as in an array of T.
func (p Ptr[T]) At(i int) Ptr[T] {
	var v T
	return p + Ptr[T](i)*Ptr[T](unsafe.Sizeof(v))
}

// Load copies the T at p. The error is a *FaultError; the copy is not atomic.
func (p Ptr[T]) Load() (T, error) {
	var v T
	if _, err := read(unsafe.Pointer(&v), Addr(p), unsafe.Sizeof(v)); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// Store copies v to p. The error is a *FaultError; the copy is not atomic.
func (p Ptr[T]) Store(v T) error {
	_, err := write(Addr(p), unsafe.Pointer(&v), unsafe.Sizeof(v))
	return err
}

// Ref gives the T in place. It is for memory that the host itself allocated and keeps mapped for as
// long as the result is used: an access through it that faults is a crash of Go. For an address
// in the first 64 KiB it gives nil.
func (p Ptr[T]) Ref() *T {
	if Addr(p) < LowGuard {
		return nil
	}
	return (*T)(pointer(Addr(p)))
}

// RefSlice gives n elements at p in place, under the conditions of Ref.
func (p Ptr[T]) RefSlice(n int) []T { return unsafe.Slice(p.Ref(), n) }

// ReadSlice copies len(dst) elements at src to dst. T is as for Ptr.
func ReadSlice[T any](dst []T, src Addr) error {
	var v T
	_, err := read(unsafe.Pointer(unsafe.SliceData(dst)), src, uintptr(len(dst))*unsafe.Sizeof(v))
	return err
}

// WriteSlice copies src to dst. T is as for Ptr.
func WriteSlice[T any](dst Addr, src []T) error {
	var v T
	_, err := write(dst, unsafe.Pointer(unsafe.SliceData(src)),
		uintptr(len(src))*unsafe.Sizeof(v))
	return err
}

// AddrOf gives the address of what p points to, which must be guest memory (a result of Ref).
func AddrOf[T any](p *T) Addr { return Addr(uintptr(unsafe.Pointer(p))) }

// pointer is the one place where an address becomes a Go pointer. The address must not be one that
// Go's allocator manages, and not one in the first page: the runtime takes a small pointer on a
// stack for a corrupted one.
func pointer(a Addr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }
