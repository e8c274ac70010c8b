package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/internal/throwaway"
	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

// The throw-away host: a process that tries out one driver and tells how far it got.

// childArg is the first argument of such a process.
const childArg = "drvhost-check-host"

// fileFD is the descriptor of the driver's file, which it inherits.
const fileFD = throwaway.MessageFD + 1

// Init runs a throw-away host if this process is to be one, and then does not return. A program
// that calls [Run] or [File] calls Init first, before it looks at its arguments.
func Init() {
	if len(os.Args) == 6 && os.Args[1] == childArg {
		processors, _ := strconv.Atoi(os.Args[3])
		c := trial{sandbox: sandbox.Mode(os.Args[5]),
			out:     os.NewFile(throwaway.MessageFD, "messages"),
			message: message{Verdict: newVerdict(os.Args[2])}}
		c.run(os.NewFile(fileFD, os.Args[2]), driverhost.Options{Processors: processors,
			FailMissing: os.Args[4] == "true"})
		os.Exit(0)
	}
}

// trial is the check of one driver, in the process that may die of it.
type trial struct {
	message
	out     io.Writer
	host    *driverhost.Host
	sandbox sandbox.Mode
}

// send tells how far it has got.
func (c *trial) send() {
	line, err := json.Marshal(&c.message)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	_, _ = c.out.Write(append(line, '\n'))
}

// enter tells that a stage begins, and so where it ends if this process does.
func (c *trial) enter(stage string) {
	c.Stage = stage
	c.send()
}

// end tells the verdict.
func (c *trial) end(v Kind, reason string) {
	c.Verdict.Verdict, c.Reason, c.Final = v, reason, true
	if c.host != nil {
		c.noteCalls()
	}
	if len(c.CalledUnimplemented) > 0 {
		// What went wrong after such a call is the fault of what was missing.
		c.Verdict.Verdict = Unimplemented
	}
	c.send()
}

// noteCalls notes the calls of what is not implemented.
func (c *trial) noteCalls() {
	for _, name := range c.host.Kernel.CalledUnimplemented() {
		if !strings.Contains(name, "!") {
			name = "ntoskrnl.exe!" + name
		}
		c.CalledUnimplemented = append(c.CalledUnimplemented, name)
	}
}

// crashed ends the trial if the driver has crashed.
func (c *trial) crashed() bool {
	if c.host.Crashed() == nil {
		return false
	}
	<-c.host.Done()
	if r, ok := c.host.CrashReport(); ok {
		c.Bugcheck = &r
	}
	reason := ""
	if c.Bugcheck != nil {
		reason = c.Bugcheck.Name + ": " + c.Bugcheck.Reason
		at := fmt.Sprintf("%s+%v", c.Bugcheck.Module, c.Bugcheck.Offset)
		if c.Bugcheck.Module != "" && !strings.Contains(reason, at) {
			reason += " (" + at + ")"
		}
		if c.Bugcheck.HostStack != "" {
			reason += "\n" + c.Bugcheck.HostStack
		}
	}
	c.end(Fault, reason)
	return true
}

