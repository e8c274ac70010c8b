// Loads, stores and atomic operations on guest memory.

package guest

// Load8 reads the byte at a. Loads of naturally aligned values are atomic.
func Load8(a Addr) (uint8, error) {
	v, info := load8(uintptr(a))
	if info != 0 {
		return 0, newFault(a, AccessRead, info, v)
	}
	return uint8(v), nil
}

// Load16 reads 16 bits at a.
func Load16(a Addr) (uint16, error) {
	v, info := load16(uintptr(a))
	if info != 0 {
		return 0, newFault(a, AccessRead, info, v)
	}
	return uint16(v), nil
}

// Load32 reads 32 bits at a.
func Load32(a Addr) (uint32, error) {
	v, info := load32(uintptr(a))
	if info != 0 {
		return 0, newFault(a, AccessRead, info, v)
	}
	return uint32(v), nil
}

// Load64 reads 64 bits at a.
func Load64(a Addr) (uint64, error) {
	v, info := load64(uintptr(a))
	if info != 0 {
		return 0, newFault(a, AccessRead, info, v)
	}
	return v, nil
}

// LoadAddr reads a pointer at a.
func LoadAddr(a Addr) (Addr, error) {
	v, err := Load64(a)
	return Addr(v), err
}

// Store8 writes the byte at a. Stores of naturally aligned values are atomic; they order later
// loads no more than a plain MOV does (Swap32 and Swap64 do).
func Store8(a Addr, v uint8) error {
	if at, info := store8(uintptr(a), uint64(v)); info != 0 {
		return newFault(a, AccessWrite, info, at)
	}
	return nil
}

// Store16 writes 16 bits at a.
func Store16(a Addr, v uint16) error {
	if at, info := store16(uintptr(a), uint64(v)); info != 0 {
		return newFault(a, AccessWrite, info, at)
	}
	return nil
}

// Store32 writes 32 bits at a.
func Store32(a Addr, v uint32) error {
	if at, info := store32(uintptr(a), uint64(v)); info != 0 {
		return newFault(a, AccessWrite, info, at)
	}
	return nil
}

// Store64 writes 64 bits at a.
func Store64(a Addr, v uint64) error {
	if at, info := store64(uintptr(a), v); info != 0 {
		return newFault(a, AccessWrite, info, at)
	}
	return nil
}

// StoreAddr writes a pointer at a.
func StoreAddr(a, v Addr) error { return Store64(a, uint64(v)) }

// Swap32 atomically writes v at a and gives back the value before.
func Swap32(a Addr, v uint32) (uint32, error) {
	old, info := swap32(uintptr(a), uint64(v))
	if info != 0 {
		return 0, newFault(a, AccessWrite, info, old)
	}
	return uint32(old), nil
}

// Swap64 atomically writes v at a and gives back the value before.
func Swap64(a Addr, v uint64) (uint64, error) {
	old, info := swap64(uintptr(a), v)
	if info != 0 {
		return 0, newFault(a, AccessWrite, info, old)
	}
	return old, nil
}

// CompareAndSwap32 atomically writes v at a if the value there is old, and says whether it did.
func CompareAndSwap32(a Addr, old, v uint32) (bool, error) {
	was, info := cas32(uintptr(a), uint64(old), uint64(v))
	if info != 0 {
		return false, newFault(a, AccessWrite, info, was)
	}
	return uint32(was) == old, nil
}

// CompareAndSwap64 atomically writes v at a if the value there is old, and says whether it did.
func CompareAndSwap64(a Addr, old, v uint64) (bool, error) {
	was, info := cas64(uintptr(a), old, v)
	if info != 0 {
		return false, newFault(a, AccessWrite, info, was)
	}
	return was == old, nil
}

// Add32 atomically adds delta to the value at a and gives back the new value, as sync/atomic does.
func Add32(a Addr, delta uint32) (uint32, error) {
	old, info := add32(uintptr(a), uint64(delta))
	if info != 0 {
		return 0, newFault(a, AccessWrite, info, old)
	}
	return uint32(old) + delta, nil
}

// Add64 atomically adds delta to the value at a and gives back the new value.
func Add64(a Addr, delta uint64) (uint64, error) {
	old, info := add64(uintptr(a), delta)
	if info != 0 {
		return 0, newFault(a, AccessWrite, info, old)
	}
	return old + delta, nil
}

// Or32 atomically sets the bits of mask in the value at a and gives back the value before.
func Or32(a Addr, mask uint32) (uint32, error) {
	old, info := or32(uintptr(a), uint64(mask))
	if info != 0 {
		return 0, newFault(a, AccessWrite, info, old)
	}
	return uint32(old), nil
}

// And32 atomically clears the bits outside of mask in the value at a and gives back the value
// before.
func And32(a Addr, mask uint32) (uint32, error) {
	old, info := and32(uintptr(a), uint64(mask))
	if info != 0 {
		return 0, newFault(a, AccessWrite, info, old)
	}
	return uint32(old), nil
}
