package device

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// laneState says how far a request of the source has got.
type laneState uint8

const (
	laneFree        laneState = iota
	laneWant                  // its translation request is to be sent
	laneTranslating           // its translation request is in the unit
	laneFollow                // waits for what another lane does about the same page
	laneHave                  // translated: its access is to be sent
	laneMoving                // its access is in the unit
	lanePage                  // its page request is to be sent
	lanePaged                 // waits for the response to its page request
	numLaneStates
)

const none = -1

// lane is a request of the source in progress. Plain data of fixed size: lanes are part of a
// checkpoint.
type lane struct {
	Req       emu.Request // as the source gave it
	Taken     uint64
	Use       mapping // laneHave, laneMoving: what its address became
	Held      uint32  // laneMoving: ITags of the invalidations that wait for it
	Leader    int32   // laneFollow: the lane it waits for
	Followers int32   // lanes that wait for this one
	Group     int32   // lanePaged: its page request group
	State     laneState
	Again     bool // laneTranslating: the answer is to be discarded
	Small     bool // laneTranslating: the answer is good for the page asked for only
	Asis      bool // laneHave, laneMoving: sent as the source gave it
}

func (l *lane) clear() { *l = lane{Leader: none, Group: none} }

// mapping is a translation, of a size from one page upwards.
type mapping struct {
	First  emu.IOVA
	PA     emu.PA
	Perm   emu.Access
	Lg2    uint8
	Snoop  bool
	Global bool
}

func (m *mapping) last() emu.IOVA { return m.First | (1<<m.Lg2 - 1) }

// Classes of entries in the device TLB. Privileged and other rights of a page are independent of each
// other (PCIe 10.2.3.7); an entry of a global mapping is without its PASID.
const (
	classPlain emu.Class = iota // requested without PASID
	classUser
	classPriv
	classGlobalUser
	classGlobalPriv
)

// toGlobal is how far the class of a global mapping is from the one of its PASID.
const toGlobal = classGlobalUser - classUser

func class(q *emu.Request) emu.Class {
	switch {
	case q.PASID == emu.NoPASID:
		return classPlain
	case q.Access&emu.Priv != 0:
		return classPriv
	}
	return classUser
}

// rights returns what a translation must grant for q.
func rights(q *emu.Request) emu.Access {
	need := q.Access & (emu.RW | emu.Exec)
	if q.Access&emu.Atomic != 0 {
		need |= emu.RW
	}
	if need&emu.Write == 0 || need&emu.Exec != 0 {
		need |= emu.Read
	}
	return need
}

// key returns the device TLB's name for the page of q.
func key(q *emu.Request, global bool) emu.Key {
	c, pasid := class(q), q.PASID
	if global {
		c, pasid = c+toGlobal, emu.NoPASID
	}
	return emu.Key{Tag: emu.MakeTag(c, 0, pasid), Addr: uint64(q.Addr)}
}

// Value of an entry: word 0 is the address of its first byte, word 1 the rights with snoop above.
const snoopBit = 1 << 8

// find looks for a translation that lets q pass.
func (p *Endpoint) find(q *emu.Request, m *mapping) bool {
	if p.tlb == nil {
		return false
	}
	need := rights(q)
	for _, global := range [2]bool{false, true} {
		if global && (!p.cfg.Global || q.PASID == emu.NoPASID) {
			break
		}
		k := key(q, global)
		v, h := p.tlb.Find(&k)
		if v == nil || emu.Access(v[1])&need != need {
			continue
		}
		_, lg2, _, _ := p.tlb.At(h)
		p.tlb.Touch(h)
		*m = mapping{
			First: q.Addr &^ (1<<lg2 - 1), PA: emu.PA(v[0]), Perm: emu.Access(v[1]), Lg2: lg2,
			Snoop: v[1]&snoopBit != 0, Global: global,
		}
		return true
	}
	p.tlb.Miss()
	return false
}

// keep puts a translation of q into the device TLB.
func (p *Endpoint) keep(q *emu.Request, m *mapping) {
	if p.tlb == nil {
		return
	}
	k := key(q, m.Global)
	k.Addr = uint64(m.First)
	v := [4]uint64{uint64(m.PA), uint64(m.Perm)}
	if m.Snoop {
		v[1] |= snoopBit
	}
	p.tlb.Fill(&k, m.Lg2, 0, &v)
}

