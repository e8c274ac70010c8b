package seh

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

const (
	rbx, rbp, rsi, rdi = uint8(engine.RBX), uint8(engine.RBP), uint8(engine.RSI), uint8(engine.RDI)
	r12, r13           = uint8(engine.R12), uint8(engine.R13)
)

// op makes the unwind operation of a marked instruction.
type op func(at uint8) pe.UnwindOp

func push(reg uint8) op    { return func(at uint8) pe.UnwindOp { return pe.PushNonvol(at, reg) } }
func alloc(size uint32) op { return func(at uint8) pe.UnwindOp { return pe.Alloc(at, size) } }
func setFP() op            { return func(at uint8) pe.UnwindOp { return pe.SetFPReg(at) } }
func save(reg uint8, off uint32) op {
	return func(at uint8) pe.UnwindOp { return pe.SaveNonvol(at, reg, off) }
}
func saveXMM(reg uint8, off uint32) op {
	return func(at uint8) pe.UnwindOp { return pe.SaveXMM128(at, reg, off) }
}

func unwind(marks []uint8, ops []op) *pe.Unwind {
	u := &pe.Unwind{}
	for i, o := range ops {
		u.Ops = append(u.Ops, o(marks[i]))
		u.PrologSize = marks[i]
	}
	return u
}

