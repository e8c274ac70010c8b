package driverhost

import (
	"context"
	"os"
	"sync"

	"github.com/drvhost/drvhost/irp"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl"
)

// FileRequest is a request of any major function that a client may send, on a file of this process.
type FileRequest struct {
	Major  nt.MajorFunction
	Minor  uint8
	Flags  uint8  // SL_ bits of the stack location, where a caller may choose them
	Code   uint32 // the control code, the information class or the SECURITY_INFORMATION
	Key    uint32
	Offset int64 // irp.FilePosition for the file's own, of reads and writes
	In     []byte
	Out    []byte
}

// Do makes a request of any major function and waits for its end. The error is of the file's being
// closed, or STATUS_INVALID_PARAMETER for a function that is not a client's to send.
func (f *File) Do(ctx context.Context, r FileRequest) (Result, error) {
	if !clientMay(r.Major) {
		return Result{}, nt.STATUS_INVALID_PARAMETER
	}
	c := f.take()
	if c == nil {
		return Result{}, ErrClosed
	}
	defer f.put(c)
	c.Major, c.Minor, c.Flags, c.Code = r.Major, r.Minor, r.Flags, nt.IOCTL(r.Code)
	c.Key, c.Offset = r.Key, r.Offset
	c.In, c.OutData, c.OutLen, c.out = r.In, r.Out, len(r.Out), r.Out
	res := f.run(ctx, c)
	c.Minor, c.Flags, c.Key = 0, 0, 0
	return res, nil
}

// clientMay reports whether a client may send a major function.
func clientMay(m nt.MajorFunction) bool {
	switch m {
	case nt.IRP_MJ_CREATE, nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE, nt.IRP_MJ_INTERNAL_DEVICE_CONTROL,
		nt.IRP_MJ_POWER, nt.IRP_MJ_PNP, nt.IRP_MJ_SYSTEM_CONTROL, nt.IRP_MJ_CREATE_NAMED_PIPE,
		nt.IRP_MJ_CREATE_MAILSLOT, nt.IRP_MJ_DEVICE_CHANGE:
		return false
	}
	return true
}

// QueryInformation sends IRP_MJ_QUERY_INFORMATION of a class, and gives how many bytes were filled.
func (f *File) QueryInformation(class uint32, buf []byte) (int, error) {
	return f.ask("query information", FileRequest{Major: nt.IRP_MJ_QUERY_INFORMATION, Code: class,
		Out: buf})
}

// SetInformation sends IRP_MJ_SET_INFORMATION of a class.
func (f *File) SetInformation(class uint32, buf []byte) error {
	_, err := f.ask("set information", FileRequest{Major: nt.IRP_MJ_SET_INFORMATION, Code: class,
		In: buf})
	return err
}

func (f *File) ask(op string, r FileRequest) (int, error) {
	r.Offset = irp.FilePosition
	ctx := context.Background()
	res, err := f.Do(ctx, r)
	if err != nil {
		return 0, err
	}
	return res.count(len(r.Out)), f.errOf(ctx, op, res)
}

// owns reports whether a user may do what only the host's owner may.
func (h *Host) owns(uid uint32) bool { return uid == 0 || uid == uint32(os.Getuid()) }

// selfSubject gives the SIDs of this process's user.
var selfSubject = sync.OnceValue(func() []nt.SID {
	groups := []uint32{uint32(os.Getgid())}
	if more, err := os.Getgroups(); err == nil {
		for _, g := range more {
			groups = append(groups, uint32(g))
		}
	}
	return ntoskrnl.SubjectSIDs(uint32(os.Getuid()), groups...)
})
