// Mapping, binding, protecting and unmapping, in the real guest address space.

package pe

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
)

func space(tb testing.TB) *guest.Space {
	s, err := guest.Default()
	require.NoError(tb, err)
	return s
}

// mapped maps an image for the duration of a test.
func mapped(tb testing.TB, img *Image, opts MapOptions) *Module {
	m, err := img.Map(space(tb), opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Unmap()) })
	return m
}

func load64(tb testing.TB, a guest.Addr) uint64 {
	v, err := guest.Load64(a)
	require.NoError(tb, err)
	return v
}

// prot gives the protection of the page at an address of the image.
func prot(tb testing.TB, m *Module, rva uint32) string {
	info, ok := space(tb).Lookup(m.Addr(rva))
	require.True(tb, ok)
	return info.Prot.String()
}

func symbol(tb testing.TB, b *Builder, name string) uint32 {
	rva, ok := b.SymbolRVA(name)
	require.True(tb, ok, name)
	return rva
}

func TestAnImageGetsItsPreferredBaseWhenItIsFree(t *testing.T) {
	b := everything()
	m := mapped(t, build(t, b), MapOptions{})
	require.EqualValues(t, 0x140000000, m.Base())
	require.False(t, m.Relocated())
	require.Equal(t, m.Base()+guest.Addr(symbol(t, b, "DriverEntry")), m.Entry())
	require.True(t, m.Contains(m.Base()))
	require.True(t, m.Contains(m.Base()+guest.Addr(m.Size())-1))
	require.False(t, m.Contains(m.Base()+guest.Addr(m.Size())))
	require.False(t, m.Contains(m.Base()-1))
	require.EqualValues(t, m.Addr(symbol(t, b, "leaf")), load64(t, m.Addr(symbol(t, b, "table"))))
}

func TestTheSecondOfTwoImagesForOneBaseIsRelocated(t *testing.T) {
	b := everything()
	img := build(t, b)
	first := mapped(t, img, MapOptions{})
	second := mapped(t, img, MapOptions{})
	require.True(t, second.Relocated())
	require.Greater(t, second.Base(), guest.Addr(1)<<46)
	table := second.Addr(symbol(t, b, "table"))
	require.EqualValues(t, second.Addr(symbol(t, b, "leaf")), load64(t, table))
	require.EqualValues(t, second.Addr(symbol(t, b, "counter")+1), load64(t, table+8))
	require.EqualValues(t, second.Base(), load64(t, second.Base()+0x40+48), "ImageBase in headers")
	require.EqualValues(t, first.Base(), load64(t, first.Base()+0x40+48))
	// Data of the two is apart.
	require.NoError(t, guest.Store8(second.Addr(symbol(t, b, "counter")), 99))
	require.EqualValues(t, 0x030201, load64(t, first.Addr(symbol(t, b, "counter"))))
}

func TestRelocationBlocksOfAnySizeAreApplied(t *testing.T) {
	for _, n := range []int{1, 2, 3, 511, 512, 513, 5000} {
		b := NewBuilder("table.sys")
		b.Code("f", ret, nil, nil)
		fixups := make([]Fixup, n)
		for i := range fixups {
			fixups[i] = Fixup{Offset: uint32(i * 8), Kind: Abs64, Symbol: "f", Addend: int64(i)}
		}
		b.Data("table", uint32(n*8), 8, nil, fixups)
		m := mapped(t, build(t, b), MapOptions{Relocate: true})
		for i := range n {
			require.EqualValues(t, m.Addr(symbol(t, b, "f"))+guest.Addr(i),
				load64(t, m.Addr(symbol(t, b, "table"))+guest.Addr(i*8)))
		}
	}
}

func TestHighLowRelocationsChange32Bits(t *testing.T) {
	b := NewBuilder("highlow.sys")
	b.Data("v", 8, 8, nil, []Fixup{{Kind: Abs64, Symbol: "v"}})
	rva := symbolOf(t, b, "v")
	img, err := Parse("highlow.sys", patch(b.bytes(t), func(p *patcher) {
		p.set16(p.dir(dirReloc)+8, relHighLow<<12)
		p.set64(p.at(rva), 0x11111111_80000000)
	}))
	require.NoError(t, err)
	m := mapped(t, img, MapOptions{Relocate: true})
	delta := uint32(uint64(m.Base()) - img.PreferredBase)
	require.EqualValues(t, 0x11111111_00000000|uint64(0x80000000+delta), load64(t, m.Addr(rva)))
}

// symbolOf builds an image for the place of a symbol in it.
func symbolOf(tb testing.TB, b *Builder, name string) uint32 {
	build(tb, b)
	return symbol(tb, b, name)
}

