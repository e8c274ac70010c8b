package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Power management. The system works all the time: it never sleeps, and needs no reason to stay awake.
var poExports = []Export{
	{Name: "PoCallDriver", Fn: fn2(poCallDriver), Params: "DeviceObject Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PoStartNextPowerIrp", Fn: do1(poStartNextPowerIrp), Params: "Irp", MaxIRQL: dispatch,
		Support: Full},
	{Name: "PoRequestPowerIrp", Fn: fn6(poRequestPowerIrp),
		Params:  "DeviceObject MinorFunction:d PowerState:d CompletionFunction Context Irp",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PoSetPowerState", Fn: fn3(poSetPowerState), Params: "DeviceObject Type:d State:d",
		MaxIRQL: dispatch, Support: Full},
	{Name: "PoSetSystemState", Fn: do1(poSetSystemState), Params: "Flags", MaxIRQL: dispatch,
		Support: Full},
	{Name: "ZwPowerInformation", Fn: fn5(zwPowerInformation),
		Params: "InformationLevel:d InputBuffer InputBufferLength:d OutputBuffer " +
			"OutputBufferLength:d",
		MaxIRQL: passive, Support: Partial,
		Note: "SystemBatteryState, ProcessorInformation, LastWakeTime, LastSleepTime, " +
			"SystemExecutionState"},
}

// poCallDriver sends a power IRP on. Since Windows Vista it is IofCallDriver.
//
//	NTSTATUS PoCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp)
//
// "PoCallDriver function (ntifs.h)".
func poCallDriver(c *Call, device, irp guest.Addr) nt.Status { return c.IO.Call(c.T, device, irp) }

// poStartNextPowerIrp says that the next power IRP may come. Since Windows Vista it does nothing.
//
//	VOID PoStartNextPowerIrp(PIRP Irp)
//
// "PoStartNextPowerIrp function (ntifs.h)".
func poStartNextPowerIrp(*Call, guest.Addr) {}

// The members of POWER_STATE_TYPE.
const (
	systemPowerState = 0
	devicePowerState = 1
)

