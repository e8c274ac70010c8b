package irp

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

func TestCompletionRoutinesAreCalledAsTheirFlagsAsk(t *testing.T) {
	const s, e, c = nt.SL_INVOKE_ON_SUCCESS, nt.SL_INVOKE_ON_ERROR, nt.SL_INVOKE_ON_CANCEL
	r := newRig(t)
	called := 0
	owner := r.device(r.driver("owner", nil), "")
	var device, context guest.Addr
	completion := r.add(func(_ *ke.Thread, d, irp, ctx guest.Addr) uint64 {
		called++
		device, context = d, ctx
		return uint64(nt.STATUS_MORE_PROCESSING_REQUIRED)
	})
	for _, c := range []struct {
		name    string
		control uint8
		status  nt.Status
		cancel  bool
		want    bool
	}{
		{"success, on success", s, nt.STATUS_SUCCESS, false, true},
		{"information, on success", s, nt.STATUS_OBJECT_NAME_EXISTS, false, true},
		{"warning, on success", s, nt.STATUS_BUFFER_OVERFLOW, false, false},
		{"error, on success", s, nt.STATUS_UNSUCCESSFUL, false, false},
		{"success, on error", e, nt.STATUS_SUCCESS, false, false},
		{"warning, on error", e, nt.STATUS_BUFFER_OVERFLOW, false, true},
		{"error, on error", e, nt.STATUS_UNSUCCESSFUL, false, true},
		{"cancelled, on cancel", c, nt.STATUS_CANCELLED, true, true},
		{"success of a cancelled IRP, on cancel", c, nt.STATUS_SUCCESS, true, true},
		{"STATUS_CANCELLED without cancel, on cancel", c, nt.STATUS_CANCELLED, false, false},
		{"cancelled, on success and error", s | e, nt.STATUS_CANCELLED, true, true},
		{"never", 0, nt.STATUS_SUCCESS, true, false},
		{"pending only", nt.SL_PENDING_RETURNED, nt.STATUS_SUCCESS, true, false},
	} {
		called = 0
		require.Nil(t, r.do(func(th *ke.Thread) {
			irp := r.Allocate(2)
			i := at(irp)
			i.CurrentLocation = 1
			i.Tail.Overlay.CurrentStackLocation = locationAddr(irp, 1)
			location(i, 1).Control = c.control
			location(i, 1).CompletionRoutine, location(i, 1).Context = completion, 0x77
			location(i, 2).DeviceObject = owner.Object.Addr()
			if c.cancel {
				i.Cancel = nt.TRUE
			}
			r.complete(th, irp, c.status, 0)
			if c.want {
				assert.EqualValues(t, 2, i.CurrentLocation, c.name)
				assert.Equal(t, owner.Object.Addr(), device, "the driver above")
				assert.EqualValues(t, 0x77, context)
			}
			r.Free(th, irp)
		}), c.name)
		assert.Equal(t, c.want, called == 1, c.name)
	}
	assert.Zero(t, r.Outstanding())
}

