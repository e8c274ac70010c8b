// Parse: from a file's bytes to a checked Image.

package pe

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	saferwall "github.com/saferwall/pe"
	"github.com/saferwall/pe/log"
)

// ParseFile reads and parses the image in a regular file. Its name without directories becomes the
// image's name.
func ParseFile(path string) (*Image, error) {
	// O_NONBLOCK: a FIFO in place of a file must not hang the open.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file (%s)", path, st.Mode().Type())
	}
	if st.Size() > MaxFileSize {
		return nil, fmt.Errorf("%s: %d bytes, more than an image may have (%d)", path, st.Size(),
			MaxFileSize)
	}
	data := make([]byte, st.Size())
	n, err := io.ReadFull(f, data)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	img, err := Parse(filepath.Base(path), data[:n])
	if err == nil {
		readMapBeside(path, img)
	}
	return img, err
}

// Parse reads an image and checks everything that mapping, linking and unwinding rely on. name is
// the file's name, for errors and the linker. The image keeps data, which must not change.
//
// Errors are *InvalidError (it is no image, or a broken one) or *UnsupportedError (an image for
// another machine or subsystem).
func Parse(name string, data []byte) (*Image, error) {
	img := &Image{Name: baseName(name), data: data}
	if err := img.parse(); err != nil {
		if u, ok := err.(*UnsupportedError); ok {
			u.File = name
			return nil, u
		}
		return nil, &InvalidError{File: name, Fact: err.Error()}
	}
	return img, nil
}

