package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// streamTable is the table of STEs (3.3).
type streamTable struct {
	base emu.PA
	bits uint8 // log2 of the StreamIDs that it is for
	// Two levels only:
	split uint8             // log2 of the STEs of a leaf; 0: linear
	leaf  map[uint32]emu.PA // by StreamID >> split

	lent bool         // an earlier system's
	old  []host.Block // of its leaves
}

const (
	maxStreamBits = 16 // requester ids
	splitBits     = 8  // StreamIDs of one bus
	steLg2        = 6
	descLg2       = 3
)

// stream is what the driver keeps of a device.
type stream struct {
	ste    emu.PA
	stall  bool // its transactions may be held
	tables []*cdTable
	table  *cdTable // the one that the STE has, or nil
}

func streamOf(v *driver.Device) *stream { return v.Arch.(*stream) }

// steAbort is an STE whose transactions abort without an event: that of a device that nothing is
// attached to.
const steAbort = 1 // V

// makeStreamTable makes the table and tells the unit, which is off.
func (d *Driver) makeStreamTable() error {
	t := &d.streams
	t.bits = d.caps.streamBits
	var cfg uint64
	var err error
	if spec.Idr0STLevel.Of(d.caps.idr0) == spec.STLevel2 && !d.opt.Linear && t.bits > splitBits {
		t.split, t.leaf = splitBits, make(map[uint32]emu.PA)
		cfg = spec.StrtabFmt.Put(spec.StrtabFmt2Lvl) | spec.StrtabSplit.Put(splitBits)
		t.base, err = d.c.Alloc(t.bits - splitBits + descLg2)
	} else {
		t.base, err = d.c.Alloc(t.bits + steLg2)
	}
	if err != nil {
		return err
	}
	if t.split == 0 {
		d.fillAbort(t.base, 1<<t.bits)
	}
	d.c.CPU.Fence()
	d.c.Write(spec.OffSTRTABBase, 8, uint64(t.base)|spec.StrtabRA.Mask())
	d.c.Write(spec.OffSTRTABBaseCfg, 4, cfg|spec.StrtabLog2.Put(uint64(t.bits)))
	return nil
}

// fillAbort makes n STEs abort that the unit cannot reach yet.
func (d *Driver) fillAbort(base emu.PA, n int) {
	for i := range n {
		d.c.CPU.Store64(base+emu.PA(i)*spec.STESize, steAbort)
	}
	d.c.Flush(base, n*spec.STESize)
}

// steOf returns where the STE of sid is, and makes the leaf that it is in if need be.
func (d *Driver) steOf(sid emu.SourceID) (emu.PA, error) {
	t := &d.streams
	if uint64(sid)>>t.bits != 0 {
		return 0, fmt.Errorf("smmuv3: StreamID %#x of %d bits: %w", uint32(sid), t.bits, host.ErrDevice)
	}
	if t.split == 0 {
		return t.base + emu.PA(sid)*spec.STESize, nil
	}
	i := uint32(sid) >> t.split
	leaf, ok := t.leaf[i]
	if !ok {
		var err error
		if leaf, err = d.c.Alloc(t.split + steLg2); err != nil {
			return 0, err
		}
		d.fillAbort(leaf, 1<<t.split)
		d.c.CPU.Fence()
		at := t.base + emu.PA(i)*spec.DescSize
		d.c.CPU.Store64(at, uint64(leaf)|spec.L1stdSpan.Put(uint64(t.split)+1))
		d.c.Flush(at, spec.DescSize)
		d.c.CPU.Fence()
		t.leaf[i] = leaf
		// The descriptor without STEs may be cached (3.21.1).
		if err := d.invalidate(entry.OneWait, cfgiSTE(sid, true)); err != nil {
			return 0, err
		}
	}
	return leaf + emu.PA(uint32(sid)&(1<<t.split-1))*spec.STESize, nil
}

// Probe implements driver.Arch.
func (d arch) Probe(v *driver.Device) error {
	c := &d.caps
	if v.Spec.PASIDs > 0 && (!c.s1 || c.ssids == 0 || uint64(v.Spec.PASIDs) > 1<<c.ssids) {
		return fmt.Errorf("smmuv3: %#04x: %d PASIDs, SubstreamIDs have %d bits: %w", uint32(v.SID), v.Spec.PASIDs, c.ssids, host.ErrUnsupported)
	}
	s := &stream{stall: c.stalls && (v.Spec.Stall || !c.mayNotStall)}
	v.ATS = v.Spec.ATS && c.ats
	v.PRI = v.Spec.PRI && v.ATS && d.pages != nil || s.stall
	v.Arch = s
	var err error
	if s.ste, err = d.steOf(v.SID); err != nil {
		return err
	}
	if x := d.c.Left(v.SID); x != nil {
		return d.takeDevice(v, s, x)
	}
	return nil
}

// Release implements driver.Arch.
func (d arch) Release(v *driver.Device) error {
	s := streamOf(v)
	s.table = nil
	d.trim(s)
	return nil
}

// steTarget is the STE of v for a writer.
func (d *Driver) steTarget(v *driver.Device) *entry.Target {
	return &entry.Target{
		CPU: d.c.CPU, Format: d.formatSTE, At: streamOf(v).ste, Noncoherent: !d.c.Coherent, Inv: &steCaches{caches{d: d, v: v}},
		Means: func(old, new []uint64) entry.Means { return d.vmidMeans(v, old, new) },
	}
}

// STEAt returns where the STE of sid lies, and what it holds; nil for a device that is not known.
func (d *Driver) STEAt(sid emu.SourceID) (at emu.PA, raw []uint64) {
	v := d.c.Devices[sid]
	if v == nil {
		return 0, nil
	}
	t := d.steTarget(v)
	return t.At, t.Read()
}
