package volume

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/drvhost/drvhost/nt"
)

// Volume is a directory that stands for a drive.
type Volume struct {
	root *os.Root
	mu   sync.Mutex
	open map[string]*node // by path below the root
}

// node is a file that is open.
type node struct {
	path    string // below the root; "." is the root
	files   map[*File]struct{}
	deleted bool     // it goes with its last file
	content *content // while it has sections, else nil
}

// Open opens the directory dir as a volume. It is not looked up again: what becomes of its name has
// no effect.
func Open(dir string) (*Volume, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Volume{root: root, open: make(map[string]*node)}, nil
}

// Close gives the directory back; files that are open stay so. What was written to sections is in
// their files by then.
func (v *Volume) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.open {
		if n.content != nil {
			_ = n.content.Flush(0, -1) // nobody is left who could be told
		}
	}
	return v.root.Close()
}

// Request is what an open asks for.
type Request struct {
	Name        string // below the volume, with or without its backslash in front
	Access      uint32 // ACCESS_MASK without generic rights
	Share       uint32
	Disposition uint32
	Options     uint32
	Attributes  uint32
}

// Open opens or makes a file or directory. information is FILE_OPENED and its kin.
//
// STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND,
// STATUS_OBJECT_NAME_COLLISION, STATUS_NOT_A_DIRECTORY, STATUS_FILE_IS_A_DIRECTORY,
// STATUS_SHARING_VIOLATION, STATUS_DELETE_PENDING, STATUS_ACCESS_DENIED, STATUS_INVALID_PARAMETER,
// STATUS_CANNOT_DELETE, and what the host's file system says ("ZwCreateFile function (wdm.h)").
func (v *Volume) Open(r Request) (f *File, information uintptr, status nt.Status) {
	if status := r.check(); status != nt.STATUS_SUCCESS {
		return nil, 0, status
	}
	names, slash, status := split(r.Name)
	if status != nt.STATUS_SUCCESS {
		return nil, 0, status
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	at, info, status := v.find(names)
	if status != nt.STATUS_SUCCESS {
		return nil, 0, status
	}
	if info == nil {
		return v.create(r, at, slash)
	}
	return v.existing(r, at, info, slash)
}

// check does what the I/O manager does.
func (r *Request) check() nt.Status {
	const sync = nt.FILE_SYNCHRONOUS_IO_ALERT | nt.FILE_SYNCHRONOUS_IO_NONALERT
	const both = nt.FILE_DIRECTORY_FILE | nt.FILE_NON_DIRECTORY_FILE
	directory := r.Options&nt.FILE_DIRECTORY_FILE != 0
	switch {
	case r.Disposition > nt.FILE_OVERWRITE_IF,
		r.Share&^nt.FILE_SHARE_VALID_FLAGS != 0,
		r.Options&both == both,
		r.Options&sync == sync,
		r.Options&sync != 0 && r.Access&nt.SYNCHRONIZE == 0,
		r.Options&nt.FILE_DELETE_ON_CLOSE != 0 && r.Access&nt.DELETE == 0,
		directory && r.Disposition != nt.FILE_OPEN && r.Disposition != nt.FILE_CREATE &&
			r.Disposition != nt.FILE_OPEN_IF,
		r.Options&nt.FILE_NO_INTERMEDIATE_BUFFERING != 0 && r.Access&nt.FILE_APPEND_DATA != 0 &&
			r.Access&nt.FILE_WRITE_DATA == 0:
		return nt.STATUS_INVALID_PARAMETER
	case r.Options&nt.FILE_OPEN_BY_FILE_ID != 0:
		return nt.STATUS_NOT_SUPPORTED
	}
	return nt.STATUS_SUCCESS
}

// split takes a name apart. slash says that it ended with a backslash, and so names a directory.
func split(name string) (names []string, slash bool, status nt.Status) {
	name = strings.TrimPrefix(name, `\`)
	if name == "" {
		return nil, true, nt.STATUS_SUCCESS
	}
	name, slash = strings.CutSuffix(name, `\`)
	names = strings.Split(name, `\`)
	for _, n := range names {
		if !validName(n) {
			return nil, false, nt.STATUS_OBJECT_NAME_INVALID
		}
	}
	return names, slash, nt.STATUS_SUCCESS
}

const maxComponent = 255 // characters of a name, on NTFS and on Linux (bytes there)

// validName reports whether a component is one that NTFS takes. "." and ".." are for Win32 to
// resolve: to the kernel they are invalid.
func validName(n string) bool {
	if n == "" || n == "." || n == ".." || len(n) > maxComponent {
		return false
	}
	for _, r := range n {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return false
		}
	}
	return true
}

// find looks a name up. Where its last component is missing info is nil and at the place where it
// would be.
func (v *Volume) find(names []string) (at string, info fs.FileInfo, status nt.Status) {
	at = "."
	if len(names) == 0 {
		info, err := v.root.Stat(".")
		return ".", info, statusOf(err, true)
	}
	for i, name := range names {
		last := i == len(names)-1
		next, info, err := v.step(at, name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && last:
			return path.Join(at, name), nil, nt.STATUS_SUCCESS
		case err != nil:
			return "", nil, statusOf(err, last)
		case last:
			return next, info, nt.STATUS_SUCCESS
		case !info.IsDir():
			return "", nil, nt.STATUS_OBJECT_PATH_NOT_FOUND
		}
		at = next
	}
	return "", nil, nt.STATUS_OBJECT_NAME_INVALID
}

// step looks for one name in a directory, first as it is written and then in any case.
func (v *Volume) step(dir, name string) (string, fs.FileInfo, error) {
	at := path.Join(dir, name)
	info, err := v.root.Stat(at)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return at, info, err
	}
	entries, e := v.list(dir)
	if e != nil {
		return at, nil, err
	}
	for _, entry := range entries {
		if strings.EqualFold(entry, name) && entry != name {
			at := path.Join(dir, entry)
			info, err := v.root.Stat(at)
			return at, info, err
		}
	}
	return at, nil, err
}

func (v *Volume) list(dir string) ([]string, error) {
	d, err := v.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// statusOf gives the status of a host's error; last says that it is about the last component.
func statusOf(err error, last bool) nt.Status {
	switch {
	case err == nil:
		return nt.STATUS_SUCCESS
	case errors.Is(err, fs.ErrNotExist) && last:
		return nt.STATUS_OBJECT_NAME_NOT_FOUND
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nt.STATUS_OBJECT_PATH_NOT_FOUND
	case errors.Is(err, fs.ErrExist):
		return nt.STATUS_OBJECT_NAME_COLLISION
	case errors.Is(err, syscall.EROFS):
		return nt.STATUS_MEDIA_WRITE_PROTECTED
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return nt.STATUS_DISK_FULL
	case errors.Is(err, syscall.ENOTEMPTY):
		return nt.STATUS_DIRECTORY_NOT_EMPTY
	case errors.Is(err, syscall.EISDIR):
		return nt.STATUS_FILE_IS_A_DIRECTORY
	case errors.Is(err, syscall.ENAMETOOLONG):
		return nt.STATUS_OBJECT_NAME_INVALID
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return nt.STATUS_TOO_MANY_OPENED_FILES
	case errors.Is(err, syscall.EIO):
		return nt.STATUS_IO_DEVICE_ERROR
	}
	return nt.STATUS_ACCESS_DENIED // also for a link that leads out of the directory
}

// writes are the rights for which a file must be writable.
const writes = nt.FILE_WRITE_DATA | nt.FILE_APPEND_DATA

// create makes what is not there.
func (v *Volume) create(r Request, at string, slash bool) (*File, uintptr, nt.Status) {
	if r.Disposition == nt.FILE_OPEN || r.Disposition == nt.FILE_OVERWRITE {
		return nil, 0, nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	if r.Options&nt.FILE_DIRECTORY_FILE != 0 {
		if err := v.root.Mkdir(at, 0o777); err != nil {
			return nil, 0, statusOf(err, false)
		}
		f, status := v.add(r, at, true, os.O_RDONLY)
		return f, nt.FILE_CREATED, status
	}
	if slash {
		return nil, 0, nt.STATUS_OBJECT_NAME_INVALID
	}
	f, status := v.add(r, at, false, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if status == nt.STATUS_SUCCESS && r.Attributes&nt.FILE_ATTRIBUTE_READONLY != 0 {
		_ = f.f.Chmod(0o444)
	}
	return f, nt.FILE_CREATED, status
}

// existing opens what is there.
func (v *Volume) existing(r Request, at string, info fs.FileInfo, slash bool) (*File, uintptr,
	nt.Status) {
	n := v.open[at]
	dir := info.IsDir()
	switch {
	case n != nil && n.deleted:
		return nil, 0, nt.STATUS_DELETE_PENDING
	case r.Disposition == nt.FILE_CREATE:
		return nil, 0, nt.STATUS_OBJECT_NAME_COLLISION
	case dir && r.Options&nt.FILE_NON_DIRECTORY_FILE != 0:
		return nil, 0, nt.STATUS_FILE_IS_A_DIRECTORY
	case !dir && r.Options&nt.FILE_DIRECTORY_FILE != 0:
		return nil, 0, nt.STATUS_NOT_A_DIRECTORY
	case !dir && slash:
		return nil, 0, nt.STATUS_OBJECT_NAME_INVALID
	case dir && r.Disposition != nt.FILE_OPEN && r.Disposition != nt.FILE_OPEN_IF:
		return nil, 0, nt.STATUS_OBJECT_NAME_COLLISION
	case !dir && !info.Mode().IsRegular():
		return nil, 0, nt.STATUS_ACCESS_DENIED // a pipe, a socket or a device of the host's
	case at == "." && r.Options&nt.FILE_DELETE_ON_CLOSE != 0:
		return nil, 0, nt.STATUS_CANNOT_DELETE
	}
	truncate := r.Disposition == nt.FILE_SUPERSEDE || r.Disposition == nt.FILE_OVERWRITE ||
		r.Disposition == nt.FILE_OVERWRITE_IF
	readOnly := !dir && info.Mode().Perm()&0o200 == 0
	switch {
	case readOnly && (truncate || r.Access&writes != 0):
		return nil, 0, nt.STATUS_ACCESS_DENIED
	case readOnly && r.Options&nt.FILE_DELETE_ON_CLOSE != 0:
		return nil, 0, nt.STATUS_CANNOT_DELETE
	}
	if n != nil && n.content != nil && truncate {
		return nil, 0, nt.STATUS_USER_MAPPED_FILE
	}
	if n != nil && n.conflicts(r.Access|map[bool]uint32{true: nt.FILE_WRITE_DATA}[truncate], r.Share) {
		return nil, 0, nt.STATUS_SHARING_VIOLATION
	}
	flags := os.O_RDONLY
	if !dir && (truncate || r.Access&writes != 0) {
		flags = os.O_RDWR
	}
	f, status := v.add(r, at, dir, flags)
	if status != nt.STATUS_SUCCESS {
		return nil, 0, status
	}
	information := nt.FILE_OPENED
	if truncate {
		if err := f.f.Truncate(0); err != nil {
			v.remove(f)
			return nil, 0, statusOf(err, true)
		}
		information = nt.FILE_OVERWRITTEN
		if r.Disposition == nt.FILE_SUPERSEDE {
			information = nt.FILE_SUPERSEDED
		}
	}
	return f, information, nt.STATUS_SUCCESS
}

// conflicts reports whether an open does not go with those that there are.
func (n *node) conflicts(access, share uint32) bool {
	needs := func(access uint32) (share uint32) {
		if access&(nt.FILE_READ_DATA|nt.FILE_EXECUTE) != 0 {
			share |= nt.FILE_SHARE_READ
		}
		if access&writes != 0 {
			share |= nt.FILE_SHARE_WRITE
		}
		if access&nt.DELETE != 0 {
			share |= nt.FILE_SHARE_DELETE
		}
		return share
	}
	mine := needs(access)
	if mine == 0 {
		return false
	}
	for f := range n.files {
		theirs := needs(f.access)
		if theirs != 0 && (mine&^f.share != 0 || theirs&^share != 0) {
			return true
		}
	}
	return false
}

// add opens the host's file and enters it.
func (v *Volume) add(r Request, at string, dir bool, flags int) (*File, nt.Status) {
	h, err := v.root.OpenFile(at, flags|syscall.O_NONBLOCK, 0o666)
	if err != nil {
		return nil, statusOf(err, true)
	}
	info, err := h.Stat()
	if err != nil || info.IsDir() != dir || !dir && !info.Mode().IsRegular() {
		h.Close() // it was replaced a moment ago
		return nil, nt.STATUS_ACCESS_DENIED
	}
	n := v.open[at]
	if n == nil {
		n = &node{path: at, files: make(map[*File]struct{})}
		v.open[at] = n
	}
	f := &File{v: v, n: n, f: h, dir: dir, access: r.Access, share: r.Share,
		deleteOnClose: r.Options&nt.FILE_DELETE_ON_CLOSE != 0}
	n.files[f] = struct{}{}
	return f, nt.STATUS_SUCCESS
}

// remove takes a file out and closes it; v.mu is held.
func (v *Volume) remove(f *File) {
	delete(f.n.files, f)
	_ = f.f.Close()
	if len(f.n.files) == 0 {
		if f.n.content == nil || f.n.deleted {
			delete(v.open, f.n.path)
		}
		if f.n.deleted {
			_ = v.root.Remove(f.n.path) // as on Windows nobody is told that it failed
		}
	}
}
