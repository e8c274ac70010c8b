package ntoskrnl

import (
	"fmt"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/mm"
)

// Error log entries: what drivers write to the system event log goes to the host's log.
var ioErrorLogExports = []Export{
	{Name: "IoAllocateErrorLogEntry", Fn: fn2(ioAllocateErrorLogEntry), Params: "IoObject EntrySize:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "IoWriteErrorLogEntry", Fn: do1(ioWriteErrorLogEntry), Params: "ElEntry", MaxIRQL: dispatch,
		Support: Partial, Note: "the entry's numbers and strings go to the host's log; message texts are not looked up"},
	{Name: "IoFreeErrorLogEntry", Fn: do1(ioFreeErrorLogEntry), Params: "ElEntry", MaxIRQL: dispatch,
		Support: Full},
}

// errorLogMaximumSize is the most that an entry may have, in bytes (ERROR_LOG_MAXIMUM_SIZE).
const errorLogMaximumSize = 0xF0

var errorLogTag = mm.MakeTag("IoEr")

// ioAllocateErrorLogEntry gives memory for an IO_ERROR_LOG_PACKET.
//
//	PVOID IoAllocateErrorLogEntry(PVOID IoObject, UCHAR EntrySize)
//
// NULL if the size is too large or there is no memory. "IoAllocateErrorLogEntry function (wdm.h)".
func ioAllocateErrorLogEntry(c *Call, object guest.Addr, size uint8) guest.Addr {
	if size < sizeofErrorLogPacket || int(size) > errorLogMaximumSize {
		return 0
	}
	if c.Dev.Device(object) == nil && c.Dev.Driver(object) == nil {
		return 0
	}
	a, err := c.Mm.AllocatePool2(nt.POOL_FLAG_NON_PAGED, uintptr(size), errorLogTag)
	if err != nil {
		return 0
	}
	return a
}

// ioWriteErrorLogEntry writes an entry and frees it.
//
//	VOID IoWriteErrorLogEntry(PVOID ElEntry)
//
// "IoWriteErrorLogEntry function (wdm.h)".
func ioWriteErrorLogEntry(c *Call, entry guest.Addr) {
	p := Load[errorLogPacket](c, entry)
	c.log.Warn("error log entry", "driver", c.Where(c.Caller()),
		"error", nt.Status(p.ErrorCode).Error(), "final", nt.Status(p.FinalStatus).String(),
		"unique", fmt.Sprintf("%#x", p.UniqueErrorValue), "ioctl", fmt.Sprintf("%#x", p.IoControlCode))
	ioFreeErrorLogEntry(c, entry)
}

// ioFreeErrorLogEntry frees an entry that is not written.
//
//	VOID IoFreeErrorLogEntry(PVOID ElEntry)
//
// "IoFreeErrorLogEntry function (wdm.h)".
func ioFreeErrorLogEntry(c *Call, entry guest.Addr) {
	c.Must(c.Mm.FreePoolWithTag(entry, errorLogTag))
}

// errorLogPacket is the beginning of IO_ERROR_LOG_PACKET ("IO_ERROR_LOG_PACKET structure (wdm.h)").
type errorLogPacket struct {
	MajorFunctionCode uint8
	RetryCount        uint8
	DumpDataSize      uint16
	NumberOfStrings   uint16
	StringOffset      uint16
	EventCategory     uint16
	_                 uint16
	ErrorCode         uint32
	UniqueErrorValue  uint32
	FinalStatus       uint32
	SequenceNumber    uint32
	IoControlCode     uint32
	_                 uint32
	DeviceOffset      uint64
	DumpData          uint32
	_                 uint32
}

// sizeofErrorLogPacket is its size in bytes, with one word of dump data.
const sizeofErrorLogPacket = 0x30
