// Protection keys, in processes of their own: whether to use them is decided once in a process.

package native

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/engine"
)

// keysEnv has a test process use protection keys.
const keysEnv = "DRVHOST_TEST_KEYS"

func init() { UseKeys = os.Getenv(keysEnv) != "" }

// What guest code must not write to.
var (
	heapWord   = new(uint64)
	globalWord uint64
)

func TestGuestCodeCannotWriteToGosMemory(t *testing.T) {
	if os.Getenv(keysEnv) == "" {
		inProcessWithKeys(t, "^"+t.Name()+"$")
		return
	}
	cpu := newCPU(t)
	g := newCode(t, cpu, listing(`
		48 89 11     mov [rcx], rdx
		48 8B 01     mov rax, [rcx]
		C3           ret`))
	c := newThread(t, cpu)
	stack := uint64(7)
	for name, target := range map[string]struct {
		at    uint64
		fault bool
	}{
		"the heap":            {uint64(addrOfWord(heapWord)), true},
		"a goroutine's stack": {uint64(addrOfWord(&stack)), true},
		"a global variable":   {uint64(addrOfWord(&globalWord)), true},
		"the owner table":     {uint64(ownerTable), true},
		"memory of the guest": {uint64(g.base) + dataAt, false},
	} {
		t.Run(name, func(t *testing.T) {
			var s engine.Saved
			g.push(t, c, &s, target.at, 42)
			if !target.fault {
				require.Equal(t, engine.ExitReturn, cpu.Run(c))
				assert.EqualValues(t, 42, c.GPR[engine.RAX])
				c.PopCall(&s)
				return
			}
			for range 1000 {
				require.Equal(t, engine.ExitFault, cpu.Run(c))
				require.True(t, c.Fault.IsWrite())
				require.Equal(t, target.at, c.Fault.Addr)
				require.EqualValues(t, segvPKUErr, c.Fault.Sub)
				require.True(t, c.Fault.IsForbidden())
			}
			c.RIP += 3 // reading is allowed
			require.Equal(t, engine.ExitReturn, cpu.Run(c))
			assert.NotEqualValues(t, 42, c.GPR[engine.RAX])
			c.PopCall(&s)
		})
	}
	assert.EqualValues(t, 0, *heapWord)
	assert.EqualValues(t, 7, stack)
}

// inProcessWithKeys runs tests of this package in a process that uses protection keys.
func inProcessWithKeys(t *testing.T, run string) {
	t.Helper()
	if err := KeysAvailable(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", run, "-test.short")
	cmd.Env = append(os.Environ(), keysEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.True(t, strings.HasSuffix(strings.TrimSpace(string(out)), "PASS"), "%s", out)
}

func TestTheEngineWorksWithProtectionKeys(t *testing.T) {
	if os.Getenv(keysEnv) != "" {
		t.Skip("this is that process")
	}
	inProcessWithKeys(t, "^Test(Faults|ManyThreads|StormOfKicks$|Everything|SignalsFor|Guests|"+
		"EveryNewThread|GoPanics|Nested|CalleeSaved|Stepping|BadState|RawSystem|StackOverflow)")
}
