package lab

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/hitless/reverse"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// smmuv3Config is a unit with all that is modelled.
func smmuv3Config(o *Options) (smmuv3.Config, error) {
	c, err := smmuv3.Preset("full")
	c.FWB = !o.NoFWB
	c.StallModel = spec.StallNever
	if o.Stall {
		c.StallModel, c.StallMax = spec.StallBoth, 1
	}
	if o.Unit == 16 {
		c.FetchSize = 16
	}
	return c, err
}

// smmuv3Unit makes the unit; without caches if only its capabilities are wanted. Flags of tables are set
// beforehand.
func smmuv3Unit(o *Options, caches bool) (*smmuv3.Unit, error) {
	c, err := smmuv3Config(o)
	if err != nil {
		return nil, err
	}
	if none := (iotlb.Geometry{}); !caches {
		c.STECache, c.CDCache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	return smmuv3.New(c)
}

func smmuv3Formats(o *Options) entry.SMMUv3 {
	u, err := smmuv3Unit(o, false)
	if err != nil {
		panic("lab: " + err.Error()) // the configuration is the unit's own
	}
	id := func(off uint32) uint32 { return uint32(u.ReadReg(off, 4)) }
	return entry.SMMUv3{
		// Attributes of memory make no outcome of their own: what overrides them counts all the same.
		IDR0: id(spec.OffIDR0), IDR1: id(spec.OffIDR1) | uint32(spec.Idr1AttrTypesOvr.Mask()), IDR3: id(spec.OffIDR3), IDR5: id(spec.OffIDR5), Wide: o.Unit == 16,
	}
}

func smmuv3Kinds() []*Kind {
	return []*Kind{
		{
			IOMMU: "smmuv3", Name: "ste", Clause: "SMMUv3 5.2", Words: 8, Weak: true,
			Forms: smmuv3STEForms(), Core: 12,
			format: func(o *Options) *entry.Format { return smmuv3Formats(o).STE() },
			drops:  smmuv3DropSTE,
			bench:  smmuv3Bench(smmuSTE), same: smmuv3Same, reverse: reverse.SMMUv3,
			id: func(t emu.Tag) uint64 { return uint64(t.Domain()) },
		}, {
			IOMMU: "smmuv3", Name: "cd", Clause: "SMMUv3 5.4", Words: 8, Weak: true,
			Forms: smmuv3CDForms(), Core: 7,
			format: func(o *Options) *entry.Format { return smmuv3Formats(o).CD(nil) },
			drops:  smmuv3DropCD,
			bench:  smmuv3Bench(smmuCD), same: smmuv3Same, reverse: reverse.SMMUv3,
			id: func(t emu.Tag) uint64 { return uint64(t.PASID()) },
		}, {
			IOMMU: "smmuv3", Name: "ste-l1", Clause: "SMMUv3 5.1", Words: 1, Weak: true,
			Forms: smmuv3L1STDForms(), Core: 3,
			format: func(o *Options) *entry.Format { return smmuv3Formats(o).L1STD() },
			drops: func(o *Options) drops {
				return smmuv3DropAll(o, smmuCmd("CMD_CFGI_ALL", spec.CmdCfgiSTERange, 0, 0, spec.CfgiRangeAll))
			},
			bench: smmuv3Bench(smmuL1STD), same: smmuv3Same,
		}, {
			IOMMU: "smmuv3", Name: "cd-l1", Clause: "SMMUv3 5.3", Words: 1, Weak: true,
			Forms: smmuv3L1CDForms(), Core: 3,
			format: func(o *Options) *entry.Format { return smmuv3Formats(o).L1CD() },
			drops: func(o *Options) drops {
				return smmuv3DropAll(o, smmuCmd(fmt.Sprintf("CMD_CFGI_CD_ALL: StreamID %#x", sid), spec.CmdCfgiCDAll, uint64(sid), 0, 0))
			},
			bench: smmuv3Bench(smmuL1CD), same: smmuv3Same,
		},
	}
}

// smmuv3Same compares what hardware looks at of cached entries.
func smmuv3Same(o *Options) func(emu.CacheID, [4]uint64, [4]uint64) bool {
	v := smmuv3Formats(o)
	ste, cd := v.STE(), v.CD(nil)
	return func(c emu.CacheID, a, b [4]uint64) bool {
		f := ste
		switch c {
		case emu.CacheEntry:
		case emu.CachePASID:
			f = cd
			a[3], b[3] = 0, 0 // flags of the unit's own
		default:
			return false
		}
		return f.Same(append(a[:], 0, 0, 0, 0), append(b[:], 0, 0, 0, 0))
	}
}

// smmuCmd makes a command about a stream, or about a VMID and an ASID; size is Range.
func smmuCmd(text string, op, stream, tag, size uint64) Command {
	w := []uint64{spec.CmdOpcode.Put(op), 0}
	switch op {
	case spec.CmdCfgiSTERange:
		spec.CfgiRange.Set(w, size)
	case spec.CmdTlbiNHAll, spec.CmdTlbiS12VMAll:
		spec.CmdVMID.Set(w, tag)
	case spec.CmdTlbiNHASID:
		spec.CmdASID.Set(w, tag)
	case spec.CmdTlbiNSNHAll, spec.CmdTlbiEL2All:
	default:
		spec.CmdSID.Set(w, stream)
	}
	return Command{text, [2]uint64(w)}
}

func smmuv3Device(o *Options) func() []Command {
	return func() (list []Command) {
		for i := range devices(o) {
			c := smmuCmd(fmt.Sprintf("CMD_ATC_INV: all addresses, StreamID %#x", int(sid)+i), spec.CmdAtcInv, uint64(int(sid)+i), 0, 0)
			spec.AtcSize.Set(c.Words[:], spec.AtcSizeAll)
			list = append(list, c)
		}
		return list
	}
}

// smmuv3DropSTE drops the STE with the CDs below it (4.3.1), and translations of its VMID: those of stage 1
// whatever their ASIDs, which are in the CDs.
func smmuv3DropSTE(o *Options) drops {
	cfgi := func() (list []Command) {
		for i := range 1 + o.Aliases {
			list = append(list, smmuCmd(fmt.Sprintf("CMD_CFGI_STE: StreamID %#x, Leaf=0", int(sid)+i), spec.CmdCfgiSTE, uint64(int(sid)+i), 0, 0))
		}
		return list
	}
	return drops{
		entry: func([][]uint64) []Command { return cfgi() },
		made: func(made [][]uint64) (list []Command) {
			for _, w := range made {
				vmid := spec.SteS2VMID.Get(w)
				switch c := spec.SteConfig.Of(w[0]); {
				case c == spec.ConfigS1 && spec.SteSTRW.Get(w) != spec.STRWEL1:
					list = add(list, smmuCmd("CMD_TLBI_EL2_ALL", spec.CmdTlbiEL2All, 0, 0, 0))
				case c == spec.ConfigS1:
					list = add(list, smmuCmd(fmt.Sprintf("CMD_TLBI_NH_ALL: VMID %#x (or CMD_TLBI_NH_ASID for each ASID in the old CDs)", vmid), spec.CmdTlbiNHAll, 0, vmid, 0))
				case c&6 == 6:
					list = add(list, smmuCmd(fmt.Sprintf("CMD_TLBI_S12_VMALL: VMID %#x", vmid), spec.CmdTlbiS12VMAll, 0, vmid, 0))
				}
			}
			return list
		},
		device:  smmuv3Device(o),
		install: func([]uint64) []Command { return cfgi() },
	}
}

// smmuv3DropCD drops one CD, and translations of its ASID.
func smmuv3DropCD(o *Options) drops {
	cfgi := func() (list []Command) {
		for i := range 1 + o.Aliases {
			list = append(list, smmuCmd(fmt.Sprintf("CMD_CFGI_CD: StreamID %#x, SubstreamID 0", int(sid)+i), spec.CmdCfgiCD, uint64(int(sid)+i), 0, 0))
		}
		return list
	}
	return drops{
		entry: func([][]uint64) []Command { return cfgi() },
		made: func(made [][]uint64) (list []Command) {
			for _, w := range made {
				asid := spec.CdASID.Get(w)
				list = add(list, smmuCmd(fmt.Sprintf("CMD_TLBI_NH_ASID: VMID 0, ASID %#x", asid), spec.CmdTlbiNHASID, 0, asid, 0))
			}
			return list
		},
		device:  smmuv3Device(o),
		install: func([]uint64) []Command { return cfgi() },
	}
}

// smmuv3DropAll is for a descriptor that has many entries below it.
func smmuv3DropAll(o *Options, cfgi Command) drops {
	return drops{
		entry: func([][]uint64) []Command { return []Command{cfgi} },
		made: func(made [][]uint64) []Command {
			if len(made) == 0 {
				return nil
			}
			return []Command{smmuCmd("CMD_TLBI_NSNH_ALL", spec.CmdTlbiNSNHAll, 0, 0, 0)}
		},
		device:  smmuv3Device(o),
		install: func([]uint64) []Command { return []Command{cfgi} },
	}
}

// smmuLevel is which entry a bench is for.
type smmuLevel uint8

const (
	smmuL1STD smmuLevel = iota
	smmuSTE
	smmuL1CD
	smmuCD
)

const (
	smmuSplit = 6     // STRTAB_BASE_CFG.SPLIT
	smmuASID  = 0x100 // of the first CD that the bench makes
	otherSSID = 1     // beside that of requests without one
)

func smmuv3Bench(level smmuLevel) func(*Options, [][]uint64) (*bench, error) {
	return func(o *Options, contents [][]uint64) (*bench, error) {
		u, err := smmuv3Unit(o, true)
		if err != nil {
			return nil, err
		}
		b := newBench(u, pointers(contents))
		strtab := b.page()
		b.at = strtab + emu.PA(sid)*spec.STESize
		cfg := spec.StrtabLog2.Put(smmuSplit)
		if level == smmuL1STD {
			b.at = strtab
			cfg |= spec.StrtabFmt.Put(spec.StrtabFmt2Lvl) | spec.StrtabSplit.Put(smmuSplit)
		}
		if err := b.smmuv3Below(level, contents); err != nil {
			return nil, err
		}
		b.smmuv3Start(strtab, cfg)
		b.requests = []emu.Request{read}
		switch level {
		case smmuSTE:
			b.further = []emu.Request{write, with(read, otherSSID), hole}
		case smmuCD:
			b.further = []emu.Request{write, hole}
		}
		return b, nil
	}
}

// smmuv3Start turns the unit and its command queue on.
func (b *bench) smmuv3Start(strtab emu.PA, cfg uint64) {
	r := &b.ring
	const lg2 = 7
	r.base, r.size, r.n = b.page(), spec.CommandSize, 1<<(lg2+1) // with the wrap flag
	r.wait = smmuCmd("", spec.CmdSync, 0, 0, 0).Words
	r.at = func(i int) emu.PA { return r.base + emu.PA(i%(1<<lg2)*spec.CommandSize) }
	r.ring = func(cpu host.CPU, tail int) { cpu.WriteReg(0, spec.OffCMDQProd, 4, uint64(tail)) }
	r.done = func(cpu host.CPU, tail int) bool { return cpu.ReadReg(0, spec.OffCMDQCons, 4) == uint64(tail) }
	b.WriteReg(0, spec.OffSTRTABBase, 8, uint64(strtab))
	b.WriteReg(0, spec.OffSTRTABBaseCfg, 4, cfg)
	b.WriteReg(0, spec.OffCMDQBase, 8, uint64(r.base)|lg2)
	b.WriteReg(0, spec.OffCR0, 4, spec.Cr0CMDQEN.Mask())
	b.WriteReg(0, spec.OffCR0, 4, spec.Cr0CMDQEN.Mask()|spec.Cr0SMMUEN.Mask())
}

// smmuStage1 is what is read of CDs by a pointer.
type smmuStage1 struct {
	fmt, cdmax uint64
}

// smmuTable is how a table looks.
type smmuTable struct {
	granule spec.Granule
	bits    uint8 // of addresses
	levels  uint8 // of stage 2
	oas     uint8
}

// smmuv3Below makes what contents lead to. Each pointer to CDs has a CD with an ASID and a table of its own.
func (b *bench) smmuv3Below(level smmuLevel, contents [][]uint64) error {
	var cds roots[smmuStage1]
	var first, second roots[smmuTable]
	var tables []emu.PA
	for _, w := range contents {
		switch {
		case level == smmuSTE && spec.SteV.On(w[0]):
			config := spec.SteConfig.Of(w[0])
			if config&5 == 5 {
				cds.add(emu.PA(w[0]&spec.SteS1Context.Mask()), smmuStage1{spec.SteS1Fmt.Of(w[0]), spec.SteS1CDMax.Of(w[0])})
			}
			if config&6 == 6 {
				g := spec.GranuleTG0(spec.SteS2TG.Get(w))
				l, _ := spec.S2StartLevel(g, spec.SteS2SL0.Get(w))
				second.add(emu.PA(w[3]&spec.SteS2TTB.Mask()), smmuTable{g, uint8(64 - spec.SteS2T0SZ.Get(w)), uint8(l) + 1, 48})
			}
		case level == smmuCD && spec.CdV.On(w[0]) && spec.CdEPD0.Get(w) == 0:
			first.add(emu.PA(w[1]&spec.CdTTB0.Mask()), smmuTable{granule: spec.GranuleTG0(spec.CdTG0.Get(w)), bits: uint8(64 - spec.CdT0SZ.Get(w)), oas: 48})
		case level == smmuL1CD && spec.L1cdV.On(w[0]):
			cds.add(emu.PA(w[0]&spec.L1cdL2Ptr.Mask()), smmuStage1{})
		case level == smmuL1STD && spec.L1STD(w[0]).STEs() > 0:
			ctx := b.page()
			cds.add(ctx, smmuStage1{})
			b.put(emu.PA(w[0]&spec.L1stdL2Ptr.Mask())+emu.PA(sid)*spec.STESize, b.smmuSTE(ctx, smmuStage1{}), spec.SteSTRW.Put(0))
		}
	}
	switch level {
	case smmuL1CD:
		l1 := b.page()
		b.put(b.at, b.smmuSTE(l1, smmuStage1{spec.S1Fmt4K, 8}), spec.SteS1DSS.Put(spec.DSSSSID0))
		b.at = l1
	case smmuCD:
		cd := b.page()
		b.put(b.at, b.smmuSTE(cd, smmuStage1{}))
		b.at = cd
	}
	plain := smmuTable{granule: spec.Granule4K, bits: 40, oas: 48}
	for i, at := range cds.at {
		tables = append(tables, at)
		if s := cds.how[i]; s.cdmax != 0 && s.fmt != spec.S1FmtLinear {
			l2 := b.page()
			b.put(at, uint64(l2)|spec.L1cdV.Mask())
			at = l2
			tables = append(tables, at)
		}
		ttb := b.page()
		first.add(ttb, plain)
		b.put(at, smmuCDWords(uint64(smmuASID+i), ttb)...)
		if cds.how[i].cdmax != 0 && level == smmuSTE {
			ttb := b.page()
			first.add(ttb, plain)
			b.put(at+otherSSID*spec.CDSize, smmuCDWords(uint64(smmuASID+0x80+i), ttb)...)
		}
	}
	for i, at := range first.at {
		t := first.how[i]
		c := pagetable.Config{VABits: t.bits, Attr: pagetable.LPAES1Shareability | pagetable.LPAES1NonGlobal}
		c.Levels = smmuLevels(t)
		pages, err := b.table(pagetable.LPAES1{Granule: uint8(t.granule), OAS: t.oas}, c, at, mapping{iova, guestPage(i)})
		if err != nil {
			return err
		}
		tables = append(tables, pages...)
	}
	for j, at := range second.at {
		t := second.how[j]
		c := pagetable.Config{Levels: t.levels, VABits: t.bits, Attr: pagetable.LPAES2WriteBack | pagetable.LPAES2Shareability}
		if _, err := b.table(pagetable.LPAES2{Granule: uint8(t.granule), OAS: t.oas}, c, at, secondMaps(j, len(first.at), tables)...); err != nil {
			return err
		}
	}
	return nil
}

// smmuLevels is how many levels a stage 1 table has.
func smmuLevels(t smmuTable) (levels uint8) {
	for levels = 1; uint8(t.granule)+levels*t.granule.Stride() < t.bits; levels++ {
	}
	return levels
}

// smmuSTE is the first word of an STE of stage 1.
func (b *bench) smmuSTE(ctx emu.PA, s smmuStage1) uint64 {
	return spec.SteV.Mask() | spec.SteConfig.Put(spec.ConfigS1) | uint64(ctx) | spec.SteS1Fmt.Put(s.fmt) | spec.SteS1CDMax.Put(s.cdmax)
}

// smmuCDWords makes a CD of 40-bit addresses and 4 KiB granules (5.4).
func smmuCDWords(asid uint64, ttb emu.PA) []uint64 {
	w := make([]uint64, 8)
	w[0] = spec.CdV.Mask() | spec.CdAA64.Mask() | spec.CdR.Mask() | spec.CdA.Mask() | spec.CdASET.Mask() | spec.CdEPD1.Mask()
	spec.CdT0SZ.Set(w, 64-40)
	spec.CdIPS.Set(w, 5)
	spec.CdIR0.Set(w, 1)
	spec.CdOR0.Set(w, 1)
	spec.CdSH0.Set(w, spec.ShInner)
	spec.CdASID.Set(w, asid)
	w[1] = uint64(ttb)
	w[3] = 0xff // MAIR: attribute 0 is write-back memory
	return w
}
