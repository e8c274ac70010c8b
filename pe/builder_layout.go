// Builder.Build: the layout of a built image, and its bytes.
//
//	headers   DOS header, NT headers, section table
//	.text     functions, each at a multiple of 16, int3 between them
//	.rdata    import address table, import directory, constants, export directory, unwind data
//	.data     variables with contents, then those without, which the file does not hold
//	.pdata    a row for each function that has unwind data
//	.reloc    a block for each page that holds absolute addresses
//
// A section that would be empty is left out.

package pe

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

const (
	builtNTHeaders = 0x40
	builtFileAlign = 0x200
	builtOptSize   = 240
)

// section being built.
type builtSection struct {
	name    string
	flags   uint32
	rva     uint32
	size    uint32 // in memory
	rawSize uint32 // initialised bytes
	off     uint32 // in the file
}

// layout is the state of one Build.
type layout struct {
	*Builder
	img      *Image
	out      []byte
	sections []builtSection
	dirs     [dirCount]directory
	relocs   []uint32 // where absolute addresses are

	text, rdata, data, pdata *builtSection

	exportAt, lookupAt, unwindAt uint32 // in .rdata
	exportList                   []Export
	exportBase                   uint32
	exportFuncs                  uint32
	unwind                       []byte
	rows                         []unwindRow
}

// unwindRow is a function with unwind data.
type unwindRow struct {
	item    int32
	at      uint32 // of its UNWIND_INFO in the unwind data
	handler uint32 // of the handler's address in the unwind data, 0 for none
}

// Build lays the image out and gives it in the form that Parse would read from its bytes.
func (b *Builder) Build() (*Image, error) {
	l := &layout{Builder: b}
	for _, step := range []func(){
		l.numberExports, l.encodeUnwind, l.place, l.write, l.finish,
	} {
		if step(); b.err != nil {
			return nil, b.err
		}
	}
	return l.img, nil
}

// numberExports sorts the exports by name and gives ordinals to those that have none.
func (l *layout) numberExports() {
	if len(l.exports) == 0 {
		return
	}
	order := make([]int32, len(l.exports))
	for i := range order {
		order[i] = int32(i)
	}
	byName := func(a, b int32) int {
		x, y := &l.exports[a], &l.exports[b]
		if c := strings.Compare(x.name, y.name); c != 0 {
			return c
		}
		return int(x.ordinal) - int(y.ordinal)
	}
	if !slices.IsSortedFunc(order, byName) {
		slices.SortFunc(order, byName)
	}
	list := make([]Export, len(order))
	taken := make([]bool, 1<<10)
	mark := func(n int) {
		for n >= len(taken) {
			taken = append(taken, make([]bool, len(taken))...)
		}
		taken[n] = true
	}
	lowest, highest := 1<<16, 0
	for i, from := range order {
		e := &l.exports[from]
		list[i] = Export{Name: e.name, Ordinal: e.ordinal, Forwarder: e.forwarder}
		switch {
		case e.name == "" && e.ordinal == 0:
			l.fail("an export has neither name nor ordinal")
			return
		case e.name != "" && i > 0 && e.name == list[i-1].Name:
			l.fail("%s is exported twice", e.name)
			return
		}
		if e.ordinal != 0 {
			if int(e.ordinal) < len(taken) && taken[e.ordinal] {
				l.fail("ordinal %d is given to two exports", e.ordinal)
				return
			}
			mark(int(e.ordinal))
			lowest, highest = min(lowest, int(e.ordinal)), max(highest, int(e.ordinal))
		}
		if e.forwarder == "" {
			it, ok := l.syms[e.sym]
			if !ok {
				l.fail("export %s is of symbol %s, which is not defined", list[i].String(), e.sym)
				return
			}
			list[i].RVA = uint32(it) // its item, until writeExports has the address
		}
	}
	next := 1
	for i := range list {
		if list[i].Ordinal != 0 {
			continue
		}
		for next < len(taken) && taken[next] {
			next++
		}
		if next > 0xffff {
			l.fail("more exports than there are ordinals")
			return
		}
		mark(next)
		list[i].Ordinal = uint16(next)
		lowest, highest = min(lowest, next), max(highest, next)
	}
	l.exportList = list
	l.exportBase, l.exportFuncs = uint32(lowest), uint32(highest-lowest+1)
}

