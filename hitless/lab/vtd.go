package lab

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/hitless/reverse"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// vtdConfig is a server's unit with all that is modelled, without the counters.
func vtdConfig() (vtd.Config, error) {
	c, err := vtd.Preset("full")
	c.PMS, c.SnoopedWalks = false, true
	return c, err
}

// vtdUnit makes the unit; without caches if only its capabilities are wanted.
func vtdUnit(caches bool) (*vtd.Unit, error) {
	c, err := vtdConfig()
	if err != nil {
		return nil, err
	}
	if none := (iotlb.Geometry{}); !caches {
		c.ContextCache, c.PASIDCache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	return vtd.New(c)
}

// vtdFormats reads what legality depends on.
func vtdFormats() entry.VTD {
	u, err := vtdUnit(false)
	if err != nil {
		panic("lab: " + err.Error()) // the preset is one of the unit's own
	}
	return entry.VTD{CAP: u.ReadReg(spec.OffCAP, 8), ECAP: u.ReadReg(spec.OffECAP, 8), HAW: u.Config().HAW}
}

func vtdKinds() []*Kind {
	domain := func(t emu.Tag) uint64 { return uint64(t.Domain()) }
	return []*Kind{
		{
			IOMMU: "vtd", Name: "root", Clause: "VT-d 9.1", Words: 2,
			Forms: vtdRootForms(), Core: 3,
			format: func(*Options) *entry.Format { return vtdFormats().Root() },
			drops:  func(o *Options) drops { return vtdDropAll(o, false) },
			bench:  vtdBench(vtdRoot), same: vtdSame,
		}, {
			IOMMU: "vtd", Name: "context", Clause: "VT-d 9.3", Words: 2, id: domain,
			Forms: vtdContextForms(), Core: 6,
			format: func(*Options) *entry.Format { return vtdFormats().Context() },
			drops:  vtdDropContext,
			bench:  vtdBench(vtdContext), same: vtdSame,
		}, {
			IOMMU: "vtd", Name: "context-scalable", Clause: "VT-d 9.4", Words: 4,
			Forms: vtdSMContextForms(), Core: 3,
			format: func(*Options) *entry.Format { return vtdFormats().SMContext() },
			drops:  func(o *Options) drops { return vtdDropAll(o, true) },
			bench:  vtdBench(vtdSMContext), same: vtdSame,
		}, {
			IOMMU: "vtd", Name: "pasid-dir", Clause: "VT-d 9.5", Words: 1,
			Forms: vtdPASIDDirForms(), Core: 3,
			format: func(*Options) *entry.Format { return vtdFormats().PASIDDir() },
			drops:  vtdDropPASIDDir,
			bench:  vtdBench(vtdPASIDDir), same: vtdSame,
		}, {
			IOMMU: "vtd", Name: "pasid", Clause: "VT-d 9.6", Words: 8, id: domain,
			Forms: vtdPASIDForms(), Core: 8,
			format: func(*Options) *entry.Format { return vtdFormats().PASID() },
			drops:  vtdDropPASID,
			bench:  vtdBench(vtdPASID), same: vtdSame,
			reverse: reverse.VTD,
		},
	}
}

// vtdSame compares what hardware looks at of cached PASID entries: two words as they are, the second one
// taken apart, and the version.
func vtdSame(*Options) func(emu.CacheID, [4]uint64, [4]uint64) bool {
	f := vtdFormats().PASID()
	return func(c emu.CacheID, a, b [4]uint64) bool {
		raw := func(v [4]uint64) []uint64 { return []uint64{v[0], 0, v[2], 0, 0, 0, 0, 0} }
		return c == emu.CachePASID && a[1] == b[1] && a[3] == b[3] && f.Same(raw(a), raw(b))
	}
}

// What descriptors drop (6.5.2).

func vtdDesc(text string, typ uint8, fields ...any) Command {
	w := make([]uint64, 2)
	w[0] = spec.PutDescType(typ)
	for i := 0; i+1 < len(fields); i += 2 {
		fields[i].(reg.Bits).Set(w, fields[i+1].(uint64))
	}
	return Command{Text: text, Words: [2]uint64(w)}
}

func vtdContextDevice(did uint64) Command {
	return vtdDesc(fmt.Sprintf("context cache, device-selective: DID %#x, SID %#x", did, sid), spec.DescContext,
		spec.CcG, uint64(spec.GranDevice), spec.CcDID, did, spec.CcSID, uint64(sid))
}

func vtdContextGlobal() Command {
	return vtdDesc("context cache, global", spec.DescContext, spec.CcG, uint64(spec.GranGlobal))
}

func vtdPASIDSelective(did uint64) Command {
	return vtdDesc(fmt.Sprintf("PASID cache, PASID-selective: DID %#x, PASID 0", did), spec.DescPASIDCache,
		spec.PcG, uint64(spec.GranPCPASID), spec.PcDID, did)
}

func vtdPASIDGlobal() Command {
	return vtdDesc("PASID cache, global", spec.DescPASIDCache, spec.PcG, uint64(spec.GranPCGlobal))
}

func vtdIOTLBDomain(did uint64) Command {
	return vtdDesc(fmt.Sprintf("IOTLB, domain-selective: DID %#x", did), spec.DescIOTLB,
		spec.IiG, uint64(spec.GranDomain), spec.IiDID, did)
}

func vtdIOTLBGlobal() Command {
	return vtdDesc("IOTLB, global", spec.DescIOTLB, spec.IiG, uint64(spec.GranGlobal))
}

func vtdIOTLBPASID(did uint64) Command {
	return vtdDesc(fmt.Sprintf("PASID-based IOTLB, PASID-selective: DID %#x, PASID 0", did), spec.DescPASIDIOTLB,
		spec.PiG, uint64(spec.GranPASID), spec.PiDID, did)
}

// vtdDevice drops what devices hold themselves (6.5.2.5).
func vtdDevice(o *Options) func() []Command {
	return func() []Command {
		var list []Command
		for i := range devices(o) {
			c := vtdDesc(fmt.Sprintf("device-TLB, all addresses: SID %#x", int(sid)+i), spec.DescDevTLB, spec.DtSID, uint64(int(sid)+i))
			c.Words[1] = spec.AllAddressS | spec.DtS.Mask()
			list = append(list, c)
		}
		return list
	}
}

// devices is how many requesters may hold translations themselves.
func devices(o *Options) int {
	if !o.ATS {
		return 0
	}
	return 1 + o.Aliases
}

// vtdDropContext reads the domain that context and translations are tagged with from the old content.
func vtdDropContext(o *Options) drops {
	return drops{
		entry: func(entries [][]uint64) (list []Command) {
			for _, w := range entries {
				list = add(list, vtdContextDevice(spec.CtxDID.Get(w)))
			}
			return list
		},
		made: func(made [][]uint64) (list []Command) {
			for _, w := range made {
				list = add(list, vtdIOTLBDomain(spec.CtxDID.Get(w)))
			}
			return list
		},
		device:  vtdDevice(o),
		install: func([]uint64) []Command { return nil }, // no caching mode
	}
}

// vtdDropPASID does the same. Of a first stage and of pass-through, translations are tagged with the PASID,
// too (6.5.3.3).
func vtdDropPASID(o *Options) drops {
	return drops{
		entry: func(entries [][]uint64) (list []Command) {
			for _, w := range entries {
				list = add(list, vtdPASIDSelective(spec.PasidDID.Get(w)))
			}
			return list
		},
		made: func(made [][]uint64) (list []Command) {
			for _, w := range made {
				c := vtdIOTLBDomain(spec.PasidDID.Get(w))
				if t := spec.PasidPGTT.Of(w[0]); t == spec.PGTTFirst || t == spec.PGTTPassThrough {
					c = vtdIOTLBPASID(spec.PasidDID.Get(w))
				}
				list = add(list, c)
			}
			return list
		},
		device:  vtdDevice(o),
		install: func([]uint64) []Command { return nil },
	}
}

// vtdDropAll is for an entry that has many below it: what they are, nobody says.
func vtdDropAll(o *Options, scalable bool) drops {
	return drops{
		entry: func(entries [][]uint64) []Command {
			if len(entries) == 0 {
				return nil
			}
			list := []Command{vtdContextGlobal()}
			if scalable {
				list = append(list, vtdPASIDGlobal())
			}
			return list
		},
		made: func(made [][]uint64) []Command {
			if len(made) == 0 {
				return nil
			}
			return []Command{vtdIOTLBGlobal()}
		},
		device:  vtdDevice(o),
		install: func([]uint64) []Command { return nil },
	}
}

// vtdDropPASIDDir drops what was cached of the PASID entries below, and what they made.
func vtdDropPASIDDir(o *Options) drops {
	d := vtdDropAll(o, true)
	d.entry = func(entries [][]uint64) []Command {
		if len(entries) == 0 {
			return nil
		}
		return []Command{vtdPASIDGlobal()}
	}
	return d
}

// vtdSecondPASID is a PASID entry of the n-th second stage.
func vtdSecondPASID(table emu.PA, n int) []uint64 {
	return []uint64{
		uint64(table) | spec.PasidAW.Put(spec.AW48) | spec.PasidPGTT.Put(spec.PGTTSecond) | 1,
		spec.PasidDID.Put(uint64(0x10 + n)),
	}
}

// vtdLevel is which entry a bench is for.
type vtdLevel uint8

const (
	vtdRoot vtdLevel = iota
	vtdContext
	vtdSMContext
	vtdPASIDDir
	vtdPASID
)

// vtdBench makes the unit, what leads to the entry, and what the contents lead to.
func vtdBench(level vtdLevel) func(*Options, [][]uint64) (*bench, error) {
	return func(_ *Options, contents [][]uint64) (*bench, error) {
		u, err := vtdUnit(true)
		if err != nil {
			return nil, err
		}
		b := newBench(u, pointers(contents))
		root := b.page()
		b.at = root
		scalable := level >= vtdSMContext
		if level > vtdRoot {
			context := b.page()
			b.put(root, uint64(context)|1)
			b.at = context + emu.PA(sid)*contextSize
			if scalable {
				b.at = context + emu.PA(sid)*smContextSize
			}
		}
		if level > vtdSMContext {
			dir, table := b.page(), b.page()
			b.put(b.at, uint64(dir)|spec.SMCtxPASIDE.Mask()|1)
			if b.at = dir; level == vtdPASID {
				b.put(dir, uint64(table)|1)
				b.at = table
			}
		}
		if err := b.vtdBelow(level, contents); err != nil {
			return nil, err
		}
		b.vtdStart(root, scalable)
		b.requests = []emu.Request{read}
		switch level {
		case vtdContext:
			b.further = []emu.Request{write}
		case vtdSMContext, vtdPASIDDir:
			b.further = []emu.Request{write, with(read, 0)}
		case vtdPASID:
			privileged := with(read, 0)
			privileged.Access |= emu.Priv
			b.further = []emu.Request{write, with(read, 0), privileged}
		}
		return b, nil
	}
}

// vtdStart turns the unit and its invalidation queue on.
func (b *bench) vtdStart(root emu.PA, scalable bool) {
	r := &b.ring
	r.base, r.size, r.n = b.page(), spec.DescSize128, emu.PageSize/spec.DescSize128
	r.status = b.page()
	rtaddr, iqa := uint64(root), uint64(0)
	if scalable {
		r.size, r.n = spec.DescSize256, emu.PageSize/spec.DescSize256
		rtaddr |= spec.RtaddrTTM.Put(spec.TTMScalable)
		iqa = spec.IqaDW.Mask()
	}
	wait := []uint64{spec.PutDescType(spec.DescWait) | spec.IwSW.Mask(), 0}
	spec.IwSADDR.Set(wait, uint64(r.status)>>2)
	spec.IwDATA.Set(wait, 1)
	r.wait = [2]uint64(wait)
	r.ring = func(cpu host.CPU, tail int) { cpu.WriteReg(0, spec.OffIQT, 8, uint64(tail*r.size)) }
	b.WriteReg(0, spec.OffIQT, 8, 0)
	b.WriteReg(0, spec.OffIQA, 8, uint64(r.base)|iqa)
	b.WriteReg(0, spec.OffGCMD, 4, spec.GcmdQIE.Mask())
	b.WriteReg(0, spec.OffRTADDR, 8, rtaddr)
	b.WriteReg(0, spec.OffGCMD, 4, spec.GcmdQIE.Mask()|spec.GcmdSRTP.Mask())
	b.WriteReg(0, spec.OffGCMD, 4, spec.GcmdQIE.Mask()|spec.GcmdTE.Mask())
}

// vtdBelow makes what contents lead to. Of a root and of a scalable-mode context entry that is the structure
// below, with a second stage of its own.
func (b *bench) vtdBelow(level vtdLevel, contents [][]uint64) error {
	var first, second roots[uint8] // levels
	for _, w := range contents {
		switch {
		case w[0]&1 == 0:
		case level == vtdContext && spec.CtxTT.Of(w[0]) != spec.TTPassThrough:
			second.add(emu.PA(w[0]&spec.CtxSSPTPTR.Mask()), uint8(spec.CtxAW.Of(w[1]))+2)
		case level == vtdPASID:
			t := spec.PasidPGTT.Of(w[0])
			if t == spec.PGTTSecond || t == spec.PGTTNested {
				second.add(emu.PA(w[0]&spec.PasidSSPTPTR.Mask()), uint8(spec.PasidAW.Of(w[0]))+2)
			}
			if t == spec.PGTTFirst || t == spec.PGTTNested {
				first.add(emu.PA(w[2]&spec.PasidFSPTPTR.Mask()), uint8(spec.PasidFSPM.Of(w[2]))+4)
			}
		case level == vtdRoot:
			table := b.page()
			second.add(table, 4)
			b.put(emu.PA(w[0]&spec.RootCTP.Mask())+emu.PA(sid)*contextSize,
				uint64(table)|1, spec.CtxDID.Put(uint64(0x10+len(second.at)))|spec.CtxAW.Put(spec.AW48))
		case level == vtdPASIDDir:
			table := b.page()
			second.add(table, 4)
			b.put(emu.PA(w[0]&spec.PDirSMPTBLPTR.Mask()), vtdSecondPASID(table, len(second.at))...)
		case level == vtdSMContext:
			table, page := b.page(), b.page()
			second.add(table, 4)
			rid := emu.PA(spec.SMCtxRIDPASID.Get(w))
			b.put(emu.PA(w[0]&spec.SMCtxPASIDDIRPTR.Mask())+rid>>6*8, uint64(page)|1)
			b.put(page+rid&63*64, vtdSecondPASID(table, len(second.at))...)
		}
	}
	return b.x86Below(first, second, pagetable.VTDSS{HAW: 48, Snoop: true})
}

// x86Below makes tables of first stages, then those of second ones, which map the first ones.
func (b *bench) x86Below(first, second roots[uint8], host pagetable.Format) error {
	var tables []emu.PA
	for i, root := range first.at {
		pages, err := b.table(pagetable.X86{HAW: 48, Preset: true}, pagetable.Config{Levels: first.how[i]}, root, mapping{iova, guestPage(i)})
		if err != nil {
			return err
		}
		tables = append(tables, pages...)
	}
	return b.secondBelow(second, host, len(first.at), tables)
}

func (b *bench) secondBelow(roots roots[uint8], host pagetable.Format, firsts int, tables []emu.PA) error {
	tables = append([]emu.PA(nil), tables...)
	for j, root := range roots.at {
		if _, err := b.table(host, pagetable.Config{Levels: roots.how[j]}, root, secondMaps(j, firsts, tables)...); err != nil {
			return err
		}
	}
	return nil
}

// Bytes of a context entry (9.3, 9.4).
const (
	contextSize   = 16
	smContextSize = 32
)
