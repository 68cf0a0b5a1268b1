package emu

// Access is a set of rights: what a request wants, or what a translation grants.
type Access uint8

// The rights, and the request attributes that travel with them.
const (
	Read             Access = 1 << iota // memory read
	Write                               // memory write
	Exec                                // read marked executable (PASID prefix bit, ATS 10.2)
	Priv                                // privileged mode requested (PASID prefix bit)
	Atomic                              // AtomicOp: needs Read and Write at once
	NoWrite                             // translation request only: the requester will not write (NW)
	UntranslatedOnly                    // translation completion only: use untranslated requests for this range (U)
	Global                              // translation completion only: the translation holds for all PASIDs (Global)
)

// RW is read and write.
const RW = Read | Write

// String returns the rights as letters in the order RWXPANUG, "-" when empty.
func (a Access) String() string {
	const letters = "RWXPANUG"
	var b [len(letters)]byte
	n := 0
	for i := range len(letters) {
		if a&(1<<i) != 0 {
			b[n] = letters[i]
			n++
		}
	}
	if n == 0 {
		return "-"
	}
	return string(b[:n])
}

// ReqType says what is asked of the unit.
type ReqType uint8

// Request types. The first three are the values of the PCIe AT field.
const (
	Untranslated   ReqType = iota // AT=00: an ordinary DMA
	TranslationReq                // AT=01: an ATS translation request
	Translated                    // AT=10: the address was translated by an earlier ATS request
	PageRequest                   // a PRI page request message
	Job                           // an internal engine of the unit; Request.Job names it
)

// Request is one transaction as it arrives at a unit. It lies within one 4 KiB page; devices split
// longer ones.
type Request struct {
	Addr   IOVA
	Source SourceID
	PASID  PASID
	Len    uint32 // bytes; 0 is a zero-length read
	Access Access
	Type   ReqType
	Job    Engine // Type == Job: which; of a translation that an engine makes for software: that engine; else 0
	Data   uint32 // payload of a 4-byte write that may be an interrupt; of a page request see MakePRG, MakeHint
}

// MakePRG packs what a page request message carries besides its address and access (PCIe 10.4.1):
// the page request group index, 9 bits, and whether this is the last request of the group. A last
// request without rights is a stop marker.
func MakePRG(index uint16, last bool) uint32 {
	d := uint32(index & 0x1ff)
	if last {
		d |= 1 << 9
	}
	return d
}

// PRG returns the group index and the last flag of a page request.
func (q *Request) PRG() (index uint16, last bool) { return uint16(q.Data & 0x1ff), q.Data>>9&1 != 0 }

// MakeHint packs what a page request carries that is a hint only: that so many pages from its address on will
// be accessed soon. Nobody answers it. It is for units whose architecture has such hints.
func MakeHint(pages uint8) uint32 { return hintFlag | uint32(pages)<<16 }

const hintFlag = 1 << 31

// Hint returns the number of pages of a page request that is a hint.
func (q *Request) Hint() (pages uint8, ok bool) { return uint8(q.Data >> 16), q.Data&hintFlag != 0 }

// Status is how a request ended.
type Status uint8

// The ends of a request.
const (
	Pending   Status = iota // not ended; of a result, the unit holds the request until software lets it go
	OK                      // translated, or passed through
	Blocked                 // aborted by the unit; Result.Fault says why
	Interrupt               // the write was an interrupt message, delivered as Result.PA and Data
	Posted                  // the write was an interrupt that was posted to memory; no message follows
)

// Provenance says where a translation came from, so that a stale or torn one is recognised by its
// origin and not by a lucky equal address. Versions are opaque words of a unit: two are equal if
// and only if the fields of the entry that steer translation are equal.
type Provenance struct {
	Entry uint64 // version of the device or PASID entry this request used
	Fill  uint64 // version of the entry in force when the cached translation was filled
	Leaf  PA     // address of the leaf paging entry; 0 when none was needed
	Leaf2 PA     // nested: address of the second-stage leaf of the output; else 0
}

// Result is the outcome of a request.
type Result struct {
	PA      PA
	Data    uint32 // Interrupt: the remapped payload
	Status  Status
	Lg2     uint8    // log2 bytes of the translation's page; 64 for pass-through
	Perm    Access   // rights the translation grants
	Touched CacheSet // caches that were looked up on the way
	Snoop   bool     // translation completion: requests that use it must snoop (N)
	Attr    uint16   // memory attributes of the access, in an encoding of the unit's; 0: it does not say
	Fault   Fault    // valid when Status == Blocked
	Prov    Provenance
}

// Fault is an architectural fault as data: no allocation, no error value.
type Fault struct {
	Code    uint16 // the architecture's own number
	Step    Step   // the step of the specification that raised it
	Quiet   bool   // not recorded, by rule (fault processing disabled, unrecorded class)
	Dropped bool   // should have been recorded, but the log had no room
	Abort   bool   // completed as Completer Abort (CA), not as Unsupported Request (UR)
	RAZ     bool   // completed as if nothing were wrong: a read returns zeros, a write is ignored
	Source  SourceID
	PASID   PASID
	Addr    IOVA
	At      PA // structure or paging entry that raised it; 0 if none
}
