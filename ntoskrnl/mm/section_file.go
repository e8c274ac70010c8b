// Sections of files: the pages of a file that sections of it share.

package mm

import (
	"errors"
	"hash/maphash"
	"io"
	"sync"

	"github.com/drvhost/drvhost/nt"
	"golang.org/x/sys/unix"
)

// A file's pages are a copy of it in RAM, not a mapping of the host's file: so a view stays whole
// whatever others do to the file, and cutting it off is no SIGBUS. What was written to a page is
// found by its checksum, and goes to the file when a view that can be written is unmapped, when the
// file is flushed or read, and when the last section ends.

// FileData is the host's file behind a FilePages.
type FileData interface {
	io.ReaderAt
	io.WriterAt
}

// FilePages are the pages of a file that has sections. Its methods may be called from any
// goroutine.
type FilePages struct {
	m    *Manager
	mu   sync.Mutex
	file FileData
	size uint64 // of what is in the pages, in bytes
	// parts are sections whose pages follow each other: one, and one more for each time that the file
	// has grown.
	parts []*Section
	sums  []uint64 // of each page as it is in the file; 0: not known
	seed  maphash.Seed
	buf   []byte
}

// NewFilePages reads a file of size bytes, which is not 0, into pages. Close gives them back;
// sections of them stay. STATUS_COMMITMENT_LIMIT without memory, STATUS_SECTION_TOO_BIG, and
// STATUS_IN_PAGE_ERROR for a file that cannot be read.
func (m *Manager) NewFilePages(file FileData, size uint64) (*FilePages, nt.Status) {
	c := &FilePages{m: m, file: file, seed: maphash.MakeSeed(), buf: make([]byte, 16*pageSize)}
	if status := c.grow(size); status != nt.STATUS_SUCCESS {
		c.Close()
		return nil, status
	}
	return c, nt.STATUS_SUCCESS
}

// Close gives up the pages, which the sections of them keep.
func (c *FilePages) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		p.Release()
	}
	c.parts = nil
}

// grow makes pages for a file that has grown. c.mu is held, or nobody else has c.
func (c *FilePages) grow(size uint64) nt.Status {
	have := uint64(len(c.sums))
	want := (size + pageSize - 1) >> pageShift
	if want > have {
		p, status := c.m.NewSection((want-have)<<pageShift, pageExecuteReadWrite, SEC_COMMIT)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		c.parts = append(c.parts, p)
		c.sums = append(c.sums, make([]uint64, want-have)...)
	}
	// What was the last page may have more to it now.
	from := c.size >> pageShift << pageShift
	old := c.size
	c.size = max(size, c.size)
	for at := from; at < c.size; {
		n, err := c.file.ReadAt(c.buf[:min(uint64(len(c.buf)), c.size-at)], int64(at))
		if err != nil && !errors.Is(err, io.EOF) {
			c.size = old
			return nt.STATUS_IN_PAGE_ERROR
		}
		if n == 0 {
			break // it is shorter by now: the rest is zeros, as the pages are
		}
		skip := uint64(0)
		if at < old {
			skip = min(old-at, uint64(n)) // what is in the page already stays
		}
		if err := c.put(c.buf[skip:n], at+skip); err != nil {
			return nt.STATUS_IN_PAGE_ERROR
		}
		at += uint64(n)
	}
	for i := from >> pageShift; i < want; i++ {
		page, err := c.page(i)
		if err != nil {
			return nt.STATUS_IN_PAGE_ERROR
		}
		if i >= have {
			c.sums[i] = maphash.Bytes(c.seed, page)
		} else {
			c.sums[i] = 0
		}
	}
	return nt.STATUS_SUCCESS
}

// place gives where in the RAM's file a byte of the pages is, and how many follow it there.
func (c *FilePages) place(at uint64) (off int64, n uint64) {
	page := at >> pageShift
	for _, p := range c.parts {
		for _, r := range p.frames {
			if page < r.n {
				in := at & (pageSize - 1)
				return int64((r.first-ramPFN+page)<<pageShift + in), (r.n-page)<<pageShift - in
			}
			page -= r.n
		}
	}
	return 0, 0
}

// put writes to the pages.
func (c *FilePages) put(p []byte, at uint64) error {
	for len(p) > 0 {
		off, room := c.place(at)
		if room == 0 {
			return io.ErrShortWrite
		}
		n, err := unix.Pwrite(c.m.ram.fd, p[:min(uint64(len(p)), room)], off)
		if err != nil {
			return err
		}
		p, at = p[n:], at+uint64(n)
	}
	return nil
}

