package driverhost

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/drvhost/drvhost/ntoskrnl"
)

// Traces as log lines: every import call goes to the logger that is named for its component.

// The loggers of a host that are not components of the kernel: the host itself, its socket, and
// what the kernel remarks.
const (
	logHost   = "host"
	logWire   = "wire"
	logKernel = "kernel"
)

// LogNames gives the names of the loggers that a host writes to, for switches: "host", "wire" and
// "kernel", and the components of the kernel, which have the drivers' calls if [TraceTo] puts them
// there.
func LogNames() []string {
	return append([]string{logHost, logWire, logKernel}, components()...)
}

// IsComponent says whether a name of LogNames is that of a component of the kernel.
func IsComponent(name string) bool { return slices.Contains(components(), name) }

// components are those that export something, sorted.
var components = sync.OnceValue(func() []string {
	set := make(map[string]bool)
	for _, e := range ntoskrnl.Exports() {
		set[component(e.Name)] = true
	}
	set[otherComponent] = true
	return slices.Sorted(maps.Keys(set))
})

// TraceTo gives a function for Options.Trace that logs each call at level Debug, by the logger that
// is named for the call's component: "io" for IoCreateDevice.
func TraceTo(log hclog.Logger) func(line string) {
	loggers := make(map[string]hclog.Logger)
	for _, c := range components() {
		loggers[c] = log.Named(c)
	}
	return func(line string) {
		_, call, _ := strings.Cut(line, " ")
		l, ok := loggers[component(call)]
		if !ok {
			l = loggers[otherComponent]
		}
		if l.IsDebug() {
			l.Debug(line)
		}
	}
}

// Components whose names are not simply a prefix.
const (
	crtComponent   = "crt" // the C library
	otherComponent = "other"
)

// component gives the component of a call such as "KeSetEvent(…) = 0x0": what its name begins with,
// up to the second capital, in lower case.
func component(call string) string {
	name, _, _ := strings.Cut(call, "(")
	if _, after, ok := strings.Cut(name, "!"); ok {
		name = after
	}
	if name == "" {
		return otherComponent
	}
	if !isUpper(name[0]) {
		return crtComponent
	}
	end := 1
	for end < len(name) && 'a' <= name[end] && name[end] <= 'z' {
		end++
	}
	switch prefix := strings.ToLower(name[:end]); {
	case end == 1 || end == len(name):
		return otherComponent
	case prefix == "fs" && strings.HasPrefix(name, "FsRtl"):
		return "fsrtl"
	case prefix == "kf":
		return "ke"
	case prefix == "probe":
		return "mm"
	case end == 3 && (name[2] == 'f' || name[2] == 'p'):
		return prefix[:2] // fast and inner variants: IofCompleteRequest
	case end > 3:
		return otherComponent
	default:
		return prefix
	}
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
