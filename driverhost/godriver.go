package driverhost

import "github.com/drvhost/drvhost/ntoskrnl/godriver"

// LoadGo loads a driver that is written in Go, as Load does one from a file.
func (h *Host) LoadGo(d *godriver.Driver) (*Driver, error) {
	return h.load(func() (*Driver, error) { return h.Kernel.LoadGo(d.Image(h.Kernel)) })
}