func TestPendingGoesUpTheStack(t *testing.T) {
	r := newRig(t)
	var returned []nt.Boolean
	stop := false
	completion := r.add(func(_ *ke.Thread, _, irp, _ guest.Addr) uint64 {
		returned = append(returned, at(irp).PendingReturned)
		if len(returned) == 2 && stop {
			return uint64(nt.STATUS_MORE_PROCESSING_REQUIRED)
		}
		if at(irp).PendingReturned != 0 { // as IoMarkIrpPending in a completion routine
			current(irp).Control |= nt.SL_PENDING_RETURNED
		}
		return uint64(nt.STATUS_SUCCESS)
	})
	bottom := r.device(r.driver("bottom", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		current(irp).Control |= nt.SL_PENDING_RETURNED
		r.complete(th, irp, nt.STATUS_SUCCESS, 0)
		return uint64(nt.STATUS_PENDING)
	}), `\Device\Bottom`)
	// The driver in the middle sets no completion routine: the I/O manager passes the mark on.
	var middle, top *devobj.Device
	middle = r.device(r.driver("middle", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		return uint64(r.forward(th, irp, bottom, 0, 0))
	}), "")
	top = r.device(r.driver("top", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		return uint64(r.forward(th, irp, middle, completion, nt.SL_INVOKE_ON_SUCCESS))
	}), "")
	require.NotNil(t, r.devices.Attach(middle, bottom))
	require.NotNil(t, r.devices.Attach(top, bottom))
	require.EqualValues(t, 3, top.Object.Ref().StackSize)
	require.Nil(t, r.do(func(th *ke.Thread) {
		o := r.open(th, bottom)
		assert.Equal(t, []nt.Boolean{nt.SL_PENDING_RETURNED}, returned, "CREATE")
		req, _ := request(o, nt.IRP_MJ_FLUSH_BUFFERS, nil, 0)
		assert.True(t, r.Start(th, req))
		assert.Equal(t, nt.STATUS_SUCCESS, req.Status)
		assert.Equal(t, []nt.Boolean{nt.SL_PENDING_RETURNED, nt.SL_PENDING_RETURNED}, returned)
		r.close(th, o)
	}))
}

func TestMoreProcessingRequiredGivesTheIRPBack(t *testing.T) {
	r := newRig(t)
	var held guest.Addr
	completion := r.add(func(_ *ke.Thread, _, irp, _ guest.Addr) uint64 {
		held = irp
		return uint64(nt.STATUS_MORE_PROCESSING_REQUIRED)
	})
	bottom := r.device(r.driver("bottom", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		return uint64(r.complete(th, irp, nt.STATUS_BUFFER_OVERFLOW, 5))
	}), `\Device\Bottom`)
	top := r.device(r.driver("top", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		if current(irp).MajorFunction != nt.IRP_MJ_FLUSH_BUFFERS {
			return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
		}
		status := r.forward(th, irp, bottom, completion, nt.SL_INVOKE_ON_ERROR)
		assert.Equal(t, nt.STATUS_BUFFER_OVERFLOW, status)
		assert.Equal(t, irp, held)
		assert.EqualValues(t, 2, at(irp).CurrentLocation, "it is this driver's again")
		return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 7))
	}), "")
	require.NotNil(t, r.devices.Attach(top, bottom))
	require.Nil(t, r.do(func(th *ke.Thread) {
		o := r.open(th, bottom)
		req, _ := request(o, nt.IRP_MJ_FLUSH_BUFFERS, nil, 0)
		assert.True(t, r.Start(th, req))
		assert.Equal(t, nt.STATUS_SUCCESS, req.IOStatus)
		assert.EqualValues(t, 7, req.Information)
		r.close(th, o)
	}))
	assert.Zero(t, r.Outstanding())
}

