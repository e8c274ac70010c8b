package driverhost

// Drivers that drivers load and unload by their services, in a host without a service manager.

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/pe"
)

// ServiceControl does what ZwLoadDriver and ZwUnloadDriver ask for.
type ServiceControl = ntoskrnl.ServiceControl

// ownServices is the ServiceControl of a host that has none.
type ownServices struct{ h *Host }

// LoadService loads the driver of a service into this host.
func (s ownServices) LoadService(name string) nt.Status {
	return s.h.Kernel.LoadServiceWith(name, func(img *pe.Image, service string) (*Driver, error) {
		d, err := s.h.LoadImage(img, service)
		var claimed *wire.ClaimedError
		switch {
		case errors.As(err, &claimed):
			err = fmt.Errorf("%w: %w", err, nt.STATUS_OBJECT_NAME_COLLISION)
		case errors.Is(err, ErrClosed):
			err = fmt.Errorf("%w: %w", err, nt.STATUS_SHUTDOWN_IN_PROGRESS)
		}
		return d, err
	})
}

// UnloadService unloads it, or marks it.
func (s ownServices) UnloadService(name string) nt.Status { return s.h.UnloadService(name) }

// KeepService lets a driver stay that UnloadService has marked. It says false if none is marked.
func (h *Host) KeepService(name string) bool {
	if !h.gate.enter() {
		return false
	}
	defer h.gate.leave()
	return h.Kernel.KeepService(name)
}

// UnloadService does what ZwUnloadDriver does: see [ntoskrnl.Kernel.UnloadService].
func (h *Host) UnloadService(name string) nt.Status {
	if !h.gate.enter() {
		return nt.STATUS_SHUTDOWN_IN_PROGRESS
	}
	defer h.gate.leave()
	return h.Kernel.UnloadService(name)
}
