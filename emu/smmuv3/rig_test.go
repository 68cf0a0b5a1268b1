package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// rig is a unit on a memory with the tables that tests need.
type rig struct {
	*emutest.Rig
	u       *smmuv3.Unit
	streams emu.PA // linear stream table of 2^streamBits entries
	cmd     emu.PA // command queue of 2^cmdBits entries
	events  emu.PA // event queue of 2^eventBits
	pri     emu.PA // PRI queue of 2^priBits
	prod    uint64 // index of the next command
}

const (
	streamBits = 10
	cmdBits    = 8
	eventBits  = 7
	priBits    = 8
)

const (
	dev   = emu.SourceID(0x0310)
	other = emu.SourceID(0x0390)
	iova  = uint64(0x1234_5000)
	vmid  = 7
	asid  = 0x21
)

func newRig(t testing.TB, change ...func(*smmuv3.Config)) *rig {
	c := smmuv3.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := smmuv3.New(c)
	require.NoError(t, err)
	r := &rig{Rig: emutest.New(t, u), u: u}
	r.Faults = faults
	r.streams = r.aligned(1 << streamBits * spec.STESize)
	r.W64(spec.OffSTRTABBase, uint64(r.streams))
	r.W32(spec.OffSTRTABBaseCfg, streamBits)
	return r
}

// aligned returns n bytes of new pages, aligned to their size, which is a power of two.
func (r *rig) aligned(n uint64) emu.PA {
	n = max(n, emu.PageSize)
	r.Free = (r.Free + emu.PA(n) - 1) &^ emu.PA(n-1)
	return r.Pages(int(n / emu.PageSize))
}

// update writes CR0 and requires the acknowledgement.
func (r *rig) update(on bool, fields ...reg.Bits) {
	v := r.R32(spec.OffCR0)
	for _, b := range fields {
		v &^= b.Mask()
		if on {
			v |= b.Mask()
		}
	}
	r.W32(spec.OffCR0, v)
	require.Equal(r.T, v, r.R32(spec.OffCR0ACK))
}

// queues turns the queues on as a driver does.
func (r *rig) queues() *rig {
	r.cmd, r.events, r.pri = r.Page(), r.Page(), r.Page()
	r.prod = 0
	r.W32(spec.OffCR2, spec.Cr2RECINVSID.Mask())
	r.W64(spec.OffCMDQBase, uint64(r.cmd)|cmdBits)
	r.W32(spec.OffCMDQProd, 0)
	r.W32(spec.OffCMDQCons, 0)
	r.update(true, spec.Cr0CMDQEN)
	r.W64(spec.OffEVENTQBase, uint64(r.events)|eventBits)
	r.update(true, spec.Cr0EVENTQEN)
	if r.u.Config().PRI {
		r.W64(spec.OffPRIQBase, uint64(r.pri)|priBits)
		r.update(true, spec.Cr0PRIQEN)
	}
	return r
}

// enable turns queues and translation on.
func (r *rig) enable() *rig {
	r.queues()
	r.update(true, spec.Cr0SMMUEN)
	return r
}

type field struct {
	b reg.Bits
	v uint64
}

func words(fields ...field) (w [8]uint64) {
	for _, f := range fields {
		f.b.Set(w[:], f.v)
	}
	return w
}

// ste returns where the STE of s is.
func (r *rig) ste(s emu.SourceID) emu.PA { return r.streams + emu.PA(s)*spec.STESize }

// bind gives s an STE with V=1 and the fields.
func (r *rig) bind(s emu.SourceID, fields ...field) spec.STE {
	w := words(append([]field{{spec.SteV, 1}, {spec.SteS2VMID, vmid}}, fields...)...)
	r.Put(r.ste(s), w[:]...)
	return w
}

// set changes fields of the structure at pa.
func (r *rig) set(pa emu.PA, fields ...field) {
	for _, f := range fields {
		at := pa + emu.PA(8*f.b.Word())
		w := r.Get(at)&^f.b.Mask() | f.b.Put(f.v)
		r.Put(at, w)
	}
}

// cdFields is a CD of stage 1: 4K granule, 48 bits, table of the lower half at root.
func cdFields(root emu.PA) []field {
	return []field{
		{spec.CdV, 1}, {spec.CdAA64, 1}, {spec.CdT0SZ, 16}, {spec.CdEPD1, 1}, {spec.CdIPS, 5}, {spec.CdA, 1}, {spec.CdR, 1},
		{spec.CdASID, asid}, {spec.CdTTB0, uint64(root) >> 4},
	}
}

// attach gives s stage 1 with a CD of its own. It returns the CD and the table.
func (r *rig) attach(s emu.SourceID, fields ...field) (cd, root emu.PA) {
	cd, root = r.Page(), r.Page()
	w := words(append(cdFields(root), fields...)...)
	r.Put(cd, w[:]...)
	r.bind(s, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(cd) >> 6})
	return cd, root
}

// s2Fields are the fields of stage 2 in an STE: 4K granule, 48 bits, table at root.
func s2Fields(root emu.PA) []field {
	return []field{
		{spec.SteS2AA64, 1}, {spec.SteS2T0SZ, 16}, {spec.SteS2SL0, 2}, {spec.SteS2PS, 5}, {spec.SteS2R, 1}, {spec.SteS2TTB, uint64(root) >> 4},
	}
}

// attach2 gives s stage 2 alone.
func (r *rig) attach2(s emu.SourceID, fields ...field) (root emu.PA) {
	root = r.Page()
	r.bind(s, append(append([]field{{spec.SteConfig, spec.ConfigS2}}, s2Fields(root)...), fields...)...)
	return root
}

