// Package replay does a recorded session of I/O again, and says in what its results differ from the
// recorded ones.
//
// [Run] replays a [trace.Trace] on a host of this process: requests are issued in the recorded order
// and with the recorded overlap, by clients with the recorded identities, and what comes back is
// compared but for what the trace's rules mask. What comes of it is a [Report], which can be read,
// written as JSON or JUnit's XML, and accepted ([Report.Accept]).
//
// [File] does so in a throw-away process, in which nothing that a driver does can hurt the program:
// the program itself, started again, whose main function calls [Init] first.
//
// The package may import what driverhost may. player.mu guards the report while a replay runs; no
// driver runs under it.
package replay
