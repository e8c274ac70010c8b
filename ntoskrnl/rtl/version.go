package rtl

// The version that the system presents, and checks against it: RtlGetVersion, RtlVerifyVersionInfo,
// VerSetConditionMask, RtlIsNtDdiVersionAvailable, RtlIsServicePackVersionInstalled.

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Version is what RTL_OSVERSIONINFOEXW says.
type Version struct {
	Major, Minor, Build, Platform      uint32
	ServicePackMajor, ServicePackMinor uint16
	SuiteMask                          uint16
	ProductType                        uint8
}

// Layout of RTL_OSVERSIONINFOEXW, and the NTDDI version of Windows 10.
const (
	VER_PLATFORM_WIN32_NT         = 2
	VER_NT_WORKSTATION            = 1
	VER_SUITE_SINGLEUSERTS        = 0x100
	osVersionInfoExSize           = 284 // sizeof(RTL_OSVERSIONINFOEXW)
	offsetCSDVersion              = 20
	offsetServicePackMajor        = 276
	ntddiWin10             uint32 = 0x0A000000
)

// System is Windows 10 22H2, a workstation.
var System = Version{
	Major: nt.MajorVersion, Minor: nt.MinorVersion, Build: nt.BuildNumber,
	Platform:  nt.VER_PLATFORM_WIN32_NT,
	SuiteMask: nt.VER_SUITE_SINGLEUSERTS, ProductType: nt.VER_NT_WORKSTATION,
}

// GetVersion is RtlGetVersion: it fills the RTL_OSVERSIONINFOW at a, and, if its
// dwOSVersionInfoSize is that of an RTL_OSVERSIONINFOEXW, the rest of that.
func GetVersion(a nt.Addr) error {
	size, err := guest.Load32(a)
	if err != nil {
		return err
	}
	for i, v := range [...]uint32{System.Major, System.Minor, System.Build, System.Platform} {
		if err := guest.Store32(a+4+nt.Addr(4*i), v); err != nil {
			return err
		}
	}
	// No service pack: an empty string.
	if err := guest.Store16(a+offsetCSDVersion, 0); err != nil || size != osVersionInfoExSize {
		return err
	}
	sp := System
	return guest.Write(a+offsetServicePackMajor, []byte{
		byte(sp.ServicePackMajor), byte(sp.ServicePackMajor >> 8),
		byte(sp.ServicePackMinor), byte(sp.ServicePackMinor >> 8),
		byte(sp.SuiteMask), byte(sp.SuiteMask >> 8), sp.ProductType, 0,
	})
}

// The parts of a version that VerifyVersionInfo compares.
const (
	VER_MINORVERSION     = 0x01
	VER_MAJORVERSION     = 0x02
	VER_BUILDNUMBER      = 0x04
	VER_PLATFORMID       = 0x08
	VER_SERVICEPACKMINOR = 0x10
	VER_SERVICEPACKMAJOR = 0x20
	VER_SUITENAME        = 0x40
	VER_PRODUCT_TYPE     = 0x80
	verAll               = 0xFF
)

// The comparisons: the system's value stands left, the required one right.
const (
	VER_EQUAL         = 1
	VER_GREATER       = 2
	VER_GREATER_EQUAL = 3
	VER_LESS          = 4
	VER_LESS_EQUAL    = 5
	VER_AND           = 6
	VER_OR            = 7
)

// VerSetConditionMask is VerSetConditionMask: three bits for each part in typeMask.
func VerSetConditionMask(mask uint64, typeMask uint32, condition uint8) uint64 {
	condition &= 7
	if condition == 0 {
		return mask
	}
	for i := range 8 {
		if typeMask>>i&1 != 0 {
			mask |= uint64(condition) << (3 * i)
			break
		}
	}
	return mask
}

func versionCondition(mask uint64, part uint32) uint8 {
	for i := range 8 {
		if part>>i&1 != 0 {
			return uint8(mask>>(3*i)) & 7
		}
	}
	return 0
}

func compareVersion(have, want uint32, condition uint8) bool {
	switch condition {
	case VER_EQUAL:
		return have == want
	case VER_GREATER:
		return have > want
	case VER_GREATER_EQUAL:
		return have >= want
	case VER_LESS:
		return have < want
	case VER_LESS_EQUAL:
		return have <= want
	}
	return false
}

