package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

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

// The buckets of the file: one record a key, by its folded path, so that a key comes after those
// above it; and what the file is.
var (
	bucketKeys   = []byte("keys")
	bucketFormat = []byte("format")
	formatKey    = []byte("version")
	bootKey      = []byte("boot") // the machine's start that volatile keys are of
)

const formatVersion = "1"

// record is a key in the file.
type record struct {
	Path     string   `json:"path"`
	Class    string   `json:"class,omitempty"`
	Link     bool     `json:"link,omitempty"`
	Volatile bool     `json:"volatile,omitempty"`
	Security []byte   `json:"security,omitempty"`
	Values   []stored `json:"values,omitempty"`
}

// stored is a value in the file.
type stored struct {
	Name string `json:"name"`
	Type uint32 `json:"type"`
	Data []byte `json:"data"`
}

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
		if f := tx.Bucket(bucketFormat); f != nil {
			if v := string(f.Get(formatKey)); v != formatVersion {
				return fmt.Errorf("the registry has format %q, this drvhost knows %q", v, formatVersion)
			}
			s.Registry = cm.New()
			if string(f.Get(bootKey)) == boot {
				return s.read(tx)
			}
			return errors.Join(dropVolatile(tx), s.read(tx), s.addVolatile(tx, fresh()),
				f.Put(bootKey, []byte(boot)))
		}
		s.Registry = fresh()
		f, err := tx.CreateBucket(bucketFormat)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketKeys); err != nil {
			return err
		}
		for c := range s.Registry.Changes {
			if err := write(tx, c); err != nil {
				return err
			}
		}
		return errors.Join(f.Put(formatKey, []byte(formatVersion)), f.Put(bootKey, []byte(boot)))
	})
}

var errNoKeys = errors.New("the registry has no keys")

// read puts the file's keys into the registry.
func (s *Store) read(tx *bolt.Tx) error {
	keys := tx.Bucket(bucketKeys)
	if keys == nil {
		return errNoKeys
	}
	return keys.ForEach(func(k, v []byte) error {
		var r record
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		for _, c := range r.changes() {
			if status := s.Registry.Apply(c); status != nt.STATUS_SUCCESS {
				return fmt.Errorf("key %s: %v: %w", r.Path, c.Op, status)
			}
		}
		return nil
	})
}

// dropVolatile takes the volatile keys out of the file.
func dropVolatile(tx *bolt.Tx) error {
	keys := tx.Bucket(bucketKeys)
	if keys == nil {
		return errNoKeys
	}
	var gone [][]byte
	err := keys.ForEach(func(k, v []byte) error {
		var r record
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		if r.Volatile {
			gone = append(gone, slices.Clone(k))
		}
		return nil
	})
	for _, k := range gone {
		err = errors.Join(err, keys.Delete(k))
	}
	return err
}

// addVolatile adds what is volatile in another registry.
func (s *Store) addVolatile(tx *bolt.Tx, from *cm.Registry) error {
	for c := range from.Changes {
		if !c.Volatile {
			continue
		}
		if status := s.Registry.Apply(c); status != nt.STATUS_SUCCESS {
			return fmt.Errorf("key %s: %v: %w", c.Key, c.Op, status)
		}
		if err := write(tx, c); err != nil {
			return err
		}
	}
	return nil
}

// changes gives the changes that make a key.
func (r *record) changes() []cm.Change {
	list := []cm.Change{{Op: cm.OpCreateKey, Key: r.Path, Class: r.Class, Link: r.Link,
		Volatile: r.Volatile}}
	if r.Security != nil {
		list = append(list, cm.Change{Op: cm.OpSetSecurity, Key: r.Path, Data: r.Security})
	}
	for _, v := range r.Values {
		list = append(list, cm.Change{Op: cm.OpSetValue, Key: r.Path, Name: v.Name, Type: v.Type,
			Data: v.Data})
	}
	return list
}

// change makes a change durable: in the batch under way, or by itself.
func (s *Store) change(c cm.Change) nt.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	var err error
	if s.tx != nil {
		err = write(s.tx, c)
	} else {
		err = s.db.Update(func(tx *bolt.Tx) error { return write(tx, c) })
	}
	if err != nil {
		s.broken = err
		return nt.STATUS_REGISTRY_IO_FAILED
	}
	return nt.STATUS_SUCCESS
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
	if e := tx.Commit(); e != nil {
		s.broken = e
		return errors.Join(err, e)
	}
	return err
}

// Settled calls f while no batch is half done.
func (s *Store) Settled(f func()) {
	s.batch.RLock()
	defer s.batch.RUnlock()
	f()
}

// write puts a change into the file.
func write(tx *bolt.Tx, c cm.Change) error {
	keys := tx.Bucket(bucketKeys)
	at := []byte(cm.Fold(c.Key))
	switch c.Op {
	case cm.OpCreateKey:
		return put(keys, at, &record{Path: c.Key, Class: c.Class, Link: c.Link, Volatile: c.Volatile})
	case cm.OpDeleteKey:
		return keys.Delete(at)
	case cm.OpRenameKey:
		return rename(keys, c)
	}
	r := record{Path: c.Key} // a root has no record until it has something
	if old := keys.Get(at); old != nil {
		if err := json.Unmarshal(old, &r); err != nil {
			return fmt.Errorf("key %s: %w", c.Key, err)
		}
	}
	i := slices.IndexFunc(r.Values, func(v stored) bool { return cm.Fold(v.Name) == cm.Fold(c.Name) })
	switch c.Op {
	case cm.OpSetValue:
		v := stored{c.Name, c.Type, c.Data}
		if i >= 0 {
			r.Values[i] = v
		} else {
			r.Values = append(r.Values, v)
		}
	case cm.OpDeleteValue:
		if i >= 0 {
			r.Values = slices.Delete(r.Values, i, i+1)
		}
	case cm.OpSetSecurity:
		r.Security = c.Data
	default:
		return fmt.Errorf("key %s: unknown change %d", c.Key, c.Op)
	}
	return put(keys, at, &r)
}

func put(keys *bolt.Bucket, at []byte, r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return keys.Put(at, b)
}

// rename moves a key's record and those below it.
func rename(keys *bolt.Bucket, c cm.Change) error {
	old := cm.Fold(c.Key)
	parent := c.Key[:len(c.Key)-len(lastName(c.Key))]
	type moved struct {
		at []byte
		r  record
	}
	var all []moved
	cursor := keys.Cursor()
	for k, v := cursor.Seek([]byte(old)); k != nil; k, v = cursor.Next() {
		s := string(k)
		if len(s) < len(old) || s[:len(old)] != old {
			break
		}
		if len(s) > len(old) && s[len(old)] != '\\' {
			continue
		}
		m := moved{at: slices.Clone(k)}
		if err := json.Unmarshal(v, &m.r); err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		all = append(all, m)
	}
	for _, m := range all {
		if err := keys.Delete(m.at); err != nil {
			return err
		}
	}
	for _, m := range all {
		m.r.Path = parent + c.Name + m.r.Path[len(c.Key):]
		if err := put(keys, []byte(cm.Fold(m.r.Path)), &m.r); err != nil {
			return err
		}
	}
	return nil
}

// lastName gives what follows the last backslash.
func lastName(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '\\' {
			return path[i+1:]
		}
	}
	return path
}
