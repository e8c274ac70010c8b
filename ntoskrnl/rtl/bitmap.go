package rtl

// RTL_BITMAP: bits in an array of ULONGs in guest memory, the lowest bit of the first ULONG first.
//
// As on Windows nothing is atomic, and the caller synchronises. Ranges that leave the bitmap do
// nothing, or are false.

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// NoBits is what the searches return if they find nothing: MAXULONG.
const NoBits = math.MaxUint32

// BitMap is an RTL_BITMAP, read from guest memory.
type BitMap struct {
	Size   uint32  // in bits
	Buffer nt.Addr // of ULONGs
}

// Run is RTL_BITMAP_RUN.
type Run struct{ Start, Count uint32 }

// InitializeBitMap is RtlInitializeBitMap: it fills the header at a; the bits stay as they are.
func InitializeBitMap(a, buffer nt.Addr, size uint32) error {
	if err := guest.Store32(a, size); err != nil {
		return err
	}
	return guest.StoreAddr(a+pointerSize, buffer)
}

// LoadBitMap reads the header at a.
func LoadBitMap(a nt.Addr) (BitMap, error) {
	size, err := guest.Load32(a)
	if err != nil {
		return BitMap{}, err
	}
	buffer, err := guest.LoadAddr(a + pointerSize)
	return BitMap{size, buffer}, err
}

func (b BitMap) word(i uint32) nt.Addr { return b.Buffer + nt.Addr(i/32)*4 }

// change sets or clears n bits from start; it does nothing if they are not all in the bitmap.
func (b BitMap) change(start, n uint32, set bool) error {
	if n == 0 || start >= b.Size || n > b.Size-start {
		return nil
	}
	end := start + n
	for start < end {
		if start%32 == 0 && end-start >= 32 {
			whole := (end - start) / 32
			var fill byte
			if set {
				fill = 0xFF
			}
			if err := guest.Fill(b.word(start), fill, uintptr(whole)*4); err != nil {
				return err
			}
			start += whole * 32
			continue
		}
		k := min(32-start%32, end-start)
		mask := uint32(1<<k-1) << (start % 32)
		v, err := guest.Load32(b.word(start))
		if err != nil {
			return err
		}
		if set {
			v |= mask
		} else {
			v &^= mask
		}
		if err := guest.Store32(b.word(start), v); err != nil {
			return err
		}
		start += k
	}
	return nil
}

// SetBits is RtlSetBits, and RtlSetBit with n 1.
func (b BitMap) SetBits(start, n uint32) error { return b.change(start, n, true) }

// ClearBits is RtlClearBits, and RtlClearBit with n 1.
func (b BitMap) ClearBits(start, n uint32) error { return b.change(start, n, false) }

// SetAll is RtlSetAllBits: whole ULONGs, also the bits behind Size in the last one.
func (b BitMap) SetAll() error { return guest.Fill(b.Buffer, 0xFF, b.bytes()) }

// ClearAll is RtlClearAllBits.
func (b BitMap) ClearAll() error { return guest.Fill(b.Buffer, 0, b.bytes()) }

func (b BitMap) bytes() uintptr { return (uintptr(b.Size) + 31) / 32 * 4 }

// Test is RtlTestBit and RtlCheckBit. A bit outside the bitmap is clear.
func (b BitMap) Test(i uint32) (bool, error) {
	if i >= b.Size {
		return false, nil
	}
	v, err := guest.Load32(b.word(i))
	return v>>(i%32)&1 != 0, err
}

// scanner reads a bitmap from front to back, a chunk at a time.
type scanner struct {
	b    BitMap
	base uint32 // the first bit in buf
	n    uint32 // bits in buf
	buf  [chunkSize]byte
}

// at gives the ULONG with bit i.
func (s *scanner) at(i uint32) (uint32, error) {
	i &^= 31
	if i-s.base >= s.n {
		left := s.b.bytes() - uintptr(i/8)
		k, err := readChunk(s.buf[:min(left, chunkSize)], s.b.word(i), 4)
		if err != nil {
			return 0, err
		}
		s.base, s.n = i, uint32(k)*8
	}
	return binary.LittleEndian.Uint32(s.buf[(i-s.base)/8:]), nil
}

// next gives the first bit from i on that is set (or clear), or end if there is none before it.
func (s *scanner) next(i, end uint32, set bool) (uint32, error) {
	for i < end {
		v, err := s.at(i)
		if err != nil {
			return end, err
		}
		if !set {
			v = ^v
		}
		if v >>= i % 32; v != 0 {
			return min(i+uint32(bits.TrailingZeros32(v)), end), nil
		}
		if i |= 31; i == math.MaxUint32 {
			break
		}
		i++
	}
	return end, nil
}

// run gives the first run of bits from i on; count 0 if there is none.
func (s *scanner) run(i, end uint32, set bool) (Run, error) {
	start, err := s.next(i, end, set)
	if err != nil || start >= end {
		return Run{Start: end}, err
	}
	stop, err := s.next(start, end, !set)
	return Run{start, stop - start}, err
}

func (b BitMap) all(start, n uint32, set bool) (bool, error) {
	if n == 0 || start >= b.Size || n > b.Size-start {
		return false, nil
	}
	s := scanner{b: b}
	i, err := s.next(start, start+n, !set)
	return err == nil && i == start+n, err
}

// AreSet is RtlAreBitsSet: false for no bits.
func (b BitMap) AreSet(start, n uint32) (bool, error) { return b.all(start, n, true) }

// AreClear is RtlAreBitsClear: false for no bits.
func (b BitMap) AreClear(start, n uint32) (bool, error) { return b.all(start, n, false) }

