package cm

import "github.com/drvhost/drvhost/nt"

// DefaultSecurity is the security descriptor of a key where neither it nor one above it says
// anything: O:BAG:SYD:(A;CI;KA;;;SY)(A;CI;KA;;;BA)(A;CI;KR;;;WD), self-relative.
var DefaultSecurity = []byte{
	1, 0, 0x04, 0x80, 0x14, 0, 0, 0, 0x24, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0,
	1, 2, 0, 0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0x20, 2, 0, 0, // S-1-5-32-544
	1, 1, 0, 0, 0, 0, 0, 5, 0x12, 0, 0, 0, // S-1-5-18
	2, 0, 0x48, 0, 3, 0, 0, 0,
	0, 2, 0x14, 0, 0x3F, 0, 0x0F, 0, 1, 1, 0, 0, 0, 0, 0, 5, 0x12, 0, 0, 0,
	0, 2, 0x18, 0, 0x3F, 0, 0x0F, 0, 1, 2, 0, 0, 0, 0, 0, 5, 0x20, 0, 0, 0, 0x20, 2, 0, 0,
	0, 2, 0x14, 0, 0x19, 0, 2, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, // S-1-1-0
}

// EffectiveSecurity gives the key's security descriptor, self-relative: its own, that of the
// nearest key above it that has one, or DefaultSecurity. STATUS_KEY_DELETED.
func (k *Key) EffectiveSecurity() ([]byte, nt.Status) {
	k.r.refresh()
	k.r.mu.RLock()
	defer k.r.mu.RUnlock()
	if k.n.deleted {
		return nil, nt.STATUS_KEY_DELETED
	}
	for at := k.n; at != nil; at = at.parent {
		if at.security != nil {
			return at.security, nt.STATUS_SUCCESS
		}
	}
	return DefaultSecurity, nt.STATUS_SUCCESS
}

// SetWritten says when the key was last written, a FILETIME. It holds in this registry until the
// next change, and is not told to OnChange. STATUS_KEY_DELETED.
func (k *Key) SetWritten(at int64) nt.Status {
	k.r.refresh()
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	if k.n.deleted {
		return nt.STATUS_KEY_DELETED
	}
	k.n.written = at
	return nt.STATUS_SUCCESS
}
