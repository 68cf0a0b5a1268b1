package hitless

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/pagetable"
)

// amdWorld is an AMD-Vi unit with a device table, tables written by package pagetable, and a command
// buffer that invalidations go through.
type amdWorld struct {
	*Recorder
	t      *testing.T
	unit   *amdvi.Unit
	mem    *mem.Memory
	frames *host.Frames
	dte    emu.PA // entry of sid
	ring   emu.PA
	tail   uint64
	cost   entry.Cost
	drop   func(command [2]uint64) bool // commands that are left out
}

const (
	amdGuestRAM = emu.PA(0x40_0000_0000) // where a guest's memory lies on the host
	amdPages    = 0x1000_0000            // guest address from which on a guest maps pages of the host
	amdPASID    = emu.PASID(5)
)

func amdConfig(cached bool) amdvi.Config {
	c := amdvi.DefaultConfig()
	if !cached {
		none := iotlb.Geometry{}
		c.DTECache, c.GCR3Cache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	return c
}

func newAMDWorld(t *testing.T, c amdvi.Config) *amdWorld {
	u, err := amdvi.New(c)
	require.NoError(t, err)
	w := &amdWorld{t: t, unit: u, mem: mem.New()}
	w.Recorder = &Recorder{Functional: emu.NewFunctional(u, w.mem)}
	w.frames, err = host.NewFrames(w.Functional, 1<<32, 1<<28)
	require.NoError(t, err)
	table := w.page()
	w.ring = w.page()
	w.dte = table + emu.PA(sid)*spec.DTESize
	w.WriteReg(0, spec.OffDevTabBase, 8, uint64(table))
	w.WriteReg(0, spec.OffCmdBufBase, 8, uint64(w.ring)|spec.RingLen.Put(spec.MinRingLen))
	w.WriteReg(0, spec.OffControl, 8, spec.CtlIommuEn.Mask()|spec.CtlCmdBufEn.Mask()|spec.CtlGTEn.Mask())
	return w
}

func (w *amdWorld) page() emu.PA {
	pa, err := w.frames.Alloc(emu.PageShift)
	require.NoError(w.t, err)
	return pa
}

// table makes a table of format f whose pages are those of m, and maps 4 KiB at each address.
func (w *amdWorld) table(f pagetable.Format, m pagetable.Memory, p pagetable.Pages, levels uint8, maps map[emu.IOVA]emu.PA) (emu.PA, uint8) {
	tb, err := pagetable.New(f, m, p, pagetable.Config{Levels: levels})
	require.NoError(w.t, err)
	for at, pa := range maps {
		_, err = tb.Map(at, pa, 4096, pagetable.Read|pagetable.Write, nil)
		require.NoError(w.t, err)
	}
	return tb.Root()
}

const amdRights = 3 << 61 // IR and IW

func amdDTE(id uint64) spec.DTE {
	e := spec.DTE{spec.DteV.Mask() | spec.DteTV.Mask() | amdRights}
	spec.DteDomainID.Set(e[:], id)
	return e
}

// amdEnd is a domain at one end of a move: it maps iova to pa, but for identity.
type amdEnd func(w *amdWorld, id uint64, pa emu.PA) spec.DTE

func amdIdentity(_ *amdWorld, id uint64, _ emu.PA) spec.DTE { return amdDTE(id) }

func amdV1(w *amdWorld, id uint64, pa emu.PA) spec.DTE {
	e := amdDTE(id)
	w.host(&e, map[emu.IOVA]emu.PA{iova: pa})
	return e
}

// host gives e host tables.
func (w *amdWorld) host(e *spec.DTE, maps map[emu.IOVA]emu.PA) {
	root, levels := w.table(pagetable.AMDv1{}, w, w.frames, 3, maps)
	e[0] |= uint64(root)
	spec.DteMode.Set(e[:], uint64(levels))
}

// guest gives e a GCR3 table whose entries, for requests without PASID and for amdPASID, lead to a table.
func (w *amdWorld) guest(e *spec.DTE, cr3 emu.PA, levels uint8) {
	gcr3 := w.page()
	w.Store64(gcr3, uint64(cr3)|1)
	w.Store64(gcr3+emu.PA(amdPASID)*8, uint64(cr3)|1)
	e[0] |= spec.DteGV.Mask() | spec.DteGIoV.Mask()
	e.SetGCR3Root(uint64(gcr3))
	spec.DteGuestPagingMode.Set(e[:], uint64(levels)-4)
}

func amdV2(levels uint8) amdEnd {
	return func(w *amdWorld, id uint64, pa emu.PA) spec.DTE {
		e := amdDTE(id)
		cr3, _ := w.table(pagetable.X86{Preset: true}, w, w.frames, levels, map[emu.IOVA]emu.PA{iova: pa})
		w.guest(&e, cr3, levels)
		return e
	}
}

// put makes content the device's entry, with nothing of another one in a cache.
func (w *amdWorld) put(e spec.DTE) {
	w.Store128(w.dte, e[0], e[1])
	w.Store128(w.dte+16, e[2], e[3])
	for c := range emu.NumCaches {
		if cache := w.unit.Cache(c); cache != nil {
			cache.Reset()
		}
	}
}

// commands gives a list to the unit, with a COMPLETION_WAIT behind it.
func (w *amdWorld) commands(list ...[2]uint64) {
	for _, c := range append(list, [2]uint64{spec.CmdOpcode.Put(spec.CmdCompletionWait)}) {
		if w.drop != nil && w.drop(c) {
			continue
		}
		w.Functional.Store128(w.ring+emu.PA(w.tail), c[0], c[1])
		w.tail = (w.tail + spec.CommandSize) % emu.PageSize
	}
	w.WriteReg(0, spec.OffCmdTail, 4, w.tail)
	w.cost.Waits++
}

func amdDevtab() [2]uint64 {
	return [2]uint64{spec.CmdOpcode.Put(spec.CmdInvalidateDevtab) | uint64(sid)}
}

// amdAll drops all of a domain, of one PASID with gn.
func amdAll(id uint64, gn bool, p emu.PASID) [2]uint64 {
	c := []uint64{spec.CmdOpcode.Put(spec.CmdInvalidatePages) | spec.IpDomainID.Put(id), spec.AllPages | spec.CmdS.Mask()}
	c[1] |= spec.IpPDE.Mask()
	if gn {
		c[0] |= uint64(p)
		c[1] |= spec.CmdGN.Mask()
	}
	return [2]uint64(c)
}

// made drops what entries have made.
func amdMade(list [][]uint64) (c [][2]uint64) {
	for _, e := range list {
		id := spec.DteDomainID.Get(e)
		if spec.DteGV.On(e[0]) {
			c = append(c, amdAll(id, true, 0))
		}
		c = append(c, amdAll(id, false, 0))
	}
	return c
}

// SyncEntry implements entry.Invalidator.
func (w *amdWorld) SyncEntry([][]uint64) error {
	w.commands(amdDevtab())
	return nil
}

// SyncAll drops the entry, waits, and drops the translations.
func (w *amdWorld) SyncAll(_, made [][]uint64, _ entry.Batching) error {
	w.commands(amdDevtab())
	w.commands(amdMade(made)...)
	return nil
}

// Install drops what is cached of the blocking form.
func (w *amdWorld) Install([]uint64, entry.Batching) error { return w.SyncEntry(nil) }

// Cost counts waits.
func (w *amdWorld) Cost() entry.Cost { return w.cost }

// amdMove is a rewrite of a DTE by a writer, to be explored.
type amdMove struct {
	Scenario
	w      *amdWorld
	report entry.Report
}

func amdFormat(u *amdvi.Unit) *entry.Format {
	return entry.AMDVi{EFR: u.ReadReg(spec.OffEFR, 8)}.DTE()
}

const (
	amdOldID = 5
	amdNewID = 6
)

func newAMDMove(t *testing.T, cached bool, from, to amdEnd, by entry.Writer, m entry.Means) *amdMove {
	w := newAMDWorld(t, amdConfig(cached))
	old, new := from(w, amdOldID, 1<<20), to(w, amdNewID, 2<<20)
	w.put(old)
	x := &amdMove{w: w}
	target := &entry.Target{
		CPU: w, Format: amdFormat(w.unit), At: w.dte, Inv: w, Swap: true,
		Means: func(_, _ []uint64) entry.Means { return m },
	}
	x.Program = w.Record(func() {
		var err error
		x.report, err = by.Write(target, new[:])
		require.NoError(t, err)
	})
	w.put(old)
	x.Scenario.Unit, x.Memory = w.unit, w.mem
	x.Request = emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read}
	return x
}
