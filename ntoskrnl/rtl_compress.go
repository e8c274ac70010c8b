package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Compression: LZNT1.
var rtlCompressExports = []Export{
	{Name: "RtlCompressBuffer", Fn: fn8(rtlCompressBuffer),
		Params: "CompressionFormatAndEngine UncompressedBuffer UncompressedBufferSize:d " +
			"CompressedBuffer CompressedBufferSize:d UncompressedChunkSize:d FinalCompressedSize " +
			"WorkSpace", MaxIRQL: pageable, Support: Partial, Note: noXpress},
	{Name: "RtlDecompressBuffer", Fn: fn6(rtlDecompressBuffer),
		Params: "CompressionFormat UncompressedBuffer UncompressedBufferSize:d " +
			"CompressedBuffer CompressedBufferSize:d FinalUncompressedSize", MaxIRQL: pageable,
		Support: Partial, Note: noXpress},
	{Name: "RtlDecompressFragment", Fn: fn8(rtlDecompressFragment),
		Params: "CompressionFormat UncompressedFragment UncompressedFragmentSize:d " +
			"CompressedBuffer CompressedBufferSize:d FragmentOffset:d FinalUncompressedSize " +
			"WorkSpace", MaxIRQL: pageable, Support: Partial, Note: noXpress},
	{Name: "RtlGetCompressionWorkSpaceSize", Fn: fn3(rtlGetCompressionWorkSpaceSize),
		Params: "CompressionFormatAndEngine CompressBufferWorkSpaceSize " +
			"CompressFragmentWorkSpaceSize", MaxIRQL: pageable, Support: Partial, Note: noXpress},
}

const noXpress = "LZNT1 is the only format; XPRESS and XPRESS_HUFF are STATUS_UNSUPPORTED_COMPRESSION"

// rtlCompressBuffer compresses a buffer. The chunk size and the work space are not used.
//
//	NTSTATUS RtlCompressBuffer(USHORT CompressionFormatAndEngine, PUCHAR UncompressedBuffer,
//	    ULONG UncompressedBufferSize, PUCHAR CompressedBuffer, ULONG CompressedBufferSize,
//	    ULONG UncompressedChunkSize, PULONG FinalCompressedSize, PVOID WorkSpace)
//
// STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, STATUS_UNSUPPORTED_COMPRESSION,
// STATUS_NOT_SUPPORTED. "RtlCompressBuffer function (ntifs.h)".
func rtlCompressBuffer(c *Call, format uint16, src guest.Addr, n uint32, dst guest.Addr,
	room, chunk uint32, final, workspace guest.Addr) nt.Status {
	size, err := rtl.CompressBuffer(format, src, n, dst, room)
	return c.sizeOr(size, err, final)
}

// rtlDecompressBuffer decompresses a buffer.
//
//	NTSTATUS RtlDecompressBuffer(USHORT CompressionFormat, PUCHAR UncompressedBuffer,
//	    ULONG UncompressedBufferSize, PUCHAR CompressedBuffer, ULONG CompressedBufferSize,
//	    PULONG FinalUncompressedSize)
//
// STATUS_BAD_COMPRESSION_BUFFER, STATUS_INVALID_PARAMETER, STATUS_UNSUPPORTED_COMPRESSION.
// "RtlDecompressBuffer function (ntifs.h)".
func rtlDecompressBuffer(c *Call, format uint16, dst guest.Addr, room uint32, src guest.Addr,
	n uint32, final guest.Addr) nt.Status {
	size, err := rtl.DecompressBuffer(format, dst, room, src, n)
	return c.sizeOr(size, err, final)
}

// rtlDecompressFragment decompresses a part of a buffer.
//
//	NTSTATUS RtlDecompressFragment(USHORT CompressionFormat, PUCHAR UncompressedFragment,
//	    ULONG UncompressedFragmentSize, PUCHAR CompressedBuffer, ULONG CompressedBufferSize,
//	    ULONG FragmentOffset, PULONG FinalUncompressedSize, PVOID WorkSpace)
//
// "RtlDecompressFragment function (ntifs.h)".
func rtlDecompressFragment(c *Call, format uint16, dst guest.Addr, room uint32, src guest.Addr,
	n, offset uint32, final, workspace guest.Addr) nt.Status {
	size, err := rtl.DecompressFragment(format, dst, room, src, n, offset)
	return c.sizeOr(size, err, final)
}

// sizeOr stores the size of a result, if there is one.
func (c *Call) sizeOr(size uint32, err error, at guest.Addr) nt.Status {
	if err == nil {
		Store(c, at, size)
	}
	return c.status(err)
}

// rtlGetCompressionWorkSpaceSize says what work space the others take.
//
//	NTSTATUS RtlGetCompressionWorkSpaceSize(USHORT CompressionFormatAndEngine,
//	    PULONG CompressBufferWorkSpaceSize, PULONG CompressFragmentWorkSpaceSize)
//
// "RtlGetCompressionWorkSpaceSize function (ntifs.h)".
func rtlGetCompressionWorkSpaceSize(c *Call, format uint16, buffer, fragment guest.Addr) nt.Status {
	b, f, err := rtl.CompressionWorkSpaceSize(format)
	if err == nil {
		Store(c, buffer, b)
		Store(c, fragment, f)
	}
	return c.status(err)
}
