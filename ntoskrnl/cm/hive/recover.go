package hive

import (
	"bytes"
	"fmt"
	"slices"
)

// Recovery of a hive that was not written to its end, from its transaction logs.

// The header of a log's entry ("HvLE").
const (
	entrySize     = 4
	entrySequence = 12
	entryLength   = 16 // of the hive bins
	entryPages    = 20
	entryHash1    = 24 // of what is behind the header
	entryHash2    = 32 // of the header before it
	entryHeader   = 40
	pageReference = 8
)

// entry is one change of a log.
type entry struct {
	sequence uint32
	length   uint32
	data     []byte // references to pages, then the pages
	pages    uint32
}

// fromLogs gives the hive that a file and its logs make together, with how many changes it has from
// those.
func fromLogs(name string, data []byte, logs []Log) ([]byte, int, error) {
	first, second := le.Uint32(data[basePrimary:]), le.Uint32(data[baseSecondary:])
	whole := le.Uint32(data[baseChecksum:]) == checksum(data)
	e := Error{name, basePrimary, "base block, sequence numbers",
		fmt.Sprintf("%d and %d: it was not written to its end", first, second)}
	if !whole {
		e = Error{name, baseChecksum, "base block, checksum",
			fmt.Sprintf("%#x, want %#x", le.Uint32(data[baseChecksum:]), checksum(data))}
	}
	fail := func(format string, args ...any) error {
		e.What += ", and " + fmt.Sprintf(format, args...)
		return &e
	}
	if len(logs) == 0 {
		return nil, 0, fail("there is no transaction log (NAME.LOG, NAME.LOG1, NAME.LOG2) to " +
			"recover it from")
	}
	var entries []entry
	var base []byte // of the log that begins first
	for _, l := range logs {
		if !validLog(l.Data) {
			continue
		}
		if le.Uint32(l.Data[baseType:]) != typeNewLog {
			out, ok, err := applyOld(data, whole, l)
			if ok || err != nil {
				return out, 1, err
			}
			continue
		}
		all := entriesOf(l.Data)
		if len(all) == 0 {
			continue
		}
		entries = append(entries, all...)
		if base == nil || int32(le.Uint32(l.Data[basePrimary:])-le.Uint32(base[basePrimary:])) < 0 {
			base = l.Data
		}
	}
	if base == nil {
		return nil, 0, fail("no transaction log has anything of it")
	}
	start := second
	out := slices.Clone(data)
	if !whole {
		start = le.Uint32(base[basePrimary:])
		copy(out[:sectorSize], base[:sectorSize])
		le.PutUint32(out[baseType:], typePrimary)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return int(int32(a.sequence - b.sequence)) })
	next, done := uint32(0), 0
	for _, e := range entries {
		switch {
		case int32(e.sequence-start) < 0, done > 0 && e.sequence == next-1: // it is there already
			continue
		case done == 0 && whole && int32(e.sequence-max(first, second)) > 0,
			done > 0 && e.sequence != next:
			if done == 0 {
				return nil, 0, fail("its transaction logs begin later, with %d", e.sequence)
			}
			return finish(out, next-1), done, nil
		}
		var ok bool
		if out, ok = e.apply(out); !ok {
			break
		}
		done++
		next = e.sequence + 1
	}
	if done == 0 {
		return nil, 0, fail("its transaction logs end before, or are damaged")
	}
	return finish(out, next-1), done, nil
}

// validLog says whether a log was written to its end, and is one.
func validLog(l []byte) bool {
	if len(l) < sectorSize || string(l[:4]) != "regf" || checksum(l) != le.Uint32(l[baseChecksum:]) ||
		le.Uint32(l[basePrimary:]) != le.Uint32(l[baseSecondary:]) {
		return false
	}
	t := le.Uint32(l[baseType:])
	return t == typeOldLog || t == typeOldLog2 || t == typeNewLog
}

