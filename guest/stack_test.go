package guest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestStack(t *testing.T) {
	s := space(t)
	for _, c := range []struct{ ask, got uintptr }{
		{0, DefaultStackSize}, {1, 8 << 10}, {8 << 10, 8 << 10}, {8<<10 + 1, 16 << 10},
		{24 << 10, 32 << 10}, {DefaultStackSize, DefaultStackSize}, {1 << 20, 1 << 20},
		{MaxStackSize, MaxStackSize},
	} {
		st, err := s.AllocStack(c.ask)
		require.NoError(t, err)
		assert.Equal(t, c.got, st.Size())
		assert.Zero(t, st.Top()%16)
		require.NoError(t, Store64(st.Top()-8, 1))
		require.NoError(t, Store64(st.Base(), 1))
		assert.Equal(t, &FaultError{st.Base() - 8, AccessWrite}, Store64(st.Base()-8, 1))
		assert.Equal(t, &FaultError{st.Base() - 1, AccessRead}, Read(make([]byte, 2), st.Base()-1))
		assert.True(t, st.Contains(st.Base()))
		assert.True(t, st.Contains(st.Top()-1))
		assert.False(t, st.Contains(st.Top()))
		assert.True(t, st.InGuard(st.Base()-1))
		assert.True(t, st.InGuard(st.Base()-PageSize))
		assert.False(t, st.InGuard(st.Base()))
		assert.False(t, st.InGuard(st.Base()-PageSize-1))

		info, ok := s.Lookup(st.Base() + 8)
		require.True(t, ok)
		assert.Equal(t, RegionInfo{info.Region, st.Base(), st.Size(), KindStack, "kernel stack", true,
			ProtRW}, info)
		assert.Equal(t, "kernel stack+0x8, rw-", s.Describe(st.Base()+8))
		info, ok = s.Lookup(st.Base() - 1)
		require.True(t, ok)
		assert.False(t, info.Committed)
		assert.Equal(t, "guard page of a kernel stack+0xfff", s.Describe(st.Base()-1))
		require.NoError(t, st.Free())
		assert.ErrorIs(t, st.Free(), ErrFreed)
	}
}

func TestStackIsUsedAgain(t *testing.T) {
	s := space(t)
	st, err := s.AllocStack(0)
	require.NoError(t, err)
	require.NoError(t, Store64(st.Top()-8, 42))
	require.NoError(t, st.Free())
	again, err := s.AllocStack(0)
	require.NoError(t, err)
	assert.Equal(t, st.Base(), again.Base())
	v, err := Load64(again.Top() - 8)
	require.NoError(t, err)
	assert.EqualValues(t, 42, v, "its pages were kept: no system call, no page fault")
	require.NoError(t, again.Free())
}

// Ten thousand stacks fit in the default limit of mappings, with lightweight guard pages and
// without, and come back: the address space and all but a few stacks' pages.
func TestTenThousandStacks(t *testing.T) {
	s := space(t)
	for _, c := range []struct {
		name    string
		protect bool
		most    int // mappings
	}{
		{"guard pages that are mappings", true, 2*10000 + 500},
		{"lightweight guard pages", false, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			ps := &stackPools{space: s, protect: c.protect}
			before, limit := mappings()
			if limit < before+c.most {
				t.Skipf("vm.max_map_count is %d", limit)
			}
			stacks := make([]*Stack, 10000)
			for i := range stacks {
				st, err := ps.alloc(DefaultStackSize)
				require.NoError(t, err)
				require.NoError(t, Store64(st.Top()-8, uint64(i)))
				stacks[i] = st
			}
			if ps.protect && !c.protect {
				t.Log("this kernel has no MADV_GUARD_INSTALL (Linux 6.13)")
			} else {
				have, _ := mappings()
				assert.Less(t, have-before, c.most)
			}
			for i, st := range stacks {
				v, err := Load64(st.Top() - 8)
				require.NoError(t, err)
				require.EqualValues(t, i, v)
				require.Error(t, Store8(st.Base()-1, 0), "the guard of stack %d", i)
			}
			assert.Equal(t, 10000, ps.stats().Stacks)
			for _, st := range stacks {
				require.NoError(t, st.Free())
			}
			assert.Zero(t, ps.stats().Stacks)
			p := ps.pools[DefaultStackSize]
			assert.LessOrEqual(t, p.warm, warmBytes/DefaultStackSize)
			assert.LessOrEqual(t, len(p.chunks), 2, "empty chunks are given back")

			var reused []*Stack
			for range len(p.chunks) * p.slots {
				st, err := ps.alloc(DefaultStackSize)
				require.NoError(t, err)
				require.Error(t, Store8(st.Base()-1, 0), "the guard of a stack that is used again")
				reused = append(reused, st)
			}
			for _, st := range reused {
				require.NoError(t, st.Free())
			}
			for _, c := range p.chunks {
				require.NoError(t, c.region.Free())
			}
			have, _ := mappings()
			assert.Less(t, have-before, 100)
		})
	}
}

func TestErrorNamesTheLimitOfMappings(t *testing.T) {
	err := &MapError{Op: "guard", What: "kernel stack", Size: PageSize, Err: unix.ENOMEM}
	have, limit := mappings()
	require.NotZero(t, have)
	require.NotZero(t, limit)
	assert.EqualError(t, err,
		"guest: cannot guard 0x1000 bytes (kernel stack): cannot allocate memory")
	assert.Contains(t, limitHint(65529, 65530),
		"65529 mappings and may have 65530: raise vm.max_map_count")
	assert.Empty(t, limitHint(1000, 65530))
	assert.Empty(t, limitHint(10, 0), "the limit cannot be read")
	assert.True(t, strings.HasPrefix(err.Error(), "guest: "))
}
