package volume

import (
	"os"

	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

// Content is what somebody keeps of a file's data besides the host's file: the pages of its
// sections. Reads and writes of the file agree with it.
type Content interface {
	// Flush writes to the host's file what was changed in the n bytes from at on, -1 for all.
	Flush(at, n int64) nt.Status
	// Wrote says what was written to the host's file, and where.
	Wrote(p []byte, at int64)
	// SetFile gives another open of the host's file, by which it can be written.
	SetFile(f *os.File)
	// Close says that nobody uses the content any more. It was flushed.
	Close()
}

// content is a node's Content and what goes with it.
type content struct {
	Content
	host     *os.File // an open of its own, so that the file's handles may go
	writable bool
	users    int
}

// CreateContent makes the content of a file of size bytes.
type CreateContent func(host *os.File, size int64) (Content, nt.Status)

// Share gives the content of the file, which create makes of the host's file and its size if there
// is none, after it has made the file at least size bytes long. Each Share is ended by an Unshare.
//
// STATUS_INVALID_FILE_FOR_SECTION of a directory, STATUS_MAPPED_FILE_SIZE_ZERO of an empty file,
// STATUS_ACCESS_DENIED if it was not opened for writing, STATUS_SECTION_TOO_BIG for a size beyond
// the end of a file that is not to be written, and what create and the host say.
func (f *File) Share(size int64, write bool, create CreateContent) (Content, *Sharing, nt.Status) {
	if f.dir {
		return nil, nil, nt.STATUS_INVALID_FILE_FOR_SECTION
	}
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	switch {
	case f.closed:
		return nil, nil, nt.STATUS_FILE_CLOSED
	case write && f.access&nt.FILE_WRITE_DATA == 0:
		return nil, nil, nt.STATUS_ACCESS_DENIED
	}
	info, err := f.f.Stat()
	switch {
	case err != nil:
		return nil, nil, statusOf(err, true)
	case size == 0 && info.Size() == 0:
		return nil, nil, nt.STATUS_MAPPED_FILE_SIZE_ZERO
	case size > info.Size() && !write:
		return nil, nil, nt.STATUS_SECTION_TOO_BIG
	case size > info.Size():
		if err := f.f.Truncate(size); err != nil {
			return nil, nil, statusOf(err, true)
		}
	}
	c := f.n.content
	if c == nil || write && !c.writable {
		host, err := again(f.f)
		if err != nil {
			return nil, nil, statusOf(err, true)
		}
		if c != nil {
			c.SetFile(host)
			_ = c.host.Close()
			c.host, c.writable = host, true
		} else {
			made, status := create(host, max(size, info.Size()))
			if status != nt.STATUS_SUCCESS {
				_ = host.Close()
				return nil, nil, status
			}
			c = &content{Content: made, host: host, writable: write}
			f.n.content = c
		}
	}
	c.users++
	return c.Content, &Sharing{f.v, f.n, c}, nt.STATUS_SUCCESS
}

// again gives another descriptor of an open file.
func again(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	err = conn.Control(func(old uintptr) {
		var e error
		if fd, e = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); e != nil {
			fd = -1
		}
	})
	if err != nil {
		return nil, err
	}
	if fd < 0 {
		return nil, unix.EMFILE
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Size gives the file's size in bytes.
func (f *File) Size() int64 {
	info, err := f.f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// Sharing is a use of a file's content.
type Sharing struct {
	v *Volume
	n *node
	c *content
}

// End ends the use. With the last one the content is closed.
func (s *Sharing) End() {
	s.v.mu.Lock()
	s.c.users--
	last := s.c.users == 0
	if last {
		s.n.content = nil
		if len(s.n.files) == 0 && s.v.open[s.n.path] == s.n {
			delete(s.v.open, s.n.path)
		}
	}
	s.v.mu.Unlock()
	if last {
		s.c.Close()
		_ = s.c.host.Close()
	}
}

// shared gives the content of the file's node, or nil.
func (f *File) shared() Content {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if f.n.content == nil {
		return nil
	}
	return f.n.content.Content
}
