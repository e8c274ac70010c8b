package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Times and dates. System times count 100 ns from 1601.
var rtlTimeExports = []Export{
	{Name: "RtlTimeToTimeFields", Fn: do2(rtlTimeToTimeFields), Params: "Time TimeFields",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlTimeFieldsToTime", Fn: fn2(rtlTimeFieldsToTime), Params: "TimeFields Time",
		MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlTimeToSecondsSince1970", Fn: secondsSince(rtl.TimeToSecondsSince1970),
		Params: "Time ElapsedSeconds", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlTimeToSecondsSince1980", Fn: secondsSince(rtl.TimeToSecondsSince1980),
		Params: "Time ElapsedSeconds", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlSecondsSince1970ToTime", Fn: do2(rtlSecondsSince1970ToTime),
		Params: "ElapsedSeconds:d Time", MaxIRQL: anyIRQL, Support: Full},
	{Name: "RtlSecondsSince1980ToTime", Fn: do2(rtlSecondsSince1980ToTime),
		Params: "ElapsedSeconds:d Time", MaxIRQL: anyIRQL, Support: Full},
}

// rtlTimeToTimeFields splits a system time into date and time of day.
//
//	VOID RtlTimeToTimeFields(PLARGE_INTEGER Time, PTIME_FIELDS TimeFields)
//
// "RtlTimeToTimeFields function (wdm.h)".
func rtlTimeToTimeFields(c *Call, t, fields guest.Addr) {
	c.Must(rtl.TimeToTimeFields(Load[int64](c, t)).Store(fields))
}

// rtlTimeFieldsToTime is the other way round. The day of the week is not looked at.
//
//	BOOLEAN RtlTimeFieldsToTime(PTIME_FIELDS TimeFields, PLARGE_INTEGER Time)
//
// FALSE if there is no such date or time. "RtlTimeFieldsToTime function (wdm.h)".
func rtlTimeFieldsToTime(c *Call, fields, t guest.Addr) nt.Boolean {
	f, err := rtl.LoadTimeFields(fields)
	c.Must(err)
	v, ok := rtl.TimeFieldsToTime(f)
	if ok {
		Store(c, t, v)
	}
	return boolean(ok)
}

// secondsSince makes an export of the conversion to seconds from the beginning of a year.
//
//	BOOLEAN RtlTimeToSecondsSince1970(PLARGE_INTEGER Time, PULONG ElapsedSeconds)
//	BOOLEAN RtlTimeToSecondsSince1980(PLARGE_INTEGER Time, PULONG ElapsedSeconds)
//
// FALSE if a ULONG cannot hold them. "RtlTimeToSecondsSince1970 function (ntddk.h)",
// "RtlTimeToSecondsSince1980 function (ntifs.h)".
func secondsSince(f func(t int64) (uint32, bool)) Func {
	return fn2(func(c *Call, t, seconds guest.Addr) nt.Boolean {
		s, ok := f(Load[int64](c, t))
		if ok {
			Store(c, seconds, s)
		}
		return boolean(ok)
	})
}

// rtlSecondsSince1970ToTime makes a system time of seconds since 1970.
//
//	VOID RtlSecondsSince1970ToTime(ULONG ElapsedSeconds, PLARGE_INTEGER Time)
//
// "RtlSecondsSince1970ToTime function (ntifs.h)".
func rtlSecondsSince1970ToTime(c *Call, seconds uint32, t guest.Addr) {
	Store(c, t, rtl.SecondsSince1970ToTime(seconds))
}

// rtlSecondsSince1980ToTime makes a system time of seconds since 1980.
//
//	VOID RtlSecondsSince1980ToTime(ULONG ElapsedSeconds, PLARGE_INTEGER Time)
//
// "RtlSecondsSince1980ToTime function (ntifs.h)".
func rtlSecondsSince1980ToTime(c *Call, seconds uint32, t guest.Addr) {
	Store(c, t, rtl.SecondsSince1980ToTime(seconds))
}
