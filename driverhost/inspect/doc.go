// Package inspect tells what can be said of a driver without running it: its headers, its
// sections, and for each import whether the built-in kernel has it and how much of it.
//
// [File] gives a [Report], [Exports] the table of what the built-in kernel exports. Both have a
// form for people and a JSON form whose names stay.
//
// The package may import pe and ntoskrnl. It has no locks.
package inspect
