package service

// What a store's file holds: one record for each key, and one for each value, so that a change costs what
// is changed and not what lies beside it.

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// The buckets of the file. Keys are by their folded path, so that a key comes after those above it;
// values by their key's path, a zero and their folded name.
var (
	bucketKeys   = []byte("keys")
	bucketValues = []byte("values")
	bucketFormat = []byte("format")
	formatKey    = []byte("version")
	bootKey      = []byte("boot") // the machine's start that volatile keys are of
)

const formatVersion = "2"

// file is the buckets in a transaction.
type file struct {
	keys, values, format *bolt.Bucket
}

func fileOf(tx *bolt.Tx) *file {
	return &file{tx.Bucket(bucketKeys), tx.Bucket(bucketValues), tx.Bucket(bucketFormat)}
}

// openFile gives the buckets, which it makes in a new file, and the machine's start that the file was
// last used in, or "" if it is new.
func openFile(tx *bolt.Tx) (f *file, boot string, err error) {
	f = fileOf(tx)
	if f.format == nil {
		for _, name := range [][]byte{bucketKeys, bucketValues, bucketFormat} {
			if _, err := tx.CreateBucket(name); err != nil {
				return nil, "", err
			}
		}
		f = fileOf(tx)
		return f, "", f.format.Put(formatKey, []byte(formatVersion))
	}
	switch v := string(f.format.Get(formatKey)); v {
	case formatVersion:
	case "1":
		if err := upgrade(tx); err != nil {
			return nil, "", err
		}
		f = fileOf(tx)
	default:
		return nil, "", fmt.Errorf("the registry has format %q, this drvhost knows %q", v, formatVersion)
	}
	if f.keys == nil || f.values == nil {
		return nil, "", errors.New("the registry has no keys")
	}
	if boot = string(f.format.Get(bootKey)); boot == "" {
		boot = "unknown"
	}
	return f, boot, nil
}

func (f *file) setBoot(boot string) error { return f.format.Put(bootKey, []byte(boot)) }

// record is a key in the file.
type record struct {
	Path     string `json:"path"`
	Class    string `json:"class,omitempty"`
	Link     bool   `json:"link,omitempty"`
	Volatile bool   `json:"volatile,omitempty"`
	Security []byte `json:"security,omitempty"`
}

// upgrade makes a file of format 1, in which keys had their values in their records, one of this format.
func upgrade(tx *bolt.Tx) error {
	f := fileOf(tx)
	if f.keys == nil {
		return errors.New("the registry has no keys")
	}
	var err error
	if f.values, err = tx.CreateBucket(bucketValues); err != nil {
		return err
	}
	type entry struct{ at, b []byte }
	var all []entry
	_ = f.keys.ForEach(func(k, v []byte) error { // which has no error
		all = append(all, entry{slices.Clone(k), slices.Clone(v)})
		return nil
	})
	for _, e := range all {
		var old struct {
			record
			Values []cm.Value `json:"values"` // name, type and data
		}
		if err := json.Unmarshal(e.b, &old); err != nil {
			return fmt.Errorf("key %s: %w", e.at, err)
		}
		err := f.put(e.at, &old.record)
		for _, v := range old.Values {
			err = errors.Join(err, f.set(e.at, &cm.Change{Key: old.Path, Name: v.Name, Type: v.Type,
				Data: v.Data}))
		}
		if err != nil {
			return err
		}
	}
	return f.format.Put(formatKey, []byte(formatVersion))
}

// stored is a value in the file: its place among the key's, 8 bytes little-endian, its type, 4 bytes, the
// length of its name, 4 bytes, the name and the data.
type stored struct {
	place uint64
	value cm.Value
}

const storedHeader = 16

func (v *stored) bytes() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, storedHeader+len(v.value.Name)+len(v.value.Data))
	b = le.AppendUint64(b, v.place)
	b = le.AppendUint32(b, v.value.Type)
	b = le.AppendUint32(b, uint32(len(v.value.Name)))
	b = append(b, v.value.Name...)
	return append(b, v.value.Data...)
}

func parseStored(b []byte) (v stored, err error) {
	if len(b) < storedHeader {
		return v, errors.New("the value is cut off")
	}
	le := binary.LittleEndian
	v.place, v.value.Type = le.Uint64(b), le.Uint32(b[8:])
	name := uint64(le.Uint32(b[12:]))
	if b = b[storedHeader:]; name > uint64(len(b)) {
		return v, errors.New("the value's name is cut off")
	}
	v.value.Name, v.value.Data = string(b[:name]), b[name:]
	return v, nil
}

// nameHash is how many bytes stand for a value's name that is too long for a key of the file.
const nameHash = sha256.Size

// maxPath is how long a folded path may be, so that its values have keys.
const maxPath = bolt.MaxKeySize - 1 - nameHash

// errLongPath says that a key's path is longer than the file can have, before anything is written.
var errLongPath = errors.New("the path is too long for the file")

// before is what the keys of a path's values begin with.
func before(path []byte) []byte { return append(slices.Clone(path), 0) }

// valueAt gives the file's key of a value.
func valueAt(path []byte, name string) []byte {
	fold := cm.Fold(name)
	if len(path)+1+len(fold) > bolt.MaxKeySize {
		sum := sha256.Sum256([]byte(fold))
		return append(before(path), sum[:]...)
	}
	return append(before(path), fold...)
}

// under calls f for the entries of a bucket whose keys begin with something.
func under(b *bolt.Bucket, prefix []byte, f func(k, v []byte) error) error {
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if err := f(k, v); err != nil {
			return err
		}
	}
	return nil
}