// encodeUnwind makes the UNWIND_INFOs, which hold no addresses but those of handlers.
func (l *layout) encodeUnwind() {
	for i := range l.items {
		it := &l.items[i]
		if it.unwind == nil {
			continue
		}
		at := len(l.unwind)
		b, handler, err := it.unwind.encode(l.unwind)
		if err != nil {
			l.fail("function %s: %v", it.sym, err)
			return
		}
		row := unwindRow{item: int32(i), at: uint32(at)}
		if handler != 0 {
			row.handler = uint32(at + handler)
			b = append(b, it.unwind.HandlerData...)
		}
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		l.unwind = b
		l.rows = append(l.rows, row)
	}
}

// exportSize is the size of the export directory with all its tables and names.
func (l *layout) exportSize() uint32 {
	if len(l.exportList) == 0 {
		return 0
	}
	n := exportDirectorySize + 4*l.exportFuncs + uint32(len(l.name)) + 1
	for i := range l.exportList {
		e := &l.exportList[i]
		if e.Name != "" {
			n += 6 + uint32(len(e.Name)) + 1
		}
		if e.Forwarder != "" {
			n += uint32(len(e.Forwarder)) + 1
		}
	}
	return n
}

// importSize is the size of the import directory, lookup tables and names, without the address
// table.
func (l *layout) importSize() uint32 {
	if len(l.imports) == 0 {
		return 0
	}
	n := uint32(importDescriptorSize * (len(l.imports) + 1))
	for i := range l.imports {
		m := &l.imports[i]
		n += slotSize*uint32(len(m.funcs)+1) + uint32(len(m.module)) + 1
		for j := range m.funcs {
			if f := &m.funcs[j]; !f.ByOrdinal {
				n += 2 + uint32(len(f.Name)) + 2
			}
		}
	}
	return n
}

// place gives every item its address.
func (l *layout) place() {
	var total uint64
	for i := range l.items {
		total += uint64(l.items[i].size) + uint64(l.items[i].align)
	}
	if total > MaxImageSize/2 {
		l.fail("0x%x bytes of code and data are more than an image may have", total)
		return
	}
	rva := uint32(pageSize)
	l.sections = make([]builtSection, 0, 5)
	open := func(name string, flags uint32) *builtSection {
		l.sections = append(l.sections, builtSection{name: name, flags: flags, rva: rva})
		return &l.sections[len(l.sections)-1]
	}
	closeSection := func(s *builtSection) *builtSection {
		if s.size == 0 {
			l.sections = l.sections[:len(l.sections)-1]
			return nil
		}
		if s.rawSize == 0 && s.flags&SectionUninitializedData == 0 {
			s.rawSize = s.size
		}
		rva = uint32(roundUp(uint64(s.rva+s.size), pageSize))
		return s
	}
	put := func(s *builtSection, k kind) {
		for i := range l.items {
			if it := &l.items[i]; it.kind == k {
				s.size = uint32(roundUp(uint64(s.size), uint64(it.align)))
				it.rva = s.rva + s.size
				s.size += it.size
			}
		}
	}

	text := open(".text", SectionCode|SectionExecute|SectionRead|SectionNotPaged)
	put(text, kindCode)
	l.text = closeSection(text)

	rdata := open(".rdata", SectionInitializedData|SectionRead|SectionNotPaged)
	if len(l.imports) > 0 {
		for i := range l.imports {
			m := &l.imports[i]
			for j := range m.funcs {
				l.items[m.funcs[j].item].rva = rdata.rva + rdata.size
				rdata.size += slotSize
			}
			rdata.size += slotSize // the zero after a module's addresses
		}
		l.dirs[dirIAT] = directory{VirtualAddress: rdata.rva, Size: rdata.size}
		l.dirs[dirImport] = directory{VirtualAddress: rdata.rva + rdata.size,
			Size: uint32(importDescriptorSize * (len(l.imports) + 1))}
		l.lookupAt = rdata.rva + rdata.size + l.dirs[dirImport].Size
		rdata.size += l.importSize()
	}
	put(rdata, kindConst)
	if len(l.unwind) > 0 {
		rdata.size = uint32(roundUp(uint64(rdata.size), 4))
		l.unwindAt = rdata.rva + rdata.size
		rdata.size += uint32(len(l.unwind))
	}
	if n := l.exportSize(); n > 0 {
		rdata.size = uint32(roundUp(uint64(rdata.size), 4))
		l.dirs[dirExport] = directory{VirtualAddress: rdata.rva + rdata.size, Size: n}
		rdata.size += n
	}
	l.rdata = closeSection(rdata)

	data := open(".data", SectionInitializedData|SectionRead|SectionWrite|SectionNotPaged)
	put(data, kindData)
	data.rawSize = data.size
	put(data, kindZero)
	if data.rawSize == 0 {
		data.flags = data.flags&^SectionInitializedData | SectionUninitializedData
	}
	l.data = closeSection(data)

	pdata := open(".pdata", SectionInitializedData|SectionRead|SectionNotPaged)
	pdata.size = uint32(len(l.rows) * runtimeFunctionSize)
	if l.pdata = closeSection(pdata); l.pdata != nil {
		l.dirs[dirException] = directory{VirtualAddress: pdata.rva, Size: pdata.size}
	}
	if l.lc != 0 {
		lc := &l.items[l.lc-1]
		l.dirs[dirLoadConfig] = directory{VirtualAddress: lc.rva, Size: lc.size}
	}

	l.collectRelocations()
	reloc := open(".reloc", SectionInitializedData|SectionRead|SectionDiscardable)
	reloc.size = relocationSize(l.relocs)
	if closeSection(reloc) != nil {
		l.dirs[dirReloc] = directory{VirtualAddress: reloc.rva, Size: reloc.size}
	}
	if len(l.sections) == 0 {
		l.fail("it has no code and no data")
		return
	}
	off := l.headerSize()
	for i := range l.sections {
		s := &l.sections[i]
		s.rawSize = uint32(roundUp(uint64(s.rawSize), builtFileAlign))
		if s.rawSize != 0 {
			s.off = off
			off += s.rawSize
		}
	}
	l.img = &Image{SizeOfImage: rva}
	l.out = make([]byte, off)
}

