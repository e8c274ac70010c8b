// Module: an image in the guest's address space. It goes through three steps, in this order: Map,
// Bind (or Linker.Link), Protect.

package pe

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
)

// MapOptions is what an image needs from its host to be mapped.
type MapOptions struct {
	// GuardCheck and GuardDispatch are the addresses of the routines that take Control Flow Guard's
	// calls: one that returns, and one that jumps to RAX. 0 leaves the image's own in place.
	GuardCheck, GuardDispatch guest.Addr
	// Cookie is the security cookie; 0 takes a random one.
	Cookie uint64
	// Relocate keeps the image from its preferred base.
	Relocate bool
}

// Module is a mapped image. Its methods may be called by several goroutines at once, except Bind,
// Protect and Unmap.
type Module struct {
	img    *Image
	region *guest.Region
	base   guest.Addr
	gone   atomic.Bool
}

// ErrUnmapped is the error of using a module after Unmap.
var ErrUnmapped = errors.New("the module was unmapped")

// Map copies the image into the address space: at its preferred base if nothing is there, else
// relocated into the system arena. All of it is readable and writable, and nothing executable,
// until Protect.
//
// The security cookie is seeded if it still has its default value, and the guard pointers are set
// to the stubs in the options.
func (img *Image) Map(space *guest.Space, opts MapOptions) (*Module, error) {
	region, err := img.reserve(space, opts.Relocate)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", img.Name, err)
	}
	m := &Module{img: img, region: region, base: region.Base()}
	if err := m.fill(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: mapping at %v: %w", img.Name, m.base, err),
			region.Free())
	}
	return m, nil
}

// reserve finds a place for the image.
func (img *Image) reserve(space *guest.Space, relocate bool) (*guest.Region, error) {
	size := uintptr(img.SizeOfImage)
	why := errors.New("it was asked to be elsewhere")
	if !relocate {
		r, err := space.AllocAt(guest.Addr(img.PreferredBase), size, guest.ProtRW, img.Name)
		if err == nil {
			return r, nil
		}
		why = err // a *guest.TakenError names what is there
	}
	if !img.HasRelocations() {
		return nil, fmt.Errorf("its relocations were stripped, so it can only be at its base %v: %w",
			guest.Addr(img.PreferredBase), why)
	}
	r, err := space.AllocSystem(size, guest.ProtRW, img.Name)
	if err != nil {
		return nil, fmt.Errorf("no place for 0x%x bytes: %w (and not at its base %v: %w)", size, err,
			guest.Addr(img.PreferredBase), why)
	}
	return r, nil
}

// fill writes the image's bytes and what loading changes in them.
func (m *Module) fill(opts MapOptions) error {
	img := m.img
	if err := guest.Write(m.base, img.data[:img.SizeOfHeaders]); err != nil {
		return err
	}
	for i := range img.Sections {
		s := &img.Sections[i]
		if s.rawUsed == 0 {
			continue // its file offset may then be anything
		}
		raw := img.data[s.RawOffset:][:s.rawUsed]
		if err := guest.Write(m.base+guest.Addr(s.RVA), raw); err != nil {
			return err
		}
	}
	if delta := uint64(m.base) - img.PreferredBase; delta != 0 {
		if err := img.relocate(m.base, delta); err != nil {
			return err
		}
		// The mapped headers tell where the image is, as they do on Windows.
		const imageBaseOffset = 24 + 24
		nt := guest.Addr(binary.LittleEndian.Uint32(img.data[60:]))
		if err := guest.Store64(m.base+nt+imageBaseOffset, uint64(m.base)); err != nil {
			return err
		}
	}
	if err := m.seedCookie(opts.Cookie); err != nil {
		return err
	}
	lc := &img.LoadConfig
	for _, p := range [...]struct {
		rva  uint32
		stub guest.Addr
	}{
		{lc.GuardCheck, opts.GuardCheck}, {lc.GuardDispatch, opts.GuardDispatch},
		{lc.XFGCheck, opts.GuardCheck}, {lc.XFGDispatch, opts.GuardDispatch},
		{lc.XFGTableDispatch, opts.GuardDispatch},
	} {
		if p.rva != 0 && p.stub != 0 {
			if err := guest.StoreAddr(m.base+guest.Addr(p.rva), p.stub); err != nil {
				return err
			}
		}
	}
	return nil
}

// seedCookie gives the security cookie a value, as the loader must: a driver's start-up code takes
// the default value for a loader that is too old ("__security_init_cookie").
func (m *Module) seedCookie(cookie uint64) error {
	if m.img.LoadConfig.Cookie == 0 {
		return nil
	}
	at := m.base + guest.Addr(m.img.LoadConfig.Cookie)
	v, err := guest.Load64(at)
	if err != nil || v != DefaultCookie && v != 0 {
		return err
	}
	for cookie == 0 || cookie == DefaultCookie {
		var b [8]byte
		rand.Read(b[:6]) // 48 bits: the upper two bytes are zero, to end a string that runs over
		cookie = binary.LittleEndian.Uint64(b[:])
	}
	return guest.Store64(at, cookie)
}