// lookup finds lane i a translation, a lane that is about to get it, or has it ask for one.
func (p *Endpoint) lookup(i uint32) {
	l := &p.lanes[i]
	switch {
	case l.Req.Type != emu.Untranslated:
		l.State, l.Asis = laneHave, true
	case p.find(&l.Req, &l.Use):
		l.State = laneHave
		p.ready.push(i)
		p.wakeFollowers(i)
		return
	default:
		if j := p.leader(i); j != none {
			l.State, l.Leader = laneFollow, j
			p.lanes[j].Followers++
			return
		}
		l.State = laneWant
	}
	p.ready.push(i)
}

// leader returns a lane that does something about the page of lane i. Without a device TLB nobody else
// can use what it gets.
func (p *Endpoint) leader(i uint32) int32 {
	if p.tlb == nil {
		return none
	}
	q := &p.lanes[i].Req
	for j := range p.lanes {
		l := &p.lanes[j]
		switch l.State {
		case laneWant, laneTranslating, lanePage, lanePaged:
			if uint32(j) != i && l.Req.PASID == q.PASID && (l.Req.Addr^q.Addr)>>emu.PageShift == 0 && class(&l.Req) == class(q) {
				return int32(j)
			}
		}
	}
	return none
}

// wakeFollowers lets the lanes that wait for lane i look again.
func (p *Endpoint) wakeFollowers(i uint32) {
	l := &p.lanes[i]
	if l.Followers == 0 {
		return
	}
	l.Followers = 0
	was := l.State
	l.State = laneFree // it leads no more
	for j := range p.lanes {
		if f := &p.lanes[j]; f.State == laneFollow && f.Leader == int32(i) {
			f.Leader = none
			p.lookup(uint32(j))
		}
	}
	l.State = was
}

// translation makes p.req the translation request of l.
func (p *Endpoint) translation(l *lane) {
	q := &p.req
	*q = emu.Request{
		Addr: l.Req.Addr &^ (emu.PageSize - 1), Source: p.cfg.Source, PASID: l.Req.PASID, Type: emu.TranslationReq,
		Access: emu.RW,
	}
	if p.cfg.NoWrite && rights(&l.Req)&emu.Write == 0 {
		q.Access = emu.Read | emu.NoWrite
	}
	if q.PASID != emu.NoPASID {
		q.Access |= l.Req.Access & (emu.Exec | emu.Priv)
	}
}

// access makes p.req the access of l.
func (p *Endpoint) access(l *lane) {
	q := &p.req
	*q = l.Req
	q.Source = p.cfg.Source
	if l.Asis || l.Use.Perm&emu.UntranslatedOnly != 0 {
		return
	}
	q.Type = emu.Translated
	q.Addr = emu.IOVA(l.Use.PA) | q.Addr&(1<<l.Use.Lg2-1)
	if !p.cfg.TranslatedPASID {
		q.PASID = emu.NoPASID
	}
}

// translated takes the answer to the translation request of lane i.
func (p *Endpoint) translated(i uint32, c *timing.Completion) {
	l, r := &p.lanes[i], c.Result
	need := rights(&l.Req)
	switch {
	case l.Again:
		p.stats.Discarded++
		l.Again, l.Small = false, false
		l.State = laneWant
		p.ready.push(i)
	case r.Status != emu.OK:
		p.finish(i, c, EndBlocked)
	default:
		m := mapping{First: c.Request.Addr, PA: r.PA, Perm: r.Perm, Lg2: emu.PageShift, Snoop: r.Snoop}
		m.PA &^= emu.PageSize - 1
		if !l.Small && r.Lg2 > emu.PageShift && r.Lg2 < 64 {
			m.Lg2 = r.Lg2
			m.First &^= 1<<m.Lg2 - 1
			m.PA &^= 1<<m.Lg2 - 1
		}
		m.Global = r.Perm&emu.Global != 0 && p.cfg.Global && l.Req.PASID != emu.NoPASID
		l.Small = false
		if m.Perm&emu.RW != 0 { // nothing may be kept otherwise (PCIe 10.2.3.5)
			p.keep(&l.Req, &m)
		}
		switch {
		case m.Perm&need == need:
			l.Use, l.State = m, laneHave
			p.ready.push(i)
			p.wakeFollowers(i)
		case p.cfg.Pages == 0:
			p.fail(i, EndNoRights)
		case p.pri.stopped:
			p.fail(i, EndPageFailure)
		default:
			l.State = lanePage
			p.wantPage(i)
		}
	}
}
