package driverhost

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// What a host has to tell of a loaded driver and of a crash: for people as text, for programs as
// JSON.

// Hex is a number that JSON has as a string, "0x1a".
type Hex uint64

// String gives "0x1a".
func (h Hex) String() string { return "0x" + strconv.FormatUint(uint64(h), 16) }

// MarshalText gives String.
func (h Hex) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (h *Hex) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 0, 64)
	*h = Hex(v)
	return err
}

// Imports says what a driver's imports came to.
type Imports struct {
	Bound   int      `json:"bound"`   // imports that something answers
	Missing []string `json:"missing"` // the others, "module!name"
}

// DriverReport is what a loaded driver is, where, and what it has made.
type DriverReport struct {
	File          string   `json:"file"`
	Service       string   `json:"service"`
	Module        string   `json:"module"`
	Base          Hex      `json:"base"`
	Size          Hex      `json:"size"` // bytes
	PreferredBase Hex      `json:"preferred_base"`
	Relocated     bool     `json:"relocated"`
	Imports       Imports  `json:"imports"`
	DriverEntry   string   `json:"driver_entry"` // the status by name
	Devices       []string `json:"devices"`
	Links         []string `json:"links"`
	CanUnload     bool     `json:"can_unload"` // it has a DriverUnload routine
}

// Describe reports on a loaded driver.
func (h *Host) Describe(d *Driver) DriverReport {
	m := d.Module
	r := DriverReport{File: d.Path, Service: d.Service, Module: m.Name(), Base: Hex(m.Base()),
		Size: Hex(m.Size()), PreferredBase: Hex(m.Image().PreferredBase), Relocated: m.Relocated(),
		Imports:     Imports{Bound: d.Bound, Missing: append([]string{}, d.Missing...)},
		DriverEntry: d.Entry.String(), CanUnload: d.Object.Ref().DriverUnload != 0}
	r.Devices, r.Links = h.Names(d)
	return r
}

// Names gives a driver's devices, oldest first, and the Win32 names that lead to them, as
// `\\.\Echo`.
func (h *Host) Names(d *Driver) (devices, links []string) {
	devices, links = []string{}, []string{}
	for _, dev := range slices.Backward(h.Kernel.Dev.Devices(d.Driver)) {
		devices = append(devices, dev.Describe())
	}
	h.eachLink(func(name string, dev *devobj.Device) {
		if dev.Driver == d.Driver {
			links = append(links, win32Prefix+name)
		}
	})
	return devices, links
}

// LinkedDevices gives the devices, by name, that have a Win32 name.
func (h *Host) LinkedDevices() map[string]bool {
	linked := make(map[string]bool)
	h.eachLink(func(_ string, dev *devobj.Device) { linked[dev.Describe()] = true })
	return linked
}

