package volume

import (
	"encoding/binary"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/nt"
)

// File is an open file or directory.
type File struct {
	v             *Volume
	n             *node
	f             *os.File
	dir           bool
	access, share uint32
	deleteOnClose bool
	closed        bool
	scan          scan
}

// IsDir says whether it is a directory.
func (f *File) IsDir() bool { return f.dir }

// Name gives the path below the volume, with a backslash in front, as it is spelt there.
func (f *File) Name() string {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	return f.name()
}

func (f *File) name() string {
	if f.n.path == "." {
		return `\`
	}
	return `\` + strings.ReplaceAll(f.n.path, "/", `\`)
}

// Close ends the open: what is to be deleted goes with its last file.
func (f *File) Close() {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	if f.deleteOnClose {
		f.n.deleted = true
	}
	f.v.remove(f)
}

// ReadAt reads. STATUS_END_OF_FILE at or behind the end, STATUS_INVALID_DEVICE_REQUEST of a
// directory.
func (f *File) ReadAt(p []byte, at int64) (int, nt.Status) {
	switch {
	case f.dir:
		return 0, nt.STATUS_INVALID_DEVICE_REQUEST
	case len(p) == 0:
		return 0, nt.STATUS_SUCCESS
	}
	if c := f.shared(); c != nil {
		if status := c.Flush(at, int64(len(p))); status != nt.STATUS_SUCCESS {
			return 0, status
		}
	}
	n, err := f.f.ReadAt(p, at)
	if err == io.EOF && n == 0 {
		return 0, nt.STATUS_END_OF_FILE
	}
	if err != nil && err != io.EOF {
		return n, statusOf(err, true)
	}
	return n, nt.STATUS_SUCCESS
}

// WriteAt writes; -1 is the file's end. It gives where the data ends.
func (f *File) WriteAt(p []byte, at int64) (n int, end int64, status nt.Status) {
	if f.dir {
		return 0, 0, nt.STATUS_INVALID_DEVICE_REQUEST
	}
	f.v.mu.Lock() // appends of several writers do not mix
	defer f.v.mu.Unlock()
	if at < 0 {
		info, err := f.f.Stat()
		if err != nil {
			return 0, 0, statusOf(err, true)
		}
		at = info.Size()
	}
	c := f.n.content
	if c != nil {
		if status := c.Flush(at, int64(len(p))); status != nt.STATUS_SUCCESS {
			return 0, 0, status
		}
	}
	n, err := f.f.WriteAt(p, at)
	if c != nil {
		c.Wrote(p[:n], at)
	}
	return n, at + int64(n), statusOf(err, true)
}

// Flush writes what the host has not yet written.
func (f *File) Flush() nt.Status {
	if c := f.shared(); c != nil {
		if status := c.Flush(0, -1); status != nt.STATUS_SUCCESS {
			return status
		}
	}
	return statusOf(f.f.Sync(), true)
}

// filetime gives a time in units of 100 ns since 1601.
func filetime(t time.Time) uint64 {
	const epoch = 116444736000000000 // 1970
	return uint64(t.UnixNano()/100 + epoch)
}

// facts are what there is to tell about a file.
type facts struct {
	created, accessed, written, changed uint64
	size, allocated                     uint64
	attributes, links                   uint32
	id                                  uint64
}

func factsOf(info os.FileInfo) facts {
	w := filetime(info.ModTime())
	x := facts{created: w, accessed: w, written: w, changed: w, size: uint64(info.Size()),
		allocated: uint64(info.Size()+4095) &^ 4095, links: 1}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		at := func(t syscall.Timespec) uint64 { return filetime(time.Unix(t.Sec, t.Nsec)) }
		x.accessed, x.changed = at(st.Atim), at(st.Ctim)
		x.created = min(x.written, x.changed)
		x.allocated, x.links, x.id = uint64(st.Blocks)*512, uint32(st.Nlink), st.Ino
	}
	switch {
	case info.IsDir():
		x.attributes, x.size, x.allocated = nt.FILE_ATTRIBUTE_DIRECTORY, 0, 0
	default:
		x.attributes = nt.FILE_ATTRIBUTE_ARCHIVE
	}
	if !info.IsDir() && info.Mode().Perm()&0o200 == 0 {
		x.attributes |= nt.FILE_ATTRIBUTE_READONLY
	}
	return x
}

var le = binary.LittleEndian

func (x facts) basic(b []byte) []byte {
	for _, t := range [...]uint64{x.created, x.accessed, x.written, x.changed} {
		b = le.AppendUint64(b, t)
	}
	return le.AppendUint64(b, uint64(x.attributes))
}

// networkOpen gives FILE_NETWORK_OPEN_INFORMATION.
func (x facts) networkOpen() []byte {
	b := x.basic(nil)[:32]
	b = le.AppendUint64(b, x.allocated)
	b = le.AppendUint64(b, x.size)
	return le.AppendUint64(b, uint64(x.attributes))
}

func (f *File) standard(b []byte, x facts) []byte {
	b = le.AppendUint64(b, x.allocated)
	b = le.AppendUint64(b, x.size)
	b = le.AppendUint32(b, x.links)
	return append(b, flag(f.n.deleted || f.deleteOnClose), flag(f.dir), 0, 0)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Query gives information of a class. access, mode and position are what the I/O manager knows of
// the file. STATUS_BUFFER_OVERFLOW with what there is room for, STATUS_NOT_SUPPORTED.
func (f *File) Query(class uint32, room int, access, mode uint32, position int64) ([]byte, nt.Status) {
	info, err := f.f.Stat()
	if err != nil {
		return nil, statusOf(err, true)
	}
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	x := factsOf(info)
	name := le.AppendUint32(nil, uint32(len(utf16le(f.name()))))
	name = append(name, utf16le(f.name())...)
	var b []byte
	switch class {
	case nt.FileBasicInformation:
		b = x.basic(nil)
	case nt.FileStandardInformation:
		b = f.standard(nil, x)
	case nt.FileInternalInformation:
		b = le.AppendUint64(nil, x.id)
	case nt.FileEaInformation:
		b = make([]byte, 4)
	case nt.FilePositionInformation:
		b = le.AppendUint64(nil, uint64(position))
	case nt.FileNameInformation:
		b = name
	case nt.FileNetworkOpenInformation:
		b = x.networkOpen()
	case attributeTag:
		b = append(le.AppendUint32(nil, x.attributes), 0, 0, 0, 0)
	case nt.FileAllInformation:
		b = f.standard(x.basic(nil), x)
		b = le.AppendUint64(b, x.id)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, access)
		b = le.AppendUint64(b, uint64(position))
		b = le.AppendUint32(b, mode)
		b = le.AppendUint32(b, 0)
		b = append(b, name...)
	default:
		return nil, nt.STATUS_NOT_SUPPORTED
	}
	if len(b) > room {
		return b[:room], nt.STATUS_BUFFER_OVERFLOW
	}
	return b, nt.STATUS_SUCCESS
}

const attributeTag = 35 // FileAttributeTagInformation

// Attributes gives FILE_NETWORK_OPEN_INFORMATION of a name.
func (v *Volume) Attributes(name string) ([]byte, nt.Status) {
	f, _, status := v.Open(Request{Name: name, Disposition: nt.FILE_OPEN, Share: 7})
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	defer f.Close()
	return f.Query(nt.FileNetworkOpenInformation, 56, 0, 0, 0)
}

// Set sets information of a class. rename says, for FileRenameInformation, the new name below the
// volume, and replace that it may be taken.
func (f *File) Set(class uint32, in []byte, rename string, replace bool) nt.Status {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	switch class {
	case nt.FileBasicInformation:
		return f.setBasic(in)
	case nt.FileEndOfFileInformation:
		size := int64(le.Uint64(in))
		switch {
		case f.dir, size < 0:
			return nt.STATUS_INVALID_PARAMETER
		case f.n.content != nil && f.shorter(size):
			return nt.STATUS_USER_MAPPED_FILE
		}
		return statusOf(f.f.Truncate(size), true)
	case nt.FileAllocationInformation:
		size := int64(le.Uint64(in))
		info, err := f.f.Stat()
		if f.dir || size < 0 || err != nil {
			return nt.STATUS_INVALID_PARAMETER
		}
		if size >= info.Size() {
			return nt.STATUS_SUCCESS // the host allocates when data comes
		}
		if f.n.content != nil {
			return nt.STATUS_USER_MAPPED_FILE
		}
		return statusOf(f.f.Truncate(size), true)
	case nt.FileDispositionInformation:
		return f.setDisposition(in[0] != 0)
	case nt.FileRenameInformation:
		return f.rename(rename, replace)
	}
	return nt.STATUS_INVALID_INFO_CLASS
}

// shorter says whether the file has more than size bytes.
func (f *File) shorter(size int64) bool {
	info, err := f.f.Stat()
	return err != nil || size < info.Size()
}

func (f *File) setBasic(in []byte) nt.Status {
	when := func(at int) time.Time {
		const epoch = 116444736000000000
		v := int64(le.Uint64(in[at:]))
		if v <= 0 {
			return time.Time{} // 0 and -1 leave it
		}
		return time.Unix(0, 0).Add(time.Duration(v-epoch) * 100)
	}
	if a, w := when(8), when(16); !a.IsZero() || !w.IsZero() {
		if err := f.v.root.Chtimes(f.n.path, a, w); err != nil {
			return statusOf(err, true)
		}
	}
	attributes := le.Uint32(in[32:])
	if attributes == 0 || f.dir {
		return nt.STATUS_SUCCESS
	}
	info, err := f.f.Stat()
	if err != nil {
		return statusOf(err, true)
	}
	mode := info.Mode().Perm() | 0o200
	if attributes&nt.FILE_ATTRIBUTE_READONLY != 0 {
		mode &^= 0o222
	}
	if mode == info.Mode().Perm() {
		return nt.STATUS_SUCCESS
	}
	return statusOf(f.f.Chmod(mode), true)
}

// setDisposition marks the file to be deleted, or not. STATUS_CANNOT_DELETE of one that is read-only
// or the volume itself, STATUS_DIRECTORY_NOT_EMPTY.
func (f *File) setDisposition(remove bool) nt.Status {
	if !remove {
		f.n.deleted = false
		return nt.STATUS_SUCCESS
	}
	info, err := f.f.Stat()
	if err != nil || f.n.path == "." || !f.dir && info.Mode().Perm()&0o200 == 0 {
		return nt.STATUS_CANNOT_DELETE
	}
	if f.dir {
		if names, err := f.v.list(f.n.path); err != nil || len(names) > 0 {
			return nt.STATUS_DIRECTORY_NOT_EMPTY
		}
	}
	f.n.deleted = true
	return nt.STATUS_SUCCESS
}

// rename moves the file within the volume.
func (f *File) rename(name string, replace bool) nt.Status {
	if f.n.path == "." {
		return nt.STATUS_INVALID_PARAMETER
	}
	if !strings.HasPrefix(name, `\`) { // in the same directory
		name = strings.ReplaceAll(path.Dir(f.n.path), "/", `\`) + `\` + name
		name = strings.TrimPrefix(name, `.`)
	}
	names, slash, status := split(name)
	if status != nt.STATUS_SUCCESS || slash || len(names) == 0 {
		return nt.STATUS_OBJECT_NAME_INVALID
	}
	at, info, status := f.v.find(names)
	switch {
	case status != nt.STATUS_SUCCESS:
		return status
	case info != nil && at != f.n.path && !replace:
		return nt.STATUS_OBJECT_NAME_COLLISION
	case info != nil && at != f.n.path && (info.IsDir() || f.v.open[at] != nil):
		return nt.STATUS_ACCESS_DENIED
	case info != nil && at == f.n.path: // another spelling
		at = path.Join(path.Dir(at), names[len(names)-1])
	}
	if f.dir {
		for p := range f.v.open {
			if strings.HasPrefix(p, f.n.path+"/") {
				return nt.STATUS_ACCESS_DENIED
			}
		}
	}
	if err := f.v.root.Rename(f.n.path, at); err != nil {
		return statusOf(err, false)
	}
	delete(f.v.open, f.n.path)
	f.n.path = at
	f.v.open[at] = f.n
	return nt.STATUS_SUCCESS
}

// QueryVolume gives information about the volume of a class.
func (f *File) QueryVolume(class uint32, room int) ([]byte, nt.Status) {
	const clusterSectors, sector = 8, 512
	var st syscall.Statfs_t
	conn, err := f.f.SyscallConn()
	if err == nil {
		var e error
		err = conn.Control(func(fd uintptr) { e = syscall.Fstatfs(int(fd), &st) })
		if err == nil {
			err = e
		}
	}
	if err != nil {
		return nil, statusOf(err, true)
	}
	clusters := func(blocks uint64) uint64 {
		return blocks * uint64(st.Bsize) / (clusterSectors * sector)
	}
	var b []byte
	switch class {
	case nt.FileFsSizeInformation:
		b = le.AppendUint64(b, clusters(st.Blocks))
		b = le.AppendUint64(b, clusters(st.Bavail))
		b = le.AppendUint32(b, clusterSectors)
		b = le.AppendUint32(b, sector)
	case nt.FileFsFullSizeInformation:
		b = le.AppendUint64(b, clusters(st.Blocks))
		b = le.AppendUint64(b, clusters(st.Bavail))
		b = le.AppendUint64(b, clusters(st.Bfree))
		b = le.AppendUint32(b, clusterSectors)
		b = le.AppendUint32(b, sector)
	case nt.FileFsVolumeInformation:
		b = append(make([]byte, 18), make([]byte, 6)...) // no label, serial number 0
	case nt.FileFsAttributeInformation:
		const casePreserved, unicode = 0x2, 0x4
		name := utf16le("NTFS")
		b = le.AppendUint32(b, casePreserved|unicode)
		b = le.AppendUint32(b, maxComponent)
		b = le.AppendUint32(b, uint32(len(name)))
		b = append(b, name...)
	default:
		return nil, nt.STATUS_INVALID_DEVICE_REQUEST
	}
	if len(b) > room {
		return b[:room], nt.STATUS_BUFFER_OVERFLOW
	}
	return b, nt.STATUS_SUCCESS
}