func (l *layout) headerSize() uint32 {
	return uint32(roundUp(uint64(builtNTHeaders+24+builtOptSize+40*len(l.sections)),
		builtFileAlign))
}

// collectRelocations finds where absolute addresses will be, in the order of addresses.
func (l *layout) collectRelocations() {
	collect := func(at uint32, fixups []Fixup) {
		for j := range fixups {
			if fixups[j].Kind == Abs64 {
				l.relocs = append(l.relocs, at+fixups[j].Offset)
			}
		}
	}
	for i := range l.items {
		collect(l.items[i].rva, l.items[i].fixups)
	}
	for i := range l.rows {
		if r := &l.rows[i]; r.handler != 0 {
			collect(l.unwindAt+r.handler+4, l.items[r.item].unwind.HandlerFixups)
		}
	}
	slices.Sort(l.relocs)
}

// relocationSize is the size of the blocks for the addresses.
func relocationSize(at []uint32) uint32 {
	n := uint32(0)
	for i := 0; i < len(at); {
		j := i
		for j < len(at) && at[j]&^0xfff == at[i]&^0xfff {
			j++
		}
		n += relocBlockHeader + uint32(j-i+(j-i)&1)*2
		i = j
	}
	return n
}

// bytes gives the part of the file that holds n bytes at an address.
func (l *layout) bytes(s *builtSection, rva, n uint32) []byte {
	off := s.off + rva - s.rva
	return l.out[off : off+n : off+n]
}

// section finds the section that an item's bytes go to; nil for those without.
func (l *layout) section(k kind) *builtSection {
	switch k {
	case kindCode:
		return l.text
	case kindData:
		return l.data
	case kindConst, kindIAT:
		return l.rdata
	}
	return nil
}

// write fills in the bytes of all sections.
func (l *layout) write() {
	if s := l.text; s != nil {
		pad := l.out[s.off : s.off+s.rawSize]
		for i := range pad {
			pad[i] = 0xcc
		}
	}
	for i := range l.items {
		it := &l.items[i]
		s := l.section(it.kind)
		if s == nil {
			continue
		}
		if it.kind != kindIAT {
			copy(l.bytes(s, it.rva, it.size), it.init)
		}
		l.fix(it.sym, l.bytes(s, it.rva, it.size), it.rva, it.fixups)
	}
	l.writeUnwind()
	l.writeImports()
	l.writeExports()
	l.writeRelocations()
	l.writeHeaders()
}

