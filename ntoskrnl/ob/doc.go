// Package ob is the object manager as plain Go: objects with counted references, and the namespace.
//
// An [Object] is a kernel object in guest memory behind a header with its reference count, where
// Windows has it, and what Go keeps for it. The [Manager] finds it by its address, which drivers
// pass around, and by its name.
//
// The namespace is a tree of directories, compared without regard to case. \?? and \DosDevices are
// both \GLOBAL??, where symbolic links give devices their Win32 names.
//
// The package may import nt and guest. Manager.mu guards the tree and the table of objects; it is not
// held while an object's Delete runs.
package ob