// Bind writes the import address table. resolve gives the address of each import; its error ends
// the binding, and comes back with the import's name before it.
func (m *Module) Bind(resolve func(module string, imp Import) (guest.Addr, error)) error {
	if m.gone.Load() {
		return fmt.Errorf("%s: %w", m.img.Name, ErrUnmapped)
	}
	var buf []byte
	for i := range m.img.Imports {
		im := &m.img.Imports[i]
		if len(im.Functions) == 0 {
			continue
		}
		buf = buf[:0]
		for j := range im.Functions {
			a, err := resolve(im.Name, im.Functions[j])
			if err != nil {
				return fmt.Errorf("%s: import %s!%s: %w", m.img.Name, im.Name, im.Functions[j], err)
			}
			buf = binary.LittleEndian.AppendUint64(buf, uint64(a))
		}
		// A module's slots follow one another.
		at := m.base + guest.Addr(im.Functions[0].IATRVA)
		if err := guest.Write(at, buf); err != nil {
			return fmt.Errorf("%s: binding %s: %w", m.img.Name, im.Name, err)
		}
	}
	return nil
}

// Protect gives each page the protection that its section asks for: every section can be read, and
// written or executed if its flags say so, also both. The headers can only be read. Where sections
// share a page, the page allows what any of them asks for.
func (m *Module) Protect() error {
	if m.gone.Load() {
		return fmt.Errorf("%s: %w", m.img.Name, ErrUnmapped)
	}
	img := m.img
	set := func(from, to uint32, prot guest.Prot) error {
		if from >= to {
			return nil
		}
		err := m.region.Protect(uintptr(from), uintptr(to-from), prot)
		if err != nil {
			err = fmt.Errorf("%s: protecting 0x%x to 0x%x as %v: %w", img.Name, from, to, prot, err)
		}
		return err
	}
	// A run of pages with one protection: [from, to), the last page of which may still be shared
	// with the section that comes next.
	from, to, prot := uint32(0), pageUp(img.SizeOfHeaders), guest.ProtRead
	for i := range img.Sections {
		s := &img.Sections[i]
		p := guest.ProtRead
		if s.Writable() {
			p |= guest.ProtWrite
		}
		if s.Executable() {
			p |= guest.ProtExec
		}
		start, end := s.RVA&^(pageSize-1), pageUp(s.end())
		if start < to && p|prot != prot { // a shared page, where one section asks for more
			if err := set(from, start, prot); err != nil {
				return err
			}
			from, prot = start, p|prot
			if end > to && p != prot {
				if err := set(from, to, prot); err != nil {
					return err
				}
				from, prot = to, p
			}
			to = max(to, end)
			continue
		}
		start = max(start, to)
		if start < end && (p != prot || start != to) {
			if err := set(from, to, prot); err != nil {
				return err
			}
			from, prot = start, p
		}
		to = max(to, end)
	}
	if err := set(from, to, prot); err != nil {
		return err
	}
	return set(to, img.SizeOfImage, guest.ProtNone)
}

func pageUp(n uint32) uint32 { return (n + pageSize - 1) &^ (pageSize - 1) }

// Unmap takes the image out of the address space. Nothing may run in it, or refer to it, any more.
func (m *Module) Unmap() error {
	if m.gone.Swap(true) {
		return nil
	}
	if err := m.region.Free(); err != nil {
		return fmt.Errorf("%s: unmapping: %w", m.img.Name, err)
	}
	return nil
}

// Image gives the image that was mapped.
func (m *Module) Image() *Image { return m.img }

// Name gives the image's name: "ntoskrnl.exe".
func (m *Module) Name() string { return m.img.Name }

// Base gives the address of the image's first byte.
func (m *Module) Base() guest.Addr { return m.base }

// Size gives the image's extent in bytes, in whole pages.
func (m *Module) Size() uintptr { return uintptr(m.img.SizeOfImage) }

// Entry gives the address of the entry point, or 0 if the image has none.
func (m *Module) Entry() guest.Addr {
	if m.img.EntryRVA == 0 {
		return 0
	}
	return m.base + guest.Addr(m.img.EntryRVA)
}

// Relocated says whether the image is not at its preferred base.
func (m *Module) Relocated() bool { return uint64(m.base) != m.img.PreferredBase }

// Contains says whether the address lies in the image.
func (m *Module) Contains(a guest.Addr) bool { return a-m.base < guest.Addr(m.img.SizeOfImage) }

// Addr gives the address of a place in the image.
func (m *Module) Addr(rva uint32) guest.Addr { return m.base + guest.Addr(rva) }

// LookupExport finds an export by name; its Addr is set unless it is a forwarder.
func (m *Module) LookupExport(name string) (Export, bool) {
	return m.export(m.img.LookupExport(name))
}

// ExportByOrdinal finds an export by ordinal; its Addr is set unless it is a forwarder.
func (m *Module) ExportByOrdinal(ordinal uint16) (Export, bool) {
	return m.export(m.img.ExportByOrdinal(ordinal))
}

func (m *Module) export(e Export, ok bool) (Export, bool) {
	if ok && e.Forwarder == "" {
		e.Addr = m.base + guest.Addr(e.RVA)
	}
	return e, ok
}

// LookupFunction finds the .pdata row for code at the address. Without one the code is a leaf
// function, or the address is not in the module.
func (m *Module) LookupFunction(a guest.Addr) (RuntimeFunction, bool) {
	if !m.Contains(a) {
		return RuntimeFunction{}, false
	}
	return m.img.LookupFunction(uint32(a - m.base))
}
