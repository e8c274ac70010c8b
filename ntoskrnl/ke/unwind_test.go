package ke

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// resumeAt makes the guest go on at an instruction, with a stack pointer.
func resumeAt(t *Thread, rip guest.Addr, rsp uint64) {
	t.ctx.MakeFull()
	t.ctx.RIP, t.ctx.GPR[engine.RSP] = uint64(rip), rsp
	t.Resume()
}

// caller is a guest function that calls the function in RCX with 0x20 bytes of home space; what RDX
// has comes back in RAX where it goes on.
func (s *testSystem) caller() (fn, goesOn guest.Addr) {
	fn = s.function(
		0x53,                   // push rbx
		0x48, 0x83, 0xEC, 0x20, // sub rsp, 20h
		0xFF, 0xD1, // call rcx
		0x48, 0x83, 0xC4, 0x20, // add rsp, 20h
		0x5B,                         // pop rbx
		0xC3,                         // ret
		0xB8, 0x34, 0x12, 0x00, 0x00, // goesOn: mov eax, 1234h
		0xEB, 0xF3) // jmp to the addition
	return fn, fn + 13
}

func TestResumeEndsInnerCalls(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	fn, goesOn := s.caller()
	for depth := range 4 {
		var frames []uint64 // RSP in fn, of each Call
		var released []int
		var nest func(th *Thread) uint64
		thunk := guest.Addr(0)
		nest = func(th *Thread) uint64 {
			index := th.index
			frames = append(frames, th.ctx.GPR[engine.RSP]+8)
			defer func(n int) { released = append(released, n) }(len(frames))
			if len(frames) == 5 {
				assert.Equal(t, 5, th.Depth())
				resumeAt(th, goesOn, frames[depth])
			}
			result := th.Call(fn, uint64(thunk))
			assert.Equal(t, index, th.index)
			return result
		}
		thunk = s.imported(nest)
		s.do(func(th *Thread) {
			assert.EqualValues(t, 0x1234, th.Call(fn, uint64(thunk)))
			assert.Zero(t, th.Depth())
			assert.Equal(t, uint64(th.stack.Top()), th.ctx.GPR[engine.RSP])
			assert.EqualValues(t, 0x1234, th.Call(goesOn-13, uint64(s.imported(func(th *Thread) uint64 {
				return 0x1234
			}))), "the thread works as before")
		})
		assert.Equal(t, []int{5, 4, 3, 2, 1}, released)
		s.imports = nil
	}
}

func TestResumeToNoFrameIsABugcheck(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	fn, goesOn := s.caller()
	thunk := s.imported(func(th *Thread) uint64 {
		resumeAt(th, goesOn, uint64(th.stack.Top())+0x100)
		return 0
	})
	err := s.try(func(th *Thread) { th.Call(fn, uint64(thunk)) })
	require.Error(t, err)
	b := s.crash()
	assert.Equal(t, nt.KMODE_EXCEPTION_NOT_HANDLED, b.Code)
	assert.EqualValues(t, nt.STATUS_BAD_STACK, b.Params[0])
}

func TestGoPanicsPassCallsWithTheirStack(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	fn, _ := s.caller()
	inner := s.imported(func(th *Thread) uint64 { panic(badLuck(th)) })
	outer := s.imported(func(th *Thread) uint64 { return th.Call(fn, uint64(inner)) })
	require.Error(t, s.try(func(th *Thread) { th.Call(fn, uint64(outer)) }))
	b := s.crash()
	assert.Equal(t, HostFault, b.Code)
	assert.Contains(t, b.HostStack, "TestGoPanicsPassCallsWithTheirStack.func1")
}

func badLuck(*Thread) string { return "bad luck" }

func TestCallBelowLeavesRoomThatTheStackPasses(t *testing.T) {
	s := newTestSystem(t, testOptions{})
	fn, _ := s.caller()
	var inner, outer uint64
	look := s.imported(func(th *Thread) uint64 {
		inner = th.ctx.GPR[engine.RSP]
		at := guest.Addr(th.calls[1].rsp) + 8 + engine.TrampolineAlloc + machineRSP
		v, err := guest.Load64(at)
		require.NoError(t, err)
		assert.Equal(t, outer, v)
		return 7
	})
	call := s.imported(func(th *Thread) uint64 {
		outer = th.ctx.GPR[engine.RSP]
		v := th.CallBelow(guest.Addr(outer)-0x1000, 0, fn, uint64(look))
		assert.Equal(t, outer, th.ctx.GPR[engine.RSP])
		return v
	})
	s.do(func(th *Thread) { assert.EqualValues(t, 7, th.Call(fn, uint64(call))) })
	assert.Less(t, inner, outer-0x1000)
}

func BenchmarkCall(b *testing.B) {
	s := newTestSystem(b, testOptions{})
	fn := s.function(0xC3)
	s.do(func(th *Thread) {
		b.ReportAllocs()
		for b.Loop() {
			th.Call(fn)
		}
	})
}
