package rtl

// SIDs in guest memory: RtlInitializeSid, RtlCopySid, RtlEqualSid, RtlConvertSidToUnicodeString….

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

const (
	sidHeader = 8 // bytes before the first sub-authority
	aclHeader = 8
	aceHeader = 4
)

// loadSidBytes reads the binary form of the SID at a; STATUS_INVALID_SID for a wrong revision or
// more than 15 sub-authorities.
func loadSidBytes(a nt.Addr, buf *[nt.SECURITY_MAX_SID_SIZE]byte) ([]byte, error) {
	if err := guest.Read(buf[:sidHeader], a); err != nil {
		return nil, err
	}
	if buf[0] != nt.SID_REVISION || buf[1] > nt.SID_MAX_SUB_AUTHORITIES {
		return nil, nt.STATUS_INVALID_SID
	}
	n := sidHeader + 4*int(buf[1])
	return buf[:n], readSome(buf[sidHeader:n], a+sidHeader)
}

// LoadSid reads the SID at a; STATUS_INVALID_SID if it is malformed.
func LoadSid(a nt.Addr) (nt.SID, error) {
	var buf [nt.SECURITY_MAX_SID_SIZE]byte
	b, err := loadSidBytes(a, &buf)
	if err != nil {
		return nt.SID{}, err
	}
	s, _, err := nt.DecodeSID(b)
	if err != nil {
		return nt.SID{}, nt.STATUS_INVALID_SID
	}
	return s, nil
}

// StoreSid writes s to a and returns its size in bytes.
func StoreSid(a nt.Addr, s nt.SID) (int, error) {
	b, err := s.AppendBinary(make([]byte, 0, nt.SECURITY_MAX_SID_SIZE))
	if err != nil {
		return 0, err
	}
	return len(b), guest.Write(a, b)
}

// ValidSid is RtlValidSid: the revision is 1, there are at most 15 sub-authorities, and the memory
// is there.
func ValidSid(a nt.Addr) bool {
	if a == 0 {
		return false
	}
	_, err := LoadSid(a)
	return err == nil
}

// LengthRequiredSid is RtlLengthRequiredSid: the bytes of a SID with n sub-authorities.
func LengthRequiredSid(n uint32) uint32 { return sidHeader + 4*n }

// LengthSid is RtlLengthSid. Like the original it believes the count of sub-authorities.
func LengthSid(a nt.Addr) (uint32, error) {
	n, err := guest.Load8(a + 1)
	return LengthRequiredSid(uint32(n)), err
}

// InitializeSid is RtlInitializeSid: revision, count and the six bytes of authority are set, the
// sub-authorities are left. STATUS_INVALID_PARAMETER for more than 15 of them.
func InitializeSid(a, authority nt.Addr, count uint8) error {
	if count > nt.SID_MAX_SUB_AUTHORITIES {
		return nt.STATUS_INVALID_PARAMETER
	}
	var b [sidHeader]byte
	b[0], b[1] = nt.SID_REVISION, count
	if err := guest.Read(b[2:], authority); err != nil {
		return err
	}
	return guest.Write(a, b[:])
}

// SubAuthoritySid is RtlSubAuthoritySid: the address of sub-authority i.
func SubAuthoritySid(a nt.Addr, i uint32) nt.Addr { return a + sidHeader + 4*nt.Addr(i) }

// SubAuthorityCountSid is RtlSubAuthorityCountSid: the address of the count.
func SubAuthorityCountSid(a nt.Addr) nt.Addr { return a + 1 }

// IdentifierAuthoritySid is RtlIdentifierAuthoritySid: the address of the authority.
func IdentifierAuthoritySid(a nt.Addr) nt.Addr { return a + 2 }

// EqualSid is RtlEqualSid.
func EqualSid(a, b nt.Addr) (bool, error) {
	n, err := LengthSid(a)
	if err != nil {
		return false, err
	}
	m, err := LengthSid(b)
	if err != nil || n != m {
		return false, err
	}
	v, err := Memcmp(a, b, uintptr(n))
	return err == nil && v == 0, err
}

// CopySid is RtlCopySid: STATUS_BUFFER_TOO_SMALL if size bytes do not hold src.
func CopySid(size uint32, dst, src nt.Addr) error {
	n, err := LengthSid(src)
	if err != nil {
		return err
	}
	if n > size {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	return guest.Move(dst, src, uintptr(n))
}

// ConvertSidToUnicodeString is RtlConvertSidToUnicodeString: S-1-5-18, with a NUL. alloc is nil if
// dst has a buffer; STATUS_BUFFER_OVERFLOW if it is too small, STATUS_INVALID_SID for no SID.
func ConvertSidToUnicodeString(dst, sid nt.Addr, alloc Alloc) error {
	s, err := LoadSid(sid)
	if err != nil {
		return err
	}
	text := []byte(s.String())
	if alloc != nil {
		size := uint16(2*len(text) + 2)
		buf, err := alloc(uintptr(size))
		if err != nil {
			return err
		}
		if err := storeString(dst, nt.UnicodeString{MaximumLength: size, Buffer: buf}); err != nil {
			return err
		}
	}
	return setASCII(dst, text)
}
