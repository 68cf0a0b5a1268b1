package report

// ConformSchema names the document of a comparison with another machine.
const ConformSchema = "iommulab.conform/1"

// Conform is the result of running programs on our machine and on another one.
type Conform struct {
	Schema     string        `json:"schema"`
	Peer       string        `json:"peer"` // the other machines
	Seed       uint64        `json:"seed"` // what the seeds of the programs come from
	Modes      []ConformMode `json:"modes"`
	Incomplete bool          `json:"incomplete,omitempty"` // interrupted: Modes has what was done
	Wall       ConformWall   `json:"wall"`
}

// NewConform returns an empty result with its schema filled in.
func NewConform() *Conform { return &Conform{Schema: ConformSchema, Modes: []ConformMode{}} }

// ConformMode is what the programs of one mode of a unit showed.
type ConformMode struct {
	IOMMU        string              `json:"iommu"`
	Mode         string              `json:"mode"`
	Programs     int                 `json:"programs"` // generated ones
	Legal        int                 `json:"legal"`    // of these, without mistakes of software
	Directed     int                 `json:"directed"` // written by hand, run besides
	Ended        int                 `json:"ended"`    // programs that a deviation has ended early
	Steps        int                 `json:"steps"`
	DMAs         int                 `json:"dmas"`
	DMAsDone     int                 `json:"dmas_done"` // that were carried out on our machine
	Differences  []ConformDifference `json:"differences"`
	Deviations   []ConformDeviation  `json:"deviations"`              // known ones, that were seen
	Gone         []string            `json:"gone"`                    // known ones that no program has shown
	NotExpressed []string            `json:"not_expressed,omitempty"` // capabilities of the other unit that ours does not have
	Notes        []string            `json:"notes,omitempty"`         // what a reader has to know to read the rest right
}

// ConformDifference is a program whose results differ for no known reason.
type ConformDifference struct {
	Program string   `json:"program"` // its seed, or its file
	Step    int      `json:"step"`    // of the program; -1 is power-on, its length the memory at the end
	Differs []string `json:"differs"`
	Steps   int      `json:"steps"`          // of the shrunken program
	File    string   `json:"file,omitempty"` // with the shrunken program
}

// ConformDeviation counts how often a known deviation was seen.
type ConformDeviation struct {
	ID       string `json:"id"`
	Right    string `json:"right"`    // who follows the specification: ours, theirs, either, unclear
	Programs int    `json:"programs"` // that showed it
	Steps    int    `json:"steps"`    // that showed it
}

// ConformWall is what was measured on the real machine.
type ConformWall struct {
	Seconds           float64 `json:"seconds"`
	ProgramsPerMinute float64 `json:"programs_per_minute"`
}

// Holds reports whether the machines differ only in known ways, and in all of them.
func (c *Conform) Holds() bool {
	for i := range c.Modes {
		if len(c.Modes[i].Differences) > 0 || len(c.Modes[i].Gone) > 0 {
			return false
		}
	}
	return true
}
