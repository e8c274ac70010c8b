package guest

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPtr(t *testing.T) {
	s := space(t)
	r := alloc(t, s, PageSize, ProtRW)
	p := Ptr[nt.ListEntry](r.Base())
	assert.Equal(t, r.Base(), p.Addr())
	assert.False(t, p.IsNull())
	assert.True(t, Ptr[byte](0).IsNull())
	assert.Equal(t, r.Base()+32, p.At(2).Addr())
	assert.Equal(t, r.Base()-16, p.At(-1).Addr())

	require.NoError(t, p.At(1).Store(nt.ListEntry{Flink: 1, Blink: 2}))
	e, err := p.At(1).Load()
	require.NoError(t, err)
	assert.Equal(t, nt.ListEntry{Flink: 1, Blink: 2}, e)
	_, err = Ptr[nt.ListEntry](r.End() - 8).Load()
	assert.Equal(t, &FaultError{r.End(), AccessRead}, err)

	ref := p.At(1).Ref()
	assert.EqualValues(t, 2, ref.Blink)
	ref.Flink = 77
	v, err := Load64(r.Base() + 16)
	require.NoError(t, err)
	assert.EqualValues(t, 77, v)
	assert.Equal(t, p.At(1).Addr(), AddrOf(ref))
	assert.Equal(t, r.Base()+24, AddrOf(&ref.Blink))

	all := Ptr[uint16](r.Base()).RefSlice(100)
	all[99] = 0xABCD
	got := make([]uint16, 2)
	require.NoError(t, ReadSlice(got, r.Base()+196))
	assert.Equal(t, []uint16{0, 0xABCD}, got)
	require.NoError(t, WriteSlice(r.Base()+196, []uint16{7, 8}))
	assert.Equal(t, []uint16{7, 8}, all[98:])
	r.Bytes()[198] = 9
	assert.EqualValues(t, 9, all[99])
	assert.Len(t, r.Bytes(), PageSize)
}
