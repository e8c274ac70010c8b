// Package doctor looks at what a machine offers to driver hosts, and says what each lack costs.
//
// [Examine] gives a list of [Finding]. It changes nothing on the machine.
//
// [Driver] looks at a driver's file in the same way.
//
// The package may import engine, guest, driverhost/inspect, /sandbox and /wire. It has no locks.
package doctor
