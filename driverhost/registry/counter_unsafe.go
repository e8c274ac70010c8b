package registry

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// counter is the page in which a server shows the number of its last change.
type counter struct {
	mu   sync.RWMutex // held while the page is looked at
	page []byte       // nil when there is none
}

// newCounter makes the page, and gives the descriptor for mirrors, who can neither write nor shrink it.
func newCounter() (*counter, *os.File, error) {
	fd, err := unix.MemfdCreate("drvhost-registry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "registry counter")
	c := &counter{}
	err = unix.Ftruncate(fd, int64(os.Getpagesize()))
	if err == nil {
		c.page, err = unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|
			unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		c.close()
		return nil, nil, errors.Join(fmt.Errorf("registry counter: %w", err), f.Close())
	}
	return c, f, nil
}

// mapCounter maps a server's page, if it is one that cannot become shorter.
func mapCounter(fd int) (*counter, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, errors.Join(errors.New("the server's counter is not sealed"), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size < int64(os.Getpagesize()) {
		return nil, errors.Join(errors.New("the server's counter is no page"), err)
	}
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("the server's counter: %w", err)
	}
	return &counter{page: page}, nil
}

func (c *counter) word() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&c.page[0])) }

// store shows a number.
func (c *counter) store(n uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.page != nil {
		c.word().Store(n)
	}
}

// load gives the number; false when the page is gone.
func (c *counter) load() (uint64, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.page == nil {
		return 0, false
	}
	return c.word().Load(), true
}

// close gives the page back.
func (c *counter) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.page != nil {
		_ = unix.Munmap(c.page) // it was mapped
		c.page = nil
	}
}
