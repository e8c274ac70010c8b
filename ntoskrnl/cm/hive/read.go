package hive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Reading a hive.

// Hive is what a file says.
type Hive struct {
	Name      string // the file's, as it says itself
	Minor     uint32 // of its version 1.x
	Written   int64  // FILETIME
	Root      *cm.Tree
	Recovered int // changes that came from transaction logs
}

// Log is a transaction log.
type Log struct {
	Name string // for errors
	Data []byte
}

// Open reads the hive of a file, and from the files NAME.LOG, NAME.LOG1 and NAME.LOG2 beside it,
// those that are there, what was not written to it. Errors are *Error, or of the file.
func Open(path string) (*Hive, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var logs []Log
	if dirty(data) {
		for _, end := range []string{".LOG", ".LOG1", ".LOG2", ".log", ".log1", ".log2"} {
			switch log, err := readFile(path + end); {
			case err == nil:
				logs = append(logs, Log{path + end, log})
			case !errors.Is(err, fs.ErrNotExist):
				return nil, err
			}
		}
	}
	return Read(path, data, logs...)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = &Error{path, MaxSize, "file", fmt.Sprintf("larger than %d bytes", MaxSize)}
	}
	return data, err
}

// Read reads a hive. The name is for errors, which are *Error. Logs are looked at if the hive is
// not written to its end; without what they should hold that is an error.
func Read(name string, data []byte, logs ...Log) (*Hive, error) {
	r := &reader{file: name, security: map[uint32][]byte{}}
	if len(data) < baseSize {
		return nil, &Error{name, int64(len(data)), noBase, fmt.Sprintf("the file has %d bytes, the "+
			"base block alone is %d", len(data), baseSize)}
	}
	if sig := string(data[:4]); sig != "regf" {
		return nil, &Error{name, 0, noSignature, fmt.Sprintf("%q, want \"regf\"", sig)}
	}
	recovered := 0
	if dirty(data) {
		var err error
		if data, recovered, err = fromLogs(name, data, logs); err != nil {
			return nil, err
		}
	}
	if err := r.base(data); err != nil {
		return nil, err
	}
	if err := r.index(); err != nil {
		return nil, err
	}
	from := at{offset: baseRoot - baseSize, field: "base block, root cell"}
	root, err := r.key(from, le.Uint32(data[baseRoot:]), noCell, noCell, 0)
	if err != nil {
		return nil, err
	}
	n := data[baseName : baseName+baseNameSize]
	h := &Hive{Name: strings.TrimRight(wide(n), "\x00"), Minor: r.minor, Root: root,
		Written: int64(le.Uint64(data[baseWritten:])), Recovered: recovered}
	return h, nil
}

// dirty reports whether a hive was not written to its end.
func dirty(data []byte) bool {
	return len(data) >= baseSize &&
		(le.Uint32(data[basePrimary:]) != le.Uint32(data[baseSecondary:]) ||
			le.Uint32(data[baseChecksum:]) != checksum(data))
}

// reader reads one hive. Offsets are from the start of the hive bins.
type reader struct {
	file      string
	minor     uint32
	bins      []byte
	cells     cellSet // where allocated cells begin, by cellAlign bytes
	used      cellSet // those that something refers to
	security  map[uint32][]byte
	allSecure int // bytes of descriptors that keys have of their own
}

// cellSet is a set of cells, by their offset in cellAlign.
type cellSet []uint64

func (s cellSet) set(i uint32)      { s[i/64] |= 1 << (i % 64) }
func (s cellSet) has(i uint32) bool { return s[i/64]&(1<<(i%64)) != 0 }

// at is a field of the file.
type at struct {
	offset  int64 // less than 0 in the base block
	field   string
	element int // of a list, from 1 on
}

func field(record uint32, offset int64, name string) at {
	return at{offset: int64(record) + cellHeader + offset, field: name}
}

func (r *reader) fail(a at, format string, args ...any) error {
	if a.element > 0 {
		a.field += fmt.Sprintf(", element %d", a.element-1)
	}
	return &Error{r.file, baseSize + a.offset, a.field, fmt.Sprintf(format, args...)}
}

