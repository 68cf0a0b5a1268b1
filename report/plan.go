package report

// PlanSchema names the document of a plan.
const PlanSchema = "iommulab.plan/1"

// Plan is how one entry is rewritten.
type Plan struct {
	Schema      string     `json:"schema"`
	IOMMU       string     `json:"iommu"`
	Kind        string     `json:"kind"`
	Verdict     string     `json:"verdict"`     // "nop", "hitless" or "disruptive"
	Transparent bool       `json:"transparent"` // neither end blocks requests
	Reason      string     `json:"reason"`      // why it is disruptive
	Syncs       int        `json:"syncs"`       // groups of invalidations that are waited for, of the entry's rewrite itself
	Steps       []PlanStep `json:"steps"`
	States      []string   `json:"states"` // the entry's bytes after each step, as they lie in memory

	Variant  string        `json:"variant,omitempty"` // of a page table: its format
	Writer   string        `json:"writer"`
	Assumes  []string      `json:"assumes"`            // what the plan rests on
	Illegal  []string      `json:"illegal,omitempty"`  // what hardware refuses of the two contents, if that was forced
	Verified *Verification `json:"verified,omitempty"` // what was found on the unit, if that was asked for
}

// NewPlan returns an empty plan with its schema filled in.
func NewPlan() *Plan {
	return &Plan{Schema: PlanSchema, Steps: []PlanStep{}, States: []string{}, Assumes: []string{}}
}

// PlanStep is one thing that software does.
type PlanStep struct {
	Op     string `json:"op"`               // "store", "invalidate" or "wait"
	Offset *int   `json:"offset,omitempty"` // of a store: bytes from the start of the entry
	Size   int    `json:"size,omitempty"`   // bytes
	Value  string `json:"value,omitempty"`  // the number that is stored, little-endian
	Fence  bool   `json:"fence,omitempty"`  // all stores before it must be visible first
	Swap   bool   `json:"swap,omitempty"`   // the store is a compare-and-swap: hardware may mark the entry meanwhile
	What   string `json:"what,omitempty"`   // of an invalidation: the command
	Why    string `json:"why,omitempty"`    // if it was asked for
}

// Verification is what the exploration of one rewrite found.
type Verification struct {
	Verdict        string `json:"verdict"` // "nop", "hitless", "disruptive" or "unsafe"
	Transparent    bool   `json:"transparent"`
	States         int    `json:"states"`
	Counterexample string `json:"counterexample"` // or empty
	From           string `json:"from"`           // how a request ends under the old entry
	To             string `json:"to"`             // and under the new one
}

// HitlessSchema names the document of the matrix.
const HitlessSchema = "iommulab.hitless/1"

// Hitless is the matrix of rewrites.
type Hitless struct {
	Schema     string        `json:"schema"`
	Cells      []HitlessCell `json:"cells"`
	Incomplete bool          `json:"incomplete,omitempty"`
	Wall       HitlessWall   `json:"wall"`
}

// NewHitless returns an empty matrix with its schema filled in.
func NewHitless() *Hitless { return &Hitless{Schema: HitlessSchema, Cells: []HitlessCell{}} }

// HitlessCell is one rewrite by one writer.
type HitlessCell struct {
	IOMMU          string `json:"iommu"`
	Kind           string `json:"kind"`
	From           string `json:"from"` // form
	To             string `json:"to"`
	Writer         string `json:"writer"`
	Verdict        string `json:"verdict"` // as in Verification
	Transparent    bool   `json:"transparent"`
	States         int    `json:"states"`
	Counterexample string `json:"counterexample"`

	Variant string `json:"variant,omitempty"` // of a page table: its format

	Claim  string `json:"claim"`  // what the writer says
	Reason string `json:"reason"` // why it says that it is not hitless
	Syncs  int    `json:"syncs"`
}

// Broken reports whether the writer claims what was not found. Who says that a rewrite is disruptive
// promises nothing.
func (c *HitlessCell) Broken() bool {
	return c.Claim != c.Verdict && !(c.Claim == "disruptive" && c.Verdict != "nop")
}

// HitlessWall is what was measured on the real machine.
type HitlessWall struct {
	Seconds float64 `json:"seconds"`
}
