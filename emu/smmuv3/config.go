package smmuv3

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Config is a unit as built: what its ID registers will advertise, field by field, and what the
// specification leaves to the implementation. What the unit does not model has no field.
type Config struct {
	// IDR0, 6.3.1
	S1P, S2P   bool  // stages
	HTTU       uint8 // spec.HTTUNone to HTTUTable
	HYP        bool  // EL2 contexts
	ATS        bool
	NS1ATS     bool // split-stage ATS is not supported
	ASID16     bool
	MSI        bool
	SEV        bool
	ATOS       bool // address translation operations
	VATOS      bool // their page for virtual machines, where spec.OffVATOS says
	PRI        bool
	VMW        bool // VMID wildcards
	VMID16     bool
	CD2L       bool  // two-level CD tables
	TTENDIAN   uint8 // spec.TTEndianMixed, TTEndianLE, TTEndianBE
	ATSRECERR  bool  // CR2.REC_CFG_ATS
	StallModel uint8 // spec.StallBoth, StallNever, StallAlways
	TermModel  bool  // reads as zero and writes ignored is not supported
	STLevel    uint8 // spec.STLevelLinear, STLevel2

	// IDR1, 6.3.2
	SIDSIZE      uint8 // StreamID bits
	SSIDSIZE     uint8 // SubstreamID bits
	CMDQS        uint8 // log2 of the largest queues
	EVENTQS      uint8
	PRIQS        uint8
	AttrPermsOvr bool // PRIVCFG and INSTCFG
	AttrTypesOvr bool // MTCFG, MemAttr, ALLOCCFG and SHCFG

	// IDR3, 6.3.4
	HAD     bool
	XNX     bool
	PPS     bool
	FWB     bool
	STT     bool
	RIL     bool
	BBML    uint8
	E0PD    bool
	PTWNNC  bool
	PASIDTT bool
	EPAN    bool
	MTEPERM bool // values of MemAttr of stage 2 that deny access to tags

	// IDR5, 6.3.6
	OAS                      uint8 // code, see spec.OASBits
	GRAN4K, GRAN16K, GRAN64K bool
	DS                       bool  // 52-bit addresses with 4K and 16K granules
	VAX                      uint8 // spec.VAX48, VAX52
	StallMax                 uint16

	// AIDR and IIDR
	Minor uint8  // SMMUv3.n
	IIDR  uint32 // spec.Iidr...

	// Counter group, 10.4
	Counters      uint8 // 0: no such group; its page is at spec.OffPMCG
	CounterBits   uint8
	CounterFilter bool // one StreamID filter for all counters

	// Left to the implementation.
	Wires       bool           // interrupt lines, besides messages or instead of them: spec.LineGERROR and so on
	FetchSize   uint8          // bytes of an STE or CD that are read at once: 8 or 16
	CacheL1     bool           // level 1 descriptors are cached, in the cache of what they lead to
	NoCrossing  bool           // transactions that cross a 4 KB boundary are not supported (16.7.1)
	NoAtomics   bool           // AtomicOps are not (16.7.6)
	PageHints   bool           // hints of devices are recorded (E_PAGE_REQUEST)
	Merge       uint8          // MergeNone to MergeAlways
	MergeWindow uint32         // cycles that events to be merged are apart at most; without a clock they are always close
	Prefetch    bool           // prefetch commands fill caches
	CONT        bool           // a cached STE serves the other streams of its span (STE.CONT)
	STECache    iotlb.Geometry // Sets*Ways == 0: no such cache
	CDCache     iotlb.Geometry
	IOTLB       iotlb.Geometry
	Walk        []iotlb.Level  // paging-structure caches by region size; empty: none
	Walk2       []iotlb.Level  // of stage 2 tables on behalf of stage 1
	Stage2      iotlb.Geometry // stage 2 translations of intermediate physical addresses
}

// WalkLevels gives paging-structure caches their region sizes: list[i] is the geometry of those for tables
// of level i, whatever the granule.
func WalkLevels(list []iotlb.Geometry) []iotlb.Level {
	var levels []iotlb.Level
	for _, g := range []spec.Granule{spec.Granule4K, spec.Granule16K, spec.Granule64K} {
		for i, geo := range list {
			if l := int8(i) + 1; g.Shift(l) < 52 {
				levels = append(levels, iotlb.Level{Lg2: g.Shift(l), Geometry: geo})
			}
		}
	}
	return levels
}

// DefaultConfig is a present-day server unit, SMMUv3.2: both stages, all granules, 48-bit addresses,
// 16-bit SubstreamIDs, ATS and PRI.
func DefaultConfig() Config {
	walk := WalkLevels([]iotlb.Geometry{{Sets: 8, Ways: 4}, {Sets: 4, Ways: 4}, {Sets: 2, Ways: 4}})
	return Config{
		S1P: true, S2P: true, HTTU: spec.HTTUDirty, HYP: true, ATS: true, ASID16: true, MSI: true, SEV: true, PRI: true, VMW: true,
		VMID16: true, CD2L: true, TTENDIAN: spec.TTEndianMixed, STLevel: spec.STLevel2,
		SIDSIZE: 32, SSIDSIZE: 16, CMDQS: 19, EVENTQS: 19, PRIQS: 19, AttrPermsOvr: true,
		HAD: true, XNX: true, PPS: true, FWB: true, STT: true, RIL: true, BBML: 2,
		Counters: 8, CounterBits: 48,
		OAS: 5, GRAN4K: true, GRAN16K: true, GRAN64K: true, StallMax: 16,
		Minor: 2,
		Wires: true, FetchSize: 8, CacheL1: true,
		STECache: iotlb.Geometry{Sets: 16, Ways: 4},
		CDCache:  iotlb.Geometry{Sets: 32, Ways: 4},
		IOTLB:    iotlb.Geometry{Sets: 64, Ways: 8},
		Walk:     walk,
		Walk2:    append([]iotlb.Level(nil), walk...),
		Stage2:   iotlb.Geometry{Sets: 16, Ways: 4},
	}
}

