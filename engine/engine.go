package engine

import "github.com/drvhost/drvhost/nt"

// Exit says why guest code came back to Go.
type Exit uint32

// The reasons for which Run returns. Their numbers are shared with the assembly.
const (
	// ExitReturn: the outermost guest function returned; RAX holds its result.
	ExitReturn Exit = 1 + iota
	// ExitCall: the guest called an import; RAX's low half holds the import's index, RSP points at
	// the return address. The next Run returns to the guest with what is then in RAX.
	ExitCall
	// ExitFault: an instruction faulted; Context.Fault says how. Every register is saved, and the
	// next Run resumes at RIP with all of them.
	ExitFault
	// ExitKick: Kick was called. Every register is saved, as for ExitFault.
	ExitKick
)

var exitNames = [...]string{"none", "return", "call", "fault", "kick"}

// String names the reason.
func (e Exit) String() string {
	if int(e) < len(exitNames) {
		return exitNames[e]
	}
	return "exit?"
}

// CPU runs guest code. One CPU serves every guest thread of the process; its methods may be called
// from any goroutine, but a Context is run by one goroutine at a time.
type CPU interface {
	// Name says which engine this is, for messages.
	Name() string
	// NewContext makes the register file of a guest thread whose stack is [limit, base).
	// FreeContext gives it back; it must not be running.
	NewContext(limit, base nt.Addr) (*Context, error)
	FreeContext(c *Context)
	// Run runs c until it must come back to Go.
	Run(c *Context) Exit
	// Kick makes the Run of c that is under way, or else the next one, return ExitKick as soon as
	// it can. It may be called from any goroutine.
	Kick(c *Context)
	// Gates gives the guest addresses to which import thunks and return trampolines jump.
	Gates() Gates
}

// Gates are the entry points through which guest code leaves for Go. Both are reached by a jump,
// never by a call, and use R10, R11 and XMM5 only.
type Gates struct {
	// Call is where an import's thunk jumps to, with the import's index in EAX.
	Call nt.Addr
	// Return is where the code that PushCall was given as its trampoline jumps to.
	Return nt.Addr
}
