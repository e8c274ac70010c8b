package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Store is a registry with a file. One process has it open at a time. What is volatile is in the file
// too, for the next process, until the machine starts again.
type Store struct {
	Registry *cm.Registry

	db *bolt.DB

	batch  sync.RWMutex // held by Batch
	mu     sync.Mutex
	tx     *bolt.Tx // of the batch under way, or nil
	broken error    // why nothing can be written any more
}

// ErrInUse says that another process has the store open.
var ErrInUse = errors.New("another process has the registry open")

// lockWait is how long Open waits for another process to close the file.
const lockWait = 100 * time.Millisecond

// Open opens the store in a file, or makes it with what fresh gives. ErrInUse if another process has
// it open; what cannot be understood is an error that names the key. After another start of the machine
// what is volatile is what fresh gives.
func Open(path string, fresh func() *cm.Registry) (*Store, error) {
	return open(path, bootID(), fresh)
}

func open(path, boot string, fresh func() *cm.Registry) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait})
	if err != nil {
		if errors.Is(err, bolt.ErrTimeout) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.load(boot, fresh); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	s.Registry.OnChange = s.change
	return s, nil
}

// Close closes the file. The registry can be read on, and not changed.
func (s *Store) Close() error {
	s.batch.Lock()
	defer s.batch.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = errors.New("the store is closed")
	return s.db.Close()
}

// Err gives the error that has ended writing, or nil.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

func (s *Store) load(boot string, fresh func() *cm.Registry) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		f, was, err := openFile(tx)
		if err != nil {
			return err
		}
		if was == "" {
			s.Registry = fresh()
			for c := range s.Registry.Changes {
				if err := f.write(c); err != nil {
					return err
				}
			}
			return f.setBoot(boot)
		}
		s.Registry = cm.New()
		if was == boot {
			return f.read(s.Registry)
		}
		return errors.Join(f.dropVolatile(), f.read(s.Registry), s.addVolatile(f, fresh()),
			f.setBoot(boot))
	})
}

// addVolatile adds what is volatile in another registry.
func (s *Store) addVolatile(f *file, from *cm.Registry) error {
	for c := range from.Changes {
		if !c.Volatile {
			continue
		}
		if status := s.Registry.Apply(c); status != nt.STATUS_SUCCESS {
			return fmt.Errorf("key %s: %v: %w", c.Key, c.Op, status)
		}
		if err := f.write(c); err != nil {
			return err
		}
	}
	return nil
}

// change makes a change durable: in the batch under way, or by itself.
func (s *Store) change(c cm.Change) nt.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	if !utf8.ValidString(c.Key) || !utf8.ValidString(c.Name) || !utf8.ValidString(c.Class) {
		return nt.STATUS_OBJECT_NAME_INVALID // a record could not tell it
	}
	var err error
	if s.tx != nil {
		err = fileOf(s.tx).write(c)
	} else {
		step("change")
		err = s.db.Update(func(tx *bolt.Tx) error { return fileOf(tx).write(c) })
		step("changed")
	}
	switch {
	case err == nil:
		return nt.STATUS_SUCCESS
	case errors.Is(err, errLongPath):
		return nt.STATUS_NAME_TOO_LONG
	}
	s.broken = err
	return nt.STATUS_REGISTRY_IO_FAILED
}

// Batch does changes as one: after a crash there are all of them or none. Others' changes meanwhile
// are part of it. An error of f takes back nothing of what it has done; an error of the file ends
// all writing.
func (s *Store) Batch(f func() error) error {
	s.batch.Lock()
	defer s.batch.Unlock()
	s.mu.Lock()
	if s.broken != nil {
		defer s.mu.Unlock()
		return s.broken
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		defer s.mu.Unlock()
		s.broken = err
		return err
	}
	s.tx = tx
	s.mu.Unlock()
	err = f()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx = nil
	if s.broken != nil {
		return errors.Join(err, s.broken, tx.Rollback())
	}
	step("commit")
	if e := tx.Commit(); e != nil {
		s.broken = e
		return errors.Join(err, e)
	}
	step("committed")
	return err
}

// Settled calls f while no batch is half done.
func (s *Store) Settled(f func()) {
	s.batch.RLock()
	defer s.batch.RUnlock()
	f()
}
