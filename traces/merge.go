package traces

import (
	"strconv"

	"github.com/iommulab/iommulab/emu"
)

// Merge combines two traces of the same run. offset is what has to be added to the times of b, in ns, to
// have them on the clock of a; it has to be stated, since nothing in the traces tells it. Times of b that
// come out negative move everything up. Events of equal time stay in order, those of a first.
func Merge(a, b *Trace, offset int64) (*Trace, error) {
	var shiftA, shiftB uint64
	if offset < 0 {
		shiftA = -uint64(offset)
		if len(b.Events) == 0 || b.Events[0].Time >= shiftA {
			shiftA, shiftB = 0, uint64(offset) // wraps, and the sum comes out right
		}
	} else {
		shiftB = uint64(offset)
	}
	for _, c := range []struct {
		t     *Trace
		shift uint64
	}{{a, shiftA}, {b, shiftB}} {
		if n := len(c.t.Events); n > 0 && int64(c.shift) > 0 && c.t.Events[n-1].Time+c.shift < c.shift {
			return nil, &Error{Offset: int64(n - 1), Field: "event time", Want: "less than 2^64 after the shift", Got: c.t.Events[n-1].Time}
		}
	}
	out := &Trace{Header: *a.Header.Clone(), Events: make([]Event, 0, len(a.Events)+len(b.Events))}
	h := &out.Header
	h.mergeText(&b.Header)
	h.addNote("merged: clock offset " + strconv.FormatInt(offset, 10) + " ns")
	marks := emu.PA(len(a.Header.Marks))
	i, j := 0, 0
	for i < len(a.Events) || j < len(b.Events) {
		if j == len(b.Events) || (i < len(a.Events) && a.Events[i].Time+shiftA <= b.Events[j].Time+shiftB) {
			e := a.Events[i]
			e.Time += shiftA
			out.Events = append(out.Events, e)
			i++
			continue
		}
		e := b.Events[j]
		e.Time += shiftB
		if e.Kind == Marker && e.HasPA {
			e.PA += marks
		}
		out.Events = append(out.Events, e)
		j++
	}
	return out, nil
}

// mergeText adds what b says to h.
func (h *Header) mergeText(b *Header) {
	if h.IOMMU == "" {
		h.IOMMU = b.IOMMU
	}
	if b.Source != "" && b.Source != h.Source {
		if h.Source != "" {
			h.Source += " + "
		}
		h.Source += b.Source
	}
	h.Synthetic = h.Synthetic || b.Synthetic
	for _, d := range b.Devices {
		h.addDevice(d)
	}
	h.Marks = append(h.Marks, b.Marks...)
	for _, n := range b.Notes {
		h.addNote(n)
	}
}
