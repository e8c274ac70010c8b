package sandbox

// The filter as a BPF program ("SECure COMPuting with filters", Linux' documentation).

import (
	"maps"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets into struct seccomp_data, and the machine that its numbers are of.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16

	auditArchX8664 = 0xC000003E
)

const (
	retAllow = unix.SECCOMP_RET_ALLOW
	retError = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	retKill  = unix.SECCOMP_RET_KILL_PROCESS
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// jump is a conditional jump over yes or no instructions.
func jump(how uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

// span is a run of system calls that are decided alike, up to the next span's first.
type span struct {
	first uint32
	code  []unix.SockFilter // what decides; it never falls through
}

// spans gives what to do with each number, from 0 on. Calls that nothing is said of are refused.
func spans(pid int) []span {
	refuse := []unix.SockFilter{ret(retError)}
	allow := []unix.SockFilter{ret(retAllow)}
	kill := []unix.SockFilter{ret(retKill)}
	byNumber := map[uint32][]unix.SockFilter{}
	for _, nr := range unconditional {
		byNumber[nr] = allow
	}
	for _, nr := range fatal {
		byNumber[nr] = kill
	}
	for _, r := range slices.Concat(conditional(uint32(pid)), starting) {
		byNumber[r.nr] = compile(r.when)
	}
	all := []span{{0, refuse}}
	for _, nr := range slices.Sorted(maps.Keys(byNumber)) {
		code := byNumber[nr]
		last := &all[len(all)-1]
		switch {
		case last.first == nr:
			last.code = code
		case !slices.Equal(last.code, code):
			all = append(all, span{nr, code})
		}
		if _, more := byNumber[nr+1]; !more {
			all = append(all, span{nr + 1, refuse})
		}
	}
	return all
}

// program makes the filter for the process with the given id. A call of another machine's numbers
// (a 32-bit one) ends the process; one of the x32 ABI has a number beyond every span but the last.
//
// Linux takes some 0.9 µs an instruction to check and compile it, while a host starts.
func program(pid int) []unix.SockFilter {
	p := []unix.SockFilter{load(dataArch), jump(unix.BPF_JEQ, auditArchX8664, 1, 0), ret(retKill),
		load(dataNr)}
	return append(p, search(spans(pid))...)
}

// withoutStart makes the second filter, which refuses what starting allows. It stands before the
// first, and the stricter answer counts.
func withoutStart() []unix.SockFilter {
	p := []unix.SockFilter{load(dataNr)}
	for i, r := range starting {
		p = append(p, jump(unix.BPF_JEQ, r.nr, uint8(len(starting)-i), 0))
	}
	return append(p, ret(retAllow), ret(retError))
}

// search makes a binary search.
func search(s []span) []unix.SockFilter {
	if len(s) == 1 {
		return s[0].code
	}
	half := len(s) / 2
	low, high := search(s[:half]), search(s[half:])
	var p []unix.SockFilter
	if len(low) <= math.MaxUint8 {
		p = append(p, jump(unix.BPF_JGE, s[half].first, uint8(len(low)), 0))
	} else {
		p = append(p, jump(unix.BPF_JGE, s[half].first, 0, 1),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(low))})
	}
	return append(append(p, low...), high...)
}

// compile makes the code that allows a call if all conditions hold, and else refuses it.
func compile(when []condition) []unix.SockFilter {
	var p []unix.SockFilter
	for _, c := range when {
		at := uint32(dataArgs + 8*c.arg)
		if c.high {
			p = append(p, load(at+4), jump(unix.BPF_JEQ, 0, 1, 0), ret(retError))
		}
		p = append(p, load(at))
		if c.mask != 0 {
			p = append(p, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.mask})
		}
		for i, v := range c.values {
			rest := len(c.values) - 1 - i
			p = append(p, jump(unix.BPF_JEQ, v, uint8(rest+1), 0))
		}
		p = append(p, ret(retError))
	}
	return append(p, ret(retAllow))
}
