package hive

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// seal gives the base block its checksum.
func seal(data []byte) []byte {
	le.PutUint32(data[baseChecksum:], checksum(data))
	return data
}

// twoStates gives a hive and what becomes of it: a key more, and some bins.
func twoStates(t testing.TB) (old, changed []byte) {
	tree := &cm.Tree{Keys: []*cm.Tree{{Name: "Old"}}}
	old = encode(t, tree)
	tree.Keys = append(tree.Keys, &cm.Tree{Name: "New",
		Values: []cm.Value{{Name: "data", Type: 3, Data: make([]byte, 9000)}}})
	return old, encode(t, tree)
}

// logEntry makes an entry of a log with the pages that differ.
func logEntry(sequence uint32, old, changed []byte) []byte {
	const page = 4096
	var refs, pages []byte
	for at := baseSize; at < len(changed); at += page {
		now := changed[at:min(at+page, len(changed))]
		if at < len(old) && slices.Equal(old[at:min(at+page, len(old))], now) {
			continue
		}
		refs = le.AppendUint32(le.AppendUint32(refs, uint32(at-baseSize)), uint32(len(now)))
		pages = append(pages, now...)
	}
	e := make([]byte, entryHeader)
	copy(e, "HvLE")
	le.PutUint32(e[entrySequence:], sequence)
	le.PutUint32(e[entryLength:], uint32(len(changed)-baseSize))
	le.PutUint32(e[entryPages:], uint32(len(refs)/pageReference))
	e = append(append(e, refs...), pages...)
	e = append(e, make([]byte, -len(e)&(sectorSize-1))...)
	return hashed(e)
}

func hashed(e []byte) []byte {
	le.PutUint32(e[entrySize:], uint32(len(e)))
	le.PutUint64(e[entryHash1:], marvin(e[entryHeader:]))
	le.PutUint64(e[entryHash2:], marvin(e[:entryHash2]))
	return e
}

// newLog makes a log of entries, of which the first has that sequence number.
func newLog(primary []byte, sequence uint32, entries ...[]byte) []byte {
	l := slices.Clone(primary[:sectorSize])
	le.PutUint32(l[baseType:], typeNewLog)
	le.PutUint32(l[basePrimary:], sequence)
	le.PutUint32(l[baseSecondary:], sequence)
	seal(l)
	for _, e := range entries {
		l = append(l, e...)
	}
	return l
}

func oldLog(old, changed []byte) []byte {
	l := slices.Clone(changed[:sectorSize])
	copy(l[baseWritten:], old[baseWritten:baseWritten+8])
	le.PutUint32(l[baseType:], typeOldLog)
	seal(l)
	n := (len(changed) - baseSize) / sectorSize
	dirt := append([]byte("DIRT"), make([]byte, n/8)...)
	var pages []byte
	for i := range n {
		at := baseSize + i*sectorSize
		now := changed[at : at+sectorSize]
		if at+sectorSize <= len(old) && slices.Equal(old[at:at+sectorSize], now) {
			continue
		}
		dirt[4+i/8] |= 1 << (i % 8)
		pages = append(pages, now...)
	}
	dirt = append(dirt, make([]byte, -len(dirt)&(sectorSize-1))...)
	return append(append(l, dirt...), pages...)
}

