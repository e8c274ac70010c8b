package ke

import (
	"fmt"
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// The watchdog for processors: a DPC that does not end, and a thread that does not come down from
// DISPATCH_LEVEL, are a bugcheck, because their processor does nothing else any more.

const (
	// dpcTimeLimit is how long either may take, if Config does not say: Windows' default, 20
	// seconds.
	dpcTimeLimit = 20 * time.Second

	// watchdogTicks is how often the watchdog looks in that time.
	watchdogTicks = 4
)

// watch begins to look after the processors, unless somebody does already.
func (s *System) watch() {
	if !s.watching.Load() && !s.watching.Swap(true) && !s.spawn(s.watchProcessors) {
		s.watching.Store(false)
	}
}

// watchProcessors ends the system when a processor has been in one DPC for too long, or has had one
// in its queue that cannot begin. A processor that a thread holds gets one of the watchdog's own,
// so that something waits for the thread to come below DISPATCH_LEVEL. It goes when none has been
// in use for a while.
func (s *System) watchProcessors() {
	tick := s.dpcLimit / watchdogTicks
	since := make([]int, len(s.procs)) // ticks for which a processor has been in the same DPC
	last := make([]uint32, len(s.procs))
	for quiet := 0; quiet < watchdogTicks; quiet++ {
		select {
		case <-s.stopped:
			return
		case <-time.After(tick):
		}
		for i, p := range s.procs {
			run := p.dpcRuns.Load()
			held := p.held.Load() != nil
			if held || run != last[i] {
				quiet = 0
			}
			if run != last[i] || !held {
				last[i], since[i] = run, 0
				continue
			}
			running := run&1 != 0
			if !running && !p.pending() {
				p.enqueueDPC(queuedDPC{work: func(*Thread) {}}, false, nil)
				since[i] = 0
			}
			if since[i]++; since[i] >= watchdogTicks && (running || p.atDispatch()) {
				s.dpcTimeout(p, running)
				return
			}
		}
	}
	s.watching.Store(false)
}

// atDispatch reports whether p is at DISPATCH_LEVEL or above, for somebody who does not hold it.
func (p *Processor) atDispatch() bool {
	irql, err := guest.Load8(p.region.Base() + pcrIrql)
	return err == nil && nt.IRQL(irql) >= nt.DISPATCH_LEVEL
}

// dpcTimeout is the bugcheck of a DPC that has taken too long on p, or of a thread that has kept p
// at DISPATCH_LEVEL for too long.
func (s *System) dpcTimeout(p *Processor, running bool) {
	ticks := uint64(s.dpcLimit / (TimeIncrement * 100))
	b := &Bugcheck{Code: nt.DPC_WATCHDOG_VIOLATION, Params: [4]uint64{0, ticks, ticks, 0},
		Thread: p.dpcThread.Object, ThreadID: p.dpcThread.ID,
		Reason: fmt.Sprintf("a DPC has run on processor %d for %v", p.number, s.dpcLimit)}
	if !running {
		b.Params = [4]uint64{1, ticks, 0, 0}
		b.Reason = fmt.Sprintf("processor %d has been at DISPATCH_LEVEL or above for %v", p.number,
			s.dpcLimit)
		if t := p.held.Load(); t != nil {
			b.Thread, b.ThreadID = t.Object, t.ID
		}
	}
	s.Crash(b)
}
