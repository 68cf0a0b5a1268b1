package smmuv3

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// maxPages is how many pages are invalidated one by one; more are dropped with all of their ASID or VMID.
const maxPages = 32

// Forget implements driver.Arch: translations first, then the TLBs of devices, which may be filled from
// them.
func (d arch) Forget(changes []driver.Change) error {
	var list []command
	for i := range changes {
		list = d.drop(list, &changes[i])
	}
	for i := range changes {
		list = d.dropATS(list, &changes[i])
	}
	if len(list) == 0 {
		return nil
	}
	return d.invalidate(entry.OneWait, list...)
}

// drop adds the invalidations of translations. What is nested on a domain was made from its tables too, and
// an address of the domain says nothing about the guest's: of that all goes (4.4.3).
func (d *Driver) drop(list []command, c *driver.Change) []command {
	m := c.Domain
	switch {
	case m.Kind() == host.DomainIdentity:
	case m.Kind() == host.DomainNested:
		if m.Stale {
			list = d.dropRange(list, c, spec.CmdTlbiNHVAA, tlbiVMID(m.ID()))
		}
	case m.First:
		if m.Stale {
			list = d.dropRange(list, c, spec.CmdTlbiNHVA, tlbiASID(0, asidOf(m)))
		}
	default:
		nested := false
		for _, n := range m.Children {
			nested = nested || n.Stale
		}
		switch {
		case c.All():
			list = add(list, tlbiBoth(m.ID()))
		case m.Stale || nested:
			list = d.dropRange(list, c, spec.CmdTlbiS2IPA, tlbiBoth(m.ID()))
			if nested {
				list = add(list, tlbiVMID(m.ID()))
			}
		}
	}
	return list
}

// dropRange adds the invalidations of a range by commands of one kind, or all if they would be too many. The
// tables of a nested domain are somebody else's, of any granule that the unit has, and an invalidation of a range
// reaches what was made with one granule (4.4.1, TG).
func (d *Driver) dropRange(list []command, c *driver.Change, op uint64, all command) []command {
	granules := []spec.Granule{d.caps.granule}
	if c.Domain.Kind() == host.DomainNested {
		granules = d.caps.granules()
	}
	one := command{all[0]&^spec.CmdOpcode.Mask() | spec.CmdOpcode.Put(op)}
	one[1] = spec.CmdLeaf.PutBool(c.Leaves)
	if op != spec.CmdTlbiNHVA {
		one[0] &^= spec.CmdASID.Mask()
	}
	first, pages := pagesOf(c, granules[0])
	switch {
	case c.All() || pages == 0 || !d.caps.ranges && pages > maxPages:
		return add(list, all)
	case !d.caps.ranges || pages == 1: // addresses alone, of whatever granule
		for ; pages > 0; pages-- {
			list = append(list, command{one[0], one[1] | first<<granules[0]})
			first++
		}
		return list
	}
	for _, g := range granules {
		list = d.dropPages(list, c, g, one)
	}
	return list
}

// pagesOf returns the first page of a change and their number; 0 stands for all there are.
func pagesOf(c *driver.Change, g spec.Granule) (first, pages uint64) {
	first = uint64(c.First) >> g
	return first, uint64(c.Last)>>g - first + 1
}

// dropPages adds the invalidations of the pages of one granule by commands like one.
func (d *Driver) dropPages(list []command, c *driver.Change, g spec.Granule, one command) []command {
	first, pages := pagesOf(c, g)
	tg, _ := g.TLBI()
	top := 31 // SCALE has another bit with IDR5.DS
	if spec.Idr5DS.On(d.caps.idr5) {
		top = spec.MaxTlbiScale
	}
	for pages > 0 {
		// As many units of 2^scale pages as one command names: what is left has fewer zeros at its end.
		scale := min(bits.TrailingZeros64(pages), top)
		num := pages >> scale & 31
		if num == 0 {
			num = 32
		}
		next := command{one[0], one[1] | first<<g}
		if num > 1 || scale > 0 {
			next[0] |= spec.TlbiNum.Put(num-1) | spec.TlbiScale.Put(uint64(scale))
			next[1] |= spec.TlbiTG.Put(tg)
		}
		list = append(list, next)
		first += num << scale
		pages -= num << scale
	}
	return list
}

// dropATS adds the TLBs of devices that may hold the range.
func (d *Driver) dropATS(list []command, c *driver.Change) []command {
	addr, lg2 := block(c.First, c.Last)
	list = usersATS(list, c.Domain, addr, lg2)
	for _, n := range c.Domain.Children {
		list = usersATS(list, n, 0, 64)
	}
	return list
}

func usersATS(list []command, m *driver.Domain, addr emu.IOVA, lg2 uint8) []command {
	for _, u := range m.Users {
		if u.Device.ATS {
			list = add(list, atcInv(u.Device.SID, u.PASID, addr, lg2))
		}
	}
	return list
}

// block widens a range to an aligned power of two.
func block(first, last emu.IOVA) (addr emu.IOVA, lg2 uint8) {
	lg2 = uint8(max(bits.Len64(uint64(first^last)), emu.PageShift))
	if lg2 >= 64 {
		return 0, 64
	}
	return first &^ (1<<lg2 - 1), lg2
}
