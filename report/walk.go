package report

// WalkSchema names the document of a walk.
const WalkSchema = "iommulab.walk/1"

// Walk is the result of translating a list of requests against a snapshot.
type Walk struct {
	Schema       string           `json:"schema"`
	Checked      uint64           `json:"checked"` // requests with an expectation
	Agree        uint64           `json:"agree"`   // those of Deviations included
	Differ       uint64           `json:"differ"`
	Differences  []WalkDifference `json:"differences"`
	Deviations   []WalkDeviation  `json:"deviations,omitempty"`
	Translations []Translation    `json:"translations,omitempty"` // of requests without an expectation
	Incomplete   bool             `json:"incomplete,omitempty"`
	Wall         Wall             `json:"wall"`
}

// NewWalk returns an empty result with its schema filled in.
func NewWalk() *Walk { return &Walk{Schema: WalkSchema, Differences: []WalkDifference{}} }

// Translation is one request and what became of it. Numbers that people write in hexadecimal are
// strings as "0x10".
type Translation struct {
	Line      int    `json:"line"`  // of the list
	SID       string `json:"sid"`   //
	PASID     string `json:"pasid"` // empty: none
	IOVA      string `json:"iova"`  //
	Access    string `json:"access"`
	Result    string `json:"result"`               // "ok" or "fault"; of an interrupt "interrupt", "posted" or "fault"
	PA        string `json:"pa,omitempty"`         // if ok; of an interrupt the message's address, or the descriptor posted to
	Perm      string `json:"perm,omitempty"`       // if ok
	PageSize  string `json:"page_size,omitempty"`  // if ok and translated
	Memory    string `json:"memory,omitempty"`     // if ok: attributes, if the unit has any
	Fault     string `json:"fault,omitempty"`      // if fault: its name
	FaultCode string `json:"fault_code,omitempty"` // if fault
	Data      string `json:"data,omitempty"`       // of an interrupt message
}

// WalkDifference is a request whose result is not what the oracle says.
type WalkDifference struct {
	Translation
	Expect   string `json:"expect"`              // "ok" or "fault"
	ExpectPA string `json:"expect_pa,omitempty"` // if ok
}

// WalkDeviation is a known way in which whoever recorded a snapshot departs from the specification, and
// how many expectations are met only with it.
type WalkDeviation struct {
	Recorder string `json:"recorder"`
	What     string `json:"what"`   // what it does, and what should be
	Clause   string `json:"clause"` // where that is written
	Agree    uint64 `json:"agree"`
}