func TestEveryInstructionUnwinds(t *testing.T) {
	for _, c := range []struct {
		name        string
		code        string
		ops         []op
		frame       uint8
		frameOffset uint8
	}{
		{name: "leaf", code: `
			31 C0  xor eax, eax
			C3     ret`},
		{name: "small allocation", ops: []op{alloc(0x28)}, code: `
			48 83 EC 28  sub rsp, 28h |
			90           nop
			48 83 C4 28  add rsp, 28h
			C3           ret`},
		{name: "largest small allocation", ops: []op{alloc(128)}, code: `
			48 81 EC 80 00 00 00  sub rsp, 128 |
			90                    nop
			48 81 C4 80 00 00 00  add rsp, 128
			C3                    ret`},
		{name: "large allocation of 16 bits", ops: []op{alloc(0x1008)}, code: `
			48 81 EC 08 10 00 00  sub rsp, 1008h |
			90                    nop
			48 81 C4 08 10 00 00  add rsp, 1008h
			C2 00 00              ret 0`},
		{name: "pushes and pops", ops: []op{push(rbx), push(rbp), push(rsi), push(rdi), push(r12),
			push(r13), push(14), push(15), alloc(0x28)}, code: `
			53           push rbx |
			55           push rbp |
			56           push rsi |
			57           push rdi |
			41 54        push r12 |
			41 55        push r13 |
			41 56        push r14 |
			41 57        push r15 |
			48 83 EC 28  sub rsp, 28h |
			31 DB        xor ebx, ebx
			31 ED        xor ebp, ebp
			4D 31 E4     xor r12, r12
			4D 31 FF     xor r15, r15
			48 83 C4 28  add rsp, 28h
			41 5F        pop r15
			41 5E        pop r14
			41 5D        pop r13
			41 5C        pop r12
			5F           pop rdi
			5E           pop rsi
			5D           pop rbp
			5B           pop rbx
			F3 C3        rep ret`},
		{name: "a push in two bytes", ops: []op{push(rbx), alloc(8)}, code: `
			40 53        push rbx |
			50           push rax |
			31 DB        xor ebx, ebx
			48 83 C4 08  add rsp, 8
			40 5B        pop rbx
			C3           ret`},
		{name: "frame register at RSP", frame: rbp, ops: []op{push(rbp), alloc(0x40), setFP()}, code: `
			55           push rbp |
			48 83 EC 40  sub rsp, 40h |
			48 89 E5     mov rbp, rsp |
			48 83 EC 20  sub rsp, 20h
			54           push rsp
			48 8D 65 40  lea rsp, [rbp+40h]
			5D           pop rbp
			C3           ret`},
		{name: "frame register above RSP", frame: rbp, frameOffset: 0x30,
			ops: []op{push(rbp), push(rbx), alloc(0x38), setFP()}, code: `
			55                    push rbp |
			53                    push rbx |
			48 83 EC 38           sub rsp, 38h |
			48 8D 6C 24 30        lea rbp, [rsp+30h] |
			31 DB                 xor ebx, ebx
			48 81 EC 00 01 00 00  sub rsp, 100h
			90                    nop
			48 8D A5 08 00 00 00  lea rsp, [rbp+8]
			5B                    pop rbx
			5D                    pop rbp
			C3                    ret`},
		{name: "R13 as frame register", frame: r13, ops: []op{push(r13), alloc(0x20), setFP()}, code: `
			41 55        push r13 |
			48 83 EC 20  sub rsp, 20h |
			49 89 E5     mov r13, rsp |
			50           push rax
			49 8D 65 20  lea rsp, [r13+20h]
			41 5D        pop r13
			C3           ret`},
		{name: "R12 as frame register", frame: r12, ops: []op{push(r12), alloc(0x20), setFP()}, code: `
			41 54           push r12 |
			48 83 EC 20     sub rsp, 20h |
			49 89 E4        mov r12, rsp |
			50              push rax
			49 8D 64 24 20  lea rsp, [r12+20h]
			41 5C           pop r12
			C3              ret`},
		{name: "saves by move", ops: []op{alloc(0x48), save(rbx, 0x20), save(r12, 0x30)}, code: `
			48 83 EC 48     sub rsp, 48h |
			48 89 5C 24 20  mov [rsp+20h], rbx |
			4C 89 64 24 30  mov [rsp+30h], r12 |
			31 DB           xor ebx, ebx
			4D 31 E4        xor r12, r12
			48 8B 5C 24 20  mov rbx, [rsp+20h]
			4C 8B 64 24 30  mov r12, [rsp+30h]
			48 83 C4 48     add rsp, 48h
			C3              ret`},
		{name: "XMM registers", ops: []op{alloc(0x48), saveXMM(6, 0x20), saveXMM(15, 0x30)}, code: `
			48 83 EC 48        sub rsp, 48h |
			0F 29 74 24 20     movaps [rsp+20h], xmm6 |
			44 0F 29 7C 24 30  movaps [rsp+30h], xmm15 |
			0F 57 F6           xorps xmm6, xmm6
			45 0F 57 FF        xorps xmm15, xmm15
			0F 28 74 24 20     movaps xmm6, [rsp+20h]
			44 0F 28 7C 24 30  movaps xmm15, [rsp+30h]
			48 83 C4 48        add rsp, 48h
			C3                 ret`},
		{name: "two epilogues", ops: []op{push(rbx), alloc(0x20)}, code: `
			53           push rbx |
			48 83 EC 20  sub rsp, 20h |
			31 DB        xor ebx, ebx
			85 DB        test ebx, ebx
			74 06        je +6
			48 83 C4 20  add rsp, 20h
			5B           pop rbx
			C3           ret
			31 C0        xor eax, eax
			48 83 C4 20  add rsp, 20h
			5B           pop rbx
			C3           ret`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(b *pe.Builder) {
				code, marks := assemble(c.code)
				var u *pe.Unwind
				if c.ops != nil {
					u = unwind(marks, c.ops)
					u.FrameRegister, u.FrameOffset = c.frame, c.frameOffset
				}
				b.Code("f", code, nil, u)
			})
			require.NotZero(t, r.requireUnwindsEverywhere(r.symbol("f")))
		})
	}
}