func TestAnImageWithoutRelocationsSaysWhatHoldsItsBase(t *testing.T) {
	img := build(t, everything())
	mapped(t, img, MapOptions{})
	data := patch(img.Bytes(), func(p *patcher) {
		p.set16(p.fileHeader()+18, uint16(img.Characteristics|FileRelocsStripped))
		p.set64(p.dirEntry(dirReloc), 0)
	})
	fixed, err := Parse("fixed.sys", data)
	require.NoError(t, err)
	_, err = fixed.Map(space(t), MapOptions{})
	require.ErrorContains(t, err, "fixed.sys: its relocations were stripped")
	require.ErrorContains(t, err, "all.sys is at 0x140000000")
	var taken *guest.TakenError
	require.ErrorAs(t, err, &taken)
}

func TestAnImageIsNeverMappedWhereItMustNotBe(t *testing.T) {
	for _, base := range []uint64{0, 0x400000, 0xfffff80000000000, 1 << 47, guestArena(t)} {
		b := everything()
		b.SetBase(base)
		m := mapped(t, build(t, b), MapOptions{})
		if m.Relocated() {
			require.Greater(t, m.Base(), guest.Addr(1)<<46)
		}
		require.GreaterOrEqual(t, m.Base(), guest.LowGuard)
	}
}

// guestArena gives an address in the system arena that is in use.
func guestArena(t *testing.T) uint64 {
	r, err := space(t).AllocSystem(0x20000, guest.ProtRead, "in the way")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Free()) })
	return (uint64(r.Base()) + 0xffff) &^ 0xffff
}

func TestPagesHaveTheProtectionOfTheirSections(t *testing.T) {
	b := everything()
	img := build(t, b)
	m := mapped(t, img, MapOptions{})
	require.NoError(t, m.Protect())
	require.Equal(t, "r--", prot(t, m, 0))
	for _, s := range img.Sections {
		want := s.Flags()[:3]
		require.Equal(t, want, prot(t, m, s.RVA), s.Name)
		require.Equal(t, want, prot(t, m, s.end()-1), s.Name)
	}
	var fault *guest.FaultError
	require.ErrorAs(t, guest.Store8(m.Addr(symbol(t, b, "leaf")), 0), &fault)
	require.ErrorAs(t, guest.Store8(m.Addr(symbol(t, b, "text")), 0), &fault)
	require.NoError(t, guest.Store8(m.Addr(symbol(t, b, "bss")), 1))
}

func TestASectionThatIsWritableAndExecutableStaysSo(t *testing.T) {
	img := build(t, everything())
	data := patch(img.Bytes(), func(p *patcher) {
		p.set32(p.section(1)+36, SectionCode|SectionExecute|SectionRead|SectionWrite)
	})
	wx, err := Parse("wx.sys", data)
	require.NoError(t, err)
	m := mapped(t, wx, MapOptions{})
	require.NoError(t, m.Protect())
	require.Equal(t, "rwx", prot(t, m, wx.EntryRVA))
}

func TestTheSecurityCookieIsSeeded(t *testing.T) {
	seen := map[uint64]bool{}
	for range 4 {
		b := everything()
		m := mapped(t, build(t, b), MapOptions{})
		v := load64(t, m.Addr(symbol(t, b, "cookie")))
		require.NotEqualValues(t, DefaultCookie, v)
		require.NotZero(t, v)
		require.Zero(t, v>>48)
		require.False(t, seen[v])
		seen[v] = true
	}
	for _, c := range []struct {
		name       string
		init, want uint64
	}{
		{"default", DefaultCookie, 0x123456},
		{"zero", 0, 0x123456},
		{"set by the linker", 0x99, 0x99},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBuilder("c.sys")
			b.Data("cookie", 8, 8, binary.LittleEndian.AppendUint64(nil, c.init), nil)
			b.LoadConfig("cookie", "", "")
			m := mapped(t, build(t, b), MapOptions{Cookie: 0x123456})
			require.Equal(t, c.want, load64(t, m.Addr(symbol(t, b, "cookie"))))
		})
	}
}

func TestGuardPointersPointAtTheHostsStubs(t *testing.T) {
	b := everything()
	img := build(t, b)
	check, dispatch := symbol(t, b, "guard.check"), symbol(t, b, "guard.dispatch")
	own := mapped(t, img, MapOptions{})
	require.EqualValues(t, own.Addr(symbol(t, b, "leaf")), load64(t, own.Addr(check)))
	m := mapped(t, img, MapOptions{GuardCheck: 0x1111, GuardDispatch: 0x2222})
	require.EqualValues(t, 0x1111, load64(t, m.Addr(check)))
	require.EqualValues(t, 0x2222, load64(t, m.Addr(dispatch)))
}

func TestBindWritesTheImportAddressTable(t *testing.T) {
	b := everything()
	m := mapped(t, build(t, b), MapOptions{})
	asked := map[string]guest.Addr{}
	next := guest.Addr(0x1000)
	require.NoError(t, m.Bind(func(module string, imp Import) (guest.Addr, error) {
		next += 16
		asked[module+"!"+imp.String()] = next
		return next, nil
	}))
	for sym, name := range map[string]string{
		"imp.DbgPrint": "ntoskrnl.exe!DbgPrint",
		"imp.12":       "ntoskrnl.exe!#12",
		"imp.stall":    "hal.dll!KeStallExecutionProcessor",
	} {
		require.EqualValues(t, asked[name], load64(t, m.Addr(symbol(t, b, sym))), name)
	}
	boom := errors.New("boom")
	err := m.Bind(func(string, Import) (guest.Addr, error) { return 0, boom })
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "all.sys: import ntoskrnl.exe!DbgPrint: ")
}