// misuse are things that a driver's dispatch routine must not do, and the bugcheck for each.
var misuse = map[string]struct {
	do   func(r *rig, t *ke.Thread, dev *devobj.Device, irp guest.Addr)
	want nt.BugCheck
}{
	"completed twice": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.complete(t, irp, nt.STATUS_SUCCESS, 0)
		r.complete(t, irp, nt.STATUS_SUCCESS, 0)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"completed with STATUS_PENDING": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.complete(t, irp, nt.STATUS_PENDING, 0)
	}, nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION},
	"completed with a cancel routine": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		at(irp).CancelRoutine = 1
		r.complete(t, irp, nt.STATUS_SUCCESS, 0)
	}, nt.CANCEL_STATE_IN_COMPLETED_IRP},
	"what is no IRP": {func(r *rig, t *ke.Thread, dev *devobj.Device, _ guest.Addr) {
		r.Complete(t, dev.Object.Addr())
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"an address inside of an IRP": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.Complete(t, irp+8)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"a null IRP": {func(r *rig, t *ke.Thread, dev *devobj.Device, _ guest.Addr) {
		r.Call(t, dev.Object.Addr(), 0)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"sent to what is no device": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.Call(t, irp, irp)
	}, nt.DRIVER_VERIFIER_IOMANAGER_VIOLATION},
	"sent on without a stack location": {func(r *rig, t *ke.Thread, dev *devobj.Device,
		irp guest.Addr) {
		r.Call(t, dev.Object.Addr(), irp)
	}, nt.NO_MORE_IRP_STACK_LOCATIONS},
	"a wild CurrentLocation": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		at(irp).CurrentLocation = -100
		r.complete(t, irp, nt.STATUS_SUCCESS, 0)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"a wild CurrentLocation on the way down": {func(r *rig, t *ke.Thread, dev *devobj.Device,
		irp guest.Addr) {
		at(irp).CurrentLocation = 100
		r.Call(t, dev.Object.Addr(), irp)
	}, nt.NO_MORE_IRP_STACK_LOCATIONS},
	"a wild StackCount": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		at(irp).StackCount = 127
		r.complete(t, irp, nt.STATUS_SUCCESS, 0)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"a client's IRP freed": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.Free(t, irp)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"a client's IRP reused": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.Reuse(t, irp, nt.STATUS_SUCCESS)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"the IRP overwritten": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		mem := guest.Ptr[byte](irp).RefSlice(int(irpSize))
		copy(mem, bytes.Repeat([]byte{0xAA}, len(mem)))
		r.Complete(t, irp)
	}, nt.MULTIPLE_IRP_COMPLETE_REQUESTS},
	"written behind a small system buffer": {func(r *rig, t *ke.Thread, _ *devobj.Device,
		irp guest.Addr) {
		*guest.Ptr[byte](at(irp).AssociatedIrp.SystemBuffer + smallIn).Ref() = 1
		r.complete(t, irp, nt.STATUS_SUCCESS, 0)
	}, nt.BAD_POOL_HEADER},
	"a small system buffer freed": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.mustFree(t, r.mm.FreePool(at(irp).AssociatedIrp.SystemBuffer))
	}, nt.BAD_POOL_CALLER},
	"the IRP freed as pool": {func(r *rig, t *ke.Thread, _ *devobj.Device, irp guest.Addr) {
		r.mustFree(t, r.mm.FreePool(irp))
	}, nt.BAD_POOL_CALLER},
	"the device object freed as pool": {func(r *rig, t *ke.Thread, dev *devobj.Device,
		irp guest.Addr) {
		r.mustFree(t, r.mm.FreePool(dev.Object.Addr()))
	}, nt.BAD_POOL_CALLER},
}

const smallIn = 20

func TestMisuseOfAnIRPIsABugcheck(t *testing.T) {
	for name, c := range misuse {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var dev *devobj.Device
			dev = r.device(r.driver("misuser", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
				if current(irp).MajorFunction != nt.IRP_MJ_DEVICE_CONTROL {
					return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
				}
				c.do(r, th, dev, irp)
				return 0
			}), `\Device\Misuser`)
			b := r.do(func(th *ke.Thread) {
				o := r.open(th, dev)
				req, _ := request(o, nt.IRP_MJ_DEVICE_CONTROL, make([]byte, smallIn), 0)
				r.Start(th, req)
			})
			require.NotNil(t, b)
			assert.NotEqual(t, ke.HostFault, b.Code, b.HostStack)
			assert.Equal(t, c.want, b.Code, b.Error())
			assert.NotEmpty(t, b.Reason)
		})
	}
}

