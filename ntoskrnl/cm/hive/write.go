package hive

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf16"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Writing a hive, of version 1.5 or 1.3.

// Versions that are written, 1.x: Latest is what Windows has written since XP; Standard is that of
// Windows NT 4 and 2000, in which data is in one cell, however large.
const (
	Standard uint32 = 3
	Latest   uint32 = 5
)

// ErrTooLarge says that a tree has more than a hive may hold.
var ErrTooLarge = errors.New("hive: larger than a hive may be")

// Write writes a hive, without what is volatile. Its version is 1.3 if that is what it has, else
// 1.5; its sequence numbers are 1. What the tree has that no hive can hold is an error: names that
// are too long or are none, ErrTooLarge.
func (h *Hive) Write(out io.Writer) error {
	data, err := h.Encode()
	if err == nil {
		_, err = out.Write(data)
	}
	return err
}

// Encode is Write into memory.
func (h *Hive) Encode() ([]byte, error) { return h.encode(MaxSize) }

func (h *Hive) encode(limit int) ([]byte, error) {
	w := &writer{bins: make([]byte, 0, binAlign), minor: Latest, limit: limit,
		security: map[string]uint32{}}
	if h.Minor == Standard {
		w.minor = Standard
	}
	root, err := w.key(h.Root, noCell, 0, 0)
	if err != nil {
		return nil, err
	}
	w.closeBin()
	w.link()
	base := make([]byte, baseSize, baseSize+len(w.bins))
	copy(base, "regf")
	for at, v := range map[int]uint32{basePrimary: 1, baseSecondary: 1, baseMajor: 1,
		baseMinor: w.minor, baseType: typePrimary, baseFormat: 1, baseRoot: root,
		baseLength: uint32(len(w.bins)), baseCluster: 1} {
		le.PutUint32(base[at:], v)
	}
	le.PutUint64(base[baseWritten:], uint64(h.Written))
	const binWritten = 20
	le.PutUint64(w.bins[binWritten:], uint64(h.Written))
	name := cm.Encode(h.Name, false)
	if most := baseNameSize - 2; len(name) > most { // its end says more than its beginning
		name = name[len(name)-most:]
	}
	copy(base[baseName:], name)
	le.PutUint32(base[baseChecksum:], checksum(base))
	return append(base, w.bins...), nil
}

type writer struct {
	bins     []byte
	bin      int // where the last bin begins
	end      int // of that
	limit    int // bytes of the file
	minor    uint32
	security map[string]uint32
	order    []uint32 // security cells
}

// closeBin makes what the last bin has left a free cell.
func (w *writer) closeBin() {
	if free := w.end - len(w.bins); free > 0 {
		w.bins = le.AppendUint32(w.bins, uint32(free))
		w.bins = append(w.bins, make([]byte, w.end-len(w.bins))...)
	}
}

// cell makes a cell of so many bytes.
func (w *writer) cell(size int) (uint32, error) {
	whole := (size + cellHeader + cellAlign - 1) &^ (cellAlign - 1)
	if len(w.bins)+whole > w.end {
		w.closeBin()
		n := (binHeader + whole + binAlign - 1) &^ (binAlign - 1)
		w.bin = len(w.bins)
		w.end = w.bin + n
		if w.end > w.limit-baseSize {
			return 0, ErrTooLarge
		}
		head := make([]byte, binHeader)
		copy(head, "hbin")
		le.PutUint32(head[4:], uint32(w.bin))
		le.PutUint32(head[8:], uint32(n))
		w.bins = append(w.bins, head...)
	}
	offset := uint32(len(w.bins))
	w.bins = le.AppendUint32(w.bins, -uint32(whole))
	w.bins = append(w.bins, make([]byte, whole-cellHeader)...)
	return offset, nil
}

// at gives the data of a cell, until the next is made.
func (w *writer) at(offset uint32) []byte {
	return w.bins[offset+cellHeader : offset+-le.Uint32(w.bins[offset:])]
}

func (w *writer) put(data []byte) (uint32, error) {
	offset, err := w.cell(len(data))
	if err == nil {
		copy(w.at(offset), data)
	}
	return offset, err
}

// list makes a cell of offsets, behind a head.
func (w *writer) list(head []byte, offsets []uint32) (uint32, error) {
	b := slices.Clone(head)
	for _, o := range offsets {
		b = le.AppendUint32(b, o)
	}
	return w.put(b)
}