// ErrConfig is what an error of Check wraps.
var ErrConfig = errors.New("smmuv3: configuration")

// MaxStalls is the largest StallMax that is modelled.
const MaxStalls = 4096

// settle takes away what means nothing without something else: fields of the ID registers that are RES0 then, 6.3.1
// to 6.3.4.
func (c *Config) settle() {
	c.VMW = c.VMW && c.S2P
	c.NS1ATS = c.NS1ATS && c.ATS && c.S1P && c.S2P
	c.ATSRECERR = c.ATSRECERR && c.ATS
	c.PPS = c.PPS && c.PRI && c.SSIDSIZE != 0
	c.PASIDTT = c.PASIDTT && c.ATS && c.SSIDSIZE != 0
	c.PTWNNC, c.MTEPERM = c.PTWNNC && c.S2P, c.MTEPERM && c.S2P
	c.HAD = c.HAD && c.S1P
}

// Check says whether a unit can be built like this. Errors wrap ErrConfig and name the field.
func (c *Config) Check() error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrConfig, field, fmt.Sprintf(format, args...))
	}
	for _, q := range []struct {
		name string
		v    uint8
		max  uint8
	}{
		{"HTTU", c.HTTU, spec.HTTUTable}, {"StallModel", c.StallModel, spec.StallAlways}, {"STLevel", c.STLevel, spec.STLevel2},
		{"SIDSIZE", c.SIDSIZE, spec.MaxSIDSIZE}, {"SSIDSIZE", c.SSIDSIZE, spec.MaxSSIDSIZE}, {"CMDQS", c.CMDQS, spec.MaxQueueSize},
		{"EVENTQS", c.EVENTQS, spec.MaxQueueSize}, {"PRIQS", c.PRIQS, spec.MaxQueueSize}, {"BBML", c.BBML, spec.MaxBBML},
		{"OAS", c.OAS, spec.OAS52}, {"VAX", c.VAX, spec.VAX52}, {"Minor", c.Minor, spec.MaxMinor}, {"Merge", c.Merge, MergeAlways},
	} {
		if q.v > q.max {
			return bad(q.name, "%d is above %d", q.v, q.max)
		}
	}
	switch {
	case !c.S1P && !c.S2P:
		return bad("S1P", "a unit has at least one stage")
	case !c.GRAN4K && !c.GRAN16K && !c.GRAN64K:
		return bad("GRAN4K", "a unit has at least one granule")
	case c.TTENDIAN == 1 || c.TTENDIAN > spec.TTEndianBE:
		return bad("TTENDIAN", "%d is reserved", c.TTENDIAN)
	case c.SIDSIZE >= spec.STLevel2MinSID && c.STLevel != spec.STLevel2:
		return bad("STLevel", "StreamIDs of %d bits need two-level stream tables", c.SIDSIZE)
	case c.HYP && (!c.S1P || !c.S2P):
		return bad("HYP", "EL2 contexts need both stages")
	case !c.MSI && !c.Wires:
		return bad("Wires", "a unit has messages or interrupt lines")
	case c.VATOS && (!c.ATOS || !c.S1P || !c.S2P):
		return bad("VATOS", "a page for virtual machines needs ATOS and both stages")
	case c.PRI && !c.ATS:
		return bad("PRI", "page requests need ATS")
	case c.XNX && !c.S2P, c.FWB && !c.S2P:
		return bad("S2P", "fields of stage 2 without stage 2")
	case c.SSIDSIZE > 0 && !c.S1P, c.CD2L && !c.S1P:
		return bad("S1P", "fields of stage 1 without stage 1")
	case c.DS && (c.VAX != spec.VAX52 || !c.GRAN4K && !c.GRAN16K):
		return bad("DS", "52-bit descriptors of 4K and 16K granules without 52-bit virtual addresses or without such granules")
	case c.OAS == spec.OAS52 && !c.GRAN64K && !c.DS, c.VAX == spec.VAX52 && !c.GRAN64K && !c.DS:
		return bad("GRAN64K", "52-bit addresses without a granule that has them")
	case c.PASIDTT && c.SSIDSIZE == 0:
		return bad("PASIDTT", "needs SubstreamIDs")
	case c.StallModel != spec.StallNever && (c.StallMax == 0 || c.StallMax > MaxStalls):
		return bad("StallMax", "%d: want 1 to %d", c.StallMax, MaxStalls)
	case c.Counters > spec.MaxCounters:
		return bad("Counters", "%d is above %d", c.Counters, spec.MaxCounters)
	case c.Counters != 0 && (c.CounterBits < 32 || c.CounterBits > 64):
		return bad("CounterBits", "%d: want 32 to 64", c.CounterBits)
	case c.FetchSize != 8 && c.FetchSize != 16:
		return bad("FetchSize", "%d: want 8 or 16", c.FetchSize)
	}
	return nil
}
