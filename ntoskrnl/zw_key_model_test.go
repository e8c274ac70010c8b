package ntoskrnl

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Sequences of calls of Zw*Key against a simple model of what a registry is.

// modelKey is a key of the model.
type modelKey struct {
	name, class    string
	volatile, link bool
	parent         *modelKey
	keys           map[string]*modelKey // by name in upper case
	values         []cm.Value
	deleted        bool
}

func (k *modelKey) path() string {
	if k.parent == nil {
		return modelBase
	}
	return k.parent.path() + `\` + k.name
}

func (k *modelKey) value(name string) int {
	return slices.IndexFunc(k.values, func(v cm.Value) bool { return cm.Fold(v.Name) == cm.Fold(name) })
}

func (k *modelKey) sorted() (all []*modelKey) {
	for _, sub := range k.keys {
		all = append(all, sub)
	}
	slices.SortFunc(all, func(a, b *modelKey) int {
		return strings.Compare(cm.Fold(a.name), cm.Fold(b.name))
	})
	return all
}

// tree is what the registry should have.
func (k *modelKey) tree() *cm.Tree {
	t := &cm.Tree{Name: k.name, Class: k.class, Link: k.link, Volatile: k.volatile,
		Values: slices.Clone(k.values)}
	for _, sub := range k.sorted() {
		t.Keys = append(t.Keys, sub.tree())
	}
	return t
}

// modelHandle is a handle with what is asked for with it.
type modelHandle struct {
	h       uint64
	key     *modelKey
	iosb    uint64
	filter  uint32 // of the first notification, or 0
	tree    bool
	changed bool
	waiting bool
}

const (
	modelBase    = `\Registry\Machine\Software\Model`
	modelHandles = 8
)

// model is a sequence under way.
type model struct {
	*driverRig
	t       *testing.T
	choose  func(n int) int // less than n
	base    *modelKey
	handles []*modelHandle
	log     []string
	slots   []uint64 // for IO_STATUS_BLOCKs that no handle uses
}

func newModel(t *testing.T, r *driverRig, choose func(int) int) *model {
	m := &model{driverRig: r, t: t, choose: choose, base: &modelKey{name: "Model"}}
	m.base.keys = map[string]*modelKey{}
	for range modelHandles {
		m.slots = append(m.slots, r.mem(16))
	}
	m.adopt(r.key(modelBase, 0), m.base)
	return m
}

func (m *model) adopt(h uint64, k *modelKey) {
	m.handles = append(m.handles, &modelHandle{h: h, key: k, iosb: m.slots[0]})
	m.slots = m.slots[1:]
}

// expect compares a status.
func (m *model) expect(want, got nt.Status, format string, args ...any) bool {
	m.log = append(m.log, fmt.Sprintf(format, args...)+": "+want.Error())
	if want != got {
		m.t.Fatalf("%v instead of the last:\n%s", got, strings.Join(m.log, "\n"))
	}
	return got == nt.STATUS_SUCCESS
}

var modelNames = []string{"a", "A", "b", "Bé", "bÉ", "c"}

func (m *model) name() string { return modelNames[m.choose(len(modelNames))] }

func (m *model) handle() *modelHandle { return m.handles[m.choose(len(m.handles))] }

// resolve goes down a path, and through links.
func (m *model) resolve(k *modelKey, names []string, itself bool) (at *modelKey, rest []string,
	status nt.Status) {
	if k.deleted {
		return nil, nil, nt.STATUS_KEY_DELETED
	}
	for links := 0; ; {
		if k.link && !(itself && len(names) == 0) {
			i := k.value("SymbolicLinkValue")
			links++
			if i < 0 || links > 32 {
				return nil, nil, nt.STATUS_OBJECT_NAME_NOT_FOUND
			}
			below := cm.Value{Data: append(slices.Clone(k.values[i].Data), 0, 0)}.Text()[len(modelBase):]
			if below != "" {
				names = append(strings.Split(below[1:], `\`), names...)
			}
			k = m.base
			continue
		}
		if len(names) == 0 {
			return k, nil, nt.STATUS_SUCCESS
		}
		next := k.keys[cm.Fold(names[0])]
		if next == nil {
			return k, names, nt.STATUS_SUCCESS
		}
		k, names = next, names[1:]
	}
}

// changed tells the model's notifications.
func (m *model) changed(kind uint32, gone *modelKey, at ...*modelKey) {
	for _, h := range m.handles {
		hit := false
		for _, k := range at {
			for above := k; above != nil; above = above.parent {
				hit = hit || h.filter&kind != 0 && above == h.key && (above == k || h.tree)
			}
		}
		if hit || gone != nil && h.filter != 0 && h.key == gone {
			if h.waiting {
				h.waiting = false
			} else {
				h.changed = true
			}
		}
	}
}

func (m *model) path() (string, []string) {
	names := []string{m.name()}
	if m.choose(4) == 0 {
		names = append(names, m.name())
	}
	return strings.Join(names, `\`), names
}

func (m *model) create() {
	h := m.handle()
	path, names := m.path()
	options, class := uint32(0), ""
	switch m.choose(6) {
	case 0:
		options = nt.REG_OPTION_VOLATILE
	case 1:
		options = nt.REG_OPTION_CREATE_LINK
	case 2:
		class = m.name()
	}
	link := options == nt.REG_OPTION_CREATE_LINK
	at, rest, want := m.resolve(h.key, names, link)
	volatile := options == nt.REG_OPTION_VOLATILE
	switch {
	case want != nt.STATUS_SUCCESS:
	case len(rest) == 0 && link:
		want = nt.STATUS_OBJECT_NAME_COLLISION
	case len(rest) > 1:
		want = nt.STATUS_OBJECT_NAME_NOT_FOUND
	case len(rest) == 1 && at.volatile && !volatile:
		want = nt.STATUS_CHILD_MUST_BE_VOLATILE
	}
	result, disposition := m.mem(8), m.mem(4)
	got := m.status("ZwCreateKey", result, uint64(nt.KEY_ALL_ACCESS),
		m.objectAttributes(path, h.h, nt.OBJ_KERNEL_HANDLE), 0, m.ustr(class, 0), uint64(options),
		disposition)
	if !m.expect(want, got, "create %s below %s, options %d", path, h.key.path(), options) {
		return
	}
	if len(rest) == 1 {
		k := &modelKey{name: rest[0], class: class, volatile: volatile, link: link, parent: at,
			keys: map[string]*modelKey{}}
		at.keys[cm.Fold(k.name)] = k
		m.changed(nt.REG_NOTIFY_CHANGE_NAME, nil, at)
		at = k
		require.Equal(m.t, nt.REG_CREATED_NEW_KEY, m.u32(disposition))
	} else {
		require.Equal(m.t, nt.REG_OPENED_EXISTING_KEY, m.u32(disposition))
	}
	m.keep(m.u64(result), at)
}

// keep keeps a handle, or closes it if there are enough.
func (m *model) keep(h uint64, k *modelKey) {
	if len(m.slots) == 0 || m.choose(2) == 0 {
		require.Equal(m.t, nt.STATUS_SUCCESS, m.status("ZwClose", h))
		return
	}
	m.adopt(h, k)
}

func (m *model) open() {
	h := m.handle()
	path, names := m.path()
	options := uint32(0)
	if m.choose(2) == 0 {
		options = nt.REG_OPTION_OPEN_LINK
	}
	at, rest, want := m.resolve(h.key, names, options != 0)
	if want == nt.STATUS_SUCCESS && len(rest) > 0 {
		want = nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	result := m.mem(8)
	got := m.status("ZwOpenKeyEx", result, uint64(nt.KEY_READ),
		m.objectAttributes(path, h.h, nt.OBJ_KERNEL_HANDLE), uint64(options))
	if m.expect(want, got, "open %s below %s, options %d", path, h.key.path(), options) {
		m.keep(m.u64(result), at)
	}
}

func (m *model) closeHandle() {
	i := m.choose(len(m.handles))
	if i == 0 {
		return // the base stays
	}
	h := m.handles[i]
	m.expect(nt.STATUS_SUCCESS, m.status("ZwClose", h.h), "close %s", h.key.path())
	if h.waiting {
		require.Equal(m.t, nt.STATUS_NOTIFY_CLEANUP, nt.Status(m.u32(h.iosb)))
	}
	m.slots = append(m.slots, h.iosb)
	m.handles = slices.Delete(m.handles, i, i+1)
}

func (m *model) set() {
	h := m.handle()
	v := cm.Value{Name: m.name(), Type: uint32(m.choose(12)), Data: make([]byte, m.choose(5))}
	for i := range v.Data {
		v.Data[i] = byte(m.choose(256))
	}
	if h.key.link && m.choose(4) != 0 {
		target := modelBase
		if m.choose(4) != 0 {
			path, _ := m.path()
			target += `\` + path
		}
		v = cm.Value{Name: "SymbolicLinkValue", Type: nt.REG_LINK, Data: cm.Encode(target, false)}
	}
	want := nt.STATUS_SUCCESS
	switch {
	case h.key.deleted:
		want = nt.STATUS_KEY_DELETED
	case h.key.link && v.Name != "SymbolicLinkValue":
		want = nt.STATUS_ACCESS_DENIED
	}
	got := m.status("ZwSetValueKey", h.h, m.ustr(v.Name, 0), 0, uint64(v.Type), m.bytes(v.Data),
		uint64(len(v.Data)))
	if !m.expect(want, got, "set %s of %s to %d %x", v.Name, h.key.path(), v.Type, v.Data) {
		return
	}
	if i := h.key.value(v.Name); i >= 0 {
		v.Name = h.key.values[i].Name
		h.key.values[i] = v
	} else {
		h.key.values = append(h.key.values, v)
	}
	m.changed(nt.REG_NOTIFY_CHANGE_LAST_SET, nil, h.key)
}

func (m *model) deleteValue() {
	h, name := m.handle(), m.name()
	want, i := nt.STATUS_SUCCESS, h.key.value(name)
	switch {
	case h.key.deleted:
		want = nt.STATUS_KEY_DELETED
	case i < 0:
		want = nt.STATUS_OBJECT_NAME_NOT_FOUND
	}
	got := m.status("ZwDeleteValueKey", h.h, m.ustr(name, 0))
	if m.expect(want, got, "delete value %s of %s", name, h.key.path()) {
		h.key.values = slices.Delete(h.key.values, i, i+1)
		m.changed(nt.REG_NOTIFY_CHANGE_LAST_SET, nil, h.key)
	}
}

func (m *model) queryValue() {
	h, name := m.handle(), m.name()
	want, i := nt.STATUS_SUCCESS, h.key.value(name)
	room := uint64(12 + m.choose(8))
	switch {
	case h.key.deleted:
		want = nt.STATUS_KEY_DELETED
	case i < 0:
		want = nt.STATUS_OBJECT_NAME_NOT_FOUND
	case 12+len(h.key.values[i].Data) > int(room):
		want = nt.STATUS_BUFFER_OVERFLOW
	}
	buf := m.mem(32)
	got := m.status("ZwQueryValueKey", h.h, m.ustr(name, 0), 2, buf, room, m.mem(4))
	if m.expect(want, got, "query value %s of %s, room %d", name, h.key.path(), room) {
		v := h.key.values[i]
		require.Equal(m.t, v.Type, m.u32(buf+4))
		require.Equal(m.t, v.Data, m.read(buf+12, int(m.u32(buf+8))))
	}
}

func (m *model) enumerate() {
	h := m.handle()
	index := m.choose(4)
	want, all := nt.STATUS_SUCCESS, h.key.sorted()
	if h.key.deleted {
		want = nt.STATUS_KEY_DELETED
	}
	buf, result := m.mem(256), m.mem(4)
	for _, what := range []string{"ZwEnumerateKey", "ZwEnumerateValueKey"} {
		name, at, n := "", 16, len(all)
		if what == "ZwEnumerateKey" {
			if index < n {
				name = all[index].name
			}
		} else if at, n = 12, len(h.key.values); index < n {
			name = h.key.values[index].Name
		}
		this := want
		if want == nt.STATUS_SUCCESS && index >= n {
			this = nt.STATUS_NO_MORE_ENTRIES
		}
		got := m.status(what, h.h, uint64(index), 0, buf, 256, result)
		if m.expect(this, got, "%s %d of %s", what, index, h.key.path()) {
			text, err := guest.ReadUTF16(guest.Addr(buf)+guest.Addr(at), int(m.u32(buf+uint64(at)-4)))
			require.NoError(m.t, err)
			require.Equal(m.t, name, text, strings.Join(m.log, "\n"))
		}
	}
}

func (m *model) queryKey() {
	h := m.handle()
	want := nt.STATUS_SUCCESS
	if h.key.deleted {
		want = nt.STATUS_KEY_DELETED
	}
	buf := m.mem(64)
	got := m.status("ZwQueryKey", h.h, 2, buf, 64, m.mem(4))
	if m.expect(want, got, "query %s", h.key.path()) {
		require.Equal(m.t, []uint32{uint32(len(h.key.keys)), uint32(len(h.key.values))},
			[]uint32{m.u32(buf + 20), m.u32(buf + 32)}, strings.Join(m.log, "\n"))
		require.Equal(m.t, guest.EncodeUTF16(h.key.class), m.read(buf+44, int(m.u32(buf+16))))
	}
}

func (m *model) rename() {
	h, name := m.handle(), m.name()
	k := h.key
	if k == m.base {
		return
	}
	want := nt.STATUS_SUCCESS
	switch {
	case k.deleted:
		want = nt.STATUS_KEY_DELETED
	default:
		if other := k.parent.keys[cm.Fold(name)]; other != nil && other != k {
			want = nt.STATUS_OBJECT_NAME_COLLISION
		}
	}
	before := k.path()
	if m.expect(want, m.status("ZwRenameKey", h.h, m.ustr(name, 0)), "rename %s to %s", before, name) {
		delete(k.parent.keys, cm.Fold(k.name))
		k.name = name
		k.parent.keys[cm.Fold(name)] = k
		m.changed(nt.REG_NOTIFY_CHANGE_NAME, nil, k.parent)
	}
}

func (m *model) deleteKey() {
	h := m.handle()
	k := h.key
	if k == m.base {
		return
	}
	want := nt.STATUS_SUCCESS
	switch {
	case k.deleted:
		want = nt.STATUS_KEY_DELETED
	case len(k.keys) > 0:
		want = nt.STATUS_CANNOT_DELETE
	}
	if m.expect(want, m.status("ZwDeleteKey", h.h), "delete %s", k.path()) {
		m.changed(nt.REG_NOTIFY_CHANGE_NAME, k, k, k.parent)
		k.deleted, k.values = true, nil
		delete(k.parent.keys, cm.Fold(k.name))
	}
}

func (m *model) notify() {
	h := m.handle()
	if h.waiting {
		return
	}
	filter := []uint32{nt.REG_NOTIFY_CHANGE_NAME, nt.REG_NOTIFY_CHANGE_LAST_SET,
		nt.REG_NOTIFY_CHANGE_NAME | nt.REG_NOTIFY_CHANGE_LAST_SET, 16}[m.choose(4)]
	tree := m.choose(2)
	want := nt.STATUS_PENDING
	switch {
	case filter == 16:
		want = nt.STATUS_INVALID_PARAMETER
	case h.key.deleted && !h.changed:
		want = nt.STATUS_KEY_DELETED
	}
	got := m.status("ZwNotifyChangeKey", h.h, 0, 0, 0, h.iosb, uint64(filter), uint64(tree), 0, 0, 1)
	m.expect(want, got, "notify %s, filter %d, tree %d", h.key.path(), filter, tree)
	switch {
	case want != nt.STATUS_PENDING:
		return
	case h.filter == 0:
		h.filter, h.tree = filter, tree != 0
	}
	h.waiting = !h.changed
	h.changed = false
	if !h.waiting {
		require.Equal(m.t, nt.STATUS_NOTIFY_ENUM_DIR, nt.Status(m.u32(h.iosb)))
	}
}

// step does a call, and compares all that there is.
func (m *model) step() {
	mark := m.used
	before := make(map[*modelHandle]bool)
	for _, h := range m.handles {
		before[h] = h.waiting
	}
	steps := []func(){m.create, m.create, m.open, m.closeHandle, m.set, m.set, m.deleteValue, m.queryValue,
		m.enumerate, m.queryKey, m.rename, m.deleteKey, m.notify, m.notify}
	steps[m.choose(len(steps))]()
	k, status := m.Registry().Open(nil, modelBase, true)
	require.Equal(m.t, nt.STATUS_SUCCESS, status)
	got, status := k.Tree()
	require.Equal(m.t, nt.STATUS_SUCCESS, status)
	if want := m.base.tree(); !cm.Equal(want, got) {
		m.t.Fatalf("the registry has\n%+v, want\n%+v, after\n%s", got, want, strings.Join(m.log, "\n"))
	}
	for _, h := range m.handles {
		status := nt.Status(m.u32(h.iosb))
		switch {
		case h.waiting:
			require.Equal(m.t, nt.STATUS_PENDING, status, "%s\n%s", h.key.path(), strings.Join(m.log, "\n"))
		case before[h]:
			require.Equal(m.t, nt.STATUS_NOTIFY_ENUM_DIR, status, "%s\n%s", h.key.path(),
				strings.Join(m.log, "\n"))
		}
	}
	m.used = mark
}

// end closes and deletes what there is.
func (m *model) end() {
	for _, h := range m.handles {
		require.Equal(m.t, nt.STATUS_SUCCESS, m.status("ZwClose", h.h))
	}
	k, status := m.Registry().Open(nil, modelBase, true)
	require.Equal(m.t, nt.STATUS_SUCCESS, status)
	require.Equal(m.t, nt.STATUS_SUCCESS, k.DeleteTree())
	require.False(m.t, m.openKeys.below(modelBase, true))
}

func TestKeysAsAModelHasThem(t *testing.T) {
	r := newRig(t)
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 6))
		mark := r.used
		m := newModel(t, r, random.IntN)
		for range 300 {
			m.step()
		}
		m.end()
		r.used = mark
	}
}

func FuzzKeysAsAModelHasThem(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		seed := make([]byte, 400)
		for i := range seed {
			binary.LittleEndian.PutUint16(seed[i&^1:], uint16(random.Uint32()))
		}
		f.Add(seed)
	}
	r := newRig(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		rig := *r
		rig.t = t
		choose := func(n int) int {
			if len(data) == 0 {
				return 0
			}
			b := int(data[0])
			data = data[1:]
			return b % n
		}
		m := newModel(t, &rig, choose)
		for len(data) > 0 {
			m.step()
		}
		m.end()
	})
}
