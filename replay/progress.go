package replay

import (
	"github.com/iommulab/iommulab/internal/seq"
)

// Progress is the state of one cell while it runs.
type Progress struct {
	IOMMU, Mode, Writer string
	To                  To
	Requests, Want      uint64
	Rewrites            uint64
	SimCycles           uint64
	Done                bool
}

// board is where cells publish their progress: each writes its own line, anybody reads all.
type board struct {
	lines []line
}

// line has the fixed part of a Progress and a sequence-counted slot for what changes.
type line struct {
	fixed Progress
	slot  seq.Value[moving]
}

// moving is the part of a Progress that changes.
type moving struct {
	Requests, Rewrites, SimCycles uint64
	Done                          bool
}

func newBoard(cells []cellSpec, want uint64) *board {
	b := &board{lines: make([]line, len(cells))}
	for i, s := range cells {
		b.lines[i].fixed = Progress{IOMMU: s.arch.name, Mode: s.mode.name, Writer: s.writer.Name(), To: s.to, Want: want}
	}
	return b
}

// snapshot returns a consistent state of each line.
func (b *board) snapshot() []Progress {
	out := make([]Progress, len(b.lines))
	for i := range b.lines {
		l := &b.lines[i]
		m := l.slot.Load()
		out[i] = l.fixed
		out[i].Requests, out[i].Rewrites, out[i].SimCycles, out[i].Done = m.Requests, m.Rewrites, m.SimCycles, m.Done
	}
	return out
}
