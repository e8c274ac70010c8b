package client

// The requests besides read, write and control: information about a file and its volume,
// directories, locks, security.

import (
	"context"
	"encoding/binary"
	"unicode/utf16"

	"github.com/drvhost/drvhost/nt"
)

// QueryInformation sends IRP_MJ_QUERY_INFORMATION of a class (nt.FileBasicInformation and its kin)
// and gives how many bytes of buf were filled. What Windows' I/O manager answers by itself never
// reaches the driver: FileAccessInformation, FileModeInformation, FileAlignmentInformation, and
// FilePositionInformation of a file that is open for synchronous I/O.
//
// STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH for a buffer that is too short for the
// class, STATUS_ACCESS_DENIED, and what the driver gives. STATUS_BUFFER_OVERFLOW comes with data.
func (f *File) QueryInformation(class uint32, buf []byte) (int, error) {
	return f.query("query information", &Request{Major: nt.IRP_MJ_QUERY_INFORMATION, Code: class,
		Out: buf})
}

// SetInformation sends IRP_MJ_SET_INFORMATION of a class. The I/O manager does FileModeInformation
// and, on a file open for synchronous I/O, FilePositionInformation by itself.
func (f *File) SetInformation(class uint32, buf []byte) error {
	return f.set("set information", &Request{Major: nt.IRP_MJ_SET_INFORMATION, Code: class, In: buf})
}

// QueryVolumeInformation sends IRP_MJ_QUERY_VOLUME_INFORMATION of a class (nt.FileFsSizeInformation
// and its kin). The I/O manager answers FileFsDeviceInformation by itself.
func (f *File) QueryVolumeInformation(class uint32, buf []byte) (int, error) {
	return f.query("query volume", &Request{Major: nt.IRP_MJ_QUERY_VOLUME_INFORMATION, Code: class,
		Out: buf})
}

// SetVolumeInformation sends IRP_MJ_SET_VOLUME_INFORMATION of a class.
func (f *File) SetVolumeInformation(class uint32, buf []byte) error {
	return f.set("set volume", &Request{Major: nt.IRP_MJ_SET_VOLUME_INFORMATION, Code: class, In: buf})
}

// DirectoryQuery says what QueryDirectory asks for besides the class.
type DirectoryQuery struct {
	Pattern string // a name, which may have wild cards; empty: all, or as in the query before
	Restart bool   // from the directory's beginning
	Single  bool   // one entry only
	Index   uint32 // of the entry to begin at, if it is not 0
}

// QueryDirectory sends IRP_MJ_DIRECTORY_CONTROL with IRP_MN_QUERY_DIRECTORY of a class
// (nt.FileDirectoryInformation and its kin). The end of a directory is STATUS_NO_MORE_FILES, a
// pattern that nothing matches STATUS_NO_SUCH_FILE.
func (f *File) QueryDirectory(class uint32, q DirectoryQuery, buf []byte) (int, error) {
	r := &Request{Major: nt.IRP_MJ_DIRECTORY_CONTROL, Minor: nt.IRP_MN_QUERY_DIRECTORY, Code: class,
		Key: q.Index, Out: buf}
	for _, u := range utf16.Encode([]rune(q.Pattern)) {
		r.In = binary.LittleEndian.AppendUint16(r.In, u)
	}
	if q.Restart {
		r.Flags |= nt.SL_RESTART_SCAN
	}
	if q.Single {
		r.Flags |= nt.SL_RETURN_SINGLE_ENTRY
	}
	if q.Index != 0 {
		r.Flags |= nt.SL_INDEX_SPECIFIED
	}
	return f.query("query directory", r)
}

// Range is a part of a file that Lock and Unlock name, in bytes.
type Range struct {
	Offset, Length int64
	Key            uint32
}

// The ways to lock.
const (
	LockExclusive       = nt.SL_EXCLUSIVE_LOCK   // else it is shared
	LockFailImmediately = nt.SL_FAIL_IMMEDIATELY // do not wait: STATUS_LOCK_NOT_GRANTED
)

