package replay

import "github.com/iommulab/iommulab/emu"

// poison is what tables are overwritten with that are no longer used, so that a walk that still uses one
// ends somewhere recognisable: at a page that leads to itself, with all rights.
type poison struct {
	// bits grants everything. Nested: read as an entry of either stage.
	bits uint64
	// down, where entries tell how far down they lead, has that of one in a table of a level. Then there is
	// a page for each level, which leads to the next lower one.
	down func(level uint8) uint64
}

// poisonLevels is how many levels the tables of any format have at most, and poisonLg2 the size of as
// many pages.
const (
	poisonLevels = 6
	poisonLg2    = emu.PageShift + 3
)

// layPoison prepares the pages that poisoned tables lead to.
func (c *cell) layPoison() error {
	c.poisonAt = c.lay.guestPoison()
	if !c.mode.nested {
		var err error
		if c.poisonAt, err = c.frames.Alloc(poisonLg2); err != nil {
			return err
		}
	}
	for level := range uint8(poisonLevels) {
		c.fill(c.poisonAt+emu.PA(level)*emu.PageSize, c.poison(level))
	}
	return nil
}

// poison returns what the entries of a table of a level become.
func (c *cell) poison(level uint8) uint64 {
	p := &c.mode.poison
	if p.down == nil {
		return uint64(c.poisonAt) | p.bits
	}
	return uint64(c.poisonAt) + uint64(max(level, 1)-1)*emu.PageSize | p.bits | p.down(level)
}

// poisonOld poisons every table that old had and cur does not have. The lab does this behind the host's
// back, in the cycle in which the rewrite was declared complete.
func (c *cell) poisonOld(old, cur *generation) {
	c.poisonTables(old.tables, cur.tables)
	if old.vm != nil && old.vm != cur.vm {
		c.poisonTables(old.vm.tables, nil)
	}
}

func (c *cell) poisonTables(tables, keep tableSet) {
	for pa, level := range tables {
		if !keep.holds(pa) {
			c.fill(pa, c.poison(level))
		}
	}
}

// fill makes every entry of the page at pa a word.
func (c *cell) fill(pa emu.PA, word uint64) {
	v := [4]uint64{word, word, word, word}
	for off := emu.PA(0); off < emu.PageSize; off += 32 {
		c.m.Memory().Store(pa+off, 32, &v)
	}
}
