package ntoskrnl

import "github.com/drvhost/drvhost/ntoskrnl/rtl"

// The C runtime's memory functions.
var crtMemoryExports = []Export{
	// void *memcpy(void *dest, const void *src, size_t count). "memcpy, wmemcpy". As on Windows it
	// is memmove.
	{Name: "memcpy", Code: codeMemmove, Params: "dest src count:d", MaxIRQL: anyIRQL,
		Support: Full},
	// void *memmove(void *dest, const void *src, size_t count). "memmove, wmemmove".
	{Name: "memmove", Code: codeMemmove, Params: "dest src count:d", MaxIRQL: anyIRQL,
		Support: Full},
	// void *memset(void *dest, int c, size_t count). "memset, wmemset".
	{Name: "memset", Code: codeMemset, Params: "dest c count:d", MaxIRQL: anyIRQL, Support: Full},
	// int memcmp(const void *buffer1, const void *buffer2, size_t count): -1, 0 or 1.
	// "memcmp, wmemcmp".
	{Name: "memcmp", Code: codeMemcmp, Params: "buffer1 buffer2 count:d", MaxIRQL: anyIRQL,
		Support: Full},
	// void *memchr(const void *buffer, int c, size_t count): NULL if there is none.
	// "memchr, wmemchr".
	{Name: "memchr", Fn: try3(rtl.Memchr), Params: "buffer c count:d", MaxIRQL: anyIRQL,
		Support: Full},
	// errno_t memcpy_s(void *dest, size_t destSize, const void *src, size_t count): 0; EINVAL for
	// a null pointer; ERANGE if the buffer is too small. It is zeroed then. "memcpy_s, wmemcpy_s".
	{Name: "memcpy_s", Fn: try4(rtl.MemcpyS), Params: "dest destSize:d src count:d",
		MaxIRQL: anyIRQL, Support: Full},
	// errno_t memmove_s(void *dest, size_t numberOfElements, const void *src, size_t count).
	// "memmove_s, wmemmove_s".
	{Name: "memmove_s", Fn: try4(rtl.MemcpyS), Params: "dest numberOfElements:d src count:d",
		MaxIRQL: anyIRQL, Support: Full},
}