func TestADirtyHiveIsRecovered(t *testing.T) {
	old, changed := twoStates(t)
	third := encode(t, &cm.Tree{Keys: []*cm.Tree{{Name: "Third"}}}) // it is shorter
	numbered := func(first, second uint32) []byte {
		d := slices.Clone(old)
		le.PutUint32(d[basePrimary:], first)
		le.PutUint32(d[baseSecondary:], second)
		return seal(d)
	}
	unsealed := slices.Clone(old)
	unsealed[baseChecksum] ^= 1
	broken := logEntry(8, changed, third)
	broken[len(broken)-1] ^= 1
	outside := logEntry(7, old, changed)
	le.PutUint32(outside[entryHeader:], uint32(len(changed)))
	outside = hashed(outside)
	huge := logEntry(7, old, changed)
	le.PutUint32(huge[entryLength:], 1<<31)
	huge = hashed(huge)
	for _, c := range []struct {
		name string
		data []byte
		logs [][]byte
		want string // the key that is there, or the error
		done int
	}{
		{"a clean hive looks at no log", old, [][]byte{newLog(old, 1, logEntry(1, old, changed))}, "Old", 0},
		{"one change", numbered(7, 6), [][]byte{newLog(old, 7, logEntry(7, old, changed))}, "New", 1},
		{"two changes", numbered(7, 6), [][]byte{newLog(old, 7, logEntry(7, old, changed),
			logEntry(8, changed, third))}, "Third", 2},
		{"two changes in two logs", numbered(7, 6), [][]byte{newLog(old, 8, logEntry(8, changed, third)),
			newLog(old, 7, logEntry(7, old, changed))}, "Third", 2},
		{"what was there before is not done again", numbered(8, 7), [][]byte{newLog(old, 6,
			logEntry(6, old, third), logEntry(7, old, changed))}, "New", 1},
		{"up to a damaged entry", numbered(7, 6), [][]byte{newLog(old, 7, logEntry(7, old, changed),
			broken)}, "New", 1},
		{"up to a gap", numbered(7, 6), [][]byte{newLog(old, 7, logEntry(7, old, changed)),
			newLog(old, 9, logEntry(9, changed, third))}, "New", 1},
		{"up to what an older log has left", numbered(7, 6), [][]byte{newLog(old, 7,
			logEntry(7, old, changed), logEntry(3, changed, third))}, "New", 1},
		{"the base block is the log's", unsealed, [][]byte{newLog(old, 7, logEntry(7, old, changed))},
			"New", 1},
		{"an old log", numbered(7, 6), [][]byte{oldLog(old, changed)}, "New", 1},
		{"an old log, whose base block it is", unsealed, [][]byte{oldLog(old, changed)}, "New", 1},
		{"no log", numbered(7, 6), nil,
			"test: offset 0x4: base block, sequence numbers: 7 and 6: it was not written to its end, and " +
				"there is no transaction log", 0},
		{"no log, and no checksum", unsealed, nil, "test: offset 0x1fc: base block, checksum: 0x", 0},
		{"a log that begins too late", numbered(7, 6), [][]byte{newLog(old, 9,
			logEntry(9, old, changed))}, "its transaction logs begin later, with 9", 0},
		{"a log that ended before", numbered(7, 6), [][]byte{newLog(old, 5, logEntry(5, old, changed))},
			"its transaction logs end before", 0},
		{"a log of nothing", numbered(7, 6), [][]byte{newLog(old, 7), {}, []byte("regf")},
			"no transaction log has anything of it", 0},
		{"a page outside", numbered(7, 6), [][]byte{newLog(old, 7, outside)}, "are damaged", 0},
		{"bins that nothing fills", numbered(7, 6), [][]byte{newLog(old, 7, huge)}, "are damaged", 0},
		{"an old log of another time", numbered(7, 6), [][]byte{func() []byte {
			l := oldLog(old, changed)
			l[baseWritten]++
			return seal(l)
		}()}, "no transaction log has anything of it", 0},
		{"an old log without its vector", numbered(7, 6), [][]byte{func() []byte {
			l := oldLog(old, changed)
			l[sectorSize] = 'X'
			return l
		}()}, `log 0: offset 0x200: dirty vector, signature: "XIRT", want "DIRT"`, 0},
		{"an old log that is cut off", numbered(7, 6), [][]byte{func() []byte {
			l := oldLog(old, changed)
			return l[:len(l)-1]
		}()}, "dirty pages: the file ends before that of", 0},
		{"an old log of bins that nothing fills", numbered(7, 6), [][]byte{func() []byte {
			l := oldLog(old, changed)
			le.PutUint32(l[baseLength:], 1<<31)
			return seal(l)
		}()}, "log 0: offset 0x28: base block, size of bins: 0x80000000", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var logs []Log
			for i, l := range c.logs {
				logs = append(logs, Log{"log " + string(rune('0'+i)), l})
			}
			before := slices.Clone(c.data)
			h, err := Read("test", c.data, logs...)
			assert.Equal(t, before, c.data, "the file's bytes are not changed")
			if err != nil {
				require.ErrorContains(t, err, c.want)
				return
			}
			assert.Equal(t, c.done, h.Recovered)
			last := h.Root.Keys[0]
			if n := h.Root.Key("New"); n != nil {
				last = n
			}
			assert.Equal(t, c.want, last.Name)
		})
	}
}
