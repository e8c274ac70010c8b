package guest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writable gives the mappings of this process that can be written to, but for the heap of the C library:
// that is there under the race detector only, which needs cgo, and lies where Linux happens to put it.
func writable(t *testing.T) (all []span) {
	text, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[5] == "[heap]" {
			continue
		}
		start, end, _ := strings.Cut(f[0], "-")
		from, err := strconv.ParseUint(start, 16, 64)
		require.NoError(t, err)
		to, err := strconv.ParseUint(end, 16, 64)
		require.NoError(t, err)
		if strings.Contains(f[1], "w") {
			all = append(all, span{uintptr(from), uintptr(to)})
		}
	}
	return all
}

// distance is how many bytes lie between two spans.
func distance(a, b span) uintptr {
	switch {
	case a.end <= b.start:
		return b.start - a.end
	case b.end <= a.start:
		return a.start - b.end
	}
	return 0
}

func TestTheHostsMemoryIsOutOfReachOfSmallOffsets(t *testing.T) {
	s, err := Default()
	require.NoError(t, err)
	heap := make([]byte, 64<<20) // so that the heap is where it is in a host at work
	heap[0] = 1
	for _, c := range []struct {
		name  string
		arena Arena
		far   uintptr
	}{
		// Below the user arena lies the program itself, from 4 MiB on.
		{"the user arena", ArenaUser, 128 << 20},
		// An instruction's displacement and a 32-bit index scaled by 8 reach 18 GiB.
		{"the system arena", ArenaSystem, 64 << 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			bounds := s.arenas[c.arena].bounds
			other := s.arenas[1-c.arena].bounds
			for _, m := range writable(t) {
				if distance(m, bounds) == 0 && bounds.start <= m.start && m.end <= bounds.end ||
					distance(m, other) == 0 || s.region(Addr(m.start)) != nil {
					continue // the guest's own
				}
				assert.GreaterOrEqual(t, distance(m, bounds), c.far, "%#x-%#x is writable", m.start,
					m.end)
			}
		})
	}
	assert.EqualValues(t, 1, heap[0])
}

func TestEveryAllocationHasGapsAroundIt(t *testing.T) {
	s, err := Default()
	require.NoError(t, err)
	const size = 3 * PageSize
	region := func(r *Region, err error) (Addr, Addr) {
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Free()) })
		return r.Base(), r.End()
	}
	stack := func() (Addr, Addr) {
		k, err := s.AllocStack(0)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, k.Free()) })
		return k.Base(), k.Top()
	}
	for name, alloc := range map[string]func() (Addr, Addr){
		"system": func() (Addr, Addr) { return region(s.AllocSystem(size, ProtRW, "gap")) },
		"user":   func() (Addr, Addr) { return region(s.AllocUser(size, ProtRW, "gap")) },
		"image":  func() (Addr, Addr) { return region(s.AllocAt(0x1_9000_0000, size, ProtRW, "gap")) },
		"stack":  stack,
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // neighbours, if there are to be any
				base, end := alloc()
				var b [1]byte
				require.NoError(t, Read(b[:], base))
				require.NoError(t, Read(b[:], end-1))
				assert.Error(t, Read(b[:], base-1), "below %v", base)
				switch name {
				case "stack":
					continue // behind it is the next one's guard page, once there is a next one
				case "image":
					assert.Error(t, Read(b[:], end), "behind %v", end)
					return // there is one such address
				}
				assert.Error(t, Read(b[:], end), "behind %v", end)
			}
		})
	}
}
