// Package check tries drivers out: each is loaded in a throw-away host process, with a time limit,
// each of its devices is opened and closed, and it is unloaded. What comes of it is a [Verdict].
//
// The host process is the calling program itself, started again: its main function calls [Init]
// first. So nothing that a driver does, not even a crash of the host, hurts the program. The host
// itself is the driver's to break: a verdict on a driver that sets out to deceive can be forged.
//
// The package may import what driverhost may. It has no locks.
package check
