// Package doctor looks at what a machine offers to driver hosts, and says what each lack costs.
//
// [Examine] gives a list of [Finding]. It changes nothing on the machine.
//
// The package may import engine, guest, driverhost/sandbox and driverhost/wire. It has no locks.
package doctor
