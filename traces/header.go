package traces

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Version is the version of the trace model that this package writes and the only one that it reads.
const Version = 1

// Header describes a trace as a whole.
type Header struct {
	Version   int            `json:"version"`
	IOMMU     string         `json:"iommu,omitempty"`     // unit it was recorded on: "vtd", "amdvi", "smmuv3", empty if none
	Source    string         `json:"source,omitempty"`    // what made it, for people
	Clock     string         `json:"clock,omitempty"`     // what its times come from: "mono", "utc", "line", "synthetic", ...
	Start     string         `json:"start,omitempty"`     // what that clock showed at time 0, for people and for merging
	Seed      uint64         `json:"seed,omitempty"`      // of the generator
	Synthetic bool           `json:"synthetic,omitempty"` // accesses were made up, at least in part
	Devices   []emu.SourceID `json:"devices,omitempty"`   // requesters, ascending; empty if not known beforehand
	Marks     []string       `json:"marks,omitempty"`     // texts of Marker events
	Notes     []string       `json:"notes,omitempty"`     // free text, one line each
}

// Clone returns a copy that shares nothing with h.
func (h *Header) Clone() *Header {
	c := *h
	c.Devices = slices.Clone(h.Devices)
	c.Marks = slices.Clone(h.Marks)
	c.Notes = slices.Clone(h.Notes)
	return &c
}

// Mark returns the text of a Marker event, or "" if it has none.
func (h *Header) Mark(e *Event) string {
	if e.Kind != Marker || !e.HasPA || uint64(e.PA) >= uint64(len(h.Marks)) {
		return ""
	}
	return h.Marks[e.PA]
}

// addDevice keeps Devices sorted and unique.
func (h *Header) addDevice(sid emu.SourceID) {
	if sid == NoSID {
		return
	}
	if i, found := slices.BinarySearch(h.Devices, sid); !found {
		h.Devices = slices.Insert(h.Devices, i, sid)
	}
}

// addNote adds a note once.
func (h *Header) addNote(s string) {
	if !slices.Contains(h.Notes, s) {
		h.Notes = append(h.Notes, s)
	}
}

// normalize fills the version in and reports what cannot be written.
func (h *Header) normalize() (*Header, error) {
	c := h.Clone()
	if c.Version == 0 {
		c.Version = Version
	}
	if c.Version != Version {
		return nil, &Error{Field: "version", Want: "1", Got: c.Version}
	}
	return c, nil
}
