package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Merging of event records, 3.5.5 and 7.3.1: an event that is like the last one in the queue, and follows it
// closely, is not written. Here that one must not have been read yet, so that software learns of the event.

// What is merged: values of Config.Merge.
const (
	MergeNone   = iota
	MergeMEV    // events of streams with STE.MEV
	MergeAlways // those, and the ones that come before a valid STE
)

// lastEvent is the record at the end of the event queue, and when it was written. All 0: none that counts.
type lastEvent struct {
	Record spec.Event
	At     uint64
}

// mergesInto reports whether the event that t wants recorded is represented by the last one in the queue.
func (u *Unit) mergesInto(t *emu.Txn) bool {
	last := &u.s.LastEvent
	if u.cfg.Merge == MergeNone || last.Record[0] == 0 || u.empty(&eventq) || !u.mayMerge(t) {
		return false
	}
	if c := u.pm.clock; c != nil && c.Now()-last.At > uint64(u.cfg.MergeWindow) {
		return false
	}
	e := (*spec.Event)(t.Entry[4:])
	return e[0] == last.Record[0] && e[1] == last.Record[1] && (e[2]^last.Record[2])&^inPage(e) == 0 && e[3] == last.Record[3]
}

// mayMerge reports whether the record in t.Entry is one that may be merged: never that of a stalled
// transaction, and after a valid STE was found as its MEV says.
func (u *Unit) mayMerge(t *emu.Txn) bool {
	e := (*spec.Event)(t.Entry[4:])
	switch n := uint64(e.Number()); n {
	case spec.EvUUT, spec.EvBadStreamID, spec.EvSTEFetch, spec.EvBadSTE:
		return u.cfg.Merge == MergeAlways
	case spec.EvCFGConflict, spec.EvPageRequest: // no one STE counts
		return false
	default:
		if isTranslationFault(n) && spec.EvtStall.On(e[1]) {
			return false
		}
	}
	return spec.SteV.On(t.Entry[0]) && spec.SteMEV.On(t.Entry[1])
}

// inPage are the bits of InputAddr in which events of a kind may differ.
func inPage(e *spec.Event) uint64 {
	switch n := uint64(e.Number()); {
	case n == spec.EvTranslForbidden, n == spec.EvWalkEABT, isTranslationFault(n), n == spec.EvTLBConflict:
		return emu.PageSize - 1
	}
	return 0
}

// eventWritten remembers the record that is now the last one in the queue.
func (u *Unit) eventWritten(t *emu.Txn) {
	if u.cfg.Merge == MergeNone {
		return
	}
	u.s.LastEvent = lastEvent{Record: spec.Event(t.Entry[4:])}
	if c := u.pm.clock; c != nil {
		u.s.LastEvent.At = c.Now()
	}
}
