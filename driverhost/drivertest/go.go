package drivertest

import (
	"testing"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/ntoskrnl/godriver"
)

// LoadGo loads a driver that is written in Go into a host: one under test, or one that stands in
// for a lower device ([godriver.Recorder]).
func LoadGo(t testing.TB, h *driverhost.Host, d *godriver.Driver) *driverhost.Driver {
	t.Helper()
	loaded, err := h.LoadGo(d)
	if err != nil {
		t.Fatalf("drivertest: %v", err)
	}
	return loaded
}
