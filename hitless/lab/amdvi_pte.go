package lab

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// amdviPTELevels is how many levels the tables of the bench have.
const amdviPTELevels = 4

// amdviPTEKinds are the entries of host tables (v1) and of guest tables (v2). The first takes part in the matrix
// with flags that hardware keeps.
func amdviPTEKinds() []*Kind {
	host := &Kind{
		IOMMU: "amdvi", Name: "pte", Stage: 2, Variant: "v1", Clause: "AMD-Vi 2.2.3", Words: 1,
		Forms: amdviV1Forms(), Core: 10, levels: amdviPTELevels, width: 48,
		pte:    &PTE{IOVA: iova, Level: 1, Dirty: true, known: true},
		format: func(o *Options) *entry.Format { return amdviFormats().PTE(o.PTE.Level, o.PTE.Dirty) },
		bench:  amdviPTEBench(false), same: sameValues,
	}
	host.drops = func(o *Options) drops { return pteDrops(host, o, amdviDropPages(false), amdviDropDevice(o, false)) }
	guest := &Kind{
		IOMMU: "amdvi", Name: "pte", Stage: 1, Variant: "v2", Clause: "AMD-Vi 2.2.6", Words: 1,
		Forms: amdviV2Forms(), Core: 9, levels: amdviPTELevels, width: 48,
		pte:    &PTE{IOVA: iova, Level: 1, known: true},
		format: func(o *Options) *entry.Format { return amdviFormats().GuestPTE(o.PTE.Level) },
		bench:  amdviPTEBench(true), same: sameValues,
	}
	guest.drops = func(o *Options) drops { return pteDrops(guest, o, amdviDropPages(true), amdviDropDevice(o, true)) }
	return []*Kind{host, guest}
}

// amdviRange is the second word of a command about an aligned range.
func amdviRange(p *PTE) uint64 {
	w := rangeOnes(uint64(p.first()), p.lg2)
	if p.lg2 > emu.PageShift {
		w |= spec.CmdS.Mask()
	}
	return w
}

// amdviDropPages drops translations of a range (2.4.3), with table pointers if one was in use: of the host
// table, or of the guest table of requests without PASID.
func amdviDropPages(gn bool) func(p *PTE, leaf bool) []Command {
	return func(p *PTE, leaf bool) []Command {
		c := Command{Words: [2]uint64{spec.CmdOpcode.Put(spec.CmdInvalidatePages) | spec.IpDomainID.Put(id1), amdviRange(p)}}
		pde, kind := 0, "GN=0"
		if !leaf {
			pde = 1
			c.Words[1] |= spec.IpPDE.Mask()
		}
		if gn {
			kind = "GN=1, PASID 0"
			c.Words[1] |= spec.CmdGN.Mask()
		}
		c.Text = fmt.Sprintf("INVALIDATE_IOMMU_PAGES: %#x bytes at %#x, DomainID %#x, PDE=%d, %s", uint64(1)<<p.lg2, uint64(p.first()), id1, pde, kind)
		return []Command{c}
	}
}

// amdviDropDevice drops what devices hold of a range (2.4.4).
func amdviDropDevice(o *Options, gn bool) func(p *PTE) []Command {
	return func(p *PTE) (list []Command) {
		for i := range devices(o) {
			id := uint64(int(sid) + i)
			c := Command{
				fmt.Sprintf("INVALIDATE_IOTLB_PAGES: %#x bytes at %#x, DeviceID %#x", uint64(1)<<p.lg2, uint64(p.first()), id),
				[2]uint64{spec.CmdOpcode.Put(spec.CmdInvalidateIOTLB) | id, amdviRange(p)},
			}
			list = append(list, c)
		}
		return list
	}
}

// amdviPTEBench makes the unit, with a device table entry and one host table, or one guest table.
func amdviPTEBench(guest bool) func(*Options, [][]uint64) (*bench, error) {
	return func(o *Options, contents [][]uint64) (*bench, error) {
		p := o.PTE
		c := amdvi.DefaultConfig()
		// What leads to the table does not change, and its caches make no difference.
		c.NpCache, c.DTECache, c.GCR3Cache = p.Caching, iotlb.Geometry{}, iotlb.Geometry{}
		u, err := amdvi.New(c)
		if err != nil {
			return nil, err
		}
		b := newBench(u, pointers(contents))
		devtab, gcr3, root := b.page(), b.page(), b.page()
		w := make([]uint64, 4)
		for _, f := range []field{{spec.DteV, 1}, {spec.DteTV, 1}, {spec.DteIR, 1}, {spec.DteIW, 1}, {spec.DteDomainID, id1}} {
			f.bits.Set(w, f.value)
		}
		pg, f := amdviFormats().PTE(p.Level, p.Dirty).Paging, pagetable.Format(pagetable.AMDv1{Dirty: p.Dirty})
		if guest {
			pg, f = amdviFormats().GuestPTE(p.Level).Paging, pagetable.X86{NXE: true, Preset: true, Unsigned: true}
			b.put(gcr3, uint64(root)|spec.Gcr3V.Mask())
			w = form("", 4, w, amdviV2(uint64(gcr3), amdviPTELevels)...).Raw
		} else {
			spec.DteHostRoot.Set(w, uint64(root)>>emu.PageShift)
			spec.DteMode.Set(w, amdviPTELevels)
			if p.Dirty {
				spec.DteHAD.Set(w, spec.HADAD)
			}
		}
		b.put(devtab+emu.PA(sid)*spec.DTESize, w...)
		if err := b.pteBench(pg, p, f, amdviPTELevels, 0, root, contents); err != nil {
			return nil, err
		}
		b.amdviStart(devtab)
		return b, nil
	}
}

