package ntoskrnl

import "github.com/drvhost/drvhost/nt"

// Adapters for functions of ntoskrnl/rtl and ntoskrnl/mm that an export is, as they stand: they take
// the arguments in the export's order, and their error is an nt.Status where Windows gives one, or a
// bad address. A row that needs nothing more names the function itself.

// status gives the status that a function's error is; what is none is [Call.Must]'s.
func (c *Call) status(err error) nt.Status {
	if err == nil {
		return nt.STATUS_SUCCESS
	}
	s, ok := err.(nt.Status)
	if !ok {
		c.Must(err)
	}
	return s
}

// must gives a function's value, unless it has an error.
func must[R any](c *Call, v R, err error) R {
	c.Must(err)
	return v
}

// tryN is an export that gives the function's value.

func try1[A, R word](f func(A) (R, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)))
		c.Must(err)
		return uint64(v)
	}
}

func try2[A, B, R word](f func(A, B) (R, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)))
		c.Must(err)
		return uint64(v)
	}
}

func try3[A, B, C, R word](f func(A, B, C) (R, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)))
		c.Must(err)
		return uint64(v)
	}
}

func try4[A, B, C, D, R word](f func(A, B, C, D) (R, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)))
		c.Must(err)
		return uint64(v)
	}
}

func try5[A, B, C, D, E, R word](f func(A, B, C, D, E) (R, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)))
		c.Must(err)
		return uint64(v)
	}
}

// pureN is an export that gives the value of a function that cannot fail.

func pure1[A, R word](f func(A) R) Func {
	return func(c *Call) uint64 { return uint64(f(A(c.Arg(0)))) }
}

func pure2[A, B, R word](f func(A, B) R) Func {
	return func(c *Call) uint64 { return uint64(f(A(c.Arg(0)), B(c.Arg(1)))) }
}

// statusN is an export that gives the function's error as a status.

func status1[A word](f func(A) error) Func {
	return func(c *Call) uint64 { return uint64(c.status(f(A(c.Arg(0))))) }
}

func status2[A, B word](f func(A, B) error) Func {
	return func(c *Call) uint64 { return uint64(c.status(f(A(c.Arg(0)), B(c.Arg(1))))) }
}

func status3[A, B, C word](f func(A, B, C) error) Func {
	return func(c *Call) uint64 { return uint64(c.status(f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2))))) }
}

func status4[A, B, C, D word](f func(A, B, C, D) error) Func {
	return func(c *Call) uint64 {
		return uint64(c.status(f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)))))
	}
}

func status5[A, B, C, D, E word](f func(A, B, C, D, E) error) Func {
	return func(c *Call) uint64 {
		return uint64(c.status(f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)), E(c.Arg(4)))))
	}
}

// runN is an export that returns nothing, and returnN one that gives its first argument back.

func run1[A word](f func(A) error) Func {
	return func(c *Call) uint64 {
		c.Must(f(A(c.Arg(0))))
		return 0
	}
}

func run2[A, B word](f func(A, B) error) Func {
	return func(c *Call) uint64 {
		c.Must(f(A(c.Arg(0)), B(c.Arg(1))))
		return 0
	}
}

func run3[A, B, C word](f func(A, B, C) error) Func {
	return func(c *Call) uint64 {
		c.Must(f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2))))
		return 0
	}
}

func return1[A word](f func(A) error) Func {
	return func(c *Call) uint64 {
		c.Must(f(A(c.Arg(0))))
		return c.Arg(0)
	}
}

func return2[A, B word](f func(A, B) error) Func {
	return func(c *Call) uint64 {
		c.Must(f(A(c.Arg(0)), B(c.Arg(1))))
		return c.Arg(0)
	}
}

func return3[A, B, C word](f func(A, B, C) error) Func {
	return func(c *Call) uint64 {
		c.Must(f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2))))
		return c.Arg(0)
	}
}

// testN is an export that gives a BOOLEAN.

func test1[A word](f func(A) (bool, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)))
		c.Must(err)
		return uint64(boolean(v))
	}
}

func test2[A, B word](f func(A, B) (bool, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)))
		c.Must(err)
		return uint64(boolean(v))
	}
}

func test3[A, B, C word](f func(A, B, C) (bool, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)))
		c.Must(err)
		return uint64(boolean(v))
	}
}

func test4[A, B, C, D word](f func(A, B, C, D) (bool, error)) Func {
	return func(c *Call) uint64 {
		v, err := f(A(c.Arg(0)), B(c.Arg(1)), C(c.Arg(2)), D(c.Arg(3)))
		c.Must(err)
		return uint64(boolean(v))
	}
}