// base checks the base block, which is whole.
func (r *reader) base(data []byte) error {
	for _, f := range []struct {
		at     int64
		field  string
		lo, hi uint32
	}{
		{baseMajor, "major version", 1, 1},
		{baseMinor, "minor version", 3, 6},
		{baseType, "type of file", typePrimary, typePrimary},
		{baseFormat, "format", 1, 1},
	} {
		if v := le.Uint32(data[f.at:]); v < f.lo || v > f.hi {
			return r.fail(at{offset: f.at - baseSize, field: "base block, " + f.field}, "%d is not known", v)
		}
	}
	r.minor = le.Uint32(data[baseMinor:])
	size := le.Uint32(data[baseLength:])
	length := at{offset: baseLength - baseSize, field: "base block, size of bins"}
	switch {
	case size == 0 || size%binAlign != 0:
		return r.fail(length, "%#x is no multiple of %#x", size, binAlign)
	case uint64(size) > uint64(len(data)-baseSize):
		return r.fail(length, "%#x, but the file has %#x behind its base block", size, len(data)-baseSize)
	}
	r.bins = data[baseSize : baseSize+int(size)]
	return nil
}

// index walks through bins and cells, and notes where allocated ones begin.
func (r *reader) index() error {
	size := uint32(len(r.bins))
	words := int(size)/cellAlign/64 + 1
	r.cells, r.used = make(cellSet, words), make(cellSet, words)
	for start := uint32(0); start < size; {
		b := r.bins[start:]
		head := func(offset int64, field string) at {
			return at{offset: int64(start) + offset, field: "hive bin, " + field}
		}
		if string(b[:4]) != "hbin" {
			return r.fail(head(0, "signature"), "%q, want \"hbin\"", b[:4])
		}
		if o := le.Uint32(b[4:]); o != start {
			return r.fail(head(4, "offset"), "%#x, but it is at %#x", o, start)
		}
		n := le.Uint32(b[8:])
		if n == 0 || n%binAlign != 0 || n > size-start {
			return r.fail(head(8, "size"), "%#x of %#x that are left", n, size-start)
		}
		for cell := start + binHeader; cell < start+n; {
			v := int32(le.Uint32(r.bins[cell:]))
			length := uint32(v)
			if v < 0 {
				length = -uint32(v)
				r.cells.set(cell / cellAlign)
			}
			if length == 0 || length%cellAlign != 0 || length > start+n-cell {
				return r.fail(at{offset: int64(cell), field: "cell, size"}, "%d of %d that its bin has left", v,
					start+n-cell)
			}
			cell += length
		}
		start += n
	}
	return nil
}

// cell gives the data of an allocated cell that nothing else refers to, with at least so many
// bytes. A cell has 4 at least.
func (r *reader) cell(from at, offset uint32, least int) ([]byte, error) {
	switch i := offset / cellAlign; {
	case offset%cellAlign != 0 || offset >= uint32(len(r.bins)) || !r.cells.has(i):
		return nil, r.fail(from, "%#x is no allocated cell", offset)
	case r.used.has(i):
		return nil, r.fail(from, "the cell at %#x has another use", offset)
	default:
		r.used.set(i)
	}
	size := -le.Uint32(r.bins[offset:])
	b := r.bins[offset+cellHeader : offset+size]
	if len(b) < least {
		return nil, r.fail(from, "the cell at %#x has %d bytes, want %d", offset, len(b), least)
	}
	return b, nil
}

// record is cell for one that begins with a signature.
func (r *reader) record(from at, offset uint32, sig string, least int) ([]byte, error) {
	b, err := r.cell(from, offset, 0)
	switch {
	case err != nil:
		return nil, err
	case string(b[:2]) != sig:
		return nil, r.fail(field(offset, 0, from.field+", signature"), "%q, want %q", b[:2], sig)
	case len(b) < least:
		return nil, r.fail(from, "the cell at %#x has %d bytes, want %d", offset, len(b), least)
	}
	return b, nil
}

