package guest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

var sink uint64

// Each benchmark of an access is followed by the same work on Go memory, the floor.

func BenchmarkLoad64(b *testing.B) {
	a := alloc(b, space(b), PageSize, ProtRW).Base()
	b.Run("guest", func(b *testing.B) {
		for b.Loop() {
			v, err := Load64(a)
			if err != nil {
				b.Fatal(err)
			}
			sink += v
		}
	})
	b.Run("atomic-add", func(b *testing.B) {
		for b.Loop() {
			v, _ := Add64(a, 1)
			sink += v
		}
	})
}

func BenchmarkRead(b *testing.B) {
	a := alloc(b, space(b), 1<<22, ProtRW).Base()
	for _, n := range []int{1, 8, 16, 64, 150, 256, 512, 1024, 4096, 16384, 65536, 1 << 20} {
		dst, src := make([]byte, n), make([]byte, n)
		require.NoError(b, Write(a, src))
		b.Run(fmt.Sprintf("guest/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				_ = Read(dst, a)
			}
		})
		b.Run(fmt.Sprintf("copy/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				copy(dst, src)
			}
		})
	}
}

func BenchmarkFault(b *testing.B) {
	space(b)
	for b.Loop() {
		if _, err := Load64(0); err == nil {
			b.Fatal("read the null page")
		}
	}
}

func BenchmarkFill(b *testing.B) {
	a := alloc(b, space(b), 1<<20, ProtRW).Base()
	for _, n := range []uintptr{8, 64, 400, 1024, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				_ = Fill(a, 0, n)
			}
		})
	}
}

func BenchmarkStackReuse(b *testing.B) {
	s := space(b)
	for b.Loop() {
		st, err := s.AllocStack(0)
		if err != nil {
			b.Fatal(err)
		}
		_ = st.Free()
	}
}

func BenchmarkAllocFree(b *testing.B) {
	s := space(b)
	for b.Loop() {
		r, err := s.AllocSystem(PageSize, ProtRW, "bench")
		if err != nil {
			b.Fatal(err)
		}
		_ = r.Free()
	}
}

func BenchmarkLookup(b *testing.B) {
	s := space(b)
	var last Addr
	for range 1000 {
		last = alloc(b, s, PageSize, ProtNone).Base()
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Lookup(last); !ok {
			b.Fatal("not found")
		}
	}
}
