package replay

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/entry"
)

// declare notes where the entry of s is and what it holds at rest.
func (c *cell) declare(s *stream) {
	at, words := c.entryOf(s)
	s.entryAt = at
	c.entries[at] = s
	s.cur.version = c.version(s, words)
	s.declared = append(s.declared[:0], s.kind.format.Effective(words))
}

// look is what the lab sees around entries.
func (c *cell) look() *look { return &look{c.drv, c.m.Memory(), c.lay} }

// entryOf returns where the entry of s is, and what it holds.
func (c *cell) entryOf(s *stream) (emu.PA, []uint64) {
	if s.kind.find != nil {
		return s.kind.find(c.look(), s.space.SID)
	}
	return c.drv.EntryAt(s.space.SID, s.space.PASID)
}

// version is the provenance word of what the entry of s held, or holds.
func (c *cell) version(s *stream, words []uint64) uint64 {
	return s.kind.version(c.look(), s.space.SID, words)
}

// prepare builds the fresh domain that the next rewrite of s moves to.
func (c *cell) prepare(s *stream) error {
	g, err := c.newGeneration(s)
	if err != nil {
		return err
	}
	for _, m := range c.maps.Of(s.space) {
		if err := g.mapPages(m.IOVA, m.PA, m.Len, access(m.Perm)); err != nil {
			return err
		}
	}
	s.next = g
	c.building, c.builtAt = s, c.accesses
	return nil
}

// abandon gives up the domain prepared for s.
func (c *cell) abandon(s *stream) error {
	g := s.next
	s.next, c.building = nil, nil
	return g.drop(s.cur)
}

// rewrite moves s to its prepared domain and judges what running DMA saw meanwhile.
func (c *cell) rewrite(s *stream) error {
	c.building = nil
	c.count.Rewrites.Count++
	s.cur.snapshot(c.m.Memory())
	s.next.snapshot(c.m.Memory())
	s.busy = true
	c.cpu.Splits(true)
	rep, err := c.drv.Replace(s.space.SID, s.space.PASID, s.next.hw, c.spec.writer)
	c.cpu.Splits(false)
	if err != nil {
		return fmt.Errorf("rewrite %d of %v: %w", c.count.Rewrites.Count, s.space, err)
	}
	s.old, s.cur, s.next = s.cur, s.next, nil
	s.doneAt = rep.Done
	c.declare(s)
	s.between = s.between[:0]
	for _, d := range rep.States[1:max(len(rep.States)-1, 1)] {
		if s.kind.format.Present(d) {
			s.between = append(s.between, c.version(s, d))
		}
	}
	for _, v := range append(s.between, s.old.version) {
		s.retired[v] = rep.Done
	}
	// Table pages come back after a quarantine, and with them, in a very long run, an entry version. It
	// is the present one then.
	delete(s.retired, s.cur.version)
	for _, d := range rep.States {
		s.declared = append(s.declared, s.kind.format.Effective(d))
	}
	s.busy = false
	c.tally(&rep)
	for i := range s.outcomes {
		c.judge(s, &s.outcomes[i])
	}
	for i := range s.assembled {
		c.judgeAssembly(s, &s.assembled[i])
	}
	s.outcomes, s.assembled = s.outcomes[:0], s.assembled[:0]
	if s.cur.shares {
		s.cur.settleNested()
	}
	c.poisonOld(s.old, s.cur)
	return s.old.drop(s.cur)
}

// tally adds the report of a rewrite to the counts.
func (c *cell) tally(rep *entry.Report) {
	r := &c.count.Rewrites
	switch rep.Verdict {
	case entry.VerdictNop:
		r.Nop++
	case entry.VerdictHitless:
		r.Hitless++
	default:
		r.Disruptive++
	}
	r.Stores += uint64(rep.Stores)
	r.Invalidations += uint64(rep.Invalidations)
	r.Waits += uint64(rep.Waits)
	r.WindowMax = max(r.WindowMax, rep.Done-rep.First)
}
