package traces

// Filter returns a copy of t with the events for which keep is true. Leaving mappings out makes accesses
// fault: filter by space or by kind, not by time; see Window for that.
func Filter(t *Trace, keep func(*Event) bool) *Trace {
	out := &Trace{Header: *t.Header.Clone()}
	for i := range t.Events {
		if keep(&t.Events[i]) {
			out.Events = append(out.Events, t.Events[i])
		}
	}
	out.setDevices()
	return out
}
