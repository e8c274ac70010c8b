package ntoskrnl

// Blocks of memory.
var rtlMemoryExports = []Export{
	{Name: "RtlCopyMemory", Code: codeMemmove, Params: "Destination Source Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlMoveMemory", Code: codeMemmove, Params: "Destination Source Length:d",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlZeroMemory", Code: codeZeroMemory, Params: "Destination Length:d", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "RtlFillMemory", Code: codeFillMemory, Params: "Destination Length:d Fill",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlCompareMemory", Code: codeCompareMemory, Params: "Source1 Source2 Length:d",
		MaxIRQL: anyIRQL, Support: Full},
}
