// Package floor holds what the native engine's benchmarks are measured against: the least that a
// coroutine switch and a signal can cost on the machine, whatever they are good for.
//
// It is imported by tests only, and imports x/sys.
package floor
