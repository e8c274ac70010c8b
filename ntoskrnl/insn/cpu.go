// What the processor itself tells.

package insn

// CPUID executes cpuid on the machine's processor: EAX, EBX, ECX, EDX of a leaf and subleaf.
func CPUID(leaf, sub uint32) (v [4]uint32) {
	v[0], v[1], v[2], v[3] = cpuid(leaf, sub)
	return v
}

func cpuid(leaf, sub uint32) (a, b, c, d uint32)

func rdtsc() uint64

func xgetbv(n uint32) uint64

// hasXCR says that the processor has xgetbv, and that Linux has turned it on.
var hasXCR = CPUID(1, 0)[2]&(1<<27) != 0