func TestTailCallsUnwind(t *testing.T) {
	const inner = `
		53     push rbx |
		31 DB  xor ebx, ebx
		5B     pop rbx
		C3     ret`
	for _, c := range []struct {
		name, jump string
		at         uint32
	}{
		{"direct", "E9 00 00 00 00  jmp g", 1},
		{"through memory", "FF 25 00 00 00 00  jmp [g]", 2},
		{"through memory, marked", "48 FF 25 00 00 00 00  jmp [g]", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(b *pe.Builder) {
				code, marks := assemble(inner)
				b.Code("g", code, nil, unwind(marks, []op{push(rbx)}))
				b.Const("g.pointer", 8, 8, make([]byte, 8), []pe.Fixup{{Kind: pe.Abs64, Symbol: "g"}})
				front := `
					56           push rsi |
					48 83 EC 20  sub rsp, 20h |
					31 F6        xor esi, esi
					48 83 C4 20  add rsp, 20h
					5E           pop rsi
					`
				start, marks := assemble(front)
				code, _ = assemble(front + c.jump)
				fix := pe.Fixup{Offset: uint32(len(start)) + c.at, Kind: pe.Rel32, Symbol: "g"}
				if c.at > 1 {
					fix.Symbol = "g.pointer"
				}
				b.Code("f", code, []pe.Fixup{fix}, unwind(marks, []op{push(rsi), alloc(0x20)}))
			})
			assert.Equal(t, 10, r.requireUnwindsEverywhere(r.symbol("f")))
		})
	}
}

func TestCallsUnwindThroughTheCaller(t *testing.T) {
	r := newRig(t, func(b *pe.Builder) {
		code, marks := assemble(`
			53           push rbx |
			48 83 EC 20  sub rsp, 20h |
			31 DB        xor ebx, ebx
			48 83 C4 20  add rsp, 20h
			5B           pop rbx
			C3           ret`)
		b.Code("g", code, nil, unwind(marks, []op{push(rbx), alloc(0x20)}))
		leaf, _ := assemble(`
			31 C0  xor eax, eax
			C3     ret`)
		b.Code("leaf", leaf, nil, nil)
		code, marks = assemble(`
			55              push rbp |
			48 83 EC 20     sub rsp, 20h |
			48 89 E5        mov rbp, rsp |
			E8 00 00 00 00  call g
			E8 00 00 00 00  call leaf
			48 83 C4 20     add rsp, 20h
			5D              pop rbp
			C3              ret`)
		u := unwind(marks, []op{push(rbp), alloc(0x20), setFP()})
		u.FrameRegister = rbp
		b.Code("f", code, []pe.Fixup{{Offset: 9, Kind: pe.Rel32, Symbol: "g"},
			{Offset: 14, Kind: pe.Rel32, Symbol: "leaf"}}, u)
	})
	assert.Equal(t, 16, r.requireUnwindsEverywhere(r.symbol("f")))
}

// raw is a page with an image whose tables a test writes byte by byte.
type raw struct {
	t    *testing.T
	page *guest.Region
}

func newRaw(t *testing.T) *raw {
	space, err := guest.Default()
	require.NoError(t, err)
	page, err := space.AllocSystem(0x4000, guest.ProtRW, "test image")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, page.Free()) })
	return &raw{t, page}
}

func (w *raw) put(rva uint32, b ...byte) {
	require.NoError(w.t, guest.Write(w.page.Base()+guest.Addr(rva), b))
}

func (w *raw) words(rva uint32, v ...uint64) {
	require.NoError(w.t, guest.WriteSlice(w.page.Base()+guest.Addr(rva), v))
}

func (w *raw) at(rva uint32) guest.Addr { return w.page.Base() + guest.Addr(rva) }

func (w *raw) function(begin, end, info uint32) Function {
	return Function{pe.RuntimeFunction{Begin: begin, End: end, UnwindInfo: info}, w.page.Base(), 0}
}

// Where the parts of a raw image are.
const (
	rawCode  = 0x100
	rawInfo  = 0x800
	rawStack = 0x2000
)

