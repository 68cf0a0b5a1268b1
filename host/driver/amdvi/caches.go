package amdvi

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// caches knows what hardware may hold of one entry. Which invalidations that takes depends on the old
// content.
type caches struct {
	d     *Driver
	dev   *device
	pasid emu.PASID // NoPASID: requests without
	cost  entry.Cost
}

// run gives ops to hardware and counts them.
func (c *caches) run(how entry.Batching, ops ...op) error {
	k := c.d.k
	inv, waits := k.Count.Invalidations, k.Count.Waits
	err := c.d.invalidate(how, ops...)
	c.cost.Invalidations += int(k.Count.Invalidations - inv)
	c.cost.Waits += int(k.Count.Waits - waits)
	return err
}

// Cost counts since creation.
func (c *caches) Cost() entry.Cost { return c.cost }

// deviceIOTLB adds all that the device's own cache holds.
func (c *caches) deviceIOTLB(ops []op) []op {
	if c.dev.ATS {
		ops = append(ops, deviceIOTLB(c.dev.SID, c.pasid, 0, 64))
	}
	return ops
}

// add adds an operation once.
func add(ops []op, o op) []op {
	if slices.Contains(ops, o) {
		return ops
	}
	return append(ops, o)
}

// dteCaches is for a device table entry, and those of the aliases.
type dteCaches struct{ caches }

func dteID(w []uint64) uint32 { return uint32(spec.DteDomainID.Get(w)) }

func (c *dteCaches) entry() (ops []op) {
	for _, sid := range c.dev.names {
		ops = append(ops, devtab(sid))
	}
	return ops
}

// SyncEntry drops the entry, and what is cached of the device's GCR3 table. Whatever an entry says, it
// may be cached.
func (c *dteCaches) SyncEntry([][]uint64) error { return c.run(entry.OneWait, c.entry()...) }

// SyncAll drops the entry, the translations of the domains, the device IOTLB. With guest tables those of
// requests without PASID have PASID 0; those of other PASIDs go with their GCR3 table entries.
func (c *dteCaches) SyncAll(_, made [][]uint64, how entry.Batching) error {
	ops := c.entry()
	for _, w := range made {
		if !spec.DteV.On(w[0]) || !spec.DteTV.On(w[0]) {
			continue
		}
		if spec.DteGV.On(w[0]) {
			ops = add(ops, allPages(dteID(w), 0))
		}
		ops = add(ops, allPages(dteID(w), emu.NoPASID))
	}
	return c.run(how, c.deviceIOTLB(ops)...)
}

// Install drops what is cached of the blocking form.
func (c *dteCaches) Install(_ []uint64, how entry.Batching) error { return c.run(how, c.entry()...) }

// slotCaches is for an entry of the device's own GCR3 table.
type slotCaches struct{ caches }

// SyncEntry drops the entry, which goes with the paging structures.
func (c *slotCaches) SyncEntry([][]uint64) error { return c.SyncAll(nil, nil, entry.OneWait) }

// SyncAll drops the entry, the translations of the PASID, the device IOTLB.
func (c *slotCaches) SyncAll(_, _ [][]uint64, how entry.Batching) error {
	o := allPages(c.dev.id, driver.Slot(c.pasid))
	o.gcr3 = true
	return c.run(how, c.deviceIOTLB([]op{o})...)
}

// Install has nothing to drop unless absence may be cached.
func (c *slotCaches) Install(_ []uint64, how entry.Batching) error {
	if !c.d.opt.NpCache {
		return nil
	}
	return c.SyncAll(nil, nil, how)
}
