// The load configuration: what the loader fills in before the image runs ("PE Format", The Load
// Configuration Structure; IMAGE_LOAD_CONFIG_DIRECTORY64 in winnt.h).

package pe

import "fmt"

// LoadConfig has the places, relative to the base, that the loader writes to; 0 for what the image
// lacks.
type LoadConfig struct {
	// Cookie is the security cookie (/GS), 8 bytes.
	Cookie uint32
	// GuardCheck and GuardDispatch are pointers to Control Flow Guard's check and dispatch routines.
	GuardCheck, GuardDispatch uint32
	// XFGCheck, XFGDispatch and XFGTableDispatch are the same for the extended guard.
	XFGCheck, XFGDispatch, XFGTableDispatch uint32
	// GuardFlags is the image's Control Flow Guard flag word.
	GuardFlags uint32
}

// Offsets in IMAGE_LOAD_CONFIG_DIRECTORY64, in bytes.
const (
	lcSecurityCookie   = 0x58
	lcGuardCFCheck     = 0x70
	lcGuardCFDispatch  = 0x78
	lcGuardFlags       = 0x90
	lcXFGCheck         = 0x118
	lcXFGDispatch      = 0x120
	lcXFGTableDispatch = 0x128

	lcMaxSize = 0x1000
)

// DefaultCookie is the value of the security cookie in an x64 image that nothing has seeded.
// A driver's own start-up code ends in a bugcheck if it still finds it.
const DefaultCookie = 0x00002B992DDFA232

// parseLoadConfig reads the fields that the structure's own size says are there.
func (img *Image) parseLoadConfig(d directory) error {
	raw, have := img.at(d.VirtualAddress)
	if have < 4 {
		return fmt.Errorf("it is outside of the image")
	}
	size := le32(raw, 0)
	if size < 4 || size > lcMaxSize || size > have {
		return fmt.Errorf("its size field is 0x%x, with 0x%x bytes up to the section's end", size,
			have)
	}
	lc := &img.LoadConfig
	for _, f := range []struct {
		what string
		off  uint32
		rva  *uint32
	}{
		{"security cookie", lcSecurityCookie, &lc.Cookie},
		{"guard check pointer", lcGuardCFCheck, &lc.GuardCheck},
		{"guard dispatch pointer", lcGuardCFDispatch, &lc.GuardDispatch},
		{"XFG check pointer", lcXFGCheck, &lc.XFGCheck},
		{"XFG dispatch pointer", lcXFGDispatch, &lc.XFGDispatch},
		{"XFG table dispatch pointer", lcXFGTableDispatch, &lc.XFGTableDispatch},
	} {
		if f.off+8 > size {
			continue
		}
		va := le64(raw, uint64(f.off))
		if va == 0 {
			continue
		}
		rva := va - img.PreferredBase
		if rva >= uint64(img.SizeOfImage) || !img.inSection(uint32(rva), 8) {
			return fmt.Errorf("the %s at 0x%x is in no section (base 0x%x, size 0x%x)", f.what, va,
				img.PreferredBase, img.SizeOfImage)
		}
		*f.rva = uint32(rva)
	}
	if lcGuardFlags+4 <= size {
		lc.GuardFlags = le32(raw, lcGuardFlags)
	}
	return nil
}
