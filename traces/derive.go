package traces

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// noteDerived marks a trace whose mappings were not recorded.
const noteDerived = "mappings: derived from translations and invalidations"

// maxDMA bounds the pages that one access can stand for.
const maxDMA = 1 << 30

// deriver rebuilds mapping state from what translations and invalidations show: a page is mapped right
// before its first access and until an invalidation covers it. It appends to a trace as it goes.
//
// The truth lies within: the driver mapped a page some time before its first access, and an
// invalidation that is rounded up to a power of two drops neighbours too, which come back with their
// next access.
type deriver struct {
	out       *[]Event
	maps      Mappings
	domainOf  map[Space]uint64
	spacesOf  map[uint64][]Space
	derived   int
	conflicts int // translations that contradict the state without an invalidation between
	unbound   int // invalidations of a domain that no translation has shown
}

func newDeriver(out *[]Event) *deriver {
	return &deriver{out: out, domainOf: make(map[Space]uint64), spacesOf: make(map[uint64][]Space)}
}

// bind notes that a space is translated by a domain, and reports whether that is new.
func (d *deriver) bind(s Space, domain uint64) bool {
	if old, ok := d.domainOf[s]; ok {
		if old == domain {
			return false
		}
		d.spacesOf[old] = slices.DeleteFunc(d.spacesOf[old], func(x Space) bool { return x == s })
	}
	d.domainOf[s] = domain
	d.spacesOf[domain] = append(d.spacesOf[domain], s)
	return true
}

// target is what an address translates to. If that is not known, pa is the start of the page that holds it,
// of which more is not known either.
type target struct {
	pa    emu.PA
	known bool
}

// leadsTo reports whether a mapping is the one that a translation of iova has shown.
func (m *Mapping) leadsTo(iova emu.IOVA, to target) bool {
	if !to.known || !m.HasPA {
		return m.HasPA == to.known && m.start == to.pa
	}
	return m.At(iova) == to.pa
}

// access makes sure that the page of size bytes around iova is mapped to where iova was translated to.
func (d *deriver) access(time uint64, s Space, iova emu.IOVA, to target, size uint64, perm Perm) {
	mp, ok := d.maps.Lookup(s, iova)
	if ok && mp.leadsTo(iova, to) {
		if mp.Perm|perm != mp.Perm {
			(*d.out)[mp.ref].Perm |= perm
			d.maps.grow(s, mp.IOVA, perm)
		}
		return
	}
	page := iova &^ emu.IOVA(size-1)
	if old := d.maps.overlapping(s, page, size); len(old) > 0 {
		d.conflicts++
		d.drop(time, s, old)
	}
	e := Event{Time: time, Kind: Map, SID: s.SID, PASID: s.PASID, IOVA: page, HasPA: to.known, Len: size, Perm: perm}
	m := Mapping{IOVA: page, Len: size, HasPA: to.known, Perm: perm, ref: len(*d.out)}
	if to.known {
		e.PA = to.pa &^ emu.PA(size-1)
		m.PA = e.PA
	} else {
		m.start = to.pa
	}
	d.maps.insert(s, m)
	*d.out = append(*d.out, e)
	d.derived++
}

// invalidate unmaps what an Invalidate event covers. A large page is dropped if any part is.
func (d *deriver) invalidate(e *Event) {
	var spaces []Space
	switch {
	case e.HasPA:
		spaces = d.spacesOf[uint64(e.PA)]
		if len(spaces) == 0 {
			d.unbound++
		}
	default:
		spaces = d.maps.Spaces()
	}
	for _, s := range spaces {
		// Requests without a PASID are translated as PASID 0 (RID_PASID), so its invalidation is theirs.
		samePASID := e.PASID == emu.NoPASID || s.PASID == e.PASID || (e.PASID == 0 && s.PASID == emu.NoPASID)
		if (e.SID != NoSID && s.SID != e.SID) || !samePASID {
			continue
		}
		if e.Len == 0 {
			d.drop(e.Time, s, slices.Clone(d.maps.Of(s)))
			continue
		}
		d.drop(e.Time, s, d.maps.overlapping(s, e.IOVA, e.Len))
	}
}

// drop unmaps whole mappings; neighbours become one event.
func (d *deriver) drop(time uint64, s Space, gone []Mapping) {
	for i := 0; i < len(gone); {
		first, last := uint64(gone[i].IOVA), gone[i].last()
		for i++; i < len(gone) && uint64(gone[i].IOVA) == last+1 && gone[i].last()-first < MaxLen; i++ {
			last = gone[i].last()
		}
		n := last - first + 1
		d.maps.Remove(s, emu.IOVA(first), n)
		*d.out = append(*d.out, Event{Time: time, Kind: Unmap, SID: s.SID, PASID: s.PASID, IOVA: emu.IOVA(first), Len: n})
		d.derived++
	}
}

// DeriveMappings returns a copy of t with Map and Unmap events derived from its DMA events that have a PA
// and from its Invalidate events, in pages of 4 KiB, for a trace that has none. The permission of a page is
// the union of what its accesses show until it is invalidated. Attach events say which requesters an
// invalidation by domain concerns; a trace without them loses no mapping to those.
//
// An invalidation of a device's own cache (with SID and without a domain) leaves mappings alone.
func DeriveMappings(t *Trace) (*Trace, error) {
	out := &Trace{Header: *t.Header.Clone(), Events: make([]Event, 0, len(t.Events))}
	d := newDeriver(&out.Events)
	for i := range t.Events {
		e := &t.Events[i]
		s := Space{e.SID, e.PASID}
		switch {
		case e.Kind == Map || e.Kind == Unmap:
			return nil, &Error{Offset: int64(i), Field: "event kind", Want: "a trace without map and unmap events"}
		case e.Kind == Attach && e.HasPA:
			d.bind(s, uint64(e.PA))
		case e.Kind.IsDMA() && e.HasPA:
			if e.Len > maxDMA {
				return nil, &Error{Offset: int64(i), Field: "event len", Want: "at most 1 GiB in one DMA", Got: e.Len}
			}
			for off := uint64(0); ; {
				iova := e.IOVA + emu.IOVA(off)
				d.access(e.Time, s, iova, target{e.PA + emu.PA(off), true}, emu.PageSize, e.Need()|e.Perm)
				off += emu.PageSize - uint64(iova)%emu.PageSize
				if off >= max(e.Len, 1) {
					break
				}
			}
		}
		out.Events = append(out.Events, *e)
		if e.Kind == Invalidate && (e.HasPA || e.SID == NoSID) {
			d.invalidate(e)
		}
	}
	out.Header.addNote(noteDerived)
	return out, nil
}