// descriptor returns where the descriptor for addr at a level is, making tables below the table at top,
// which is of level from.
func (r *rig) descriptor(g spec.Granule, top emu.PA, from int8, addr uint64, level int8) emu.PA {
	for l := from; ; l-- {
		index := addr >> g.Shift(l)
		if l != from {
			index &= 1<<g.Stride() - 1
		}
		at := top + emu.PA(index*8)
		if l == level {
			return at
		}
		if r.Get(at) == 0 {
			r.Put(at, uint64(r.aligned(1<<g))|table)
		}
		top = emu.PA(r.Get(at) & spec.TtdAddr.Mask() &^ (1<<g - 1))
	}
}

// Descriptors: type, access flag, rights.
const (
	table  = uint64(3)
	page   = uint64(3) | 1<<10
	block  = uint64(1) | 1<<10
	user   = uint64(1) << 6 // AP[1]
	ro     = uint64(1) << 7 // AP[2]
	ng     = uint64(1) << 11
	dbm    = uint64(1) << 51
	s1RW   = page | user | ng
	s2RW   = page | 3<<6 | 0xf<<2 // normal memory
	s2Read = page | 1<<6 | 0xf<<2
)

// mapPage maps a page of 4 KiB in a table of 48 bits and returns where its descriptor is.
func (r *rig) mapPage(root emu.PA, addr, pa, bits uint64) emu.PA {
	at := r.descriptor(spec.Granule4K, root, 3, addr, 0)
	r.Put(at, pa|bits)
	return at
}

func dma(a emu.Access) emu.Request { return emutest.DMA(dev, emu.NoPASID, iova, a) }

// drain reads and drops what is in the event queue.
func (r *rig) drain() (list []spec.Event) {
	cons, prod := r.R32(spec.OffEVENTQCons), r.R32(spec.OffEVENTQProd)
	const mask = 1<<(eventBits+1) - 1
	for ; cons&mask != prod&mask; cons = cons&^mask | (cons+1)&mask {
		at := r.events + emu.PA(cons&(1<<eventBits-1)*spec.EventSize)
		e := spec.Event{r.Get(at), r.Get(at + 8), r.Get(at + 16), r.Get(at + 24)}
		list = append(list, e)
		logged.Saw(uint64(e.Number()))
		r.soundEvent(&e)
	}
	r.W32(spec.OffEVENTQCons, cons&mask|prod&spec.QOverflow.Mask())
	return list
}

// soundEvent requires that a record has nothing where its layout has no field.
func (r *rig) soundEvent(e *spec.Event) {
	l := spec.EventLayouts[uint64(e.Number())]
	require.NotNil(r.T, l)
	require.Equal(r.T, make([]uint64, 4), l.Reserved(e[:]), "%s %x", l.Name, *e)
}

// event reads the one event in the queue.
func (r *rig) event() spec.Event {
	r.T.Helper()
	l := r.drain()
	require.Len(r.T, l, 1)
	return l[0]
}

// faults requires a fault of an access by dev to iova, and that its event is the only one.
func (r *rig) requireEvent(q emu.Request, code uint16) spec.Event {
	r.T.Helper()
	r.RequireFault(r.Do(q), code)
	e := r.event()
	require.EqualValues(r.T, code&0xff, e.Number())
	require.EqualValues(r.T, q.Source, e.SID())
	return e
}

// requireSilent requires a fault without an event.
func (r *rig) requireSilent(q emu.Request, code uint16) {
	r.T.Helper()
	res := r.Do(q)
	r.RequireFault(res, code)
	require.True(r.T, res.Fault.Quiet)
	require.Empty(r.T, r.drain())
}

// push puts a command at the tail without telling the unit.
func (r *rig) push(w [2]uint64) {
	at := r.cmd + emu.PA(r.prod&(1<<cmdBits-1)*spec.CommandSize)
	r.Put(at, w[0], w[1])
	r.prod = (r.prod + 1) & (1<<(cmdBits+1) - 1)
}

func (r *rig) ring() { r.W32(spec.OffCMDQProd, r.prod) }

// submit pushes commands, tells the unit and requires that all are consumed.
func (r *rig) submit(list ...[2]uint64) {
	r.T.Helper()
	for _, w := range list {
		r.push(w)
	}
	r.ring()
	require.Equal(r.T, r.prod, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask(), "CMDQ_CONS")
	require.Zero(r.T, r.active())
}

// active returns the global errors that are active.
func (r *rig) active() uint64 { return r.R32(spec.OffGERROR) ^ r.R32(spec.OffGERRORN) }

// command composes one.
func command(op uint64, fields ...field) [2]uint64 {
	w := []uint64{op, 0}
	for _, f := range fields {
		f.b.Set(w, f.v)
	}
	return [2]uint64{w[0], w[1]}
}

func cfgiSTE(s emu.SourceID, leaf uint64) [2]uint64 {
	return command(spec.CmdCfgiSTE, field{spec.CmdSID, uint64(s)}, field{spec.CmdLeaf, leaf})
}

func cfgiCD(s emu.SourceID, index, leaf uint64) [2]uint64 {
	return command(spec.CmdCfgiCD, field{spec.CmdSID, uint64(s)}, field{spec.CmdSSID, index}, field{spec.CmdLeaf, leaf})
}

func cfgiAll() [2]uint64 {
	return command(spec.CmdCfgiSTERange, field{spec.CfgiRange, spec.CfgiRangeAll})
}

func sync() [2]uint64 { return command(spec.CmdSync) }

// tlbiVA invalidates a virtual address of a VMID and ASID.
func tlbiVA(op, addr uint64, fields ...field) [2]uint64 {
	return command(op, append([]field{{spec.CmdVMID, vmid}, {spec.CmdASID, asid}, {spec.CmdAddr, addr >> 12}}, fields...)...)
}