func TestALargeSystemBufferIsCheckedAsPool(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *rig, t *ke.Thread, buffer guest.Addr)
		want nt.BugCheck
	}{
		"written behind": {func(r *rig, _ *ke.Thread, buffer guest.Addr) {
			*guest.Ptr[byte](buffer + 1000).Ref() = 1
		}, nt.BAD_POOL_HEADER},
		"freed": {func(r *rig, _ *ke.Thread, buffer guest.Addr) {
			_ = r.mm.FreePool(buffer)
		}, nt.BAD_POOL_CALLER},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			dev := r.device(r.driver("d", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
				if current(irp).MajorFunction == nt.IRP_MJ_DEVICE_CONTROL {
					c.do(r, th, at(irp).AssociatedIrp.SystemBuffer)
				}
				return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
			}), `\Device\D`)
			b := r.do(func(th *ke.Thread) {
				req, _ := request(r.open(th, dev), nt.IRP_MJ_DEVICE_CONTROL, make([]byte, 1000), 0)
				r.Start(th, req)
			})
			require.NotNil(t, b)
			assert.Equal(t, c.want, b.Code, b.Error())
		})
	}
}

func TestACompletionRoutineThatFreesTheIRPMustSaySo(t *testing.T) {
	r := newRig(t)
	b := r.do(func(th *ke.Thread) {
		irp := r.Allocate(1)
		i := at(irp)
		i.CurrentLocation = 1
		location(i, 1).Control = nt.SL_INVOKE_ON_SUCCESS
		location(i, 1).CompletionRoutine = r.add(func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
			r.Free(th, irp)
			return uint64(nt.STATUS_SUCCESS)
		})
		r.complete(th, irp, nt.STATUS_SUCCESS, 0)
	})
	require.NotNil(t, b)
	assert.Equal(t, nt.MULTIPLE_IRP_COMPLETE_REQUESTS, b.Code)
	assert.Contains(t, b.Reason, "did not return STATUS_MORE_PROCESSING_REQUIRED")
}

func TestAllocateGivesIRPsOfEverySize(t *testing.T) {
	r := newRig(t)
	require.Nil(t, r.do(func(th *ke.Thread) {
		var all []guest.Addr
		seen := map[guest.Addr]bool{}
		for n := int8(1); n <= devobj.MaxStack; n++ {
			irp := r.Allocate(n)
			require.NotZero(t, irp, n)
			require.False(t, seen[irp])
			require.Zero(t, irp%nt.IRPAlign)
			seen[irp] = true
			i := at(irp)
			assert.Equal(t, n, i.StackCount)
			assert.Equal(t, n+1, i.CurrentLocation)
			assert.Equal(t, nt.IoSizeOfIrp(n), i.Size)
			assert.Equal(t, irp+guest.Addr(i.Size), i.Tail.Overlay.CurrentStackLocation)
			all = append(all, irp)
		}
		assert.Equal(t, len(all), r.Outstanding())
		for _, irp := range all {
			r.Reuse(th, irp, nt.STATUS_TIMEOUT)
			assert.Equal(t, nt.STATUS_TIMEOUT, at(irp).IoStatus.Status)
			r.Free(th, irp)
		}
		assert.Zero(t, r.Outstanding())
		for _, n := range []int8{0, -1, -128, 127} {
			assert.Zero(t, r.Allocate(n), n)
		}
	}))
	b := r.do(func(th *ke.Thread) {
		irp := r.Allocate(1)
		r.Free(th, irp)
		r.Free(th, irp)
	})
	require.NotNil(t, b)
	assert.Equal(t, nt.MULTIPLE_IRP_COMPLETE_REQUESTS, b.Code)
}

func TestAReplacedSystemBufferIsTheOneThatCounts(t *testing.T) {
	r := newRig(t)
	dev := r.device(r.driver("d", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		if current(irp).MajorFunction != nt.IRP_MJ_DEVICE_CONTROL {
			return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
		}
		other, err := r.allocBuffer(600)
		require.NoError(t, err)
		require.NoError(t, guest.Fill(other, 0x42, 600))
		old := at(irp).AssociatedIrp.SystemBuffer
		at(irp).AssociatedIrp.SystemBuffer = other
		r.mustFree(th, r.mm.FreePool(old))
		return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 600))
	}), `\Device\D`)
	require.Nil(t, r.do(func(th *ke.Thread) {
		o := r.open(th, dev)
		before := r.mm.Outstanding()
		req, c := request(o, nt.IRP_MJ_DEVICE_CONTROL, nil, 600)
		assert.True(t, r.Start(th, req))
		assert.Equal(t, 600, req.Written)
		assert.Equal(t, bytes.Repeat([]byte{0x42}, 600), c.out)
		assert.Equal(t, before, r.mm.Outstanding())
		r.close(th, o)
	}))
}

