// Descriptor tables and cpuid, as drivers see them.

package ntoskrnl

import (
	"encoding/binary"
	"sync"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/insn"
)

// descriptorTables are the tables that sgdt and sidt lead to. They are made when a driver asks.
type descriptorTables struct {
	once sync.Once
	at   guest.Addr // the interrupt descriptors, then the global ones; 0 without memory
}

// Sizes of the tables of 64-bit Windows, and the selector of its task state segment.
const (
	interruptTableSize = 0x1000
	globalTableSize    = 0x58
	taskSelector       = 0x40
)

// globalDescriptors are the segments of 64-bit Windows: code and data of the kernel, then 32-bit
// code, data and 64-bit code of user mode, by selector.
var globalDescriptors = map[uint16]uint64{
	0x10: 0x00209B0000000000,
	0x18: 0x00CF93000000FFFF,
	0x20: 0x00CFFB000000FFFF,
	0x28: 0x00CFF3000000FFFF,
	0x30: 0x0020FB0000000000,
}

// make fills the tables: no interrupt has a gate, because none is taken through them.
func (t *descriptorTables) make(k *Kernel) {
	at, err := k.allocObject(interruptTableSize + globalTableSize)
	if err != nil {
		return
	}
	var b [interruptTableSize + globalTableSize]byte
	for selector, d := range globalDescriptors {
		binary.LittleEndian.PutUint64(b[interruptTableSize+int(selector):], d)
	}
	if guest.Write(at, b[:]) == nil {
		t.at = at
	}
}

// Table implements insn.Machine.
func (m *machine) Table(t insn.Table) (base uint64, limit uint16) {
	m.tables.once.Do(func() { m.tables.make(m.Kernel) })
	if t == insn.IDT {
		return uint64(m.tables.at), interruptTableSize - 1
	}
	return uint64(m.tables.at) + interruptTableSize, globalTableSize - 1
}

// Selector implements insn.Machine: there is no local descriptor table.
func (m *machine) Selector(t insn.Table) uint16 {
	if t == insn.TR {
		return taskSelector
	}
	return 0
}

// The leaves of cpuid that differ here from the machine's (Intel SDM volume 2, CPUID).
const (
	leafFeatures   = 1
	leafTopology   = 0xB
	leafTopologyV2 = 0x1F
	leafHypervisor = 0x40000000
	leafExtended   = 0x80000001
	leafAMDTopo    = 0x8000001E

	hypervisorLeaves = 0x10000

	featureVMX        = 1 << 5
	featureHypervisor = 1 << 31
	featureSVM        = 1 << 2
)

// CPUID implements insn.Machine. It gives the features of the machine's processor, because the
// driver's code runs on it, with the virtual processor's number as the APIC ID, and without
// virtualisation: VMX and SVM cannot be turned on here, and no hypervisor answers vmcall. So the
// leaves of a hypervisor are reserved ones, which are zero.
func (m *machine) CPUID(leaf, sub uint32) [4]uint32 {
	if leaf-leafHypervisor < hypervisorLeaves {
		return [4]uint32{}
	}
	v := insn.CPUID(leaf, sub)
	number := uint32(m.T.Processor().Number())
	switch leaf {
	case leafFeatures:
		v[1] = v[1]&0xFFFFFF | number<<24
		v[2] &^= featureVMX | featureHypervisor
	case leafTopology, leafTopologyV2:
		if v[0]|v[1]|v[2] != 0 {
			v[3] = number
		}
	case leafExtended:
		v[2] &^= featureSVM
	case leafAMDTopo:
		if v != [4]uint32{} {
			v[0] = number
		}
	}
	return v
}