// key reads a key node and all below it. parent and security are those of the key above.
func (r *reader) key(from at, offset, parent, security uint32, depth int) (*cm.Tree, error) {
	b, err := r.record(from, offset, "nk", nkName)
	if err != nil {
		return nil, err
	}
	field := func(o int64, name string) at { return field(offset, o, "key node, "+name) }
	u32 := func(o int) uint32 { return le.Uint32(b[o:]) }
	flags := le.Uint16(b[nkFlags:])
	t := &cm.Tree{LastWrite: int64(le.Uint64(b[nkWritten:])), Link: flags&keyLink != 0}
	if t.Name, err = r.name(field(nkNameSize, "name"), b[nkName:], le.Uint16(b[nkNameSize:]),
		flags&keyLatin != 0, cm.MaxKeyName); err != nil {
		return nil, err
	}
	switch isRoot := depth == 0; {
	case depth >= cm.MaxDepth:
		return nil, r.fail(field(nkParent, "parent"), "more than %d keys above it", cm.MaxDepth)
	case isRoot:
	case u32(nkParent) != parent:
		return nil, r.fail(field(nkParent, "parent"), "%#x, but it is below %#x", u32(nkParent), parent)
	case t.Name == "" || strings.Contains(t.Name, `\`):
		return nil, r.fail(field(nkName, "name"), "%q is no name of a key", t.Name)
	}
	if n := le.Uint16(b[nkClassSize:]); n > 0 {
		class, err := r.cell(field(nkClass, "class"), u32(nkClass), int(n))
		if err != nil {
			return nil, err
		}
		if t.Class, err = r.name(field(nkClassSize, "class"), class, n, false, 1<<16); err != nil {
			return nil, err
		}
	}
	own := u32(nkSecurity)
	if own != noCell && own != security {
		if t.Security, err = r.descriptor(field(nkSecurity, "security"), own); err != nil {
			return nil, err
		}
	}
	if n := u32(nkValues); n > 0 && flags&keyPredef == 0 {
		t.Values, err = r.values(field(nkValueList, "list of values"), u32(nkValueList), n)
		if err != nil {
			return nil, err
		}
	}
	if n := u32(nkSubkeys); n > 0 {
		list := field(nkList, "list of subkeys")
		refs, err := r.subkeys(list, u32(nkList), n, true)
		if err != nil {
			return nil, err
		}
		if len(refs) != int(n) {
			return nil, r.fail(field(nkSubkeys, "number of subkeys"), "%d, but the list has %d", n,
				len(refs))
		}
		t.Keys = make([]*cm.Tree, 0, len(refs))
		for _, ref := range refs {
			sub, err := r.key(ref.at, ref.offset, offset, own, depth+1)
			if err != nil {
				return nil, err
			}
			t.Keys = append(t.Keys, sub)
		}
		if twice := sortKeys(t.Keys); twice != "" {
			return nil, r.fail(list, "two subkeys are called %q", twice)
		}
	}
	return t, nil
}

// sortKeys puts keys into the order of their names, and gives a name that two of them have.
func sortKeys(keys []*cm.Tree) (twice string) {
	folds := make(map[*cm.Tree]string, len(keys))
	for _, k := range keys {
		folds[k] = cm.Fold(k.Name)
	}
	slices.SortFunc(keys, func(a, b *cm.Tree) int { return strings.Compare(folds[a], folds[b]) })
	for i := range keys[:max(len(keys)-1, 0)] {
		if folds[keys[i]] == folds[keys[i+1]] {
			return keys[i].Name
		}
	}
	return ""
}

// name reads a name of so many bytes at the start of b.
func (r *reader) name(from at, b []byte, size uint16, isLatin bool, most int) (string, error) {
	switch {
	case int(size) > len(b):
		return "", r.fail(from, "%d bytes, but its cell has %d", size, len(b))
	case !isLatin && size%2 != 0:
		return "", r.fail(from, "%d bytes of UTF-16", size)
	case isLatin && int(size) > most, !isLatin && int(size)/2 > most:
		return "", r.fail(from, "longer than %d characters", most)
	case isLatin:
		return latin(b[:size]), nil
	}
	return wide(b[:size]), nil
}

// descriptor reads a security descriptor, which many keys may have.
func (r *reader) descriptor(from at, offset uint32) ([]byte, error) {
	d, ok := r.security[offset]
	if !ok {
		b, err := r.record(from, offset, "sk", skData)
		if err != nil {
			return nil, err
		}
		n := le.Uint32(b[skLength:])
		if n > uint32(len(b)-skData) || n > maxSecurity {
			return nil, r.fail(field(offset, skLength, "security, size"),
				"%d bytes, but its cell has %d, and %d are allowed", n, len(b)-skData, maxSecurity)
		}
		d = slices.Clone(b[skData : skData+n])
		r.security[offset] = d
	}
	if r.allSecure += len(d); r.allSecure > maxSecurity2 {
		return nil, r.fail(from, "the keys' descriptors take more than %d bytes", maxSecurity2)
	}
	return d, nil
}

// ref is an offset in a list.
type ref struct {
	at     at
	offset uint32
}

// subkeys reads a list of subkeys, or with root one of such lists.
func (r *reader) subkeys(from at, offset, most uint32, root bool) ([]ref, error) {
	b, err := r.cell(from, offset, 4)
	if err != nil {
		return nil, err
	}
	sig, n, size := string(b[:2]), int(le.Uint16(b[2:])), 0
	switch {
	case sig == "li", sig == "ri" && root:
		size = 4
	case sig == "lf", sig == "lh":
		size = 8
	default:
		return nil, r.fail(field(offset, 0, from.field+", signature"), "%q is none here", sig)
	}
	if 4+n*size > len(b) {
		return nil, r.fail(field(offset, 2, from.field+", number of elements"),
			"%d, but its cell has %d bytes", n, len(b))
	}
	var all []ref
	for i := range n {
		o := 4 + i*size
		element := ref{at{int64(offset) + cellHeader + int64(o), from.field, i + 1}, le.Uint32(b[o:])}
		if sig != "ri" {
			all = append(all, element)
			continue
		}
		more, err := r.subkeys(element.at, element.offset, most, false)
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > int(most) {
			break // more than the key says, who looks at that
		}
	}
	return all, nil
}

// values reads the values of a list.
func (r *reader) values(from at, offset, n uint32) ([]cm.Value, error) {
	if n > uint32(len(r.bins))/4 {
		return nil, r.fail(from, "%d values in a file of %d bytes", n, len(r.bins))
	}
	b, err := r.cell(from, offset, int(n)*4)
	if err != nil {
		return nil, err
	}
	all, names := make([]cm.Value, 0, n), make(map[string]bool, n)
	for i := range int(n) {
		element := at{int64(offset) + cellHeader + int64(i)*4, from.field, i + 1}
		v, err := r.value(element, le.Uint32(b[i*4:]))
		if err != nil {
			return nil, err
		}
		if fold := cm.Fold(v.Name); names[fold] {
			return nil, r.fail(element, "two values are called %q", v.Name)
		} else {
			names[fold] = true
		}
		all = append(all, v)
	}
	return all, nil
}

func (r *reader) value(from at, offset uint32) (v cm.Value, err error) {
	b, err := r.record(from, offset, "vk", vkName)
	if err != nil {
		return v, err
	}
	field := func(o int64, name string) at { return field(offset, o, "value, "+name) }
	v.Type = le.Uint32(b[vkType:])
	v.Name, err = r.name(field(vkNameSize, "name"), b[vkName:], le.Uint16(b[vkNameSize:]),
		le.Uint16(b[vkFlags:])&valueLatin != 0, cm.MaxValueName)
	if err != nil {
		return v, err
	}
	size, data := le.Uint32(b[vkSize:]), field(vkData, "data")
	switch n := size &^ inPlace; {
	case size&inPlace != 0 && n > maxDirect:
		return v, r.fail(field(vkSize, "size of data"), "%d bytes in the place of an offset", n)
	case size&inPlace != 0:
		v.Data = slices.Clone(b[vkData : vkData+n])
	case n == 0:
		v.Data = []byte{}
	case n > uint32(len(r.bins)):
		return v, r.fail(field(vkSize, "size of data"), "%d bytes in a file of %d", n, len(r.bins))
	case n > maxCellData && r.minor > 3:
		v.Data, err = r.big(data, le.Uint32(b[vkData:]), int(n))
	default:
		var cell []byte
		if cell, err = r.cell(data, le.Uint32(b[vkData:]), int(n)); err == nil {
			v.Data = slices.Clone(cell[:n])
		}
	}
	return v, err
}

// big reads data that has several cells.
func (r *reader) big(from at, offset uint32, size int) ([]byte, error) {
	const countAt, listAt, least = 2, 4, 8
	b, err := r.record(from, offset, "db", least)
	if err != nil {
		return nil, err
	}
	here := func(o int64, name string) at { return field(offset, o, "big data, "+name) }
	n, want := int(le.Uint16(b[countAt:])), (size+bigSegment-1)/bigSegment
	if n != want {
		return nil, r.fail(here(countAt, "number of segments"), "%d, but %d bytes are %d", n, size, want)
	}
	at0 := le.Uint32(b[listAt:])
	list, err := r.cell(here(listAt, "list of segments"), at0, n*4)
	if err != nil {
		return nil, err
	}
	var data []byte
	for i := range n {
		part := min(size-len(data), bigSegment)
		from := at{int64(at0) + cellHeader + int64(i)*4, "big data, list of segments", i + 1}
		cell, err := r.cell(from, le.Uint32(list[i*4:]), part)
		if err != nil {
			return nil, err
		}
		data = append(data, cell[:part]...)
	}
	return data, nil
}
