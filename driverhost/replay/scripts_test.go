package replay_test

// Scripts for the drivers that keep IRPs: queues, cancels and every way of completing.

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/client"
	"github.com/drvhost/drvhost/fixtures"
	"github.com/drvhost/drvhost/nt"
)

func word(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// pend begins an IOCTL, and returns when the driver has it: what it counts by the code counts, in the
// word at that offset, is one more. The file is the request's own, so that what is asked in between
// and the request reach the driver in the recorded order.
func pend(t *testing.T, f *client.File, code uint32, in []byte, counts uint32, size, at int,
) *client.Operation {
	t.Helper()
	count := func() uint32 {
		out := make([]byte, size)
		_, err := f.DeviceIoControl(t.Context(), counts, nil, out)
		require.NoError(t, err)
		return binary.LittleEndian.Uint32(out[at:])
	}
	before := count()
	op := f.Begin(&client.Request{Major: nt.IRP_MJ_DEVICE_CONTROL, Code: code, In: in,
		Out: make([]byte, 16)})
	for count() == before {
	}
	return op
}

// cancelOne cancels a request and waits for its end.
func cancelOne(t *testing.T, op *client.Operation) {
	t.Helper()
	require.NoError(t, op.Cancel())
	<-op.Done()
}

func cancelSession(t *testing.T, open opener) {
	f := open(`\\.\Cancel`, client.Overlapped())
	var ops []*client.Operation
	for i := range uint32(4) {
		ops = append(ops, pend(t, f, fixtures.IOCTL_CANCEL_PEND, word(i),
			fixtures.IOCTL_CANCEL_COUNTS, fixtures.CancelCountsSize, 0))
	}
	cancelOne(t, ops[1])
	control(t, f, fixtures.IOCTL_CANCEL_COMPLETE, word(2), 4)
	<-ops[0].Done()
	<-ops[2].Done()
	cancelOne(t, ops[3])
	control(t, f, fixtures.IOCTL_CANCEL_COMPLETE, word(1), 4)
	require.NoError(t, f.Close())
}

func csqSession(t *testing.T, open opener) {
	for _, name := range []string{`\\.\Csq`, `\\.\CsqPlain`} {
		f := open(name, client.Overlapped())
		var ops []*client.Operation
		for i := range uint32(4) {
			ops = append(ops, pend(t, f, fixtures.IOCTL_CSQ_PEND, word(i%2),
				fixtures.IOCTL_CSQ_COUNTS, fixtures.CsqCountsSize, 0))
		}
		control(t, f, fixtures.IOCTL_CSQ_RELEASE, fixtures.CsqRelease{Count: 1, ByKey: 1, Key: 1}.Bytes(), 4)
		<-ops[1].Done()
		cancelOne(t, ops[0])
		control(t, f, fixtures.IOCTL_CSQ_RELEASE, fixtures.CsqRelease{Count: 9}.Bytes(), 4)
		<-ops[2].Done()
		<-ops[3].Done()
		control(t, f, fixtures.IOCTL_CSQ_TAKE, nil, 0)
		require.NoError(t, f.Close())
	}
}

func startIoSession(t *testing.T, open opener) {
	f := open(`\\.\StartIo`, client.Overlapped())
	first := pend(t, f, fixtures.IOCTL_STARTIO_RUN, word(1), fixtures.IOCTL_STARTIO_STATE,
		fixtures.StartIoStateSize, 0)
	control(t, f, fixtures.IOCTL_STARTIO_STEP, nil, 0)
	<-first.Done()
	cancelOne(t, pend(t, f, fixtures.IOCTL_STARTIO_RUN_LAST, word(2), fixtures.IOCTL_STARTIO_STATE,
		fixtures.StartIoStateSize, 0))
	control(t, f, fixtures.IOCTL_STARTIO_STEP, nil, 0)
	require.NoError(t, f.Close())
}

func statusSession(t *testing.T, open opener) {
	f := open(`\\.\Status`)
	for _, code := range []uint32{fixtures.IOCTL_STATUS_BUFFERED, fixtures.IOCTL_STATUS_IN_DIRECT,
		fixtures.IOCTL_STATUS_OUT_DIRECT, fixtures.IOCTL_STATUS_NEITHER} {
		for _, s := range []nt.Status{nt.STATUS_SUCCESS, nt.STATUS_BUFFER_OVERFLOW,
			nt.STATUS_ACCESS_DENIED, 0xE0001234} {
			for how := range uint32(fixtures.STATUS_HOW_DPC + 1) {
				filled := uint32(8)
				if code == fixtures.IOCTL_STATUS_IN_DIRECT {
					filled = 0
				}
				control(t, f, code, fixtures.StatusRequest{Status: uint32(s), How: how, Information: 8,
					Filled: filled, Fill: 'x'}.Bytes(), 16)
			}
		}
	}
	require.NoError(t, f.Close())
}

// filterSession is I/O with echo.sys through filter.sys.
func filterSession(t *testing.T, open opener) {
	f := open(`\\.\Echo`)
	for _, code := range []uint32{fixtures.IOCTL_FILTER_MODIFY, fixtures.IOCTL_FILTER_PEND,
		fixtures.IOCTL_FILTER_HOLD, fixtures.IOCTL_FILTER_LATER, fixtures.IOCTL_ECHO_BUFFERED,
		fixtures.IOCTL_ECHO_PEND_WORK} {
		control(t, f, code, []byte("through a filter"), 16)
	}
	control(t, f, fixtures.IOCTL_FILTER_COMPLETE, nil, 4)
	control(t, f, fixtures.IOCTL_FILTER_COMPLETE, nil, 3)
	require.NoError(t, f.Close())
}
