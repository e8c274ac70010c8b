package main

// Exit codes, and the errors that carry them.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/driverhost/signature"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

// The exit codes. They stay: scripts test them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitStatus      = 3
	exitNoDevice    = 4
	exitBadDriver   = 5
	exitDriverEntry = 6
	exitCrash       = 7
	exitClaimed     = 8
	exitStuck       = 9
	exitNotClean    = 10
	exitMachine     = 11
	exitInterrupted = 130
)

// exitCodes is what the help says of them.
var exitCodes = []struct {
	code int
	text string
}{
	{exitOK, "done, with a status that NT_SUCCESS takes for a success"},
	{exitFailure, "any other failure; the message says which"},
	{exitUsage, "the command line is not understood"},
	{exitStatus, "the driver failed the request; the message has its status"},
	{exitNoDevice, "no running host offers the device"},
	{exitBadDriver,
		"the file cannot be read, mapped or bound as a driver, or is not signed as it has to be"},
	{exitDriverEntry, "DriverEntry returned an error; nothing of the driver is left"},
	{exitCrash, "the driver crashed (the bugcheck is on standard error), or its host has ended"},
	{exitClaimed, "another host offers a device of the same name"},
	{exitStuck, "requests did not end within 5 s of being cancelled"},
	{exitNotClean, "check: a driver's verdict is not \"clean\", or it leaks; replay: a session differs"},
	{exitMachine, "doctor: the machine lacks something that drvhost needs"},
	{exitInterrupted, "interrupted a second time, or before there was anything to end"},
}

func exitCodesText() string {
	var b strings.Builder
	b.WriteString("drvhost ends with one of these codes:\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.text)
	}
	return b.String()
}

// exitError is an error with the exit code that it leads to, and what to do next.
type exitError struct {
	code int
	err  error  // nil if everything has been said
	hint string // "" if there is nothing to do
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// silent ends the command with a code when everything has been said.
func silent(code int) error { return &exitError{code: code} }

func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// classify gives the exit code of an error and what to do about it.
func classify(err error) *exitError {
	var (
		exit    *exitError
		claimed *wire.ClaimedError
		gone    *client.HostGoneError
		crash   *ke.Bugcheck
		entry   *ntoskrnl.EntryError
		invalid *pe.InvalidError
		other   *pe.UnsupportedError
		device  *client.Error
		refused *signature.RefusedError
	)
	switch {
	case errors.As(err, &exit):
		return exit
	case errors.As(err, &claimed):
		return &exitError{exitClaimed, err,
			fmt.Sprintf("end process %d, or give this host a --runtime-dir of its own", claimed.PID)}
	case errors.As(err, &crash):
		return &exitError{exitCrash, err, ""}
	case errors.As(err, &gone):
		return &exitError{exitCrash, err, "the host's standard error says why it ended"}
	case errors.As(err, &entry):
		return &exitError{exitDriverEntry, err,
			"run it with --trace to see which call led the driver to refuse"}
	case errors.As(err, &invalid), errors.As(err, &other):
		return &exitError{exitBadDriver, err, ""}
	case errors.As(err, &refused):
		return &exitError{exitBadDriver, err, "`drvhost inspect` shows who signed it"}
	case errors.As(err, &device):
		return classifyDevice(device)
	case errors.Is(err, nt.STATUS_INVALID_BUFFER_SIZE):
		return &exitError{exitFailure, err, "send or ask for less at a time"}
	}
	return &exitError{exitFailure, err, ""}
}

// classifyDevice is classify for what a client gets.
func classifyDevice(e *client.Error) *exitError {
	switch {
	case errors.Is(e, context.Canceled):
		return &exitError{exitInterrupted, e, ""}
	case errors.Is(e, fs.ErrNotExist):
		return &exitError{exitNoDevice, e,
			"`drvhost devices` lists what there is; `drvhost load FILE` starts a host"}
	case errors.Is(e, nt.STATUS_SHARING_VIOLATION):
		return &exitError{exitStatus, e, "somebody else has the device open"}
	}
	return &exitError{exitStatus, e, ""}
}
