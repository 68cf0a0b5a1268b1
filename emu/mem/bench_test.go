package mem

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
)

func filled(pages int) *Memory {
	m := New()
	for i := range emu.PA(pages) {
		m.Store64(i<<12, uint64(i))
	}
	return m
}

func BenchmarkLoad64(b *testing.B) {
	for _, c := range []struct {
		name  string
		pages int
	}{{"resident", 64}, {"4096pages", 4096}, {"65536pages", 65536}} {
		b.Run(c.name, func(b *testing.B) {
			m := filled(c.pages)
			mask := emu.PA(c.pages - 1)
			pa, sum := emu.PA(0), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				v, _ := m.Load64((pa&mask)<<12 | pa&0xff8)
				sum += v
				pa = pa*5 + 0x1235
			}
			_ = sum
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, size := range []uint8{8, 16, 32} {
		b.Run(map[uint8]string{8: "8", 16: "16", 32: "32"}[size], func(b *testing.B) {
			var bus emu.Memory = filled(64)
			var v [4]uint64
			pa := emu.PA(0)
			for b.Loop() {
				bus.Load(pa&63<<12|pa&0xfe0, size, &v)
				pa += 0x1235
			}
		})
	}
}

func BenchmarkStore64(b *testing.B) {
	m := filled(64)
	pa := emu.PA(0)
	for b.Loop() {
		m.Store64(pa&63<<12|pa&0xff8, uint64(pa))
		pa += 0x1235
	}
}
