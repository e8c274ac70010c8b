// Files that must be refused, made by patching one that is good.

package pe

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// patcher changes a copy of a built image.
type patcher struct{ b []byte }

// patch gives a changed copy of an image's bytes.
func patch(data []byte, change func(*patcher)) []byte {
	p := &patcher{bytes.Clone(data)}
	change(p)
	return p.b
}

func (p *patcher) set16(off int, v uint16) { binary.LittleEndian.PutUint16(p.b[off:], v) }
func (p *patcher) set32(off int, v uint32) { binary.LittleEndian.PutUint32(p.b[off:], v) }
func (p *patcher) set64(off int, v uint64) { binary.LittleEndian.PutUint64(p.b[off:], v) }
func (p *patcher) get32(off int) uint32    { return binary.LittleEndian.Uint32(p.b[off:]) }

func (p *patcher) nt() int             { return int(p.get32(60)) }
func (p *patcher) fileHeader() int     { return p.nt() + 4 }
func (p *patcher) opt() int            { return p.nt() + 24 }
func (p *patcher) dirEntry(i int) int  { return p.opt() + 112 + 8*i }
func (p *patcher) section(n int) int   { return p.opt() + 240 + 40*(n-1) }
func (p *patcher) dirRVA(i int) uint32 { return p.get32(p.dirEntry(i)) }

// at gives the file offset of an address.
func (p *patcher) at(rva uint32) int {
	for s := p.section(1); ; s += 40 {
		if va := p.get32(s + 12); rva-va < p.get32(s+16) {
			return int(p.get32(s+20) + rva - va)
		}
	}
}

// dir gives the file offset of a directory.
func (p *patcher) dir(i int) int { return p.at(p.dirRVA(i)) }

func (b *Builder) bytes(tb testing.TB) []byte { return build(tb, b).Bytes() }

// Sections of the image that everything builds, by number.
const (
	secText = iota + 1
	secRdata
	secData
	secPdata
	secReloc
)