// unwind unwinds function f at an offset into it, with numbers on the stack that say where they are.
func (w *raw) unwind(f Function, offset uint32, change func(r *Registers)) (Registers, Unwound, error) {
	for i := range uint32(0x200) {
		w.words(rawStack+8*i, 0x1000+uint64(8*i))
	}
	r := Registers{RIP: w.at(f.Begin + offset)}
	r.GPR[engine.RSP] = uint64(w.at(rawStack))
	if change != nil {
		change(&r)
	}
	tables := Tables{pe.NewLinker()}
	u, err := tables.VirtualUnwind(nt.UNW_FLAG_EHANDLER, r.RIP, f, &r, nil)
	r.GPR[engine.RSP] -= uint64(w.at(rawStack))
	return r, u, err
}

func le(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func TestOperationsThatCompilersRarelyWrite(t *testing.T) {
	for _, c := range []struct {
		name    string
		info    []byte
		stack   int  // what RSP has grown by
		trap    bool // RSP comes from a machine frame, so it is that number itself
		rip     guest.Addr
		rbx     uint64
		xmm7    engine.XMM
		handler guest.Addr
	}{
		{name: "an allocation of 32 bits", info: []byte{1, 8, 3, 0, 8, 0x11, 0x10, 0, 0, 0, 0, 0},
			stack: 0x18, rip: 0x1010},
		{name: "a save with a distance of 32 bits", info: []byte{1, 8, 4, 0, 8, 0x35, 0x40, 0, 0, 0,
			4, 0x02}, stack: 0x10, rip: 0x1008, rbx: 0x1040},
		{name: "an XMM save with a distance of 32 bits", info: []byte{1, 8, 3, 0, 8, 0x79, 0x40, 0, 0,
			0}, stack: 8, rip: 0x1000, xmm7: engine.XMM{0x1040, 0x1048}},
		{name: "a machine frame", info: []byte{1, 0, 1, 0, 0, 0x0A, 0, 0}, rip: 0x1000,
			stack: 0x1018, trap: true},
		{name: "a machine frame with an error code", info: []byte{1, 0, 1, 0, 0, 0x1A, 0, 0},
			rip: 0x1008, stack: 0x1020, trap: true},
		{name: "a handler behind an odd number of codes",
			info:  append([]byte{1 | 1<<3, 8, 1, 0, 8, 0x02, 0, 0}, le(0x123)...),
			stack: 0x10, rip: 0x1008, handler: 0x123},
		{name: "no handler of the other kind",
			info:  append([]byte{1 | 2<<3, 8, 1, 0, 8, 0x02, 0, 0}, le(0x123)...),
			stack: 0x10, rip: 0x1008},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newRaw(t)
			w.put(rawInfo, c.info...)
			r, u, err := w.unwind(w.function(rawCode, rawCode+0x100, rawInfo), 0x20, nil)
			require.NoError(t, err)
			assert.Equal(t, c.rip, r.RIP)
			if c.trap {
				r.GPR[engine.RSP] += uint64(w.at(rawStack))
			}
			assert.EqualValues(t, c.stack, int64(r.GPR[engine.RSP]))
			assert.Equal(t, c.rbx, r.GPR[engine.RBX])
			assert.Equal(t, c.xmm7, r.XMM[7])
			if c.handler != 0 {
				assert.Equal(t, w.at(uint32(c.handler)), u.Handler)
				assert.Equal(t, w.at(rawInfo+uint32(len(c.info))), u.Data)
			} else {
				assert.Zero(t, u.Handler)
			}
		})
	}
}

