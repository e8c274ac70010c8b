package ntoskrnl

import (
	"slices"
	"strings"
	"sync"

	"github.com/drvhost/drvhost/nt"
)

// Export is a row of the export table: everything that is to be said about one exported function or
// variable. The call adapter, the trace line, the IRQL check and the compatibility page come from it.
type Export struct {
	// Name is the exported name, spelt as Windows' export directory has it.
	Name string
	// Hal puts the export into hal.dll too, as a forwarder to ntoskrnl, as Windows 10 does.
	Hal bool
	// Fn does the call. A row with none of Fn, Code and Data is a stub: calling it is reported and
	// raised in the driver.
	Fn Func
	// Params names the parameters for the trace, separated by spaces, each with an optional kind
	// after a colon: "DriverObject Size DeviceName:ustr". Kinds: ustr (PUNICODE_STRING), astr
	// (PANSI_STRING), str and wstr (zero-terminated), status, tag (of the pool), b (BOOLEAN),
	// d (decimal); without one the value is shown in hexadecimal.
	Params string
	// MaxIRQL is the highest level at which the documentation allows the call.
	MaxIRQL nt.IRQL
	// Support says how much of the documented behaviour there is, and Note what is missing.
	Support Support
	Note    string
	// Code is the function itself where it stays in guest code; Fn is nil then.
	Code *Code
	// Internal keeps the function out of the export directory: the kernel itself points at it. Of is
	// the export that goes on here, and the name under which drivers' calls are told.
	Internal bool
	Of       string
	// Data makes the row a variable of that many bytes; Init fills it when a kernel starts.
	Data uint32
	Init func(k *Kernel) []byte
}

// Called gives the name of the export that a driver has called to come here.
func (e *Export) Called() string {
	if e.Of != "" {
		return e.Of
	}
	return e.Name
}

// Support is how much of an export's documented behaviour there is.
type Support uint8

// The levels of support.
const (
	// Stub: calling it is reported, and raised in the driver.
	Stub Support = iota
	// Partial: it does what its note does not exclude.
	Partial
	// Full: it does what the documentation says, errors and IRQL included, and a test shows it.
	Full
)

var supportNames = [...]string{"stub", "partial", "full"}

// String gives "stub", "partial" or "full".
func (s Support) String() string { return supportNames[s] }

// IRQL levels by the names that rows use.
const (
	passive  = nt.PASSIVE_LEVEL
	apc      = nt.APC_LEVEL
	dispatch = nt.DISPATCH_LEVEL
	anyIRQL  = nt.HIGH_LEVEL
)

// components are the rows, by the file that has them. A new component is entered here.
var components = [][]Export{
	cmCallbackExports,
	crtCtypeExports,
	crtMemoryExports,
	crtMiscExports,
	crtNumberExports,
	crtPrintfExports,
	crtSecureExports,
	crtSetjmpExports,
	crtSortExports,
	crtStringExports,
	crtWideExports,
	dbgExports,
	exCallbackExports,
	exFastMutexExports,
	exInterlockedExports,
	exLookasideExports,
	exPoolExports,
	exPushLockExports,
	exRaiseExports,
	exResourceExports,
	exRundownExports,
	exRundownCacheExports,
	exTimerExports,
	exUUIDExports,
	exWorkExports,
	halBusExports,
	ioAllocateExports,
	ioAttachExports,
	ioBuildExports,
	ioCSQExports,
	ioCompletionExports,
	ioDeviceExports,
	ioDriverExports,
	ioDriverKeyExports,
	ioErrorLogExports,
	ioFileShareExports,
	ioPnPExports,
	ioSecurityExports,
	ioShutdownExports,
	ioInterruptExports,
	ioInterruptExExports,
	ioIRPExports,
	ioLinkExports,
	ioLoadExports,
	ioMDLExports,
	ioRemoveLockExports,
	ioRequestorExports,
	ioStackExports,
	ioStartIOExports,
	ioTimerExports,
	ioVersionExports,
	ioWMIExports,
	ioWorkItemExports,
	keAPCExports,
	keBugCheckCallbackExports,
	keBugCheckExports,
	keCacheExports,
	keDeviceQueueExports,
	keDPCExports,
	keEventExports,
	keGenericDPCExports,
	keIRQLExports,
	keMutexExports,
	keProcessorExports,
	keQueueExports,
	keSpinLockExports,
	keStackExports,
	keTimeExports,
	keTimerExports,
	keTopologyExports,
	keWaitExports,
	mmMDLExports,
	mmPhysicalExports,
	mmProbeExports,
	mmSectionExports,
	mmSystemExports,
	obCallbackExports,
	obHandleExports,
	obNameExports,
	obReferenceExports,
	obSecurityExports,
	obTypeExports,
	poExports,
	psModuleExports,
	psNotifyExports,
	psProcessExports,
	psThreadExports,
	rtlBitmapExports,
	rtlCompressExports,
	rtlConvertExports,
	rtlExceptionExports,
	rtlImageExports,
	rtlIntegerExports,
	rtlIPAddrExports,
	rtlMemoryExports,
	rtlpHandlerExports,
	rtlRandomExports,
	rtlRegistryExports,
	rtlSecurityExports,
	rtlStringExports,
	rtlTableExports,
	rtlTimeExports,
	rtlVersionExports,
	zwDirectoryExports,
	zwEventExports,
	zwFileExports,
	zwHandleExports,
	zwHiveExports,
	zwKeyExports,
	zwKeyValueExports,
	zwSectionExports,
	zwProcessExports,
}

// Exports gives the whole table, sorted by name as an export directory is.
var Exports = sync.OnceValue(func() []Export {
	var order []*Export // since a row is large to be moved
	for _, rows := range components {
		for i := range rows {
			order = append(order, &rows[i])
		}
	}
	slices.SortFunc(order, func(a, b *Export) int { return strings.Compare(a.Name, b.Name) })
	all := make([]Export, len(order))
	for i, row := range order {
		all[i] = *row
	}
	return all
})

// FindExport gives the row of the given name.
func FindExport(name string) (*Export, bool) {
	i, ok := findExport(name)
	if !ok {
		return nil, false
	}
	return &Exports()[i], true
}

func findExport(name string) (int, bool) {
	return slices.BinarySearchFunc(Exports(), name, func(e Export, name string) int {
		return strings.Compare(e.Name, name)
	})
}

// Implemented reports whether a call of the export does something.
func (e *Export) Implemented() bool { return e.Fn != nil || e.Data != 0 || e.Code != nil }
