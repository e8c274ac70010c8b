package doctor

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/driverhost/wire"
)

// Finding is one thing that a machine has or lacks. The names in JSON stay.
type Finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Required says that nothing runs without it.
	Required bool `json:"required"`
	// Found is what there is: a version, a number, or an error.
	Found string `json:"found"`
	// Cost says what is lost without it.
	Cost string `json:"cost"`
}

// examination is a thing to look at. look gives what there is, and whether that is enough.
type examination struct {
	name     string
	required bool
	cost     string
	look     func() (found string, ok bool)
}

var examinations = []examination{
	{"kernel", true, "drivers' system calls cannot be kept from Linux before 5.11", kernelVersion},
	{"fsgsbase", true, "drivers read their processor's KPCR through GS, which only the processor's " +
		"wrgsbase sets fast enough; Linux 5.9 and a processor from 2013 have it", fsgsbase},
	{"xsave", true, "a driver's vector registers cannot be kept over a fault", xsave},
	{"syscall user dispatch", true, "a system call instruction in a driver would reach Linux; a " +
		"sandbox that filters prctl can be why", userDispatch},
	{"reservations", true, "the drivers' address space, 4 GiB and more that costs no memory, cannot " +
		"be reserved: lift `ulimit -v`, or set vm.overcommit_memory to 0 or 1", reservations},
	{"mmap_min_addr", false, "drivers that want to be at 0x10000, as old linkers make them, are " +
		"relocated, and those that cannot be are refused; `sysctl vm.mmap_min_addr=65536` helps",
		lowAddresses},
	{"memfd seals", false, "requests above what a socket message holds (about 100 KiB) are refused",
		memfdSeals},
	{"noexec memfd", false, "shared buffers could be mapped as code by the client that got them; " +
		"Linux 6.3 has it", memfdNoExec},
	{"membarrier", false, "every entry into a driver pays for a memory fence", membarrier},
	{"max_map_count", false, "each driver thread's stack takes two mappings: with few, few threads",
		maxMapCount},
	{"clock source", false, "drivers that read the time often are slow: each read is a system call",
		clockSource},
	{"kvm", false, "drivers cannot be run in a virtual machine; they run natively, as usual", kvm},
	{"protection keys", false, "`load --pkeys` is refused: a driver's stray write can change the " +
		"host's own memory unnoticed", protectionKeys},
	{"umip", false, "sgdt, sidt, sldt, str and smsw in a driver show the machine's own tables " +
		"instead of trapping", umip},
}

// Examine looks at everything. dir is the runtime directory.
func Examine(dir string) []Finding {
	findings := make([]Finding, 0, len(examinations)+4)
	for _, e := range examinations {
		found, ok := e.look()
		findings = append(findings, Finding{e.name, ok, e.required, found, e.cost})
	}
	for _, f := range sandbox.Examine() {
		findings = append(findings, Finding{f.Name, f.OK, false, f.Found, f.Cost})
	}
	found, ok := dir, true
	if err := wire.PrepareRuntimeDir(dir); err != nil {
		found, ok = err.Error(), false
	}
	return append(findings, Finding{"runtime directory", ok, false, found,
		"hosts and clients cannot meet; set DRVHOST_RUNTIME_DIR to a directory of yours"})
}

// Able says whether drivers can run: nothing that is required is missing.
func Able(findings []Finding) bool {
	for _, f := range findings {
		if f.Required && !f.OK {
			return false
		}
	}
	return true
}

// Write writes findings for people: what a lack costs only where there is one.
func Write(w io.Writer, findings []Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		state := "ok"
		switch {
		case !f.OK && f.Required:
			state = "MISSING"
		case !f.OK:
			state = "missing"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, state, f.Found)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range findings {
		if f.OK {
			continue
		}
		what := "what it costs"
		if f.Required {
			what = "nothing runs without it"
		}
		if _, err := fmt.Fprintf(w, "\n%s (%s): %s\n", f.Name, what, f.Cost); err != nil {
			return err
		}
	}
	return nil
}