// page reads a page, into the end of c.buf.
func (c *FilePages) page(i uint64) ([]byte, error) {
	page := c.buf[len(c.buf)-pageSize:]
	off, room := c.place(i << pageShift)
	if room == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	n, err := unix.Pread(c.m.ram.fd, page, off)
	if err == nil && n < len(page) {
		err = io.ErrUnexpectedEOF
	}
	return page, err
}

// Section makes a section of the first size bytes of the file; 0 is all of it. The file has as many
// bytes by then. page and attributes are those of NewSection; done is called when the section has
// ended, and what was written is in the file.
func (c *FilePages) Section(size uint64, page, attributes uint32, done func()) (*Section,
	nt.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.size {
		if status := c.grow(size); status != nt.STATUS_SUCCESS {
			return nil, status
		}
	}
	if size == 0 {
		size = c.size
	}
	s := &Section{m: c.m, size: size, page: page, attributes: attributes | SEC_FILE, refs: 1,
		views: map[*mapping]struct{}{}, file: c, done: done}
	for _, p := range c.parts {
		if !p.reference() {
			return nil, nt.STATUS_FILE_CLOSED
		}
		s.parts = append(s.parts, p)
		s.frames = append(s.frames, p.frames...)
	}
	c.m.sections.Add(1)
	return s, nt.STATUS_SUCCESS
}

// SetFile gives another open of the same file, by which it can be written.
func (c *FilePages) SetFile(file FileData) {
	c.mu.Lock()
	c.file = file
	c.mu.Unlock()
}

// Flush writes to the file what was changed in the pages that the n bytes from at on touch; n < 0
// is all of them. The status is that of the first page that could not be written.
func (c *FilePages) Flush(at, n int64) nt.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, end := uint64(at)>>pageShift, uint64(len(c.sums))
	if n >= 0 {
		end = min(end, (uint64(at)+uint64(n)+pageSize-1)>>pageShift)
	}
	if len(c.parts) == 0 {
		return nt.STATUS_SUCCESS
	}
	end = min(end, (c.size+pageSize-1)>>pageShift)
	for i := first; i < end; i++ {
		page, err := c.page(i)
		if err != nil {
			return nt.STATUS_IN_PAGE_ERROR
		}
		sum := maphash.Bytes(c.seed, page)
		if sum == c.sums[i] {
			continue
		}
		if _, err := c.file.WriteAt(page[:min(pageSize, c.size-i<<pageShift)],
			int64(i<<pageShift)); err != nil {
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
				return nt.STATUS_DISK_FULL
			}
			return nt.STATUS_UNEXPECTED_IO_ERROR
		}
		c.sums[i] = sum
	}
	return nt.STATUS_SUCCESS
}

// FlushView writes to its file what was changed in a view of the process that owner is the window
// of, in the size bytes at a; 0 is up to the view's end, where it ends in any case. It gives the
// pages that were looked at. STATUS_NOT_MAPPED_VIEW, STATUS_NOT_MAPPED_DATA of a section without a
// file or a copy.
func (m *Manager) FlushView(owner *Window, a nt.Addr, size uint64) (nt.Addr, uint64, nt.Status) {
	p := m.viewAt(a)
	if p == nil || !p.view.user || p.user != owner || !p.view.section.reference() {
		return 0, 0, nt.STATUS_NOT_MAPPED_VIEW
	}
	defer p.view.section.Release()
	if p.view.section.file == nil || p.view.copy {
		return 0, 0, nt.STATUS_NOT_MAPPED_DATA
	}
	base := a &^ (pageSize - 1)
	n := uint64(p.region.End() - base)
	if want := uint64(a-base) + size; size != 0 && size < n {
		n = min(n, (want+pageSize-1)&^(pageSize-1))
	}
	off := p.view.offset + uint64(base-p.region.Base())
	return base, n, p.view.section.file.Flush(int64(off), int64(n))
}

// Wrote says that p was written to the file at at, past the pages: what is in both becomes the
// same.
func (c *FilePages) Wrote(p []byte, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := uint64(len(c.sums)) << pageShift
	if len(c.parts) == 0 || len(p) == 0 || uint64(at) >= limit {
		return
	}
	p = p[:min(uint64(len(p)), limit-uint64(at))]
	if c.put(p, uint64(at)) != nil {
		return
	}
	end := uint64(at) + uint64(len(p))
	c.size = max(c.size, end)
	for i := uint64(at) >> pageShift; i<<pageShift < end; i++ {
		c.sums[i] = 0
	}
}

// Size gives the number of bytes that the pages have of the file.
func (c *FilePages) Size() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