func TestBrokenImagesAreRefusedWithTheFact(t *testing.T) {
	good := everything().bytes(t)
	_, err := Parse("good.sys", good)
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		want  string
		patch func(p *patcher)
	}{
		{"empty", "does not start with MZ", func(p *patcher) { p.b = nil }},
		{"one byte", "does not start with MZ", func(p *patcher) { p.b = p.b[:1] }},
		{"a DOS header only", "truncated: 63 bytes", func(p *patcher) { p.b = p.b[:63] }},
		{"NT headers outside", "0xfffffffc, the file ends", func(p *patcher) {
			p.set32(60, 0xfffffffc)
		}},
		{"NT headers not aligned", "0x41", func(p *patcher) { p.set32(60, 0x41) }},
		{"a 16-bit program", "signature at offset 0x40 is 4e 45", func(p *patcher) {
			copy(p.b[p.nt():], "NE")
		}},
		{"no sections", "no sections", func(p *patcher) { p.set16(p.fileHeader()+2, 0) }},
		{"too many sections", "513 sections", func(p *patcher) { p.set16(p.fileHeader()+2, 513) }},
		{"a section table outside of the file", "runs over the end", func(p *patcher) {
			p.set16(p.fileHeader()+16, 0xfff0)
		}},
		{"a section table that the headers do not cover", "does not cover", func(p *patcher) {
			p.set32(p.opt()+60, 0x150)
		}},
		{"a short optional header", "does not hold 16", func(p *patcher) {
			p.set16(p.fileHeader()+16, 232)
		}},
		{"PE32 for x64", "magic at offset 0x58 is 0x10b", func(p *patcher) { p.set16(p.opt(), 0x10b) }},
		{"no optional header magic", "is 0x1234", func(p *patcher) {
			p.set16(p.opt(), 0x1234)
		}},
		{"a base that is not aligned", "NT headers", func(p *patcher) { p.set64(p.opt()+24, 0x1000) }},
		{"a base at the end", "end of the address space", func(p *patcher) {
			p.set64(p.opt()+24, 0xffffffffffff0000)
		}},
		{"section alignment no power of two", "0x3000", func(p *patcher) {
			p.set32(p.opt()+32, 0x3000)
		}},
		{"section alignment 0", "no power of two", func(p *patcher) { p.set32(p.opt()+32, 0) }},
		{"section alignment too small", "less than 0x10", func(p *patcher) {
			p.set32(p.opt()+32, 8)
			p.set32(p.opt()+36, 8)
		}},
		{"file alignment above section alignment", "less than file alignment", func(p *patcher) {
			p.set32(p.opt()+36, 0x2000)
		}},
		{"file alignment below a sector", "file alignment 0x100", func(p *patcher) {
			p.set32(p.opt()+36, 0x100)
		}},
		{"low alignment, but sections moved", "as the file lies", func(p *patcher) {
			p.set32(p.opt()+32, 0x200)
		}},
		{"size of image 0", "size of image 0x0", func(p *patcher) { p.set32(p.opt()+56, 0) }},
		{"size of image huge", "size of image 0xffffffff", func(p *patcher) {
			p.set32(p.opt()+56, 0xffffffff)
		}},
		{"size of image too small", "section 5 (.reloc) at 0x8000+0x20 ends after the image",
			func(p *patcher) { p.set32(p.opt()+56, 0x8000) }},
		{"size of headers beyond the file", "size of headers 0x7fffffff", func(p *patcher) {
			p.set32(p.opt()+60, 0x7fffffff)
		}},
		{"headers over a section", "section 1 (.text) at 0x1000+0x71 overlaps the headers",
			func(p *patcher) {
				p.b = append(p.b, 0)
				p.set32(p.opt()+60, 0x1001)
			}},
		{"a section on another", "section 3 (.data) at 0x2000+0x3020 overlaps section 2 (.rdata)",
			func(p *patcher) { p.set32(p.section(secData)+12, 0x2000) }},
		{"a section that grew into the next", "section 3 (.data) at 0x3000+0x3020 overlaps section 2",
			func(p *patcher) { p.set32(p.section(secRdata)+8, 0x1001) }},
		{"a section whose size overflows", "ends after the image", func(p *patcher) {
			p.set32(p.section(secReloc)+8, 0xfffffff0)
		}},
		{"a section that is not aligned", "multiple of the section alignment", func(p *patcher) {
			p.set32(p.section(secReloc)+12, 0x8010)
		}},
		{"a gap between sections", "section 5 (.reloc) at 0x9000+0x20 leaves a gap after section 4",
			func(p *patcher) {
				p.set32(p.section(secReloc)+12, 0x9000)
				p.set32(p.opt()+56, 0xa000)
			}},
		{"sections out of order", "section 2 (.rdata) at 0x9000, in the table at offset",
			func(p *patcher) { p.set32(p.section(secRdata)+12, 0x9000) }},
		{"a section of nothing", "empty in memory and in the file", func(p *patcher) {
			p.set32(p.section(secReloc)+8, 0)
			p.set32(p.section(secReloc)+16, 0)
		}},
		{"raw data beyond the file", "section 5 (.reloc) has its bytes at file offset", func(p *patcher) {
			p.set32(p.section(secReloc)+16, 0x400)
		}},
		{"raw data that overflows", "section 1 (.text) has its bytes at file offset 0xfffffe00+0x",
			func(p *patcher) { p.set32(p.section(secText)+20, 0xfffffe00) }},
		{"raw data not aligned", "no multiple of the file alignment", func(p *patcher) {
			p.set32(p.section(secText)+20, 0x401)
		}},
		{"a section row of nonsense", "section", func(p *patcher) {
			for i := range 36 {
				p.b[p.section(secReloc)+i] = 0xff
			}
		}},
		{"an entry point in data", "entry point 0x3000 (.data+0x0) is in a section that is not exec",
			func(p *patcher) { p.set32(p.opt()+16, 0x3000) }},
		{"an entry point in the headers", "entry point 0x10 (in the headers)", func(p *patcher) {
			p.set32(p.opt()+16, 0x10)
		}},
		{"an entry point outside", "entry point 0xfffffff0 is in no section", func(p *patcher) {
			p.set32(p.opt()+16, 0xfffffff0)
		}},

		{"a directory with size and no address", "import directory: address 0", func(p *patcher) {
			p.set32(p.dirEntry(dirImport), 0)
		}},
		{"imports outside of the image", "import directory at 0xdead0000", func(p *patcher) {
			p.set32(p.dirEntry(dirImport), 0xdead0000)
		}},
		{"imports at the end of a section", "descriptor 1 runs over the end", func(p *patcher) {
			p.set32(p.dirEntry(dirImport), 0x2ff8)
		}},
		{"an unterminated module name", "name at 0x1ffe (.text+0xffe) is not terminated",
			func(p *patcher) {
				p.set32(p.section(secText)+8, 0x1000)
				p.b = bytes.Clone(p.b)
				p.set32(p.dir(dirImport)+12, 0x1ffe)
				grow(p, secText, 0x1000, 'x')
			}},
		{"a module name outside", "descriptor 1: 0x7fffffff is outside", func(p *patcher) {
			p.set32(p.dir(dirImport)+12, 0x7fffffff)
		}},
		{"a module name of control characters", "holds the byte 0x01", func(p *patcher) {
			p.b[p.at(p.get32(p.dir(dirImport)+12))] = 1
		}},
		{"an empty module name", "is empty", func(p *patcher) {
			p.b[p.at(p.get32(p.dir(dirImport)+12))] = 0
		}},
		{"an address table in the headers", "address table at 0x10 is in no section",
			func(p *patcher) { p.set32(p.dir(dirImport)+16, 0x10) }},
		{"an address table without room", "has no room for 2 addresses", func(p *patcher) {
			p.set32(p.dir(dirImport)+16, 0x2ff8)
		}},
		{"a lookup table outside", "lookup table at 0x70000000 is not terminated",
			func(p *patcher) { p.set32(p.dir(dirImport), 0x70000000) }},
		{"an import by a strange ordinal", "imports from ntoskrnl.exe: import 1 at", func(p *patcher) {
			p.set64(p.at(p.get32(p.dir(dirImport))), 1<<63|0x12345)
		}},
		{"an import that is nothing", "neither an ordinal nor an address", func(p *patcher) {
			p.set64(p.at(p.get32(p.dir(dirImport))), 1<<40)
		}},
		{"an import name outside", "import 1: its name at 0x7ffffff0 is outside", func(p *patcher) {
			p.set64(p.at(p.get32(p.dir(dirImport))), 0x7ffffff0)
		}},

		{"exports outside", "export directory at 0x9000", func(p *patcher) {
			p.set32(p.dirEntry(dirExport), 0x9000)
		}},
		{"more exports than ordinals", "more than there are ordinals", func(p *patcher) {
			p.set32(p.dir(dirExport)+20, 0x10001)
		}},
		{"an ordinal base that overflows", "more than there are ordinals", func(p *patcher) {
			p.set32(p.dir(dirExport)+16, 0xfffffffe)
		}},
		{"an address table that overflows", "address table at 0x2ffc with 11 entries is outside",
			func(p *patcher) { p.set32(p.dir(dirExport)+28, 0x2ffc) }},
		{"a name table outside", "name table at 0xfffffffc", func(p *patcher) {
			p.set32(p.dir(dirExport)+32, 0xfffffffc)
		}},
		{"an ordinal table outside", "ordinal table at 0x80000000 with 4", func(p *patcher) {
			p.set32(p.dir(dirExport)+36, 0x80000000)
		}},
		{"an export of an ordinal that is not there", "name 1 is for function 65535 of 11",
			func(p *patcher) { p.set16(p.at(p.get32(p.dir(dirExport)+36)), 0xffff) }},
		{"an export without an address", "export Alias has no address", func(p *patcher) {
			p.set32(p.at(p.get32(p.dir(dirExport)+28)), 0)
		}},
		{"an export outside of the image", "export Alias at 0x9000 is outside", func(p *patcher) {
			p.set32(p.at(p.get32(p.dir(dirExport)+28)), 0x9000)
		}},
		{"an export name outside", "name 1: 0xfffffff0 is outside", func(p *patcher) {
			p.set32(p.at(p.get32(p.dir(dirExport)+32)), 0xfffffff0)
		}},
		{"a forwarder without a dot", "is not MODULE.Name", func(p *patcher) {
			i := bytes.Index(p.b, []byte("other.Name"))
			p.b[i+5] = '_'
		}},

		{".pdata outside", "exception directory", func(p *patcher) {
			p.set32(p.dirEntry(dirException), 0x9000)
		}},
		{".pdata longer than its section", "not inside of one section", func(p *patcher) {
			p.set32(p.dirEntry(dirException)+4, 0x1008)
		}},
		{".pdata of an odd size", "no multiple of 12", func(p *patcher) {
			p.set32(p.dirEntry(dirException)+4, 35)
		}},
		{".pdata beyond the bytes of the file", "the file ends before the table",
			func(p *patcher) { p.set32(p.dirEntry(dirException)+4, 0xff0) }},
		{".pdata that is not sorted", "entry 2 at 0x700c", func(p *patcher) {
			p.set32(p.dir(dirException), 0x1030)
			p.set32(p.dir(dirException)+4, 0x1031)
		}},
		{"a function of negative size", "covers no code", func(p *patcher) {
			p.set32(p.dir(dirException)+4, 0x1000)
		}},
		{"a function outside of its section", "not inside of one section", func(p *patcher) {
			p.set32(p.dir(dirException)+4, 0x2001)
		}},
		{"unwind data outside", "unwind data outside", func(p *patcher) {
			p.set32(p.dir(dirException)+8, 0x90000)
		}},
		{"unwind data not aligned", "not aligned", func(p *patcher) {
			p.set32(p.dir(dirException)+8, 0x2002)
		}},
		{"a reference to no entry", "refers to no entry", func(p *patcher) {
			p.set32(p.dir(dirException)+8, 0x7000+5)
		}},
		{"an entry that refers to itself", "refers to an entry that refers", func(p *patcher) {
			p.set32(p.dir(dirException)+8, 0x7000+1)
		}},

		{"relocations outside", "relocation directory at 0x9000", func(p *patcher) {
			p.set32(p.dirEntry(dirReloc), 0x9000)
		}},
		{"relocations of an overflowing size", "not inside of one section", func(p *patcher) {
			p.set32(p.dirEntry(dirReloc)+4, 0xfffffff0)
		}},
		{"a block of size 0", "block at 0x8000 (.reloc+0x0) has size 0x0", func(p *patcher) {
			p.set32(p.dir(dirReloc)+4, 0)
		}},
		{"an empty block before the last", "is not the last", func(p *patcher) {
			p.set64(p.dir(dirReloc), 0)
		}},
		{"a block smaller than its header", "has size 0x7", func(p *patcher) {
			p.set32(p.dir(dirReloc)+4, 7)
		}},
		{"a block of odd size", "which is odd", func(p *patcher) { p.set32(p.dir(dirReloc)+4, 11) }},
		{"a block over the end", "runs over the end of the directory", func(p *patcher) {
			p.set32(p.dir(dirReloc)+4, 0x1000)
		}},
		{"a block whose size overflows", "runs over the end of the directory", func(p *patcher) {
			p.set32(p.dir(dirReloc)+4, 0xfffffffe)
		}},
		{"a relocation of an unknown type", "entry 1 has type 4", func(p *patcher) {
			p.set16(p.dir(dirReloc)+8, 4<<12)
		}},
		{"a relocation in the headers", "entry 1 is for 8 bytes at 0xd0", func(p *patcher) {
			p.set32(p.dir(dirReloc), 0)
		}},
		{"a relocation outside of the image", "which are in no section", func(p *patcher) {
			p.set32(p.dir(dirReloc), 0xfffff000)
		}},
		{"a relocation over the end of a section", "8 bytes at 0x6ffc", func(p *patcher) {
			p.set32(p.section(secData)+8, 0x4000)
			p.set32(p.dir(dirReloc), 0x6000)
			p.set16(p.dir(dirReloc)+8, relDir64<<12|0xffc)
			p.set32(p.section(secPdata)+12, 0x7000)
		}},

		{"a load config outside", "load config directory", func(p *patcher) {
			p.set32(p.dirEntry(dirLoadConfig), 0x9000)
		}},
		{"a load config of size 0", "its size field is 0x0", func(p *patcher) {
			p.set32(p.dir(dirLoadConfig), 0)
		}},
		{"a load config that is too long", "its size field is 0xffffffff", func(p *patcher) {
			p.set32(p.dir(dirLoadConfig), 0xffffffff)
		}},
		{"a cookie outside of the image", "the security cookie at 0x150000000 is in no section",
			func(p *patcher) { p.set64(p.dir(dirLoadConfig)+lcSecurityCookie, 0x150000000) }},
		{"a cookie in the headers", "the security cookie at 0x140000000", func(p *patcher) {
			p.set64(p.dir(dirLoadConfig)+lcSecurityCookie, 0x140000000)
		}},
		{"a guard pointer below the base", "the guard check pointer at 0x1 is in no", func(p *patcher) {
			p.set64(p.dir(dirLoadConfig)+lcGuardCFCheck, 1)
		}},
		{"a signature beyond the file", "security directory at", func(p *patcher) {
			p.set32(p.dirEntry(dirSecurity), uint32(len(p.b)))
			p.set32(p.dirEntry(dirSecurity)+4, 8)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("bad.sys", patch(good, c.patch))
			require.ErrorContains(t, err, "bad.sys: ")
			require.ErrorContains(t, err, c.want)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
		})
	}
}

