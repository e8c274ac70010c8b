package rtl

// System times: 100-nanosecond units since 1 January 1601, and their fields.

import (
	"encoding/binary"
	"math"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// TimeFields is TIME_FIELDS. Weekday counts from Sunday = 0.
type TimeFields struct {
	Year, Month, Day, Hour, Minute, Second, Milliseconds, Weekday int16
}

const (
	ticksPerSecond = 10_000_000
	secondsPerDay  = 86400
	ticksPerDay    = ticksPerSecond * secondsPerDay
	days400Years   = 146097
	mostYear       = 30827 // the last year that a positive LARGE_INTEGER reaches in full
	// SecondsTo1970 and SecondsTo1980 are the distances of the other epochs from 1601.
	SecondsTo1970 = 11644473600
	SecondsTo1980 = 11960006400
)

// daysBefore gives the days from 1 January 1601 to the start of the month of the year.
func daysBefore(year, month int64) int64 {
	y := year - 1601
	d := y*365 + y/4 - y/100 + y/400
	for m := int64(1); m < month; m++ {
		d += monthDays(year, m)
	}
	return d
}

func leap(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func monthDays(year, month int64) int64 {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// TimeToTimeFields is RtlTimeToTimeFields on Go values. The time counts as unsigned.
func TimeToTimeFields(t int64) TimeFields {
	days := int64(uint64(t) / ticksPerDay)
	ms := int64(uint64(t) % ticksPerDay / 10_000)
	year := 1601 + days/days400Years*400
	rest := days % days400Years
	y := min(rest/365, 399)
	for daysBefore(1601+y, 1) > rest {
		y--
	}
	year += y
	rest -= daysBefore(1601+y, 1)
	month := int64(1)
	for rest >= monthDays(year, month) {
		rest -= monthDays(year, month)
		month++
	}
	return TimeFields{
		Year: int16(year), Month: int16(month), Day: int16(rest + 1),
		Hour: int16(ms / 3_600_000), Minute: int16(ms / 60_000 % 60), Second: int16(ms / 1000 % 60),
		Milliseconds: int16(ms % 1000), Weekday: int16((days + 1) % 7), // 1 January 1601: a Monday
	}
}

// TimeFieldsToTime is RtlTimeFieldsToTime on Go values; false if a field is out of range. Weekday
// is ignored.
func TimeFieldsToTime(f TimeFields) (int64, bool) {
	year, month := int64(f.Year), int64(f.Month)
	if year < 1601 || year > mostYear || month < 1 || month > 12 ||
		f.Day < 1 || int64(f.Day) > monthDays(year, month) ||
		f.Hour < 0 || f.Hour > 23 || f.Minute < 0 || f.Minute > 59 ||
		f.Second < 0 || f.Second > 59 || f.Milliseconds < 0 || f.Milliseconds > 999 {
		return 0, false
	}
	ms := daysBefore(year, month) + int64(f.Day) - 1
	ms = ms*24 + int64(f.Hour)
	ms = ms*60 + int64(f.Minute)
	ms = ms*60 + int64(f.Second)
	ms = ms*1000 + int64(f.Milliseconds)
	return ms * 10_000, true
}

// LoadTimeFields reads the TIME_FIELDS at a.
func LoadTimeFields(a nt.Addr) (TimeFields, error) {
	var b [16]byte
	if err := guest.Read(b[:], a); err != nil {
		return TimeFields{}, err
	}
	v := func(i int) int16 { return int16(binary.LittleEndian.Uint16(b[2*i:])) }
	return TimeFields{v(0), v(1), v(2), v(3), v(4), v(5), v(6), v(7)}, nil
}

// Store writes the TIME_FIELDS to a.
func (f TimeFields) Store(a nt.Addr) error {
	var b [16]byte
	for i, v := range [...]int16{
		f.Year, f.Month, f.Day, f.Hour, f.Minute, f.Second, f.Milliseconds, f.Weekday,
	} {
		binary.LittleEndian.PutUint16(b[2*i:], uint16(v))
	}
	return guest.Write(a, b[:])
}

func secondsSince(t int64, epoch uint64) (uint32, bool) {
	s := uint64(t) / ticksPerSecond
	if s < epoch || s-epoch > math.MaxUint32 {
		return 0, false
	}
	return uint32(s - epoch), true
}

// TimeToSecondsSince1970 is RtlTimeToSecondsSince1970; false if the result does not fit a ULONG.
func TimeToSecondsSince1970(t int64) (uint32, bool) { return secondsSince(t, SecondsTo1970) }

// TimeToSecondsSince1980 is RtlTimeToSecondsSince1980.
func TimeToSecondsSince1980(t int64) (uint32, bool) { return secondsSince(t, SecondsTo1980) }

// SecondsSince1970ToTime is RtlSecondsSince1970ToTime.
func SecondsSince1970ToTime(s uint32) int64 { return (int64(s) + SecondsTo1970) * ticksPerSecond }

// SecondsSince1980ToTime is RtlSecondsSince1980ToTime.
func SecondsSince1980ToTime(s uint32) int64 { return (int64(s) + SecondsTo1980) * ticksPerSecond }
