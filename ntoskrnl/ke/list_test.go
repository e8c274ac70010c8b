package ke

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

func TestListsFromManyThreads(t *testing.T) {
	s := newTestSystem(t, testOptions{processors: 3})
	const threads, entries, rounds = 4, 8, 100
	head, slist, lock := s.alloc(16), s.alloc(16), s.alloc(16)
	require.NoError(t, guest.Ptr[nt.ListEntry](head).Store(nt.ListEntry{Flink: head, Blink: head}))
	var done sync.WaitGroup
	for i := range threads {
		mine := make([]guest.Addr, entries)
		for k := range mine {
			mine[k] = s.alloc(32)
		}
		done.Add(1)
		go func() {
			defer done.Done()
			assert.NoError(t, s.try(func(th *Thread) {
				have := mine
				for range rounds {
					// An entry is in one list at a time: whoever takes it out has it.
					for _, e := range have {
						_, err := th.InsertList(head, e, lock, i%2 == 0)
						assert.NoError(t, err)
					}
					for k := range have {
						e, err := th.RemoveListHead(head, lock)
						assert.NoError(t, err)
						have[k] = e
						_, err = s.PushSList(slist, e)
						assert.NoError(t, err)
					}
					for k := range have {
						e, err := s.PopSList(slist)
						assert.NoError(t, err)
						assert.NotZero(t, e)
						have[k] = e
					}
				}
			}))
		}()
	}
	done.Wait()
	l, err := guest.Ptr[nt.ListEntry](head).Load()
	require.NoError(t, err)
	assert.Equal(t, nt.ListEntry{Flink: head, Blink: head}, l)
	h, err := guest.Ptr[nt.SListHeader](slist).Load()
	require.NoError(t, err)
	assert.Zero(t, h.Depth())
	assert.Zero(t, h.NextEntry())
	assert.EqualValues(t, 2*threads*entries*rounds, h.Sequence())
}
