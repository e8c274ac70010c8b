package ntoskrnl

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// Imports that nothing answers: each is bound to a thunk that reports the call, if one comes.

// report is such an import. Its thunk's number is firstReport plus its index in Kernel.reports.
type report struct {
	module   string // as the importer spells it
	name     string // or "#ordinal"
	importer string
	region   *guest.Region // the first of an image's reports has the page of thunks
}

// free gives the page of thunks back.
func (r *report) free() error {
	if r.region == nil {
		return nil
	}
	return r.region.Free()
}

// firstReport is above every row's number.
const firstReport = 1 << 16

const reportThunkSize = 16

// bind resolves the imports of m. missing gets the names that nothing answers, "module!name".
func (k *Kernel) bind(m *pe.Module) (missing []string, err error) {
	var lost []pe.Missing
	// The thunks of an image share a page, so they are counted before they are made.
	count := 0
	for _, mod := range m.Image().Imports {
		count += len(mod.Functions)
	}
	var page *guest.Region
	next := guest.Addr(0)
	err = k.Linker.Link(m, func(miss pe.Missing) (guest.Addr, error) {
		lost = append(lost, miss)
		if k.opts.FailMissing {
			return 0, nil
		}
		if page == nil {
			what := "reports of what " + m.Name() + " imports and nothing answers"
			var err error
			if page, err = k.space.AllocSystem(uintptr(count+1)*reportThunkSize, guest.ProtRW, what); err != nil {
				return 0, err
			}
			if err := guest.StoreAddr(page.Base(), k.cpu.Gates().Call); err != nil {
				return 0, err
			}
			next = page.Base() + reportThunkSize
		}
		return k.addReport(m, miss, page, &next)
	})
	for _, miss := range lost {
		missing = append(missing, fmt.Sprintf("%s!%s", miss.Module, miss.Import))
	}
	if err == nil && k.opts.FailMissing && len(missing) > 0 {
		err = &ImportsError{m.Name(), missing}
	}
	if err == nil && page != nil {
		err = page.Protect(0, page.Size(), guest.ProtRX)
	}
	return missing, err
}

// ImportsError says that a driver imports what nothing answers.
type ImportsError struct {
	Driver  string
	Missing []string // "module!name"
}

// Error names the driver and its imports.
func (e *ImportsError) Error() string {
	return fmt.Sprintf("%s: %d imports are missing: %v", e.Driver, len(e.Missing), e.Missing)
}

// addReport makes the thunk of one import.
func (k *Kernel) addReport(m *pe.Module, miss pe.Missing, page *guest.Region, next *guest.Addr) (
	guest.Addr, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := *k.reports.Load()
	r := report{module: miss.Module, name: miss.Import.String(), importer: m.Name()}
	if *next == page.Base()+reportThunkSize {
		r.region = page
	}
	var code [reportThunkSize]byte
	putThunk(code[:], uint32(firstReport+len(old)))
	binary.LittleEndian.PutUint32(code[7:], uint32(page.Base()-(*next+thunkSize)))
	if err := guest.Write(*next, code[:]); err != nil {
		return 0, err
	}
	at := *next
	*next += reportThunkSize
	all := append(slices.Clip(old), r)
	k.reports.Store(&all)
	return at, nil
}

// callReported is a call of an import that nothing answers.
func (k *Kernel) callReported(c *Call, index uint32) {
	reports := *k.reports.Load()
	i := int(index) - firstReport
	if i < 0 || i >= len(reports) {
		c.row = &Export{Name: fmt.Sprintf("import %d", index)}
	} else {
		c.row = &Export{Name: reports[i].module + "!" + reports[i].name}
	}
	k.callStub(c)
}

// callStub is a call of something that does nothing: it is reported, and raised in the driver.
func (k *Kernel) callStub(c *Call) {
	name := c.row.Name
	k.mu.Lock()
	k.called[name] = struct{}{}
	k.mu.Unlock()
	g := &c.ctx.GPR
	k.log.Error("unimplemented export called", "name", name, "caller", k.Where(c.Caller()),
		"args", fmt.Sprintf("(%#x, %#x, %#x, %#x)", g[engine.RCX], g[engine.RDX], g[engine.R8],
			g[engine.R9]))
	k.exception(c.T, nt.STATUS_ENTRYPOINT_NOT_FOUND, c.Caller(), nil,
		fmt.Sprintf("%s is not implemented; called by %s", name, k.Where(c.Caller())))
}

// CalledUnimplemented gives the names of the unimplemented exports that were called, sorted.
func (k *Kernel) CalledUnimplemented() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make([]string, 0, len(k.called))
	for name := range k.called {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
