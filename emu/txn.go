package emu

// Frame is one level of a page walk in progress. A nested walk uses two: the first stage in
// Frame[0], the second stage that resolves one of its table addresses in Frame[1].
type Frame struct {
	Table PA     // table page being indexed
	In    uint64 // input address of this stage
	Entry uint64 // the paging entry last read
	At    PA     // where it was read
	Perm  Access // rights and-ed over the levels so far
	Level int8   // level of Table; 0 holds the smallest leaves
	Lg2   uint8  // log2 bytes of the leaf found
	Ret   uint16 // unit state to continue with when this stage is done
}

// Txn is one transaction in flight: a translation or an engine's job. It is plain data without
// pointers, lives in an executor's slab, and may be copied, compared and stored at any question.
type Txn struct {
	Act Act       // the question, left by Unit.Step
	In  [4]uint64 // the answer's data
	Ans Answer    // the answer's kind

	Solo   bool   // set by the executor: no other transaction is under way and no question is watched, so the unit need not ask for slots, or for what its entry caches hold
	Marked bool   // set by the executor: an invalidation matched it, its fills are dropped
	State  uint16 // the unit's program counter
	Wake   Wake   // engines that the last Step woke; the executor consumes it

	// What an invalidation can match, as far as it is known. Set by the unit.
	Tag     Tag
	Known   Known
	Uses    CacheSet // caches whose entries t may have used; 0: all but CacheInterrupt
	Classes uint32   // classes besides that of Tag, bit i for class i, whose cached entries of the domain t may have used

	Req Request
	Res Result

	// The unit's scratch.
	Frame [2]Frame
	Entry [8]uint64 // structure being assembled, low word first
	At    PA        // address of that structure
	Ver   uint64    // version of the entry in force, for Provenance
	Aux   [4]uint64
}

// Known says which parts of Txn.Tag are settled. A part that is not matches every selector, once
// the transaction has begun to read (KnownLive).
type Known uint8

// The parts.
const (
	KnownLive   Known = 1 << iota // has read memory or a cache: an invalidation may concern it
	KnownDomain                   // Tag.Domain and Tag.Class are settled
	KnownIndex                    // Tag.Domain is an index of the interrupt table, which MatchAddress compares
)

// Matches reports whether an invalidation by s concerns what t has read so far. It errs on the
// side of true. A selector without caches concerns transactions whatever they use. The address is
// not looked at, but for the index of an interrupt: until the leaf is read its size is unknown, and a
// walk to a neighbour may hold a table pointer that the invalidation must catch.
func (t *Txn) Matches(s *Selector) bool {
	if s.Match&MatchType != 0 {
		return t.Req.Type == s.Type
	}
	if t.Known&KnownLive == 0 || t.Req.Type == Job {
		return false
	}
	if s.Caches != 0 && s.Caches&t.uses() == 0 {
		return false
	}
	if s.Match&MatchSource != 0 && (t.Req.Source^s.Source)&^s.SourceMask != 0 {
		return false
	}
	if i := uint64(t.Tag.Domain()); t.Known&KnownIndex != 0 && s.Match&MatchAddress != 0 && (i < s.First || i > s.Last) {
		return false
	}
	if t.Known&KnownDomain == 0 {
		return true
	}
	if s.Match&MatchDomain != 0 && t.Tag.Domain() != s.Domain {
		return false
	}
	if s.Match&MatchPASID != 0 && !t.mayUsePASID(s) {
		return false
	}
	return s.Match&MatchClass == 0 || s.Classes&(1<<t.Tag.Class()|t.Classes) != 0
}

// uses returns the caches whose entries t may have used.
func (t *Txn) uses() CacheSet {
	if t.Uses == 0 {
		return AllCaches &^ CacheInterrupt.Set()
	}
	return t.Uses
}

// mayUsePASID reports whether t may have used what s drops of its PASID. Cached PASID entries are
// found by the PASID of the request, or by one that the device entry gives to requests without;
// translations by the tag.
func (t *Txn) mayUsePASID(s *Selector) bool {
	if s.Caches.Has(CachePASID) {
		return t.Req.PASID == NoPASID || t.Req.PASID == s.PASID
	}
	return t.Tag.PASID() == s.PASID
}

// Resumes reports whether an OpResume with selector s concerns the transaction that is held under a key:
// by MatchSource, MatchDomain and MatchClass, others restrict nothing.
func (s *Selector) Resumes(held *Key) bool {
	switch {
	case s.Match&MatchSource != 0 && (SourceID(held.Addr)^s.Source)&^s.SourceMask != 0,
		s.Match&MatchDomain != 0 && held.Tag.Domain() != s.Domain,
		s.Match&MatchClass != 0 && s.Classes>>held.Tag.Class()&1 == 0:
		return false
	}
	return true
}
