package inspect

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/drvhost/drvhost/ntoskrnl"
)

// The export table as a list.

// Export is an export of a built-in module.
type Export struct {
	Module  string `json:"module"`
	Name    string `json:"name"`
	Support string `json:"support"` // full, partial or stub
	Note    string `json:"note"`
	MaxIRQL string `json:"max_irql"` // the highest level at which it may be called
}

// The built-in modules.
const (
	kernelModule = "ntoskrnl.exe"
	halModule    = "hal.dll"
)

// Exports gives what the built-in modules export: ntoskrnl.exe by name, then hal.dll by name, which
// forwards to it.
var Exports = sync.OnceValue(func() []Export {
	rows := ntoskrnl.Exports()
	list := make([]Export, 0, len(rows)+len(rows)/8)
	add := func(module string, only func(*ntoskrnl.Export) bool) {
		for i := range rows {
			if r := &rows[i]; !r.Internal && only(r) {
				list = append(list, Export{module, r.Name, r.Support.String(), r.Note,
					r.MaxIRQL.String()})
			}
		}
	}
	add(kernelModule, func(*ntoskrnl.Export) bool { return true })
	add(halModule, func(r *ntoskrnl.Export) bool { return r.Hal })
	return list
})

// find gives the export that an import of a built-in module is bound to. known says whether the
// module is built in at all.
func find(module, name string) (e *ntoskrnl.Export, known bool) {
	inHal := strings.EqualFold(module, halModule)
	if !inHal && !strings.EqualFold(module, kernelModule) {
		return nil, false
	}
	e, ok := ntoskrnl.FindExport(name)
	if !ok || e.Internal || inHal && !e.Hal {
		return nil, true
	}
	return e, true
}

// WriteExports writes a list of exports for people, with a count of each level of support.
func WriteExports(w io.Writer, list []Export) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	counts := make(map[string]int)
	for _, e := range list {
		counts[e.Support]++
		fmt.Fprintf(t, "%s!%s\t%s\t%s\t%s\n", e.Module, e.Name, e.Support, e.MaxIRQL, e.Note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d exports: %d full, %d partial, %d stub\n", len(list), counts["full"],
		counts["partial"], counts["stub"])
	return err
}
