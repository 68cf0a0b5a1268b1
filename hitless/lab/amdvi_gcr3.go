package lab

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// gcr3Domain is the id of the device whose GCR3 table a bench is about: it has one of its own.
const gcr3Domain = id1

// amdviDropGCR3 drops what was cached of an entry, which goes with the paging structures, and what it made
// (2.4.3).
func amdviDropGCR3(o *Options) drops {
	d := amdviDrops(o)
	d.entry = func(entries [][]uint64) []Command {
		if len(entries) == 0 {
			return nil
		}
		return []Command{amdviPages(gcr3Domain, true)}
	}
	d.made = func([][]uint64) []Command { return nil }
	d.install = func([]uint64) []Command { return nil } // NpCache=0
	return d
}

// amdviGCR3Bench makes a device with guest tables, and the entry of PASID 0.
func amdviGCR3Bench(_ *Options, contents [][]uint64) (*bench, error) {
	u, err := amdviUnit(true)
	if err != nil {
		return nil, err
	}
	b := newBench(u, pointers(contents))
	table, gcr3 := b.page(), b.page()
	e := form("", 4, nil, field{spec.DteV, 1}, field{spec.DteTV, 1}, field{spec.DteIR, 1}, field{spec.DteIW, 1}, field{spec.DteDomainID, gcr3Domain},
		field{spec.DteGV, 1}, field{spec.DteGIoV, 1}, field{spec.DteGCR3Lo, uint64(gcr3) >> 12 & 7},
		field{spec.DteGCR3Mid, uint64(gcr3) >> 15 & 0xffff}, field{spec.DteGCR3Hi, uint64(gcr3) >> 31})
	b.put(table+emu.PA(sid)*spec.DTESize, e.Raw...)
	b.at = gcr3
	var first roots[uint8]
	for _, w := range contents {
		if spec.Gcr3V.On(w[0]) {
			first.add(emu.PA(w[0]&spec.Gcr3Addr.Mask()), 4)
		}
	}
	for i, root := range first.at {
		if _, err := b.table(pagetable.X86{Preset: true, Unsigned: true}, pagetable.Config{Levels: first.how[i]}, root, mapping{iova, guestPage(i)}); err != nil {
			return nil, err
		}
	}
	b.amdviStart(table)
	b.requests, b.further = []emu.Request{read}, []emu.Request{write, with(read, 0)}
	return b, nil
}
