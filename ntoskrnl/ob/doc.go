// Package ob is the object manager as plain Go: objects with counted references, and the namespace.
//
// An [Object] is a kernel object in guest memory behind a header with its reference count, where
// Windows has it, and what Go keeps for it. The [Manager] finds it by its address, which drivers
// pass around, and by its name.
//
// Objects' memory is read in place by those who made them: it stays mapped as long as the manager
// lives, also when a driver's bug deletes an object too early.
//
// The namespace is a tree of directories, compared without regard to case. \?? and \DosDevices are
// both \GLOBAL??, where symbolic links give devices their Win32 names.
//
// The package may import nt and guest. Manager.mu guards the tree, the table of objects and their
// memory; it is held while memory is allocated, and not while a Type's functions run.
package ob
