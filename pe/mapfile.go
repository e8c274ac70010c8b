package pe

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Symbol is a name for a place in an image.
type Symbol struct {
	RVA  uint32
	Name string
}

// Limits of a linker's map: bytes that are read, and symbols that are kept.
const (
	maxMapFile = 64 << 20
	maxSymbols = 1 << 20
)

// readMapBeside reads FILE.map beside FILE.sys, if there is one that can be read.
func readMapBeside(path string, img *Image) {
	name := strings.TrimSuffix(path, filepath.Ext(path)) + ".map"
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxMapFile {
		return
	}
	if text, err := io.ReadAll(io.LimitReader(f, maxMapFile)); err == nil {
		img.Symbols = parseMap(text, img)
	}
}

// parseMap reads the symbols of a linker's map (link.exe and lld-link /map): lines of
//
//	0001:00000010       DriverEntry                0000000140001010 f i  foo.obj
//
// What is none is passed over, and so are addresses outside the image.
func parseMap(text []byte, img *Image) (list []Symbol) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && len(list) < maxSymbols {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || len(fields[0]) != 13 || fields[0][4] != ':' || len(fields[2]) != 16 {
			continue
		}
		at, err := strconv.ParseUint(fields[2], 16, 64)
		if err != nil || at < img.PreferredBase || at-img.PreferredBase >= uint64(img.SizeOfImage) {
			continue
		}
		list = append(list, Symbol{uint32(at - img.PreferredBase), fields[1]})
	}
	slices.SortStableFunc(list, func(a, b Symbol) int { return cmp.Compare(a.RVA, b.RVA) })
	return list
}

// NearestSymbol gives the last symbol at or before an RVA; ok is false if there is none.
func (img *Image) NearestSymbol(rva uint32) (s Symbol, ok bool) {
	i, found := slices.BinarySearchFunc(img.Symbols, rva, func(s Symbol, rva uint32) int {
		return cmp.Compare(s.RVA, rva)
	})
	if !found {
		i--
	}
	if i < 0 {
		return Symbol{}, false
	}
	return img.Symbols[i], true
}