func TestMDLsOfAnIRPAreFreedWithIt(t *testing.T) {
	r := newRig(t)
	dev := r.device(r.driver("d", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		if current(irp).MajorFunction == nt.IRP_MJ_DEVICE_CONTROL {
			more, err := r.mm.AllocateMdl(0x12345000, 100)
			require.NoError(t, err)
			require.NoError(t, guest.StoreAddr(at(irp).MdlAddress, more)) // Next
		}
		return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
	}), `\Device\D`)
	require.Nil(t, r.do(func(th *ke.Thread) {
		o := r.open(th, dev)
		req, _ := request(o, nt.IRP_MJ_DEVICE_CONTROL, nil, 9000)
		req.Code = nt.IOCTL(nt.METHOD_OUT_DIRECT)
		assert.True(t, r.Start(th, req))
		before := r.mm.Outstanding()
		assert.True(t, r.Start(th, req))
		assert.Equal(t, before, r.mm.Outstanding())
		assert.Zero(t, r.mm.Use().LockedPages)
		r.close(th, o)
	}))
}

func TestACancelRoutineIsCalledOnce(t *testing.T) {
	r := newRig(t)
	called := 0
	routine := r.add(func(th *ke.Thread, device, irp, _ guest.Addr) uint64 {
		called++
		assert.Equal(t, nt.DISPATCH_LEVEL, th.IRQL())
		assert.Equal(t, nt.TRUE, at(irp).Cancel)
		assert.Zero(t, at(irp).CancelRoutine)
		r.ReleaseCancelSpinLock(th, at(irp).CancelIrql)
		r.complete(th, irp, nt.STATUS_CANCELLED, 0)
		return 0
	})
	dev := r.device(r.driver("d", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		if current(irp).MajorFunction != nt.IRP_MJ_DEVICE_CONTROL {
			return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
		}
		current(irp).Control |= nt.SL_PENDING_RETURNED
		at(irp).CancelRoutine = routine
		return uint64(nt.STATUS_PENDING)
	}), `\Device\D`)
	require.Nil(t, r.do(func(th *ke.Thread) {
		o := r.open(th, dev)
		req, c := request(o, nt.IRP_MJ_DEVICE_CONTROL, nil, 0)
		require.False(t, r.Start(th, req))
		assert.Equal(t, 1, o.Pending())
		assert.True(t, r.CancelRequest(th, req))
		<-c.done
		assert.Equal(t, nt.STATUS_CANCELLED, req.Status)
		assert.False(t, r.CancelRequest(th, req), "it is done")
		assert.Equal(t, 1, called)
		assert.Zero(t, o.Pending())

		var all []*testClient
		for range 100 {
			req, c := request(o, nt.IRP_MJ_DEVICE_CONTROL, nil, 0)
			require.False(t, r.Start(th, req))
			all = append(all, c)
		}
		r.CancelAll(th, o)
		for _, c := range all {
			<-c.done
		}
		assert.Equal(t, 101, called)
		o.WaitIdle()
		r.close(th, o)
	}))
	assert.Zero(t, r.Outstanding())
}

func TestACancelRoutineMustReleaseTheCancelSpinLock(t *testing.T) {
	r := newRig(t)
	b := r.do(func(th *ke.Thread) {
		irp := r.Allocate(1)
		at(irp).CancelRoutine = r.add(func(*ke.Thread, guest.Addr, guest.Addr, guest.Addr) uint64 {
			return 0
		})
		r.CancelIRP(th, irp)
	})
	require.NotNil(t, b)
	assert.Equal(t, nt.IRQL_UNEXPECTED_VALUE, b.Code)
	assert.Contains(t, b.Reason, "did it release the cancel spin lock?")
}

