// Instructions that have another effect in a process than in a kernel, but do not trap there: they
// are patched in the driver's code when it is loaded.

package ntoskrnl

import (
	"bytes"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/insn"
	"github.com/drvhost/drvhost/pe"
)

// UntrappedInstruction is an instruction that does not trap in a process, in a driver's image.
type UntrappedInstruction struct {
	RVA  uint32
	Name string // as assemblers write it: "cpuid"
	// Why says why it is not patched, so that it has its native effect; "" if it is patched.
	Why string
}

// UntrappedInstructions finds, in the executable sections of an image, the instructions that do not
// trap in a process: pushf and popf, sgdt, sidt, sldt, str and smsw, cpuid, rdtscp and rdpid,
// vmcall, vmmcall and vmfunc, and those that read and write the bases of FS and GS. Those in
// provable code are replaced when the driver is loaded, so that they trap and are emulated: a
// driver that reads its own code sees hlt, followed by int3, in their place.
func UntrappedInstructions(img *pe.Image) (all []UntrappedInstruction) {
	for _, s := range untrapped(img) {
		all = append(all, UntrappedInstruction{s.RVA, s.Name, s.Why})
	}
	return all
}

func untrapped(img *pe.Image) (sites []insn.Site) {
	var functions []insn.Range
	for _, f := range img.Functions() {
		functions = append(functions, insn.Range{Begin: f.Begin, End: f.End})
	}
	for i := range img.Sections {
		s := &img.Sections[i]
		if !s.Executable() {
			continue
		}
		n := s.RawSize
		if s.VirtualSize != 0 {
			n = min(n, s.VirtualSize)
		}
		file := img.Bytes()
		if from := uint64(s.RawOffset); from+uint64(n) <= uint64(len(file)) {
			sites = append(sites, insn.Scan(file[from:from+uint64(n)], s.RVA, functions)...)
		}
	}
	return sites
}

// patchTable has the patched instructions by address. It is read on every trap, and replaced as a
// whole when a driver comes or goes.
type patchTable struct {
	mu sync.Mutex
	at atomic.Pointer[map[uint64]*insn.Patch]
}

func (t *patchTable) find(rip uint64) *insn.Patch {
	if all := t.at.Load(); all != nil {
		return (*all)[rip]
	}
	return nil
}

// change replaces the table with what f makes of it.
func (t *patchTable) change(f func(all map[uint64]*insn.Patch)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[uint64]*insn.Patch)
	if old := t.at.Load(); old != nil {
		maps.Copy(all, *old)
	}
	f(all)
	t.at.Store(&all)
}

// patch patches a module that is mapped and still writable, and logs what stays native.
func (k *Kernel) patch(m *pe.Module) error {
	if k.opts.NoPatch && !k.log.IsInfo() {
		return nil
	}
	sites := untrapped(m.Image())
	patches := make(map[uint64]*insn.Patch, len(sites))
	for _, s := range sites {
		at := m.Addr(s.RVA)
		if k.opts.NoPatch {
			s.Why = "patching is turned off"
		}
		if s.Why == "" {
			if s.Why = k.patchSite(at, s, patches); s.Why == "" {
				continue
			}
		}
		k.log.Info("an instruction has its native effect", "instruction", s.Name,
			"at", fmt.Sprintf("%s+%#x", m.Name(), s.RVA), "because", s.Why)
	}
	if len(patches) == 0 {
		return nil
	}
	k.log.Debug("instructions that do not trap are patched", "driver", m.Name(),
		"instructions", len(patches))
	k.patches.change(func(all map[uint64]*insn.Patch) { maps.Copy(all, patches) })
	return nil
}

// patchSite patches one instruction. If it cannot, it says why.
func (k *Kernel) patchSite(at guest.Addr, s insn.Site, to map[uint64]*insn.Patch) (why string) {
	p := insn.NewPatch(s.Code)
	if p == nil {
		return "it does not decode"
	}
	now := make([]byte, len(s.Code))
	if guest.Read(now, at) != nil || !bytes.Equal(now, s.Code) {
		return "relocation or import has changed it"
	}
	if err := guest.Write(at, p.Bytes()); err != nil {
		return err.Error()
	}
	to[uint64(at)] = p
	return ""
}

// unpatch forgets the patches of a module that goes.
func (k *Kernel) unpatch(m *pe.Module) {
	if k.patches.at.Load() == nil {
		return
	}
	k.patches.change(func(all map[uint64]*insn.Patch) {
		maps.DeleteFunc(all, func(at uint64, _ *insn.Patch) bool {
			return m.Contains(guest.Addr(at))
		})
	})
}

// Patched implements insn.Machine.
func (m *machine) Patched(rip uint64) *insn.Patch { return m.patches.find(rip) }