// poRequestPowerIrp makes a power IRP and sends it to the top of a device's stack. When every driver
// has completed it, the completion function is called, if there is one.
//
//	NTSTATUS PoRequestPowerIrp(PDEVICE_OBJECT DeviceObject, UCHAR MinorFunction,
//	    POWER_STATE PowerState, PREQUEST_POWER_COMPLETE CompletionFunction, PVOID Context, PIRP *Irp)
//
// STATUS_PENDING once it is sent; STATUS_INVALID_PARAMETER_2 for another function than SET_POWER,
// QUERY_POWER and WAIT_WAKE; STATUS_INSUFFICIENT_RESOURCES. "PoRequestPowerIrp function (wdm.h)".
func poRequestPowerIrp(c *Call, device guest.Addr, minor uint8, state uint32, completion, context,
	result guest.Addr) nt.Status {
	d := c.deviceObject(device)
	switch minor {
	case nt.IRP_MN_SET_POWER, nt.IRP_MN_QUERY_POWER, nt.IRP_MN_WAIT_WAKE:
	default:
		return nt.STATUS_INVALID_PARAMETER_2
	}
	top := c.Dev.Top(d)
	a := c.IO.Build(c.T, top, func(i *nt.IRP, loc *nt.IOStackLocation) {
		i.IoStatus.Status = nt.STATUS_NOT_SUPPORTED
		loc.MajorFunction, loc.MinorFunction = nt.IRP_MJ_POWER, minor
		// Parameters.WaitWake.PowerState, or Parameters.Power's Type and State.
		if p := &loc.Parameters.Others; minor == nt.IRP_MN_WAIT_WAKE {
			p.Argument1 = guest.Addr(state)
		} else {
			p.Argument2, p.Argument3 = devicePowerState, guest.Addr(state)
		}
	}, func(t *ke.Thread, e irp.Ended) {
		if completion == 0 {
			return
		}
		c := c.Kernel.call(t)
		block, err := c.allocObject(uintptr(sizeOf[nt.IOStatusBlock]()))
		c.Must(err)
		Store(c, block, e.Result)
		t.Call(completion, uint64(device), uint64(minor), uint64(state), uint64(context),
			uint64(block))
		c.freeObject(block)
	})
	if a == 0 {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	StoreOpt(c, result, a)
	c.IO.Call(c.T, top.Object.Addr(), a)
	return nt.STATUS_PENDING
}

// poSetPowerState notes the power state that a device has come to, and gives the one before:
// PowerDeviceUnspecified until a first one is set. A system power state is not a device's to set.
//
//	POWER_STATE PoSetPowerState(PDEVICE_OBJECT DeviceObject, POWER_STATE_TYPE Type,
//	    POWER_STATE State)
//
// "PoSetPowerState function (wdm.h)".
func poSetPowerState(c *Call, device guest.Addr, kind uint32, state int32) int32 {
	c.deviceObject(device)
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.power[device]
	if kind == devicePowerState {
		c.power[device] = state
	}
	return old
}

// poSetSystemState says that the system is in use. It stays awake anyway.
//
//	VOID PoSetSystemState(EXECUTION_STATE Flags)
//
// "PoSetSystemState function (wdm.h)".
func poSetSystemState(*Call, uint32) {}

// Levels of ZwPowerInformation (POWER_INFORMATION_LEVEL).
const (
	levelSystemBatteryState   = 5
	levelProcessorInformation = 11
	levelLastWakeTime         = 14
	levelLastSleepTime        = 15
	levelSystemExecutionState = 16
)

// systemBatteryState is SYSTEM_BATTERY_STATE.
type systemBatteryState struct {
	AcOnLine, BatteryPresent, Charging, Discharging nt.Boolean
	Spare1                                          [3]nt.Boolean
	Tag                                             uint8
	MaxCapacity, RemainingCapacity, Rate            uint32
	EstimatedTime, DefaultAlert1, DefaultAlert2     uint32
}

// processorPower is PROCESSOR_POWER_INFORMATION.
type processorPower struct {
	Number, MaxMhz, CurrentMhz, MhzLimit, MaxIdleState, CurrentIdleState uint32
}

// zwPowerInformation tells about the system's power.
//
//	NTSTATUS ZwPowerInformation(POWER_INFORMATION_LEVEL InformationLevel, PVOID InputBuffer,
//	    ULONG InputBufferLength, PVOID OutputBuffer, ULONG OutputBufferLength)
//
// STATUS_BUFFER_TOO_SMALL; STATUS_INVALID_PARAMETER for a level that is not here, and for input where
// there is none. "ZwPowerInformation function (ntifs.h)".
func zwPowerInformation(c *Call, level uint32, in guest.Addr, inLen uint32, out guest.Addr,
	outLen uint32) nt.Status {
	if in != 0 {
		return nt.STATUS_INVALID_PARAMETER
	}
	switch level {
	case levelSystemBatteryState:
		const unknown = ^uint32(0)
		return power(c, out, outLen, systemBatteryState{AcOnLine: 1, EstimatedTime: unknown})
	case levelProcessorInformation:
		n, size := c.Ke.Processors(), sizeOf[processorPower]()
		if uintptr(outLen) < uintptr(n)*size {
			return nt.STATUS_BUFFER_TOO_SMALL
		}
		for i := range n {
			Store(c, out+guest.Addr(uintptr(i)*size), processorPower{
				Number: uint32(i), MaxMhz: processorMHz, CurrentMhz: processorMHz,
				MhzLimit: processorMHz})
		}
		return nt.STATUS_SUCCESS
	case levelLastWakeTime, levelLastSleepTime:
		return power(c, out, outLen, uint64(0))
	case levelSystemExecutionState:
		return power(c, out, outLen, uint32(0))
	}
	return nt.STATUS_INVALID_PARAMETER
}

// power writes what a level tells.
func power[T any](c *Call, out guest.Addr, length uint32, v T) nt.Status {
	if length < uint32(sizeOf[T]()) {
		return nt.STATUS_BUFFER_TOO_SMALL
	}
	Store(c, out, v)
	return nt.STATUS_SUCCESS
}
