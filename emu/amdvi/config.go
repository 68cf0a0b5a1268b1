package amdvi

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Config is a unit as built: what its feature registers and its PCI capability will advertise, field
// by field, and what the specification leaves to the implementation. What the unit does not model
// has no field.
type Config struct {
	// Extended Feature Register, 3.4
	PreFSup         bool  // PREFETCH_IOMMU_PAGES
	PPRSup          bool  // page requests
	XTSup           bool  // 32-bit destinations of interrupts
	NXSup           bool  // no-execute
	GTSup           bool  // guest translation
	IASup           bool  // INVALIDATE_IOMMU_ALL
	GASup           bool  // interrupt table entries of 128 bits
	HESup           bool  // hardware error registers
	HATS            uint8 // host levels: spec.HATS4, HATS5, HATS6
	GATS            uint8 // guest levels: spec.GATS4, GATS5
	GLXSup          uint8 // levels of the GCR3 table - 1
	GAMSup          bool  // guest virtual APIC: IRTE.GuestMode, GA log
	PASmax          uint8 // PASID bits - 1
	DevTblSegSup    uint8 // device table segments, log2
	PCSup           bool  // performance counters
	PprEarlySup     bool  // PprOvrflwEarlySup: early overflow of the PPR log
	PPRAutoRspSup   bool  // page requests answered by hardware
	MsiCapMmioSup   bool  // MSI capability mirrored in the window
	GIoSup          bool  // requests without PASID may use guest tables
	HASup, HDSup    bool  // host accessed, dirty flags
	EPHSup          bool  // enhanced PPR handling: DTE.PPR and DTE.GPRP
	InvIotlbTypeSup bool  // type of INVALIDATE_IOTLB_PAGES
	GAUpdateDisSup  bool  // accessed and dirty updates of guest tables can be disabled

	// Extended Feature 2 Register, 3.4
	GCR3TRPModeSup bool // the GCR3 table may be at a guest physical address
	NumIntRemap2K  bool // NumIntRemapSup: 2048 interrupts per function
	HtRangeIgnore  bool // the HyperTransport range is ordinary address space

	// PCI capability, 3.2
	IotlbSup bool  // ATS
	NpCache  bool  // entries that are not present are cached, too, as virtual IOMMUs may
	PAsize   uint8 // physical address bits
	VAsize   uint8 // virtual address bits

	// Counter Configuration, 3.4, with PCSup
	Banks        uint8 // NCounterBanks
	BankCounters uint8 // NCounter: counters of a bank

	// Left to the implementation.
	IRTCacheDis bool           // caching of interrupt table entries can be turned off
	DTECache    iotlb.Geometry // Sets*Ways == 0: no such cache
	GCR3Cache   iotlb.Geometry
	IOTLB       iotlb.Geometry
	Walk        []iotlb.Level  // paging-structure caches by region size; empty: none
	Walk2       []iotlb.Level  // of host tables on behalf of guest tables
	Stage2      iotlb.Geometry // host translations of guest physical addresses
	Interrupt   iotlb.Geometry // interrupt table entries
}

// DefaultConfig is a present-day server unit.
func DefaultConfig() Config {
	walk := []iotlb.Level{
		{Lg2: 21, Geometry: iotlb.Geometry{Sets: 8, Ways: 4}},
		{Lg2: 30, Geometry: iotlb.Geometry{Sets: 4, Ways: 4}},
		{Lg2: 39, Geometry: iotlb.Geometry{Sets: 2, Ways: 4}},
	}
	return Config{
		PreFSup: true, PPRSup: true, XTSup: true, NXSup: true, GTSup: true, IASup: true, GASup: true, HESup: true, GAMSup: true, PCSup: true,
		HATS: spec.HATS6, GATS: spec.GATS5, GLXSup: 1, PASmax: 15,
		DevTblSegSup: 3, PprEarlySup: true, PPRAutoRspSup: true, MsiCapMmioSup: true, GIoSup: true, HASup: true, EPHSup: true, HDSup: true,
		InvIotlbTypeSup: true, GAUpdateDisSup: true,
		GCR3TRPModeSup: true, NumIntRemap2K: true, HtRangeIgnore: true, IRTCacheDis: true,
		IotlbSup: true, PAsize: 52, VAsize: 64,
		Banks: 2, BankCounters: 4,
		DTECache:  iotlb.Geometry{Sets: 16, Ways: 4},
		GCR3Cache: iotlb.Geometry{Sets: 32, Ways: 4},
		IOTLB:     iotlb.Geometry{Sets: 64, Ways: 8},
		Walk:      walk,
		Walk2:     append([]iotlb.Level(nil), walk...),
		Stage2:    iotlb.Geometry{Sets: 16, Ways: 4},
		Interrupt: iotlb.Geometry{Sets: 16, Ways: 4},
	}
}

// ErrConfig is what an error of Check wraps.
var ErrConfig = errors.New("amdvi: configuration")

// Check says whether a unit can be built like this. Errors wrap ErrConfig and name the field.
func (c *Config) Check() error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrConfig, field, fmt.Sprintf(format, args...))
	}
	switch {
	case c.HATS > spec.HATS6:
		return bad("HATS", "%d is reserved", c.HATS)
	case c.GATS > spec.GATS5:
		return bad("GATS", "%d is not modelled: want 0 or 1", c.GATS)
	case c.GLXSup > spec.MaxGLX:
		return bad("GLXSup", "%d is reserved", c.GLXSup)
	case c.PASmax > 19:
		return bad("PASmax", "%d is above 19", c.PASmax)
	case c.DevTblSegSup > 3:
		return bad("DevTblSegSup", "%d does not fit 2 bits", c.DevTblSegSup)
	case !c.GTSup && (c.GIoSup || c.GCR3TRPModeSup || c.GATS != 0 || c.GLXSup != 0):
		return bad("GTSup", "fields of guest translation without guest translation")
	case c.HDSup && !c.HASup:
		return bad("HDSup", "dirty flags need HASup")
	case c.InvIotlbTypeSup && !c.IotlbSup:
		return bad("InvIotlbTypeSup", "needs IotlbSup")
	case (c.PprEarlySup || c.PPRAutoRspSup || c.EPHSup) && !c.PPRSup:
		return bad("PPRSup", "fields of page requests without page requests")
	case c.PPRSup && !c.IotlbSup:
		return bad("PPRSup", "page requests need IotlbSup")
	case c.GAMSup && !c.GASup:
		return bad("GAMSup", "needs GASup")
	case c.PCSup && (c.Banks < 1 || c.Banks > spec.MaxBanks):
		return bad("Banks", "%d is not in 1 to %d", c.Banks, spec.MaxBanks)
	case c.PCSup && (c.BankCounters < 1 || c.BankCounters > spec.MaxCounters):
		return bad("BankCounters", "%d is not in 1 to %d", c.BankCounters, spec.MaxCounters)
	case !c.PCSup && c.Banks|c.BankCounters != 0:
		return bad("PCSup", "counters without performance counters")
	case c.PAsize < 32 || c.PAsize > 52:
		return bad("PAsize", "%d is not in 32 to 52", c.PAsize)
	case c.VAsize < 32 || c.VAsize > 64:
		return bad("VAsize", "%d is not in 32 to 64", c.VAsize)
	}
	return nil
}

// Capability returns the unit's PCI capability block; what firmware puts there is zero.
func (c *Config) Capability() spec.Capability {
	return spec.Capability{IotlbSup: c.IotlbSup, NpCache: c.NpCache, PAsize: c.PAsize, VAsize: c.VAsize}
}