// baseName cuts the directories off a path, written with either slash.
func baseName(path string) string {
	return path[strings.LastIndexAny(path, `/\`)+1:]
}

// The data directories that are read here ("PE Format", Optional Header Data Directories).
const (
	dirExport     = 0
	dirImport     = 1
	dirException  = 3
	dirSecurity   = 4
	dirReloc      = 5
	dirLoadConfig = 10
	dirIAT        = 12
	dirCount      = 16
)

// magicPE32Plus is the magic of the optional header that 64-bit images have.
const magicPE32Plus = 0x20b

type directory = saferwall.DataDirectory

func (img *Image) parse() error {
	opt, err := img.parseHeaders()
	if err != nil {
		return err
	}
	dir := func(i int) directory {
		if uint32(i) >= opt.NumberOfRvaAndSizes {
			return directory{}
		}
		return opt.DataDirectory[i]
	}
	for _, step := range []struct {
		what string
		read func(directory) error
		dir  int
	}{
		{"export directory", img.parseExports, dirExport},
		{"import directory", img.parseImports, dirImport},
		{"exception directory", img.parseFunctions, dirException},
		{"security directory", img.parseSecurity, dirSecurity},
		{"relocation directory", img.parseRelocations, dirReloc},
		{"load config directory", img.parseLoadConfig, dirLoadConfig},
	} {
		d := dir(step.dir)
		if d.VirtualAddress == 0 {
			if d.Size != 0 {
				return fmt.Errorf("%s: address 0 with size 0x%x", step.what, d.Size)
			}
			continue
		}
		if err := step.read(d); err != nil {
			return fmt.Errorf("%s at 0x%x+0x%x: %w", step.what, d.VirtualAddress, d.Size, err)
		}
	}
	return nil
}

// parseHeaders has saferwall/pe read the headers and the section table, and checks them.
func (img *Image) parseHeaders() (*saferwall.ImageOptionalHeader64, error) {
	if err := img.preCheck(); err != nil {
		return nil, err
	}
	f, err := readHeaders(img.data)
	if err != nil {
		return nil, err
	}
	opt := f.NtHeader.OptionalHeader.(saferwall.ImageOptionalHeader64) // preCheck saw its magic
	hdr := &f.NtHeader.FileHeader
	img.Subsystem = Subsystem(opt.Subsystem)
	img.PreferredBase = opt.ImageBase
	img.SizeOfHeaders = opt.SizeOfHeaders
	img.EntryRVA = opt.AddressOfEntryPoint
	img.SectionAlignment = opt.SectionAlignment
	img.FileAlignment = opt.FileAlignment
	img.Characteristics = uint16(hdr.Characteristics)
	img.DLLCharacteristics = uint16(opt.DllCharacteristics)
	img.TimeDateStamp = hdr.TimeDateStamp
	img.CheckSum = opt.CheckSum
	img.LinkerVersion = Version{uint16(opt.MajorLinkerVersion), uint16(opt.MinorLinkerVersion)}
	img.OSVersion = Version{opt.MajorOperatingSystemVersion, opt.MinorOperatingSystemVersion}
	img.ImageVersion = Version{opt.MajorImageVersion, opt.MinorImageVersion}
	img.SubsystemVersion = Version{opt.MajorSubsystemVersion, opt.MinorSubsystemVersion}

	if img.Subsystem != SubsystemNative {
		return nil, &UnsupportedError{Fact: img.Subsystem.String(), Needs: img.Subsystem.host()}
	}
	if err := img.checkSizes(opt.SizeOfImage, f); err != nil {
		return nil, err
	}
	if err := img.readSections(f); err != nil {
		return nil, err
	}
	return &opt, img.checkEntry()
}

// preCheck looks at what decides how far the file may be read at all: signatures, the machine, and
// how many sections there are. It is done before saferwall/pe sees the file.
func (img *Image) preCheck() error {
	d := img.data
	if len(d) > MaxFileSize {
		return fmt.Errorf("%d bytes, more than an image may have (%d)", len(d), MaxFileSize)
	}
	if len(d) < 2 || d[0] != 'M' || d[1] != 'Z' {
		return fmt.Errorf("no PE image: it does not start with MZ")
	}
	if len(d) < 64 {
		return fmt.Errorf("truncated: %d bytes do not hold a DOS header", len(d))
	}
	nt := uint64(binary.LittleEndian.Uint32(d[60:]))
	if nt < 4 || nt%4 != 0 {
		return fmt.Errorf("the NT headers are at offset 0x%x, which is too low or not a multiple "+
			"of 4", nt)
	}
	if nt+24 > uint64(len(d)) {
		return fmt.Errorf("truncated: the NT headers are at offset 0x%x, the file ends at 0x%x",
			nt, len(d))
	}
	if s := d[nt : nt+4]; string(s) != "PE\x00\x00" {
		return fmt.Errorf("no PE image: the signature at offset 0x%x is % x", nt, s)
	}
	img.Machine = Machine(binary.LittleEndian.Uint16(d[nt+4:]))
	if img.Machine != hostMachine() {
		return &UnsupportedError{
			Fact:  fmt.Sprintf("%s %s image", img.Machine.article(), img.Machine),
			Needs: img.Machine.host(),
		}
	}
	if nt+26 > uint64(len(d)) {
		return fmt.Errorf("truncated: no optional header at offset 0x%x", nt+24)
	}
	if magic := binary.LittleEndian.Uint16(d[nt+24:]); magic != magicPE32Plus {
		return fmt.Errorf("the optional header's magic at offset 0x%x is 0x%x, but %s images have "+
			"0x%x (PE32+)", nt+24, magic, img.Machine, magicPE32Plus)
	}
	n, opt := binary.LittleEndian.Uint16(d[nt+6:]), binary.LittleEndian.Uint16(d[nt+20:])
	switch {
	case n == 0:
		return fmt.Errorf("no sections")
	case n > MaxSections:
		return fmt.Errorf("%d sections, more than an image may have (%d)", n, MaxSections)
	case nt+24+uint64(opt)+40*uint64(n) > uint64(len(d)):
		return fmt.Errorf("truncated: the table of %d sections at offset 0x%x runs over the end "+
			"of the file at 0x%x", n, nt+24+uint64(opt), len(d))
	}
	return nil
}

// quiet takes the messages of saferwall/pe, which have no caller to go to.
type quiet struct{}

// Log drops the message.
func (quiet) Log(log.Level, ...any) error { return nil }

// readHeaders runs the three parts of saferwall/pe that are needed, and turns a panic in one of
// them into an error.
func readHeaders(data []byte) (f *saferwall.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("the headers cannot be read: %v", p)
		}
	}()
	f, err = saferwall.NewBytes(data, &saferwall.Options{Fast: true, Logger: quiet{}})
	if err != nil {
		return nil, err
	}
	if err := f.ParseDOSHeader(); err != nil {
		return nil, fmt.Errorf("DOS header: %w", err)
	}
	if err := f.ParseNTHeader(); err != nil {
		return nil, fmt.Errorf("NT headers at offset 0x%x: %w", f.DOSHeader.AddressOfNewEXEHeader,
			err)
	}
	if err := f.ParseSectionHeader(); err != nil {
		return nil, fmt.Errorf("section table: %w", err)
	}
	return f, nil
}

// checkSizes checks alignments and sizes in the optional header.
func (img *Image) checkSizes(sizeOfImage uint32, f *saferwall.File) error {
	sa, fa := img.SectionAlignment, img.FileAlignment
	pow2 := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	switch {
	case !pow2(sa) || !pow2(fa):
		return fmt.Errorf("section alignment 0x%x or file alignment 0x%x is no power of two", sa,
			fa)
	case sa < fa:
		return fmt.Errorf("section alignment 0x%x is less than file alignment 0x%x", sa, fa)
	case sa < pageSize && sa != fa:
		return fmt.Errorf("section alignment 0x%x is less than a page, but file alignment is 0x%x",
			sa, fa)
	case fa < 512 && sa != fa:
		return fmt.Errorf("file alignment 0x%x is less than 0x200", fa)
	case sa < 16:
		return fmt.Errorf("section alignment 0x%x is less than 0x10", sa)
	case sizeOfImage == 0 || sizeOfImage > MaxImageSize:
		return fmt.Errorf("size of image 0x%x is 0 or more than 0x%x", sizeOfImage, MaxImageSize)
	case img.PreferredBase+MaxImageSize < img.PreferredBase:
		return fmt.Errorf("base 0x%x is at the end of the address space", img.PreferredBase)
	}
	img.SizeOfImage = uint32(roundUp(uint64(sizeOfImage), max(uint64(sa), pageSize)))

	hdr := &f.NtHeader.FileHeader
	opt := uint64(f.DOSHeader.AddressOfNewEXEHeader) + 24
	dirs := f.NtHeader.OptionalHeader.(saferwall.ImageOptionalHeader64).NumberOfRvaAndSizes
	table := opt + uint64(hdr.SizeOfOptionalHeader)
	switch {
	case uint64(hdr.SizeOfOptionalHeader) < 112+8*uint64(min(dirs, dirCount)):
		return fmt.Errorf("an optional header of %d bytes does not hold %d data directories",
			hdr.SizeOfOptionalHeader, dirs)
	case uint64(img.SizeOfHeaders) < table+40*uint64(hdr.NumberOfSections):
		return fmt.Errorf("size of headers 0x%x does not cover the section table, which ends at "+
			"0x%x", img.SizeOfHeaders, table+40*uint64(hdr.NumberOfSections))
	case uint64(img.SizeOfHeaders) > uint64(len(img.data)):
		return fmt.Errorf("truncated: size of headers 0x%x, but the file ends at 0x%x",
			img.SizeOfHeaders, len(img.data))
	case img.SizeOfHeaders > img.SizeOfImage:
		return fmt.Errorf("size of headers 0x%x is more than size of image 0x%x",
			img.SizeOfHeaders, img.SizeOfImage)
	}
	return nil
}

// readSections takes the section table over. saferwall/pe sorts it and may cut it short, so both
// are held against the file.
func (img *Image) readSections(f *saferwall.File) error {
	hdr := &f.NtHeader.FileHeader
	if len(f.Sections) != int(hdr.NumberOfSections) {
		return fmt.Errorf("section %d contradicts itself (size, address or file offset)",
			len(f.Sections)+1)
	}
	table := f.DOSHeader.AddressOfNewEXEHeader + 24 + uint32(hdr.SizeOfOptionalHeader)
	img.Sections = make([]Section, len(f.Sections))
	for i := range f.Sections {
		h := &f.Sections[i].Header
		row := table + 40*uint32(i)
		if va := binary.LittleEndian.Uint32(img.data[row+12:]); va != h.VirtualAddress {
			return fmt.Errorf("section %d (%s) at 0x%x, in the table at offset 0x%x, is not in "+
				"the order of addresses", i+1, sectionName(img.data[row:row+8]), va, row)
		}
		img.Sections[i] = Section{
			Name:            sectionName(h.Name[:]),
			RVA:             h.VirtualAddress,
			VirtualSize:     h.VirtualSize,
			RawOffset:       h.PointerToRawData,
			RawSize:         h.SizeOfRawData,
			Characteristics: h.Characteristics,
		}
	}
	return img.layOut()
}

// checkEntry checks that the entry point, if there is one, is code.
func (img *Image) checkEntry() error {
	if img.EntryRVA == 0 {
		return nil
	}
	s, ok := img.SectionAt(img.EntryRVA)
	if !ok {
		return fmt.Errorf("entry point %s is in no section", img.place(img.EntryRVA))
	}
	if !s.Executable() {
		return fmt.Errorf("entry point %s is in a section that is not executable",
			img.place(img.EntryRVA))
	}
	return nil
}

// parseSecurity notes where the signature is. The directory's address is a file offset.
func (img *Image) parseSecurity(d directory) error {
	if uint64(d.VirtualAddress)+uint64(d.Size) > uint64(len(img.data)) {
		return fmt.Errorf("truncated: it is after the end of the file at 0x%x", len(img.data))
	}
	img.Authenticode = FileRange{Offset: d.VirtualAddress, Size: d.Size}
	return nil
}
