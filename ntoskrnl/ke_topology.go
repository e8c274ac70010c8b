package ntoskrnl

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// How the processors belong together.
var keTopologyExports = []Export{
	{Name: "KeQueryLogicalProcessorRelationship", Fn: fn4(keQueryLogicalProcessorRelationship),
		Params: "ProcessorNumber RelationshipType:d Information Length", MaxIRQL: passive,
		Support: Partial, Note: "each processor is a core of its own, all are in one package and " +
			"node, and caches are not described"},
}

// The values of LOGICAL_PROCESSOR_RELATIONSHIP.
const (
	relationProcessorCore    = 0
	relationNumaNode         = 1
	relationCache            = 2
	relationProcessorPackage = 3
	relationGroup            = 4
	relationAll              = 0xFFFF
)

// Sizes of SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX with what each relationship has in it, in bytes.
const (
	relationHeader     = 8
	relationMasks      = relationHeader + 24 // where a core, package or node has its GROUP_AFFINITY
	relationSize       = relationMasks + 16
	relationGroupInfo  = relationHeader + 24 // where the PROCESSOR_GROUP_INFO is
	relationGroupMask  = relationGroupInfo + 40
	relationGroupSize  = relationGroupMask + 8
	relationGroupCount = relationHeader + 22 // of a core, package or node
)

// keQueryLogicalProcessorRelationship describes cores, packages, nodes and groups: those of one
// processor, or all.
//
//	NTSTATUS KeQueryLogicalProcessorRelationship(PPROCESSOR_NUMBER ProcessorNumber,
//	    LOGICAL_PROCESSOR_RELATIONSHIP RelationshipType,
//	    PSYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX Information, PULONG Length)
//
// STATUS_INFO_LENGTH_MISMATCH with the length that is needed; STATUS_INVALID_PARAMETER for a processor
// or a relationship that there is not. "KeQueryLogicalProcessorRelationship function (wdm.h)".
func keQueryLogicalProcessorRelationship(c *Call, number guest.Addr, typ uint32, information,
	length guest.Addr) nt.Status {
	if typ > relationGroup && typ != relationAll {
		return nt.STATUS_INVALID_PARAMETER
	}
	all := c.Ke.ActiveProcessors()
	cores := all
	if number != 0 {
		n := Load[nt.ProcessorNumber](c, number)
		if n.Group != 0 || n.Reserved != 0 || int(n.Number) >= c.Ke.Processors() {
			return nt.STATUS_INVALID_PARAMETER
		}
		cores = 1 << n.Number
	}
	le := binary.LittleEndian
	var b []byte
	entry := func(relation uint32, size int) []byte {
		b = append(b, make([]byte, size)...)
		e := b[len(b)-size:]
		le.PutUint32(e, relation)
		le.PutUint32(e[4:], uint32(size))
		return e
	}
	masked := func(relation uint32, mask uint64) {
		if typ != relation && typ != relationAll {
			return
		}
		e := entry(relation, relationSize)
		le.PutUint16(e[relationGroupCount:], 1)
		le.PutUint64(e[relationMasks:], mask)
	}
	for i := range c.Ke.Processors() {
		if bit := uint64(1) << i; cores&bit != 0 {
			masked(relationProcessorCore, bit)
		}
	}
	masked(relationProcessorPackage, all)
	masked(relationNumaNode, all)
	if typ == relationGroup || typ == relationAll {
		e := entry(relationGroup, relationGroupSize)
		le.PutUint16(e[relationHeader:], 1)
		le.PutUint16(e[relationHeader+2:], 1)
		e[relationGroupInfo], e[relationGroupInfo+1] = uint8(c.Ke.Processors()),
			uint8(c.Ke.Processors())
		le.PutUint64(e[relationGroupMask:], all)
	}
	room := Load[uint32](c, length)
	Store(c, length, uint32(len(b)))
	if int(room) < len(b) {
		return nt.STATUS_INFO_LENGTH_MISMATCH
	}
	c.Must(guest.Write(information, b))
	return nt.STATUS_SUCCESS
}
