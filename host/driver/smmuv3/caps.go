package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// caps is what the driver wants to know of the identification registers.
type caps struct {
	idr0, idr1, idr3, idr5 uint64

	s1, s2       bool // stages
	oas          uint8
	streamBits   uint8
	ssids        uint8 // log2 of the CDs that a stream can have
	asids, vmids uint32
	ats, pri     bool
	ranges       bool // RIL
	flags        bool // hardware keeps accessed and dirty flags
	stalls       bool // transactions can be held
	mayNotStall  bool // and they need not be: S1STALLD counts
	granule      spec.Granule
	wide         bool // descriptors of the granule have room for addresses of 52 bits
	formats      entry.SMMUv3
}

func (c *caps) has0(b reg.Bits) bool { return b.On(c.idr0) }

// readCaps reads the identification registers and refuses what the driver does not know to handle.
func (d *Driver) readCaps() error {
	c := &d.caps
	c.idr0, c.idr1 = d.c.Read(spec.OffIDR0, 4), d.c.Read(spec.OffIDR1, 4)
	c.idr3, c.idr5 = d.c.Read(spec.OffIDR3, 4), d.c.Read(spec.OffIDR5, 4)
	if c.idr0 == 0xffff_ffff && c.idr1 == 0xffff_ffff {
		return fmt.Errorf("smmuv3: unit %d: %w", d.opt.Unit, driver.ErrNoUnit)
	}
	c.s1, c.s2 = c.has0(spec.Idr0S1P), c.has0(spec.Idr0S2P)
	endian := spec.Idr0TTENDIAN.Of(c.idr0)
	preset := spec.Idr1TablesPreset.Mask() | spec.Idr1QueuesPreset.Mask() | spec.Idr1REL.Mask()
	for _, x := range []struct {
		lacks bool
		what  string
	}{
		{!c.s1 && !c.s2, "a stage of translation"},
		{spec.Idr0TTF.Of(c.idr0)&spec.TTFAArch64 == 0, "tables of VMSAv8-64"},
		{endian != spec.TTEndianMixed && endian != spec.TTEndianLE, "little-endian tables"},
		{c.idr1&preset != 0, "tables and queues of one's own"},
		{spec.Idr1CMDQS.Of(c.idr1) < minQueueLg2, "a command queue of 16 entries"},
		{d.opt.StreamBits > uint8(spec.Idr1SIDSIZE.Of(c.idr1)), fmt.Sprintf("StreamIDs of %d bits", d.opt.StreamBits)},
	} {
		if x.lacks {
			return fmt.Errorf("smmuv3: unit %d: %s: %w", d.opt.Unit, x.what, host.ErrUnsupported)
		}
	}
	c.oas = spec.OASBits(spec.Idr5OAS.Of(c.idr5))
	if c.streamBits = d.opt.StreamBits; c.streamBits == 0 {
		c.streamBits = uint8(min(spec.Idr1SIDSIZE.Of(c.idr1), maxStreamBits))
	}
	c.ssids = uint8(spec.Idr1SSIDSIZE.Of(c.idr1))
	c.asids, c.vmids = 1<<8, 1<<8
	if c.has0(spec.Idr0ASID16) {
		c.asids = 1 << 16
	}
	if c.has0(spec.Idr0VMID16) {
		c.vmids = 1 << 16
	}
	c.ats = c.has0(spec.Idr0ATS)
	c.pri = c.ats && c.has0(spec.Idr0PRI)
	c.ranges = spec.Idr3RIL.On(c.idr3) && !d.opt.NoRange
	d.c.Coherent = c.has0(spec.Idr0COHACC)
	d.c.Tables.Coherent = d.c.Coherent
	// Flags are kept by atomic operations, which do not reach the processor's caches otherwise (3.13).
	c.flags = spec.Idr0HTTU.Of(c.idr0) >= spec.HTTUDirty && d.c.Coherent
	model := spec.Idr0StallModel.Of(c.idr0)
	c.stalls, c.mayNotStall = model != spec.StallNever, model == spec.StallBoth
	c.formats = entry.SMMUv3{IDR0: uint32(c.idr0), IDR1: uint32(c.idr1), IDR3: uint32(c.idr3), IDR5: uint32(c.idr5), Wide: d.opt.Wide}
	return d.pickGranule()
}

// granules returns the page sizes that translation tables can have, smallest first.
func (c *caps) granules() (list []spec.Granule) {
	for _, g := range []struct {
		g   spec.Granule
		has reg.Bits
	}{{spec.Granule4K, spec.Idr5GRAN4K}, {spec.Granule16K, spec.Idr5GRAN16K}, {spec.Granule64K, spec.Idr5GRAN64K}} {
		if g.has.On(c.idr5) {
			list = append(list, g.g)
		}
	}
	return list
}

// pickGranule settles the page size of translation tables.
func (d *Driver) pickGranule() error {
	for _, g := range d.caps.granules() {
		if d.opt.Granule == 0 || d.opt.Granule == uint8(g) {
			d.caps.granule = g
			d.caps.wide = spec.Idr5DS.On(d.caps.idr5) || g == spec.Granule64K && d.caps.oas > 48
			return nil
		}
	}
	return fmt.Errorf("smmuv3: unit %d: pages of 2^%d bytes: %w", d.opt.Unit, d.opt.Granule, host.ErrUnsupported)
}

// out is the log2 of the output addresses of tables: those beyond 48 bits need room in the descriptors.
func (c *caps) out() uint8 {
	if c.wide {
		return c.oas
	}
	return min(c.oas, 48)
}

// ds reports whether CDs and STEs ask for descriptors with addresses of 52 bits. With pages of 64 KiB they are
// nobody's choice.
func (c *caps) ds() bool { return c.wide && c.granule != spec.Granule64K }
