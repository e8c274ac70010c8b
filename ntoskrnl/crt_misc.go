package ntoskrnl

import "github.com/drvhost/drvhost/nt"

// What the compiler calls, random numbers and square roots.
var crtMiscExports = []Export{
	// Its only argument is in RAX: the bytes of the stack frame to come, whose pages it touches.
	{Name: "__chkstk", Code: codeChkstk, MaxIRQL: anyIRQL, Support: Full},
	{Name: "_purecall", Fn: do0(purecall), MaxIRQL: anyIRQL, Support: Partial,
		Note: "it raises STATUS_NOT_IMPLEMENTED; what Windows does then is not documented"},
	{Name: "rand", Fn: fn0(nextRandom), MaxIRQL: anyIRQL, Support: Full},
	{Name: "srand", Fn: do1(seedRandom), Params: "seed:d", MaxIRQL: anyIRQL, Support: Full},
	// double sqrt(double x). "sqrt, sqrtf, sqrtl". Argument and result are in XMM0.
	{Name: "sqrt", Code: codeSqrt, MaxIRQL: anyIRQL, Support: Full},
	// float sqrtf(float x).
	{Name: "sqrtf", Code: codeSqrtf, MaxIRQL: anyIRQL, Support: Full},
}

// purecall is where a pure virtual function of C++ leads that nobody overrode.
//
//	int _purecall(void)
//
// "_purecall".
func purecall(c *Call) { c.Raise(nt.STATUS_NOT_IMPLEMENTED) }

// nextRandom gives a pseudo-random number from 0 to 0x7FFF. All drivers draw from one sequence.
//
//	int rand(void)
//
// "rand".
func nextRandom(c *Call) int32 { return c.random.rand.Next() }

// seedRandom starts the sequence of rand anew.
//
//	void srand(unsigned int seed)
//
// "srand".
func seedRandom(c *Call, seed uint32) { c.random.rand.Seed(seed) }
