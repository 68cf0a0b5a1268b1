package traces

import (
	"fmt"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// Pattern is the shape of generated accesses.
type Pattern uint8

// Patterns. Devices and their PASIDs take turns in each.
const (
	// Sequential walks each space from its start to its end, and again.
	Sequential Pattern = iota
	// Ring is a network card: per packet a descriptor is read, a buffer read or written, and the descriptor
	// written back; descriptors and buffers are mapped once and used over and over.
	Ring
	// Random takes every page of a space with the same probability.
	Random
	// Zipf prefers some pages: the rank k page is taken in proportion to k^-ZipfS. Ranks are scattered over
	// the space.
	Zipf
	// Bursts are runs of sequential accesses of one space with pauses between.
	Bursts
	// Churn maps each buffer before its accesses and unmaps it after them, like a driver in strict mode.
	Churn

	numPatterns
)

var patternNames = [numPatterns]string{"sequential", "ring", "random", "zipf", "bursts", "churn"}

// String returns the name of the pattern, such as "zipf".
func (p Pattern) String() string {
	if p < numPatterns {
		return patternNames[p]
	}
	return fmt.Sprintf("Pattern(%d)", uint8(p))
}

// Spec describes a synthetic trace. DefaultSpec and NamedSpec give one to start from.
type Spec struct {
	Pattern  Pattern
	Seed     uint64
	Accesses uint64 // DMA events; Map and Unmap events come on top

	Devices  int          // requesters, 1 to 65536
	FirstSID emu.SourceID // of the first device; the others follow, 8 apart while the bus has room
	PASIDs   int          // per device, each a space of its own; 0 = one space without PASID

	Base      emu.IOVA // of every space: spaces overlap on purpose
	PABase    emu.PA   // of the memory behind them, which they do not share
	Footprint uint64   // bytes of a space
	MapBytes  uint64   // bytes of a Map event and of its physical run; a power of two, at least 4096

	AccessBytes   uint64  // of one access; 1 to MapBytes
	WriteFraction float64 // of the accesses, 0 to 1
	Interval      uint64  // ns from access to access

	ZipfS       float64 // Zipf: exponent, above 1
	Burst       int     // Bursts: accesses of one
	BurstGap    uint64  // Bursts: ns between two
	Outstanding int     // Churn: buffers mapped at a time, per space
}

// DefaultSpec returns the parameters of a pattern: 8 devices without PASIDs, 4 MiB each, 4 KiB pages.
func DefaultSpec(p Pattern) Spec {
	return Spec{
		Pattern: p, Seed: 1, Accesses: 1_000_000, Devices: 8, FirstSID: 0x0100, Base: 0x1000_0000, PABase: 0x1_0000_0000,
		Footprint: 4 << 20, MapBytes: 4096, AccessBytes: 512, WriteFraction: 0.5, Interval: 100,
		ZipfS: 1.2, Burst: 64, BurstGap: 20_000, Outstanding: 32,
	}
}

// namedSpecs are the generators that users ask for by name: the patterns, and two that differ in the
// number of spaces.
var namedSpecs = []struct {
	name string
	spec func() Spec
}{
	{"sequential", func() Spec { return DefaultSpec(Sequential) }},
	{"ring", func() Spec { return DefaultSpec(Ring) }},
	{"random", func() Spec { return DefaultSpec(Random) }},
	{"zipf", func() Spec { return DefaultSpec(Zipf) }},
	{"bursts", func() Spec { return DefaultSpec(Bursts) }},
	{"churn", func() Spec { return DefaultSpec(Churn) }},
	{"multi-device", func() Spec {
		s := DefaultSpec(Random)
		s.Devices, s.Footprint = 64, 1<<20
		return s
	}},
	{"many-pasids", func() Spec {
		s := DefaultSpec(Zipf)
		s.Devices, s.PASIDs, s.Footprint = 4, 256, 64<<10
		return s
	}},
}

// SpecNames lists what NamedSpec takes.
func SpecNames() []string {
	var names []string
	for _, n := range namedSpecs {
		names = append(names, n.name)
	}
	return names
}

// NamedSpec returns the parameters of a generator by its name.
func NamedSpec(name string) (Spec, error) {
	for _, n := range namedSpecs {
		if n.name == name {
			return n.spec(), nil
		}
	}
	return Spec{}, &SpecError{Field: "generator", Want: strings.Join(SpecNames(), ", "), Got: name}
}

// SpecError names the parameter of a Spec that cannot be.
type SpecError struct {
	Field string
	Want  string
	Got   any
}

// Error returns one line.
func (e *SpecError) Error() string {
	return fmt.Sprintf("generate: %s: want %s, got %v", e.Field, e.Want, e.Got)
}

// maxSpaces bounds the state that a generator holds per space.
const maxSpaces = 1 << 22

// Validate reports the first parameter that cannot be, as a *SpecError.
func (s *Spec) Validate() error {
	chunks := uint64(1)
	if s.MapBytes > 0 {
		chunks = s.Footprint / s.MapBytes
	}
	spaces := uint64(max(s.Devices, 0)) * uint64(max(s.PASIDs, 1))
	ringBytes := uint64(2) * s.MapBytes
	for _, c := range []struct {
		ok    bool
		field string
		want  string
		got   any
	}{
		{s.Pattern < numPatterns, "Pattern", "a defined pattern", uint8(s.Pattern)},
		{s.Devices >= 1 && s.Devices <= 1<<16, "Devices", "1 to 65536", s.Devices},
		{uint64(s.FirstSID)+uint64(s.Devices) <= 1<<16, "FirstSID", "room for all devices below 65536", s.FirstSID},
		{s.PASIDs >= 0 && s.PASIDs <= int(emu.MaxPASID), "PASIDs", "0 to 1048575", s.PASIDs},
		{spaces <= maxSpaces, "Devices*PASIDs", "at most 4194304", spaces},
		{s.MapBytes >= emu.PageSize && s.MapBytes&(s.MapBytes-1) == 0 && s.MapBytes <= 1<<30, "MapBytes", "a power of two from 4096 to 1 GiB", s.MapBytes},
		{s.Footprint >= s.MapBytes && s.Footprint%max(s.MapBytes, 1) == 0 && s.Footprint <= 1<<40, "Footprint", "a multiple of MapBytes up to 1 TiB", s.Footprint},
		{s.Pattern != Ring || s.Footprint >= ringBytes, "Footprint", "at least two times MapBytes", s.Footprint},
		{chunks*spaces*s.MapBytes <= 1<<46, "Footprint*Devices*PASIDs", "at most 64 TiB", chunks},
		{uint64(s.Base)%max(s.MapBytes, 1) == 0 && uint64(s.Base) < 1<<47, "Base", "a multiple of MapBytes below 2^47", uint64(s.Base)},
		{uint64(s.PABase)%max(s.MapBytes, 1) == 0 && uint64(s.PABase) < 1<<47, "PABase", "a multiple of MapBytes below 2^47", uint64(s.PABase)},
		{s.AccessBytes >= 1 && s.AccessBytes <= s.MapBytes, "AccessBytes", "1 to MapBytes", s.AccessBytes},
		{s.WriteFraction >= 0 && s.WriteFraction <= 1, "WriteFraction", "0 to 1", s.WriteFraction},
		{s.Interval <= 1e9, "Interval", "at most 1 s", s.Interval},
		{s.Pattern != Zipf || (s.ZipfS > 1 && s.ZipfS <= 100), "ZipfS", "above 1, at most 100", s.ZipfS},
		{s.Pattern != Bursts || s.Burst >= 1, "Burst", "1 or more", s.Burst},
		{s.Pattern != Bursts || s.BurstGap <= 1e12, "BurstGap", "at most 1000 s", s.BurstGap},
		{s.Pattern != Churn || (s.Outstanding >= 1 && uint64(s.Outstanding) <= chunks), "Outstanding", "1 to Footprint/MapBytes", s.Outstanding},
		{s.Accesses <= 1<<40, "Accesses", "at most 2^40", s.Accesses},
	} {
		if !c.ok {
			return &SpecError{Field: c.field, Want: c.want, Got: c.got}
		}
	}
	return nil
}
