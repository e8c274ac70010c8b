package client

// Opening a device.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/nt"
)

// Option changes how Open opens.
type Option func(*opening)

type opening struct {
	dir        string
	socket     string
	serialised bool
	hello      wire.Hello
}

// RuntimeDir looks for the device in this runtime directory, instead of wire.RuntimeDir().
func RuntimeDir(dir string) Option { return func(o *opening) { o.dir = dir } }

// Socket connects to the host that listens at this path, whatever the runtime directory says.
func Socket(path string) Option { return func(o *opening) { o.socket = path } }

// Access asks for this ACCESS_MASK. The default is GENERIC_READ and GENERIC_WRITE, with what
// CreateFile adds: SYNCHRONIZE and FILE_READ_ATTRIBUTES.
func Access(mask uint32) Option { return func(o *opening) { o.hello.Access = mask } }

// Share sets the FILE_SHARE_ bits: what others may open the device for meanwhile. The default is
// FILE_SHARE_READ and FILE_SHARE_WRITE.
func Share(bits uint32) Option { return func(o *opening) { o.hello.Share = bits } }

// Disposition sets the create disposition. The default is FILE_OPEN.
func Disposition(d uint32) Option { return func(o *opening) { o.hello.Disposition = d } }

// CreateOptions sets the create options. The default is what CreateFile gives a handle that is not
// overlapped, FILE_SYNCHRONOUS_IO_NONALERT and FILE_NON_DIRECTORY_FILE: the file object then has a
// position, which Read and Write tell the driver, and which the driver moves.
func CreateOptions(bits uint32) Option { return func(o *opening) { o.hello.Options = bits } }

// Overlapped opens as CreateFile does with FILE_FLAG_OVERLAPPED: the file object has no position, so
// that reads and writes give an offset, and any number of requests pend.
func Overlapped() Option {
	return func(o *opening) {
		o.hello.Options &^= nt.FILE_SYNCHRONOUS_IO_ALERT | nt.FILE_SYNCHRONOUS_IO_NONALERT
		o.serialised = false
	}
}

// Synchronous opens as CreateFile does without that flag, and serialises requests as Windows does on
// such a handle: one that is made while another is under way, on whatever goroutine and duplicate,
// waits until that has completed. Without this option a File that is open for synchronous I/O lets
// them pend side by side.
func Synchronous() Option {
	return func(o *opening) {
		if o.hello.Options&nt.FILE_SYNCHRONOUS_IO_ALERT == 0 {
			o.hello.Options |= nt.FILE_SYNCHRONOUS_IO_NONALERT
		}
		o.serialised = true
	}
}

// Attributes sets the FILE_ATTRIBUTE_ bits. The default is FILE_ATTRIBUTE_NORMAL.
func Attributes(bits uint32) Option { return func(o *opening) { o.hello.Attributes = bits } }

// Open opens a device by the name of its link: `\\.\Echo`, `\\?\Echo`, `\DosDevices\Echo` or
// `Echo`, in any case; what follows a further backslash is for the driver. It waits for the
// driver's CREATE and fails with its status. A device that no host offers is
// STATUS_OBJECT_NAME_NOT_FOUND and fs.ErrNotExist.
func Open(name string, options ...Option) (*File, error) {
	return OpenContext(context.Background(), name, options...)
}

// program gives what this process is called.
func program() string {
	if len(os.Args) == 0 {
		return ""
	}
	return filepath.Base(os.Args[0])
}

