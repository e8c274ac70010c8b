package ntoskrnl

import (
	"unsafe"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Offsets into IRPs, devices and drivers, in bytes.
const (
	irpQueueEntryAt = guest.Addr(unsafe.Offsetof(nt.IRP{}.Tail) +
		unsafe.Offsetof(nt.IRPTailOverlay{}.DriverContext)) // Tail.Overlay.DeviceQueueEntry
	irpStatusAt        = guest.Addr(unsafe.Offsetof(nt.IRP{}.IoStatus))
	ioTimerDPC         = guest.Addr(unsafe.Offsetof(ioTimer{}.Dpc))
	irpCancelAt        = guest.Addr(unsafe.Offsetof(nt.IRP{}.Cancel))
	irpCancelIRQLAt    = guest.Addr(unsafe.Offsetof(nt.IRP{}.CancelIrql))
	irpCancelRoutineAt = guest.Addr(unsafe.Offsetof(nt.IRP{}.CancelRoutine))

	driverStartIO   = guest.Addr(unsafe.Offsetof(nt.DriverObject{}.DriverStartIo))
	deviceDriverAt  = guest.Addr(unsafe.Offsetof(nt.DeviceObject{}.DriverObject))
	deviceQueueAt   = guest.Addr(unsafe.Offsetof(nt.DeviceObject{}.DeviceQueue))
	deviceCurrentAt = guest.Addr(unsafe.Offsetof(nt.DeviceObject{}.CurrentIrp))
)
