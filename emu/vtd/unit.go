package vtd

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/caches"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// The engines of a unit.
const (
	EngineCommand    emu.Engine = iota // GCMD, PMEN, CCMD and IOTLB registers
	EngineQueue                        // invalidation queue
	EngineFaultEvent                   // messages of FECTL
	EngineIQEvent                      // messages of IECTL
	EnginePageEvent                    // messages of PECTL
	EnginePerfEvent                    // messages of PERFINTRCTL_REG
	numEngines
)

// Unit is one remapping unit. It implements emu.Unit.
type Unit struct {
	cfg  Config
	cap  uint64 // CAP_REG
	ecap uint64 // ECAP_REG
	adv  struct{ ver, cap, ecap uint64 }
	lim  limits
	reg  *reg.File
	mode mode
	s    state
	obs  emu.Observer
	perf perf

	slow   bool   // steps and look-ups go the longer way of slow.go
	states uint16 // states below this need not

	cache caches.Set

	desc [spec.NumDescTypes]descType
}

// state is what a unit remembers besides its registers and caches. It is plain data for Save.
type state struct {
	Root       uint64 // RTADDR as latched by SRTP
	IRTA       uint64 // IRTA as latched by SIRTP
	Levels     uint32 // levels that GCMD last asked for
	Shots      uint32 // one-shot commands not yet begun
	NextFault  uint32 // fault record to use next
	QueueBusy  bool   // the queue engine is between start and stop
	QueueStop  bool   // QIE=0 was accepted; the command engine waits
	QueueWaits bool   // the queue engine is parked until a device-TLB invalidation ends
	TimedOut   bool   // a device-TLB invalidation timed out, ITE follows
	TimeoutSID uint16
	TimeoutEnd uint64 // queue offset up to which descriptors had been fetched by then
	Command    uint8  // in execution by the command engine, 0: none
	Perf       perfState
	// A command turns these off: what comes now is not remapped any more, and when all before it has
	// ended with nothing left in the caches, GSTS shows it.
	TranslationOff, InterruptsOff bool
	ITags                         [emu.MaxITags]itag
}

// mode is what the front end does with a request, from GSTS.TES and the latched TTM.
type mode uint8

const (
	modeOff mode = iota // TES=0
	modeLegacy
	modeScalable
	modeAbort
	modeInvalid // fault 30h
)

// New returns a unit after a cold reset, or an error that wraps ErrConfig.
func New(c Config) (*Unit, error) {
	c.Walk, c.Walk2 = slices.Clone(c.Walk), slices.Clone(c.Walk2)
	if err := c.Check(); err != nil {
		return nil, err
	}
	u := &Unit{cfg: c}
	if err := u.buildCaches(); err != nil {
		return nil, err
	}
	if err := u.build(); err != nil {
		return nil, err
	}
	return u, nil
}

// Config returns how the unit is built. After Load it has the capabilities of the snapshot.
func (u *Unit) Config() Config { return u.cfg }

func (u *Unit) buildCaches() (err error) {
	c := &u.cfg
	u.cache, err = caches.New(caches.Config{
		Entry:     caches.Sized{Name: "ContextCache", Geometry: c.ContextCache},
		PASID:     caches.Sized{Name: "PASIDCache", Geometry: c.PASIDCache},
		IOTLB:     caches.Sized{Name: "IOTLB", Geometry: c.IOTLB},
		Stage2:    caches.Sized{Name: "Stage2", Geometry: c.Stage2},
		Interrupt: caches.Sized{Name: "InterruptCache", Geometry: c.InterruptCache},
		Walk:      caches.Levels{Name: "Walk", Levels: c.Walk},
		Walk2:     caches.Levels{Name: "Walk2", Levels: c.Walk2},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// build makes what depends on the capabilities.
func (u *Unit) build() error {
	u.cap, u.ecap = u.cfg.capWord(), u.cfg.ecapWord()
	u.setLimits()
	u.setDescriptors()
	f, err := reg.NewFile(u.cfg.Window(), u.registers())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	u.reg = f
	u.s = state{}
	u.setMode()
	u.setPerf()
	return nil
}

// Reset implements emu.Unit.
func (u *Unit) Reset(kind emu.ResetKind) {
	u.reg.Reset(kind)
	u.s = state{}
	u.cache.Reset()
	u.setMode()
	u.setPerf()
}

// Cache implements emu.Unit.
func (u *Unit) Cache(id emu.CacheID) emu.Cache { return u.cache.Get(id) }

// Observe implements emu.Unit.
func (u *Unit) Observe(o emu.Observer) { u.obs = o }

// ReadReg implements emu.Unit. Accesses are 4 or 8 bytes wide and naturally aligned (11.2); others,
// and offsets where no register is, read 0.
func (u *Unit) ReadReg(off uint32, size uint8) uint64 {
	u.perfTick()
	return u.reg.Read(off, size)
}

// WriteReg implements emu.Unit. Accesses that ReadReg answers with 0 are dropped.
func (u *Unit) WriteReg(off uint32, size uint8, v uint64) emu.Wake {
	var c [2]reg.Change
	var w emu.Wake
	for i := range u.reg.Write(off, size, v, &c) {
		w |= u.effect(&c[i])
	}
	return w | u.perfWake()
}

func (u *Unit) effect(c *reg.Change) emu.Wake {
	switch c.Effect {
	case effGCMD:
		return u.writeGCMD(uint32(c.Raw))
	case effCCMD:
		if spec.CcmdICC.On(c.Raw) {
			return EngineCommand.Set()
		}
	case effIOTLB:
		if spec.IotlbIVT.On(c.Raw) {
			return EngineCommand.Set()
		}
	case effPMEN:
		return EngineCommand.Set()
	case effFSTS:
		return u.writeFSTS(c)
	case effFECTL:
		return u.eventControl(&faultEvent)
	case effIECTL:
		return u.eventControl(&iqEvent)
	case effICS:
		u.eventServiced(&iqEvent)
	case effIQT:
		return u.queueDoorbell()
	case effIQA:
		u.reg.Set(rIQH, 0) // as data sheets of early units say
		u.reg.Set(rIQT, 0)
	case effFRCD:
		u.faultCleared()
	case effPerfEvent:
		return u.eventControl(&u.perf.event)
	case effPerfStatus:
		u.eventServiced(&u.perf.event)
	case effCounter:
		u.writeCounter(c)
	case effECMD:
		return u.writeECMD(c)
	case effECEO:
		u.writeECEO(c)
	case effPRS:
		u.eventServiced(&pageEvent)
	case effPECTL:
		return u.eventControl(&pageEvent)
	}
	return 0
}

// status reports whether a bit of GSTS is set.
func (u *Unit) status(b reg.Bits) bool { return b.On(u.reg.Get(rGSTS)) }

// ttm returns the translation table mode in force.
func (u *Unit) ttm() uint64 { return spec.RtaddrTTM.Of(u.s.Root) }

// setMode follows a change of TES or of the latched root pointer.
func (u *Unit) setMode() {
	switch {
	case !u.status(spec.GstsTES) || u.s.TranslationOff:
		u.mode = modeOff
	case !u.validTTM():
		u.mode = modeInvalid
	case u.ttm() == spec.TTMLegacy:
		u.mode = modeLegacy
	case u.ttm() == spec.TTMScalable:
		u.mode = modeScalable
	default:
		u.mode = modeAbort
	}
}

func (u *Unit) validTTM() bool {
	switch u.ttm() {
	case spec.TTMLegacy:
		return true
	case spec.TTMScalable:
		return u.cfg.SMTS
	case spec.TTMAbort:
		return u.cfg.ADMS
	}
	return false
}