// fix applies fixups to the bytes of something at an address.
func (l *layout) fix(who string, b []byte, rva uint32, fixups []Fixup) {
	for j := range fixups {
		f := &fixups[j]
		width := uint32(4)
		if f.Kind == Abs64 {
			width = 8
		}
		if uint64(f.Offset)+uint64(width) > uint64(len(b)) {
			l.fail("%s: a fixup at 0x%x is outside of its 0x%x bytes", who, f.Offset, len(b))
			return
		}
		i, ok := l.syms[f.Symbol]
		if !ok {
			l.fail("%s refers to symbol %s, which is not defined", who, f.Symbol)
			return
		}
		target := int64(l.items[i].rva) + f.Addend
		at := b[f.Offset:]
		switch f.Kind {
		case Abs64:
			binary.LittleEndian.PutUint64(at, l.base+uint64(target))
			continue
		case Rel32:
			target -= int64(rva+f.Offset) + 4
		}
		if target != int64(int32(target)) {
			l.fail("%s: the distance to %s%+d does not fit 32 bits", who, f.Symbol, f.Addend)
			return
		}
		binary.LittleEndian.PutUint32(at, uint32(target))
	}
}

// writeUnwind writes the UNWIND_INFOs and .pdata. Functions are in the order of their addresses,
// because that is the order in which place put them down.
func (l *layout) writeUnwind() {
	if len(l.rows) == 0 {
		return
	}
	info := l.bytes(l.rdata, l.unwindAt, uint32(len(l.unwind)))
	copy(info, l.unwind)
	rows := l.bytes(l.pdata, l.pdata.rva, l.pdata.size)
	l.img.pdataRVA = l.pdata.rva
	l.img.functions = make([]RuntimeFunction, len(l.rows))
	for i := range l.rows {
		r := &l.rows[i]
		it := &l.items[r.item]
		f := RuntimeFunction{it.rva, it.rva + it.size, l.unwindAt + r.at}
		l.img.functions[i] = f
		binary.LittleEndian.PutUint32(rows[i*runtimeFunctionSize:], f.Begin)
		binary.LittleEndian.PutUint32(rows[i*runtimeFunctionSize+4:], f.End)
		binary.LittleEndian.PutUint32(rows[i*runtimeFunctionSize+8:], f.UnwindInfo)
		if r.handler == 0 {
			continue
		}
		who := "unwind data of " + it.sym
		l.fix(who, info[r.handler:r.handler+4], l.unwindAt+r.handler,
			[]Fixup{{Kind: RVA32, Symbol: it.unwind.Handler}})
		data := r.handler + 4
		l.fix(who, info[data:data+uint32(len(it.unwind.HandlerData))], l.unwindAt+data,
			it.unwind.HandlerFixups)
	}
}

// writeImports writes the import directory. Until it is bound, the address table repeats the lookup
// table.
func (l *layout) writeImports() {
	if len(l.imports) == 0 {
		return
	}
	dir := l.dirs[dirImport].VirtualAddress
	b := l.bytes(l.rdata, dir, l.importSize())
	lookup := l.lookupAt
	name := lookup
	for i := range l.imports {
		name += slotSize * uint32(len(l.imports[i].funcs)+1)
	}
	text := func(s string) uint32 {
		at := name
		copy(b[at-dir:], s)
		name += uint32(len(s)) + 1
		return at
	}
	l.img.Imports = make([]ImportedModule, len(l.imports))
	for i := range l.imports {
		m := &l.imports[i]
		iat := l.items[m.funcs[0].item].rva
		out := ImportedModule{Name: m.module, Functions: make([]Import, len(m.funcs))}
		d := b[i*importDescriptorSize:]
		binary.LittleEndian.PutUint32(d, lookup)
		binary.LittleEndian.PutUint32(d[12:], text(m.module))
		binary.LittleEndian.PutUint32(d[16:], iat)
		for j := range m.funcs {
			f := m.funcs[j].Import
			f.IATRVA = iat + uint32(j)*slotSize
			v := ordinalFlag | uint64(f.Ordinal)
			if !f.ByOrdinal {
				f.Ordinal = 0
				name += name & 1
				v = uint64(name)
				binary.LittleEndian.PutUint16(b[name-dir:], f.Hint)
				name += 2
				text(f.Name)
			} else {
				f.Name, f.Hint = "", 0
			}
			binary.LittleEndian.PutUint64(b[lookup-dir:], v)
			binary.LittleEndian.PutUint64(l.bytes(l.rdata, f.IATRVA, slotSize), v)
			lookup += slotSize
			out.Functions[j] = f
		}
		lookup += slotSize
		l.img.Imports[i] = out
	}
}

