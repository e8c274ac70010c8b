package ntoskrnl

import (
	"time"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
)

// Time.
var keTimeExports = []Export{
	{Name: "KeQuerySystemTime", Fn: do1(keQuerySystemTime), Params: "CurrentTime", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeQuerySystemTimePrecise", Fn: do1(keQuerySystemTime), Params: "CurrentTime",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryInterruptTime", Fn: fn0(keQueryInterruptTime), MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryInterruptTimePrecise", Fn: fn1(keQueryInterruptTimePrecise),
		Params: "QpcTimeStamp", MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryUnbiasedInterruptTime", Fn: fn0(keQueryInterruptTime), MaxIRQL: anyIRQL,
		Support: Partial, Note: "time in which the machine slept is counted"},
	{Name: "KeQueryTickCount", Fn: do1(keQueryTickCount), Params: "TickCount", MaxIRQL: anyIRQL,
		Support: Full},
	{Name: "KeQueryTimeIncrement", Fn: fn0(keQueryTimeIncrement), MaxIRQL: anyIRQL, Support: Full},
	{Name: "KeQueryPerformanceCounter", Fn: fn1(keQueryPerformanceCounter), Hal: true,
		Params: "PerformanceFrequency", MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExSystemTimeToLocalTime", Fn: do2(exSystemTimeToLocalTime),
		Params:  "SystemTime LocalTime",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExLocalTimeToSystemTime", Fn: do2(exLocalTimeToSystemTime),
		Params:  "LocalTime SystemTime",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "ExSetTimerResolution", Fn: fn2(exSetTimerResolution), Params: "DesiredTime:d Set:b",
		MaxIRQL: apc, Support: Full},
}

// keQuerySystemTime gives the system time in units of 100 ns since 1 January 1601, UTC. It is as
// precise as KeQuerySystemTimePrecise.
//
//	VOID KeQuerySystemTime(PLARGE_INTEGER CurrentTime)
//
// "KeQuerySystemTime function (wdm.h)".
func keQuerySystemTime(c *Call, result guest.Addr) { Store(c, result, c.Ke.SystemTime()) }

// keQueryInterruptTime gives the time since the machine was started, in units of 100 ns.
//
//	ULONGLONG KeQueryInterruptTime(VOID)
//
// "KeQueryInterruptTime function (wdm.h)".
func keQueryInterruptTime(c *Call) uint64 { return c.Ke.InterruptTime() }

// keQueryInterruptTimePrecise gives the same and the performance counter of that moment.
//
//	ULONGLONG KeQueryInterruptTimePrecise(PULONG64 QpcTimeStamp)
//
// "KeQueryInterruptTimePrecise function (wdm.h)".
func keQueryInterruptTimePrecise(c *Call, counter guest.Addr) uint64 {
	now := c.Ke.InterruptTime()
	Store(c, counter, now)
	return now
}

// keQueryTickCount gives the number of clock interrupts since the machine was started.
//
//	VOID KeQueryTickCount(PLARGE_INTEGER TickCount)
//
// "KeQueryTickCount function (wdm.h)".
func keQueryTickCount(c *Call, result guest.Addr) { Store(c, result, c.Ke.TickCount()) }

// keQueryTimeIncrement gives the time between two clock interrupts, in units of 100 ns.
//
//	ULONG KeQueryTimeIncrement(VOID)
//
// "KeQueryTimeIncrement function (ntddk.h)".
func keQueryTimeIncrement(c *Call) uint32 { return ke.TimeIncrement }

// keQueryPerformanceCounter gives the performance counter, and its frequency if it is asked for.
//
//	LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency)
//
// "KeQueryPerformanceCounter function (wdm.h)".
func keQueryPerformanceCounter(c *Call, frequency guest.Addr) int64 {
	StoreOpt(c, frequency, int64(ke.PerformanceFrequency))
	return c.Ke.PerformanceCounter()
}

// exSystemTimeToLocalTime converts a system time into local time, by the machine's time zone as it
// is now.
//
//	VOID ExSystemTimeToLocalTime(PLARGE_INTEGER SystemTime, PLARGE_INTEGER LocalTime)
//
// "ExSystemTimeToLocalTime function (wdm.h)".
func exSystemTimeToLocalTime(c *Call, from, to guest.Addr) {
	Store(c, to, Load[uint64](c, from)-timeZoneBias(time.Now()))
}

// exLocalTimeToSystemTime is the other way round.
//
//	VOID ExLocalTimeToSystemTime(PLARGE_INTEGER LocalTime, PLARGE_INTEGER SystemTime)
//
// "ExLocalTimeToSystemTime function (wdm.h)".
func exLocalTimeToSystemTime(c *Call, from, to guest.Addr) {
	Store(c, to, Load[uint64](c, from)+timeZoneBias(time.Now()))
}

// exSetTimerResolution gives the time between two clock interrupts, which stays what it is.
//
//	ULONG ExSetTimerResolution(ULONG DesiredTime, BOOLEAN SetResolution)
//
// The time in units of 100 ns. "ExSetTimerResolution function (wdm.h)".
func exSetTimerResolution(c *Call, desired uint32, set uint8) uint32 { return ke.TimeIncrement }
