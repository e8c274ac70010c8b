// Pool tags.

package mm

// Tag is a pool tag: four characters, the first in the lowest byte, so that memory shows them in
// order. A driver writes them backwards: 'ohcE' is "Echo".
type Tag uint32

// protectedPool marks a tag whose block may be freed only with that tag (PROTECTED_POOL).
const protectedPool Tag = 0x80000000

// noneTag is the tag of blocks that ExAllocatePool allocates.
const noneTag Tag = 'N' | 'o'<<8 | 'n'<<16 | 'e'<<24

// MakeTag gives the tag with the four characters of s in the order in which memory shows them;
// missing ones are spaces.
func MakeTag(s string) Tag {
	var t Tag
	for i := range 4 {
		c := byte(' ')
		if i < len(s) {
			c = s[i]
		}
		t |= Tag(c) << (8 * i)
	}
	return t
}

// String gives the characters in the order in which memory shows them; what cannot be printed is a
// dot.
func (t Tag) String() string {
	var b [4]byte
	for i := range b {
		c := byte((t &^ protectedPool) >> (8 * i))
		if c < 0x20 || c > 0x7E {
			c = '.'
		}
		b[i] = c
	}
	return string(b[:])
}
