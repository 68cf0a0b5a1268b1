package traces

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report is what an import did with the lines it read.
type Report struct {
	Format     string         // "qemu" or "ftrace"
	Lines      int            // of the input
	Comments   int            // lines that are comments or empty
	Known      int            // lines with an event that the importer knows
	Ignored    int            // of these: say nothing that a trace holds, or repeat another line
	Events     int            // of the trace, derived ones included
	Derived    int            // of these: Map, Unmap and Attach events that no line states
	Malformed  int            // known events that could not be read (only if lenient)
	Reordered  int            // lines with a time before that of the line before; they take its time
	Lost       uint64         // events that the recorder says it lost
	Unknown    map[string]int // lines with other events, by name
	Skipped    map[string]int // known events that could not be used, by reason
	FirstError error          // the first malformed line (only if lenient)
}

func count(m *map[string]int, key string, n int) {
	if n == 0 {
		return
	}
	if *m == nil {
		*m = make(map[string]int)
	}
	(*m)[key] += n
}

// String lists the counts, one per line, in a fixed order. Zero counts beyond the first lines are left out.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d lines, %d known, %d ignored, %d events (%d derived)\n", r.Format, r.Lines, r.Known, r.Ignored, r.Events, r.Derived)
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"comments", uint64(r.Comments)}, {"malformed", uint64(r.Malformed)}, {"reordered", uint64(r.Reordered)}, {"lost by the recorder", r.Lost},
	} {
		if c.n > 0 {
			fmt.Fprintf(&b, "  %s: %d\n", c.name, c.n)
		}
	}
	if r.FirstError != nil {
		fmt.Fprintf(&b, "  first malformed: %v\n", r.FirstError)
	}
	for _, g := range []struct {
		name string
		m    map[string]int
	}{{"unknown", r.Unknown}, {"skipped", r.Skipped}} {
		for _, key := range slices.Sorted(maps.Keys(g.m)) {
			fmt.Fprintf(&b, "  %s: %s: %d\n", g.name, key, g.m[key])
		}
	}
	return b.String()
}
