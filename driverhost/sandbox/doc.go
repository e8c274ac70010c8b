// Package sandbox takes from a driver host's process what it does not need, before any instruction
// of a driver runs.
//
// [Enter] does it once, for every thread and for good, in five parts that each stand where another
// has a hole: no new privileges; capabilities; Landlock (files, the network, signals); a seccomp
// filter (system calls); and resource limits. What it keeps is in a [Policy]: the directories that
// the host writes to, and limits. [Begin] and [Entry.Complete] are its two halves, for a host that is
// made between them.
//
// It is for a process whose only business is a driver host. The driver's machine code runs in that
// process and can, if it is hostile, do all that the process can do: the sandbox is what holds then,
// not the engine's checks. What a host still can do is in the table of system calls, allowed.
//
// A part that the machine lacks is a [*Lack], which names it and says what it costs. [Examine] says
// beforehand what there is, without entering.
//
// The package may import x/sys only. It has no locks; Enter is called once, by one goroutine.
package sandbox
