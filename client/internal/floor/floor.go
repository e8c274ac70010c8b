//go:build linux && amd64

// Package floor is the yardstick of the socket benchmarks: a ping-pong with raw blocking system
// calls, in assembly, so that no part of Go's runtime lies on the path. It is what two processes in
// C would do.
//
// While a loop blocks the runtime believes that its thread computes: a garbage collection would
// wait for it. So a process that calls Echo or Ping has a GOMAXPROCS above the number of its loops
// and its garbage collector off.
package floor

// Ping sends the n bytes at p over the socket fd and receives as many, rounds times. It returns 0,
// or the negated errno of the call that failed (0 bytes received: -1).
//
//go:noescape
func Ping(fd int, p *byte, n int, rounds int) int

// Echo receives up to n bytes to p and sends back what came, until the peer closes or a call fails.
//
//go:noescape
func Echo(fd int, p *byte, n int) int
