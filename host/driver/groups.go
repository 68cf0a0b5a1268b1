package driver

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
)

// Groups are page request groups between the unit, which has single requests, and who answers them.
type Groups struct {
	partial map[GroupKey]*host.PageGroup // whose last request has not come
	ready   []host.PageGroup             // complete, nobody told yet; the oldest first
	open    map[GroupKey]bool            // handed on, not answered
	serving bool                         // groups are being handed on
}

// GroupKey is what tells groups that wait for an answer from each other.
type GroupKey struct {
	SID   emu.SourceID
	PASID emu.PASID
	Index uint16
}

// KeyOf returns the key of a group.
func KeyOf(g *host.PageGroup) GroupKey { return GroupKey{g.Source, g.PASID, g.Index} }

// maxPartial bounds the requests of groups that have not ended: more than a unit's queue holds.
const maxPartial = 4096

// NewGroups returns none.
func NewGroups() *Groups {
	return &Groups{partial: make(map[GroupKey]*host.PageGroup), open: make(map[GroupKey]bool)}
}

// Add takes one request as the unit had it. g has no request yet; stop markers are nobody's to answer.
func (c *Core) Add(g host.PageGroup, q host.PageRequest, last bool) {
	p := c.Groups
	c.Count.PageRequests++
	if last && q.Access&emu.RW == 0 {
		return
	}
	k := KeyOf(&g)
	if begun := p.partial[k]; begun != nil {
		g = *begun
	}
	g.Requests = append(g.Requests, q)
	switch {
	case last:
		delete(p.partial, k)
		p.ready = append(p.ready, g)
	case len(g.Requests) < maxPartial && len(p.partial) < maxPartial:
		p.partial[k] = &g
	}
}

// Lost forgets the groups that have begun: their last request may be lost.
func (p *Groups) Lost() { clear(p.partial) }

// OnPageRequest implements host.PageRequester.
func (d *Driver) OnPageRequest(fn func(host.PageGroup)) { d.c.onPages = fn }

// maxServe is how many cycles groups are handed on for in a row: devices may ask faster than they are
// answered, and the program has to get on.
const maxServe = 10_000

// Serve hands groups on. In the middle of a method it leaves that to the end of the method.
func (c *Core) Serve() {
	p := c.Groups
	if p == nil || p.serving || c.busy > 0 {
		return
	}
	p.serving = true
	c.serve(p)
	p.serving = false
	if len(p.ready) > 0 {
		c.busy++ // no handler gives commands in the middle of it
		c.arch.Recall()
		c.busy--
	}
}

func (c *Core) serve(p *Groups) {
	for until := c.CPU.Now() + maxServe; len(p.ready) > 0 && c.CPU.Now() <= until; {
		g := p.ready[0]
		p.ready = p.ready[1:]
		c.Count.PageGroups++
		v := c.Devices[g.Source]
		p.open[KeyOf(&g)] = true
		if c.onPages == nil || v == nil || v.Domains[g.PASID] == nil {
			// An error here shows at the next operation: hardware answers no more.
			_ = c.respond(g, host.PageInvalid)
			continue
		}
		c.onPages(g)
	}
}

// Respond implements host.PageRequester.
func (d *Driver) Respond(g host.PageGroup, r host.PageResponse) error { return d.c.respond(g, r) }

func (c *Core) respond(g host.PageGroup, r host.PageResponse) error {
	defer c.Enter().Leave()
	k := KeyOf(&g)
	if c.Groups == nil || !c.Groups.open[k] {
		return fmt.Errorf("%s: group %d of %s: %w", c.Name, g.Index, Label(g.Source, g.PASID), host.ErrPageGroup)
	}
	delete(c.Groups.open, k)
	return c.answer(k, r)
}

func (c *Core) answer(k GroupKey, r host.PageResponse) error {
	err := c.arch.Answer(k, r)
	if err != nil {
		err = fmt.Errorf("%s: answer to group %d of %s: %w", c.Name, k.Index, Label(k.SID, k.PASID), err)
	}
	return err
}

// Refuse answers what there is of (v, pasid) with PageInvalid, in ascending order of groups.
func (c *Core) Refuse(v *Device, pasid emu.PASID) error {
	p := c.Groups
	var refused []GroupKey
	kept := p.ready[:0]
	for _, g := range p.ready {
		if g.Source == v.SID && g.PASID == pasid {
			refused = append(refused, KeyOf(&g))
		} else {
			kept = append(kept, g)
		}
	}
	p.ready = kept
	for k := range p.open {
		if k.SID == v.SID && k.PASID == pasid {
			refused = append(refused, k)
			delete(p.open, k)
		}
	}
	for k := range p.partial {
		if k.SID == v.SID && k.PASID == pasid {
			delete(p.partial, k)
		}
	}
	slices.SortFunc(refused, func(a, b GroupKey) int { return int(a.Index) - int(b.Index) })
	for _, k := range refused {
		if err := c.answer(k, host.PageInvalid); err != nil {
			return err
		}
	}
	return nil
}

// GroupCounts are groups by what they wait for.
type GroupCounts struct {
	Begun    int // for their last request
	Requests int // of those
	Ready    int // to be handed on
	Open     int // for an answer
}

// Pending counts what has not been answered.
func (p *Groups) Pending() GroupCounts {
	n := GroupCounts{Begun: len(p.partial), Ready: len(p.ready), Open: len(p.open)}
	for _, g := range p.partial {
		n.Requests += len(g.Requests)
	}
	return n
}
