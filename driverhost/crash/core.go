package crash

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/guest"
)

// Segment is a piece of the guest's memory.
type Segment struct {
	Addr guest.Addr
	Size uint64 // bytes, whole pages
	Prot guest.Prot
}

// Segments gives what is mapped of the guest's address space and can be read: images, stacks, pool,
// processor control regions, clients' windows.
func Segments() ([]Segment, error) {
	space, err := guest.Default()
	if err != nil {
		return nil, err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	var list []Segment
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		s, ok := parseMapping(lines.Text())
		if !ok || s.Prot&guest.ProtRead == 0 {
			continue
		}
		if _, ours := space.Lookup(s.Addr); ours {
			list = append(list, s)
		}
	}
	return list, lines.Err()
}

// parseMapping reads a line of /proc/PID/maps ("proc_pid_maps(5)").
func parseMapping(line string) (s Segment, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 || len(fields[1]) < 3 {
		return s, false
	}
	from, to, ok := strings.Cut(fields[0], "-")
	if !ok {
		return s, false
	}
	start, err := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err != nil || err2 != nil || end <= start {
		return s, false
	}
	for i, p := range []guest.Prot{guest.ProtRead, guest.ProtWrite, guest.ProtExec} {
		if fields[1][i] != '-' {
			s.Prot |= p
		}
	}
	s.Addr, s.Size = guest.Addr(start), end-start
	return s, true
}

// Sizes and constants of ELF64 ("System V Application Binary Interface", "core(5)").
const (
	elfHeaderSize     = 64
	programHeaderSize = 56
	typeCore          = 4  // ET_CORE
	machineX8664      = 62 // EM_X86_64
	segmentLoad       = 1  // PT_LOAD
	segmentNote       = 4  // PT_NOTE
	noteStatus        = 1  // NT_PRSTATUS
	noteAuxv          = 6  // NT_AUXV, which gdb wants: AT_NULL alone
	statusSize        = 336
	statusRegisters   = 112 // of pr_reg in struct elf_prstatus
	signalSEGV        = 11
)

// MaxCore is the most bytes of memory that a core holds.
const MaxCore = 1 << 30

// errTooLarge says that memory was left out of a core.
var errTooLarge = errors.New("the core does not hold all memory: there is too much")

// WriteCore writes an ELF core of the guest: the registers of a crash, and the segments. Pages that
// are zero, or cannot be read any more, are holes in the file, which is cut off behind the last page
// that has something. It is at most MaxCore bytes of memory long, and says so if that was not enough.
func WriteCore(w io.WriterAt, r *driverhost.CrashReport, segments []Segment) error {
	var note bytes.Buffer
	putNote(&note, noteStatus, status(r))
	putNote(&note, noteAuxv, make([]byte, 16))
	offset := uint64(elfHeaderSize + programHeaderSize*(len(segments)+1))
	headers := header(len(segments) + 1)
	headers = programHeader(headers, segmentNote, 4, offset, 0, uint64(note.Len()), uint64(note.Len()), 0)
	at := (offset + uint64(note.Len()) + guest.PageSize - 1) &^ (guest.PageSize - 1)
	first := at
	for _, s := range segments {
		size := min(s.Size, first+MaxCore-min(at, first+MaxCore))
		headers = programHeader(headers, segmentLoad, flags(s.Prot), at, uint64(s.Addr), size, s.Size,
			guest.PageSize)
		at += size
	}
	if _, err := w.WriteAt(append(headers, note.Bytes()...), 0); err != nil {
		return err
	}
	at = first
	page := make([]byte, guest.PageSize)
	var zero [guest.PageSize]byte
	for _, s := range segments {
		for off := uint64(0); off < s.Size; off += guest.PageSize {
			if at >= first+MaxCore {
				return errTooLarge
			}
			if guest.Read(page, s.Addr+guest.Addr(off)) == nil && !bytes.Equal(page, zero[:]) {
				if _, err := w.WriteAt(page, int64(at)); err != nil {
					return err
				}
			}
			at += guest.PageSize
		}
	}
	if at == first {
		return nil
	}
	_, err := w.WriteAt([]byte{0}, int64(at)) // so that no segment reaches beyond the file
	return err
}

func header(segments int) []byte {
	b := []byte{0x7F, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0} // 64 bits, little-endian
	le := binary.LittleEndian
	b = le.AppendUint16(b, typeCore)
	b = le.AppendUint16(b, machineX8664)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, 0) // no entry
	b = le.AppendUint64(b, elfHeaderSize)
	b = le.AppendUint64(b, 0) // no sections
	b = le.AppendUint32(b, 0)
	for _, v := range []int{elfHeaderSize, programHeaderSize, segments, 0, 0, 0} {
		b = le.AppendUint16(b, uint16(v))
	}
	return b
}

func programHeader(b []byte, typ, flags uint32, offset, addr, size, memory, align uint64) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(le.AppendUint32(b, typ), flags)
	for _, v := range []uint64{offset, addr, 0, size, memory, align} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// flags gives a segment's: 1 execute, 2 write, 4 read.
func flags(p guest.Prot) (f uint32) {
	for bit, prot := range map[uint32]guest.Prot{1: guest.ProtExec, 2: guest.ProtWrite, 4: guest.ProtRead} {
		if p&prot != 0 {
			f |= bit
		}
	}
	return f
}

func putNote(b *bytes.Buffer, typ uint32, data []byte) {
	name := []byte("CORE\x00\x00\x00\x00")
	for _, v := range []uint32{5, uint32(len(data)), typ} {
		b.Write(binary.LittleEndian.AppendUint32(nil, v))
	}
	b.Write(name)
	b.Write(data)
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

// statusOrder is the order of the registers in struct user_regs_struct, as a CrashReport names them;
// "" are those that it does not have.
var statusOrder = [27]string{"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax",
	"rcx", "rdx", "rsi", "rdi", "", "rip", "", "rflags", "rsp", "", "", "", "", "", "", ""}

// status makes a struct elf_prstatus.
func status(r *driverhost.CrashReport) []byte {
	b := make([]byte, statusSize)
	le := binary.LittleEndian
	le.PutUint32(b, signalSEGV)
	le.PutUint16(b[12:], signalSEGV)
	le.PutUint32(b[32:], uint32(r.ThreadID))
	for i, name := range statusOrder {
		v := uint64(r.Registers[name])
		if name == "rip" {
			v = uint64(r.RIP)
		}
		le.PutUint64(b[statusRegisters+8*i:], v)
	}
	const codeSegment, stackSegment = 17, 20 // places of cs and ss
	le.PutUint64(b[statusRegisters+8*codeSegment:], 0x33)
	le.PutUint64(b[statusRegisters+8*stackSegment:], 0x2B)
	return b
}

// String describes a segment.
func (s Segment) String() string { return fmt.Sprintf("%v+%#x %v", s.Addr, s.Size, s.Prot) }