// eachLink calls f with each Win32 name that leads to a device.
func (h *Host) eachLink(f func(name string, dev *devobj.Device)) {
	for _, l := range h.Kernel.Ob.Links(dosDevices) {
		if o, _, status := h.Kernel.Ob.Lookup(l.Path); status == nt.STATUS_SUCCESS {
			if dev, ok := o.Body.(*devobj.Device); ok {
				f(strings.TrimPrefix(l.Path, dosDevices+`\`), dev)
			}
		}
	}
}

const win32Prefix = `\\.\`

// WriteTo writes the report for people.
func (r DriverReport) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: service %s\n", r.File, r.Service)
	where := "where it wants to be"
	if r.Relocated {
		where = fmt.Sprintf("relocated; it wants to be at %v", r.PreferredBase)
	}
	fmt.Fprintf(&b, "  mapped   %v to %v, %s (%s)\n", r.Base, r.Base+r.Size, kilobytes(uint64(r.Size)),
		where)
	fmt.Fprintf(&b, "  imports  %d bound, %d missing\n", r.Imports.Bound, len(r.Imports.Missing))
	for _, m := range r.Imports.Missing {
		fmt.Fprintf(&b, "  missing  %s (reported if it is called)\n", m)
	}
	fmt.Fprintf(&b, "  entry    DriverEntry returned %s\n", r.DriverEntry)
	for _, d := range r.Devices {
		fmt.Fprintf(&b, "  device   %s\n", d)
	}
	for _, l := range r.Links {
		fmt.Fprintf(&b, "  link     %s\n", l)
	}
	if !r.CanUnload {
		b.WriteString("  unload   none: without DriverUnload it ends with the process\n")
	}
	return writeTo(w, b.String())
}

func writeTo(w io.Writer, text string) (int64, error) {
	n, err := io.WriteString(w, Printable(text))
	return int64(n), err
}

// Printable replaces what can do harm to a terminal, control characters but tabs and line ends, by
// \xNN. Names and texts of drivers go through it.
func Printable(s string) string {
	bad := func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError
	}
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\r':
		case r == utf8.RuneError || r < 0x80 && bad(r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case bad(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func kilobytes(n uint64) string { return fmt.Sprintf("%d KiB", (n+1023)/1024) }

// PoolUse is pool that is allocated with one tag.
type PoolUse struct {
	Tag    string `json:"tag"`
	Pool   string `json:"pool"`
	Blocks int    `json:"blocks"`
	Bytes  uint64 `json:"bytes"`
}

// String gives "pool: tag Echo, 128 bytes in 2 blocks, non-paged".
func (u PoolUse) String() string {
	return fmt.Sprintf("pool: tag %s, %d bytes in %d blocks, %s", u.Tag, u.Bytes, u.Blocks, u.Pool)
}

// PoolUses gives what [ntoskrnl.Kernel.DriverPool] found in the form of reports.
func PoolUses(list []mm.TagUse) []PoolUse {
	uses := make([]PoolUse, 0, len(list))
	for _, u := range list {
		uses = append(uses, PoolUse{u.Tag.String(), u.Pool.String(), u.Blocks, uint64(u.Bytes)})
	}
	return uses
}

// CrashReport is a bugcheck with where it was.
type CrashReport struct {
	Code   string `json:"code"` // "0x0000007e"
	Name   string `json:"name"`
	Params [4]Hex `json:"params"`
	Reason string `json:"reason"`
	// Meaning says in a sentence what the code stands for, Parameters what the four parameters are;
	// "" where nobody knows.
	Meaning    string    `json:"meaning"`
	Parameters [4]string `json:"parameters"`
	// Module and Offset are where the processor was, or, when that is in no module, where the
	// innermost return address on the stack is; Module is "" without either.
	Module    string `json:"module"`
	Offset    Hex    `json:"offset"`
	RIP       Hex    `json:"rip"`
	IRQL      string `json:"irql"`
	Processor int    `json:"processor"` // -1 if the thread held none
	ThreadID  uint64 `json:"thread_id"`
	// Registers has rax to r15 and rflags.
	Registers map[string]Hex `json:"registers"`
	// Stack are the words near the top of the stack that point into the code of drivers, innermost
	// first: return addresses, and what looks like one.
	Stack []string `json:"stack"`
	// Trace are the frames of the stack, innermost first, as the images' .pdata has them.
	Trace []CrashFrame `json:"trace"`
	// Calls are the last import calls on the processor that crashed, the newest first.
	Calls []CrashCall `json:"calls"`
	// Modules are what was loaded.
	Modules []CrashModule `json:"modules"`
	// Request is the one whose dispatch routine the thread was in; null if it was in none.
	Request *CrashRequest `json:"request"`
	// HostStack is the Go stack when drvhost itself failed.
	HostStack string `json:"host_stack,omitempty"`
}

// CrashFrame is a frame of the stack.
type CrashFrame struct {
	RIP      Hex    `json:"rip"`
	RSP      Hex    `json:"rsp"`
	Module   string `json:"module"` // "" outside all modules
	Offset   Hex    `json:"offset"`
	Symbol   string `json:"symbol"`   // the nearest export before it, or ""
	Distance Hex    `json:"distance"` // from the symbol
	Function Hex    `json:"function"` // where the function begins, or 0x0
}

// String gives "echo.sys+0x1234 (Export+0x10)".
func (f CrashFrame) String() string {
	if f.Module == "" {
		return f.RIP.String()
	}
	s := fmt.Sprintf("%s+%v", f.Module, f.Offset)
	if f.Symbol != "" {
		s += fmt.Sprintf(" (%s+%v)", f.Symbol, f.Distance)
	}
	return s
}

// CrashCall is an import call.
type CrashCall struct {
	Thread uint64     `json:"thread_id"`
	Caller string     `json:"caller"` // module+offset
	Name   string     `json:"name"`
	Args   []CrashArg `json:"args"` // at most the four in registers
}

// CrashArg is an argument by its name.
type CrashArg struct {
	Name  string `json:"name"`
	Value Hex    `json:"value"`
}

// String gives "echo.sys+0x1234 KeSetEvent(Event=0x…, Increment=0x0)".
func (c CrashCall) String() string {
	args := make([]string, len(c.Args))
	for i, a := range c.Args {
		args[i] = a.Name + "=" + a.Value.String()
	}
	return fmt.Sprintf("%s %s(%s)", c.Caller, c.Name, strings.Join(args, ", "))
}

// CrashModule is a module that was loaded.
type CrashModule struct {
	Name string `json:"name"`
	Base Hex    `json:"base"`
	Size Hex    `json:"size"` // bytes
}

// CrashRequest is a request in its dispatch routine.
type CrashRequest struct {
	IRP    Hex    `json:"irp"`
	Major  string `json:"major"`
	Code   Hex    `json:"code"` // of an IOCTL
	Device string `json:"device"`
	File   string `json:"file"` // as the client opened it
	Client int    `json:"client"`
	In     int    `json:"in"`  // bytes
	Out    int    `json:"out"` // bytes
}

// registerNames are the registers in the processor's encoding order.
var registerNames = [16]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

const registerRSP = 4

// CrashReport gives the report on the bugcheck that ended the host; ok is false if none did.
func (h *Host) CrashReport() (r CrashReport, ok bool) {
	if p := h.crashReport.Load(); p != nil {
		return *p, true
	}
	return r, false
}

// DescribeCrash reports on a bugcheck of this host, while what it says of the stack is still there.
func (h *Host) DescribeCrash(b *ke.Bugcheck) CrashReport {
	r := CrashReport{Code: fmt.Sprintf("0x%08x", uint32(b.Code)), Name: b.Code.String(),
		Reason: b.Reason, RIP: Hex(b.RIP), IRQL: b.IRQL.String(), Processor: b.Processor,
		ThreadID: uint64(b.ThreadID), Registers: make(map[string]Hex, len(registerNames)+1),
		Stack: []string{}, HostStack: b.HostStack}
	if b.Code == ke.HostFault {
		r.Name = "DRVHOST_FAULT"
	}
	for i, p := range b.Params {
		r.Params[i] = Hex(p)
	}
	for i, name := range registerNames {
		r.Registers[name] = Hex(b.Registers[i])
	}
	r.Registers["rflags"] = Hex(b.RFLAGS)
	r.Meaning, r.Parameters = ntoskrnl.BugCheckMeaning(b.Code)
	h.describeWhere(&r, b)
	var inner guest.Addr
	r.Stack, inner = h.codeOnStack(guest.Addr(b.Registers[registerRSP]))
	at := b.RIP
	if _, ok := h.Kernel.Linker.At(at); !ok {
		at = inner
	}
	if m, ok := h.Kernel.Linker.At(at); ok {
		r.Module, r.Offset = m.Name(), Hex(at-m.Base())
	}
	return r
}

// describeWhere fills in what the kernel remembers: frames, calls, modules, and the request.
func (h *Host) describeWhere(r *CrashReport, b *ke.Bugcheck) {
	k := h.Kernel
	r.Trace, r.Calls, r.Modules = []CrashFrame{}, []CrashCall{}, []CrashModule{}
	for _, f := range k.StackTrace(b) {
		r.Trace = append(r.Trace, CrashFrame{Hex(f.RIP), Hex(f.RSP), f.Module, Hex(f.Offset), f.Symbol,
			Hex(f.Distance), Hex(f.Start)})
	}
	for _, c := range k.RecentCalls(b.Processor) {
		call := CrashCall{Thread: uint64(c.Thread), Caller: k.Where(c.Caller), Name: c.Name,
			Args: []CrashArg{}}
		for i, name := range c.Params {
			call.Args = append(call.Args, CrashArg{name, Hex(c.Args[i])})
		}
		r.Calls = append(r.Calls, call)
	}
	for _, m := range k.LoadedModules() {
		r.Modules = append(r.Modules, CrashModule{m.Name, Hex(m.Base), Hex(m.Size)})
	}
	h.mu.Lock()
	sessions := slices.Collect(maps.Keys(h.sessions))
	h.mu.Unlock()
	for _, s := range sessions {
		o := s.open.Load()
		if o == nil || s.t.Object != b.Thread {
			continue
		}
		if q, irp, ok := o.Dispatching(s.t); ok {
			r.Request = &CrashRequest{IRP: Hex(irp), Major: q.Major.String(), Code: Hex(q.Code),
				Device: o.File.Device.Describe(), File: s.name, Client: s.client.pid, In: len(q.In),
				Out: q.OutLen}
		}
	}
}

// codeOnStack looks through the stack from sp on for addresses in the code of drivers. inner is the
// first of them, or 0.
func (h *Host) codeOnStack(sp guest.Addr) (found []string, inner guest.Addr) {
	const words, most = 512, 16
	found = []string{}
	for i := guest.Addr(0); i < words && len(found) < most; i++ {
		a, err := guest.LoadAddr(sp + 8*i)
		if err != nil && i > 0 {
			break
		}
		if err != nil {
			// After a stack overflow the stack begins above the page that stopped it.
			sp = sp&^(guest.PageSize-1) + guest.PageSize - 8
			continue
		}
		m, ok := h.Kernel.Linker.At(a)
		if !ok || m.Image().EntryRVA == 0 {
			continue
		}
		if s, ok := m.Image().SectionAt(uint32(a - m.Base())); !ok || !s.Executable() {
			continue
		}
		if inner == 0 {
			inner = a
		}
		found = append(found, fmt.Sprintf("%s+%#x", m.Name(), uint64(a-m.Base())))
	}
	return found, inner
}

// WriteTo writes the report for people.
func (r CrashReport) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*** STOP %s %s (%v, %v, %v, %v)\n", r.Code, r.Name, r.Params[0], r.Params[1],
		r.Params[2], r.Params[3])
	if r.Reason != "" {
		fmt.Fprintf(&b, "  %s\n", r.Reason)
	}
	if r.Module != "" {
		fmt.Fprintf(&b, "  at %s+%v, rip %v, %s", r.Module, r.Offset, r.RIP, r.IRQL)
	} else {
		fmt.Fprintf(&b, "  at rip %v, %s", r.RIP, r.IRQL)
	}
	if r.Processor >= 0 {
		fmt.Fprintf(&b, ", processor %d", r.Processor)
	}
	fmt.Fprintf(&b, ", thread %#x\n", r.ThreadID)
	for i, name := range registerNames {
		fmt.Fprintf(&b, "  %-3s %016x", name, uint64(r.Registers[name]))
		if i%4 == 3 {
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "  rflags %08x\n", uint64(r.Registers["rflags"]))
	if r.Request != nil {
		q := r.Request
		fmt.Fprintf(&b, "  in %s", q.Major)
		if q.Code != 0 {
			fmt.Fprintf(&b, " %v", q.Code)
		}
		fmt.Fprintf(&b, " of process %d to %s, IRP %v\n", q.Client, q.Device, q.IRP)
	}
	for i, f := range r.Trace {
		fmt.Fprintf(&b, "  #%-2d %v\n", i, f)
	}
	if len(r.Trace) < 2 && len(r.Stack) > 0 {
		fmt.Fprintf(&b, "  on the stack: %s\n", strings.Join(r.Stack, ", "))
	}
	if r.HostStack != "" {
		b.WriteString("  drvhost itself failed; please report this:\n" + r.HostStack)
	}
	return writeTo(w, b.String())
}

// Driver names the driver that crashed, as well as the report knows: the module that the processor was
// in, or that the innermost known frame is in; else "drvhost".
func (r CrashReport) Driver() string {
	if r.Module != "" {
		return strings.TrimSuffix(r.Module, ".sys")
	}
	for _, f := range r.Trace {
		if strings.HasSuffix(f.Module, ".sys") {
			return strings.TrimSuffix(f.Module, ".sys")
		}
	}
	return "drvhost"
}

// WriteLong writes all of the report for people: what WriteTo writes, the parameters' meanings, the
// last calls and the modules.
func (r CrashReport) WriteLong(w io.Writer) error {
	if _, err := r.WriteTo(w); err != nil {
		return err
	}
	var b strings.Builder
	if r.Meaning != "" {
		fmt.Fprintf(&b, "\n%s\n", r.Meaning)
	}
	for i, p := range r.Parameters {
		if p != "" {
			fmt.Fprintf(&b, "  parameter %d  %v  %s\n", i+1, r.Params[i], p)
		}
	}
	fmt.Fprintf(&b, "\nThe last calls on processor %d, the newest first:\n", r.Processor)
	for _, c := range r.Calls {
		fmt.Fprintf(&b, "  thread %#x  %v\n", c.Thread, c)
	}
	b.WriteString("\nModules:\n")
	for _, m := range r.Modules {
		fmt.Fprintf(&b, "  %016x %8x  %s\n", uint64(m.Base), uint64(m.Size), m.Name)
	}
	_, err := writeTo(w, b.String())
	return err
}

// MaxProcessors is the most virtual processors that a host can have.
const MaxProcessors = ke.MaxProcessors
