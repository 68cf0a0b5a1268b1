package traces

import (
	"slices"
	"strconv"

	"github.com/iommulab/iommulab/emu"
)

// Window returns the events of t with from <= time < to (ns; to 0 = the end), moved so that the window
// starts at time 0. Before them, at time 0, come the attachments and the mappings in force at from, so that
// the window replays by itself.
func Window(t *Trace, from, to uint64) *Trace {
	var state Mappings
	attached := make(map[Space]Event)
	i := 0
	for ; i < len(t.Events) && t.Events[i].Time < from; i++ {
		e := &t.Events[i]
		state.Apply(e)
		if e.Kind == Attach {
			attached[Space{e.SID, e.PASID}] = *e
		}
	}
	out := &Trace{Header: *t.Header.Clone()}
	var spaces []Space
	for s := range attached {
		spaces = append(spaces, s)
	}
	slices.SortFunc(spaces, compareSpaces)
	for _, s := range spaces {
		e := attached[s]
		e.Time = 0
		out.Events = append(out.Events, e)
	}
	for _, s := range state.Spaces() {
		for _, m := range state.Of(s) {
			out.Events = append(out.Events, m.event(s))
		}
	}
	inForce := len(out.Events)
	for ; i < len(t.Events) && (to == 0 || t.Events[i].Time < to); i++ {
		e := t.Events[i]
		e.Time -= from
		out.Events = append(out.Events, e)
	}
	if from > 0 || i < len(t.Events) {
		end := "the end"
		if to != 0 {
			end = strconv.FormatUint(to, 10) + " ns"
		}
		out.Header.addNote("window: " + uitoa(from) + " ns to " + end + " of the source, " +
			strconv.Itoa(inForce) + " attachments and mappings in force put before it")
	}
	out.setDevices()
	return out
}

// event returns the Map event that makes m, at time 0.
func (m *Mapping) event(s Space) Event {
	return Event{Kind: Map, SID: s.SID, PASID: s.PASID, IOVA: m.IOVA, Len: m.Len, PA: m.PA, HasPA: m.HasPA, Perm: m.Perm}
}

// setDevices lists the requesters that occur.
func (t *Trace) setDevices() {
	t.Header.Devices = nil
	var last emu.SourceID = NoSID
	for i := range t.Events {
		if sid := t.Events[i].SID; sid != last {
			t.Header.addDevice(sid)
			last = sid
		}
	}
}