func TestIoCancelIrpMarksAnIRPWithoutACancelRoutine(t *testing.T) {
	r := newRig(t)
	require.Nil(t, r.do(func(th *ke.Thread) {
		irp := r.Allocate(1)
		assert.False(t, r.CancelIRP(th, irp))
		assert.Equal(t, nt.TRUE, at(irp).Cancel)
		assert.Equal(t, nt.PASSIVE_LEVEL, th.IRQL())
		r.Free(th, irp)
	}))
}

func TestCloseComesWhenTheLastReferenceHasGone(t *testing.T) {
	r := newRig(t)
	var majors []nt.MajorFunction
	dev := r.device(r.driver("d", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		majors = append(majors, current(irp).MajorFunction)
		return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
	}), `\Device\D`)
	require.Nil(t, r.do(func(th *ke.Thread) {
		o := r.open(th, dev)
		file := o.File.Object.Addr()
		require.True(t, r.devices.Ob.Reference(file))
		assert.EqualValues(t, 1, r.devices.Holders(o.File))
		r.Cleanup(th, o)
		last := 0
		assert.False(t, r.Release(o, func() { last++ }))
		assert.EqualValues(t, 1, r.devices.Holders(o.File))
		assert.Zero(t, last)
		_, err := r.devices.Ob.Dereference(file)
		require.NoError(t, err)
		assert.Equal(t, 1, last)
		assert.NotNil(t, r.devices.File(file), "there for CLOSE")
		r.CloseFile(th, o)
		assert.Nil(t, r.devices.File(file))
	}))
	assert.Equal(t, []nt.MajorFunction{nt.IRP_MJ_CREATE, nt.IRP_MJ_CLEANUP, nt.IRP_MJ_CLOSE}, majors)
}

func TestRequestsOfAnEndedKernelAreAbandoned(t *testing.T) {
	r := newRig(t)
	dev := r.device(r.driver("d", func(th *ke.Thread, _, irp, _ guest.Addr) uint64 {
		switch current(irp).MajorFunction {
		case nt.IRP_MJ_DEVICE_CONTROL:
			current(irp).Control |= nt.SL_PENDING_RETURNED
			return uint64(nt.STATUS_PENDING)
		case nt.IRP_MJ_FLUSH_BUFFERS:
			th.Bugcheck(nt.MANUALLY_INITIATED_CRASH, 0, 0, 0, 0)
		}
		return uint64(r.complete(th, irp, nt.STATUS_SUCCESS, 0))
	}), `\Device\D`)
	var o *Open
	var pending, crashing *Request
	var c, crasher *testClient
	b := r.do(func(th *ke.Thread) {
		o = r.open(th, dev)
		pending, c = request(o, nt.IRP_MJ_DEVICE_CONTROL, nil, 0)
		require.False(t, r.Start(th, pending))
		crashing, crasher = request(o, nt.IRP_MJ_FLUSH_BUFFERS, nil, 0)
		r.Start(th, crashing)
	})
	require.NotNil(t, b)
	o.AbandonAll(nt.STATUS_DEVICE_REMOVED)
	<-c.done
	assert.Equal(t, nt.STATUS_DEVICE_REMOVED, pending.Status)
	assert.Empty(t, crasher.done, "that is its starter's to do")
	crashing.Abandon(nt.STATUS_DEVICE_REMOVED)
	<-crasher.done
	assert.Equal(t, nt.STATUS_DEVICE_REMOVED, crashing.Status)
	crashing.Abandon(nt.STATUS_DEVICE_REMOVED)
	o.AbandonAll(nt.STATUS_DEVICE_REMOVED)
	assert.Empty(t, crasher.done, "once")
	assert.Zero(t, o.Pending())
}
