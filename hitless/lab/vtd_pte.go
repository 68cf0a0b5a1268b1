package lab

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// vtdPTELevels is how many levels the tables of the bench have.
const vtdPTELevels = 4

// vtdPTEKinds are the entries of second-stage and of first-stage tables. The first takes part in the matrix
// with flags that hardware keeps.
func vtdPTEKinds() []*Kind {
	ss := &Kind{
		IOMMU: "vtd", Name: "pte", Stage: 2, Variant: "second stage", Clause: "VT-d 9.8", Words: 1,
		Forms: vtdSSForms(), Core: 9, levels: vtdPTELevels, width: 48,
		pte:    &PTE{IOVA: iova, Level: 1, Dirty: true, known: true},
		format: func(o *Options) *entry.Format { return vtdFormats().SSPTE(o.PTE.Level, o.PTE.Dirty) },
		bench:  vtdPTEBench(spec.PGTTSecond), same: sameValues,
	}
	ss.drops = func(o *Options) drops { return pteDrops(ss, o, vtdDropSS, vtdDropDevice(o)) }
	fs := &Kind{
		IOMMU: "vtd", Name: "pte", Stage: 1, Variant: "first stage", Clause: "VT-d 9.7", Words: 1,
		Forms: vtdFSForms(), Core: 9, levels: vtdPTELevels, width: 47,
		pte:    &PTE{IOVA: iova, Level: 1, known: true},
		format: func(o *Options) *entry.Format { return vtdFormats().FSPTE(o.PTE.Level) },
		bench:  vtdPTEBench(spec.PGTTFirst), same: sameValues,
	}
	fs.drops = func(o *Options) drops {
		d := pteDrops(fs, o, vtdDropFS, vtdDropDevice(o))
		d.install = func([]uint64) []Command { return nil } // not even caching mode concerns them (6.1)
		return d
	}
	return []*Kind{ss, fs}
}

// vtdRange is what page-selective descriptors have in common: how many pages, and whether table pointers may
// stay.
func vtdRange(p *PTE, leaf bool) (am, ih uint64, text string) {
	am = uint64(p.lg2 - emu.PageShift)
	if leaf {
		ih = 1
	}
	return am, ih, fmt.Sprintf("address %#x, AM=%d, IH=%d", uint64(p.first()), am, ih)
}

// vtdDropSS drops second-stage translations of a range (6.5.2.3): by page as far as MAMV goes.
func vtdDropSS(p *PTE, leaf bool) []Command {
	am, ih, text := vtdRange(p, leaf)
	if am > spec.CapMAMV.Of(vtdFormats().CAP) {
		return []Command{vtdIOTLBDomain(id1)}
	}
	c := vtdDesc(fmt.Sprintf("IOTLB, page-selective: DID %#x, %s", id1, text), spec.DescIOTLB,
		spec.IiG, uint64(spec.GranPage), spec.IiDID, uint64(id1), spec.IiAM, am, spec.IiIH, ih)
	c.Words[1] |= uint64(p.first())
	return []Command{c}
}

// vtdDropFS drops first-stage translations of a range (6.5.2.4).
func vtdDropFS(p *PTE, leaf bool) []Command {
	am, ih, text := vtdRange(p, leaf)
	c := vtdDesc(fmt.Sprintf("PASID-based IOTLB, page-selective: DID %#x, PASID 0, %s", id1, text), spec.DescPASIDIOTLB,
		spec.PiG, uint64(spec.GranPASIDPage), spec.PiDID, uint64(id1), spec.PiAM, am, spec.PiIH, ih)
	c.Words[1] |= uint64(p.first())
	return []Command{c}
}

// vtdDropDevice drops what devices hold of a range (6.5.2.5).
func vtdDropDevice(o *Options) func(*PTE) []Command {
	return func(p *PTE) (list []Command) {
		for i := range devices(o) {
			c := vtdDesc(fmt.Sprintf("device-TLB: SID %#x, %#x bytes at %#x", int(sid)+i, uint64(1)<<p.lg2, uint64(p.first())),
				spec.DescDevTLB, spec.DtSID, uint64(int(sid)+i))
			c.Words[1] = rangeOnes(uint64(p.first()), p.lg2)
			if p.lg2 > emu.PageShift {
				c.Words[1] |= spec.DtS.Mask()
			}
			list = append(list, c)
		}
		return list
	}
}

// rangeOnes writes an aligned range as its address with the bits below the size set, but for the highest one.
func rangeOnes(first uint64, lg2 uint8) uint64 {
	return first | reg.Ones(lg2-1)&^reg.Ones(emu.PageShift)
}