// grow gives a section n bytes in the file, at its end, filled with c.
func grow(p *patcher, section int, n int, c byte) {
	old := p.b[p.get32(p.section(section)+20):][:p.get32(p.section(section)+16)]
	raw := append(bytes.Clone(old), bytes.Repeat([]byte{c}, n-len(old))...)
	p.set32(p.section(section)+20, uint32(len(p.b)))
	p.set32(p.section(section)+16, uint32(n))
	p.b = append(p.b, raw...)
}

func TestAnImageCutOffAnywhereIsRefused(t *testing.T) {
	good := everything().bytes(t)
	for n := range good {
		_, err := Parse("cut.sys", good[:n:n])
		require.Error(t, err, "after %d of %d bytes", n, len(good))
	}
}

func TestImagesForOthersAreRefusedByName(t *testing.T) {
	good := everything().bytes(t)
	for _, c := range []struct {
		name   string
		off    int
		value  uint16
		expect string
	}{
		{"ARM64", 4, 0xaa64, "x.sys: an ARM64 image; it needs an ARM64 host"},
		{"x86", 4, 0x14c, "x.sys: a 32-bit x86 image; it needs a 32-bit host"},
		{"ARM", 4, 0x1c4, "x.sys: a 32-bit ARM (Thumb-2) image; it needs a 32-bit ARM host"},
		{"Itanium", 4, 0x200, "x.sys: an Itanium image; it needs an Itanium host"},
		{"unknown", 4, 0x1234, "x.sys: a machine 0x1234 image; it needs a host of that machine"},
		{"console", 24 + 68, 3, "x.sys: a Windows console program; it needs Windows or Wine"},
		{"EFI", 24 + 68, 11, "x.sys: an EFI boot service driver; it needs EFI firmware"},
		{"no subsystem", 24 + 68, 99,
			"x.sys: an image for subsystem 99; it needs a driver, whose subsystem is native"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("x.sys", patch(good, func(p *patcher) { p.set16(p.nt()+c.off, c.value) }))
			require.EqualError(t, err, c.expect)
			var unsupported *UnsupportedError
			require.ErrorAs(t, err, &unsupported)
		})
	}
}

