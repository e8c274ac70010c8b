package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Buses, as drivers from before plug and play ask for them. There is no hardware: a bus has no
// devices, and no interrupt controller hands out vectors.
var halBusExports = []Export{
	{Name: "HalGetBusData", Hal: true, Fn: fn5(halGetBusData),
		Params: "BusDataType:d BusNumber:d SlotNumber Buffer Length:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "HalGetBusDataByOffset", Hal: true, Fn: fn6(halGetBusDataByOffset),
		Params: "BusDataType:d BusNumber:d SlotNumber Buffer Offset Length:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "HalSetBusData", Hal: true, Fn: fn5(halGetBusData),
		Params: "BusDataType:d BusNumber:d SlotNumber Buffer Length:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "HalSetBusDataByOffset", Hal: true, Fn: fn6(halGetBusDataByOffset),
		Params: "BusDataType:d BusNumber:d SlotNumber Buffer Offset Length:d", MaxIRQL: dispatch,
		Support: Full},
	{Name: "HalTranslateBusAddress", Hal: true, Fn: fn5(halTranslateBusAddress),
		Params:  "InterfaceType:d BusNumber:d BusAddress AddressSpace TranslatedAddress",
		MaxIRQL: pageable, Support: Full},
	{Name: "HalGetInterruptVector", Hal: true, Fn: fn6(halGetInterruptVector),
		Params: "InterfaceType:d BusNumber:d BusInterruptLevel:d BusInterruptVector:d Irql " +
			"Affinity", MaxIRQL: pageable, Support: Partial,
		Note: "no interrupt has a vector: there is no interrupt controller"},
}

// halGetBusData reads or writes a device's configuration space from its start.
//
//	ULONG HalGetBusData(BUS_DATA_TYPE BusDataType, ULONG BusNumber, ULONG SlotNumber,
//	    PVOID Buffer, ULONG Length)
//	ULONG HalSetBusData(BUS_DATA_TYPE BusDataType, ULONG BusNumber, ULONG SlotNumber,
//	    PVOID Buffer, ULONG Length)
//
// 0: there is no such bus. "HalGetBusData function (ntddk.h)", "HalSetBusData function (ntddk.h)".
func halGetBusData(c *Call, kind, bus, slot uint32, buffer guest.Addr, length uint32) uint32 {
	return 0
}

// halGetBusDataByOffset reads or writes a part of a device's configuration space.
//
//	ULONG HalGetBusDataByOffset(BUS_DATA_TYPE BusDataType, ULONG BusNumber, ULONG SlotNumber,
//	    PVOID Buffer, ULONG Offset, ULONG Length)
//	ULONG HalSetBusDataByOffset(BUS_DATA_TYPE BusDataType, ULONG BusNumber, ULONG SlotNumber,
//	    PVOID Buffer, ULONG Offset, ULONG Length)
//
// 0: there is no such bus. "HalGetBusDataByOffset function (ntddk.h)",
// "HalSetBusDataByOffset function (ntddk.h)".
func halGetBusDataByOffset(c *Call, kind, bus, slot uint32, buffer guest.Addr,
	offset, length uint32) uint32 {
	return 0
}

// halTranslateBusAddress makes a physical address of one on a bus. On a PC the two are the same, and
// ports stay ports.
//
//	BOOLEAN HalTranslateBusAddress(INTERFACE_TYPE InterfaceType, ULONG BusNumber,
//	    PHYSICAL_ADDRESS BusAddress, PULONG AddressSpace, PPHYSICAL_ADDRESS TranslatedAddress)
//
// FALSE for an interface that is none. "HalTranslateBusAddress function (ntddk.h)".
func halTranslateBusAddress(c *Call, kind int32, bus uint32, address uint64,
	space, translated guest.Addr) nt.Boolean {
	const maximumInterfaceType = 18
	if kind < 0 || kind >= maximumInterfaceType {
		return nt.FALSE
	}
	Load[uint32](c, space)
	Store(c, translated, address)
	return nt.TRUE
}

// halGetInterruptVector gives the vector, level and processors of a device's interrupt.
//
//	ULONG HalGetInterruptVector(INTERFACE_TYPE InterfaceType, ULONG BusNumber,
//	    ULONG BusInterruptLevel, ULONG BusInterruptVector, PKIRQL Irql, PKAFFINITY Affinity)
//
// 0: there is none. "HalGetInterruptVector function (ntddk.h)".
func halGetInterruptVector(c *Call, kind, bus, level, vector uint32, irql, affinity guest.Addr) uint32 {
	Store(c, irql, nt.PASSIVE_LEVEL)
	Store(c, affinity, uint64(0))
	return 0
}
