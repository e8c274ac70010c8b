package doctor

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/drvhost/drvhost/driverhost/inspect"
)

// Driver looks at the instructions of a driver's file that have another effect in a process than in
// a kernel, and do not trap there: what of them cannot be patched has the effect that it has in a
// process. The error is of the file.
func Driver(file string) (Finding, error) {
	r, err := inspect.File(file)
	if err != nil {
		return Finding{}, err
	}
	f := Finding{Name: filepath.Base(file), OK: true, Found: "no instruction that needs to be patched",
		Cost: "these instructions have the effect that they have in a process"}
	var native []string
	for _, i := range r.Untrapped {
		if i.Native != "" {
			native = append(native, fmt.Sprintf("%s at +%v (%s)", i.Name, i.Address, i.Native))
		}
	}
	if n := len(r.Untrapped) - len(native); n > 0 {
		f.Found = fmt.Sprintf("%d instructions are patched", n)
	}
	if len(native) > 0 {
		f.OK = false
		f.Found = fmt.Sprintf("%d patched, %d native: %s", len(r.Untrapped)-len(native), len(native),
			strings.Join(native, ", "))
	}
	return f, nil
}
