// In-place access to a region's bytes.

package guest

import "unsafe"

// Bytes gives the region's memory in place. It is for regions that the host fills itself, such as
// an image that is being mapped: an access that the pages' protection does not allow, or one after
// Free, is a crash of Go.
func (r *Region) Bytes() []byte {
	return unsafe.Slice((*byte)(pointer(r.base)), r.size)
}
