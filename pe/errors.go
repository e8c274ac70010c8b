// The errors of reading and mapping images: each names the file and the fact.

package pe

import "fmt"

// InvalidError says that a file is no image that Windows would load, or that its tables contradict
// each other.
type InvalidError struct {
	// File is the name under which the image was parsed.
	File string
	// Fact says what is wrong and at which offset or relative virtual address.
	Fact string
}

// Error gives the file and the fact.
func (e *InvalidError) Error() string { return e.File + ": " + e.Fact }

// UnsupportedError says that a file is an image, but not one that this host can run.
type UnsupportedError struct {
	// File is the name under which the image was parsed.
	File string
	// Fact names what the image is: "an ARM64 image".
	Fact string
	// Needs says what would run it: "an ARM64 host".
	Needs string
}

// Error gives the file, what it is, and what would run it.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: %s; it needs %s", e.File, e.Fact, e.Needs)
}