// OpenContext is Open that ends when ctx does.
func OpenContext(ctx context.Context, name string, options ...Option) (*File, error) {
	const normal = 0x80 // FILE_ATTRIBUTE_NORMAL
	o := opening{hello: wire.Hello{
		VersionMin: wire.VersionMin, VersionMax: wire.VersionMax,
		Name:        wire.TrimDevicePrefix(strings.ReplaceAll(name, "/", `\`)),
		Access:      nt.GENERIC_READ | nt.GENERIC_WRITE | nt.SYNCHRONIZE | nt.FILE_READ_ATTRIBUTES,
		Share:       nt.FILE_SHARE_READ | nt.FILE_SHARE_WRITE,
		Disposition: nt.FILE_OPEN,
		Options:     nt.FILE_SYNCHRONOUS_IO_NONALERT | nt.FILE_NON_DIRECTORY_FILE,
		Attributes:  normal,
		Program:     program(),
	}}
	for _, f := range options {
		f(&o)
	}
	fail := func(status nt.Status, err error) (*File, error) {
		return nil, &Error{Op: "open", Name: name, Status: status, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(nt.STATUS_CANCELLED, err)
	}
	path, err := o.path()
	if err != nil {
		return fail(statusOf(err, nt.STATUS_OBJECT_NAME_INVALID), err)
	}
	hello, err := o.hello.Append(nil)
	if err != nil {
		return fail(statusOf(err, nt.STATUS_OBJECT_NAME_INVALID), err)
	}
	sock, err := wire.Connect(path, ctx.Done())
	if err != nil {
		return fail(o.explain(err))
	}
	var stop func() bool
	cancelled := make(chan struct{})
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() {
			sock.Shutdown()
			close(cancelled)
		})
	}
	f, err := greet(sock, name, hello)
	if stop != nil && !stop() {
		<-cancelled
		sock.Close()
		return fail(nt.STATUS_CANCELLED, ctx.Err())
	}
	if err != nil {
		sock.Close()
		return nil, err
	}
	if o.serialised {
		f.turn = make(chan struct{}, 1)
	}
	return f, nil
}

// path gives the path of the link, or of the socket.
func (o *opening) path() (string, error) {
	if o.socket != "" {
		return o.socket, nil
	}
	if o.dir == "" {
		o.dir = wire.RuntimeDir()
	}
	link, _ := wire.SplitDeviceName(o.hello.Name)
	return wire.LinkPath(o.dir, link)
}

// explain says in a caller's terms why the connection failed.
func (o *opening) explain(err error) (nt.Status, error) {
	where := o.socket
	if where == "" {
		where = filepath.Clean(o.dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nt.STATUS_OBJECT_NAME_NOT_FOUND,
			fmt.Errorf("no driver host offers the device in %s: %w", where, fs.ErrNotExist)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nt.STATUS_OBJECT_NAME_NOT_FOUND,
			fmt.Errorf("the driver host that offered the device in %s has ended: %w", where,
				fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return nt.STATUS_ACCESS_DENIED, err
	}
	return nt.STATUS_UNSUCCESSFUL, err
}

// statusOf gives the status that err wraps, or another.
func statusOf(err error, other nt.Status) nt.Status {
	errors.As(err, &other)
	return other
}

// greet does the hand-shake. The caller closes the socket on an error.
func greet(sock wire.Socket, name string, hello []byte) (*File, error) {
	pid := sock.PeerPID()
	fail := func(status nt.Status, err error) (*File, error) {
		return nil, &Error{Op: "open", Name: name, Status: status, Err: err}
	}
	gone := func(text string, cause error) (*File, error) {
		e := &HostGoneError{Name: name, PID: pid, Text: text, Cause: cause,
			Status: nt.STATUS_DRIVER_PROCESS_TERMINATED}
		return fail(e.Status, e)
	}
	if e := sock.TrySend(hello); e != 0 && e != syscall.EPIPE {
		return fail(nt.STATUS_UNSUCCESSFUL, os.NewSyscallError("send", e))
	}
	var w *wire.Welcome
	buf := make([]byte, 16<<10)
	for w == nil {
		n, err := receive(sock, buf)
		if err != nil {
			return gone("", err)
		}
		if n == 0 {
			return gone("", nil)
		}
		t, _, err := wire.ParseHeader(buf, n)
		if err == nil && t == wire.MsgGoodbye {
			var text string
			var status nt.Status
			if status, text, err = wire.ParseGoodbye(buf[:n]); err == nil {
				e := &HostGoneError{Name: name, PID: pid, Text: text, Status: notSuccess(status)}
				return fail(e.Status, e)
			}
		}
		if err == nil {
			w, err = wire.ParseWelcome(buf[:n])
		}
		if err != nil {
			return gone("", err)
		}
	}
	if !w.Status.Success() {
		var err error
		if w.Text != "" {
			err = errors.New(w.Text)
			if strings.TrimSpace(w.Text) == "" {
				err = nil
			}
		}
		return fail(w.Status, err)
	}
	if w.Version < wire.VersionMin || w.Version > wire.VersionMax {
		return gone("", fmt.Errorf("%w: the host chose version %d", wire.ErrProtocol, w.Version))
	}
	if w.MaxRequests == 0 || w.MaxInline < 256 || w.MaxBytes < 2*w.MaxInline {
		return gone("", fmt.Errorf("%w: limits that allow nothing", wire.ErrProtocol))
	}
	return newFile(sock, name, pid, w), nil
}

// receive is Recv that still gives what came before the peer reset the connection.
func receive(sock wire.Socket, buf []byte) (int, error) {
	n, e := sock.Recv(buf)
	if e == syscall.ECONNRESET {
		n, e = sock.TryRecv(buf)
		if e == syscall.EAGAIN || e == syscall.ECONNRESET {
			return 0, nil
		}
	}
	if e != 0 {
		return 0, os.NewSyscallError("receive", e)
	}
	return n, nil
}

// notSuccess keeps a host from calling its end a success.
func notSuccess(s nt.Status) nt.Status {
	if s.Success() {
		return nt.STATUS_DRIVER_PROCESS_TERMINATED
	}
	return s
}
