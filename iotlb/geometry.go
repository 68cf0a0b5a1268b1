package iotlb

import (
	"errors"
	"fmt"
	"math/bits"
)

// MaxEntries is the largest number of entries of one cache, with the ways rounded up to a power of
// two of eight or more. One takes 64 bytes of host memory, and as much again for records.
const MaxEntries = 1 << 22

// ErrGeometry is what every error of [Geometry.Validate] wraps.
var ErrGeometry = errors.New("iotlb: bad geometry")

// Geometry is the shape of a cache. The zero Geometry, and any with no sets or no ways, is "no
// cache".
type Geometry struct {
	Sets   int    `json:"sets" toml:"sets"` // power of two; 1 is fully associative
	Ways   int    `json:"ways" toml:"ways"` // any number; with TreePLRU a power of two up to 64
	Policy Policy `json:"policy" toml:"policy"`
	Index  Index  `json:"index" toml:"index"`
	Seed   uint64 `json:"seed" toml:"seed"` // start of the random stream, Random only
}

// Entries returns the number of entries, 0 for "no cache".
func (g Geometry) Entries() int { return g.Sets * g.Ways }

// lgPlaces returns log2 of the places that a set takes in memory.
func (g Geometry) lgPlaces() uint8 { return max(3, uint8(bits.Len(uint(g.Ways-1)))) }

// String returns "setsxways policy", for people.
func (g Geometry) String() string {
	if g.Sets == 0 || g.Ways == 0 {
		return "none"
	}
	return fmt.Sprintf("%dx%d %v", g.Sets, g.Ways, g.Policy)
}

// Validate returns an error that wraps ErrGeometry and names the field that is wrong.
func (g Geometry) Validate() error {
	bad := func(field string, v any, want string) error {
		return fmt.Errorf("%w: %s %v: want %s", ErrGeometry, field, v, want)
	}
	switch {
	case g.Sets < 0 || g.Sets > MaxEntries:
		return bad("sets", g.Sets, fmt.Sprintf("0 to %d", MaxEntries))
	case g.Ways < 0 || g.Ways > MaxEntries:
		return bad("ways", g.Ways, fmt.Sprintf("0 to %d", MaxEntries))
	case g.Policy >= numPolicies:
		return bad("policy", uint8(g.Policy), "a defined one")
	case g.Index >= numIndexes:
		return bad("index", uint8(g.Index), "a defined one")
	case g.Entries() == 0:
		return nil
	case g.Sets<<g.lgPlaces() > MaxEntries:
		return bad("sets and ways rounded up", g.Sets<<g.lgPlaces(), fmt.Sprintf("at most %d", MaxEntries))
	case bits.OnesCount(uint(g.Sets)) != 1:
		return bad("sets", g.Sets, "a power of two")
	case g.Policy == TreePLRU && (bits.OnesCount(uint(g.Ways)) != 1 || g.Ways > 64):
		return bad("ways", g.Ways, "a power of two up to 64 for "+g.Policy.String())
	}
	return nil
}
