package ntoskrnl

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// The built-in modules: ntoskrnl.exe and hal.dll as PE images in the guest's address space. An
// exported function is a thunk that leaves for Go with the row's number, or the row's own code.

// Symbols of ntoskrnl.exe that are not exports.
const (
	symCallGate   = "gate.call"
	symReturnGate = "gate.return"
	symTrampoline = "KiCallReturn"
	symGuardCheck = "guard.check"
	symGuardJump  = "guard.dispatch"
)

// thunk is the code of an exported function:
//
//	B8 imm32        mov eax, row
//	FF 25 rel32     jmp [gate.call]
const thunkSize = 11

func putThunk(code []byte, row uint32) {
	code[0] = 0xB8
	binary.LittleEndian.PutUint32(code[1:], row)
	code[5], code[6] = 0xFF, 0x25
}

// kernelImage builds ntoskrnl.exe. It is the same for every kernel of a process: what differs, the
// gates' addresses and the variables' values, is written once it is mapped.
var kernelImage = sync.OnceValues(func() (builtImage, error) {
	rows := Exports()
	b := pe.NewBuilder("ntoskrnl.exe")
	b.Grow(len(rows) + 8)
	b.Data(symCallGate, 8, 8, nil, nil)
	b.Data(symReturnGate, 8, 8, nil, nil)
	code := make([]byte, thunkSize*len(rows))
	fixups := make([]pe.Fixup, len(rows))
	for i := range rows {
		row := &rows[i]
		switch {
		case row.Data != 0:
			b.Data(row.Name, row.Data, 16, nil, nil)
		case row.Code != nil:
			text, fixups := row.Code.body()
			b.Code(row.Name, text, fixups, row.Code.Unwind)
		default:
			t := code[thunkSize*i : thunkSize*(i+1)]
			putThunk(t, uint32(i))
			fixups[i] = pe.Fixup{Offset: 7, Kind: pe.Rel32, Symbol: symCallGate}
			b.Code(row.Name, t, fixups[i:i+1:i+1], nil)
		}
		if !row.Internal {
			b.Export(row.Name, 0, row.Name)
		}
	}
	// Guest functions that Go calls return here. The unwind data leads from there through the
	// machine frame to the frame below the call.
	addTrampoline(b, symTrampoline, trampolineUnwind())
	addHandlerReturns(b)
	b.Code(symGuardCheck, []byte{0xC3}, nil, nil)      // ret
	b.Code(symGuardJump, []byte{0xFF, 0xE0}, nil, nil) // jmp rax
	return finish(b)
})

// halImage builds hal.dll, which since Windows 10 version 2004 only forwards to the kernel.
var halImage = sync.OnceValues(func() (builtImage, error) {
	b := pe.NewBuilder("hal.dll")
	b.SetDLL()
	b.Const("version", 4, 4, binary.LittleEndian.AppendUint32(nil, nt.BuildNumber), nil)
	for i, row := range Exports() {
		if row.Hal {
			b.ExportForward(Exports()[i].Name, 0, "ntoskrnl."+row.Name)
		}
	}
	return finish(b)
})

type builtImage struct {
	image *pe.Image
	rva   func(symbol string) (uint32, bool)
}

func finish(b *pe.Builder) (builtImage, error) {
	img, err := b.Build()
	if err != nil {
		return builtImage{}, err
	}
	return builtImage{img, b.SymbolRVA}, nil
}

// addTrampoline adds code that guest functions which Go calls return to. A jump alone would be an
// epilogue to an unwinder, so a NOP comes before it.
func addTrampoline(b *pe.Builder, symbol string, unwind *pe.Unwind) {
	b.Code(symbol, []byte{0x90, 0xFF, 0x25, 0, 0, 0, 0},
		[]pe.Fixup{{Offset: 3, Kind: pe.Rel32, Symbol: symReturnGate}}, unwind)
}

func trampolineUnwind() *pe.Unwind {
	return &pe.Unwind{Ops: []pe.UnwindOp{
		pe.PushMachFrame(0, false),
		pe.Alloc(0, engine.TrampolineAlloc),
	}}
}

// loadBuiltins maps the built-in modules and makes them known to the linker.
func (k *Kernel) loadBuiltins() error {
	built, err := kernelImage()
	if err != nil {
		return err
	}
	if k.ntoskrnl, err = k.mapBuiltin(built); err != nil {
		return err
	}
	at := func(symbol string) guest.Addr {
		rva, ok := built.rva(symbol)
		if !ok {
			panic("ntoskrnl: no symbol " + symbol)
		}
		return k.ntoskrnl.Addr(rva)
	}
	k.symbol = at
	gates := k.cpu.Gates()
	for symbol, gate := range map[string]guest.Addr{symCallGate: gates.Call, symReturnGate: gates.Return} {
		if err := guest.StoreAddr(at(symbol), gate); err != nil {
			return err
		}
	}
	if err := k.ntoskrnl.Protect(); err != nil {
		return err
	}
	hal, err := halImage()
	if err != nil {
		return err
	}
	if k.hal, err = k.mapBuiltin(hal); err != nil {
		return err
	}
	return k.hal.Protect()
}

func (k *Kernel) mapBuiltin(b builtImage) (*pe.Module, error) {
	m, err := b.image.Map(k.space, pe.MapOptions{Relocate: true})
	if err != nil {
		return nil, err
	}
	if err := k.Linker.Add(m); err != nil {
		return nil, fmt.Errorf("%w (unmapping: %v)", err, m.Unmap())
	}
	return m, nil
}

// fillVariables gives the exported variables their values, when the rest of the kernel is there.
func (k *Kernel) fillVariables() error {
	rows := Exports()
	for i := range rows {
		if rows[i].Init == nil {
			continue
		}
		if err := guest.Write(k.symbol(rows[i].Name), rows[i].Init(k)); err != nil {
			return fmt.Errorf("%s: %w", rows[i].Name, err)
		}
	}
	return nil
}
