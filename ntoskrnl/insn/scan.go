// Finding the instructions that a kernel executes with another effect than a process, but that do
// not trap in one, so that a Trap can take their place.

package insn

import (
	"bytes"
	"slices"
	"strings"
)

// Trap takes the place of a patched instruction's first byte: hlt, which faults in a process. The
// bytes behind it become int3; nothing gets there but a wild jump.
const Trap = 0xF4

const (
	trapLength = 1
	filler     = 0xCC
)

// Patch is an instruction that a Trap has taken the place of.
type Patch struct{ inst inst }

// NewPatch decodes the instruction that a Site has found. It is nil if the code is none.
func NewPatch(code []byte) *Patch {
	in, _ := decode(code)
	if in == nil || !in.silent() || int(in.length) != len(code) {
		return nil
	}
	return &Patch{*in}
}

// Bytes gives what takes the instruction's place.
func (p *Patch) Bytes() []byte {
	b := bytes.Repeat([]byte{filler}, int(p.inst.length))
	b[0] = Trap
	return b
}

// silent reports whether the instruction has another effect in a process than in a kernel, and does
// not trap there.
func (in *inst) silent() bool { return in.kind >= kindStoreTable && in.kind <= kindUndefined }

// Site is an instruction that does not trap, where Scan has found it.
type Site struct {
	RVA  uint32
	Name string // as assemblers write it: "cpuid"
	Code []byte // its bytes
	// Why says why it cannot be patched; "" if it can.
	Why string
}

// Range is [Begin, End), relative to the image's base.
type Range struct{ Begin, End uint32 }

// Reasons why a Site is not patched.
const (
	whyNoFunction = "it lies outside of the functions in .pdata"
	whyUnclear    = "its function does not disassemble to its end"
	whyUnreached  = "its function jumps through a table, and no other way to it shows"
	whyJump       = "something jumps into the middle of it"
)

// Scan looks through a section of code, which begins at base, for instructions that do not trap.
// functions are the rows of .pdata, in order; those outside of the section are passed over.
//
// An instruction can be patched if it is certain that it is one: it belongs to a function that
// disassembles from its first byte to exactly its last; if that function has an indirect jump, and
// so perhaps a jump table between its instructions, a way leads to it from the function's beginning
// by direct jumps and falling through; and no direct jump or call of the section, wherever one
// might be decoded, leads into it.
func Scan(section []byte, base uint32, functions []Range) (sites []Site) {
	if len(section) == 0 {
		return nil
	}
	end := base + uint32(len(section))
	at := base
	for _, f := range functions {
		if f.Begin < base || f.End > end || f.Begin >= f.End || f.End <= at {
			continue
		}
		if f.Begin > at {
			sites = append(sites, scanGap(section[at-base:f.Begin-base], at)...)
		}
		begin := max(f.Begin, at)
		sites = append(sites, scanFunction(section[begin-base:f.End-base], begin)...)
		at = f.End
	}
	sites = append(sites, scanGap(section[at-base:], at)...)
	markJumps(sites, section, base)
	return sites
}

// hasCandidate reports whether an instruction that Scan looks for may be in the code, by a look at
// its bytes: most functions have none, and need not be disassembled.
func hasCandidate(code []byte) bool {
	for i, b := range code {
		switch b {
		case 0x9C, 0x9D: // pushf, popf
			return true
		case 0x0F:
			if i+1 == len(code) {
				return false
			}
			switch code[i+1] {
			case 0x00, 0x01, 0xA2: // sldt and str; sgdt, sidt, smsw, rdtscp, vmcall; cpuid
				return true
			case 0xAE, 0xC7: // rdgsbase and its like; rdpid: all with F3 in front
				if slices.Contains(code[max(0, i-2):i], 0xF3) {
					return true
				}
			}
		}
	}
	return false
}

// scanFunction finds the instructions of one function.
func scanFunction(code []byte, rva uint32) (sites []Site) {
	if !hasCandidate(code) {
		return nil
	}
	sites, whole := sweep(code)
	if len(sites) == 0 {
		return nil
	}
	ways := follow(code)
	for i := range sites {
		s := &sites[i]
		switch {
		case !whole:
			s.Why = whyUnclear
		case ways.into(s):
			s.Why = whyJump
		case ways.indirect && !ways.reached[s.RVA]:
			s.Why = whyUnreached
		}
		s.RVA += rva
	}
	return sites
}

