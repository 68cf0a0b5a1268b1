package replay

// Counts is what a run has counted so far. Requests are transactions after the split at page and
// payload boundaries.
type Counts struct {
	Requests      uint64
	Translated    uint64
	Faulted       uint64 // aborted by the unit although the trace's mappings allow the access
	Wrong         uint64
	TornReads     uint64
	Stale         uint64
	Late          uint64 // answered by the old entry in time, but visible only after declared completion
	NotApplicable uint64 // accesses that the trace's mappings or the mode do not allow
	Rewrites      RewriteCounts
}

// RewriteCounts is what the rewrites of a run did.
type RewriteCounts struct {
	Count, Nop, Hitless, Disruptive uint64
	Stores, Invalidations, Waits    uint64
	WindowMax                       uint64 // cycles from the first store to declared completion
}

// latency adds one request's cycles from issue to response.
func (c *cell) latency(cycles uint64) {
	c.latMax = max(c.latMax, cycles)
	c.latSum += cycles
	// The histogram's range ends far beyond what a run can last; a larger value counts as its end.
	_ = c.hist.RecordValue(int64(min(max(cycles, 1), 1<<36)))
}

// ratio is a/b, and 0 for an empty run.
func ratio(a float64, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return a / float64(b)
}
