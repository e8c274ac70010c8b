package service

// What a hostile writer can do to the file.

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

func hostileStore(t *testing.T) (s *Store, again func() *Store) {
	path := filepath.Join(t.TempDir(), RegistryFile)
	again = func() *Store {
		s, err := Open(path, func() *cm.Registry { return cm.New() })
		require.NoError(t, err)
		return s
	}
	s = again()
	t.Cleanup(func() { _ = s.Close() })
	return s, again
}

func TestAPathThatIsTooLongForTheFileIsRefusedAndBreaksNothing(t *testing.T) {
	s, _ := hostileStore(t)
	r, long := s.Registry, strings.Repeat("k", cm.MaxKeyName)
	at, _, status := r.Create(nil, `\Registry\Machine\top`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	top := at
	require.NoError(t, s.Batch(func() error {
		for status == nt.STATUS_SUCCESS {
			var next *cm.Key
			if next, _, status = r.Create(at, long, cm.CreateOptions{}); status == nt.STATUS_SUCCESS {
				at = next
			}
		}
		return nil
	}))
	assert.Equal(t, nt.STATUS_NAME_TOO_LONG, status)
	assert.Equal(t, nt.STATUS_NAME_TOO_LONG, top.Rename(long), "what is below has no room then")
	assert.Equal(t, nt.STATUS_SUCCESS, at.Set("v", nt.REG_DWORD, cm.DWord(1)))
	assert.Equal(t, nt.STATUS_SUCCESS, top.Rename("b"))
	assert.NoError(t, s.Err())
	_, _, status = r.Create(nil, `\Registry\Machine\other`, cm.CreateOptions{})
	assert.Equal(t, nt.STATUS_SUCCESS, status)
}

func TestNamesThatAreNoTextAreRefused(t *testing.T) {
	s, again := hostileStore(t)
	r := s.Registry
	_, _, status := r.Create(nil, "\\Registry\\Machine\\a\xff", cm.CreateOptions{})
	assert.Equal(t, nt.STATUS_OBJECT_NAME_INVALID, status)
	k, _, status := r.Create(nil, `\Registry\Machine\a`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	_, _, status = r.Create(k, "sub", cm.CreateOptions{Class: "\xff"})
	assert.Equal(t, nt.STATUS_OBJECT_NAME_INVALID, status)
	assert.Equal(t, nt.STATUS_OBJECT_NAME_INVALID, k.Rename("b\xed\xa0\x80"))
	assert.Equal(t, nt.STATUS_OBJECT_NAME_INVALID, k.Set("\xff", nt.REG_DWORD, cm.DWord(1)))
	require.Equal(t, nt.STATUS_SUCCESS, k.Rename("b\uFFFD\u0131\u0250\u017F"))
	_, _, status = r.Create(k, "sub", cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.Rename("c"))
	_, _, status = r.Create(k, "sub2", cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.NoError(t, s.Close())
	next := again()
	defer next.Close()
	want, _ := r.Root().Tree()
	have, _ := next.Registry.Root().Tree()
	assert.True(t, cm.Equal(want, have), "the file has what the tree had")
}

func TestManyValuesOfAKeyCostNoMoreThanManyKeys(t *testing.T) {
	s, again := hostileStore(t)
	k, _, status := s.Registry.Create(nil, `\Registry\Machine\k`, cm.CreateOptions{})
	require.Equal(t, nt.STATUS_SUCCESS, status)
	require.Equal(t, nt.STATUS_SUCCESS, k.Set("large", nt.REG_BINARY, make([]byte, 8<<20)))
	const many = 6_000 // with each a walk over those before it, or over the large one, it would not end
	name := func(i int) string { return strings.Repeat("v", i%3) + strconv.Itoa(i) }
	require.NoError(t, s.Batch(func() error {
		for i := range many {
			require.Equal(t, nt.STATUS_SUCCESS, k.Set(name(i), nt.REG_DWORD, cm.DWord(uint32(i))))
		}
		for i := 0; i < many; i += 100 {
			require.Equal(t, nt.STATUS_SUCCESS, k.DeleteValue(strings.ToUpper(name(i))))
			require.Equal(t, nt.STATUS_SUCCESS, k.Set(name(i+1), nt.REG_DWORD, cm.DWord(0)))
		}
		return nil
	}))
	want, _ := s.Registry.Root().Tree()
	require.NoError(t, s.Close())
	next := again()
	defer next.Close()
	have, _ := next.Registry.Root().Tree()
	assert.True(t, cm.Equal(want, have), "the same values in the same order")
}