// sweep disassembles the code from its first byte on, and finds the instructions that do not trap,
// with their offsets. whole says that it came to exactly the last byte.
func sweep(code []byte) (sites []Site, whole bool) {
	for at := 0; at < len(code); {
		s, ok := outline(code[at:])
		if !ok {
			return sites, false
		}
		if s.mayBeSilent() {
			site, ok := siteAt(code, at)
			if ok && len(site.Code) != s.length {
				return sites, false
			}
			if ok {
				sites = append(sites, site)
			}
		}
		at += s.length
	}
	return sites, true
}

// siteAt gives the instruction at an offset, if it does not trap.
func siteAt(code []byte, at int) (Site, bool) {
	in, x := decode(code[at:])
	if in == nil || !in.silent() {
		return Site{}, false
	}
	name := strings.ToLower(x.Op.String())
	if x.Op == 0 {
		s, _ := decodeSpecial(code[at:])
		name = s.name
	}
	return Site{RVA: uint32(at), Name: name, Code: slices.Clone(code[at : at+int(in.length)])}, true
}

// ways are where the instructions of a function lead. Offsets are from its first byte.
type ways struct {
	indirect bool            // by an indirect jump, perhaps through a table
	targets  []int           // of the direct jumps
	reached  map[uint32]bool // the instructions that do not trap to which a way leads
}

// into reports whether a jump leads into the middle of an instruction.
func (w *ways) into(s *Site) bool {
	return slices.ContainsFunc(w.targets, func(to int) bool {
		return to > int(s.RVA) && to < int(s.RVA)+len(s.Code)
	})
}

// follow sweeps over the code again and notes its jumps, then follows it from its first byte.
func follow(code []byte) (w ways) {
	starts := make([]bool, len(code))
	for at := 0; at < len(code); {
		s, ok := outline(code[at:])
		if !ok {
			break
		}
		starts[at] = true
		at += s.length
		w.indirect = w.indirect || s.indirect
		if s.jumps {
			w.targets = append(w.targets, at+int(s.distance))
		}
	}
	w.reached = make(map[uint32]bool)
	seen := make([]bool, len(code))
	for todo := []int{0}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for at >= 0 && at < len(code) && starts[at] && !seen[at] {
			seen[at] = true
			s, _ := outline(code[at:])
			if s.mayBeSilent() {
				w.reached[uint32(at)] = true
			}
			at += s.length
			if s.jumps {
				todo = append(todo, at+int(s.distance))
			}
			if s.stops {
				break
			}
		}
	}
	return w
}

// scanGap finds what looks like such instructions between functions, where only leaf functions are:
// runs of code from an aligned address to a return. None of them is certain enough to be patched.
func scanGap(code []byte, rva uint32) (sites []Site) {
	if !hasCandidate(code) {
		return nil
	}
	for at := 0; at < len(code); {
		if b := code[at]; b == filler || b == 0x90 || b == 0 || (rva+uint32(at))%leafAlign != 0 {
			at++
			continue
		}
		length := leafLength(code[at:])
		found, _ := sweep(code[at : at+length])
		for _, s := range found {
			s.RVA += rva + uint32(at)
			s.Why = whyNoFunction
			sites = append(sites, s)
		}
		at += max(length, 1)
	}
	return sites
}

// leafAlign is how compilers align functions, at least.
const leafAlign = 4

// leafLength gives the length of the leaf function that the code begins with; 0 if there is none.
func leafLength(code []byte) int {
	last := 0 // the farthest target of a conditional jump
	for at := 0; at < len(code); {
		s, ok := outline(code[at:])
		if !ok {
			return 0
		}
		at += s.length
		if s.jumps && !s.stops {
			last = max(last, at+int(s.distance))
		}
		if s.stops && at > last {
			return at
		}
	}
	return 0
}

// markJumps rules out the sites that a jump or call with a 32-bit distance leads into, wherever in
// the section such an instruction might be decoded.
func markJumps(sites []Site, section []byte, base uint32) {
	open := slices.ContainsFunc(sites, func(s Site) bool { return s.Why == "" && len(s.Code) > 1 })
	if !open {
		return
	}
	for i := 0; i+5 <= len(section); i++ {
		b := section[i]
		near := b&0xF0 == 0x80 && i > 0 && section[i-1] == 0x0F
		if b != 0xE8 && b != 0xE9 && !near {
			continue
		}
		d := uint32(section[i+1]) | uint32(section[i+2])<<8 | uint32(section[i+3])<<16 |
			uint32(section[i+4])<<24
		target := base + uint32(i) + 5 + d
		for n := range sites {
			if s := &sites[n]; target > s.RVA && target < s.RVA+uint32(len(s.Code)) && s.Why == "" {
				s.Why = whyJump
			}
		}
	}
}
