package sandbox

// A driver that knows its way around: its machine code gets past the engine's own trap for system
// calls by going through the one that the Go runtime makes its calls with. Only the sandbox is left.

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/engine/native"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// shellcode calls the code at RCX with the registers of a system call, loaded from RDX: its number
// and six arguments. It returns the error number.
var shellcode = []byte{
	0x53,             // push rbx
	0x56,             // push rsi
	0x57,             // push rdi
	0x49, 0x89, 0xCB, // mov r11, rcx
	0x48, 0x89, 0xD3, // mov rbx, rdx
	0x48, 0x8B, 0x03, // mov rax, [rbx]
	0x48, 0x8B, 0x7B, 0x08, // mov rdi, [rbx+8]
	0x48, 0x8B, 0x73, 0x10, // mov rsi, [rbx+16]
	0x48, 0x8B, 0x53, 0x18, // mov rdx, [rbx+24]
	0x4C, 0x8B, 0x53, 0x20, // mov r10, [rbx+32]
	0x4C, 0x8B, 0x43, 0x28, // mov r8, [rbx+40]
	0x4C, 0x8B, 0x4B, 0x30, // mov r9, [rbx+48]
	0x41, 0xFF, 0xD3, // call r11
	0x5F,             // pop rdi
	0x5E,             // pop rsi
	0x5B,             // pop rbx
	0x48, 0x89, 0xC8, // mov rax, rcx
	0xC3, // ret
}

const (
	pathAt = 0x100 // a path
	rawAt  = 0x1F0 // syscall; ret
	tailAt = 0x200 // the return trampoline: jmp [tailAt+8]
)

// driver is guest code that makes system calls.
type driver struct {
	cpu     engine.CPU
	c       *engine.Context
	code    *guest.Region
	data    *guest.Region
	runtime nt.Addr // the runtime's own system call instruction
}

func newDriver() (*driver, error) {
	d := &driver{}
	var err error
	if d.cpu, err = native.New(); err != nil {
		return nil, err
	}
	space, err := guest.Default()
	if err != nil {
		return nil, err
	}
	if d.data, err = space.AllocSystem(guest.PageSize, guest.ProtRW, "data"); err != nil {
		return nil, err
	}
	if d.code, err = space.AllocSystem(guest.PageSize, guest.ProtRW, "code"); err != nil {
		return nil, err
	}
	text := d.code.Bytes()
	copy(text, shellcode)
	copy(text[rawAt:], []byte{0x0F, 0x05, 0xC3})
	copy(text[tailAt:], []byte{0xFF, 0x25, 2, 0, 0, 0})
	binary.LittleEndian.PutUint64(text[tailAt+8:], uint64(d.cpu.Gates().Return))
	copy(d.data.Bytes()[pathAt:], "/etc/passwd\x00")
	if err = d.code.Protect(0, guest.PageSize, guest.ProtRX); err != nil {
		return nil, err
	}
	stack, err := space.AllocStack(0)
	if err != nil {
		return nil, err
	}
	if d.c, err = d.cpu.NewContext(stack.Base(), stack.Top()); err != nil {
		return nil, err
	}
	d.runtime, err = runtimeSyscall()
	return d, err
}

// runtimeSyscall finds the runtime's system call instruction, with the comparison behind it.
func runtimeSyscall() (nt.Addr, error) {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text := f.Section(".text")
	if text == nil || f.Type != elf.ET_EXEC {
		return 0, errors.New("this program does not lie where its file says")
	}
	data, err := text.Data()
	if err != nil {
		return 0, err
	}
	at := bytes.Index(data, []byte{0x0F, 0x05, 0x48, 0x3D, 0x01, 0xF0, 0xFF, 0xFF})
	if at < 0 {
		return 0, os.ErrNotExist
	}
	return nt.Addr(text.Addr + uint64(at)), nil
}

var errTrapped = errors.New("the engine caught it")

// call makes a system call through the instruction at via.
func (d *driver) call(via nt.Addr, args ...uint64) error {
	for i := range 7 {
		v := uint64(0)
		if i < len(args) {
			v = args[i]
		}
		binary.LittleEndian.PutUint64(d.data.Bytes()[8*i:], v)
	}
	var s engine.Saved
	base := d.code.Base()
	err := d.c.PushCall(&s, base+tailAt, base, 0, uint64(via), uint64(d.data.Base()))
	if err != nil {
		return err
	}
	exit := d.cpu.Run(d.c)
	result, trapped := syscall.Errno(d.c.GPR[engine.RAX]), d.c.Fault.IsSyscall()
	d.c.PopCall(&s)
	switch {
	case exit == engine.ExitReturn:
		return sysErr(result)
	case exit == engine.ExitFault && trapped:
		return errTrapped
	}
	return errors.New(exit.String())
}

// byDriver is an attempt of machine code.
func byDriver(args ...uint64) func(*scene) error {
	return func(s *scene) error { return s.driver.call(s.driver.runtime, args...) }
}

// byPath is byDriver with the path of a file elsewhere as the second argument.
func byPath(nr uint64, rest ...uint64) func(*scene) error {
	return func(s *scene) error {
		here := int64(unix.AT_FDCWD)
		path := uint64(s.driver.data.Base()) + pathAt
		return s.driver.call(s.driver.runtime, append([]uint64{nr, uint64(here), path}, rest...)...)
	}
}

var driverAttempts = []attempt{
	{"make a system call from machine code", func(s *scene) error {
		return s.driver.call(s.driver.code.Base()+rawAt, unix.SYS_GETPID)
	}, errTrapped},
	{"make an allowed one by way of the runtime", byDriver(unix.SYS_GETPID), nil},
	{"open a file elsewhere by way of the runtime", byPath(unix.SYS_OPENAT), unix.EACCES},
	{"open a file elsewhere by an older call", byDriver(unix.SYS_OPEN), unix.EPERM},
	{"change a mode by way of the runtime", byPath(unix.SYS_FCHMODAT, 0o777), unix.EPERM},
	{"make a socket by way of the runtime", byDriver(unix.SYS_SOCKET, unix.AF_INET,
		unix.SOCK_STREAM), unix.EPERM},
	{"fork by way of the runtime", byDriver(unix.SYS_CLONE, uint64(unix.SIGCHLD)), unix.EPERM},
	{"turn the engine's trap off", byDriver(unix.SYS_PRCTL, 59, 0, 0, 0, 0), nil},
	{"make a socket without the trap", func(s *scene) error {
		// shellcode's tail wants the error number in RCX, which a bare syscall does not give: that
		// it comes back at all shows that the trap is off.
		err := s.driver.call(s.driver.code.Base()+rawAt, unix.SYS_SOCKET, unix.AF_INET, 1, 0)
		if errors.Is(err, errTrapped) {
			return err
		}
		return s.driver.call(s.driver.runtime, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM)
	}, unix.EPERM},
}