// Lock sends IRP_MJ_LOCK_CONTROL with IRP_MN_LOCK; flags are LockExclusive and LockFailImmediately.
// When ctx ends a lock that waits is cancelled.
func (f *File) Lock(ctx context.Context, r Range, flags uint8) error {
	return f.lock(ctx, "lock", nt.IRP_MN_LOCK, r, flags)
}

// Unlock sends IRP_MJ_LOCK_CONTROL with IRP_MN_UNLOCK_SINGLE.
func (f *File) Unlock(r Range) error {
	return f.lock(context.Background(), "unlock", nt.IRP_MN_UNLOCK_SINGLE, r, 0)
}

func (f *File) lock(ctx context.Context, op string, minor uint8, r Range, flags uint8) error {
	req := &Request{Major: nt.IRP_MJ_LOCK_CONTROL, Minor: minor, Key: r.Key, Flags: flags,
		HasOffset: true, Offset: r.Offset,
		In: binary.LittleEndian.AppendUint64(nil, uint64(r.Length))}
	res, err := f.Do(ctx, req)
	return f.outcome(ctx, op, 0, res, err)
}

// QuerySecurity gives the parts of a security descriptor that info, a SECURITY_INFORMATION, names:
// self-relative bytes in buf. Of a device that was opened without a path behind its name, it is the
// device's own, which the I/O manager gives; else the driver gets IRP_MJ_QUERY_SECURITY. With
// STATUS_BUFFER_TOO_SMALL n is how much it takes.
func (f *File) QuerySecurity(info uint32, buf []byte) (n int, err error) {
	ctx := context.Background()
	res, err := f.Do(ctx, &Request{Major: nt.IRP_MJ_QUERY_SECURITY, Code: info, Out: buf})
	err = f.outcome(ctx, "query security", 0, res, err)
	if status := res.Final(); status == nt.STATUS_BUFFER_TOO_SMALL ||
		status == nt.STATUS_BUFFER_OVERFLOW {
		return int(min(res.Information, 1<<20)), err
	}
	if err != nil {
		return 0, err
	}
	return transferred(res, len(buf)), nil
}

// SetSecurity sets those parts of the security descriptor that info names: see QuerySecurity. The
// handle must have WRITE_DAC, or WRITE_OWNER for owner and group.
func (f *File) SetSecurity(info uint32, descriptor []byte) error {
	return f.set("set security", &Request{Major: nt.IRP_MJ_SET_SECURITY, Code: info, In: descriptor})
}

// FsControl sends IRP_MJ_FILE_SYSTEM_CONTROL: as DeviceIoControl, for file systems' codes.
func (f *File) FsControl(ctx context.Context, code uint32, in, out []byte) (int, error) {
	res, err := f.Do(ctx, &Request{Major: nt.IRP_MJ_FILE_SYSTEM_CONTROL, Code: code, In: in, Out: out,
		SendOut: nt.Method(code&3) != nt.METHOD_BUFFERED})
	if err = f.outcome(ctx, "fsctl", code, res, err); err != nil && !res.Final().Warning() {
		return 0, err
	}
	return transferred(res, len(out)), err
}

// Shutdown sends IRP_MJ_SHUTDOWN, as the system does when it ends. Only the user that the driver
// host runs as may, and root; others get STATUS_ACCESS_DENIED.
func (f *File) Shutdown() error { return f.set("shutdown", &Request{Major: nt.IRP_MJ_SHUTDOWN}) }

// query makes a request that fills r.Out.
func (f *File) query(op string, r *Request) (int, error) {
	ctx := context.Background()
	res, err := f.Do(ctx, r)
	if err = f.outcome(ctx, op, 0, res, err); err != nil && !res.Final().Warning() {
		return 0, err
	}
	return transferred(res, len(r.Out)), err
}

// set makes a request without output.
func (f *File) set(op string, r *Request) error {
	ctx := context.Background()
	res, err := f.Do(ctx, r)
	return f.outcome(ctx, op, 0, res, err)
}
