package ntoskrnl

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// What drivers' inner loops call, timed in guest code, beside the engine's bare exit.

// loopCall is a call of an export in a guest loop.
type loopCall struct {
	name string
	args [4]uint64
}

// lastResult as the first argument is what the call before it gave.
const lastResult = ^uint64(0)

// guestLoop makes a function that makes the calls, in their order, as many times as its argument
// says. They go through a table, as a driver's imports do.
func (r *driverRig) guestLoop(calls ...loopCall) guest.Addr {
	text := []byte{
		0x53,                   // push rbx
		0x48, 0x83, 0xEC, 0x30, // sub rsp, 30h
		0x48, 0x89, 0xCB, // mov rbx, rcx
		0x48, 0xC7, 0x44, 0x24, 0x20, 0, 0, 0, 0, // mov qword [rsp+20h], 0
	}
	const table = 0x800
	again := len(text)
	for i, c := range calls {
		for j, register := range [][2][]byte{
			{{0x31, 0xC9}, {0x48, 0xB9}}, {{0x31, 0xD2}, {0x48, 0xBA}}, // rcx, rdx
			{{0x45, 0x31, 0xC0}, {0x49, 0xB8}}, {{0x45, 0x31, 0xC9}, {0x49, 0xB9}}, // r8, r9
		} {
			zero, load := register[0], register[1]
			switch c.args[j] {
			case 0:
				text = append(text, zero...) // xor register, register
			case lastResult:
				text = append(text, 0x48, 0x89, 0xC1) // mov rcx, rax
			default:
				text = binary.LittleEndian.AppendUint64(append(text, load...), c.args[j])
			}
		}
		text = append(text, 0xFF, 0x15) // call [rip+...]
		text = binary.LittleEndian.AppendUint32(text, uint32(table+8*i-len(text)-4))
	}
	text = append(text, 0x48, 0xFF, 0xCB, 0x0F, 0x85) // dec rbx; jnz again
	text = binary.LittleEndian.AppendUint32(text, uint32(again-len(text)-4))
	text = append(text, 0x48, 0x83, 0xC4, 0x30, 0x5B, 0xC3) // add rsp, 30h; pop rbx; ret
	require.Less(r.t, len(text), table)
	text = append(text, make([]byte, table-len(text))...)
	for _, c := range calls {
		text = binary.LittleEndian.AppendUint64(text, uint64(r.symbol(c.name)))
	}
	return guest.Addr(r.routine(text...))
}

// timeLoop gives what a round of a guest loop takes, in nanoseconds.
func (r *driverRig) timeLoop(th *ke.Thread, loop guest.Addr, rounds int) float64 {
	start := time.Now()
	require.NoError(r.t, th.Do(func() { th.Call(loop, uint64(rounds)) }))
	return float64(time.Since(start).Nanoseconds()) / float64(rounds)
}

// bareExit gives what a call of an export takes that does nothing. The least of several runs
// counts: the others were disturbed.
func (r *driverRig) bareExit() float64 {
	return r.least(r.guestLoop(loopCall{name: "KeQueryTimeIncrement"}))
}

// lockedPair makes a function that takes and releases a lock of its own as many times as its argument
// says, with the two instructions that this needs and no more.
func (r *driverRig) lockedPair() guest.Addr {
	text := []byte{0x49, 0xB8} // mov r8, imm64
	text = binary.LittleEndian.AppendUint64(text, r.mem(8))
	text = append(text, 0xBA, 1, 0, 0, 0) // mov edx, 1
	again := len(text)
	text = append(text,
		0x31, 0xC0, // xor eax, eax
		0xF0, 0x49, 0x0F, 0xB1, 0x10, // lock cmpxchg [r8], rdx
		0x49, 0xC7, 0x00, 0, 0, 0, 0, // mov qword [r8], 0
		0x48, 0xFF, 0xC9, // dec rcx
		0x75, 0) // jnz again
	text[len(text)-1] = byte(again - len(text))
	return guest.Addr(r.routine(append(text, 0xC3)...))
}

// least gives what a round of a loop takes in the quickest of some runs.
func (r *driverRig) least(loop guest.Addr) float64 {
	least := r.timeLoop(r.thread, loop, 1000)
	for range 20 {
		least = min(least, r.timeLoop(r.thread, loop, 20_000))
	}
	return least
}

