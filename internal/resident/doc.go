// Package resident keeps small what a process at rest has in memory.
//
// A program that has just started has touched most pages of its file once: to set up packages, to
// parse flags, to build its tables. Little of that is needed again, and all of it counts as the
// process's own, or as its share of it. [Trim] gives it back; what is needed after all comes back
// from the page cache by a minor fault.
//
// The package may import nothing of the project's.
package resident
