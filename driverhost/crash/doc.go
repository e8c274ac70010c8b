// Package crash keeps what is left of a host that crashed: for people, for programs and for
// debuggers.
//
// A [Dir] is opened before drivers run, while the process may still open files, and [Dir.Keep] then
// writes a folder NAME-TIME-PID with
//
//	report.txt   what driverhost.CrashReport.WriteLong says
//	report.json  the same as driverhost.CrashReport has it; its fields' names stay
//	core         an ELF core of the guest: gdb -c core
//
// [WriteCore] makes the core: a note with the registers of the thread that crashed, and the guest's
// memory that is mapped, as far as it can be read and is not zero.
//
// The package may import driverhost and guest. It has no locks.
package crash
