package ke

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The clocks: interrupt time, which counts from the machine's start, system time, ticks and the
// performance counter.

// TimeIncrement is the time between two ticks of the clock, in units of 100 ns: 15.625 ms.
const TimeIncrement = 156250

// PerformanceFrequency is the performance counter's frequency in Hz, Windows 10's.
const PerformanceFrequency = 10_000_000

// systemTimeOfUnixEpoch is 1 January 1970 as a system time: units of 100 ns since 1601.
const systemTimeOfUnixEpoch = 116_444_736_000_000_000

// clock knows when the machine was started.
type clock struct {
	start time.Time     // for its monotonic reading
	base  time.Duration // since the machine's start, at that time
}

func newClock() clock {
	c := clock{start: time.Now()}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		c.base = time.Duration(ts.Nano())
	}
	return c
}

// elapsed gives the time since the clock was made.
func (c *clock) elapsed() time.Duration { return time.Since(c.start) }

// until gives the time until a due time: relative if it is negative, else a system time. It is 0
// for one that has passed, and never so long that a sum with the present time overflows.
func (c *clock) until(due int64) time.Duration {
	const most = int64(1<<62) / 100 // 146 years
	if due >= 0 {
		if due -= systemTime(time.Now()); due < 0 {
			due = 0
		}
	} else if due = -due; due < 0 {
		due = most
	}
	return time.Duration(min(due, most)) * 100
}

func systemTime(t time.Time) int64 { return t.UnixNano()/100 + systemTimeOfUnixEpoch }

// SystemTime gives the system time in units of 100 ns since 1 January 1601, UTC.
func (s *System) SystemTime() int64 { return systemTime(time.Now()) }

// InterruptTime gives the time since the machine was started, in units of 100 ns.
func (s *System) InterruptTime() uint64 { return s.interruptTimeAt(s.clock.elapsed()) }

func (s *System) interruptTimeAt(elapsed time.Duration) uint64 {
	return uint64((s.clock.base + elapsed) / 100)
}

// TickCount gives the number of clock ticks since the machine was started.
func (s *System) TickCount() uint64 { return s.InterruptTime() / TimeIncrement }

// PerformanceCounter gives the performance counter, which counts PerformanceFrequency times a
// second.
func (s *System) PerformanceCounter() int64 { return int64(s.InterruptTime()) }

// Stall keeps t's processor for the given time. Long ones are slept through, in steps, so that the
// end of the system is noticed.
func (t *Thread) Stall(microseconds uint32) {
	s := t.sys
	end := s.clock.elapsed() + time.Duration(microseconds)*time.Microsecond
	for {
		left := end - s.clock.elapsed()
		switch {
		case left <= 0:
			return
		case left > 2*time.Millisecond:
			t.checkEnded()
			time.Sleep(min(left-time.Millisecond, 100*time.Millisecond))
		case left > 20*time.Microsecond:
			runtime.Gosched()
		}
	}
}
