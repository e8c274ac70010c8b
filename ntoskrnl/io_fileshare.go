package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Share access: who has a file open for what, and what others may open it for meanwhile. The counts
// are in the driver's SHARE_ACCESS, under a lock of the driver's.
var ioFileShareExports = []Export{
	{Name: "IoCheckShareAccess", Fn: fn5(ioCheckShareAccess),
		Params:  "DesiredAccess DesiredShareAccess FileObject ShareAccess Update:b",
		MaxIRQL: passive, Support: Full},
	{Name: "IoSetShareAccess", Fn: do4(ioSetShareAccess),
		Params: "DesiredAccess DesiredShareAccess FileObject ShareAccess", MaxIRQL: passive,
		Support: Full},
	{Name: "IoRemoveShareAccess", Fn: do2(ioRemoveShareAccess), Params: "FileObject ShareAccess",
		MaxIRQL: passive, Support: Full},
	{Name: "IoUpdateShareAccess", Fn: do2(ioUpdateShareAccess), Params: "FileObject ShareAccess",
		MaxIRQL: passive, Support: Full},
}

// shareAccess is SHARE_ACCESS.
type shareAccess struct {
	OpenCount    uint32
	Readers      uint32
	Writers      uint32
	Deleters     uint32
	SharedRead   uint32
	SharedWrite  uint32
	SharedDelete uint32
}

// shareUse is what one file object does and allows, each 0 or 1.
type shareUse struct{ read, write, delete, sharedRead, sharedWrite, sharedDelete uint32 }

// any reports whether the open counts: one for attributes only does not.
func (u shareUse) any() bool { return u.read|u.write|u.delete != 0 }

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// useOf gives what an open asks for.
func useOf(access, share uint32) shareUse {
	u := shareUse{read: bit(access&(nt.FILE_READ_DATA|nt.FILE_EXECUTE) != 0),
		write:  bit(access&(nt.FILE_WRITE_DATA|nt.FILE_APPEND_DATA) != 0),
		delete: bit(access&nt.DELETE != 0)}
	if u.any() {
		u.sharedRead = bit(share&nt.FILE_SHARE_READ != 0)
		u.sharedWrite = bit(share&nt.FILE_SHARE_WRITE != 0)
		u.sharedDelete = bit(share&nt.FILE_SHARE_DELETE != 0)
	}
	return u
}

// useOfFile gives what a file object says that it does.
func useOfFile(f nt.FileObject) shareUse {
	b := func(b nt.Boolean) uint32 { return bit(b != 0) }
	return shareUse{b(f.ReadAccess), b(f.WriteAccess), b(f.DeleteAccess), b(f.SharedRead),
		b(f.SharedWrite), b(f.SharedDelete)}
}

// conflicts reports whether an open cannot go with those that are there.
func (s shareAccess) conflicts(u shareUse) bool {
	return u.read != 0 && s.SharedRead < s.OpenCount ||
		u.write != 0 && s.SharedWrite < s.OpenCount ||
		u.delete != 0 && s.SharedDelete < s.OpenCount ||
		s.Readers != 0 && u.sharedRead == 0 ||
		s.Writers != 0 && u.sharedWrite == 0 ||
		s.Deleters != 0 && u.sharedDelete == 0
}

// add counts an open, n times; n may be -1.
func (s shareAccess) add(u shareUse, n uint32) shareAccess {
	if u.any() {
		s.OpenCount += n
		s.Readers += n * u.read
		s.Writers += n * u.write
		s.Deleters += n * u.delete
		s.SharedRead += n * u.sharedRead
		s.SharedWrite += n * u.sharedWrite
		s.SharedDelete += n * u.sharedDelete
	}
	return s
}

// noteShare writes what an open does into its file object.
func (c *Call) noteShare(file guest.Addr, u shareUse) {
	f := Load[nt.FileObject](c, file)
	b := func(v uint32) nt.Boolean { return nt.Boolean(v) }
	f.ReadAccess, f.WriteAccess, f.DeleteAccess = b(u.read), b(u.write), b(u.delete)
	if u.any() {
		f.SharedRead, f.SharedWrite = b(u.sharedRead), b(u.sharedWrite)
		f.SharedDelete = b(u.sharedDelete)
	}
	Store(c, file, f)
}

// ioCheckShareAccess tells whether an open goes with those before, and counts it if Update is set.
//
//	NTSTATUS IoCheckShareAccess(ACCESS_MASK DesiredAccess, ULONG DesiredShareAccess,
//	    PFILE_OBJECT FileObject, PSHARE_ACCESS ShareAccess, BOOLEAN Update)
//
// STATUS_SHARING_VIOLATION. "IoCheckShareAccess function (wdm.h)".
func ioCheckShareAccess(c *Call, access, share uint32, file, shares guest.Addr,
	update nt.Boolean) nt.Status {
	u := useOf(access, share)
	c.noteShare(file, u)
	if !u.any() {
		return nt.STATUS_SUCCESS
	}
	s := Load[shareAccess](c, shares)
	if s.conflicts(u) {
		return nt.STATUS_SHARING_VIOLATION
	}
	if update != 0 {
		Store(c, shares, s.add(u, 1))
	}
	return nt.STATUS_SUCCESS
}

// ioSetShareAccess begins the counts with the first open.
//
//	VOID IoSetShareAccess(ACCESS_MASK DesiredAccess, ULONG DesiredShareAccess,
//	    PFILE_OBJECT FileObject, PSHARE_ACCESS ShareAccess)
//
// "IoSetShareAccess function (wdm.h)".
func ioSetShareAccess(c *Call, access, share uint32, file, shares guest.Addr) {
	u := useOf(access, share)
	c.noteShare(file, u)
	Store(c, shares, shareAccess{}.add(u, 1))
}

// ioRemoveShareAccess ends an open's part in the counts.
//
//	VOID IoRemoveShareAccess(PFILE_OBJECT FileObject, PSHARE_ACCESS ShareAccess)
//
// "IoRemoveShareAccess function (wdm.h)".
func ioRemoveShareAccess(c *Call, file, shares guest.Addr) {
	u := useOfFile(Load[nt.FileObject](c, file))
	Store(c, shares, Load[shareAccess](c, shares).add(u, ^uint32(0)))
}

// ioUpdateShareAccess counts an open that IoCheckShareAccess has allowed without Update.
//
//	VOID IoUpdateShareAccess(PFILE_OBJECT FileObject, PSHARE_ACCESS ShareAccess)
//
// "IoUpdateShareAccess function (wdm.h)".
func ioUpdateShareAccess(c *Call, file, shares guest.Addr) {
	u := useOfFile(Load[nt.FileObject](c, file))
	Store(c, shares, Load[shareAccess](c, shares).add(u, 1))
}