func TestLookupFunctionFindsTheRowThatCoversAnAddress(t *testing.T) {
	b := everything()
	m := mapped(t, build(t, b), MapOptions{})
	framed := symbol(t, b, "framed")
	for _, c := range []struct {
		name string
		rva  uint32
		want bool
	}{
		{"first byte", framed, true},
		{"last byte", framed + 63, true},
		{"byte after", framed + 64, symbol(t, b, "huge") == framed+64},
		{"leaf", symbol(t, b, "leaf"), false},
		{"headers", 0, false},
		{"outside", uint32(m.Size()), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, ok := m.LookupFunction(m.Addr(c.rva))
			require.Equal(t, c.want, ok)
			if ok {
				require.True(t, f.Begin <= c.rva && c.rva < f.End)
			}
		})
	}
}

func TestUnmapLeavesNothingAndMayBeRepeated(t *testing.T) {
	before := space(t).Stats()
	m, err := build(t, everything()).Map(space(t), MapOptions{})
	require.NoError(t, err)
	require.NoError(t, m.Protect())
	require.NoError(t, m.Unmap())
	require.NoError(t, m.Unmap())
	require.Equal(t, before, space(t).Stats())
	_, ok := space(t).Lookup(m.Base())
	require.False(t, ok)
	require.ErrorIs(t, m.Protect(), ErrUnmapped)
	require.ErrorIs(t, m.Bind(nil), ErrUnmapped)
}

func TestRealImagesMapBindAndProtect(t *testing.T) {
	dir := saferwallFolder(t)
	before := space(t).Stats()
	for _, file := range realImages {
		for _, relocate := range []bool{false, true} {
			img, err := Parse(file, readNative(t, filepath.Join(dir, file)))
			require.NoError(t, err)
			m, err := img.Map(space(t), MapOptions{Relocate: relocate})
			require.NoError(t, err)
			if !relocate && filepath.Ext(file) == ".sys" {
				require.False(t, m.Relocated(), file)
			}
			checkRelocated(t, m)
			require.NoError(t, m.Bind(func(string, Import) (guest.Addr, error) { return 1, nil }))
			require.NoError(t, m.Protect())
			for i := range img.Sections {
				s := &img.Sections[i]
				require.Equal(t, s.Flags()[:3], prot(t, m, s.RVA), "%s %s", file, s.Name)
			}
			require.NoError(t, m.Unmap())
		}
	}
	require.Equal(t, before, space(t).Stats())
}

// checkRelocated holds every relocated address against the file's.
func checkRelocated(t *testing.T, m *Module) {
	img := m.Image()
	lc := img.LoadConfig
	for raw := img.relocs.raw; len(raw) > 0; raw = raw[le32(raw, 4):] {
		for i := uint64(8); i+2 <= uint64(le32(raw, 4)); i += 2 {
			e := le16(raw, i)
			rva := le32(raw, 0) + uint32(e&0xfff)
			if e>>12 != relDir64 || rva == lc.Cookie {
				continue
			}
			file, _ := img.at(rva)
			want := le64(file, 0) + uint64(m.Base()) - img.PreferredBase
			require.Equal(t, want, load64(t, m.Addr(rva)), "%s+0x%x", img.Name, rva)
		}
	}
}

func BenchmarkLoadDriver(b *testing.B) {
	data := everything().bytes(b)
	if dir, err := saferwallDir(); err == nil {
		img, err := ParseFile(filepath.Join(dir, "amdxata.sys"))
		require.NoError(b, err)
		data = img.Bytes()
	}
	s := space(b)
	b.ReportAllocs()
	for b.Loop() {
		img, err := Parse("driver.sys", data)
		if err != nil {
			b.Fatal(err)
		}
		m, err := img.Map(s, MapOptions{Relocate: true})
		if err != nil {
			b.Fatal(err)
		}
		err = m.Bind(func(string, Import) (guest.Addr, error) { return 1, nil })
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Protect(); err != nil {
			b.Fatal(err)
		}
		if err := m.Unmap(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseDriver(b *testing.B) {
	dir := saferwallFolder(b)
	img, err := ParseFile(filepath.Join(dir, "amdxata.sys"))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("driver.sys", img.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuildAndMap600Exports(b *testing.B) {
	s := space(b)
	b.ReportAllocs()
	for b.Loop() {
		img, err := kernelLike(600).Build()
		if err != nil {
			b.Fatal(err)
		}
		m, err := img.Map(s, MapOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Protect(); err != nil {
			b.Fatal(err)
		}
		if err := m.Unmap(); err != nil {
			b.Fatal(err)
		}
	}
}