// vtdPTEBench makes the unit, with a PASID entry for requests without PASID and one table.
func vtdPTEBench(pgtt uint64) func(*Options, [][]uint64) (*bench, error) {
	return func(o *Options, contents [][]uint64) (*bench, error) {
		p := o.PTE
		c, err := vtdConfig()
		if err != nil {
			return nil, err
		}
		// What leads to the table does not change, and its caches make no difference.
		c.CM, c.ContextCache, c.PASIDCache = p.Caching, iotlb.Geometry{}, iotlb.Geometry{}
		u, err := vtd.New(c)
		if err != nil {
			return nil, err
		}
		b := newBench(u, pointers(contents))
		root, context, dir, pasid, table := b.page(), b.page(), b.page(), b.page(), b.page()
		b.put(root, uint64(context)|1)
		b.put(context+emu.PA(sid)*smContextSize, uint64(dir)|1)
		b.put(dir, uint64(pasid)|1)
		w := make([]uint64, 8)
		for _, f := range []field{{spec.PasidP, 1}, {spec.PasidPGTT, pgtt}, {spec.PasidDID, id1}, {spec.PasidAW, spec.AW48}, {spec.PasidPWSNP, 1}} {
			f.bits.Set(w, f.value)
		}
		haw := u.Config().HAW
		var pg *entry.Paging
		var f pagetable.Format
		if pgtt == spec.PGTTSecond {
			spec.PasidSSPTPTR.Set(w, uint64(table)>>emu.PageShift)
			if p.Dirty {
				spec.PasidSSADE.Set(w, 1)
			}
			pg, f = vtdFormats().SSPTE(p.Level, p.Dirty).Paging, pagetable.VTDSS{HAW: haw, Snoop: true, Dirty: p.Dirty}
		} else {
			spec.PasidFSPTPTR.Set(w, uint64(table)>>emu.PageShift)
			spec.PasidNXE.Set(w, 1)
			pg, f = vtdFormats().FSPTE(p.Level).Paging, pagetable.X86{HAW: haw, NXE: true, Preset: true}
		}
		b.put(pasid, w...)
		if err := b.pteBench(pg, p, f, vtdPTELevels, 0, table, contents); err != nil {
			return nil, err
		}
		b.vtdStart(root, true)
		return b, nil
	}
}

func vtdSSForms() []Form {
	leaf := func(name string, fields ...field) Form {
		base := form("", 1, nil, field{spec.SSR, 1}, field{spec.SSW, 1}, field{spec.SSPS, 1}, field{spec.SSA, 1}, field{spec.SSD, 1},
			field{spec.SSADDR, blockA >> 12})
		return form(name, 1, base.Raw, fields...)
	}
	table := func(name string, at uint64, fields ...field) Form {
		base := form("", 1, nil, field{spec.SSR, 1}, field{spec.SSW, 1}, field{spec.SSA, 1}, field{spec.SSADDR, at >> 12})
		return form(name, 1, base.Raw, fields...)
	}
	return []Form{
		form("not present", 1, nil),
		leaf("block A"),
		leaf("block A, read-only", field{spec.SSW, 0}),
		leaf("block A, clean", field{spec.SSD, 0}),
		leaf("block B", field{spec.SSADDR, blockB >> 12}),
		leaf("block B, clean", field{spec.SSADDR, blockB >> 12}, field{spec.SSD, 0}),
		table("table like A", alikeTable),
		table("other table", otherTable),
		table("table like A, read-only", alikeTable, field{spec.SSW, 0}),
		leaf("block A, not accessed", field{spec.SSA, 0}, field{spec.SSD, 0}),
		leaf("block A, snooped", field{spec.SSSNP, 1}),
		leaf("block A, write-only", field{spec.SSR, 0}),
		table("table like A, not accessed", alikeTable, field{spec.SSA, 0}),
		form("not present, for software", 1, []uint64{1 << 63}),
	}
}

func vtdFSForms() []Form {
	leaf := func(name string, fields ...field) Form {
		base := form("", 1, nil, field{spec.FSP, 1}, field{spec.FSRW, 1}, field{spec.FSUS, 1}, field{spec.FSPS, 1}, field{spec.FSA, 1},
			field{spec.FSD, 1}, field{spec.FSADDR, blockA >> 12})
		return form(name, 1, base.Raw, fields...)
	}
	table := func(name string, at uint64, fields ...field) Form {
		base := form("", 1, nil, field{spec.FSP, 1}, field{spec.FSRW, 1}, field{spec.FSUS, 1}, field{spec.FSA, 1}, field{spec.FSADDR, at >> 12})
		return form(name, 1, base.Raw, fields...)
	}
	return []Form{
		form("not present", 1, nil),
		leaf("block A"),
		leaf("block A, read-only", field{spec.FSRW, 0}),
		leaf("block A, clean", field{spec.FSD, 0}),
		leaf("block B", field{spec.FSADDR, blockB >> 12}),
		leaf("block B, clean", field{spec.FSADDR, blockB >> 12}, field{spec.FSD, 0}),
		table("table like A", alikeTable),
		table("other table", otherTable),
		table("table like A, read-only", alikeTable, field{spec.FSRW, 0}),
		leaf("block A, not accessed", field{spec.FSA, 0}, field{spec.FSD, 0}),
		leaf("block A, supervisor", field{spec.FSUS, 0}),
		leaf("block A, no execution", field{spec.FSXD, 1}),
		leaf("block A, uncached", field{spec.FSPCD, 1}),
		table("table like A, not accessed", alikeTable, field{spec.FSA, 0}),
		form("not present, for software", 1, []uint64{1 << 52}),
	}
}
