// The import directory: which functions of which modules the image needs, and where their addresses
// go ("PE Format", The .idata Section).

package pe

import "fmt"

// ImportedModule is one module that the image imports from.
type ImportedModule struct {
	// Name is the module's file name as the image spells it: "ntoskrnl.exe", "HAL.dll".
	Name      string
	Functions []Import
}

// Import is one imported function or variable.
type Import struct {
	// Name is empty when the import is by ordinal.
	Name      string
	Ordinal   uint16
	ByOrdinal bool
	// Hint is the linker's guess at the index in the exporting module's name table.
	Hint uint16
	// IATRVA is the address of the slot that binding fills.
	IATRVA uint32
	// Fallback is where the image's own code is that the slot refers to until it is bound; 0 for
	// most imports. Drivers have such code for what only some editions of Windows export
	// (ext-ms-win-…), and expect it to stay in place where the export is missing.
	Fallback uint32
}

// String gives the name, or the ordinal as "#12".
func (i Import) String() string {
	if i.ByOrdinal {
		return fmt.Sprintf("#%d", i.Ordinal)
	}
	return i.Name
}

const (
	importDescriptorSize = 20
	ordinalFlag          = 1 << 63
	slotSize             = 8
)

// parseImports reads the descriptors up to the one without a name, which ends the table whatever
// the directory's size says.
func (img *Image) parseImports(d directory) error {
	raw, size := img.at(d.VirtualAddress)
	n := names{img: img, left: maxNameBytes}
	count := 0
	for off := uint64(0); ; off += importDescriptorSize {
		if off+importDescriptorSize > uint64(size) {
			return fmt.Errorf("descriptor %d runs over the end of its section, at 0x%x",
				off/importDescriptorSize+1, uint64(d.VirtualAddress)+off)
		}
		nameRVA := le32(raw, off+12)
		if nameRVA == 0 {
			return nil
		}
		lookup, iat := le32(raw, off), le32(raw, off+16)
		if lookup == 0 {
			lookup = iat
		}
		module, err := n.read(nameRVA, maxModuleName)
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", off/importDescriptorSize+1, err)
		}
		m := ImportedModule{Name: module}
		if err := img.parseThunks(&m, lookup, iat, &n, MaxImports-count); err != nil {
			return fmt.Errorf("imports from %s: %w", module, err)
		}
		count += len(m.Functions)
		// A table of empty descriptors counts too, or it could be as long as the file.
		count++
		img.Imports = append(img.Imports, m)
	}
}

// parseThunks reads one module's lookup table, up to the zero that ends it.
func (img *Image) parseThunks(m *ImportedModule, lookup, iat uint32, n *names, limit int) error {
	if _, ok := img.sectionIndex(iat); !ok {
		return fmt.Errorf("the address table at 0x%x is in no section", iat)
	}
	raw, size := img.at(lookup)
	iatRaw, iatSize := img.at(iat)
	count := 0
	for {
		off := uint64(count) * slotSize
		if off+slotSize > uint64(size) {
			return fmt.Errorf("the lookup table at 0x%x is not terminated", lookup)
		}
		if le64(raw, off) == 0 {
			break
		}
		if count++; count >= limit {
			return fmt.Errorf("more than %d imports", MaxImports)
		}
	}
	if uint64(count)*slotSize > uint64(iatSize) {
		return fmt.Errorf("the address table at %s has no room for %d addresses", img.place(iat),
			count)
	}
	m.Functions = make([]Import, count)
	for i := range m.Functions {
		f := &m.Functions[i]
		f.IATRVA = iat + uint32(i)*slotSize
		if rva := le64(iatRaw, uint64(i)*slotSize) - img.PreferredBase; rva < uint64(img.SizeOfImage) {
			if s, ok := img.SectionAt(uint32(rva)); ok && s.Executable() {
				f.Fallback = uint32(rva)
			}
		}
		v := le64(raw, uint64(i)*slotSize)
		switch {
		case v&ordinalFlag != 0:
			if v&^ordinalFlag > 0xffff {
				return fmt.Errorf("import %d at %s is by ordinal, but its value is 0x%x", i+1,
					img.place(lookup+uint32(i)*slotSize), v)
			}
			f.ByOrdinal, f.Ordinal = true, uint16(v)
		case v > 0x7fffffff:
			return fmt.Errorf("import %d at %s is neither an ordinal nor an address: 0x%x", i+1,
				img.place(lookup+uint32(i)*slotSize), v)
		default:
			hint, left := img.at(uint32(v))
			if left < 2 {
				return fmt.Errorf("import %d: its name at 0x%x is outside of the image", i+1, v)
			}
			f.Hint = le16(hint, 0)
			name, err := n.read(uint32(v)+2, maxNameLength)
			if err != nil {
				return fmt.Errorf("import %d: %w", i+1, err)
			}
			f.Name = name
		}
	}
	return nil
}