// writeExports writes the export directory: the directory itself, addresses, names, ordinals, and
// then the strings.
func (l *layout) writeExports() {
	if len(l.exportList) == 0 {
		return
	}
	d := l.dirs[dirExport]
	b := l.bytes(l.rdata, d.VirtualAddress, d.Size)
	nNames := uint32(0)
	for i := range l.exportList {
		if l.exportList[i].Name != "" {
			nNames++
		}
	}
	funcs := uint32(exportDirectorySize)
	nameTable := funcs + 4*l.exportFuncs
	ordinals := nameTable + 4*nNames
	text := ordinals + 2*nNames
	str := func(s string) uint32 {
		at := text
		copy(b[at:], s)
		text += uint32(len(s)) + 1
		return d.VirtualAddress + at
	}
	le := binary.LittleEndian
	le.PutUint32(b[12:], str(l.name))
	le.PutUint32(b[16:], l.exportBase)
	le.PutUint32(b[20:], l.exportFuncs)
	le.PutUint32(b[24:], nNames)
	le.PutUint32(b[28:], d.VirtualAddress+funcs)
	le.PutUint32(b[32:], d.VirtualAddress+nameTable)
	le.PutUint32(b[36:], d.VirtualAddress+ordinals)
	for i := range l.exportList {
		e := &l.exportList[i]
		index := uint32(e.Ordinal) - l.exportBase
		rva := uint32(0)
		if e.Forwarder != "" {
			rva = str(e.Forwarder)
		} else {
			e.RVA = l.items[e.RVA].rva
			rva = e.RVA
		}
		le.PutUint32(b[funcs+4*index:], rva)
		if e.Name != "" {
			le.PutUint32(b[nameTable:], str(e.Name))
			le.PutUint16(b[ordinals:], uint16(index))
			nameTable += 4
			ordinals += 2
		}
	}
	l.img.exports.list = l.exportList
	l.img.exports.index(l.exportBase, int(l.exportFuncs))
}

// writeRelocations writes a block for each page.
func (l *layout) writeRelocations() {
	if len(l.relocs) == 0 {
		return
	}
	d := l.dirs[dirReloc]
	b := l.bytes(&l.sections[len(l.sections)-1], d.VirtualAddress, d.Size)
	l.img.relocs.raw = b
	le := binary.LittleEndian
	for i := 0; i < len(l.relocs); {
		page := l.relocs[i] &^ 0xfff
		n := uint32(relocBlockHeader)
		for ; i < len(l.relocs) && l.relocs[i]&^0xfff == page; i++ {
			le.PutUint16(b[n:], relDir64<<12|uint16(l.relocs[i]&0xfff))
			n += 2
		}
		n += n & 2
		le.PutUint32(b, page)
		le.PutUint32(b[4:], n)
		b = b[n:]
	}
}

