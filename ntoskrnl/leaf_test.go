package ntoskrnl

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// leafSizes are around every size at which the routines change their way.
func leafSizes() []int {
	sizes := []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 66, 79, 80,
		81, 127, 128, 129, 191, 192, 193, 200, 1000, 4096}
	return sizes
}

// A region of leafArea bytes that ends at unmapped memory is enough for all of them.
const leafArea = 3 * 4096

func leafPattern() []byte {
	b := make([]byte, leafArea)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func TestMemmoveCopiesAsIfTheSourceWereReadFirst(t *testing.T) {
	r := newRig(t)
	pattern := leafPattern()
	area := r.mem(leafArea)
	for _, name := range []string{"memcpy", "memmove", "RtlCopyMemory", "RtlCopyMemoryNonTemporal",
		"RtlMoveMemory"} {
		for _, n := range leafSizes() {
			for _, distance := range []int{-n - 1, -n, -65, -64, -17, -8, -1, 0, 1, 7, 16, 33, 64, n,
				n + 1} {
				r.write(area, pattern)
				want := bytes.Clone(pattern)
				src := leafArea / 2
				dst := src + distance
				if dst < 0 || dst+n > leafArea {
					continue
				}
				copy(want[dst:dst+n], want[src:src+n])
				got := r.call(name, area+uint64(dst), area+uint64(src), uint64(n))
				require.Equal(t, area+uint64(dst), got, "the result of %s is dst", name)
				require.True(t, bytes.Equal(want, r.read(area, leafArea)),
					"%s of %d bytes by %d", name, n, distance)
			}
		}
	}
}

func TestMemsetFillsExactly(t *testing.T) {
	r := newRig(t)
	pattern := leafPattern()
	area := r.mem(leafArea)
	cases := []struct {
		name string
		args func(a, n uint64) []uint64
		fill byte
		ret  bool
	}{
		{"memset", func(a, n uint64) []uint64 { return []uint64{a, 0x1A5, n} }, 0xA5, true},
		{"RtlFillMemory", func(a, n uint64) []uint64 { return []uint64{a, n, 0x1A5} }, 0xA5, false},
		{"RtlZeroMemory", func(a, n uint64) []uint64 { return []uint64{a, n} }, 0, false},
	}
	for _, c := range cases {
		for _, n := range leafSizes() {
			r.write(area, pattern)
			at := 100 + n%7
			want := bytes.Clone(pattern)
			for i := range n {
				want[at+i] = c.fill
			}
			got := r.call(c.name, c.args(area+uint64(at), uint64(n))...)
			if c.ret {
				require.Equal(t, area+uint64(at), got, "the result of %s is dst", c.name)
			}
			require.True(t, bytes.Equal(want, r.read(area, leafArea)), "%s of %d bytes", c.name, n)
		}
	}
}

func TestMemcmpAndRtlCompareMemory(t *testing.T) {
	r := newRig(t)
	for _, n := range leafSizes() {
		text := bytes.Repeat([]byte{0x80}, n)
		a := r.atEnd(text) // neither reads a byte too many
		b := r.bytes(text)
		require.EqualValues(t, 0, int32(r.call("memcmp", a, b, uint64(n))), "%d equal bytes", n)
		require.EqualValues(t, n, r.call("RtlCompareMemory", a, b, uint64(n)))
		for i := range min(n, 200) {
			for _, d := range []byte{0x00, 0x7F, 0x81, 0xFF} {
				text[i] = d
				r.write(b, text)
				want := -1
				if d < 0x80 {
					want = 1
				}
				require.EqualValues(t, want, int32(r.call("memcmp", a, b, uint64(n))),
					"byte %d of %d is %#x", i, n, d)
				require.EqualValues(t, i, r.call("RtlCompareMemory", b, a, uint64(n)))
			}
			text[i] = 0x80
		}
		r.used = r.page.Base()
	}
}

func TestLeafRoutinesStayInsideTheirBuffers(t *testing.T) {
	r := newRig(t)
	for _, n := range leafSizes() {
		text := leafPattern()[:n]
		src := r.bytes(text)
		dst := r.atEnd(make([]byte, n))
		r.call("memcpy", dst, src, uint64(n))
		require.Equal(t, text, r.read(dst, n))
		r.call("memcpy", src, dst, uint64(n))
		r.call("memset", dst, 1, uint64(n))
		require.Equal(t, bytes.Repeat([]byte{1}, n), r.read(dst, n))
		r.used = r.page.Base()
	}
}

func TestLeafRoutinesFaultAsDriverCodeDoes(t *testing.T) {
	const bad = 0x5000 // in the low 64 KiB
	for _, c := range []struct {
		name string
		args func(good uint64) []uint64
	}{
		{"memcpy", func(g uint64) []uint64 { return []uint64{bad, g, 100} }},
		{"memmove", func(g uint64) []uint64 { return []uint64{g, bad, 1} }},
		{"memset", func(g uint64) []uint64 { return []uint64{bad, 0, 40} }},
		{"RtlZeroMemory", func(g uint64) []uint64 { return []uint64{bad, 1} }},
		{"memcmp", func(g uint64) []uint64 { return []uint64{g, bad, 8} }},
		{"RtlCompareMemory", func(g uint64) []uint64 { return []uint64{bad, g, 3} }},
	} {
		b := bugcheck(t, nt.PASSIVE_LEVEL, c.name, func(r *driverRig) []uint64 {
			return c.args(r.mem(256))
		})
		require.Contains(t, b.Reason, nt.STATUS_ACCESS_VIOLATION.String(), c.name)
		b = bugcheck(t, nt.DISPATCH_LEVEL, c.name, func(r *driverRig) []uint64 {
			return c.args(r.mem(256))
		})
		require.Equal(t, nt.DRIVER_IRQL_NOT_LESS_OR_EQUAL, b.Code, c.name)
	}
}

func TestLeafRoutinesKeepTheRegistersOfTheirCaller(t *testing.T) {
	r := newRig(t)
	a, b := r.mem(4096), r.mem(4096)
	for _, name := range []string{"memcpy", "memset", "memcmp", "RtlCompareMemory", "RtlZeroMemory",
		"RtlFillMemory"} {
		for _, args := range [][]uint64{{a, b, 3000}, {b, a, 20}} {
			if name == "RtlFillMemory" || name == "RtlZeroMemory" {
				args = []uint64{args[0], args[2], 1}
			} else if name == "memset" {
				args = []uint64{args[0], 0, args[2]}
			}
			require.NoError(t, r.thread.Do(func() {
				c := r.thread.Context()
				before, xmm := c.GPR, c.XMM6
				r.thread.Call(r.symbol(name), args...)
				for _, g := range []engine.Register{engine.RBX, engine.RBP, engine.RSI, engine.RDI,
					engine.R12, engine.R13, engine.R14, engine.R15, engine.RSP} {
					require.Equal(t, before[g], c.GPR[g], "%s: %v", name, g)
				}
				require.Equal(t, xmm, c.XMM6, name)
			}))
		}
	}
}

// probeStack is a driver's function that makes a stack frame of as many bytes as its argument says,
// and gives RAX + R10 + R11 as __chkstk left them.
func probeStack(r *driverRig) uint64 {
	code := []byte{
		0x48, 0x89, 0xC8, // mov rax, rcx
		0x49, 0xC7, 0xC2, 0x10, 0x10, 0, 0, // mov r10, 0x1010
		0x49, 0xC7, 0xC3, 0x11, 0x11, 0, 0, // mov r11, 0x1111
		0xFF, 0x15, 20, 0, 0, 0, // call [rip+20]
		0x48, 0x29, 0xC4, // sub rsp, rax
		0x80, 0x3C, 0x24, 1, // cmp byte [rsp], 1
		0x48, 0x01, 0xC4, // add rsp, rax
		0x4C, 0x01, 0xD0, // add rax, r10
		0x4C, 0x01, 0xD8, // add rax, r11
		0xC3,             // ret
		0x90, 0x90, 0x90, // to 8 bytes
	}
	at := uint64(r.symbol("__chkstk"))
	for i := range 8 {
		code = append(code, byte(at>>(8*i)))
	}
	return r.routine(code...)
}

func TestChkstkTouchesTheFrameAndKeepsEveryRegister(t *testing.T) {
	r := newRig(t)
	f := probeStack(r)
	for _, size := range []uint64{0, 8, 0x1000, 0x1008, 0x4000} {
		require.NoError(t, r.thread.Do(func() {
			require.Equal(t, size+0x1010+0x1111, r.thread.Call(guest.Addr(f), size), "%#x", size)
		}))
	}
}

func TestChkstkFindsAStackOverflow(t *testing.T) {
	for _, size := range []uint64{0x10000, 0x100000, 1 << 40, 1 << 62} {
		r := newRig(t)
		f := probeStack(r)
		err := r.thread.Do(func() { r.thread.Call(guest.Addr(f), size) })
		require.ErrorContains(t, err, "kernel stack overflow", "%#x", size)
	}
}

func BenchmarkMemcpy(b *testing.B) {
	r := newRig(b)
	for _, n := range []int{64, 4096, 256 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dst, src := r.mem(n), r.mem(n)
			b.SetBytes(int64(n))
			_ = r.thread.Do(func() {
				for b.Loop() {
					r.thread.Call(r.symbol("memcpy"), dst, src, uint64(n))
				}
			})
			r.used = r.page.Base()
		})
	}
}
