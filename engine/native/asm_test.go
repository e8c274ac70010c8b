// Machine code for tests: listings that read as a disassembly, and an assembler for the few
// instructions that tests need in all registers.

package native

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/drvhost/drvhost/engine"
)

// listing turns lines of hex bytes, each followed by two spaces and what they mean, into code.
func listing(lines string) []byte {
	var code []byte
	for line := range strings.Lines(lines) {
		bytes, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(bytes, " ", ""))
		if err != nil {
			panic(line + ": " + err.Error())
		}
		code = append(code, b...)
	}
	return code
}

// assembler writes a snippet that is to lie at offset 0 of a guestCode, and whose memory operands
// are offsets into that guestCode.
type assembler struct{ code []byte }

func (a *assembler) bytes(b ...byte) *assembler {
	a.code = append(a.code, b...)
	return a
}

func (a *assembler) list(lines string) *assembler { return a.bytes(listing(lines)...) }

// relative adds a 32-bit displacement from the next instruction to offset target.
func (a *assembler) relative(target int) *assembler {
	d := int32(target - len(a.code) - 4)
	a.code = binary.LittleEndian.AppendUint32(a.code, uint32(d))
	return a
}

func (a *assembler) gprOp(opcode byte, r engine.Register, at int) *assembler {
	return a.bytes(0x48|byte(r)>>3<<2, opcode, byte(r)&7<<3|5).relative(at)
}

// loadGPR: mov r, [at]; storeGPR: mov [at], r.
func (a *assembler) loadGPR(r engine.Register, at int) *assembler { return a.gprOp(0x8B, r, at) }

func (a *assembler) storeGPR(at int, r engine.Register) *assembler { return a.gprOp(0x89, r, at) }

// vectorOp is movups xmm, vmovups ymm or vmovups zmm, by the register's size in bytes.
func (a *assembler) vectorOp(opcode byte, size, n, at int) *assembler {
	modrm := byte(n)&7<<3 | 5
	low, high := byte(n)>>3&1, byte(n)>>4&1
	switch size {
	case 16:
		a.bytes(0x40|low<<2, 0x0F, opcode, modrm)
	case 32:
		a.bytes(0xC5, (1-low)<<7|0x7C, opcode, modrm)
	case 64:
		a.bytes(0x62, (1-low)<<7|0x61|(1-high)<<4, 0x7C, 0x48, opcode, modrm)
	}
	return a.relative(at)
}

func (a *assembler) loadVector(size, n, at int) *assembler  { return a.vectorOp(0x10, size, n, at) }
func (a *assembler) storeVector(at, size, n int) *assembler { return a.vectorOp(0x11, size, n, at) }

// loadMask: kmovq k, [at]; storeMask: kmovq [at], k.
func (a *assembler) loadMask(n, at int) *assembler {
	return a.bytes(0xC4, 0xE1, 0xF8, 0x90, byte(n)<<3|5).relative(at)
}

func (a *assembler) storeMask(at, n int) *assembler {
	return a.bytes(0xC4, 0xE1, 0xF8, 0x91, byte(n)<<3|5).relative(at)
}

// loadFlags: push [at]; popfq. storeFlags: pushfq; pop [at].
func (a *assembler) loadFlags(at int) *assembler {
	return a.bytes(0xFF, 0x35).relative(at).bytes(0x9D)
}

func (a *assembler) storeFlags(at int) *assembler { return a.bytes(0x9C, 0x8F, 0x05).relative(at) }

// The control words: ldmxcsr, stmxcsr, fldcw, fnstcw.
func (a *assembler) loadMXCSR(at int) *assembler  { return a.bytes(0x0F, 0xAE, 0x15).relative(at) }
func (a *assembler) storeMXCSR(at int) *assembler { return a.bytes(0x0F, 0xAE, 0x1D).relative(at) }
func (a *assembler) loadFCW(at int) *assembler    { return a.bytes(0xD9, 0x2D).relative(at) }
func (a *assembler) storeFCW(at int) *assembler   { return a.bytes(0xD9, 0x3D).relative(at) }

// callThunk calls the import with room bytes, for the home space and alignment, on the stack. Flags
// stay as they are.
func (a *assembler) callThunk(room byte) *assembler {
	return a.bytes(0x48, 0x8D, 0x64, 0x24, -room). // lea rsp, [rsp-room]
							bytes(0xE8).relative(thunkAt).
							bytes(0x48, 0x8D, 0x64, 0x24, room) // lea rsp, [rsp+room]
}

func (a *assembler) ret() *assembler { return a.bytes(0xC3) }
