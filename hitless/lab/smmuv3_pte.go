package lab

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// smmuv3PTEKinds are the descriptors of both stages. In the matrix those of stage 1 are there for each
// break-before-make level.
func smmuv3PTEKinds() (list []*Kind) {
	for _, c := range []struct {
		stage   uint8
		variant string
		pte     PTE
		core    int
	}{
		{1, "stage 1, BBML 2", PTE{BBML: 2, Dirty: true}, 9},
		{1, "stage 1, BBML 1", PTE{BBML: 1}, 8},
		{1, "stage 1, BBML 0", PTE{BBML: 0}, 7},
		{2, "stage 2, BBML 1", PTE{BBML: 1, Dirty: true}, 9},
	} {
		p := c.pte
		p.IOVA, p.Level, p.known = iova, 1, true
		k := &Kind{
			IOMMU: "smmuv3", Name: "pte", Stage: c.stage, Variant: c.variant, Clause: "DDI 0487 D8.3", Words: 1, Weak: true,
			Forms: smmuv3TTDForms(c.stage, &p), Core: c.core, levels: 4, width: 48, pte: &p,
			format: func(o *Options) *entry.Format { return smmuTTD(o, c.stage) },
			bench:  smmuv3PTEBench(c.stage), same: sameValues,
		}
		k.drops = func(o *Options) drops { return pteDrops(k, o, smmuDropRange(c.stage), smmuDropATC(o)) }
		list = append(list, k)
	}
	return list
}

// smmuTTD is the format of a stage.
func smmuTTD(o *Options, stage uint8) *entry.Format {
	p := o.PTE
	d := entry.TTD{Granule: p.granule(), Level: p.Level, Dirty: p.Dirty, BBML: p.BBML}
	if stage == 1 {
		return smmuv3Formats(o).Stage1TTD(d)
	}
	return smmuv3Formats(o).Stage2TTD(d)
}

// granule is log2 of the smallest page.
func (p *PTE) granule() spec.Granule {
	if p.Granule == 0 {
		return spec.Granule4K
	}
	return spec.Granule(p.Granule)
}

// smmuDropRange drops translations of a range (4.4.1): with Leaf=0 table pointers, too.
func smmuDropRange(stage uint8) func(p *PTE, leaf bool) []Command {
	return func(p *PTE, leaf bool) []Command {
		w := []uint64{spec.CmdOpcode.Put(spec.CmdTlbiNHVA) | spec.CmdASID.Put(id1), 0}
		text := fmt.Sprintf("CMD_TLBI_NH_VA: VMID 0, ASID %#x", id1)
		if stage == 2 {
			w[0] = spec.CmdOpcode.Put(spec.CmdTlbiS2IPA) | spec.CmdVMID.Put(id1)
			text = fmt.Sprintf("CMD_TLBI_S2_IPA: VMID %#x", id1)
		}
		w[1] = uint64(p.first())
		flag := 0
		if leaf {
			flag = 1
			spec.CmdLeaf.Set(w, 1)
		}
		text += fmt.Sprintf(", address %#x, Leaf=%d", uint64(p.first()), flag)
		if scale := p.lg2 - uint8(p.granule()); scale > 0 {
			tg, _ := p.granule().TLBI()
			spec.TlbiTG.Set(w, tg)
			spec.TlbiScale.Set(w, uint64(scale))
			text += fmt.Sprintf(", TG=%d, SCALE=%d, NUM=0", tg, scale)
		}
		return []Command{{text, [2]uint64(w)}}
	}
}

// smmuDropATC drops what devices hold of a range (4.5.1).
func smmuDropATC(o *Options) func(p *PTE) []Command {
	return func(p *PTE) (list []Command) {
		for i := range devices(o) {
			c := smmuCmd(fmt.Sprintf("CMD_ATC_INV: %#x bytes at %#x, StreamID %#x", uint64(1)<<p.lg2, uint64(p.first()), int(sid)+i),
				spec.CmdAtcInv, uint64(int(sid)+i), 0, 0)
			c.Words[1] |= uint64(p.first())
			spec.AtcSize.Set(c.Words[:], uint64(p.lg2-emu.PageShift))
			list = append(list, c)
		}
		return list
	}
}

