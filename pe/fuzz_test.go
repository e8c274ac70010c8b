// Fuzzing: whatever a file holds, Parse gives an error or an image that can be mapped, bound,
// searched and unmapped. What was found once is in testdata/fuzz.

package pe

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
)

// seeds adds images to start from: built ones, and the smaller real drivers.
func seeds(f *testing.F) {
	f.Add(everything().bytes(f))
	f.Add(lowAlignment(f))
	f.Add(importer("d.sys", [2]string{"a.sys", "X"}, [2]string{"b.sys", "#3"}).bytes(f))
	if dir, err := saferwallDir(); err == nil {
		for _, file := range []string{"amdxata.sys", "amdi2c.sys", "WdBoot.sys"} {
			data, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(f, err)
			f.Add(data)
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Parse("fuzz.sys", data)
		if err != nil {
			return
		}
		n := 0
		for _, m := range img.Imports {
			n += len(m.Functions)
			for _, i := range m.Functions {
				require.True(t, img.inSection(i.IATRVA, slotSize))
			}
		}
		require.LessOrEqual(t, n, MaxImports)
		for _, e := range img.Exports() {
			require.NotEqual(t, e.RVA == 0, e.Forwarder == "")
			got, ok := img.ExportByOrdinal(e.Ordinal)
			require.True(t, ok)
			require.Equal(t, e.RVA, got.RVA)
			if e.Name != "" {
				_, ok := img.LookupExport(e.Name)
				require.True(t, ok)
			}
		}
		for _, r := range img.Functions() {
			require.True(t, r.Begin < r.End && r.End <= img.SizeOfImage)
			img.LookupFunction(r.Begin)
			img.LookupFunction(r.End)
		}
		for i := range img.Sections {
			s := &img.Sections[i]
			require.LessOrEqual(t, uint64(s.RVA)+uint64(s.extent), uint64(img.SizeOfImage))
		}
		_, err = LoadOrder([]*Image{img})
		if err != nil {
			require.ErrorIs(t, err, ErrLoop)
		}
	})
}

func FuzzMap(f *testing.F) {
	seeds(f)
	space, err := guest.Default()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Parse("fuzz.sys", data)
		if err != nil {
			return
		}
		exercise(t, space, img)
	})
}

// exercise takes an image through all that a load does, at its base and relocated, and makes sure
// that nothing of it stays.
func exercise(t *testing.T, space *guest.Space, img *Image) {
	before := space.Stats()
	for _, relocate := range []bool{false, true} {
		m, err := img.Map(space, MapOptions{GuardCheck: 0x1000, GuardDispatch: 0x2000,
			Relocate: relocate})
		if err != nil {
			// The one thing that may fail is finding a place.
			require.False(t, img.HasRelocations(), "%v", err)
			continue
		}
		require.NoError(t, m.Bind(func(string, Import) (guest.Addr, error) { return 0x42, nil }))
		l := NewLinker()
		require.NoError(t, l.Add(m))
		linkErr := l.Link(m, func(Missing) (guest.Addr, error) { return 0x43, nil })
		if linkErr != nil {
			require.ErrorIs(t, linkErr, ErrLoop)
		}
		require.NoError(t, m.Protect())
		for i := range img.Sections {
			s := &img.Sections[i]
			for _, rva := range []uint32{s.RVA, s.end() - 1} {
				info, ok := space.Lookup(m.Addr(rva))
				require.True(t, ok)
				require.NotZero(t, info.Prot&guest.ProtRead)
				require.True(t, !s.Writable() || info.Prot&guest.ProtWrite != 0)
				require.True(t, !s.Executable() || info.Prot&guest.ProtExec != 0)
				_, err := guest.Load8(m.Addr(rva))
				require.NoError(t, err)
			}
		}
		for _, f := range img.Functions() {
			m.LookupFunction(m.Addr(f.Begin))
		}
		require.NoError(t, m.Unmap())
	}
	require.Equal(t, before, space.Stats())
}

func TestNoChangedWordDoesHarm(t *testing.T) {
	space := space(t)
	good := everything().bytes(t)
	taken := 0
	for off := 0; off < len(good); off += 4 {
		p := &patcher{bytes.Clone(good)}
		v := p.get32(off)
		if v == 0 && off >= 0x400 || v == 0xcccccccc { // padding
			continue
		}
		for _, w := range []uint32{0, v + 1, v - 4, v ^ 0x1000, v ^ 0x10, 0x7fffffff, 0xffffffff} {
			p.set32(off, w)
			img, err := Parse("word.sys", p.b)
			if err != nil {
				continue
			}
			taken++
			exercise(t, space, img)
		}
	}
	require.NotZero(t, taken)
}
