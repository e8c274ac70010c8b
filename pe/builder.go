// Builder: what goes into an image that the host makes itself. How it is laid out is in
// builder_layout.go.

package pe

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Builder collects code, data, exports and imports under symbols, and makes of them an image such
// as a linker would: with headers, a section for each protection, export and import directories,
// unwind data and base relocations. Errors of the methods come out of Build.
//
// A Builder is used by one goroutine. It keeps the slices that it is given until Build.
type Builder struct {
	name  string
	base  uint64
	entry string
	dll   bool

	syms    map[string]int32 // index into items
	items   []item
	exports []builtExport
	imports []builtImport
	lc      int32 // index of the load config item plus 1
	err     error
}

// DefaultBase is the preferred base of a built image that is given none: above the bases that
// drivers ask for.
const DefaultBase = 0x2_0000_0000

// kind is the part of the image that an item goes to.
type kind uint8

const (
	kindCode kind = iota
	kindConst
	kindData // with initial contents
	kindZero
	kindIAT
)

// item is a piece of the image with a symbol.
type item struct {
	sym    string
	kind   kind
	size   uint32
	align  uint32
	rva    uint32
	init   []byte
	fixups []Fixup
	unwind *Unwind
}

type builtExport struct {
	name      string
	ordinal   uint16
	sym       string
	forwarder string
}

type builtImport struct {
	module string
	funcs  []builtImportedFunc
}

type builtImportedFunc struct {
	Import
	item int32
}

// FixupKind says what a Fixup writes.
type FixupKind uint8

const (
	// Rel32 is the distance from the end of the four bytes to the symbol, as call, jmp and
	// RIP-relative operands have it. If n more bytes of the instruction follow, add -n.
	Rel32 FixupKind = iota
	// Abs64 is the symbol's address, eight bytes, relocated when the image is.
	Abs64
	// RVA32 is the symbol's distance from the image's base, four bytes.
	RVA32
)

// Fixup makes a piece of code or data refer to a symbol: the bytes at Offset get the symbol's
// place plus Addend.
type Fixup struct {
	Offset uint32
	Kind   FixupKind
	Symbol string
	Addend int64
}

// NewBuilder starts an image with the given module name: "ntoskrnl.exe".
func NewBuilder(name string) *Builder {
	return &Builder{name: baseName(name), base: DefaultBase, syms: make(map[string]int32)}
}

// fail keeps the first error.
func (b *Builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("building %s: %s", b.name, fmt.Sprintf(format, args...))
	}
}

func (b *Builder) add(it item) int32 {
	i := int32(len(b.items))
	if _, dup := b.syms[it.sym]; dup {
		b.fail("symbol %s is defined twice", it.sym)
	}
	b.syms[it.sym] = i
	b.items = append(b.items, it)
	return i
}

// Grow makes room for n more symbols and exports, which saves time when there are many.
func (b *Builder) Grow(n int) {
	b.items = slices.Grow(b.items, n)
	b.exports = slices.Grow(b.exports, n)
	if len(b.syms) == 0 {
		b.syms = make(map[string]int32, n)
	}
}

// SetBase sets the preferred base, a multiple of 64 KiB.
func (b *Builder) SetBase(base uint64) { b.base = base }

// SetEntry makes a symbol the entry point.
func (b *Builder) SetEntry(symbol string) { b.entry = symbol }

// SetDLL marks the image as a library, as export drivers and hal.dll are.
func (b *Builder) SetDLL() { b.dll = true }

// Code adds a function, aligned to 16 bytes. unwind may be nil for a leaf function.
func (b *Builder) Code(symbol string, code []byte, fixups []Fixup, unwind *Unwind) {
	if len(code) == 0 {
		b.fail("function %s is empty", symbol)
	}
	b.add(item{sym: symbol, kind: kindCode, size: uint32(len(code)), align: 16, init: code,
		fixups: fixups, unwind: unwind})
}

// Const adds data that nobody may write, of at least len(init) bytes.
func (b *Builder) Const(symbol string, size, align uint32, init []byte, fixups []Fixup) {
	b.data(symbol, kindConst, size, align, init, fixups)
}

// Data adds a variable of at least len(init) bytes; what init does not cover is zero. align is a
// power of two, at most a page.
func (b *Builder) Data(symbol string, size, align uint32, init []byte, fixups []Fixup) {
	k := kindData
	if len(init) == 0 && len(fixups) == 0 {
		k = kindZero
	}
	b.data(symbol, k, size, align, init, fixups)
}

func (b *Builder) data(symbol string, k kind, size, align uint32, init []byte, fixups []Fixup) {
	size = max(size, uint32(len(init)))
	if align == 0 || align&(align-1) != 0 || align > pageSize {
		b.fail("data %s with alignment %d", symbol, align)
		align = 1
	}
	if size == 0 || size > MaxImageSize {
		b.fail("data %s with size 0x%x", symbol, size)
		size = 1
	}
	b.add(item{sym: symbol, kind: k, size: size, align: align, init: init, fixups: fixups})
}

// Export makes a symbol reachable under a name, an ordinal or both. Ordinal 0 is replaced by a free
// one; a name may be empty if there is an ordinal.
func (b *Builder) Export(name string, ordinal uint16, symbol string) {
	b.exports = append(b.exports, builtExport{name: name, ordinal: ordinal, sym: symbol})
}

// ExportForward makes a name an alias of another module's export: "OTHER.Name" or "OTHER.#12".
func (b *Builder) ExportForward(name string, ordinal uint16, target string) {
	if _, _, err := splitForwarder(target); err != nil {
		b.fail("export %s: %v", name, err)
	}
	b.exports = append(b.exports, builtExport{name: name, ordinal: ordinal, forwarder: target})
}

// Import adds an imported function. symbol names its slot in the import address table, whose eight
// bytes are the function's address once the module is bound.
func (b *Builder) Import(symbol, module string, imp Import) {
	it := b.add(item{sym: symbol, kind: kindIAT, size: slotSize, align: slotSize})
	if !imp.ByOrdinal && imp.Name == "" {
		b.fail("import %s from %s has neither name nor ordinal", symbol, module)
	}
	i := slices.IndexFunc(b.imports, func(m builtImport) bool { return m.module == module })
	if i < 0 {
		i = len(b.imports)
		b.imports = append(b.imports, builtImport{module: module})
	}
	b.imports[i].funcs = append(b.imports[i].funcs, builtImportedFunc{imp, it})
}

// LoadConfig gives the image a load configuration that names the variables which the loader fills
// in: the security cookie and the two Control Flow Guard pointers. An empty symbol leaves one out.
func (b *Builder) LoadConfig(cookie, guardCheck, guardDispatch string) {
	const size = 0x140
	init := make([]byte, size)
	binary.LittleEndian.PutUint32(init, size)
	var fixups []Fixup
	for _, f := range []struct {
		off uint32
		sym string
	}{
		{lcSecurityCookie, cookie}, {lcGuardCFCheck, guardCheck}, {lcGuardCFDispatch, guardDispatch},
	} {
		if f.sym != "" {
			fixups = append(fixups, Fixup{Offset: f.off, Kind: Abs64, Symbol: f.sym})
		}
	}
	b.lc = 1 + b.add(item{sym: "_load_config_used", kind: kindConst, size: size, align: 8,
		init: init, fixups: fixups})
}

// SymbolRVA gives a symbol's place in the image after Build, relative to the base.
func (b *Builder) SymbolRVA(symbol string) (uint32, bool) {
	i, ok := b.syms[symbol]
	if !ok {
		return 0, false
	}
	return b.items[i].rva, true
}