// read puts the file's keys into a registry.
func (f *file) read(into *cm.Registry) error {
	return f.keys.ForEach(func(k, v []byte) error {
		all, err := f.changes(k, v)
		if err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		for _, c := range all {
			if status := into.Apply(c); status != nt.STATUS_SUCCESS {
				return fmt.Errorf("key %s: %v: %w", c.Key, c.Op, status)
			}
		}
		return nil
	})
}

// changes gives the changes that make a key.
func (f *file) changes(at, rec []byte) ([]cm.Change, error) {
	var r record
	if err := json.Unmarshal(rec, &r); err != nil {
		return nil, err
	}
	list := []cm.Change{{Op: cm.OpCreateKey, Key: r.Path, Class: r.Class, Link: r.Link,
		Volatile: r.Volatile}}
	if r.Security != nil {
		list = append(list, cm.Change{Op: cm.OpSetSecurity, Key: r.Path, Data: r.Security})
	}
	var values []stored
	err := under(f.values, before(at), func(_, b []byte) error {
		v, err := parseStored(b)
		values = append(values, v)
		return err
	})
	slices.SortFunc(values, func(a, b stored) int {
		if a.place < b.place {
			return -1
		}
		return 1
	})
	for _, v := range values {
		list = append(list, cm.Change{Op: cm.OpSetValue, Key: r.Path, Name: v.value.Name,
			Type: v.value.Type, Data: v.value.Data})
	}
	return list, err
}

// dropVolatile takes the volatile keys out of the file.
func (f *file) dropVolatile() error {
	var gone [][]byte
	err := f.keys.ForEach(func(k, v []byte) error {
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
		err = errors.Join(err, f.delete(k))
	}
	return err
}

// delete takes a key out of the file, with its values.
func (f *file) delete(at []byte) error {
	var gone [][]byte
	err := under(f.values, before(at), func(k, _ []byte) error {
		gone = append(gone, slices.Clone(k))
		return nil
	})
	for _, k := range gone {
		err = errors.Join(err, f.values.Delete(k))
	}
	return errors.Join(err, f.keys.Delete(at))
}

// write puts a change into the file.
func (f *file) write(c cm.Change) error {
	at := []byte(cm.Fold(c.Key))
	if len(at) > maxPath {
		return errLongPath
	}
	switch c.Op {
	case cm.OpCreateKey:
		return f.put(at, &record{Path: c.Key, Class: c.Class, Link: c.Link, Volatile: c.Volatile})
	case cm.OpDeleteKey:
		return f.delete(at)
	case cm.OpRenameKey:
		return f.rename(c)
	case cm.OpSetValue:
		return f.set(at, &c)
	case cm.OpDeleteValue:
		return f.values.Delete(valueAt(at, c.Name))
	case cm.OpSetSecurity:
		r, err := f.record(at, c.Key)
		if err != nil {
			return err
		}
		r.Security = c.Data
		return f.put(at, r)
	}
	return fmt.Errorf("key %s: unknown change %d", c.Key, c.Op)
}

// record gives a key's record. A root has none until it has something.
func (f *file) record(at []byte, path string) (*record, error) {
	r := record{Path: path}
	if old := f.keys.Get(at); old != nil {
		if err := json.Unmarshal(old, &r); err != nil {
			return nil, fmt.Errorf("key %s: %w", path, err)
		}
	}
	return &r, nil
}

func (f *file) put(at []byte, r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return f.keys.Put(at, b)
}

// set writes a value: in its place, or behind all others.
func (f *file) set(at []byte, c *cm.Change) error {
	v := stored{value: cm.Value{Name: c.Name, Type: c.Type, Data: c.Data}}
	key := valueAt(at, c.Name)
	if old := f.values.Get(key); old != nil {
		was, err := parseStored(old)
		if err != nil {
			return fmt.Errorf("key %s: %w", c.Key, err)
		}
		v.place = was.place
	} else {
		var err error
		if v.place, err = f.values.NextSequence(); err != nil {
			return err
		}
		if f.keys.Get(at) == nil { // a root
			if err := f.put(at, &record{Path: c.Key}); err != nil {
				return err
			}
		}
	}
	return f.values.Put(key, v.bytes())
}

// rename moves a key's record and those below it, with their values.
func (f *file) rename(c cm.Change) error {
	old := []byte(cm.Fold(c.Key))
	parent := c.Key[:strings.LastIndexByte(c.Key, '\\')+1]
	type moved struct{ at, to, b []byte }
	var keys, values []moved
	take := func(k, v []byte) error {
		var r record
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		r.Path = parent + c.Name + r.Path[len(c.Key):]
		b, err := json.Marshal(&r)
		if err != nil {
			return err
		}
		m := moved{slices.Clone(k), []byte(cm.Fold(r.Path)), b}
		if len(m.to) > maxPath {
			return errLongPath
		}
		keys = append(keys, m)
		return under(f.values, before(k), func(at, b []byte) error {
			v, err := parseStored(b)
			values = append(values, moved{slices.Clone(at), valueAt(m.to, v.value.Name), slices.Clone(b)})
			return err
		})
	}
	if v := f.keys.Get(old); v != nil {
		if err := take(old, v); err != nil {
			return err
		}
	}
	if err := under(f.keys, append(slices.Clone(old), '\\'), take); err != nil {
		return err
	}
	for _, part := range []struct {
		bucket *bolt.Bucket
		all    []moved
	}{{f.keys, keys}, {f.values, values}} {
		for _, m := range part.all {
			if err := part.bucket.Delete(m.at); err != nil {
				return err
			}
		}
		for _, m := range part.all {
			if err := part.bucket.Put(m.to, m.b); err != nil {
				return err
			}
		}
	}
	return nil
}
