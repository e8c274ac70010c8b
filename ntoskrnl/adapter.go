package ntoskrnl

// Call adapters: from a Go function with typed parameters to one that takes its arguments from
// registers and stack. They are generic, so that a call costs no reflection and no allocation.

// Func does an import call: it reads the arguments from c and returns what goes to RAX.
type Func func(c *Call) uint64

// word is what fits an argument slot or RAX: integers, addresses, statuses, booleans as bytes. A
// narrow argument is the low part of its slot, whatever stands above it.
type word interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int8 | ~int16 | ~int32 | ~int64 | ~uintptr
}

func fn0[R word](f func(*Call) R) Func {
	return func(c *Call) uint64 { return uint64(f(c)) }
}

func fn1[A, R word](f func(*Call, A) R) Func {
	return func(c *Call) uint64 { return uint64(f(c, A(c.Arg(0)))) }
}

func fn2[A, B, R word](f func(*Call, A, B) R) Func {
	return func(c *Call) uint64 { return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)))) }
}

func fn3[A, B, C, R word](f func(*Call, A, B, C) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2))))
	}
}

func fn4[A, B, C, D, R word](f func(*Call, A, B, C, D) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3))))
	}
}

func fn5[A, B, C, D, E, R word](f func(*Call, A, B, C, D, E) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4))))
	}
}

func fn6[A, B, C, D, E, F, R word](f func(*Call, A, B, C, D, E, F) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5))))
	}
}

func fn7[A, B, C, D, E, F, G, R word](f func(*Call, A, B, C, D, E, F, G) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5)), G(c.Arg(6))))
	}
}

func fn8[A, B, C, D, E, F, G, H, R word](f func(*Call, A, B, C, D, E, F, G, H) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5)), G(c.Arg(6)), H(c.Arg(7))))
	}
}

func fn9[A, B, C, D, E, F, G, H, I, R word](f func(*Call, A, B, C, D, E, F, G, H, I) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5)), G(c.Arg(6)), H(c.Arg(7)), I(c.Arg(8))))
	}
}

func fn10[A, B, C, D, E, F, G, H, I, J, R word](
	f func(*Call, A, B, C, D, E, F, G, H, I, J) R) Func {
	return func(c *Call) uint64 {
		return uint64(f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)),
			F(c.Arg(5)), G(c.Arg(6)), H(c.Arg(7)), I(c.Arg(8)), J(c.Arg(9))))
	}
}

// The same for functions that return nothing: RAX is left 0.

func do0(f func(*Call)) Func {
	return func(c *Call) uint64 { f(c); return 0 }
}

func do1[A word](f func(*Call, A)) Func {
	return func(c *Call) uint64 { f(c, A(c.Arg(0))); return 0 }
}

func do2[A, B word](f func(*Call, A, B)) Func {
	return func(c *Call) uint64 { f(c, A(c.Arg(0)), B(c.Arg(1))); return 0 }
}

func do3[A, B, C word](f func(*Call, A, B, C)) Func {
	return func(c *Call) uint64 { f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2))); return 0 }
}

func do4[A, B, C, D word](f func(*Call, A, B, C, D)) Func {
	return func(c *Call) uint64 {
		f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)))
		return 0
	}
}

func do5[A, B, C, D, E word](f func(*Call, A, B, C, D, E)) Func {
	return func(c *Call) uint64 {
		f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)))
		return 0
	}
}

func do6[A, B, C, D, E, F word](f func(*Call, A, B, C, D, E, F)) Func {
	return func(c *Call) uint64 {
		f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)), F(c.Arg(5)))
		return 0
	}
}

func do7[A, B, C, D, E, F, G word](f func(*Call, A, B, C, D, E, F, G)) Func {
	return func(c *Call) uint64 {
		f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)), F(c.Arg(5)),
			G(c.Arg(6)))
		return 0
	}
}

func do8[A, B, C, D, E, F, G, H word](f func(*Call, A, B, C, D, E, F, G, H)) Func {
	return func(c *Call) uint64 {
		f(c, A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)), F(c.Arg(5)),
			G(c.Arg(6)), H(c.Arg(7)))
		return 0
	}
}
