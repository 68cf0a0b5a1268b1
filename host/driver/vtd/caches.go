package vtd

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// caches knows what hardware may hold of one entry. Which invalidations that takes depends on the old
// content: domain id and type are read from it, never from the new one (6.5.3.3).
type caches struct {
	d     *Driver
	dev   *device
	pasid emu.PASID // NoPASID: the device's own requests
	cost  entry.Cost
}

// run gives ops to hardware and counts them.
func (c *caches) run(how entry.Batching, ops ...op) error {
	inv, waits := c.d.k.Count.Invalidations, c.d.k.Count.Waits
	err := c.d.invalidate(how, ops...)
	c.cost.Invalidations += int(c.d.k.Count.Invalidations - inv)
	c.cost.Waits += int(c.d.k.Count.Waits - waits)
	return err
}

// Cost counts since creation.
func (c *caches) Cost() entry.Cost { return c.cost }

// deviceTLB adds all that the device's own cache holds.
func (c *caches) deviceTLB(ops []op) []op {
	if c.dev.ATS {
		ops = append(ops, deviceTLB(c.dev.SID, c.pasid, 0, wholeSpace))
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

// legacyCaches is for a legacy context entry.
type legacyCaches struct{ caches }

func legacyDID(w []uint64) uint32 { return uint32(spec.CtxDID.Get(w)) }

// SyncEntry drops the context entry. In legacy mode it is tagged with its domain.
func (c *legacyCaches) SyncEntry(entries [][]uint64) error {
	return c.run(entry.OneWait, c.entry(entries)...)
}

func (c *legacyCaches) entry(entries [][]uint64) (ops []op) {
	for _, w := range entries {
		ops = add(ops, contextDevice(legacyDID(w), c.dev.SID))
	}
	return ops
}

// SyncAll drops the context entry, the translations of the domains, the device-TLB.
func (c *legacyCaches) SyncAll(entries, made [][]uint64, how entry.Batching) error {
	ops := c.entry(entries)
	for _, w := range made {
		ops = add(ops, iotlbDomain(legacyDID(w)))
	}
	return c.run(how, c.deviceTLB(ops)...)
}

// Install drops what caching mode keeps of an entry that was not present; those are tagged 0. Otherwise
// only the write buffer stands in the way.
func (c *legacyCaches) Install(new []uint64, how entry.Batching) error {
	if !c.d.caps.cm {
		return c.d.flushWriteBuffer()
	}
	return c.run(how, contextDevice(didNone, c.dev.SID), iotlbDomain(legacyDID(new)))
}

// contextCaches is for a context entry of scalable mode. It carries no domain.
type contextCaches struct{ caches }

// SyncEntry drops the context entry.
func (c *contextCaches) SyncEntry([][]uint64) error {
	return c.run(entry.OneWait, contextDevice(didNone, c.dev.SID))
}

// SyncAll is for a device without live PASID entries; otherwise everything has to go.
func (c *contextCaches) SyncAll(_, _ [][]uint64, how entry.Batching) error {
	ops := []op{contextDevice(didNone, c.dev.SID)}
	if len(c.dev.Domains) > 0 || c.dev.old {
		ops = append(ops, pasidGlobal(), iotlbGlobal())
	}
	return c.run(how, c.deviceTLB(ops)...)
}

// Install drops what caching mode keeps.
func (c *contextCaches) Install(_ []uint64, how entry.Batching) error {
	if !c.d.caps.cm {
		return c.d.flushWriteBuffer()
	}
	return c.run(how, contextDevice(didNone, c.dev.SID), iotlbDomain(didNone))
}

// pasidCaches is for a PASID-table entry.
type pasidCaches struct{ caches }

func pasidDID(w []uint64) uint32 { return uint32(spec.PasidDID.Get(w)) }

// SyncEntry drops the PASID entry, which is tagged with the domain that it held.
func (c *pasidCaches) SyncEntry(entries [][]uint64) error {
	return c.run(entry.OneWait, c.entry(entries)...)
}

func (c *pasidCaches) entry(entries [][]uint64) (ops []op) {
	for _, w := range entries {
		ops = add(ops, pasidSelective(pasidDID(w), driver.Slot(c.pasid)))
	}
	return ops
}

// SyncAll drops the PASID entry, its translations, the device-TLB.
func (c *pasidCaches) SyncAll(entries, made [][]uint64, how entry.Batching) error {
	ops := c.entry(entries)
	for _, w := range made {
		ops = add(ops, c.translations(w))
	}
	return c.run(how, c.deviceTLB(ops)...)
}

// translations drops what was translated through an entry. First-stage and pass-through translations
// are tagged with the PASID; second-stage ones with the domain only, and a first stage on top of
// one goes with them (6.5.3.3).
func (c *pasidCaches) translations(w []uint64) op {
	switch spec.PasidPGTT.Of(w[0]) {
	case spec.PGTTFirst, spec.PGTTPassThrough:
		return iotlbPASID(pasidDID(w), driver.Slot(c.pasid))
	}
	return iotlbDomain(pasidDID(w))
}

// Install drops what caching mode keeps.
func (c *pasidCaches) Install(new []uint64, how entry.Batching) error {
	if !c.d.caps.cm {
		return c.d.flushWriteBuffer()
	}
	did, pasid := pasidDID(new), driver.Slot(c.pasid)
	return c.run(how, pasidSelective(did, pasid), iotlbPASID(did, pasid))
}