func amdviV1Forms() []Form {
	base := []field{{spec.PtePR, 1}, {spec.PteIR, 1}, {spec.PteIW, 1}, {spec.PteA, 1}}
	leaf := func(name string, at uint64, fields ...field) Form {
		b := form("", 1, nil, append(base[:4:4], field{spec.PteD, 1}, field{spec.PteFC, 1}, field{spec.PteAddr, at >> 12})...)
		return form(name, 1, b.Raw, fields...)
	}
	table := func(name string, at uint64, fields ...field) Form {
		b := form("", 1, nil, append(base[:4:4], field{spec.PteNextLevel, 1}, field{spec.PteAddr, at >> 12})...)
		return form(name, 1, b.Raw, fields...)
	}
	sized := func(name string, at uint64, lg2 uint8, fields ...field) Form {
		f := leaf(name, spec.PageSizeAddr(at, lg2), field{spec.PteNextLevel, spec.NextLevelSize})
		return form(name, 1, f.Raw, fields...)
	}
	return []Form{
		form("not present", 1, nil),
		leaf("block A", blockA),
		leaf("block A, read-only", blockA, field{spec.PteIW, 0}),
		leaf("block A, clean", blockA, field{spec.PteD, 0}),
		leaf("block B", blockB),
		table("table like A", alikeTable),
		table("other table", otherTable),
		sized("4M at A", blockA, 22),
		sized("4M at B", blockB, 22),
		sized("8M at A, clean", blockA, 23, field{spec.PteD, 0}),
		leaf("block B, clean", blockB, field{spec.PteD, 0}),
		table("table like A, read-only", alikeTable, field{spec.PteIW, 0}),
		leaf("block A, not accessed", blockA, field{spec.PteA, 0}, field{spec.PteD, 0}),
		leaf("block A, not coherent", blockA, field{spec.PteFC, 0}),
		leaf("block A, untranslated only", blockA, field{spec.PteU, 1}),
		sized("8M at A", blockA, 23),
		sized("16M at B", blockB, 24),
		form("not present, for software", 1, []uint64{1 << 63}),
	}
}

func amdviV2Forms() []Form {
	base := []field{{spec.GptP, 1}, {spec.GptRW, 1}, {spec.GptUS, 1}, {spec.GptA, 1}}
	leaf := func(name string, at uint64, fields ...field) Form {
		b := form("", 1, nil, append(base[:4:4], field{spec.GptPS, 1}, field{spec.GptD, 1}, field{spec.GptAddr, at >> 12})...)
		return form(name, 1, b.Raw, fields...)
	}
	table := func(name string, at uint64, fields ...field) Form {
		b := form("", 1, nil, append(base[:4:4], field{spec.GptAddr, at >> 12})...)
		return form(name, 1, b.Raw, fields...)
	}
	return []Form{
		form("not present", 1, nil),
		leaf("block A", blockA),
		leaf("block A, read-only", blockA, field{spec.GptRW, 0}),
		leaf("block A, clean", blockA, field{spec.GptD, 0}),
		leaf("block B", blockB),
		leaf("block B, clean", blockB, field{spec.GptD, 0}),
		table("table like A", alikeTable),
		table("other table", otherTable),
		table("table like A, read-only", alikeTable, field{spec.GptRW, 0}),
		leaf("block A, not accessed", blockA, field{spec.GptA, 0}, field{spec.GptD, 0}),
		leaf("block A, supervisor", blockA, field{spec.GptUS, 0}),
		leaf("block A, no execution", blockA, field{spec.GptNX, 1}),
		leaf("block A, uncached", blockA, field{spec.GptPCD, 1}),
		table("table like A, not accessed", alikeTable, field{spec.GptA, 0}),
		form("not present, for software", 1, []uint64{1 << 52}),
	}
}
