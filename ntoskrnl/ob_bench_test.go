package ntoskrnl

import "testing"

// BenchmarkReference is a pair of ObfReferenceObject and ObfDereferenceObject, with the exits and
// the call from Go that each of them takes here.
func BenchmarkReference(b *testing.B) {
	r := newRig(b)
	thread := uint64(r.thread.Object)
	reference, dereference := r.symbol("ObfReferenceObject"), r.symbol("ObfDereferenceObject")
	if err := r.thread.Do(func() {
		for b.Loop() {
			r.thread.Call(reference, thread)
			r.thread.Call(dereference, thread)
		}
	}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCurrentProcess is the same with exports that do next to nothing.
func BenchmarkCurrentProcess(b *testing.B) {
	r := newRig(b)
	export := r.symbol("PsGetCurrentProcess")
	if err := r.thread.Do(func() {
		for b.Loop() {
			r.thread.Call(export)
			r.thread.Call(export)
		}
	}); err != nil {
		b.Fatal(err)
	}
}