func (c *trial) run(file io.Reader, opts driverhost.Options) {
	box := c.sandbox.Begin(sandbox.Limits{})
	data, err := io.ReadAll(io.LimitReader(file, pe.MaxFileSize))
	if err != nil {
		c.end(Invalid, err.Error())
		return
	}
	c.enter(StageParse)
	img, err := pe.Parse(filepath.Base(c.File), data)
	if err != nil {
		c.end(Invalid, err.Error())
		return
	}
	if c.host, err = driverhost.New(opts); err != nil {
		c.HostError = err.Error()
		c.end(Invalid, "")
		return
	}
	// The directories that a driver may use are none.
	policy := sandbox.Policy{ReadOnly: []string{"/proc/self"}}
	if _, err := c.sandbox.Complete(box, policy); err != nil {
		c.HostError = err.Error()
		c.end(Invalid, "")
		return
	}
	c.noteImports(img)
	d := c.load(img)
	if d == nil {
		return
	}
	c.enter(StageOpen)
	for _, name := range c.targets() {
		c.Opened = append(c.Opened, Opened{name, c.open(name)})
		if c.crashed() {
			return
		}
	}
	c.enter(StageUnload)
	left, err := c.host.Unload(d)
	if c.host.Crashed() != nil {
		c.Unload = UnloadFailed
	}
	if c.crashed() {
		return
	}
	switch {
	case errors.Is(err, ntoskrnl.ErrNoUnload):
		c.Unload = UnloadNone
	case err != nil:
		c.Unload = UnloadFailed
		c.end(Fault, err.Error())
		return
	default:
		c.Unload = UnloadOK
		c.Leaks.Pool = driverhost.PoolUses(c.host.Kernel.DriverPool())
	}
	c.noteLeaks(left)
	c.Stage = StageDone
	c.end(Clean, "")
}

// load loads the driver. It gives nil, when it has told the verdict.
func (c *trial) load(img *pe.Image) *driverhost.Driver {
	base := c.File
	service := strings.TrimSuffix(filepath.Base(base), filepath.Ext(base))
	c.enter(StageDriverEntry)
	d, err := c.host.LoadImage(img, service)
	var refused *ntoskrnl.EntryError
	var crash *ke.Bugcheck
	switch {
	case errors.As(err, &refused):
		c.noteEntry(refused.Status)
		c.end(Refused, err.Error())
		return nil
	case errors.As(err, &crash):
		c.crashed()
		return nil
	case err != nil:
		c.Stage = StageLoad
		verdict := Invalid
		if len(c.Imports.Missing) > 0 {
			verdict = Unimplemented
		}
		c.end(verdict, err.Error())
		return nil
	}
	c.noteEntry(d.Entry)
	c.Devices, c.Links = c.host.Names(d)
	return d
}

func (c *trial) noteEntry(status nt.Status) {
	text := fmt.Sprintf("0x%08x", uint32(status))
	c.DriverEntry = &text
}

// noteImports notes what the imports will come to.
func (c *trial) noteImports(img *pe.Image) {
	for _, m := range img.Imports {
		for _, f := range m.Functions {
			_, err := c.host.Kernel.Linker.Resolve(m.Name, f)
			if err != nil && f.Fallback == 0 {
				c.Imports.Missing = append(c.Imports.Missing, m.Name+"!"+f.String())
			} else {
				c.Imports.Bound++
			}
		}
	}
}

func (c *trial) noteLeaks(left []string) {
	for _, what := range left {
		if name, ok := strings.CutPrefix(what, "device "); ok {
			c.Leaks.Devices = append(c.Leaks.Devices, name)
		} else {
			c.Leaks.Links = append(c.Leaks.Links, strings.TrimPrefix(what, "link "))
		}
	}
}

// targets are the names to open: every link, and the devices that no link leads to.
func (c *trial) targets() []string {
	names := slices.Clone(c.Links)
	linked := c.host.LinkedDevices()
	for _, d := range c.Devices {
		if strings.HasPrefix(d, `\`) && !linked[d] {
			names = append(names, d)
		}
	}
	return names
}

// open opens a device for reading and writing, closes it, and gives the status of the open.
func (c *trial) open(name string) string {
	target := name
	if !strings.HasPrefix(name, `\\`) {
		target = `\\.\GLOBALROOT` + name
	}
	f, err := c.host.Open(target, driverhost.OpenOptions{})
	if err != nil {
		var status nt.Status
		switch {
		case c.host.Crashed() != nil:
			status = driverhost.StatusGone
		case !errors.As(err, &status):
			return err.Error()
		}
		return status.String()
	}
	if err := f.Close(); err != nil {
		return err.Error()
	}
	return nt.STATUS_SUCCESS.String()
}
