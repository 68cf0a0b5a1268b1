package entry

import "slices"

// What Linux 7.3 does when a device moves to another domain, as far as the entry is concerned.

// linuxByWord tears an entry down by its presence, then sets it up from scratch with 8-byte stores, the
// presence last.
func linuxByWord(b *builder) {
	f, new := b.f, b.new()
	if f.Present(b.cur) {
		blocked := slices.Clone(b.cur)
		f.Block(blocked)
		b.words(blocked, false)
		b.sync(OpSyncAll)
	}
	if f.Present(new) {
		// A fresh entry is zeroed, filled, and made present.
		b.words(make([]uint64, f.Words), false)
		draft := slices.Clone(new)
		f.Block(draft)
		b.words(draft, false)
	}
	b.words(new, f.Present(new))
}

// words stores the words that differ from raw, in ascending order.
func (b *builder) words(raw []uint64, fence bool) {
	for i, v := range raw {
		b.word(i, v, fence)
	}
}

// linuxByCritical looks for the one word that decides: if all else of the new content can be filled in
// before it and cleaned up behind it, that is done; otherwise the entry becomes invalid first. Each of the
// three is an update that is waited for. (Linux does not drop translations here, but when their id is given up.)
func linuxByCritical(b *builder) {
	f, old, new := b.f, slices.Clone(b.cur), b.new()
	critical := f.critical(old, new)
	if len(critical) > 1 {
		invalid, built := slices.Clone(old), slices.Clone(new)
		clear(f.unit(invalid, 0))
		clear(f.unit(built, 0))
		b.units(invalid)
		b.sync(OpSyncAll)
		if b.units(built) {
			b.sync(OpSyncEntry)
		}
		b.units(new)
		return
	}
	if len(critical) == 1 {
		filled := f.fill(old, new)
		copy(f.unit(filled, critical[0]), f.unit(old, critical[0]))
		if b.units(filled) {
			b.sync(OpSyncEntry)
		}
		b.store(critical[0], f.unit(new, critical[0]))
		if !slices.Equal(b.cur, new) {
			b.sync(OpSyncEntry)
		}
	}
	b.units(new)
	if f.Present(old) {
		b.sync(OpSyncAll)
	}
}

// units stores the units that differ from raw, in ascending order, and reports whether there are any.
func (b *builder) units(raw []uint64) bool {
	n := len(b.steps)
	for u := range b.f.units() {
		b.store(u, b.f.unit(raw, u))
	}
	return len(b.steps) > n
}
