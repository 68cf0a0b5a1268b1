package iotlb

import (
	"fmt"
	"strings"
)

// Policy says which entry of a full set a fill displaces. An invalid way is always taken first,
// the lowest-numbered one. A fill of an entry that is present replaces it in place: that counts as
// a use for LRU and TreePLRU and changes nothing for the others.
type Policy uint8

// The policies.
const (
	LRU      Policy = iota // the entry not used for longest
	TreePLRU               // a binary tree of bits pointing away from the entries last used
	FIFO                   // the entry filled first
	Random                 // any, from a stream of its own
	numPolicies
)

// Index says how an address and a tag select a set.
type Index uint8

// The ways to index.
const (
	// Mixed uses the low bits of the page number, XORed with a hash of the tag and of the bits
	// above. An aligned run of as many pages as there are sets never collides with itself, and many
	// domains or PASIDs using the same addresses spread over all sets.
	Mixed Index = iota
	// Plain uses the low bits of the page number alone, as the simplest hardware does.
	Plain
	numIndexes
)

var (
	policyNames = [numPolicies]string{"lru", "tree-plru", "fifo", "random"}
	indexNames  = [numIndexes]string{"mixed", "plain"}
)

// String returns the name that ParsePolicy reads.
func (p Policy) String() string {
	if p < numPolicies {
		return policyNames[p]
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// String returns the name that ParseIndex reads.
func (x Index) String() string {
	if x < numIndexes {
		return indexNames[x]
	}
	return fmt.Sprintf("index(%d)", uint8(x))
}

// ParsePolicy returns the policy of that name: lru, tree-plru, fifo or random, in any case. The
// error wraps ErrGeometry.
func ParsePolicy(s string) (Policy, error) {
	i, err := parse("policy", s, policyNames[:])
	return Policy(i), err
}

// ParseIndex returns the index of that name: mixed or plain, in any case. The error wraps
// ErrGeometry.
func ParseIndex(s string) (Index, error) {
	i, err := parse("index", s, indexNames[:])
	return Index(i), err
}

func parse(what, s string, names []string) (int, error) {
	for i, n := range names {
		if strings.EqualFold(n, s) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: %s %q: want one of %s", ErrGeometry, what, s, strings.Join(names, ", "))
}

// MarshalText implements encoding.TextMarshaler.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Policy) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePolicy(string(b))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (x Index) MarshalText() ([]byte, error) { return []byte(x.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (x *Index) UnmarshalText(b []byte) (err error) {
	*x, err = ParseIndex(string(b))
	return err
}
