package entry

import (
	"slices"

	amdvi "github.com/iommulab/iommulab/emu/amdvi/spec"
)

// linuxDTE blocks the device (V=1, TV=0) and waits, then sets the entry up. Each
// of the two is an update in whole units that is waited for; the flush of device and domain follows.
func linuxDTE(b *builder) {
	f, new := b.f, b.new()
	if f.Present(b.cur) && f.Present(new) {
		blocked := slices.Clone(b.cur)
		f.Block(blocked)
		amdvi.DteGuestPagingMode.Set(blocked, 0)
		b.updateDTE(blocked)
		b.sync(OpSyncAll)
	}
	b.updateDTE(new)
	if !f.Present(new) {
		b.sync(OpSyncAll)
	}
}

// linuxGCR3 clears the entry and sets it up: when a PASID moves. Each of the two is one
// store and a flush of the PASID.
func linuxGCR3(b *builder) {
	if b.f.Present(b.cur) {
		b.word(0, 0, false)
		b.sync(OpSyncAll)
	}
	if b.f.Present(b.new()) {
		b.word(0, b.new()[0], false)
		b.sync(OpSyncAll)
	}
}

// updateDTE stores both units, in the order in which no half-way state is used: the upper one, which has
// GuestPagingMode, first where the old content has no guest tables, last where the new one has none.
func (b *builder) updateDTE(to []uint64) {
	upperFirst := !amdvi.DteV.On(b.cur[0]) || amdvi.DteV.On(to[0]) && !amdvi.DteGV.On(b.cur[0])
	if upperFirst {
		b.whole(1, to)
	}
	b.whole(0, to)
	if !upperFirst {
		b.whole(1, to)
	}
	b.sync(OpSyncEntry)
}
