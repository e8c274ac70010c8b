// Package godriver is for drivers that are written in Go. Such a driver loads as it is and goes through
// all that another goes through: it has an image in the drivers' address space, a DRIVER_OBJECT, a
// DriverEntry and devices; its dispatch routines are called with IRPs by the I/O manager and by other
// drivers, native ones too; it stacks above and below them, and is unloaded. What it does wrong ends its
// kernel with a bugcheck, a Go panic included.
//
// A [Driver] says what it consists of; driverhost's Host.LoadGo loads it. A routine is given a
// [*Call], with which it makes devices, or a [*Request], with which it answers an IRP, pends it, or sends
// it on. [Recorder] is a driver for tests: a device that notes what it is sent, and answers.
//
// The package may import ntoskrnl and what that may import. Recorder.mu and Driver.mu are leaves: nothing
// is called under them.
package godriver
