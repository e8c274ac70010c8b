// Package trace is the form in which sessions of I/O are kept: what clients asked of devices, and
// what came back, as lines of JSON that people can read and edit. docs/trace-format.md has the whole
// format; in short, the first line is the header, rules for what differs by nature follow, and then
// each line is one event, in the order in which they happened:
//
//	{"irpl":1,"host":"…","drivers":[{"file":"../echo.sys","sha256":"…"}]}
//	{"mask":"out","op":"ioctl","code":"0x222028","bytes":["0x48+16"],"why":"process and thread"}
//	{"t":0,"event":"open","file":1,"name":"Echo","access":"0x12019f",…}
//	{"t":41,"event":"opened","file":1,"status":"STATUS_SUCCESS","nt":"0x00000000","information":1}
//	# a comment
//	{"t":52,"event":"request","id":1,"file":1,"op":"ioctl","code":"0x222004","in":"hi","out_size":8}
//	{"t":60,"event":"result","id":1,"status":"STATUS_SUCCESS","nt":"0x00000000","information":2,"out":"hi"}
//
// [Parse] and [ReadFile] give a [Trace], and refuse what is malformed with a [*SyntaxError] that has
// line and column. A [Writer] writes one while it happens. [Trace.Rewrite] changes results and leaves
// everything else of the text, comments too, as it is. [Compare] says in what a result differs from
// the recorded one, but for what the rules mask.
//
// Data that is readable is text, other data hexadecimal, and large data lies in a file of its own,
// named by its SHA-256, in the directory that [DataDir] gives.
//
// The package may import nt only. Writer.mu is its only lock.
package trace