// writeHeaders writes everything before the first section.
func (l *layout) writeHeaders() {
	img := l.img
	img.Name = l.name
	img.Machine = MachineAMD64
	img.Subsystem = SubsystemNative
	img.PreferredBase = l.base
	img.SizeOfHeaders = l.headerSize()
	img.SectionAlignment = pageSize
	img.FileAlignment = builtFileAlign
	img.Characteristics = FileExecutableImage | FileLargeAddressAware
	if l.dll {
		img.Characteristics |= FileDLL
	}
	// High entropy addresses, dynamic base, no execution of data.
	img.DLLCharacteristics = 0x0160
	img.LinkerVersion = Version{14, 0}
	img.OSVersion = Version{10, 0}
	img.ImageVersion = Version{10, 0}
	img.SubsystemVersion = Version{10, 0}
	if l.entry != "" {
		i, ok := l.syms[l.entry]
		if !ok || l.items[i].kind != kindCode {
			l.fail("entry point %s is no function", l.entry)
			return
		}
		img.EntryRVA = l.items[i].rva
	}

	le := binary.LittleEndian
	copy(l.out, "MZ")
	le.PutUint32(l.out[60:], builtNTHeaders)
	h := l.out[builtNTHeaders:]
	copy(h, "PE\x00\x00")
	le.PutUint16(h[4:], uint16(img.Machine))
	le.PutUint16(h[6:], uint16(len(l.sections)))
	le.PutUint16(h[20:], builtOptSize)
	le.PutUint16(h[22:], img.Characteristics)
	o := h[24:]
	le.PutUint16(o, 0x20b)
	o[2], o[3] = byte(img.LinkerVersion.Major), byte(img.LinkerVersion.Minor)
	if l.text != nil {
		le.PutUint32(o[4:], l.text.rawSize)
		le.PutUint32(o[20:], l.text.rva)
	}
	for i := range l.sections {
		if s := &l.sections[i]; s.flags&SectionInitializedData != 0 {
			le.PutUint32(o[8:], le.Uint32(o[8:])+s.rawSize)
		}
	}
	le.PutUint32(o[16:], img.EntryRVA)
	le.PutUint64(o[24:], img.PreferredBase)
	le.PutUint32(o[32:], img.SectionAlignment)
	le.PutUint32(o[36:], img.FileAlignment)
	le.PutUint16(o[40:], img.OSVersion.Major)
	le.PutUint16(o[44:], img.ImageVersion.Major)
	le.PutUint16(o[48:], img.SubsystemVersion.Major)
	le.PutUint32(o[56:], img.SizeOfImage)
	le.PutUint32(o[60:], img.SizeOfHeaders)
	le.PutUint16(o[68:], uint16(img.Subsystem))
	le.PutUint16(o[70:], img.DLLCharacteristics)
	le.PutUint64(o[72:], 256<<10) // stack and heap sizes, which mean nothing to a driver
	le.PutUint64(o[80:], pageSize)
	le.PutUint64(o[88:], 1<<20)
	le.PutUint64(o[96:], pageSize)
	le.PutUint32(o[108:], dirCount)
	for i, d := range l.dirs {
		le.PutUint32(o[112+8*i:], d.VirtualAddress)
		le.PutUint32(o[116+8*i:], d.Size)
	}
	img.Sections = make([]Section, len(l.sections))
	for i := range l.sections {
		s := &l.sections[i]
		img.Sections[i] = Section{Name: s.name, RVA: s.rva, VirtualSize: s.size, RawOffset: s.off,
			RawSize: s.rawSize, Characteristics: s.flags}
		t := o[builtOptSize+40*i:]
		copy(t[:8], s.name)
		le.PutUint32(t[8:], s.size)
		le.PutUint32(t[12:], s.rva)
		le.PutUint32(t[16:], s.rawSize)
		le.PutUint32(t[20:], s.off)
		le.PutUint32(t[36:], s.flags)
	}
}

// finish checks what the writing steps cannot see, by the same code that Parse uses.
func (l *layout) finish() {
	img := l.img
	img.data = l.out
	if l.base%0x10000 != 0 || l.base+MaxImageSize < l.base {
		l.fail("base 0x%x is no multiple of 64 KiB, or at the end of the address space", l.base)
		return
	}
	check := func(err error) {
		if err != nil {
			l.fail("%v", err)
		}
	}
	check(img.layOut())
	if l.lc != 0 && l.err == nil {
		check(img.parseLoadConfig(l.dirs[dirLoadConfig]))
	}
	// Names come from outside; everything else was made here.
	for i := range l.exportList {
		check(checkName(l.exportList[i].Name, maxNameLength))
	}
	for i := range l.imports {
		check(checkName(l.imports[i].module, maxModuleName))
		for j := range l.imports[i].funcs {
			check(checkName(l.imports[i].funcs[j].Name, maxNameLength))
		}
	}
}

// checkName says why a name could not be read back.
func checkName(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("name %.40q… is longer than %d bytes", s, limit)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Errorf("name %q holds the byte 0x%02x", s, s[i])
		}
	}
	return nil
}
