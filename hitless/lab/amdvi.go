package lab

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// amdviUnit makes the unit; without caches if only its capabilities are wanted.
func amdviUnit(caches bool) (*amdvi.Unit, error) {
	c := amdvi.DefaultConfig()
	if none := (iotlb.Geometry{}); !caches {
		c.DTECache, c.GCR3Cache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	return amdvi.New(c)
}

func amdviFormats() entry.AMDVi {
	u, err := amdviUnit(false)
	if err != nil {
		panic("lab: " + err.Error()) // the configuration is the unit's own
	}
	return entry.AMDVi{EFR: u.ReadReg(spec.OffEFR, 8)}
}

func amdviKinds() []*Kind {
	return []*Kind{{
		IOMMU: "amdvi", Name: "dte", Clause: "AMD-Vi 2.2.2.1", Words: 4,
		Forms: amdviForms(), Core: 12,
		format: func(*Options) *entry.Format { return amdviFormats().DTE() },
		drops:  amdviDrops,
		bench:  amdviBench,
		id:     func(t emu.Tag) uint64 { return uint64(t.Domain()) },
		same:   amdviSame,
	}, {
		IOMMU: "amdvi", Name: "gcr3", Clause: "AMD-Vi 2.2.6", Words: 1,
		Forms: amdviGCR3Forms(), Core: 3,
		format: func(*Options) *entry.Format { return amdviFormats().GCR3() },
		drops:  amdviDropGCR3,
		bench:  amdviGCR3Bench,
		same:   sameValues,
	}}
}

// amdviSame compares what hardware looks at of cached device table entries.
func amdviSame(*Options) func(emu.CacheID, [4]uint64, [4]uint64) bool {
	f := amdviFormats().DTE()
	return func(c emu.CacheID, a, b [4]uint64) bool { return c == emu.CacheEntry && f.Same(a[:], b[:]) }
}

// amdviDevtab drops a device table entry and what is cached of its GCR3 table (2.4.2).
func amdviDevtab(id emu.SourceID) Command {
	return Command{fmt.Sprintf("INVALIDATE_DEVTAB_ENTRY: DeviceID %#x", id),
		[2]uint64{spec.CmdOpcode.Put(spec.CmdInvalidateDevtab) | uint64(id)}}
}

// amdviPages drops all translations of a domain: of guest tables for requests without PASID with gn (2.4.3).
func amdviPages(domain uint64, gn bool) Command {
	c := Command{fmt.Sprintf("INVALIDATE_IOMMU_PAGES: all, DomainID %#x, PDE=1, GN=0", domain), [2]uint64{
		spec.CmdOpcode.Put(spec.CmdInvalidatePages) | spec.IpDomainID.Put(domain),
		spec.AllPages | spec.CmdS.Mask() | spec.IpPDE.Mask(),
	}}
	if gn {
		c.Text = fmt.Sprintf("INVALIDATE_IOMMU_PAGES: all, DomainID %#x, PDE=1, GN=1, PASID 0", domain)
		c.Words[1] |= spec.CmdGN.Mask()
	}
	return c
}

func amdviDrops(o *Options) drops {
	devtab := func() (list []Command) {
		for i := range 1 + o.Aliases {
			list = append(list, amdviDevtab(sid+emu.SourceID(i)))
		}
		return list
	}
	return drops{
		entry: func([][]uint64) []Command { return devtab() },
		made: func(made [][]uint64) (list []Command) {
			for _, w := range made {
				id := spec.DteDomainID.Get(w)
				if spec.DteGV.On(w[0]) {
					list = add(list, amdviPages(id, true))
				}
				list = add(list, amdviPages(id, false))
			}
			return list
		},
		device: func() (list []Command) {
			for i := range devices(o) {
				list = append(list, Command{
					fmt.Sprintf("INVALIDATE_IOTLB_PAGES: all, DeviceID %#x", int(sid)+i),
					[2]uint64{spec.CmdOpcode.Put(spec.CmdInvalidateIOTLB) | uint64(int(sid)+i), spec.AllPages | spec.CmdS.Mask()},
				})
			}
			return list
		},
		install: func([]uint64) []Command { return devtab() },
	}
}

// amdviGuest is how the tables below a GCR3 table look.
type amdviGuest struct {
	glx    uint8 // levels of the GCR3 table - 1
	levels uint8 // of the guest table
}

func amdviBench(_ *Options, contents [][]uint64) (*bench, error) {
	u, err := amdviUnit(true)
	if err != nil {
		return nil, err
	}
	var guests roots[amdviGuest]
	var hosts roots[uint8]
	for _, c := range contents {
		e := (*spec.DTE)(c)
		if !e.V() || !e.TV() {
			continue
		}
		if m := e.Mode(); m != spec.ModeIdentity && m < 7 {
			hosts.add(emu.PA(c[0]&spec.DteHostRoot.Mask()), uint8(m))
		}
		if e.GV() {
			guests.add(emu.PA(e.GCR3Root()), amdviGuest{uint8(e.GLX()), uint8(e.GuestPagingMode()) + 4})
		}
	}
	b := newBench(u, append(guests.at[:len(guests.at):len(guests.at)], hosts.at...))
	table := b.page()
	b.at = table + emu.PA(sid)*spec.DTESize
	if err := b.amdviBelow(guests, hosts); err != nil {
		return nil, err
	}
	b.amdviStart(table)
	b.requests, b.further = []emu.Request{read}, []emu.Request{write, with(read, 0)}
	return b, nil
}

// amdviStart turns the unit and its command buffer on.
func (b *bench) amdviStart(table emu.PA) {
	r := &b.ring
	r.base, r.size, r.n = b.page(), spec.CommandSize, 1<<spec.MinRingLen
	r.status = b.page()
	r.wait = [2]uint64{spec.CmdOpcode.Put(spec.CmdCompletionWait) | uint64(r.status) | spec.CwS.Mask(), 1}
	r.ring = func(cpu host.CPU, tail int) { cpu.WriteReg(0, spec.OffCmdTail, 4, uint64(tail*r.size)) }
	b.WriteReg(0, spec.OffDevTabBase, 8, uint64(table))
	b.WriteReg(0, spec.OffCmdBufBase, 8, uint64(r.base)|spec.RingLen.Put(spec.MinRingLen))
	b.WriteReg(0, spec.OffControl, 8, spec.CtlIommuEn.Mask()|spec.CtlCmdBufEn.Mask()|spec.CtlGTEn.Mask())
}

// amdviBelow makes GCR3 tables with one guest table each, and host tables.
func (b *bench) amdviBelow(guests roots[amdviGuest], hosts roots[uint8]) error {
	var tables []emu.PA
	for i, at := range guests.at {
		g := guests.how[i]
		cr3 := b.page()
		pages, err := b.table(pagetable.X86{Preset: true, Unsigned: true}, pagetable.Config{Levels: g.levels}, cr3, mapping{iova, guestPage(i)})
		if err != nil {
			return err
		}
		tables = append(append(tables, pages...), at)
		for range min(g.glx, 2) { // down to the last level
			next := b.page()
			b.put(at, uint64(next)|spec.Gcr3V.Mask())
			at = next
			tables = append(tables, at)
		}
		b.put(at, uint64(cr3)|spec.Gcr3V.Mask())
	}
	return b.secondBelow(hosts, pagetable.AMDv1{}, len(guests.at), tables)
}
