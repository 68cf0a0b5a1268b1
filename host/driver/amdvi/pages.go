package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// pageLog is the PPR log (2.6).
type pageLog struct {
	base emu.PA
	head uint64
}

// startPages sets the log up if devices can be asked to use it. A request that the log has no room for is
// answered by hardware, where it can: with Success, so that the device tries again.
func (d *Driver) startPages() error {
	if !d.caps.pages {
		return nil
	}
	base, err := d.k.Alloc(logLg2)
	if err != nil {
		return err
	}
	d.pages, d.k.Groups = &pageLog{base: base}, driver.NewGroups()
	d.k.Write(spec.OffPPRLogBase, 8, uint64(base)|spec.RingLen.Put(logLen))
	d.k.Write(spec.OffPPRHead, 4, 0)
	d.k.Write(spec.OffPPRTail, 4, 0)
	if d.caps.has(spec.EfrPPRAutoRspSup) {
		d.k.Write(spec.OffPPRAutoResponse, 8, spec.ParCode.Put(spec.PPRSuccess))
		d.control(spec.CtlPprAutoRspEn, 1)
	}
	d.control(spec.CtlPPREn, 1)
	d.control(spec.CtlPprIntEn, 1)
	d.control(spec.CtlPPRLogEn, 1)
	d.control(spec.CtlComWaitIntEn, 1)
	return nil
}

// takePages reads the log up to its tail.
func (d *Driver) takePages() {
	l := d.pages
	tail := d.k.Read(spec.OffPPRTail, 4) & spec.RingPtr.Mask() % logBytes
	for ; l.head != tail; l.head = (l.head + spec.PPRSize) % logBytes {
		d.takePage(d.takeEntry(l.base + emu.PA(l.head)))
	}
	d.k.Write(spec.OffPPRHead, 4, l.head)
}

// takePage takes one entry (2.6).
func (d *Driver) takePage(e [2]uint64) {
	w := e[0]
	if spec.PprCode.Of(w) != spec.PPRCode {
		return
	}
	g := host.PageGroup{Source: emu.SourceID(spec.PprDeviceID.Of(w)), PASID: emu.NoPASID, Index: uint16(spec.PprPRG.Of(w))}
	q := host.PageRequest{Addr: emu.IOVA(e[1] &^ (emu.PageSize - 1))}
	if spec.PprR.On(w) {
		q.Access |= emu.Read
	}
	if spec.PprW.On(w) {
		q.Access |= emu.Write
	}
	if spec.PprGN.On(w) {
		g.PASID = emu.PASID(spec.PprPASIDLo.Of(w) | spec.PprPASIDHi.Of(w)<<16)
		if spec.PprX.On(w) {
			q.Access |= emu.Exec
		}
		if !spec.PprUS.On(w) {
			q.Access |= emu.Priv
		}
	}
	d.k.Add(g, q, spec.PprLast.On(w))
}

// Answer gives the answer to hardware, once.
func (d arch) Answer(k driver.GroupKey, r host.PageResponse) error {
	return d.ring.once([]command{responseCommand(k, r)}, !d.k.Omit.Has(entry.OmitWait))
}

// Recall asks for an interrupt by a COMPLETION_WAIT. It comes only if no earlier one stands.
func (d arch) Recall() {
	d.k.Write(spec.OffStatus, 8, spec.StsComWaitInt.Mask())
	// A unit that takes no commands any more says so to the next operation.
	_ = d.ring.once([]command{interruptCommand()}, false)
}

// Drain answers what is left of (v, pasid). The device has answered an invalidation since it lost its
// domain, and its page requests do not come behind that answer; those under way in the unit have ended with
// the wait. A device that still asks is answered when the request comes.
func (d arch) Drain(v *driver.Device, pasid emu.PASID, _ *driver.Domain) error {
	d.attend()
	return d.k.Refuse(v, pasid)
}
