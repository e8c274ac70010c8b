// Package ob is the object manager as plain Go: objects with counted references, their types,
// handles and the namespace.
//
// An [Object] is a kernel object in guest memory behind a header with its reference count, where
// Windows has it, and what Go keeps for it. The [Manager] finds it by its address, which drivers
// pass around, and by its name.
//
// Objects' memory is read in place by those who made them: it stays mapped as long as the manager
// lives, also when a driver's bug deletes an object too early.
//
// Drivers see a [Type] as an OBJECT_TYPE once it was added to the manager. A [HandleTable] is the
// handles of one process; the kernel's own has handles with the high bits set. What is named by
// [Manager.Name] keeps its name until it is taken away; what [Manager.Insert] and its like have
// named loses it with its last handle, unless it is permanent.
//
// The namespace is a tree of directories, compared without regard to case. \?? and \DosDevices are
// both \GLOBAL??, where symbolic links give devices their Win32 names.
//
// The package may import nt and guest. Manager.mu guards the tree, the table of objects and their
// memory; it is held while memory is allocated, and not while a Type's functions run. References
// are counted and objects found without a lock. HandleTable.mu guards one table; nothing else is
// locked while it is held.
package ob
