package signature

// Where the certificate table is in an image, and the digest of all that it signs.

import (
	"cmp"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// layout is where things are in an image's file, as offsets.
type layout struct {
	data     []byte
	checksum int64 // 4 bytes
	entry    int64 // 8 bytes: the data directory's entry of the certificate table
	table    int64 // the certificate table, up to the end of the file
	gap      error
	digests  map[crypto.Hash][]byte
}

// readLayout finds the certificate table. Errors are ErrNotSigned and those of a file that is no
// image or contradicts itself.
func readLayout(d []byte) (*layout, error) {
	u16 := func(at int64) int64 { return int64(binary.LittleEndian.Uint16(d[at:])) }
	u32 := func(at int64) int64 { return int64(binary.LittleEndian.Uint32(d[at:])) }
	end := int64(len(d))
	if end < 64 || d[0] != 'M' || d[1] != 'Z' {
		return nil, errors.New("no PE image")
	}
	nt := u32(60)
	if nt+26 > end || string(d[nt:nt+4]) != "PE\x00\x00" {
		return nil, errors.New("no PE image")
	}
	sections, optSize, opt := u16(nt+6), u16(nt+20), nt+24
	dirs := int64(0) // of the data directory in the optional header
	switch u16(opt) {
	case 0x10b: // PE32
		dirs = 96
	case 0x20b: // PE32+
		dirs = 112
	default:
		return nil, fmt.Errorf("no PE image: the optional header's magic is 0x%x", u16(opt))
	}
	headers := opt + optSize + 40*sections
	if optSize < dirs || headers > end {
		return nil, errors.New("a PE image whose headers are truncated")
	}
	const security, size = 4, 8
	if u32(opt+dirs-4) <= security || optSize < dirs+(security+1)*size {
		return nil, ErrNotSigned
	}
	l := &layout{data: d, checksum: opt + 64, entry: opt + dirs + security*size,
		digests: make(map[crypto.Hash][]byte)}
	at, n := u32(l.entry), u32(l.entry+4)
	switch {
	case n == 0:
		return nil, ErrNotSigned
	case at < headers:
		return nil, fmt.Errorf("the certificate table at offset 0x%x is in the headers", at)
	case at%8 != 0:
		return nil, fmt.Errorf("the certificate table's offset 0x%x is no multiple of 8", at)
	case at+n > end:
		return nil, fmt.Errorf("truncated: the certificate table is at offset 0x%x+0x%x, the file "+
			"ends at 0x%x", at, n, end)
	case at+n < end:
		return nil, fmt.Errorf("%d bytes follow the certificate table, which no signature covers",
			end-at-n)
	}
	l.table = at
	return l, l.readSections(d[opt+optSize:headers], u32(opt+60))
}

// readSections sees that no section is made of what is not signed.
func (l *layout) readSections(table []byte, sizeOfHeaders int64) error {
	type span struct{ from, to int64 }
	spans := []span{{0, sizeOfHeaders}}
	for i := 0; i < len(table); i += 40 {
		n := int64(binary.LittleEndian.Uint32(table[i+16:]))
		from := int64(binary.LittleEndian.Uint32(table[i+20:]))
		if n == 0 {
			continue
		}
		if from+n > l.table {
			return fmt.Errorf("section %d reaches into the certificate table", i/40+1)
		}
		spans = append(spans, span{from, from + n})
	}
	if sizeOfHeaders > l.table {
		return errors.New("the headers reach into the certificate table")
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i, s := range spans[1:] {
		if end := spans[i].to; s.from != end {
			l.gap = fmt.Errorf("its sections leave a gap or overlap at offset 0x%x",
				min(s.from, end))
			break
		}
	}
	return nil
}

// digest gives the image's digest: of every byte of the file but the checksum, the certificate
// table's directory entry and the table.
//
// The format's document has the sections hashed one by one, in the order of the file. For an image
// whose sections follow each other without gaps, as every linker writes them, that is the same; for
// another, its digest leaves bytes out, which is no reason to trust them.
func (l *layout) digest(h crypto.Hash) []byte {
	sum, ok := l.digests[h]
	if !ok {
		w := h.New()
		_, _ = w.Write(l.data[:l.checksum]) // a hash takes everything
		_, _ = w.Write(l.data[l.checksum+4 : l.entry])
		_, _ = w.Write(l.data[l.entry+8 : l.table])
		sum = w.Sum(nil)
		l.digests[h] = sum
	}
	return sum
}

// The limits of what is read.
const (
	maxEntries    = 16 // signatures of a file, nested ones among them
	maxMessage    = 4 << 20
	maxDepth      = 48
	maxElements   = 1 << 16
	maxCerts      = 64
	maxRSAKeyBits = 16384
)

// entries gives the PKCS#7 messages in the certificate table ("PE Format", The Attribute
// Certificate Table), without the padding after them.
func (l *layout) entries() ([][]byte, error) {
	const header, revision2, pkcs7Signed = 8, 0x200, 2
	var list [][]byte
	for rest := l.data[l.table:]; len(rest) > 0; {
		if len(list) == maxEntries {
			return nil, fmt.Errorf("the certificate table has more than %d entries", maxEntries)
		}
		at := len(l.data) - len(rest)
		bad := func(format string, args ...any) error {
			return fmt.Errorf("entry at offset 0x%x of the certificate table: "+format,
				append([]any{at}, args...)...)
		}
		if len(rest) < header {
			return nil, bad("truncated")
		}
		n := int(min(binary.LittleEndian.Uint32(rest), 1<<30)) // more than any file has
		rev, kind := binary.LittleEndian.Uint16(rest[4:]), binary.LittleEndian.Uint16(rest[6:])
		switch {
		case n <= header || n > len(rest):
			return nil, bad("its length is 0x%x, of 0x%x bytes that are left", n, len(rest))
		case n > maxMessage:
			return nil, bad("its length is 0x%x, more than is read (0x%x)", n, maxMessage)
		case rev != revision2 || kind != pkcs7Signed:
			return nil, bad("revision 0x%x, type %d, which is no PKCS#7 signature", rev, kind)
		}
		message, err := guard(rest[header:n])
		if err != nil {
			return nil, bad("%w", err)
		}
		padded := min((n+7)&^7, len(rest))
		if slices.ContainsFunc(rest[header+len(message):padded], func(b byte) bool { return b != 0 }) ||
			n-header-len(message) > 7 {
			return nil, bad("data is hidden behind the signature")
		}
		list = append(list, message)
		rest = rest[padded:]
	}
	return list, nil
}
