package mm

import (
	"testing"

	"github.com/drvhost/drvhost/nt"
)

func BenchmarkPoolPair64(b *testing.B) {
	m := newManager(b, Config{})
	b.ReportAllocs()
	for b.Loop() {
		a, err := m.AllocatePool(nt.NonPagedPoolNx, 64, testTag)
		if err != nil {
			b.Fatal(err)
		}
		if err := m.FreePoolWithTag(a, testTag); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPoolPair64Parallel(b *testing.B) {
	m := newManager(b, Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a, err := m.AllocatePool(nt.NonPagedPoolNx, 64, testTag)
			if err != nil {
				b.Fatal(err)
			}
			if err := m.FreePoolWithTag(a, testTag); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPoolPair(b *testing.B) {
	for _, c := range []struct {
		name string
		size uintptr
	}{{"16", 16}, {"512", 512}, {"2000", 2000}, {"page", 4096}, {"64KiB", 64 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			m := newManager(b, Config{})
			b.ReportAllocs()
			for b.Loop() {
				a, err := m.AllocatePool(nt.NonPagedPoolNx, c.size, testTag)
				if err != nil {
					b.Fatal(err)
				}
				if err := m.FreePool(a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWindowPair(b *testing.B) {
	m := newManager(b, Config{})
	w, err := m.NewWindow(0, "a test")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		a, ok := w.Alloc(4096, 0)
		if !ok {
			b.Fatal("no room")
		}
		if err := w.Free(a); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDirectIO is what an IRP with direct I/O asks of the memory manager.
func BenchmarkDirectIO(b *testing.B) {
	for _, size := range []uintptr{64, 64 << 10, 1 << 20} {
		b.Run(nt.Addr(size).String(), func(b *testing.B) {
			m := newManager(b, Config{})
			w, err := m.NewWindow(0, "a test")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				a, _ := w.Alloc(size, 0)
				mdl, err := m.AllocateMdl(a, size)
				if err == nil {
					err = m.ProbeAndLockPages(mdl, nt.UserMode, IoWriteAccess, w)
				}
				if err == nil {
					_, err = m.SystemAddressForMdl(mdl)
				}
				if err == nil {
					err = m.UnlockPages(mdl)
				}
				if err == nil {
					err = m.FreeMdl(mdl)
				}
				if err == nil {
					err = w.Free(a)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNewManager(b *testing.B) {
	for b.Loop() {
		newManager(b, Config{}).Close()
	}
}