func TestHandlersAreForTheBodyOnly(t *testing.T) {
	w := newRaw(t)
	w.put(rawInfo, append([]byte{1 | 1<<3, 4, 1, 0, 4, 0x42, 0, 0}, le(0x123)...)...)
	code, _ := assemble(`
		48 83 EC 28  sub rsp, 28h
		90           nop
		48 83 C4 28  add rsp, 28h
		C3           ret`)
	w.put(rawCode, code...)
	f := w.function(rawCode, rawCode+uint32(len(code)), rawInfo)
	for offset, want := range map[uint32]struct {
		handler bool
		rsp     uint64
	}{0: {false, 8}, 3: {false, 8}, 4: {true, 0x30}, 5: {false, 0x30}, 9: {false, 8}} {
		r, u, err := w.unwind(f, offset, nil)
		require.NoError(t, err)
		assert.Equal(t, want.handler, u.Handler != 0, "at %d", offset)
		assert.Equal(t, want.rsp, r.GPR[engine.RSP], "at %d", offset)
	}
}

func TestChainedFunctions(t *testing.T) {
	w := newRaw(t)
	// The primary: push rbx; sub rsp, 20h; a handler. Its second part saves rsi besides.
	w.put(rawInfo, append([]byte{1 | 1<<3, 5, 2, 0, 5, 0x32, 1, 0x30}, le(0x456)...)...)
	w.put(rawInfo+0x40, append([]byte{1 | 4<<3, 5, 2, 0, 5, 0x64, 2, 0},
		le(rawCode, rawCode+0x20, rawInfo)...)...)
	second := w.function(rawCode+0x200, rawCode+0x220, rawInfo+0x40)
	r, u, err := w.unwind(second, 5, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 0x1010, r.GPR[engine.RSI])
	assert.EqualValues(t, 0x1020, r.GPR[engine.RBX])
	assert.EqualValues(t, 0x1028, r.RIP)
	assert.EqualValues(t, 0x30, r.GPR[engine.RSP])
	assert.Equal(t, w.at(0x456), u.Handler)
	assert.Equal(t, w.at(rawStack), u.Establisher)

	r, _, err = w.unwind(second, 2, nil)
	require.NoError(t, err)
	assert.Zero(t, r.GPR[engine.RSI], "it is not saved yet")
	assert.EqualValues(t, 0x1020, r.GPR[engine.RBX])

	// An entry whose unwind data is another entry.
	w.put(0x40, le(rawCode, rawCode+0x20, rawInfo)...)
	r, _, err = w.unwind(w.function(rawCode, rawCode+0x20, 0x40|indirect), 8, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 0x1028, r.RIP)
}

func TestEpiloguesOfVersion2(t *testing.T) {
	// push rbx; push rsi; sub rsp, 20h. Epilogues of 3 bytes (pops and ret) at the end and at 0x20
	// from the end; the jump of a third, at 0x123 from the end, is not looked at.
	w := newRaw(t)
	w.put(rawInfo, 2, 6, 7, 0, 3, 0x16, 0x20, 0x06, 0x23, 0x16, 0, 0x06, 6, 0x32, 2, 0x60, 1, 0x30)
	const size = 0x200
	f := w.function(rawCode, rawCode+size, rawInfo)
	epilogue := []byte{0x5E, 0x5B, 0xC3}
	w.put(rawCode+size-3, epilogue...)
	w.put(rawCode+size-0x20, epilogue...)
	w.put(rawCode+size-0x123, 0x5E, 0x5B, 0xFF, 0xE0)
	w.put(rawCode+0x40, epilogue...) // what looks like one, and is not in the list
	for _, c := range []struct {
		name     string
		offset   uint32
		rsp, rip uint64
	}{
		{"body", 0x10, 0x38, 0x1030},
		{"not in the list", 0x40, 0x38, 0x1030},
		{"before the one at the end", size - 4, 0x38, 0x1030},
		{"first pop at the end", size - 3, 0x18, 0x1010},
		{"second pop at the end", size - 2, 0x10, 0x1008},
		{"return at the end", size - 1, 8, 0x1000},
		{"first pop of the second", size - 0x20, 0x18, 0x1010},
		{"return of the second", size - 0x1E, 8, 0x1000},
		{"behind the second", size - 0x1D, 0x38, 0x1030},
		{"first pop of the third", size - 0x123, 0x18, 0x1010},
		{"jump of the third", size - 0x121, 8, 0x1000},
	} {
		r, _, err := w.unwind(f, c.offset, nil)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.rsp, r.GPR[engine.RSP], c.name)
		assert.EqualValues(t, c.rip, r.RIP, c.name)
	}
}

