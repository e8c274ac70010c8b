// Package layouts lists the layouts of package nt with their C names, and takes them apart, so that
// the generator of the golden file and the test that reads it agree on what there is to hold.
package layouts

import (
	"reflect"

	"github.com/drvhost/drvhost/nt"
)

// Layout is one C structure and its Go type.
type Layout struct {
	// C is the type's name in C. For a member of a union, the name of the structure is followed by
	// the path of the member: IO_STACK_LOCATION.Parameters.Read.
	C string
	// Type is the Go type.
	Type reflect.Type
	// Partial says that the Go type is only the beginning of the structure, so that its size is not
	// the structure's.
	Partial bool
}

// All are the layouts of package nt.
var All = []Layout{
	of[nt.UnicodeString]("UNICODE_STRING"),
	of[nt.AnsiString]("STRING"),
	of[nt.ListEntry]("LIST_ENTRY"),
	of[nt.SingleListEntry]("SINGLE_LIST_ENTRY"),
	of[nt.SListHeader]("SLIST_HEADER"),
	of[nt.GUID]("GUID"),
	of[nt.LUID]("LUID"),
	of[nt.ClientID]("CLIENT_ID"),
	of[nt.ObjectAttributes]("OBJECT_ATTRIBUTES"),
	of[nt.RTLBitmap]("RTL_BITMAP"),
	of[nt.TimeFields]("TIME_FIELDS"),
	of[nt.RTLOSVersionInfoExW]("RTL_OSVERSIONINFOEXW"),
	of[nt.DispatcherHeader]("DISPATCHER_HEADER"),
	of[nt.KEvent]("KEVENT"),
	of[nt.KGate]("KGATE"),
	of[nt.KSemaphore]("KSEMAPHORE"),
	of[nt.KMutant]("KMUTANT"),
	of[nt.KTimer]("KTIMER"),
	of[nt.KDPC]("KDPC"),
	of[nt.KAPC]("KAPC"),
	of[nt.KAPCState]("KAPC_STATE"),
	of[nt.KQueue]("KQUEUE"),
	of[nt.KWaitBlock]("KWAIT_BLOCK"),
	of[nt.KDeviceQueue]("KDEVICE_QUEUE"),
	of[nt.KDeviceQueueEntry]("KDEVICE_QUEUE_ENTRY"),
	of[nt.KSpinLockQueue]("KSPIN_LOCK_QUEUE"),
	of[nt.KLockQueueHandle]("KLOCK_QUEUE_HANDLE"),
	of[nt.FastMutex]("FAST_MUTEX"),
	of[nt.OwnerEntry]("OWNER_ENTRY"),
	of[nt.EResource]("ERESOURCE"),
	of[nt.WorkQueueItem]("WORK_QUEUE_ITEM"),
	of[nt.GroupAffinity]("GROUP_AFFINITY"),
	of[nt.ProcessorNumber]("PROCESSOR_NUMBER"),
	of[nt.GeneralLookaside]("GENERAL_LOOKASIDE"),
	of[nt.NPagedLookasideList]("NPAGED_LOOKASIDE_LIST"),
	of[nt.PagedLookasideList]("PAGED_LOOKASIDE_LIST"),
	of[nt.DriverObject]("DRIVER_OBJECT"),
	of[nt.DriverExtension]("DRIVER_EXTENSION"),
	of[nt.DeviceObject]("DEVICE_OBJECT"),
	of[nt.DevObjExtension]("DEVOBJ_EXTENSION"),
	of[nt.WaitContextBlock]("WAIT_CONTEXT_BLOCK"),
	of[nt.VPB]("VPB"),
	of[nt.FileObject]("FILE_OBJECT"),
	of[nt.SectionObjectPointers]("SECTION_OBJECT_POINTERS"),
	of[nt.MDL]("MDL"),
	of[nt.IOStatusBlock]("IO_STATUS_BLOCK"),
	of[nt.IOSecurityContext]("IO_SECURITY_CONTEXT"),
	of[nt.SecuritySubjectContext]("SECURITY_SUBJECT_CONTEXT"),
	of[nt.AccessState]("ACCESS_STATE"),
	of[nt.FastIODispatch]("FAST_IO_DISPATCH"),
	of[nt.IRP]("IRP"),
	of[nt.IRPTailOverlay]("IRP.Tail.Overlay"),
	of[nt.IOStackLocation]("IO_STACK_LOCATION"),
	of[nt.Parameters]("IO_STACK_LOCATION.Parameters"),
	of[nt.ParametersOthers]("IO_STACK_LOCATION.Parameters.Others"),
	of[nt.ParametersCreate]("IO_STACK_LOCATION.Parameters.Create"),
	of[nt.ParametersRead]("IO_STACK_LOCATION.Parameters.Read"),
	of[nt.ParametersWrite]("IO_STACK_LOCATION.Parameters.Write"),
	of[nt.ParametersDeviceIoControl]("IO_STACK_LOCATION.Parameters.DeviceIoControl"),
	of[nt.ParametersFileSystemControl]("IO_STACK_LOCATION.Parameters.FileSystemControl"),
	of[nt.ParametersQueryFile]("IO_STACK_LOCATION.Parameters.QueryFile"),
	of[nt.ParametersSetFile]("IO_STACK_LOCATION.Parameters.SetFile"),
	of[nt.ParametersQueryVolume]("IO_STACK_LOCATION.Parameters.QueryVolume"),
	of[nt.ParametersSetVolume]("IO_STACK_LOCATION.Parameters.SetVolume"),
	of[nt.ParametersQueryDirectory]("IO_STACK_LOCATION.Parameters.QueryDirectory"),
	of[nt.ParametersNotifyDirectory]("IO_STACK_LOCATION.Parameters.NotifyDirectory"),
	of[nt.ParametersLockControl]("IO_STACK_LOCATION.Parameters.LockControl"),
	of[nt.ParametersQuerySecurity]("IO_STACK_LOCATION.Parameters.QuerySecurity"),
	of[nt.ParametersSetSecurity]("IO_STACK_LOCATION.Parameters.SetSecurity"),
	of[nt.ParametersMountVolume]("IO_STACK_LOCATION.Parameters.MountVolume"),
	of[nt.ParametersScsi]("IO_STACK_LOCATION.Parameters.Scsi"),
	of[nt.ParametersQueryDeviceRelations]("IO_STACK_LOCATION.Parameters.QueryDeviceRelations"),
	of[nt.ParametersQueryInterface]("IO_STACK_LOCATION.Parameters.QueryInterface"),
	of[nt.ParametersDeviceCapabilities]("IO_STACK_LOCATION.Parameters.DeviceCapabilities"),
	of[nt.ParametersFilterResourceRequirements](
		"IO_STACK_LOCATION.Parameters.FilterResourceRequirements"),
	of[nt.ParametersReadWriteConfig]("IO_STACK_LOCATION.Parameters.ReadWriteConfig"),
	of[nt.ParametersSetLock]("IO_STACK_LOCATION.Parameters.SetLock"),
	of[nt.ParametersQueryId]("IO_STACK_LOCATION.Parameters.QueryId"),
	of[nt.ParametersQueryDeviceText]("IO_STACK_LOCATION.Parameters.QueryDeviceText"),
	of[nt.ParametersUsageNotification]("IO_STACK_LOCATION.Parameters.UsageNotification"),
	of[nt.ParametersWaitWake]("IO_STACK_LOCATION.Parameters.WaitWake"),
	of[nt.ParametersPowerSequence]("IO_STACK_LOCATION.Parameters.PowerSequence"),
	of[nt.ParametersPower]("IO_STACK_LOCATION.Parameters.Power"),
	of[nt.ParametersStartDevice]("IO_STACK_LOCATION.Parameters.StartDevice"),
	of[nt.ParametersWMI]("IO_STACK_LOCATION.Parameters.WMI"),
	of[nt.M128A]("M128A"),
	of[nt.XSaveFormat]("XSAVE_FORMAT"),
	of[nt.Context]("CONTEXT"),
	of[nt.ExceptionRecord]("EXCEPTION_RECORD"),
	of[nt.ExceptionPointers]("EXCEPTION_POINTERS"),
	of[nt.DispatcherContext]("DISPATCHER_CONTEXT"),
	of[nt.KNonvolatileContextPointers]("KNONVOLATILE_CONTEXT_POINTERS"),
	of[nt.RuntimeFunction]("RUNTIME_FUNCTION"),
	partial[nt.KPCR]("KPCR"),
	partial[nt.KPRCB]("KPRCB"),
	of[nt.KProcessorState]("KPROCESSOR_STATE"),
	of[nt.KDescriptor]("KDESCRIPTOR"),
	of[nt.KSpecialRegisters]("KSPECIAL_REGISTERS"),
	of[nt.KThread]("KTHREAD"),
	of[nt.EThread]("ETHREAD"),
	of[nt.KProcess]("KPROCESS"),
	of[nt.EProcess]("EPROCESS"),
	of[nt.KLdrDataTableEntry]("KLDR_DATA_TABLE_ENTRY"),
	partial[nt.LdrDataTableEntry]("LDR_DATA_TABLE_ENTRY"),
	of[nt.GenericMapping]("GENERIC_MAPPING"),
	of[nt.SecurityDescriptor]("SECURITY_DESCRIPTOR"),
	of[nt.SecurityDescriptorRelative]("SECURITY_DESCRIPTOR_RELATIVE"),
	of[nt.ACL]("ACL"),
	of[nt.ACEHeader]("ACE_HEADER"),
	of[nt.AccessAllowedACE]("ACCESS_ALLOWED_ACE"),
	of[nt.SecurityQualityOfService]("SECURITY_QUALITY_OF_SERVICE"),
	partial[nt.KeyValueBasic]("KEY_VALUE_BASIC_INFORMATION"),
	partial[nt.KeyValueFull]("KEY_VALUE_FULL_INFORMATION"),
	partial[nt.KeyValuePartial]("KEY_VALUE_PARTIAL_INFORMATION"),
	partial[nt.KeyBasic]("KEY_BASIC_INFORMATION"),
	of[nt.RTLQueryRegistryTable]("RTL_QUERY_REGISTRY_TABLE"),
	of[nt.FileBasicInfo]("FILE_BASIC_INFORMATION"),
	of[nt.FileStandardInfo]("FILE_STANDARD_INFORMATION"),
	of[nt.FilePositionInfo]("FILE_POSITION_INFORMATION"),
	of[nt.FileFsDeviceInfo]("FILE_FS_DEVICE_INFORMATION"),
	of[nt.KSystemTime]("KSYSTEM_TIME"),
	of[nt.XStateFeature]("XSTATE_FEATURE"),
	of[nt.XStateConfiguration]("XSTATE_CONFIGURATION"),
	of[nt.KUserSharedData]("KUSER_SHARED_DATA"),
}

func of[T any](c string) Layout { return Layout{C: c, Type: reflect.TypeFor[T]()} }

func partial[T any](c string) Layout {
	return Layout{C: c, Type: reflect.TypeFor[T](), Partial: true}
}

// Field is one field: its path in Go, which is its path in C, and where it lies, in bytes.
type Field struct {
	Path         string
	Offset, Size uintptr
}

// Fields lists a structure's fields, those of unnamed structures inside it too, but not the padding.
func Fields(t reflect.Type) []Field {
	var list []Field
	var walk func(t reflect.Type, prefix string, base uintptr)
	walk = func(t reflect.Type, prefix string, base uintptr) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Name == "_" {
				continue
			}
			path, offset := prefix+f.Name, base+f.Offset
			if f.Type.Kind() == reflect.Struct && f.Type.Name() == "" {
				walk(f.Type, path+".", offset)
				continue
			}
			list = append(list, Field{path, offset, f.Type.Size()})
		}
	}
	walk(t, "", 0)
	return list
}
