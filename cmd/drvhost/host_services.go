package main

// What a service's host does when drivers load and unload others: it asks its manager.

import (
	"fmt"
	"time"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// loads says what ZwLoadDriver and ZwUnloadDriver do in the host: they ask the manager, if there
// is one.
func (l *loading) loads(opts *driverhost.Options, control *service.Control) {
	opts.CheckImage = l.checkImage
	if control != nil {
		opts.Services, opts.OnUnloaded = control, control.Unloaded
	}
}

// Mark unloads a service's driver, when nothing uses it any more.
func (s *serviceHost) Mark(name string) (pending bool, err error) {
	switch status := s.host.UnloadService(name); {
	case status == nt.STATUS_PENDING:
		return true, nil
	case !status.Success():
		return false, service.StatusError(status, "unload "+name)
	}
	return false, nil
}

// Keep takes back what Mark has done, if that has not come to an end.
func (s *serviceHost) Keep(name string) error {
	if !s.host.KeepService(name) {
		return &service.Error{Code: service.CannotAcceptControl,
			Detail: fmt.Sprintf("%s is being unloaded", name)}
	}
	return nil
}

// checkImage refuses an image that a driver wants to load, if it is not signed as it has to be.
func (l *loading) checkImage(img *pe.Image) error {
	if l.signers == nil {
		return nil
	}
	return l.signers.CheckImage(img.Name, img.Bytes(), time.Now())
}
