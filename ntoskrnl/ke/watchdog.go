package ke

import (
	"fmt"
	"time"

	"github.com/drvhost/drvhost/nt"
)

// The watchdog for DPCs: one that does not end is a bugcheck, because its processor does nothing
// else any more.

const (
	// dpcTimeLimit is how long one DPC may take: Windows' default, 20 seconds.
	dpcTimeLimit = 20 * time.Second

	// watchdogTicks is how often the watchdog looks in that time.
	watchdogTicks = 4
)

// watch begins to look after DPCs, unless somebody does already.
func (s *System) watch() {
	if !s.watching.Swap(true) && !s.spawn(s.watchDPCs) {
		s.watching.Store(false)
	}
}

// watchDPCs ends the system when a processor has been in one DPC for too long. It goes when none
// has run for a while.
func (s *System) watchDPCs() {
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
			if run != last[i] {
				last[i], since[i], quiet = run, 0, 0
				continue
			}
			if run&1 == 0 {
				continue
			}
			quiet = 0
			if since[i]++; since[i] >= watchdogTicks {
				s.dpcTimeout(p)
				return
			}
		}
	}
	s.watching.Store(false)
}

// dpcTimeout is the bugcheck of a DPC that has taken too long on p.
func (s *System) dpcTimeout(p *Processor) {
	ticks := uint64(s.dpcLimit / (TimeIncrement * 100))
	s.Crash(&Bugcheck{Code: nt.DPC_WATCHDOG_VIOLATION, Params: [4]uint64{0, ticks, ticks, 0},
		Thread: p.dpcThread.Object, ThreadID: p.dpcThread.ID,
		Reason: fmt.Sprintf("a DPC has run on processor %d for %v", p.number, s.dpcLimit)})
}