// entriesOf gives the entries of a log as far as they follow each other and are whole.
func entriesOf(l []byte) (all []entry) {
	for b := l[sectorSize:]; len(b) >= entryHeader && string(b[:4]) == "HvLE"; {
		size := le.Uint32(b[entrySize:])
		if size < entryHeader || size%sectorSize != 0 || uint64(size) > uint64(len(b)) ||
			le.Uint64(b[entryHash1:]) != marvin(b[entryHeader:size]) ||
			le.Uint64(b[entryHash2:]) != marvin(b[:entryHash2]) {
			return all
		}
		e := entry{le.Uint32(b[entrySequence:]), le.Uint32(b[entryLength:]), b[entryHeader:size],
			le.Uint32(b[entryPages:])}
		if len(all) > 0 && e.sequence != all[len(all)-1].sequence+1 {
			return all // what is left of an older log
		}
		all = append(all, e)
		b = b[size:]
	}
	return all
}

// apply does a change; it reports false for one that cannot be.
func (e *entry) apply(data []byte) ([]byte, bool) {
	if e.length == 0 || e.length%binAlign != 0 || uint64(e.pages)*pageReference > uint64(len(e.data)) {
		return data, false
	}
	refs, pages := e.data[:e.pages*pageReference], e.data[e.pages*pageReference:]
	// What the hive gains is in the pages, and what it loses is behind its end.
	have := uint64(len(data) - baseSize)
	if uint64(e.length) > have+uint64(len(pages)) {
		return data, false
	}
	rest := uint64(len(pages))
	for b := refs; len(b) > 0; b = b[pageReference:] {
		offset, size := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		if offset+size > uint64(e.length) || size > rest {
			return data, false
		}
		rest -= size
	}
	if n := baseSize + int(e.length); n > len(data) {
		data = append(data, make([]byte, n-len(data))...)
	}
	for ; len(refs) > 0; refs = refs[pageReference:] {
		n := copy(data[baseSize+le.Uint32(refs):], pages[:le.Uint32(refs[4:])])
		pages = pages[n:]
	}
	le.PutUint32(data[baseLength:], e.length)
	return data, true
}

// applyOld does what a log of the old format says; ok is false for one that belongs to another
// state of the hive.
func applyOld(data []byte, whole bool, l Log) (out []byte, ok bool, err error) {
	written := data[baseWritten : baseWritten+8]
	if !whole {
		const binWritten = 20
		if len(data) < baseSize+binHeader {
			return nil, false, nil
		}
		written = data[baseSize+binWritten : baseSize+binWritten+8]
	}
	if !bytes.Equal(written, l.Data[baseWritten:baseWritten+8]) {
		return nil, false, nil
	}
	fail := func(at int, field, format string, args ...any) ([]byte, bool, error) {
		return nil, false, &Error{l.Name, int64(at), field, fmt.Sprintf(format, args...)}
	}
	length := le.Uint32(l.Data[baseLength:])
	const mapAt = sectorSize + 4
	n := int(length / sectorSize / 8)
	switch {
	case length == 0 || length%binAlign != 0 || uint64(length) > uint64(len(data)+len(l.Data)):
		return fail(baseLength, "base block, size of bins", "%#x", length)
	case len(l.Data) < mapAt+n:
		return fail(sectorSize, "dirty vector", "%d bytes, but the file ends at %#x", n, len(l.Data))
	case string(l.Data[sectorSize:mapAt]) != "DIRT":
		return fail(sectorSize, "dirty vector, signature", "%q, want \"DIRT\"", l.Data[sectorSize:mapAt])
	}
	out = slices.Clone(data)
	if n := baseSize + int(length); n > len(out) {
		out = append(out, make([]byte, n-len(out))...)
	}
	page := (mapAt + n + sectorSize - 1) &^ (sectorSize - 1)
	for i := range n * 8 {
		if l.Data[mapAt+i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if page+sectorSize > len(l.Data) {
			return fail(page, "dirty pages", "the file ends before that of %#x", i*sectorSize)
		}
		copy(out[baseSize+i*sectorSize:], l.Data[page:page+sectorSize])
		page += sectorSize
	}
	copy(out[:sectorSize], l.Data[:sectorSize])
	le.PutUint32(out[baseType:], typePrimary)
	return finish(out, le.Uint32(out[basePrimary:])), true, nil
}

// finish makes the base block that of a hive which was written to its end.
func finish(data []byte, sequence uint32) []byte {
	le.PutUint32(data[basePrimary:], sequence)
	le.PutUint32(data[baseSecondary:], sequence)
	le.PutUint32(data[baseChecksum:], checksum(data))
	return data
}
