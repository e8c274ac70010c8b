package ntoskrnl

// Exceptions and unwinding.
var rtlExceptionExports = []Export{
	{Name: "__C_specific_handler",
		Params:  "ExceptionRecord EstablisherFrame ContextRecord DispatcherContext",
		MaxIRQL: anyIRQL},
	{Name: "_local_unwind", Params: "frame target_ip", MaxIRQL: anyIRQL},
	{Name: "_setjmp", Params: "env", MaxIRQL: anyIRQL},
	{Name: "_setjmpex", Params: "env", MaxIRQL: anyIRQL},
	{Name: "longjmp", Params: "env value:d", MaxIRQL: anyIRQL},
	{Name: "RtlCaptureContext", Params: "ContextRecord", MaxIRQL: anyIRQL},
	{Name: "RtlCaptureStackBackTrace",
		Params: "FramesToSkip:d FramesToCapture:d BackTrace BackTraceHash", MaxIRQL: anyIRQL},
	{Name: "RtlLookupFunctionEntry", Params: "ControlPc ImageBase HistoryTable", MaxIRQL: anyIRQL},
	{Name: "RtlPcToFileHeader", Params: "PcValue BaseOfImage", MaxIRQL: anyIRQL},
	{Name: "RtlRaiseException", Params: "ExceptionRecord", MaxIRQL: anyIRQL},
	{Name: "RtlRaiseStatus", Params: "Status:status", MaxIRQL: anyIRQL},
	{Name: "RtlRestoreContext", Params: "ContextRecord ExceptionRecord", MaxIRQL: anyIRQL},
	{Name: "RtlUnwind", Params: "TargetFrame TargetIp ExceptionRecord ReturnValue",
		MaxIRQL: anyIRQL},
	{Name: "RtlUnwindEx",
		Params:  "TargetFrame TargetIp ExceptionRecord ReturnValue ContextRecord HistoryTable",
		MaxIRQL: anyIRQL},
	{Name: "RtlVirtualUnwind",
		Params: "HandlerType ImageBase ControlPc FunctionEntry ContextRecord HandlerData " +
			"EstablisherFrame ContextPointers", MaxIRQL: anyIRQL},
	{Name: "RtlWalkFrameChain", Params: "Callers Count:d Flags", MaxIRQL: anyIRQL},
}
