package ntoskrnl

import (
	"crypto/rand"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Identifiers that nobody else has.
var exUUIDExports = []Export{
	{Name: "ExUuidCreate", Fn: fn1(exUuidCreate), Params: "Uuid", MaxIRQL: apc, Support: Full},
}

// exUuidCreate makes a UUID that nobody else has: a random one (RFC 9562, version 4).
//
//	NTSTATUS ExUuidCreate(UUID *Uuid)
//
// STATUS_SUCCESS. "ExUuidCreate function (wdm.h)".
func exUuidCreate(c *Call, result guest.Addr) nt.Status {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it ends the program rather than fail
	const versionByte, variantByte = 7, 8
	b[versionByte] = b[versionByte]&0x0F | 0x40
	b[variantByte] = b[variantByte]&0x3F | 0x80
	Store(c, result, b)
	return nt.STATUS_SUCCESS
}
