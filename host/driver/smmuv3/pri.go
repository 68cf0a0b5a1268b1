package smmuv3

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// pageInterrupt is the handler of the page request queue.
func (d *Driver) pageInterrupt() {
	d.takePages()
	d.c.Serve()
}

// Recall implements driver.Arch, by a CMD_SYNC. A unit that sends no interrupts is asked by operations.
func (d arch) Recall() {
	if d.interrupts() {
		// A queue that has stopped says so to the next operation.
		_ = d.queue.once([]command{d.events.message}, false)
	}
}

// takePages reads the page request queue empty. After an overflow the unit writes nothing until that is
// acknowledged; groups that have begun may have lost their last request, which it has answered itself (8.2).
func (d *Driver) takePages() {
	if d.pages == nil {
		return
	}
	d.take(d.pages, d.takePage, func() {
		d.c.Groups.Lost()
		d.c.Count.PageOverflows++
	})
}

// takePage takes one record (8).
func (d *Driver) takePage(w []uint64) {
	g := host.PageGroup{
		Source: emu.SourceID(spec.PriSID.Get(w)), PASID: emu.NoPASID, Index: uint16(spec.PriRecPRG.Get(w)),
	}
	if spec.PriSSV.Get(w) != 0 {
		g.PASID = emu.PASID(spec.PriSSID.Get(w))
	}
	q := host.PageRequest{Addr: emu.IOVA(w[1] &^ (emu.PageSize - 1))}
	for _, f := range []struct {
		on uint64
		a  emu.Access
	}{
		{spec.PriR.Get(w), emu.Read}, {spec.PriW.Get(w), emu.Write}, {spec.PriX.Get(w), emu.Exec}, {spec.PriPriv.Get(w), emu.Priv},
	} {
		if f.on != 0 {
			q.Access |= f.a
		}
	}
	d.c.Add(g, q, spec.PriLast.Get(w) != 0)
}

// Answer implements driver.Arch. Neither command is waited for: a device takes the answer when it comes.
func (d arch) Answer(k driver.GroupKey, r host.PageResponse) error {
	if d.stalled[k] {
		delete(d.stalled, k)
		return d.queue.submit([]command{resume(k.SID, k.Index, r == host.PageSuccess)}, false)
	}
	return d.queue.submit([]command{priResp(k, r)}, false)
}

// maxDrains is how often a queue that overflows is read anew while it is drained.
const maxDrains = 16

// Drain implements driver.Arch. The STE or CD blocks already, so that no transaction stalls any more; what
// has stalled is aborted. Page requests are ahead of the answer to an ATS invalidation, for both are posted.
func (d arch) Drain(v *driver.Device, pasid emu.PASID, old *driver.Domain) error {
	s := streamOf(v)
	for range maxDrains {
		lost := d.c.Count.PageOverflows
		d.takeEvents()
		d.takePages()
		if err := d.c.Refuse(v, pasid); err != nil {
			return err
		}
		var list []command
		if v.ATS {
			list = append(list, atcInv(v.SID, pasid, 0, 64))
		}
		if s.stall && !substreams(v, pasid) && (pasid == emu.NoPASID || v.Domains[emu.NoPASID] == nil) {
			list = append(list, stallTerm(v.SID))
		}
		if err := d.invalidate(entry.OneWait, list...); err != nil && !errors.Is(err, host.ErrDeviceTLB) {
			return err
		}
		d.takeEvents()
		d.takePages()
		if err := d.c.Refuse(v, pasid); err != nil {
			return err
		}
		if d.c.Count.PageOverflows == lost {
			return nil
		}
	}
	return fmt.Errorf("smmuv3: page requests of %s do not end: %w", driver.Label(v.SID, pasid), host.ErrTimeout)
}