// NumberOfSet is RtlNumberOfSetBits.
func (b BitMap) NumberOfSet() (uint32, error) {
	s := scanner{b: b}
	var n uint32
	for i := uint32(0); i < b.Size; {
		v, err := s.at(i)
		if err != nil {
			return 0, err
		}
		if left := b.Size - i; left < 32 {
			v &= 1<<left - 1
		}
		n += uint32(bits.OnesCount32(v))
		if i > math.MaxUint32-32 {
			break
		}
		i += 32
	}
	return n, nil
}

// NumberOfClear is RtlNumberOfClearBits.
func (b BitMap) NumberOfClear() (uint32, error) {
	n, err := b.NumberOfSet()
	return b.Size - n, err
}

// find looks for n bits in a row that start at or behind from and end at or before end.
func (s *scanner) find(n, from, end uint32, set bool) (uint32, error) {
	for from < end {
		r, err := s.run(from, end, set)
		if err != nil {
			return NoBits, err
		}
		if r.Count >= n {
			return r.Start, nil
		}
		if r.Count == 0 {
			break
		}
		from = r.Start + r.Count
	}
	return NoBits, nil
}

func (b BitMap) find(n, hint uint32, set bool) (uint32, error) {
	if hint >= b.Size {
		hint = 0
	}
	if n == 0 {
		return hint &^ 7, nil
	}
	if n > b.Size {
		return NoBits, nil
	}
	s := scanner{b: b}
	at, err := s.find(n, hint, b.Size, set)
	if err != nil || at != NoBits || hint == 0 {
		return at, err
	}
	return s.find(n, 0, uint32(min(uint64(hint)+uint64(n)-1, uint64(b.Size))), set)
}

// FindSet is RtlFindSetBits: the start of n set bits in a row, from hint on, then from the start;
// or [NoBits].
func (b BitMap) FindSet(n, hint uint32) (uint32, error) { return b.find(n, hint, true) }

// FindClear is RtlFindClearBits.
func (b BitMap) FindClear(n, hint uint32) (uint32, error) { return b.find(n, hint, false) }

// FindClearAndSet is RtlFindClearBitsAndSet.
func (b BitMap) FindClearAndSet(n, hint uint32) (uint32, error) {
	at, err := b.FindClear(n, hint)
	if err != nil || at == NoBits {
		return at, err
	}
	return at, b.SetBits(at, n)
}

// FindSetAndClear is RtlFindSetBitsAndClear.
func (b BitMap) FindSetAndClear(n, hint uint32) (uint32, error) {
	at, err := b.FindSet(n, hint)
	if err != nil || at == NoBits {
		return at, err
	}
	return at, b.ClearBits(at, n)
}

// NextForwardRun is RtlFindNextForwardRunClear or …Set: the first run from i on. Without one Count
// is 0 and Start is the bitmap's size. RtlFindFirstRunClear is this with i 0.
func (b BitMap) NextForwardRun(i uint32, set bool) (Run, error) {
	s := scanner{b: b}
	return s.run(min(i, b.Size), b.Size, set)
}

// LastBackwardRun is RtlFindLastBackwardRunClear or …Set: the last run that begins at or before i,
// counted up to i. Without one Count is 0.
func (b BitMap) LastBackwardRun(i uint32, set bool) (Run, error) {
	if b.Size == 0 {
		return Run{}, nil
	}
	end := min(i, b.Size-1) + 1
	s := scanner{b: b}
	var last Run
	for at := uint32(0); at < end; {
		r, err := s.run(at, end, set)
		if err != nil || r.Count == 0 {
			return last, err
		}
		last = r
		at = r.Start + r.Count
	}
	return last, nil
}

// ClearRuns is RtlFindClearRuns: up to len(runs) runs of clear bits, the first ones or, if longest,
// the longest ones, longest first. It returns how many it found.
func (b BitMap) ClearRuns(runs []Run, longest bool) (uint32, error) {
	s := scanner{b: b}
	n := 0
	for at := uint32(0); at < b.Size; {
		r, err := s.run(at, b.Size, false)
		if err != nil {
			return uint32(n), err
		}
		if r.Count == 0 {
			break
		}
		at = r.Start + r.Count
		if !longest {
			if n == len(runs) {
				break
			}
			runs[n] = r
			n++
			continue
		}
		i := n
		for i > 0 && runs[i-1].Count < r.Count {
			i--
		}
		if i == len(runs) {
			continue
		}
		n = min(n+1, len(runs))
		copy(runs[i+1:n], runs[i:n-1])
		runs[i] = r
	}
	return uint32(n), nil
}

// LongestRunClear is RtlFindLongestRunClear; Count is 0 if no bit is clear.
func (b BitMap) LongestRunClear() (Run, error) {
	var r [1]Run
	_, err := b.ClearRuns(r[:], true)
	return r[0], err
}

// FindMostSignificantBit is RtlFindMostSignificantBit: 63 to 0, or -1.
func FindMostSignificantBit(v uint64) int8 { return int8(bits.Len64(v)) - 1 }

// FindLeastSignificantBit is RtlFindLeastSignificantBit: 0 to 63, or -1.
func FindLeastSignificantBit(v uint64) int8 {
	if v == 0 {
		return -1
	}
	return int8(bits.TrailingZeros64(v))
}

// NumberOfSetBitsUlongPtr is RtlNumberOfSetBitsUlongPtr.
func NumberOfSetBitsUlongPtr(v uint64) uint32 { return uint32(bits.OnesCount64(v)) }