func TestOddButSoundImagesAreTaken(t *testing.T) {
	good := everything().bytes(t)
	for _, c := range []struct {
		name  string
		patch func(p *patcher)
		check func(t *testing.T, img *Image)
	}{
		{"relocations padded with zeros", func(p *patcher) {
			p.set32(p.dirEntry(dirReloc)+4, 0x400)
		}, nil},
		{"a section without a virtual size", func(p *patcher) {
			p.set32(p.section(secText)+8, 0)
		}, nil},
		{"a section without bytes at a wild file offset", func(p *patcher) {
			p.set32(p.dirEntry(dirReloc), 0)
			p.set32(p.dirEntry(dirReloc)+4, 0)
			p.set32(p.section(secReloc)+16, 0)
			p.set32(p.section(secReloc)+20, 0xff000000)
		}, func(t *testing.T, img *Image) { exercise(t, space(t), img) }},
		{"no entry point", func(p *patcher) { p.set32(p.opt()+16, 0) }, nil},
		{"an image larger than its sections", func(p *patcher) {
			p.set32(p.opt()+56, 0x100000)
		}, nil},
		{"a size of image that is not whole pages", func(p *patcher) {
			p.set32(p.opt()+56, 0x8020)
		}, func(t *testing.T, img *Image) { require.EqualValues(t, 0x9000, img.SizeOfImage) }},
		{"a section name of control characters", func(p *patcher) {
			copy(p.b[p.section(secText):], "a\x1b[2Jb\xff")
		}, func(t *testing.T, img *Image) {
			require.Equal(t, `a\x1b[2Jb\xff`, img.Sections[0].Name)
		}},
		{"no directories at all", func(p *patcher) {
			p.set32(p.opt()+108, 0)
		}, func(t *testing.T, img *Image) { require.Empty(t, img.Imports) }},
		{"an entry that refers to another", func(p *patcher) {
			p.set32(p.dir(dirException)+8, p.dirRVA(dirException)+12+1)
		}, func(t *testing.T, img *Image) {
			f, ok := img.LookupFunction(img.Functions()[0].Begin)
			require.True(t, ok)
			require.Equal(t, img.Functions()[1], f)
		}},
		{"low alignment", func(p *patcher) { p.b = lowAlignment(t) }, func(t *testing.T, img *Image) {
			require.EqualValues(t, 0x80, img.SectionAlignment)
			m := mapped(t, img, MapOptions{})
			require.NoError(t, m.Protect())
			// Both sections are on the first two pages, and allow what either needs.
			require.Equal(t, "rwx", prot(t, m, 0))
			require.EqualValues(t, 0x1122334455667788, load64(t, m.Addr(0x300)))
			require.Zero(t, load64(t, m.Addr(0x1ff8)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := Parse("odd.sys", patch(good, c.patch))
			require.NoError(t, err)
			if c.check != nil {
				c.check(t, img)
			}
		})
	}
}

// lowAlignment makes an image whose sections are aligned to 128 bytes in the file and in memory.
func lowAlignment(tb testing.TB) []byte {
	b := NewBuilder("low.sys")
	b.Code("entry", ret, nil, nil)
	b.Data("v", 8, 8, []byte{1}, nil)
	return patch(b.bytes(tb), func(p *patcher) {
		p.set32(p.opt()+32, 0x80)
		p.set32(p.opt()+36, 0x80)
		p.set32(p.opt()+56, 0x2000)
		p.set32(p.opt()+60, 0x200)
		p.b = append(p.b[:0x280], make([]byte, 0x100)...)
		for i, row := range []struct{ rva, vsize, raw uint32 }{{0x280, 1, 0x80}, {0x300, 0x1d00, 0x80}} {
			s := p.section(i + 1)
			p.set32(s+8, row.vsize)
			p.set32(s+12, row.rva)
			p.set32(s+16, row.raw)
			p.set32(s+20, row.rva)
		}
		p.b[0x280] = 0xc3
		p.set64(0x300, 0x1122334455667788)
	})
}

func TestNoFileButARegularOneIsParsed(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo.sys")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err := ParseFile(fifo)
	require.ErrorContains(t, err, "fifo.sys: not a regular file")
	_, err = ParseFile(dir)
	require.ErrorContains(t, err, "not a regular file")
	_, err = ParseFile("/dev/zero")
	require.ErrorContains(t, err, "not a regular file")
	_, err = ParseFile(filepath.Join(dir, "none.sys"))
	require.ErrorIs(t, err, os.ErrNotExist)
	large := filepath.Join(dir, "large.sys")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, MaxFileSize+1))
	_, err = ParseFile(large)
	require.ErrorContains(t, err, "more than an image may have")
	good := filepath.Join(dir, "good.sys")
	require.NoError(t, os.WriteFile(good, everything().bytes(t), 0o600))
	img, err := ParseFile(good)
	require.NoError(t, err)
	require.Equal(t, "good.sys", img.Name)
}
