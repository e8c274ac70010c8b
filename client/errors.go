package client

// What goes wrong, and how it is told.

import (
	"fmt"
	"os"

	"github.com/drvhost/drvhost/nt"
)

// Error is a failed operation on a device.
type Error struct {
	Op     string    // open, read, write, ioctl, flush…
	Name   string    // of the device, as it was opened
	Code   uint32    // the I/O control code of an ioctl
	Status nt.Status // what Windows would give
	Err    error     // more than Status says, or nil
}

// Error gives operation, device and reason.
func (e *Error) Error() string {
	op := e.Op
	if e.Op == "ioctl" {
		op = fmt.Sprintf("ioctl %#x", e.Code)
	}
	if e.Err == nil {
		return fmt.Sprintf("%s %s: %v", op, e.Name, e.Status)
	}
	return fmt.Sprintf("%s %s: %v", op, e.Name, e.Err)
}

// Unwrap gives Status and Err.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Status}
	}
	return []error{e.Status, e.Err}
}

// HostGoneError says that the connection to the driver host has ended: the host was killed, crashed
// with its driver, or unloaded the driver. Its status is what the host said in parting; else it is
// STATUS_DRIVER_PROCESS_TERMINATED, which Windows gives for a device whose user-mode driver host
// has died ("How UMDF Handles Driver Failures").
type HostGoneError struct {
	Name   string // of the device, as it was opened
	PID    int    // of the host
	Status nt.Status
	Text   string // what the host said, or empty
	Cause  error  // what made the client give up, such as a malformed message, or nil
}

// Error names the device, the host and the reason.
func (e *HostGoneError) Error() string {
	s := fmt.Sprintf("the driver host of %s (process %d) has ended", e.Name, e.PID)
	switch {
	case e.Text != "":
		return s + ": " + e.Text
	case e.Cause != nil:
		return fmt.Sprintf("lost the driver host of %s (process %d): %v", e.Name, e.PID, e.Cause)
	case e.Status != nt.STATUS_DRIVER_PROCESS_TERMINATED:
		return s + ": " + e.Status.Error()
	}
	return s
}

// Unwrap gives Status and Cause.
func (e *HostGoneError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Status}
	}
	return []error{e.Status, e.Cause}
}

// errClosed is what a closed File gives. Windows gives STATUS_INVALID_HANDLE.
var errClosed = fmt.Errorf("the file is closed: %w", os.ErrClosed)
