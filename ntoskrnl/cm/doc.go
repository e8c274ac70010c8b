// Package cm is the configuration manager as plain Go: the registry.
//
// A [Registry] is a tree of keys with values, in memory. [Registry.Open] and [Registry.Create] give
// a [Key], which stands for the key until that is deleted. Names are compared without regard to
// case and kept as they were first spelt; data is bytes, and nobody here looks into it.
//
// Whatever changes the tree is a [Change]. [Registry.OnChange] is told of each, before anybody can
// see it, and may refuse it: so a store can make it durable and others can follow it. [Registry.Apply]
// does the changes of another registry.
//
// A [Tree] is a key with everything below it as plain data: keys are copied, compared and restored by
// theirs, and package hive reads and writes them as Windows' binary files.
//
// [Parse] and [Key.Export] are for .reg files, [Initial] is what a system has before anybody
// has written anything.
//
// The package may import nt and rtl. Registry.mu guards the tree; OnChange runs under it and must
// not call back, the functions of watches run without it.
package cm