func units(s string) int { return len(utf16.Encode([]rune(s))) }

// key writes a key node and what is below it.
func (w *writer) key(t *cm.Tree, parent, security uint32, depth int) (uint32, error) {
	name, isLatin := encodeName(t.Name)
	class := cm.Encode(t.Class, false)
	switch {
	case units(t.Name) > cm.MaxKeyName || depth > 0 && t.Name == "" || len(class) > math.MaxUint16:
		return 0, fmt.Errorf("hive: %.40q, of class %.40q, is no key that a hive can hold", t.Name,
			t.Class)
	case depth >= cm.MaxDepth:
		return 0, fmt.Errorf("hive: %.40q has more than %d keys above it", t.Name, cm.MaxDepth)
	}
	offset, err := w.cell(nkName + len(name))
	if err != nil {
		return 0, err
	}
	b := make([]byte, nkName, nkName+len(name))
	copy(b, "nk")
	var flags uint16
	if isLatin {
		flags |= keyLatin
	}
	if t.Link {
		flags |= keyLink
	}
	if depth == 0 {
		flags |= keyRoot | keyNoDelete
	}
	le.PutUint16(b[nkFlags:], flags)
	le.PutUint64(b[nkWritten:], uint64(t.LastWrite))
	le.PutUint32(b[nkParent:], parent)
	le.PutUint32(b[nkVolatile:], noCell)
	le.PutUint16(b[nkNameSize:], uint16(len(name)))
	if t.Security != nil || depth == 0 {
		if security, err = w.descriptor(t.Security); err != nil {
			return 0, err
		}
	}
	w.refer(security)
	le.PutUint32(b[nkSecurity:], security)
	le.PutUint32(b[nkClass:], noCell)
	if len(class) > 0 {
		at, err := w.put(class)
		if err != nil {
			return 0, err
		}
		le.PutUint32(b[nkClass:], at)
		le.PutUint16(b[nkClassSize:], uint16(len(class)))
	}
	if err := w.values(b, t.Values); err != nil {
		return 0, err
	}
	if err := w.subkeys(b, t.Keys, offset, security, depth); err != nil {
		return 0, err
	}
	copy(w.at(offset), append(b, name...))
	return offset, nil
}

// subkeys writes keys, and the lists of them, by their names in upper case.
func (w *writer) subkeys(node []byte, keys []*cm.Tree, parent, security uint32, depth int) error {
	type key struct {
		*cm.Tree
		fold []uint16
	}
	var all []key
	maxName, maxClass := 0, 0
	for _, k := range keys {
		if k.Volatile {
			continue
		}
		all = append(all, key{k, utf16.Encode([]rune(cm.Fold(k.Name)))})
		maxName, maxClass = max(maxName, 2*units(k.Name)), max(maxClass, 2*units(k.Class))
	}
	slices.SortFunc(all, func(a, b key) int { return slices.Compare(a.fold, b.fold) })
	le.PutUint32(node[nkSubkeys:], uint32(len(all)))
	le.PutUint32(node[nkList:], noCell)
	le.PutUint32(node[nkMaxName:], uint32(maxName))
	le.PutUint32(node[nkMaxClass:], uint32(maxClass))
	if len(all) == 0 {
		return nil
	}
	var leaves []uint32
	for part := range slices.Chunk(all, maxLeaf) {
		var offsets []uint32
		for _, k := range part {
			offset, err := w.key(k.Tree, parent, security, depth+1)
			if err != nil {
				return err
			}
			offsets = append(offsets, offset, w.hint(k.Name))
		}
		leaf, err := w.list(le.AppendUint16([]byte(w.leaf()), uint16(len(part))), offsets)
		if err != nil {
			return err
		}
		leaves = append(leaves, leaf)
	}
	list := leaves[0]
	if len(leaves) > 1 {
		if len(leaves) > math.MaxUint16 {
			return ErrTooLarge
		}
		var err error
		if list, err = w.list(le.AppendUint16([]byte("ri"), uint16(len(leaves))), leaves); err != nil {
			return err
		}
	}
	le.PutUint32(node[nkList:], list)
	return nil
}