func TestBadTablesAreErrors(t *testing.T) {
	for _, c := range []struct {
		name, fact string
		info       []byte
	}{
		{"version 3", "unknown version", []byte{3, 0, 0, 0}},
		{"version 0", "unknown version", []byte{0, 0, 0, 0}},
		{"unknown operation", "unknown operation", []byte{1, 0, 1, 0, 0, 0x0B}},
		{"epilogue operation in version 1", "unknown operation", []byte{1, 0, 1, 0, 0, 6}},
		{"cut short", "ends inside", []byte{1, 0, 1, 0, 0, 1}},
		{"large allocation of form 2", "unknown form", []byte{1, 0, 1, 0, 0, 0x21}},
		{"no frame register", "has none", []byte{1, 0, 1, 0, 0, 3}},
		{"chained to itself", "chained to itself", append([]byte{1 | 4<<3, 0, 0, 0},
			le(rawCode, rawCode+0x20, rawInfo)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newRaw(t)
			w.put(rawInfo, c.info...)
			_, _, err := w.unwind(w.function(rawCode, rawCode+0x20, rawInfo), 0x10, nil)
			var bad *TableError
			require.ErrorAs(t, err, &bad)
			assert.ErrorIs(t, err, nt.STATUS_BAD_FUNCTION_TABLE)
			assert.Contains(t, err.Error(), c.fact)
		})
	}
	t.Run("a stack that cannot be read", func(t *testing.T) {
		w := newRaw(t)
		w.put(rawInfo, 1, 0, 1, 0, 0, 0x30)
		for _, rsp := range []uint64{0, 8, 0x8000_0000_0000_0000, ^uint64(0)} {
			_, _, err := w.unwind(w.function(rawCode, rawCode+0x20, rawInfo), 0x10,
				func(r *Registers) { r.GPR[engine.RSP] = rsp })
			var fault *guest.FaultError
			require.ErrorAs(t, err, &fault)
		}
	})
}

func FuzzVirtualUnwind(f *testing.F) {
	space, err := guest.Default()
	require.NoError(f, err)
	page, err := space.AllocSystem(0x4000, guest.ProtRW, "test image")
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, page.Free()) })
	f.Add([]byte{1, 8, 3, 0, 8, 0x11, 0x10, 0, 0, 0}, []byte{0x48, 0x83, 0xC4, 0x28, 0xC3}, uint32(9))
	f.Add([]byte{2, 6, 4, 0, 3, 0x16, 6, 0x32}, []byte{0x5B, 0xC3}, uint32(1))
	f.Add([]byte{1 | 4<<3, 5, 2, 0x15, 5, 0x64, 2, 0}, []byte{0x5B, 0xC3}, uint32(1))
	f.Fuzz(func(t *testing.T, info, code []byte, offset uint32) {
		w := page.Bytes()
		clear(w)
		copy(w[0x1000:0x2000], code)
		copy(w[0x2000:0x3000], info)
		for i := 0x3000; i < 0x4000; i++ {
			w[i] = byte(i)
		}
		var r Registers
		for i := range r.GPR {
			r.GPR[i] = uint64(page.Base()) + 0x3000
		}
		fn := Function{pe.RuntimeFunction{Begin: 0x1000, End: 0x1000 + uint32(len(code)) + 1,
			UnwindInfo: 0x2000}, page.Base(), 0}
		r.RIP = page.Base() + 0x1000 + guest.Addr(offset%0x1000)
		tables := Tables{pe.NewLinker()}
		var saved Saved
		_, _ = tables.VirtualUnwind(nt.UNW_FLAG_EHANDLER|nt.UNW_FLAG_UHANDLER, r.RIP, fn, &r, &saved)
	})
}
