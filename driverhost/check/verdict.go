package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
)

// Kind is what a check comes to, in one word.
type Kind string

// The verdicts.
const (
	// Clean: nothing went wrong. What the driver left behind is in Leaks.
	Clean Kind = "clean"
	// Refused: DriverEntry returned an error.
	Refused Kind = "refused"
	// Unimplemented: the driver called an export that nothing implements, whatever came of it. With
	// Options.FailMissing it is enough to import one.
	Unimplemented Kind = "unimplemented"
	// Fault: the driver crashed; Bugcheck says how, unless the host process died of it.
	Fault Kind = "fault"
	// Timeout: it had not ended when the time was up.
	Timeout Kind = "timeout"
	// Invalid: the file is no driver that this host can map.
	Invalid Kind = "invalid"
)

// The stages of a check: Verdict.Stage is the one in which it ended.
const (
	StageRead        = "read"         // reading the file
	StageParse       = "parse"        // checking the image
	StageLoad        = "load"         // mapping and binding it
	StageDriverEntry = "driver_entry" // in its DriverEntry
	StageOpen        = "open"         // opening and closing its devices
	StageUnload      = "unload"       // in its DriverUnload
	StageDone        = "done"
)

// What Verdict.Unload can be.
const (
	UnloadOK      = "ok"
	UnloadNone    = "none"    // there is no DriverUnload routine
	UnloadFailed  = "failed"  // it did not return
	UnloadSkipped = "skipped" // the check ended before
)

// Verdict is what was found out about a driver. The names in JSON stay.
type Verdict struct {
	File    string `json:"file"`
	SHA256  string `json:"sha256"` // of the file, "" if it cannot be read
	Verdict Kind   `json:"verdict"`
	Stage   string `json:"stage"`
	// DriverEntry is the status that DriverEntry returned, "0x%08x"; nil if it did not return.
	DriverEntry *string            `json:"driver_entry"`
	Devices     []string           `json:"devices"`
	Links       []string           `json:"links"`
	Imports     driverhost.Imports `json:"imports"`
	// CalledUnimplemented are the exports, "module!name", that were called though nothing
	// implements them.
	CalledUnimplemented []string                `json:"called_unimplemented"`
	Opened              []Opened                `json:"opened"`
	Unload              string                  `json:"unload"`
	Leaks               Leaks                   `json:"leaks"`
	Bugcheck            *driverhost.CrashReport `json:"bugcheck"`
	Milliseconds        float64                 `json:"ms"` // for the whole host process
	// Reason says in words why the verdict is what it is; "" for a clean driver.
	Reason string `json:"-"`
}

// Opened is an attempt to open a device.
type Opened struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

// Leaks is what a driver did not delete or free on unload.
type Leaks struct {
	Devices []string             `json:"devices,omitempty"`
	Links   []string             `json:"links,omitempty"`
	Pool    []driverhost.PoolUse `json:"pool,omitempty"`
}

// Any says whether there are leaks.
func (l Leaks) Any() bool { return len(l.Devices)+len(l.Links)+len(l.Pool) > 0 }

// Good says whether the driver is clean and leaks nothing.
func (v *Verdict) Good() bool { return v.Verdict == Clean && !v.Leaks.Any() }

func newVerdict(file string) Verdict {
	return Verdict{File: file, Stage: StageRead, Devices: []string{}, Links: []string{},
		Imports: driverhost.Imports{Missing: []string{}}, CalledUnimplemented: []string{},
		Opened: []Opened{}, Unload: UnloadSkipped}
}

// WriteTo writes the verdict for people.
func (v *Verdict) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.File, v.Verdict)
	if v.Stage != StageDone {
		fmt.Fprintf(&b, ", at stage %s", v.Stage)
	}
	fmt.Fprintf(&b, " (%.1f ms)\n", v.Milliseconds)
	if v.Reason != "" {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(strings.TrimSpace(v.Reason), "\n", "\n  "))
	}
	list := func(what string, items []string) {
		if len(items) > 0 {
			fmt.Fprintf(&b, "  %-13s %s\n", what, strings.Join(items, ", "))
		}
	}
	if v.DriverEntry != nil {
		list("DriverEntry", []string{*v.DriverEntry})
	}
	list("devices", v.Devices)
	list("links", v.Links)
	if n := v.Imports.Bound + len(v.Imports.Missing); n > 0 {
		list("imports", []string{fmt.Sprintf("%d bound, %d missing", v.Imports.Bound,
			len(v.Imports.Missing))})
	}
	list("called", v.CalledUnimplemented)
	for _, o := range v.Opened {
		list("open", []string{o.Name + " " + o.Status})
	}
	if v.Unload != UnloadSkipped {
		list("unload", []string{v.Unload})
	}
	list("leaks", append(append([]string{}, v.Leaks.Devices...), v.Leaks.Links...))
	for _, use := range v.Leaks.Pool {
		list("leaks", []string{use.String()})
	}
	n, err := io.WriteString(w, driverhost.Printable(b.String()))
	return int64(n), err
}

// Summary gives verdict, stage and reason in one line.
func (v *Verdict) Summary() string {
	reason, _, _ := strings.Cut(v.Reason, "\n")
	return driverhost.Printable(fmt.Sprintf("%s at stage %s: %s", v.Verdict, v.Stage, reason))
}
