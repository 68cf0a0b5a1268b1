package qemu_test

import (
	"testing"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/internal/qemutest"
)

func must(b *testing.B, err error) {
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkVTD(b *testing.B) {
	v := qemutest.Peer(b, qemu.Options{})
	read := conform.DMA{Addr: 0x40_0000, PASID: emu.NoPASID, Data: make([]byte, 8)}
	tag := conform.Tag(3)
	write := conform.DMA{Addr: 0x40_0000, PASID: emu.NoPASID, Write: true, Data: tag[:]}
	message := conform.DMA{Addr: 0xfee7_f000, PASID: emu.NoPASID, Write: true, Data: []byte{1, 0, 0, 0}}
	dma := func(d *conform.DMA) func() error {
		return func() error { _, err := v.DMA(d); return err }
	}
	for name, f := range map[string]func() error{
		"reset":      v.Reset,
		"register":   func() error { _, err := v.ReadReg(spec.OffGSTS, 4); return err },
		"memory":     func() error { return v.Write(0x40_0000, tag[:]) },
		"DMA read":   dma(&read),
		"DMA write":  dma(&write),
		"message":    func() error { _, err := v.DMA(&message); return err },
		"no message": func() error { _, err := v.Messages(); return err },
		"step":       func() error { return v.Step(1000) },
	} {
		b.Run(name, func(b *testing.B) {
			must(b, v.Reset())
			for b.Loop() {
				must(b, f())
			}
			_, err := v.Messages()
			must(b, err)
		})
	}
	b.Run("program", func(b *testing.B) { // 25 steps, 10 of them DMA
		for b.Loop() {
			must(b, v.Reset())
			for range 5 {
				must(b, v.WriteReg(spec.OffFEDATA, 4, 1))
				must(b, dma(&read)())
				must(b, v.Write(0x50_0000, tag[:]))
				must(b, dma(&write)())
				_, err := v.ReadReg(spec.OffFSTS, 4)
				must(b, err)
			}
			_, err := v.Messages()
			must(b, err)
		}
	})
}
