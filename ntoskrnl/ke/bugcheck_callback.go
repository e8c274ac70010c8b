package ke

import (
	"sync/atomic"
	"time"

	"github.com/drvhost/drvhost/nt"
)

// Bugcheck callbacks: what drivers want to do when the system crashes. The thread that crashes it
// calls them at HIGH_LEVEL, before everything stops. Whatever goes wrong meanwhile, and a callback that
// does not end, is not worth a second crash: then the first takes its course.

// callbackTime is how long bugcheck callbacks may take together.
const callbackTime = 5 * time.Second

// crashing is the crash whose callbacks run.
type crashing struct {
	bugcheck atomic.Pointer[Bugcheck]
	thread   atomic.Pointer[Thread]
}

// callBack runs Config.OnBugcheck for a crash by t, if it is the first. It gives the crash that counts.
func (t *Thread) callBack(b *Bugcheck) *Bugcheck {
	s := t.sys
	if s.OnBugcheck == nil || t.proc == nil || s.Ended() {
		return b
	}
	if !s.crashing.bugcheck.CompareAndSwap(nil, b) {
		first := s.crashing.bugcheck.Load()
		if s.crashing.thread.Load() == t {
			return first // a callback has crashed
		}
		// Another thread is at it: this one is at an end.
		for !s.Ended() {
			time.Sleep(time.Millisecond)
		}
		return first
	}
	s.crashing.thread.Store(t)
	timeout := time.AfterFunc(callbackTime, func() { s.fail(b) })
	defer timeout.Stop()
	t.proc.pcr.Irql = nt.HIGH_LEVEL
	s.OnBugcheck(t)
	return b
}
