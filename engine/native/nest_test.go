// Guest calls made from Go in the middle of a guest's own: at import calls, faults and kicks.

package native

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
)

// bringOut gives, for each way out of the guest, a snippet that takes it once and then returns
// RCX+1, and how to go on.
var bringOut = map[string]struct {
	window func(a *assembler)
	out    func(t *testing.T, eng engine.CPU, c *engine.Context)
	goOn   func(c *engine.Context)
}{
	"an import call": {
		window: func(a *assembler) {
			a.list(`
				53        push rbx
				48 89 CB  mov rbx, rcx`).
				callThunk(0x20).
				list(`
				48 89 D9  mov rcx, rbx
				5B        pop rbx`)
		},
		out: func(t *testing.T, eng engine.CPU, c *engine.Context) {
			require.Equal(t, engine.ExitCall, eng.Run(c))
		},
		goOn: func(*engine.Context) {},
	},
	"a fault": {
		window: func(a *assembler) { a.list(`0F 0B  ud2`) },
		out: func(t *testing.T, eng engine.CPU, c *engine.Context) {
			require.Equal(t, engine.ExitFault, eng.Run(c))
		},
		goOn: func(c *engine.Context) { c.RIP += 2 },
	},
	"a kick": {
		window: func(a *assembler) { a.list(`EB FE  jmp $`) },
		out:    func(t *testing.T, eng engine.CPU, c *engine.Context) { kickIntoLoop(t, eng, c) },
		goOn:   func(c *engine.Context) { c.RIP += 2 },
	},
}

// kickIntoLoop kicks until the guest is past its first instruction, which is the endless loop.
func kickIntoLoop(t *testing.T, eng engine.CPU, c *engine.Context) {
	for range 3 {
		kickOut(t, eng, c)
	}
}

func TestNestedCallsWithAnyNumberOfArguments(t *testing.T) {
	eng := newCPU(t)
	for name, way := range bringOut {
		t.Run("in "+name, func(t *testing.T) {
			a := new(assembler)
			way.window(a)
			outer := newCode(t, eng, a.list(`
				48 8D 41 01  lea rax, [rcx+1]
				C3           ret`).code)
			c := newThread(t, eng)
			for n := range engine.MaxArgs + 1 {
				var s, inner engine.Saved
				outer.push(t, c, &s, uint64(1000+n))
				way.out(t, eng, c)
				sum := newCode(t, eng, sumArgs(n))
				args, want := powers(n)
				below := c.GPR[engine.RSP]
				require.NoError(t, c.PushCall(&inner, sum.trampoline, sum.base, 0, args...))
				require.Less(t, c.GPR[engine.RSP], below)
				require.Equal(t, engine.ExitReturn, eng.Run(c))
				require.Equal(t, want, c.GPR[engine.RAX], "%d arguments", n)
				c.PopCall(&inner)
				require.Equal(t, below, c.GPR[engine.RSP])
				way.goOn(c)
				require.Equal(t, engine.ExitReturn, eng.Run(c))
				require.EqualValues(t, 1001+n, c.GPR[engine.RAX])
				c.PopCall(&s)
			}
		})
	}
}

// TestGuestAndGoCallEachOtherDeeply goes down as far as the guest stack carries, and comes back.
func TestGuestAndGoCallEachOtherDeeply(t *testing.T) {
	eng := newCPU(t)
	for name, way := range bringOut {
		t.Run("through "+name, func(t *testing.T) {
			a := new(assembler)
			way.window(a)
			g := newCode(t, eng, a.list(`
				48 8D 41 01  lea rax, [rcx+1]
				C3           ret`).code)
			c := newThread(t, eng)
			var descend func(depth uint64) (deepest uint64)
			descend = func(depth uint64) uint64 {
				var s engine.Saved
				if err := c.PushCall(&s, g.trampoline, g.base, 0, depth); err != nil {
					require.ErrorIs(t, err, engine.ErrStack)
					return depth
				}
				deepest := depth
				way.out(t, eng, c)
				deepest = descend(depth + 1)
				way.goOn(c)
				require.Equal(t, engine.ExitReturn, eng.Run(c))
				require.Equal(t, depth+1, c.GPR[engine.RAX])
				c.PopCall(&s)
				return deepest
			}
			deepest := descend(0)
			assert.Greater(t, deepest, uint64(200), "a 64 KiB stack has room for some 250 frames")
			assert.Less(t, deepest, uint64(testStack/184+1))
			requireWorks(t, eng, c)
		})
	}
}

func TestNestedCallMayBeGivenUp(t *testing.T) {
	eng := newCPU(t)
	g := newCode(t, eng, callLoop())
	c := newThread(t, eng)
	var s engine.Saved
	g.push(t, c, &s, 1)
	require.Equal(t, engine.ExitCall, eng.Run(c))
	var unwound [3]engine.Saved
	for i := range unwound {
		g.push(t, c, &unwound[i], 5)
		require.Equal(t, engine.ExitCall, eng.Run(c))
	}
	c.PopCall(&unwound[0])
	require.Equal(t, engine.ExitReturn, eng.Run(c), "the outermost call goes on")
	c.PopCall(&s)
	require.EqualValues(t, c.StackBase, c.GPR[engine.RSP])
}
