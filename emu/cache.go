package emu

// CacheID names a cache of a unit. The names are roles; a unit may lack any of them.
type CacheID uint8

// The caches a unit may have.
const (
	CacheEntry     CacheID = iota // device entries, keyed by source
	CachePASID                    // PASID entries, keyed by source and PASID
	CacheIOTLB                    // translations
	CacheWalk                     // paging-structure entries of the only or first stage, all levels
	CacheWalk2                    // paging-structure entries of a second stage, all levels
	CacheStage2                   // second-stage translations of a nested walk
	CacheInterrupt                // interrupt-remapping entries
	NumCaches
)

// CacheSet is a set of CacheIDs.
type CacheSet uint8

// Set returns the set with only c in it.
func (c CacheID) Set() CacheSet { return 1 << c }

// Has reports whether c is in s.
func (s CacheSet) Has(c CacheID) bool { return s&(1<<c) != 0 }

// AllCaches is every cache.
const AllCaches CacheSet = 1<<NumCaches - 1

// Tag is what a cache compares besides the address: class, domain and PASID in one word.
//
//	 msb                                                 lsb
//	| class 63:56 | 0 55:53 | pasid valid 52 | pasid 51:32 | domain 31:0 |
type Tag uint64

// Class separates kinds of entries that must not hit each other although domain, PASID and address
// agree, such as first-stage and second-stage translations. Values are a unit's own, 0 to 31.
type Class uint8

// MakeTag packs a tag. p may be NoPASID.
func MakeTag(c Class, domain uint32, p PASID) Tag {
	t := Tag(c)<<56 | Tag(domain)
	if p != NoPASID {
		t |= 1<<52 | Tag(p&MaxPASID)<<32
	}
	return t
}

// Class returns the class of the tag.
func (t Tag) Class() Class { return Class(t >> 56) }

// Domain returns the domain of the tag.
func (t Tag) Domain() uint32 { return uint32(t) }

// PASID returns the PASID of the tag, or NoPASID.
func (t Tag) PASID() PASID {
	if t&(1<<52) == 0 {
		return NoPASID
	}
	return PASID(t>>32) & MaxPASID
}

// Key addresses an entry of a cache: for CacheIOTLB and the walk caches Addr is the full input
// address, for CacheEntry and CachePASID it is the SourceID and the tag's domain is 0 (the owning
// domain comes with Fill, in Act.Attr), for CacheInterrupt it is the index.
type Key struct {
	Tag  Tag
	Addr uint64
}

// Match says which fields of a Selector restrict it. A field without its bit matches anything.
type Match uint8

// The restrictions.
const (
	MatchDomain  Match = 1 << iota
	MatchPASID         // entries tagged with exactly this PASID (NoPASID included)
	MatchSource        // (source ^ Selector.Source) &^ Selector.SourceMask == 0
	MatchAddress       // the entry's span intersects [First, Last]
	MatchClass         // the entry's class is in Selector.Classes
	MatchKind          // the kind of the entry is in Selector.Kinds; of translations and paging structures only
	MatchType          // transactions of Selector.Type, those on their way to the unit included; no entry of a cache
)

// Selector says what an invalidation drops. The zero Match drops everything in Caches.
type Selector struct {
	Caches     CacheSet
	Match      Match
	Classes    uint32 // bit i: class i
	Kinds      uint32 // bit i: kind i
	Domain     uint32
	PASID      PASID
	Source     SourceID
	SourceMask SourceID // bits of the source that do not matter
	First      uint64   // inclusive; addresses, or interrupt indices
	Last       uint64   // inclusive
	Type       ReqType
}

// Cache is one cache of a unit, as executors answer Probe, Fill and Invalidate from it.
// Implementations are in packages iotlb and pasid. No method allocates.
type Cache interface {
	// Probe looks key up, counts the look-up and touches the entry found.
	Probe(key *Key, val *[4]uint64) bool
	// Fill inserts or replaces the value of key; lg2 is log2 of the bytes it covers (walk caches:
	// of the region below the cached table). attr is the owning domain for caches keyed by source; for
	// translations and paging structures it is their kind, 0 to 31, which no look-up compares.
	Fill(key *Key, lg2 uint8, attr uint32, val *[4]uint64)
	// Invalidate drops the entries that match. The selector's Caches field is not looked at.
	Invalidate(s *Selector)
	// Reset empties the cache and keeps its statistics.
	Reset()
	// Stats returns the counters since creation.
	Stats() CacheStats
}

// Overlapping is a Cache that can tell that more than one entry covers a key.
type Overlapping interface {
	// Overlaps reports whether an entry of more than 2^lg2 bytes covers key; of paging structures, whether one
	// of a region of at most 2^lg2 bytes does. It counts nothing.
	Overlaps(key *Key, lg2 uint8) bool
}

// Overlaps reports whether an entry that covers 2^lg2 bytes is one that the OpOverlap in a asks about: a larger
// one, or a paging structure of a region that is no larger.
func (a *Act) Overlaps(lg2 uint8) bool {
	if a.Cache == CacheWalk || a.Cache == CacheWalk2 {
		return lg2 <= a.Lg2
	}
	return lg2 > a.Lg2
}

// OverlapAnswer answers the OpOverlap in a from c, which may be nil.
func OverlapAnswer(c Cache, a *Act) Answer {
	if o, ok := c.(Overlapping); ok && o.Overlaps(&a.Key, a.Lg2) {
		return AnsOK
	}
	return AnsMiss
}

// CacheStats counts what a cache did.
type CacheStats struct {
	Lookups     uint64
	Hits        uint64
	Fills       uint64
	Evictions   uint64 // valid entries displaced by a fill
	Invalidated uint64 // entries dropped by invalidation, counted at the latest when their place is reused
}