// BenchmarkKernel reports the time of a round as ns, the least of several runs, and its ratio to a
// bare exit as x-exit; what never leaves guest code has its ratio to a locked pair of instructions
// as x-locked.
func BenchmarkKernel(b *testing.B) {
	const (
		tag         = 0x68636E42
		nonPagedNx  = 0x200
		sizeofEvent = 24
	)
	event := func(r *driverRig) uint64 {
		e := r.mem(sizeofEvent)
		r.call("KeInitializeEvent", e, 1, 0)
		return e
	}
	for _, c := range []struct {
		name string
		ways int // how many of what is timed a round has
		loop func(r *driverRig) guest.Addr
	}{
		{"spin lock pair", 1, func(r *driverRig) guest.Addr {
			lock := r.mem(8)
			return r.guestLoop(loopCall{"KeAcquireSpinLockRaiseToDpc", [4]uint64{lock}},
				loopCall{"KeReleaseSpinLock", [4]uint64{lock}})
		}},
		{"pool pair", 1, func(r *driverRig) guest.Addr {
			return r.guestLoop(loopCall{"ExAllocatePoolWithTag", [4]uint64{nonPagedNx, 64, tag}},
				loopCall{"ExFreePoolWithTag", [4]uint64{lastResult, tag}})
		}},
		{"event set and wait", 1, func(r *driverRig) guest.Addr {
			e := event(r)
			return r.guestLoop(loopCall{"KeSetEvent", [4]uint64{e}},
				loopCall{"KeWaitForSingleObject", [4]uint64{e}})
		}},
		{"event hand-over", 2, func(r *driverRig) guest.Addr {
			ping, pong := event(r), event(r)
			other := r.guestLoop(loopCall{"KeWaitForSingleObject", [4]uint64{ping}},
				loopCall{"KeSetEvent", [4]uint64{pong}})
			_, err := r.Ke.StartSystemThread(r.Ke.SystemProcess, func(th *ke.Thread) {
				th.Call(other, 1<<40)
			}, nil)
			require.NoError(r.t, err)
			return r.guestLoop(loopCall{"KeSetEvent", [4]uint64{ping}},
				loopCall{"KeWaitForSingleObject", [4]uint64{pong}})
		}},
		{"DPC from queue to run", 1, func(r *driverRig) guest.Addr {
			dpc, count := r.mem(0x40), r.mem(8)
			r.call("KeInitializeDpc", dpc, r.routine(incSecond...), count)
			return r.guestLoop(loopCall{"KeInsertQueueDpc", [4]uint64{dpc}})
		}},
		{"DPC to a waiting thread", 1, func(r *driverRig) guest.Addr {
			dpc, e := r.mem(0x40), event(r)
			set := []byte{
				0x48, 0x89, 0xD1, // mov rcx, rdx
				0x31, 0xD2, // xor edx, edx
				0x45, 0x31, 0xC0, // xor r8d, r8d
				0x48, 0xB8, // mov rax, KeSetEvent
			}
			set = binary.LittleEndian.AppendUint64(set, uint64(r.symbol("KeSetEvent")))
			r.call("KeInitializeDpc", dpc, r.routine(append(set, 0xFF, 0xE0)...), e) // jmp rax
			return r.guestLoop(loopCall{"KeInsertQueueDpc", [4]uint64{dpc}},
				loopCall{"KeWaitForSingleObject", [4]uint64{e}})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b)
			exit := r.bareExit()
			loop := c.loop(r)
			const rounds = 2000
			least := r.timeLoop(r.thread, loop, rounds)
			b.ResetTimer()
			for i := 0; i < b.N; i += rounds {
				least = min(least, r.timeLoop(r.thread, loop, rounds))
			}
			least /= float64(c.ways)
			b.ReportMetric(least, "ns")
			if c.name == "spin lock pair" {
				b.ReportMetric(least/r.least(r.lockedPair()), "x-locked")
			}
			b.ReportMetric(least/exit, "x-exit")
			b.ReportMetric(exit, "ns-exit")
		})
	}
}
