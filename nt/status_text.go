// A few words for people about the statuses that they meet most.
package nt

// Description gives a few words on a well-known status, in lower case and without a full stop;
// empty for the others.
func (s Status) Description() string {
	switch s {
	case STATUS_SUCCESS:
		return "success"
	case STATUS_PENDING:
		return "the request is queued and will be completed later"
	case STATUS_TIMEOUT:
		return "the wait timed out"
	case STATUS_MORE_PROCESSING_REQUIRED:
		return "a completion routine keeps the IRP"
	case STATUS_BUFFER_OVERFLOW:
		return "the data was cut to the size of the buffer"
	case STATUS_NO_MORE_ENTRIES:
		return "there are no more entries"
	case STATUS_BREAKPOINT:
		return "a breakpoint instruction was reached"
	case STATUS_SINGLE_STEP:
		return "a single step or trace trap"
	case STATUS_UNSUCCESSFUL:
		return "the request failed; the driver says no more"
	case STATUS_NOT_IMPLEMENTED:
		return "not implemented"
	case STATUS_INVALID_INFO_CLASS:
		return "unknown information class"
	case STATUS_INFO_LENGTH_MISMATCH:
		return "the buffer has the wrong length for this information"
	case STATUS_ACCESS_VIOLATION:
		return "an address was used that may not be read, written or executed"
	case STATUS_INVALID_HANDLE:
		return "the handle is not valid"
	case STATUS_INVALID_CID:
		return "no such process or thread id"
	case STATUS_INVALID_PARAMETER:
		return "a parameter is not valid"
	case STATUS_NO_SUCH_DEVICE:
		return "no such device"
	case STATUS_NO_SUCH_FILE:
		return "no such file"
	case STATUS_INVALID_DEVICE_REQUEST:
		return "the device does not support this request"
	case STATUS_END_OF_FILE:
		return "end of file"
	case STATUS_NO_MEMORY:
		return "out of virtual memory"
	case STATUS_CONFLICTING_ADDRESSES:
		return "the address range is already in use"
	case STATUS_ILLEGAL_INSTRUCTION:
		return "an illegal instruction was executed"
	case STATUS_NONCONTINUABLE_EXCEPTION:
		return "execution cannot go on after this exception"
	case STATUS_ACCESS_DENIED:
		return "access denied"
	case STATUS_BUFFER_TOO_SMALL:
		return "the buffer is too small"
	case STATUS_OBJECT_TYPE_MISMATCH:
		return "the object is of another type"
	case STATUS_OBJECT_NAME_INVALID:
		return "the object's name is not valid"
	case STATUS_OBJECT_NAME_NOT_FOUND:
		return "no object has this name"
	case STATUS_OBJECT_NAME_COLLISION:
		return "an object with this name exists already"
	case STATUS_OBJECT_PATH_INVALID:
		return "a part of the path is not a directory"
	case STATUS_OBJECT_PATH_NOT_FOUND:
		return "a directory of the path does not exist"
	case STATUS_OBJECT_PATH_SYNTAX_BAD:
		return "the path does not begin with a backslash"
	case STATUS_SHARING_VIOLATION:
		return "another open of the same object does not allow this one"
	case STATUS_DELETE_PENDING:
		return "the object is about to be deleted"
	case STATUS_PRIVILEGE_NOT_HELD:
		return "a privilege that this needs is not held"
	case STATUS_PROCEDURE_NOT_FOUND:
		return "an import is not exported by the module that it names"
	case STATUS_INVALID_IMAGE_FORMAT:
		return "the file is not an image that can be loaded"
	case STATUS_INTEGER_DIVIDE_BY_ZERO:
		return "an integer was divided by zero"
	case STATUS_INTEGER_OVERFLOW:
		return "an integer overflow"
	case STATUS_PRIVILEGED_INSTRUCTION:
		return "a privileged instruction was executed"
	case STATUS_INSUFFICIENT_RESOURCES:
		return "not enough memory or other resources"
	case STATUS_INSTRUCTION_MISALIGNMENT, STATUS_DATATYPE_MISALIGNMENT:
		return "a misaligned access"
	case STATUS_DEVICE_NOT_READY:
		return "the device is not ready"
	case STATUS_IO_TIMEOUT:
		return "the I/O timed out"
	case STATUS_NOT_SUPPORTED:
		return "not supported"
	case STATUS_DEVICE_BUSY:
		return "the device is busy"
	case STATUS_DEVICE_DOES_NOT_EXIST:
		return "the device does not exist any more"
	case STATUS_UNEXPECTED_IO_ERROR:
		return "an I/O error that nobody expected"
	case STATUS_INTERNAL_ERROR:
		return "an internal error"
	case STATUS_INVALID_USER_BUFFER:
		return "the caller's buffer is not valid"
	case STATUS_STACK_OVERFLOW:
		return "the kernel stack overflowed"
	case STATUS_CANCELLED:
		return "the request was cancelled"
	case STATUS_FILE_CLOSED:
		return "the file is closed"
	case STATUS_THREAD_IS_TERMINATING, STATUS_PROCESS_IS_TERMINATING:
		return "the thread or process is ending"
	case STATUS_DLL_NOT_FOUND:
		return "an imported module was not found"
	case STATUS_ORDINAL_NOT_FOUND:
		return "an import's ordinal is not exported by the module that it names"
	case STATUS_ENTRYPOINT_NOT_FOUND, STATUS_DRIVER_ENTRYPOINT_NOT_FOUND:
		return "an import is not exported by the module that it names"
	case STATUS_IMAGE_ALREADY_LOADED:
		return "the image is loaded already"
	case STATUS_IMAGE_MACHINE_TYPE_MISMATCH:
		return "the image is for another kind of processor"
	case STATUS_DRIVER_UNABLE_TO_LOAD:
		return "the driver could not be loaded"
	case STATUS_FAILED_DRIVER_ENTRY:
		return "the driver's entry routine failed"
	case STATUS_INVALID_BUFFER_SIZE:
		return "the size of the buffer is not valid"
	case STATUS_NOT_FOUND:
		return "not found"
	case STATUS_DEVICE_NOT_CONNECTED:
		return "the device is not connected"
	case STATUS_DEVICE_REMOVED:
		return "the device was removed"
	case STATUS_NO_SUCH_PRIVILEGE:
		return "no such privilege"
	case STATUS_ALREADY_REGISTERED:
		return "registered already"
	case STATUS_REVISION_MISMATCH:
		return "the two sides speak different versions"
	case STATUS_STACK_BUFFER_OVERRUN:
		return "a check in the driver found corruption and stopped it (fast fail)"
	case STATUS_ASSERTION_FAILURE:
		return "an assertion failed"
	case STATUS_UNHANDLED_EXCEPTION:
		return "an exception was not handled"
	}
	return ""
}
