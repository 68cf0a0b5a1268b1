package vtd

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// Config is a unit as built: what CAP_REG and ECAP_REG will advertise, field by field, and what the
// specification leaves to the implementation. What the unit does not model has no field.
type Config struct {
	VersionMajor uint8 // VER_REG; 6 and above have no register-based invalidation
	VersionMinor uint8
	HAW          uint8 // host address width, 32 to 52 bits

	// CAP_REG, 11.4.2
	ND           uint8 // 2^(4+2*ND) domains, ND 0 to 6
	RWBF         bool  // write-buffer flush required
	PLMR, PHMR   bool  // protected memory regions
	CM           bool  // caching mode
	SAGAW        uint8 // of spec.SAGAW39, SAGAW48, SAGAW57
	MGAW         uint8 // maximum guest address width in bits
	ZLR          bool  // zero-length reads of write-only pages
	FaultOffset  uint32
	SSLPS        uint8 // of spec.SSLPS2M, SSLPS1G
	PSI          bool  // page-selective invalidation
	FaultRecords int   // 1 to 256
	MAMV         uint8 // maximum address mask of second-stage invalidations
	DWD, DRD     bool  // write and read draining
	FS1GP        bool  // first-stage 1 GiB pages
	PI           bool  // posted interrupts
	FS5LP        bool  // first-stage 5-level paging
	ESIRTPS      bool  // SIRTP invalidates the interrupt-entry cache
	ESRTPS       bool  // SRTP invalidates the caches

	// ECAP_REG, 11.4.3
	C           bool   // coherent walks of root, context and PASID tables
	QI          bool   // queued invalidation
	DT          bool   // device-TLB
	IR          bool   // interrupt remapping
	EIM         bool   // extended interrupt mode (x2APIC)
	PT          bool   // pass-through
	SC          bool   // snoop control
	IOTLBOffset uint32 // of IVA_REG
	MHMV        uint8  // maximum handle mask of interrupt-entry invalidations
	NEST        bool   // nested translation
	PRS         bool   // page requests
	ERS, SRS    bool   // execute and supervisor requests
	NWFS        bool   // no-write flag in translation requests
	EAFS        bool   // first-stage extended accessed flag
	PASID       bool   // requests with PASID
	PSS         uint8  // PASID bits - 1
	DIT         bool   // device-TLB invalidation throttle (PFSID is accepted)
	PDS         bool   // page-request drain in wait descriptors
	SMTS        bool   // scalable mode
	SSTS        bool   // scalable mode: second stage
	FSTS        bool   // scalable mode: first stage
	SSADS       bool   // second-stage accessed and dirty
	SMPWCS      bool   // coherent walks of paging structures in scalable mode
	RPS, RPRIVS bool   // RID_PASID and RID_PRIV fields
	PMS         bool   // performance monitoring, with enhanced commands (CAP.ECMDS)
	ADMS        bool   // abort-DMA mode
	PTRS        bool   // PASID in translated requests
	SMS         bool   // stop markers
	EIMER       bool   // interrupts need extended mode
	IRREQ       bool   // interrupts need remapping

	Perf PerfConfig // PERFCAP_REG and its blocks; used with PMS

	// Left to the implementation.
	// SnoopedWalks makes walks coherent whatever ECAP.SMPWCS and the PASID entry's PWSNP say, so that
	// flags are set and not faults 7Ch and 90h raised: in a machine without processor caches, such as a
	// snapshot at rest, or one that is emulated.
	SnoopedWalks   bool
	CompressFaults bool           // a fault of a source that already has a record is dropped (7.2.1)
	ContextCache   iotlb.Geometry // Sets*Ways == 0: no such cache
	PASIDCache     iotlb.Geometry
	IOTLB          iotlb.Geometry
	Walk           []iotlb.Level  // paging-structure caches by region size; empty: none
	Walk2          []iotlb.Level  // of the second stage of nested translation
	Stage2         iotlb.Geometry // second-stage translations of nested translation
	InterruptCache iotlb.Geometry // interrupt-remapping entries
}

// DefaultConfig is a present-day server unit for devices without device-TLB, and without counters: the
// preset "full" has the rest of what is modelled. SRTP and SIRTP do not invalidate, so that a forgotten
// flush shows.
func DefaultConfig() Config {
	return Config{
		VersionMajor: 5,
		HAW:          48,
		ND:           6, PLMR: true, PHMR: true,
		SAGAW: uint8(spec.SAGAW48 | spec.SAGAW57), MGAW: 57, ZLR: true,
		FaultOffset: 0x600, SSLPS: uint8(spec.SSLPS2M | spec.SSLPS1G),
		PSI: true, FaultRecords: 8, MAMV: 0x1e, DWD: true, DRD: true,
		FS1GP: true, FS5LP: true, NEST: true,
		C: true, QI: true, PT: true, SC: true, IOTLBOffset: 0x500,
		ERS: true, SRS: true, EAFS: true, PASID: true, PSS: 19,
		IR: true, EIM: true, MHMV: 15, PI: true,
		SMTS: true, SSTS: true, FSTS: true, SSADS: true, SMPWCS: true, RPS: true, RPRIVS: true, ADMS: true,
		ContextCache: iotlb.Geometry{Sets: 16, Ways: 4},
		PASIDCache:   iotlb.Geometry{Sets: 32, Ways: 4},
		IOTLB:        iotlb.Geometry{Sets: 64, Ways: 8},
		Walk: []iotlb.Level{
			{Lg2: 21, Geometry: iotlb.Geometry{Sets: 8, Ways: 4}},
			{Lg2: 30, Geometry: iotlb.Geometry{Sets: 4, Ways: 4}},
			{Lg2: 39, Geometry: iotlb.Geometry{Sets: 2, Ways: 4}},
		},
		InterruptCache: iotlb.Geometry{Sets: 16, Ways: 4},
		Walk2: []iotlb.Level{
			{Lg2: 21, Geometry: iotlb.Geometry{Sets: 8, Ways: 4}},
			{Lg2: 30, Geometry: iotlb.Geometry{Sets: 4, Ways: 4}},
			{Lg2: 39, Geometry: iotlb.Geometry{Sets: 2, Ways: 4}},
		},
		Stage2: iotlb.Geometry{Sets: 16, Ways: 4},
	}
}

