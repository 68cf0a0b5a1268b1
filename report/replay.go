package report

import "fmt"

// ReplaySchema names the document of a replay.
const ReplaySchema = "iommulab.replay/1"

// Replay is the result of replaying one trace through one or more units.
type Replay struct {
	Schema     string   `json:"schema"`
	Trace      Trace    `json:"trace"`
	Runs       []Run    `json:"runs"`
	Notes      []string `json:"notes,omitempty"`      // what a reader has to know to read the runs right
	Incomplete bool     `json:"incomplete,omitempty"` // interrupted: Runs has what was done
	Wall       Wall     `json:"wall"`
}

// NewReplay returns an empty result with its schema filled in.
func NewReplay() *Replay { return &Replay{Schema: ReplaySchema, Runs: []Run{}} }

// Trace identifies what was replayed.
type Trace struct {
	Name    string `json:"name"`
	Events  uint64 `json:"events"` // rows of the trace
	Bytes   uint64 `json:"bytes"`  // moved by its accesses
	Devices int    `json:"devices"`
	SHA256  string `json:"sha256"` // of the file
}

// Run is one cell: a unit in one mode, rewritten by one writer.
type Run struct {
	IOMMU    string `json:"iommu"`
	Mode     string `json:"mode"`
	Scenario string `json:"scenario"`
	Writer   string `json:"writer"`
	To       string `json:"to"`
	Preset   string `json:"preset"`
	Seed     uint64 `json:"seed"`

	Requests       uint64 `json:"requests"`         // transactions after the split at page and payload size
	Translated     uint64 `json:"translated"`       // answered with an address
	Faulted        uint64 `json:"faulted"`          // aborted although the trace's mapping state allows the access
	Wrong          uint64 `json:"wrong"`            // from neither the old nor the new entry and tables
	TornReads      uint64 `json:"torn_reads"`       // structures whose used bits were at no instant declared
	Stale          uint64 `json:"stale"`            // from the old entry by a tag read after the rewrite was complete
	NotApplicable  uint64 `json:"not_applicable"`   // accesses and requests that the trace's mappings or the mode do not allow
	MaxStallCycles uint64 `json:"max_stall_cycles"` // longest wait of a request for an invalidation at the tag port

	Rewrites   Rewrites   `json:"rewrites"`
	Latency    Latency    `json:"latency_sim_ns"`
	IOTLB      CacheUse   `json:"iotlb"`
	PASIDCache EntryCache `json:"pasid_cache"`
	Walks      Walks      `json:"walks"`
	Cycles     uint64     `json:"cycles"` // simulated length of the run

	// Added since: fields are only ever added, at the end.
	Late       uint64 `json:"late"`                 // from the old entry by a tag read in time, but visible in memory only after the rewrite was complete
	Repeated   uint64 `json:"repeated"`             // of the requests, those that a device repeated while the processor was behind
	Incomplete bool   `json:"incomplete,omitempty"` // interrupted: this is how far it came
}

// Broken says in which way a run contradicts itself, or is empty: rewrites that were all declared
// hitless, or no change at all, must not show in any request.
func (r *Run) Broken() string {
	seen := r.Faulted + r.Wrong + r.TornReads + r.Stale + r.Late
	if r.Rewrites.Disruptive > 0 || seen == 0 || r.Incomplete {
		return ""
	}
	return fmt.Sprintf("%s %s %s %s: %d rewrites declared hitless, but %d faulted, %d wrong, %d stale, %d late, %d torn",
		r.IOMMU, r.Mode, r.Writer, r.To, r.Rewrites.Count, r.Faulted, r.Wrong, r.Stale, r.Late, r.TornReads)
}

// Rewrites counts the rewrites of entries by verdict, and what they cost.
type Rewrites struct {
	Count           uint64 `json:"count"`
	Nop             uint64 `json:"nop"`
	Hitless         uint64 `json:"hitless"`
	Disruptive      uint64 `json:"disruptive"`
	Stores          uint64 `json:"stores"`
	Invalidations   uint64 `json:"invalidations"`
	Waits           uint64 `json:"waits"`
	WindowCyclesMax uint64 `json:"window_cycles_max"` // first store to declared completion
}

// Latency is the distribution of a time in simulated nanoseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

// CacheUse counts what a cache of translations did.
type CacheUse struct {
	Lookups     uint64 `json:"lookups"`
	Hits        uint64 `json:"hits"`
	Evictions   uint64 `json:"evictions"`
	Invalidated uint64 `json:"invalidated"`
}

// EntryCache counts what a cache of device or PASID entries did.
type EntryCache struct {
	Lookups   uint64 `json:"lookups"`
	Hits      uint64 `json:"hits"`
	Evictions uint64 `json:"evictions"`
}

// Walks counts table walks.
type Walks struct {
	Count       uint64 `json:"count"`
	MemoryReads uint64 `json:"memory_reads"`
	Merged      uint64 `json:"merged"` // requests that waited for the walk of another
}

// Wall is what was measured on the real machine. Nothing outside of it depends on the machine.
type Wall struct {
	Seconds           float64 `json:"seconds"`
	RequestsPerSecond float64 `json:"requests_per_second"`
}
