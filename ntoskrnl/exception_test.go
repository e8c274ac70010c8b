package ntoskrnl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

// Sizes of what a language handler is given.
const (
	recordSize     = 0x98
	contextSize    = 0x4D0
	dispatcherSize = 0x50
	givenSize      = recordSize + contextSize + dispatcherSize
)

// hostileDriver is an image whose DriverEntry faults, and whose language handler XORs what it is
// given with the bytes at "mask", so often as "times" says, and answers with "answer".
func hostileDriver(t testing.TB) (*pe.Image, func(symbol string) uint32) {
	b := pe.NewBuilder("hostile.sys")
	b.Data("mask", givenSize, 16, nil, nil)
	b.Data("times", 4, 4, nil, nil)
	b.Data("answer", 4, 4, nil, nil)
	b.Code("entry", []byte{
		0x48, 0x83, 0xEC, 0x28, // sub rsp, 28h
		0x0F, 0x0B, // ud2
		0x90,                   // nop
		0x48, 0x83, 0xC4, 0x28, // add rsp, 28h
		0xC3, // ret
	}, nil, &pe.Unwind{PrologSize: 4, Ops: []pe.UnwindOp{pe.Alloc(4, 0x28)}, Handler: "handler",
		OnException: true, OnUnwind: true})
	handler := []byte{
		0xB8, 1, 0, 0, 0, // mov eax, ExceptionContinueSearch
		0xFF, 0x0D, 0, 0, 0, 0, // dec [times]
		0x78, 0x47, // js done
		0x56,                         // push rsi
		0x57,                         // push rdi
		0x48, 0x8D, 0x35, 0, 0, 0, 0, // lea rsi, [mask]
	}
	xor := func(mov []byte, size uint32) {
		handler = append(handler, mov...)
		handler = append(handler, 0xB9) // mov ecx, size
		handler = binary.LittleEndian.AppendUint32(handler, size)
		handler = append(handler,
			0x8A, 0x06, // next: mov al, [rsi]
			0x30, 0x07, // xor [rdi], al
			0x48, 0xFF, 0xC6, // inc rsi
			0x48, 0xFF, 0xC7, // inc rdi
			0xFF, 0xC9, // dec ecx
			0x75, 0xF2) // jne next
	}
	xor([]byte{0x48, 0x89, 0xCF}, recordSize)     // mov rdi, rcx
	xor([]byte{0x4C, 0x89, 0xC7}, contextSize)    // mov rdi, r8
	xor([]byte{0x4C, 0x89, 0xCF}, dispatcherSize) // mov rdi, r9
	answer := uint32(len(handler)) + 2
	handler = append(handler, 0x8B, 0x05, 0, 0, 0, 0) // mov eax, [answer]
	handler = append(handler, 0x5F, 0x5E)             // pop rdi; pop rsi
	handler[12] = byte(len(handler) - 13)
	handler = append(handler, 0xC3) // done: ret
	b.Code("handler", handler, []pe.Fixup{{Offset: 7, Kind: pe.Rel32, Symbol: "times"},
		{Offset: 18, Kind: pe.Rel32, Symbol: "mask"}, {Offset: answer, Kind: pe.Rel32, Symbol: "answer"}},
		&pe.Unwind{PrologSize: 15, Ops: []pe.UnwindOp{pe.PushNonvol(14, 6), pe.PushNonvol(15, 7)}})
	b.SetEntry("entry")
	img, err := b.Build()
	require.NoError(t, err)
	return img, func(symbol string) uint32 {
		rva, ok := b.SymbolRVA(symbol)
		require.True(t, ok)
		return rva
	}
}

// runHostile runs the driver with a mask of corruption, and gives how that ends.
func runHostile(t testing.TB, mask []byte, times int, answer nt.ExceptionDisposition) *ke.Bugcheck {
	img, rva := hostileDriver(t)
	k, err := New(Options{Processors: 1})
	require.NoError(t, err)
	m, err := img.Map(k.space, pe.MapOptions{Relocate: true})
	require.NoError(t, err)
	require.NoError(t, guest.Write(m.Addr(rva("mask")), mask))
	require.NoError(t, guest.Store32(m.Addr(rva("times")), uint32(times)))
	require.NoError(t, guest.Store32(m.Addr(rva("answer")), uint32(answer)))
	require.NoError(t, m.Protect())
	require.NoError(t, k.Linker.Add(m))
	ended := make(chan error, 1)
	go func() {
		ended <- k.onSystemThread(func(th *ke.Thread) { th.Call(m.Entry()) })
	}()
	select {
	case err = <-ended:
	case <-time.After(2 * time.Second):
		// The guest may have been sent anywhere, and into a circle.
	}
	b := k.Crashed()
	require.NoError(t, k.Close())
	if err == nil {
		return b
	}
	require.True(t, errors.As(err, &b), "%v", err)
	return b
}

func TestHandlersAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer nt.ExceptionDisposition
		code   nt.BugCheck
		status uint64
	}{
		{"continue search", nt.ExceptionContinueSearch, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED,
			uint64(nt.STATUS_ILLEGAL_INSTRUCTION)},
		{"nested exception", nt.ExceptionNestedException, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED,
			uint64(nt.STATUS_ILLEGAL_INSTRUCTION)},
		{"collided unwind, where there was none", nt.ExceptionCollidedUnwind,
			nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, uint64(nt.STATUS_ILLEGAL_INSTRUCTION)},
		{"no answer that there is", 77, nt.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED,
			uint64(nt.STATUS_INVALID_DISPOSITION)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := runHostile(t, nil, 1, c.answer)
			require.NotNil(t, b)
			assert.Equal(t, c.code, b.Code, "%v", b)
			assert.Equal(t, c.status, b.Params[0])
		})
	}
	t.Run("the same one forever", func(t *testing.T) {
		b := runHostile(t, nil, 1<<30, 77)
		require.NotNil(t, b)
		assert.Equal(t, nt.UNEXPECTED_KERNEL_MODE_TRAP, b.Code, "%v", b)
	})
}

// TestCorruptedExceptions flips bits in what a language handler is given.
func TestCorruptedExceptions(t *testing.T) {
	runs := 200
	if testing.Short() {
		runs = 20
	}
	outcomes := map[string]int{}
	for seed := range runs {
		rng := rand.New(rand.NewPCG(7, uint64(seed)))
		mask := make([]byte, givenSize)
		for range 1 + rng.IntN(3) {
			// The parts that matter are at the ends: the record, the registers, DISPATCHER_CONTEXT.
			at := rng.IntN(givenSize)
			switch rng.IntN(3) {
			case 0:
				at = rng.IntN(recordSize)
			case 1:
				at = givenSize - 1 - rng.IntN(dispatcherSize)
			}
			if rng.IntN(2) == 0 {
				mask[at] ^= 1 << rng.IntN(8)
			} else {
				mask[at] ^= byte(rng.Uint32())
			}
		}
		b := runHostile(t, mask, 1+rng.IntN(3), nt.ExceptionDisposition(rng.IntN(5)))
		if b == nil {
			outcomes["goes on"]++
			continue
		}
		outcomes[b.Code.String()]++
		require.NotEqual(t, ke.HostFault, b.Code, "seed %d: %v\n%s", seed, b, b.HostStack)
	}
	t.Log(outcomes)
}

func FuzzCorruptedException(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1}, uint8(1), uint8(0))
	f.Fuzz(func(t *testing.T, mask []byte, times, answer uint8) {
		b := runHostile(t, mask[:min(len(mask), givenSize)], int(times%8), nt.ExceptionDisposition(answer%5))
		if b != nil && b.Code == ke.HostFault {
			t.Fatal(b, b.HostStack)
		}
	})
}

// TestPlainAccessesAreInScopeTables makes sure that the compiler protects loads and stores in the
// __try blocks of the fixture, and not only calls: there are scopes without one.
func TestPlainAccessesAreInScopeTables(t *testing.T) {
	data, err := fixtures.Bytes("seh")
	require.NoError(t, err)
	img, err := pe.Parse("seh.sys", data)
	require.NoError(t, err)
	space, err := guest.Default()
	require.NoError(t, err)
	m, err := img.Map(space, pe.MapOptions{Relocate: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Unmap()) }()
	plain := 0
	for _, f := range img.Functions() {
		head, err := guest.Load32(m.Addr(f.UnwindInfo))
		require.NoError(t, err)
		if uint8(head>>3)&nt.UNW_FLAG_EHANDLER == 0 {
			continue
		}
		codes := head >> 16 & 0xFF
		table := m.Addr(f.UnwindInfo + 4 + 2*((codes+1)&^1) + 4)
		count, err := guest.Load32(table)
		require.NoError(t, err)
		for i := range guest.Addr(count) {
			var scope [4]uint32
			require.NoError(t, guest.ReadSlice(scope[:], table+4+16*i))
			code := make([]byte, scope[1]-scope[0])
			require.NoError(t, guest.Read(code, m.Addr(scope[0])))
			// No CALL, by a distance or through a pointer: what may fault is an access.
			if !bytes.Contains(code, []byte{0xE8}) && !bytes.Contains(code, []byte{0xFF}) {
				plain++
			}
		}
	}
	assert.Greater(t, plain, 5)
}