// NoScalable takes scalable mode away, and every capability that needs it.
func (c *Config) NoScalable() {
	c.NoFirstStage()
	c.SMTS, c.SSTS, c.SSADS, c.SMPWCS, c.RPS, c.RPRIVS = false, false, false, false, false, false
	c.PASID, c.PRS, c.PDS, c.PTRS, c.SMS = false, false, false, false, false
}

// NoFirstStage takes first-stage and nested translation away, and every capability that needs them.
func (c *Config) NoFirstStage() {
	c.FSTS, c.NEST, c.FS1GP, c.FS5LP, c.EAFS = false, false, false, false, false
}

// ErrConfig is what an error of Check wraps.
var ErrConfig = errors.New("vtd: configuration")

// Check says whether a unit can be built like this. Errors wrap ErrConfig and name the field.
func (c *Config) Check() error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrConfig, field, fmt.Sprintf(format, args...))
	}
	frEnd := int(c.FaultOffset) + c.FaultRecords*spec.FRCDSize
	switch {
	case c.HAW < 32 || c.HAW > 52:
		return bad("HAW", "%d is not in 32 to 52", c.HAW)
	case c.ND > 6:
		return bad("ND", "%d is reserved", c.ND)
	case uint64(c.SAGAW)&^(spec.SAGAW39|spec.SAGAW48|spec.SAGAW57) != 0 || c.SAGAW == 0:
		return bad("SAGAW", "%#x has no width or a reserved one", c.SAGAW)
	case c.MGAW < 32 || c.MGAW > 64:
		return bad("MGAW", "%d is not in 32 to 64", c.MGAW)
	case uint64(c.SSLPS)&^(spec.SSLPS2M|spec.SSLPS1G) != 0:
		return bad("SSLPS", "%#x has a reserved size", c.SSLPS)
	case c.MAMV > 63:
		return bad("MAMV", "%d does not fit 6 bits", c.MAMV)
	case c.FaultRecords < 1 || c.FaultRecords > spec.MaxFaultRec:
		return bad("FaultRecords", "%d is not in 1 to %d", c.FaultRecords, spec.MaxFaultRec)
	case c.FaultOffset%16 != 0 || frEnd > spec.Window:
		return bad("FaultOffset", "%#x with %d records does not fit the window", c.FaultOffset, c.FaultRecords)
	case c.IOTLBOffset%16 != 0 || c.IOTLBOffset+16 > spec.Window:
		return bad("IOTLBOffset", "%#x does not fit the window", c.IOTLBOffset)
	case c.PSS > 19:
		return bad("PSS", "%d is above 19", c.PSS)
	case c.SMTS && !c.QI:
		return bad("SMTS", "scalable mode needs QI")
	case c.DT && !c.QI:
		return bad("DT", "device-TLB needs QI")
	case !c.SMTS && (c.SSTS || c.FSTS || c.NEST || c.SSADS || c.EAFS || c.SMPWCS || c.RPS || c.RPRIVS || c.PASID || c.PRS || c.PDS || c.PTRS || c.SMS):
		return bad("SMTS", "scalable-mode fields without scalable mode")
	case c.NEST && !(c.FSTS && c.SSTS):
		return bad("NEST", "nested translation needs FSTS and SSTS")
	case c.FS5LP && !c.FSTS, c.FS1GP && !c.FSTS, c.EAFS && !c.FSTS:
		return bad("FSTS", "first-stage fields without first stage")
	case c.PRS && !c.DT:
		return bad("PRS", "page requests need DT")
	case c.SMS && !c.PRS:
		return bad("SMS", "stop markers need PRS")
	case c.PDS && !c.DT:
		return bad("PDS", "page-request drain needs DT")
	case c.PTRS && !(c.DT && c.PASID):
		return bad("PTRS", "PASID in translated requests needs DT and PASID")
	case c.IR && !c.QI:
		return bad("IR", "interrupt remapping needs QI")
	case c.EIMER && !c.EIM:
		return bad("EIMER", "extended interrupt mode cannot be required without EIM")
	case c.IRREQ && !c.IR:
		return bad("IRREQ", "interrupt remapping cannot be required without IR")
	case (c.EIM || c.PI || c.ESIRTPS || c.MHMV != 0) && !c.IR:
		return bad("IR", "interrupt fields without interrupt remapping")
	case c.MHMV > 15:
		return bad("MHMV", "%d does not fit 4 bits", c.MHMV)
	case c.VersionMajor > 15 || c.VersionMinor > 15:
		return bad("Version", "%d.%d does not fit", c.VersionMajor, c.VersionMinor)
	case c.VersionMajor >= 6 && !c.QI:
		return bad("QI", "version 6 and above invalidate by queue only")
	case c.VersionMajor >= 8 && c.ERS:
		return bad("ERS", "version 8 and above have no execute requests")
	}
	if field, problem := c.Perf.check(); c.PMS && problem != "" {
		return bad("Perf."+field, "%s", problem)
	}
	return nil
}
