// The export directory: what the image offers, by name and by ordinal ("PE Format", The .edata
// Section).

package pe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drvhost/drvhost/guest"
)

// Export is one exported function or variable. One that has two names is two exports.
type Export struct {
	// Name is empty for what is exported by ordinal only.
	Name    string
	Ordinal uint16
	// RVA is the export's place in the image; 0 for a forwarder.
	RVA uint32
	// Forwarder says where the export really is: "OTHER.Name" or "OTHER.#12". Empty for most.
	Forwarder string
	// Addr is the export's address when a Module gave it, and 0 when an Image did or when it is a
	// forwarder.
	Addr guest.Addr
}

// exportTable has the exports in the order of their names, those without a name first.
type exportTable struct {
	list  []Export
	base  uint32  // the ordinal of byOrd[0]
	byOrd []int32 // index into list plus 1; 0 for an ordinal that is not used
}

const exportDirectorySize = 40

// Exports gives all exports in the order of their names, those without a name first. The slice must
// not be changed.
func (img *Image) Exports() []Export { return img.exports.list }

// LookupExport finds an export by name. Names are case-sensitive.
func (img *Image) LookupExport(name string) (Export, bool) {
	l := img.exports.list
	i, ok := slices.BinarySearchFunc(l, name, func(e Export, n string) int {
		return strings.Compare(e.Name, n)
	})
	if !ok || name == "" {
		return Export{}, false
	}
	return l[i], true
}

// ExportByOrdinal finds an export by ordinal. One with several names is given under one of them.
func (img *Image) ExportByOrdinal(ordinal uint16) (Export, bool) {
	t := &img.exports
	if i := uint32(ordinal) - t.base; i < uint32(len(t.byOrd)) && t.byOrd[i] != 0 {
		return t.list[t.byOrd[i]-1], true
	}
	return Export{}, false
}

// index sorts the list and makes the index by ordinal, of n ordinals from base on.
func (t *exportTable) index(base uint32, n int) {
	byName := func(a, b Export) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return int(a.Ordinal) - int(b.Ordinal)
	}
	if !slices.IsSortedFunc(t.list, byName) {
		slices.SortFunc(t.list, byName)
	}
	t.base = base
	t.byOrd = make([]int32, n)
	for i := range t.list {
		if slot := &t.byOrd[uint32(t.list[i].Ordinal)-base]; *slot == 0 {
			*slot = int32(i) + 1
		}
	}
}

// parseExports reads the directory and its three tables.
func (img *Image) parseExports(d directory) error {
	raw, size := img.at(d.VirtualAddress)
	if size < exportDirectorySize {
		return fmt.Errorf("it runs over the end of its section")
	}
	base, nFuncs, nNames := le32(raw, 16), le32(raw, 20), le32(raw, 24)
	funcs, nameTable, ordinals := le32(raw, 28), le32(raw, 32), le32(raw, 36)
	if nFuncs > 1<<16 || nNames > 1<<16 || base > 1<<16 || base+nFuncs > 1<<16 {
		return fmt.Errorf("%d functions from ordinal %d on, with %d names: more than there are "+
			"ordinals", nFuncs, base, nNames)
	}
	table := func(what string, rva, n, width uint32) ([]byte, error) {
		raw, size := img.at(rva)
		if n*width > size {
			return nil, fmt.Errorf("the %s table at 0x%x with %d entries is outside of the image",
				what, rva, n)
		}
		return raw, nil
	}
	funcRaw, err := table("address", funcs, nFuncs, 4)
	if err != nil {
		return err
	}
	nameRaw, err := table("name", nameTable, nNames, 4)
	if err != nil {
		return err
	}
	ordRaw, err := table("ordinal", ordinals, nNames, 2)
	if err != nil {
		return err
	}
	n := names{img: img, left: maxNameBytes}
	export := func(name string, i uint32) (Export, error) {
		e := Export{Name: name, Ordinal: uint16(base + i)}
		rva := le32(funcRaw, uint64(i)*4)
		switch {
		case rva == 0:
			return e, fmt.Errorf("export %s has no address", e.String())
		case rva-d.VirtualAddress < d.Size:
			e.Forwarder, err = n.read(rva, maxNameLength)
			if err != nil {
				return e, fmt.Errorf("forwarder of export %s: %w", e.String(), err)
			}
			if _, _, err := splitForwarder(e.Forwarder); err != nil {
				return e, fmt.Errorf("export %s: %w", e.String(), err)
			}
		default:
			if !img.inside(rva, 1) {
				return e, fmt.Errorf("export %s at 0x%x is outside of the image", e.String(), rva)
			}
			e.RVA = rva
		}
		return e, nil
	}

	t := &img.exports
	t.list = make([]Export, 0, max(nFuncs, nNames))
	named := make([]bool, nFuncs)
	for i := range nNames {
		ord := le16(ordRaw, uint64(i)*2)
		if uint32(ord) >= nFuncs {
			return fmt.Errorf("name %d is for function %d of %d", i+1, ord, nFuncs)
		}
		named[ord] = true
	}
	for i := range nFuncs {
		if named[i] || le32(funcRaw, uint64(i)*4) == 0 {
			continue
		}
		e, err := export("", i)
		if err != nil {
			return err
		}
		t.list = append(t.list, e)
	}
	for i := range nNames {
		name, err := n.read(le32(nameRaw, uint64(i)*4), maxNameLength)
		if err != nil {
			return fmt.Errorf("name %d: %w", i+1, err)
		}
		e, err := export(name, uint32(le16(ordRaw, uint64(i)*2)))
		if err != nil {
			return err
		}
		t.list = append(t.list, e)
	}
	t.index(base, int(nFuncs))
	return nil
}

// String gives the name, or the ordinal as "#12".
func (e Export) String() string {
	if e.Name == "" {
		return fmt.Sprintf("#%d", e.Ordinal)
	}
	return e.Name
}

// splitForwarder takes "OTHER.Name" or "OTHER.#12" apart, at the last dot: module names may have
// dots of their own.
func splitForwarder(f string) (module string, imp Import, err error) {
	dot := strings.LastIndexByte(f, '.')
	if dot <= 0 || dot == len(f)-1 {
		return "", Import{}, fmt.Errorf("forwarder %q is not MODULE.Name", f)
	}
	module, name := f[:dot], f[dot+1:]
	if name[0] != '#' {
		return module, Import{Name: name}, nil
	}
	ord := 0
	for _, c := range []byte(name[1:]) {
		if c < '0' || c > '9' || ord > 0xffff {
			ord = 1 << 16
			break
		}
		ord = ord*10 + int(c-'0')
	}
	if ord > 0xffff || len(name) == 1 {
		return "", Import{}, fmt.Errorf("forwarder %q has no ordinal after #", f)
	}
	return module, Import{ByOrdinal: true, Ordinal: uint16(ord)}, nil
}
