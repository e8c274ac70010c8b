package service

// The errors of service control, which are numbers of Win32 with a text.

import (
	"errors"
	"fmt"

	"github.com/drvhost/drvhost/nt"
)

// Code is an error of Win32 ("System Error Codes"); 0 is success. It is an error, and in the chain
// of each error of this package that a service's user is to see.
type Code uint32

// The codes that service control ends with.
const (
	Success             Code = 0
	FileNotFound        Code = 2
	AccessDenied        Code = 5
	NotEnoughMemory     Code = 8
	GenFailure          Code = 31
	NotSupported        Code = 50
	InvalidParameter    Code = 87
	InvalidName         Code = 123
	ProcNotFound        Code = 127
	AlreadyExists       Code = 183
	BadExeFormat        Code = 193
	MoreData            Code = 234
	InvalidImageHash    Code = 577
	RegistryIOFailed    Code = 1016
	DependentRunning    Code = 1051
	InvalidControl      Code = 1052
	RequestTimeout      Code = 1053
	AlreadyRunning      Code = 1056
	Disabled            Code = 1058
	CircularDependency  Code = 1059
	DoesNotExist        Code = 1060
	CannotAcceptControl Code = 1061
	NotActive           Code = 1062
	ProcessAborted      Code = 1067
	DependencyFailed    Code = 1068
	MarkedForDelete     Code = 1072
	Exists              Code = 1073
	DependencyDeleted   Code = 1075
	NeverStarted        Code = 1077
	DuplicateName       Code = 1078
	PossibleDeadlock    Code = 1131
	ManagerNotRunning   Code = 1722
)

var codeTexts = map[Code]string{
	Success:             "The operation completed successfully.",
	FileNotFound:        "The system cannot find the file specified.",
	AccessDenied:        "Access is denied.",
	NotEnoughMemory:     "Not enough memory resources are available to process this command.",
	GenFailure:          "A device attached to the system is not functioning.",
	NotSupported:        "The request is not supported.",
	InvalidParameter:    "The parameter is incorrect.",
	InvalidName:         "The filename, directory name, or volume label syntax is incorrect.",
	ProcNotFound:        "The specified procedure could not be found.",
	AlreadyExists:       "Cannot create a file when that file already exists.",
	BadExeFormat:        "The image is not a driver that can be run here.",
	MoreData:            "More data is available.",
	InvalidImageHash:    "The digital signature for this file cannot be verified.",
	RegistryIOFailed:    "The registry's file cannot be written.",
	DependentRunning:    "A stop control has been sent to a service that other running services are dependent on.",
	InvalidControl:      "The requested control is not valid for this service.",
	RequestTimeout:      "The service did not respond to the start or control request in a timely fashion.",
	AlreadyRunning:      "An instance of the service is already running.",
	Disabled:            "The service cannot be started, either because it is disabled or because it has no enabled devices associated with it.",
	CircularDependency:  "Circular service dependency was specified.",
	DoesNotExist:        "The specified service does not exist as an installed service.",
	CannotAcceptControl: "The service cannot accept control messages at this time.",
	NotActive:           "The service has not been started.",
	ProcessAborted:      "The process terminated unexpectedly.",
	DependencyFailed:    "The dependency service or group failed to start.",
	MarkedForDelete:     "The specified service has been marked for deletion.",
	Exists:              "The specified service already exists.",
	DependencyDeleted:   "The dependency service does not exist or has been marked for deletion.",
	NeverStarted:        "No attempts to start the service have been made since the last boot.",
	DuplicateName:       "The name is already in use as either a service name or a service display name.",
	PossibleDeadlock:    "A potential deadlock condition has been detected.",
	ManagerNotRunning:   "The service manager is not running.",
}

// Error gives the code's text.
func (c Code) Error() string {
	if s, ok := codeTexts[c]; ok {
		return s
	}
	return fmt.Sprintf("Error %d.", uint32(c))
}

// Error is a code with what else is known.
type Error struct {
	Code   Code
	Detail string
}

// Error gives the code's text and the detail.
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Code.Error()
	}
	return e.Code.Error() + " (" + e.Detail + ")"
}

// Unwrap gives the code.
func (e *Error) Unwrap() error { return e.Code }

// fail makes an error of a code with a detail.
func fail(c Code, format string, args ...any) error {
	return &Error{c, fmt.Sprintf(format, args...)}
}

// CodeOf gives the code of an error and what is to be said besides.
func CodeOf(err error) (Code, string) {
	if err == nil {
		return Success, ""
	}
	var e *Error
	var c Code
	var status nt.Status
	switch {
	case errors.As(err, &e):
		return e.Code, e.Detail
	case errors.As(err, &c):
		return c, ""
	case errors.As(err, &status):
		return FromStatus(status), err.Error()
	}
	return GenFailure, err.Error()
}

// FromStatus gives the code for a status, as RtlNtStatusToDosError has it for those that drivers and
// the registry end with; ERROR_GEN_FAILURE for others.
func FromStatus(s nt.Status) Code {
	switch s {
	case nt.STATUS_SUCCESS:
		return Success
	case nt.STATUS_OBJECT_NAME_NOT_FOUND, nt.STATUS_NO_SUCH_DEVICE, nt.STATUS_NO_SUCH_FILE:
		return FileNotFound
	case nt.STATUS_ACCESS_DENIED:
		return AccessDenied
	case nt.STATUS_INSUFFICIENT_RESOURCES, nt.STATUS_NO_MEMORY:
		return NotEnoughMemory
	case nt.STATUS_NOT_SUPPORTED:
		return NotSupported
	case nt.STATUS_INVALID_PARAMETER:
		return InvalidParameter
	case nt.STATUS_OBJECT_NAME_INVALID:
		return InvalidName
	case nt.STATUS_PROCEDURE_NOT_FOUND:
		return ProcNotFound
	case nt.STATUS_OBJECT_NAME_COLLISION:
		return AlreadyExists
	case nt.STATUS_INVALID_IMAGE_FORMAT:
		return BadExeFormat
	case nt.STATUS_INVALID_IMAGE_HASH:
		return InvalidImageHash
	case nt.STATUS_REGISTRY_IO_FAILED:
		return RegistryIOFailed
	case nt.STATUS_KEY_DELETED:
		return DoesNotExist
	}
	return GenFailure
}