// smmuv3PTEBench makes the unit, with a stream of one stage and its table of 48 bits.
func smmuv3PTEBench(stage uint8) func(*Options, [][]uint64) (*bench, error) {
	return func(o *Options, contents [][]uint64) (*bench, error) {
		p, g := o.PTE, o.PTE.granule()
		c, err := smmuv3Config(o)
		if err != nil {
			return nil, err
		}
		// What leads to the table does not change, and its caches make no difference.
		c.STECache, c.CDCache, c.BBML = iotlb.Geometry{}, iotlb.Geometry{}, p.BBML
		u, err := smmuv3.New(c)
		if err != nil {
			return nil, err
		}
		b := newBench(u, pointers(contents))
		strtab, cd := b.page(), b.page()
		levels := uint8(4)
		if g == spec.Granule64K {
			levels = 3
		}
		tg, _ := g.TG0()
		var f pagetable.Format
		var attr pagetable.Attr
		ste := make([]uint64, 8)
		root, _ := b.Alloc(uint8(g) + 1) // two tables side by side, at most
		if stage == 1 {
			ste[0] = b.smmuSTE(cd, smmuStage1{})
			w := smmuCDWords(id1, root)
			for _, f := range []field{{spec.CdT0SZ, 16}, {spec.CdTG0, tg}, {spec.CdHA, boolBit(p.Dirty)}, {spec.CdHD, boolBit(p.Dirty)}} {
				f.bits.Set(w, f.value)
			}
			b.put(cd, w...)
			f, attr = pagetable.LPAES1{Granule: uint8(g), HA: p.Dirty, HD: p.Dirty, Preset: true}, pagetable.LPAES1Shareability|pagetable.LPAES1NonGlobal
		} else {
			if g == spec.Granule16K {
				levels = 3
			}
			sl0, _ := spec.S2SL0(g, int8(levels-1))
			ste = form("", 8, nil, field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigS2}, field{spec.SteS2VMID, id1}, field{spec.SteS2T0SZ, 16},
				field{spec.SteS2SL0, sl0}, field{spec.SteS2TG, tg}, field{spec.SteS2PS, 5}, field{spec.SteS2AA64, 1}, field{spec.SteS2R, 1},
				field{spec.SteS2HA, boolBit(p.Dirty)}, field{spec.SteS2HD, boolBit(p.Dirty)}, field{spec.SteS2TTB, uint64(root) >> 4}).Raw
			f, attr = pagetable.LPAES2{Granule: uint8(g), HA: p.Dirty, HD: p.Dirty, Preset: true}, pagetable.LPAES2WriteBack|pagetable.LPAES2Shareability
		}
		b.put(strtab+emu.PA(sid)*spec.STESize, ste...)
		if err := b.pteBench(smmuTTD(o, stage).Paging, p, f, levels, attr, root, contents); err != nil {
			return nil, err
		}
		b.smmuv3Start(strtab, spec.StrtabLog2.Put(smmuSplit))
		return b, nil
	}
}

func boolBit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

// smmuv3TTDForms are descriptors of level 1 with granules of 4 KiB.
func smmuv3TTDForms(stage uint8, p *PTE) []Form {
	base := []field{{spec.TtdValid, 1}, {spec.TtdAF, 1}, {spec.TtdSH, spec.ShInner}}
	ro, clean := field{spec.S1AP2, 1}, []field{{spec.S1AP2, 1}, {spec.TtdDBM, 1}}
	other := field{spec.S1AttrIndx, 1}
	if stage == 1 {
		base = append(base, field{spec.S1NG, 1}, field{spec.S1AP1, 1})
	} else {
		base = append(base, field{spec.S2AP, 3}, field{spec.S2MemAttr, 15})
		ro, clean = field{spec.S2APW, 0}, []field{{spec.S2APW, 0}, {spec.TtdDBM, 1}}
		other = field{spec.S2MemAttr, 5}
	}
	leaf := func(name string, at uint64, fields ...field) Form {
		b := form("", 1, []uint64{at}, base...)
		if p.Dirty {
			b = form("", 1, b.Raw, field{spec.TtdDBM, 1})
		}
		return form(name, 1, b.Raw, fields...)
	}
	table := func(name string, at uint64) Form { return form(name, 1, []uint64{at | 3}) }
	readOnly := []field{ro, {spec.TtdDBM, 0}}
	list := []Form{
		form("not present", 1, nil),
		leaf("block A", blockA),
		leaf("block A, read-only", blockA, readOnly...),
		leaf("block B", blockB),
		table("table like A", alikeTable),
		table("other table", otherTable),
		leaf("run of 16 at A", blockA, field{spec.TtdContig, 1}),
	}
	nT := leaf("block A, nT", blockA, field{spec.TtdNT, 1})
	if p.BBML == 1 { // others ignore it
		list = append(list, nT)
	}
	if p.Dirty {
		list = append(list, leaf("block A, clean", blockA, clean...))
	}
	list = append(list,
		leaf("block A, other memory type", blockA, other),
		leaf("run of 16 at B", blockB, field{spec.TtdContig, 1}),
		leaf("run of 16 at A, read-only", blockA, append(readOnly, field{spec.TtdContig, 1})...),
		leaf("block B, read-only", blockB, readOnly...),
		leaf("block A, not accessed", blockA, field{spec.TtdAF, 0}),
		form("not present, for software", 1, []uint64{1 << 55}))
	if p.BBML != 1 {
		list = append(list, nT)
	}
	if stage == 1 {
		list = append(list, leaf("block A, global", blockA, field{spec.S1NG, 0}))
	}
	return list
}
