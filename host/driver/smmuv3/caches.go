package smmuv3

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// caches knows what hardware may hold of one entry of a device.
type caches struct {
	d    *Driver
	v    *driver.Device
	cost entry.Cost
}

// run gives commands to hardware and counts them.
func (c *caches) run(how entry.Batching, list ...command) error {
	n := &c.d.c.Count
	inv, waits := n.Invalidations, n.Waits
	err := c.d.invalidate(how, list...)
	c.cost.Invalidations += int(n.Invalidations - inv)
	c.cost.Waits += int(n.Waits - waits)
	return err
}

// Cost counts since creation.
func (c *caches) Cost() entry.Cost { return c.cost }

// add adds a command once.
func add(list []command, c command) []command {
	if slices.Contains(list, c) {
		return list
	}
	return append(list, c)
}

// steCaches is for an STE.
type steCaches struct{ caches }

// SyncEntry drops the STE. Caches find it by StreamID, whatever it holds, and valid or not.
func (c *steCaches) SyncEntry([][]uint64) error {
	return c.run(entry.OneWait, cfgiSTE(c.v.SID, false))
}

// SyncAll drops the STE with the CDs below it, the translations, and all that the device holds itself.
func (c *steCaches) SyncAll(_, made [][]uint64, how entry.Batching) error {
	list, now := []command{cfgiSTE(c.v.SID, false)}, c.d.steTarget(c.v).Read()
	for _, w := range made {
		list = c.translations(list, w, now)
	}
	return c.run(how, c.deviceTLB(implied(list))...)
}

// implied leaves out what drops stage 1 of a VMID of which both stages are dropped.
func implied(list []command) []command {
	return slices.DeleteFunc(slices.Clone(list), func(c command) bool {
		op := c.op()
		return (op == spec.CmdTlbiNHASID || op == spec.CmdTlbiNHAll) && slices.Contains(list, tlbiBoth(uint32(spec.CmdVMID.Get(c[:]))))
	})
}

func (c *steCaches) deviceTLB(list []command) []command {
	if c.v.ATS {
		list = append(list, atcInv(c.v.SID, emu.NoPASID, 0, 64))
	}
	return list
}

// translations adds what drops the translations that an STE has made: those of stage 1 by their ASIDs, which
// are in the CDs, those of stage 2 by the VMID. Of what is nested the tables of stage 2 may go on
// being another stream's. Where the table of CDs stays, so do those of PASIDs; CD 0, if that is left, is
// cleared afterwards, and what it has made is dropped then.
func (c *steCaches) translations(list []command, w, now []uint64) []command {
	vmid := uint32(spec.SteS2VMID.Get(w))
	switch spec.SteConfig.Of(w[0]) {
	case spec.ConfigS1:
		t := streamOf(c.v).tableAt(w)
		switch {
		case t == nil || t.lent:
			return add(list, tlbiVMID(vmid))
		case spec.SteV.On(now[0]) && streamOf(c.v).tableAt(now) == t && uint32(spec.SteS2VMID.Get(now)) == vmid:
			return list
		}
		for _, asid := range c.d.asidsIn(c.v, t) {
			list = add(list, tlbiASID(vmid, asid))
		}
	case spec.ConfigS2:
		list = add(list, tlbiBoth(vmid))
	case spec.ConfigNested:
		if c.d.c.Domains[vmid] != nil {
			list = add(list, tlbiVMID(vmid))
		} else {
			list = add(list, tlbiBoth(vmid))
		}
	}
	return list
}

// Install drops the STE that blocked, which may be cached as well.
func (c *steCaches) Install(_ []uint64, how entry.Batching) error {
	return c.run(how, cfgiSTE(c.v.SID, false))
}

// cdCaches is for a CD.
type cdCaches struct {
	caches
	slot emu.PASID
}

// SyncEntry drops the CD.
func (c *cdCaches) SyncEntry([][]uint64) error {
	return c.run(entry.OneWait, cfgiCD(c.v.SID, c.slot, false))
}

// SyncAll drops the CD, the translations of its ASIDs, and what the device holds itself.
func (c *cdCaches) SyncAll(_, made [][]uint64, how entry.Batching) error {
	list := []command{cfgiCD(c.v.SID, c.slot, false)}
	for _, w := range made {
		list = add(list, tlbiASID(0, uint32(spec.CdASID.Get(w))))
	}
	if c.v.ATS {
		list = append(list, atcInv(c.v.SID, unslot(c.slot), 0, 64))
	}
	return c.run(how, list...)
}

// Install drops the CD that was not valid, which may be cached as well.
func (c *cdCaches) Install(_ []uint64, how entry.Batching) error {
	return c.run(how, cfgiCD(c.v.SID, c.slot, false))
}

// IDs implements driver.Tagged: CDs are tagged with ASIDs.
func (c *cdCaches) IDs() *driver.IDs { return &c.d.asids }

// unslot is the PASID whose requests use a CD.
func unslot(slot emu.PASID) emu.PASID {
	if slot == 0 {
		return emu.NoPASID
	}
	return slot
}

// vmidMeans is what a rewrite of the STE of v may use. A VMID is free for it if no other stream makes
// translations with it. That of stage 1 alone, 0, belongs to many.
func (d *Driver) vmidMeans(v *driver.Device, old, new []uint64) entry.Means {
	alone := func(w []uint64) bool {
		m := d.c.Domains[uint32(spec.SteS2VMID.Get(w))]
		return m != nil && len(m.Children) == 0 && d.c.Alone(m, v, emu.NoPASID, func(driver.User) bool { return true })
	}
	m := entry.Means{Temp: d.c.IDs.Peek(), OldAlone: alone(old), NewAlone: alone(new)}
	a, b := d.c.Domains[uint32(spec.SteS2VMID.Get(old))], d.c.Domains[uint32(spec.SteS2VMID.Get(new))]
	if a != nil && b != nil && a != b && nestedOrStage2(old) && nestedOrStage2(new) && driver.Alike(a, b) {
		m.Alike = make([]uint64, len(old))
		m.Alike[3] = spec.SteS2TTB.Mask()
	}
	return m
}

func nestedOrStage2(ste []uint64) bool { return spec.SteConfig.Of(ste[0])&6 == 6 }

// asidMeans is what a rewrite of a CD may use.
func (d *Driver) asidMeans(v *driver.Device, slot emu.PASID, old, new []uint64) entry.Means {
	alone := func(w []uint64) bool {
		m := d.c.Domains[asidBase+uint32(spec.CdASID.Get(w))]
		return d.c.Alone(m, v, unslot(slot), func(driver.User) bool { return true })
	}
	return entry.Means{Temp: d.asids.Peek() - asidBase, OldAlone: alone(old), NewAlone: alone(new)}
}
