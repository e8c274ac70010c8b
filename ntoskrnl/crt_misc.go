package ntoskrnl

// What the compiler calls.
var crtMiscExports = []Export{
	// Its only argument is in RAX: the bytes of the stack frame to come, whose pages it touches.
	{Name: "__chkstk", Code: codeChkstk, MaxIRQL: anyIRQL, Support: Full},
}
