// Linking: modules that import from each other, by all the ways in which an export can be named.

package pe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
)

// library builds a module with a function under each of the exports.
func library(name string, exports func(b *Builder)) *Builder {
	b := NewBuilder(name)
	b.Code("f", ret, nil, nil)
	b.Code("g", ret, nil, nil)
	exports(b)
	return b
}

// importer builds a driver with the imports, each under the symbol "module!import".
func importer(name string, imports ...[2]string) *Builder {
	b := NewBuilder(name)
	b.Code("DriverEntry", ret, nil, nil)
	b.SetEntry("DriverEntry")
	for _, i := range imports {
		imp := Import{Name: i[1]}
		if i[1][0] == '#' {
			imp = Import{ByOrdinal: true}
			fmt.Sscanf(i[1], "#%d", &imp.Ordinal)
		}
		b.Import(i[0]+"!"+i[1], i[0], imp)
	}
	return b
}

func TestImportsAreFoundInLoadedModules(t *testing.T) {
	l := NewLinker()
	nt := library("ntoskrnl.exe", func(b *Builder) {
		b.Export("F", 5, "f")
		b.Export("G", 0, "g")
		b.ExportForward("Stall", 0, "HAL.RealStall")
		b.ExportForward("ByOrdinal", 0, "HAL.#77")
		b.ExportForward("Far", 0, "HAL.Back")
		b.ExportForward("Lost", 0, "HAL.NotThere")
		b.ExportForward("Nowhere", 0, "nomodule.X")
		b.ExportForward("Loop", 0, "HAL.Loop")
		b.ExportForward("Self", 0, "ntoskrnl.Self")
		b.ExportForward("Sys", 0, "my.dotted.driver.H")
	})
	hal := library("hal.dll", func(b *Builder) {
		b.Export("RealStall", 0, "f")
		b.Export("", 77, "g")
		b.ExportForward("Back", 0, "ntoskrnl.G")
		b.ExportForward("Loop", 0, "ntoskrnl.Loop")
	})
	dotted := library("my.dotted.driver.sys", func(b *Builder) { b.Export("H", 0, "g") })
	mods := map[*Builder]*Module{}
	for _, b := range []*Builder{nt, hal, dotted} {
		mods[b] = mapped(t, build(t, b), MapOptions{})
		require.NoError(t, l.Add(mods[b]))
	}
	l.Alias("ntkrnlpa.exe", "ntoskrnl.exe")
	addr := func(b *Builder, sym string) guest.Addr { return mods[b].Addr(symbol(t, b, sym)) }
	for _, c := range []struct {
		name, module, imp string
		want              guest.Addr
		err               string
	}{
		{"by name", "ntoskrnl.exe", "F", addr(nt, "f"), ""},
		{"by ordinal", "ntoskrnl.exe", "#5", addr(nt, "f"), ""},
		{"in capitals", "NTOSKRNL.EXE", "G", addr(nt, "g"), ""},
		{"of an alias", "NTKRNLPA.exe", "G", addr(nt, "g"), ""},
		{"without the extension", "hal", "RealStall", addr(hal, "f"), ""},
		{"forwarded by name", "ntoskrnl.exe", "Stall", addr(hal, "f"), ""},
		{"forwarded by ordinal", "ntoskrnl.exe", "ByOrdinal", addr(hal, "g"), ""},
		{"forwarded there and back", "ntoskrnl.exe", "Far", addr(nt, "g"), ""},
		{"forwarded to a name with dots", "ntoskrnl.exe", "Sys", addr(dotted, "g"), ""},
		{"export names have a case", "ntoskrnl.exe", "f", 0, "ntoskrnl.exe does not export f"},
		{"no such ordinal", "hal.dll", "#78", 0, "hal.dll does not export #78"},
		{"no such module", "NDIS.SYS", "F", 0, "module NDIS.SYS is not loaded"},
		{"forwarded to nothing", "ntoskrnl.exe", "Lost", 0,
			"forwarded by ntoskrnl.exe!Lost: hal.dll does not export NotThere"},
		{"forwarded to no module", "ntoskrnl.exe", "Nowhere", 0, "module nomodule is not loaded"},
		{"forwarded in a circle", "ntoskrnl.exe", "Loop", 0, "import loop at ntoskrnl.exe!Loop"},
		{"forwarded to itself", "ntoskrnl.exe", "Self", 0, "import loop at ntoskrnl.exe!Self"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := importer("driver.sys", [2]string{c.module, c.imp})
			m := mapped(t, build(t, b), MapOptions{})
			err := l.Link(m, nil)
			if c.err != "" {
				require.ErrorContains(t, err, "driver.sys: import "+c.module+"!"+c.imp)
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, c.want, load64(t, m.Addr(symbol(t, b, c.module+"!"+c.imp))))
		})
	}
	a, err := l.Resolve("ntoskrnl.exe", Import{Name: "Loop"})
	require.ErrorIs(t, err, ErrLoop)
	require.Zero(t, a)
}

func TestMissingImportsGetAThunk(t *testing.T) {
	l := NewLinker()
	b := importer("d.sys", [2]string{"a.sys", "X"}, [2]string{"a.sys", "#3"}, [2]string{"b.sys", "Y"})
	m := mapped(t, build(t, b), MapOptions{})
	var got []string
	require.NoError(t, l.Link(m, func(miss Missing) (guest.Addr, error) {
		require.Same(t, m, miss.Importer)
		require.ErrorAs(t, miss.Err, new(*MissingError))
		got = append(got, miss.Module+"!"+miss.Import.String())
		return guest.Addr(len(got)), nil
	}))
	require.Equal(t, []string{"a.sys!X", "a.sys!#3", "b.sys!Y"}, got)
	require.EqualValues(t, 3, load64(t, m.Addr(symbol(t, b, "b.sys!Y"))))
	stop := errors.New("stop")
	require.ErrorIs(t, l.Link(m, func(Missing) (guest.Addr, error) { return 0, stop }), stop)
}

