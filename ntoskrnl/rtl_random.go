package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/ntoskrnl/rtl"
)

// Pseudo-random numbers.
var rtlRandomExports = []Export{
	{Name: "RtlRandom", Fn: fn1(rtlRandom), Params: "Seed", MaxIRQL: pageable, Support: Full},
	{Name: "RtlRandomEx", Fn: fn1(rtlRandom), Params: "Seed", MaxIRQL: pageable, Support: Full},
	{Name: "RtlUniform", Fn: fn1(rtlUniform), Params: "Seed", MaxIRQL: pageable, Support: Full},
}

// randomState is what a kernel remembers of its sequences.
type randomState struct {
	rtl  rtl.Random
	rand *rtl.Rand
}

func newRandomState() *randomState { return &randomState{rand: rtl.NewRand()} }

// rtlRandom gives a number from 0 to MAXLONG-1, and the caller's next seed.
//
//	ULONG RtlRandom(PULONG Seed)
//	ULONG RtlRandomEx(PULONG Seed)
//
// "RtlRandom function (ntddk.h)", "RtlRandomEx function (ntddk.h)".
func rtlRandom(c *Call, seed guest.Addr) uint32 {
	v, next := c.random.rtl.Next(Load[uint32](c, seed))
	Store(c, seed, next)
	return v
}

// rtlUniform gives a number from 0 to MAXLONG-1 that is also the next seed.
//
//	ULONG RtlUniform(PULONG Seed)
//
// "RtlUniform function (ntifs.h)".
func rtlUniform(c *Call, seed guest.Addr) uint32 {
	v := rtl.Uniform(Load[uint32](c, seed))
	Store(c, seed, v)
	return v
}