// LoadVersion reads the RTL_OSVERSIONINFOEXW at a.
func LoadVersion(a nt.Addr) (Version, error) {
	var b [osVersionInfoExSize]byte
	if err := guest.Read(b[:], a); err != nil {
		return Version{}, err
	}
	u32 := func(i int) uint32 {
		return uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24
	}
	u16 := func(i int) uint16 { return uint16(b[i]) | uint16(b[i+1])<<8 }
	return Version{
		Major: u32(4), Minor: u32(8), Build: u32(12), Platform: u32(16),
		ServicePackMajor: u16(276), ServicePackMinor: u16(278), SuiteMask: u16(280),
		ProductType: b[282],
	}, nil
}

// Verify is RtlVerifyVersionInfo for the system v and what is wanted: nil,
// STATUS_REVISION_MISMATCH, or STATUS_INVALID_PARAMETER for no part, or a part without condition.
// Major version, minor version and service pack form one number: a part is looked at only while
// those before it are equal ("VerifyVersionInfo function", remarks).
func (v Version) Verify(want Version, typeMask uint32, conditions uint64) error {
	if typeMask&verAll == 0 || conditions == 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	for i := range 8 {
		if part := uint32(1) << i; typeMask&part != 0 && versionCondition(conditions, part) == 0 {
			return nt.STATUS_INVALID_PARAMETER
		}
	}
	if typeMask&VER_SUITENAME != 0 {
		common := v.SuiteMask & want.SuiteMask
		switch versionCondition(conditions, VER_SUITENAME) {
		case VER_AND:
			if common != want.SuiteMask {
				return nt.STATUS_REVISION_MISMATCH
			}
		case VER_OR:
			if common == 0 && want.SuiteMask != 0 {
				return nt.STATUS_REVISION_MISMATCH
			}
		default:
			return nt.STATUS_INVALID_PARAMETER
		}
	}
	for _, p := range [...]struct{ part, have, want uint32 }{
		{VER_PLATFORMID, v.Platform, want.Platform},
		{VER_BUILDNUMBER, v.Build, want.Build},
		{VER_PRODUCT_TYPE, uint32(v.ProductType), uint32(want.ProductType)},
	} {
		if typeMask&p.part != 0 &&
			!compareVersion(p.have, p.want, versionCondition(conditions, p.part)) {
			return nt.STATUS_REVISION_MISMATCH
		}
	}
	ok := true
	for _, p := range [...]struct{ part, have, want uint32 }{
		{VER_MAJORVERSION, v.Major, want.Major},
		{VER_MINORVERSION, v.Minor, want.Minor},
		{VER_SERVICEPACKMAJOR, uint32(v.ServicePackMajor), uint32(want.ServicePackMajor)},
		{VER_SERVICEPACKMINOR, uint32(v.ServicePackMinor), uint32(want.ServicePackMinor)},
	} {
		if typeMask&p.part == 0 {
			continue
		}
		ok = compareVersion(p.have, p.want, versionCondition(conditions, p.part))
		if p.have != p.want {
			break
		}
	}
	if !ok {
		return nt.STATUS_REVISION_MISMATCH
	}
	return nil
}

// VerifyVersionInfo is RtlVerifyVersionInfo; see [Version.Verify].
func VerifyVersionInfo(a nt.Addr, typeMask uint32, conditions uint64) error {
	want, err := LoadVersion(a)
	if err != nil {
		return err
	}
	return System.Verify(want, typeMask, conditions)
}

// IsNtDdiVersionAvailable is RtlIsNtDdiVersionAvailable: version is one of the NTDDI constants
// without service pack (its low half 0, else the answer is false).
func IsNtDdiVersionAvailable(version uint32) bool {
	return version&0xFFFF == 0 && version <= ntddiWin10
}

// IsServicePackVersionInstalled is RtlIsServicePackVersionInstalled: the system's own version with
// no service pack.
func IsServicePackVersionInstalled(version uint32) bool { return version == ntddiWin10 }
