package device

import (
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// invalidation is an ATS invalidation request that waits for accesses in flight.
type invalidation struct {
	Unit  uint32
	Count uint32 // accesses
}

// InvalidateATS implements timing.ATSResponder. It drops what is meant from the device TLB and from lanes
// that have not used it yet, and has answers under way discarded (PCIe 10.3.6). The completion waits for
// translated requests in flight that used what is meant (PCIe 10.3.3): for reads because it must, for
// writes because here they are answered when they are visible, which is more than being sent ahead of the
// completion.
func (p *Endpoint) InvalidateATS(unit int, q *emu.ATSInvalidation) timing.ATSAnswer {
	if p.mute {
		return timing.ATSIgnored
	}
	p.stats.Invalidations++
	p.forget(q)
	tag := q.ITag % emu.MaxITags
	wait := &p.pending[tag]
	for i := range p.lanes {
		l := &p.lanes[i]
		switch {
		case l.State == laneTranslating:
			page := mapping{First: l.Req.Addr &^ (emu.PageSize - 1), Lg2: emu.PageShift}
			l.Again = l.Again || p.meant(q, &l.Req, &page)
			l.Small = true
		case l.Asis || !p.meant(q, &l.Req, &l.Use):
		case l.State == laneHave:
			l.State = laneWant // its place in the order stays
		case l.State == laneMoving && l.Use.Perm&emu.UntranslatedOnly == 0 && l.Held>>tag&1 == 0:
			l.Held |= 1 << tag
			wait.Count++
		}
	}
	if wait.Count == 0 {
		return timing.ATSCompleted
	}
	wait.Unit = uint32(unit)
	p.stats.Held++
	return timing.ATSPending
}

// global reports whether q is for all PASIDs.
func (p *Endpoint) global(q *emu.ATSInvalidation) bool {
	return q.PASID != emu.NoPASID && q.Global() && p.cfg.Global
}

// forget drops entries of the device TLB (PCIe 10.3.8).
func (p *Endpoint) forget(q *emu.ATSInvalidation) {
	if p.tlb == nil {
		return
	}
	const withPASID = 1<<classUser | 1<<classPriv
	const all = withPASID | 1<<classGlobalUser | 1<<classGlobalPriv
	first, last := q.Range()
	s := emu.Selector{Match: emu.MatchClass | emu.MatchAddress, First: uint64(first), Last: uint64(last)}
	switch {
	case q.PASID == emu.NoPASID:
		p.tlb.Invalidate(&emu.Selector{Match: emu.MatchClass, Classes: all})
		s.Classes = 1 << classPlain
	case p.global(q):
		s.Classes = all
	default:
		s.Match |= emu.MatchPASID
		s.PASID, s.Classes = q.PASID, withPASID
	}
	p.tlb.Invalidate(&s)
}

// meant reports whether q drops the mapping m that r has got.
func (p *Endpoint) meant(q *emu.ATSInvalidation, r *emu.Request, m *mapping) bool {
	first, last := q.Range()
	overlap := m.First <= last && first <= m.last()
	switch {
	case q.PASID == emu.NoPASID:
		return r.PASID != emu.NoPASID || overlap
	case r.PASID == emu.NoPASID:
		return false
	case p.global(q):
		return overlap
	}
	return overlap && r.PASID == q.PASID && !m.Global
}

// unhold completes the invalidations that have waited for l only.
func (p *Endpoint) unhold(l *lane) {
	for ; l.Held != 0; l.Held &= l.Held - 1 {
		tag := bits.TrailingZeros32(l.Held)
		w := &p.pending[tag]
		if w.Count--; w.Count == 0 {
			p.bus.CompleteATS(int(w.Unit), uint8(tag))
		}
	}
}