// leaf is the signature of a list of subkeys, and hint what it says of a name.
func (w *writer) leaf() string {
	if w.minor == Standard {
		return "lf"
	}
	return "lh"
}

func (w *writer) hint(name string) uint32 {
	if w.minor != Standard {
		return nameHash(name)
	}
	var first [4]byte
	for i, c := range utf16.Encode([]rune(name)) {
		if i < len(first) && c <= 0xFF {
			first[i] = byte(c)
		}
	}
	return le.Uint32(first[:])
}

func (w *writer) values(node []byte, values []cm.Value) error {
	le.PutUint32(node[nkValues:], uint32(len(values)))
	le.PutUint32(node[nkValueList:], noCell)
	if len(values) == 0 {
		return nil
	}
	maxName, maxData := 0, 0
	var offsets []uint32
	for _, v := range values {
		offset, err := w.value(v)
		if err != nil {
			return err
		}
		offsets = append(offsets, offset)
		maxName, maxData = max(maxName, 2*units(v.Name)), max(maxData, len(v.Data))
	}
	list, err := w.list(nil, offsets)
	le.PutUint32(node[nkValueList:], list)
	le.PutUint32(node[nkMaxValue:], uint32(maxName))
	le.PutUint32(node[nkMaxData:], uint32(maxData))
	return err
}

func (w *writer) value(v cm.Value) (uint32, error) {
	name, isLatin := encodeName(v.Name)
	if units(v.Name) > cm.MaxValueName {
		return 0, fmt.Errorf("hive: %.40q… is no value that a hive can hold", v.Name)
	}
	b := make([]byte, vkName, vkName+len(name))
	copy(b, "vk")
	le.PutUint16(b[vkNameSize:], uint16(len(name)))
	le.PutUint32(b[vkType:], v.Type)
	if isLatin && len(name) > 0 {
		le.PutUint16(b[vkFlags:], valueLatin)
	}
	size := uint32(len(v.Data))
	var err error
	switch n := len(v.Data); {
	case n <= maxDirect:
		size |= inPlace
		copy(b[vkData:vkData+maxDirect], v.Data)
	case n > maxCellData && w.minor != Standard:
		err = w.big(b[vkData:], v.Data)
	default:
		var at uint32
		at, err = w.put(v.Data)
		le.PutUint32(b[vkData:], at)
	}
	if err != nil {
		return 0, err
	}
	le.PutUint32(b[vkSize:], size)
	return w.put(append(b, name...))
}

// big writes data that needs several cells.
func (w *writer) big(at, data []byte) error {
	var segments []uint32
	for part := range slices.Chunk(data, bigSegment) {
		s, err := w.put(part)
		if err != nil {
			return err
		}
		segments = append(segments, s)
	}
	if len(segments) > math.MaxUint16 {
		return ErrTooLarge
	}
	list, err := w.list(nil, segments)
	if err != nil {
		return err
	}
	db := le.AppendUint16([]byte("db"), uint16(len(segments)))
	offset, err := w.put(le.AppendUint32(db, list))
	le.PutUint32(at, offset)
	return err
}

// descriptor writes a security descriptor, once.
func (w *writer) descriptor(d []byte) (uint32, error) {
	if d == nil {
		d = cm.DefaultSecurity // of a root
	}
	if len(d) > maxSecurity {
		return 0, fmt.Errorf("hive: a security descriptor of %d bytes", len(d))
	}
	if offset, ok := w.security[string(d)]; ok {
		return offset, nil
	}
	offset, err := w.cell(skData + len(d))
	if err != nil {
		return 0, err
	}
	b := w.at(offset)
	copy(b, "sk")
	le.PutUint32(b[skLength:], uint32(len(d)))
	copy(b[skData:], d)
	w.security[string(d)] = offset
	w.order = append(w.order, offset)
	return offset, nil
}

// refer counts a key that has a descriptor.
func (w *writer) refer(security uint32) {
	refs := w.at(security)[skRefs:]
	le.PutUint32(refs, le.Uint32(refs)+1)
}

// link makes the security cells a ring.
func (w *writer) link() {
	n := len(w.order)
	for i, offset := range w.order {
		b := w.at(offset)
		le.PutUint32(b[skFlink:], w.order[(i+1)%n])
		le.PutUint32(b[skBlink:], w.order[(i+n-1)%n])
	}
}
