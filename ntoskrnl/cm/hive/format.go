package hive

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf16"

	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Layout of the file: offsets and sizes in bytes, all numbers little-endian.

var le = binary.LittleEndian

const (
	baseSize   = 4096 // base block, before the hive bins
	sectorSize = 512
	binAlign   = 4096
	binHeader  = 32
	cellHeader = 4
	cellAlign  = 8
	noCell     = ^uint32(0)

	// MaxSize is the largest hive that is read, in bytes; Windows' own limit is 2 GiB.
	MaxSize = 1 << 30
)

// The base block.
const (
	basePrimary   = 4 // sequence numbers
	baseSecondary = 8
	baseWritten   = 12 // FILETIME
	baseMajor     = 20
	baseMinor     = 24
	baseType      = 28
	baseFormat    = 32
	baseRoot      = 36
	baseLength    = 40 // of the hive bins
	baseCluster   = 44
	baseName      = 48 // 64 bytes of UTF-16
	baseNameSize  = 64
	baseChecksum  = 508
)

// Types of files.
const (
	typePrimary = 0
	typeOldLog  = 1
	typeOldLog2 = 2
	typeNewLog  = 6
)

// A key node.
const (
	nkFlags      = 2
	nkWritten    = 4
	nkParent     = 16
	nkSubkeys    = 20
	nkList       = 28
	nkVolatile   = 32
	nkValues     = 36
	nkValueList  = 40
	nkSecurity   = 44
	nkClass      = 48
	nkMaxName    = 52
	nkMaxClass   = 56
	nkMaxValue   = 60
	nkMaxData    = 64
	nkNameSize   = 72
	nkClassSize  = 74
	nkName       = 76
	maxDirect    = 4     // bytes of data that stand in the place of their offset
	maxCellData  = 16344 // bytes of data in one cell, from version 1.4 on
	bigSegment   = maxCellData
	maxLeaf      = 507 // keys of a list, so that it stays within a page
	maxSecurity  = 64 << 10
	maxSecurity2 = 64 << 20 // of all keys together
)

// Flags of key nodes and values.
const (
	keyRoot     = 0x0004
	keyNoDelete = 0x0008
	keyLink     = 0x0010
	keyLatin    = 0x0020
	keyPredef   = 0x0040 // the number of values is something else
	valueLatin  = 0x0001
)

// A key value.
const (
	vkNameSize = 2
	vkSize     = 4
	vkData     = 8
	vkType     = 12
	vkFlags    = 16
	vkName     = 20
	inPlace    = 1 << 31 // of the size: data stands in the place of its offset
)

// A security cell.
const (
	skFlink  = 4
	skBlink  = 8
	skRefs   = 12
	skLength = 16
	skData   = 20
)

// Error says what is wrong with a hive, and where.
type Error struct {
	File   string
	Offset int64  // in the file
	Field  string // "key node, name"
	What   string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: offset %#x: %s: %s", e.File, e.Offset, e.Field, e.What)
}

// NoHive reports whether the file is something else than a hive.
func (e *Error) NoHive() bool { return e.Field == noBase || e.Field == noSignature }

const (
	noBase      = "base block"
	noSignature = "base block, signature"
)

// checksum is the base block's: the first 127 words, one upon the other, where two results are
// avoided.
func checksum(base []byte) uint32 {
	var sum uint32
	for i := 0; i < baseChecksum; i += 4 {
		sum ^= le.Uint32(base[i:])
	}
	switch sum {
	case 0:
		return 1
	case ^uint32(0):
		return ^uint32(1)
	}
	return sum
}

// nameHash is what a hash leaf has of a key's name.
func nameHash(name string) (h uint32) {
	for _, u := range utf16.Encode([]rune(cm.Fold(name))) {
		h = 37*h + uint32(u)
	}
	return h
}

// marvinSeed is the registry's.
const marvinSeed = 0x82EF4D887A4E55C5

// marvin is the Marvin32 hash of a log entry's parts.
func marvin(data []byte) uint64 {
	seed := uint64(marvinSeed)
	lo, hi := uint32(seed), uint32(seed>>32)
	mix := func(v uint32) {
		lo += v
		hi ^= lo
		lo = bits.RotateLeft32(lo, 20) + hi
		hi = bits.RotateLeft32(hi, 9) ^ lo
		lo = bits.RotateLeft32(lo, 27) + hi
		hi = bits.RotateLeft32(hi, 19)
	}
	for ; len(data) >= 4; data = data[4:] {
		mix(le.Uint32(data))
	}
	last := uint32(0x80)
	for i := len(data) - 1; i >= 0; i-- {
		last = last<<8 | uint32(data[i])
	}
	mix(last)
	mix(0)
	return uint64(hi)<<32 | uint64(lo)
}

// latin reads a name of Latin-1.
func latin(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

func wide(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// encodeName gives a name as Latin-1 if it can be that, else as UTF-16.
func encodeName(s string) (b []byte, isLatin bool) {
	for _, c := range s {
		if c > 0xFF {
			return cm.Encode(s, false), false
		}
		b = append(b, byte(c))
	}
	return b, true
}
