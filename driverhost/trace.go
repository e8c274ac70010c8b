package driverhost

import (
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Traces as log lines: every import call goes to the logger that is named for its component.

// LogNames are the loggers that a host writes to, for switches: the host itself ("host"), its socket
// ("wire"), the kernel's own remarks ("kernel"), and one for each component of the kernel, which has
// the drivers' calls if [TraceTo] puts them there.
var LogNames = append([]string{"host", "wire", "kernel"}, components[:]...)

// components are the prefixes of exported names, in lower case; "other" has the rest, mostly the C
// library.
var components = [...]string{"cc", "cm", "dbg", "em", "ex", "fsrtl", "hal", "io", "ke", "kd", "mm",
	"ob", "pf", "po", "ps", "rtl", "se", "wmi", "zw", "nt", "other"}

// IsComponent says whether a name of LogNames is that of a component of the kernel.
func IsComponent(name string) bool { return slices.Contains(components[:], name) }

// TraceTo gives a function for Options.Trace that logs each call at level Debug, by the logger that
// is named for the call's component: "io" for IoCreateDevice.
func TraceTo(log hclog.Logger) func(line string) {
	loggers := make(map[string]hclog.Logger, len(components))
	for _, c := range components {
		loggers[c] = log.Named(c)
	}
	return func(line string) {
		_, call, _ := strings.Cut(line, " ")
		if l := loggers[component(call)]; l.IsDebug() {
			l.Debug(line)
		}
	}
}

// component gives the component of an exported name: what it begins with, before another capital.
// Fast and inner variants have an f, i or p between: IofCompleteRequest.
func component(name string) string {
	name, _, _ = strings.Cut(name, "(")
	if _, after, ok := strings.Cut(name, "!"); ok {
		name = after
	}
	lower := strings.ToLower(name)
	for _, c := range components {
		rest, ok := strings.CutPrefix(lower, c)
		if !ok || rest == "" {
			continue
		}
		next := name[len(c)]
		inner := (next == 'f' || next == 'i' || next == 'p') && len(rest) > 1 && isUpper(name[len(c)+1])
		if isUpper(name[0]) && (isUpper(next) || inner) {
			return c
		}
	}
	return "other"
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