func TestACircleOfForwardersIsNoMissingImport(t *testing.T) {
	l := NewLinker()
	a := library("a.sys", func(b *Builder) { b.ExportForward("X", 0, "a.X") })
	require.NoError(t, l.Add(mapped(t, build(t, a), MapOptions{})))
	m := mapped(t, build(t, importer("d.sys", [2]string{"a.sys", "X"})), MapOptions{})
	require.ErrorIs(t, l.Link(m, func(Missing) (guest.Addr, error) {
		t.Fatal("called")
		return 0, nil
	}), ErrLoop)
}

func TestAFallbackStaysInPlaceOfAMissingImport(t *testing.T) {
	b := importer("d.sys", [2]string{"ext-ms-win-x.dll", "X"})
	img := build(t, b)
	slot, entry := symbol(t, b, "ext-ms-win-x.dll!X"), symbol(t, b, "DriverEntry")
	img, err := Parse("d.sys", patch(img.Bytes(), func(p *patcher) {
		p.set64(p.at(slot), DefaultBase+uint64(entry))
	}))
	require.NoError(t, err)
	l := NewLinker()
	m := mapped(t, img, MapOptions{Relocate: true})
	require.NoError(t, l.Link(m, nil))
	require.EqualValues(t, m.Addr(entry), load64(t, m.Addr(slot)))

	ext := library("ext-ms-win-x.dll", func(b *Builder) { b.Export("X", 0, "f") })
	x := mapped(t, build(t, ext), MapOptions{})
	require.NoError(t, l.Add(x))
	require.NoError(t, l.Link(m, nil))
	require.EqualValues(t, x.Addr(symbol(t, ext, "f")), load64(t, m.Addr(slot)))
}

func TestLinkerKnowsItsModules(t *testing.T) {
	l := NewLinker()
	a := mapped(t, build(t, library("a.sys", func(*Builder) {})), MapOptions{})
	b := mapped(t, build(t, library("b.sys", func(*Builder) {})), MapOptions{})
	other := mapped(t, build(t, library("A.SYS", func(*Builder) {})), MapOptions{})
	require.NoError(t, l.Add(a))
	require.NoError(t, l.Add(b))
	require.ErrorContains(t, l.Add(other), "A.SYS: a module of that name is loaded at "+
		a.Base().String())
	l.Remove(other) // not in it
	require.Equal(t, []*Module{a, b}, l.Modules())
	got, ok := l.At(b.Entry() + b.Base() + 0x1000)
	require.True(t, ok)
	require.Same(t, b, got)
	l.Remove(a)
	_, ok = l.Module("a.sys")
	require.False(t, ok)
	_, ok = l.At(a.Base())
	require.False(t, ok)
	require.NoError(t, l.Add(other))
}

func TestLinkerServesLookUpsWhileModulesComeAndGo(t *testing.T) {
	l := NewLinker()
	a := mapped(t, build(t, library("a.sys", func(b *Builder) { b.Export("X", 0, "f") })),
		MapOptions{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				l.Resolve("a.sys", Import{Name: "X"})
				l.At(a.Base())
			}
		})
	}
	for range 500 {
		require.NoError(t, l.Add(a))
		l.Remove(a)
	}
	wg.Wait()
}

func TestLoadOrderPutsImportersLast(t *testing.T) {
	a := build(t, importer("a.sys", [2]string{"C.sys", "X"}, [2]string{"ntoskrnl.exe", "Y"}))
	b := build(t, importer("b.sys"))
	c := build(t, importer("c.SYS", [2]string{"b.sys", "X"}))
	order, err := LoadOrder([]*Image{a, b, c})
	require.NoError(t, err)
	require.Equal(t, []*Image{b, c, a}, order)

	d := build(t, importer("d.sys", [2]string{"e.sys", "X"}))
	e := build(t, importer("e.sys", [2]string{"d.sys", "X"}))
	_, err = LoadOrder([]*Image{a, d, e})
	require.ErrorIs(t, err, ErrLoop)
	require.ErrorContains(t, err, "d.sys imports from e.sys imports from d.sys")
	_, err = LoadOrder([]*Image{b, b})
	require.ErrorContains(t, err, "given twice")
	self := build(t, importer("s.sys", [2]string{"s.sys", "X"}))
	_, err = LoadOrder([]*Image{self})
	require.ErrorIs(t, err, ErrLoop)
}

func TestOverlappingTablesCannotMakeMoreImportsThanAFileIsWorth(t *testing.T) {
	// Descriptors that all use one long lookup table: 100 KB that would come to millions of imports.
	const slots, descriptors = 4000, 3000
	blob := make([]byte, slots*8+8+descriptors*20+20)
	for i := range slots {
		binary.LittleEndian.PutUint64(blob[i*8:], 1<<63|uint64(i))
	}
	b := NewBuilder("many.sys")
	b.Data("blob", 0, 8, blob, nil)
	b.Data("name", 0, 1, []byte("a.sys\x00"), nil)
	img := build(t, b)
	at, name := symbol(t, b, "blob"), symbol(t, b, "name")
	_, err := Parse("many.sys", patch(img.Bytes(), func(p *patcher) {
		dir := at + slots*8 + 8
		p.set32(p.dirEntry(dirImport), dir)
		for i := range descriptors {
			d := p.at(dir) + 20*i
			p.set32(d, at)
			p.set32(d+12, name)
			p.set32(d+16, at)
		}
	}))
	require.ErrorContains(t, err, "more than 65536 imports")
}
