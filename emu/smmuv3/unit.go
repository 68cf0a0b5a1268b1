package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/caches"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// The engines of a unit.
const (
	EngineCommand emu.Engine = iota // command queue
	EngineMessage                   // the unit's own interrupts
	EngineControl                   // updates of CR0, IRQ_CTRL and GBPA
	EngineStall                     // stalled transactions that wait for room
	EngineGATOS                     // address translation operations
	EngineVATOS                     // those of the VATOS page
)

// Unit is one SMMUv3. It implements emu.Unit and emu.ATSUnit.
type Unit struct {
	cache caches.Set
	cfg   Config
	id    ids
	adv   ids // what a snapshot advertised
	lim   limits
	reg   *reg.File
	obs   emu.Observer

	// What registers say, as far as it has taken effect.
	ack     uint64 // CR0ACK
	on      bool   // SMMUEN
	e2h     bool   // EL2 contexts are EL2-E2H
	streams streamTable

	s      state
	pm     counting
	stalls []stalled // by STAG
	cmd    [spec.NumCmdOpcodes]command
}

// state is what a unit remembers besides its registers and caches. It is plain data for Save.
type state struct {
	GBPA         uint64 // as it has taken effect
	CmdBusy      bool   // the command engine is between start and stop
	CmdWaits     bool   // the command engine waits for devices
	ControlWaits bool   // an update waits for the command engine to stop
	TimedOut     bool   // a device has not answered an invalidation in time
	Global       bool   // there may be global translations
	Ticked       uint64 // cycle up to which cycles have been counted
	Sizes        uint64 // bit lg2: a translation of that size was cached, on a unit that sees conflicts
	MaxCONT      uint8  // the largest CONT of an STE that was cached
	SpansSeen    uint64 // also the next place in Spans
	Spans        [maxSpans]span
	LastEvent    lastEvent
	Prefetch     prefetch
	Sizes2       uint64 // the same of intermediate addresses
	Pieces       uint32 // bit kind: a part of a translation of that kind was cached by itself
	Waiting      bool   // stalled transactions wait for room
	Messages     uint8  // interrupts to be sent, by msg...
	ITags        [emu.MaxITags]itag
	ATOS         [len(atosGroups)]uint32 // requests so far
	MAIRs        mairs
}

// New returns a unit after a cold reset, or an error that wraps ErrConfig.
func New(c Config) (*Unit, error) {
	c.Walk = append([]iotlb.Level(nil), c.Walk...)
	c.Walk2 = append([]iotlb.Level(nil), c.Walk2...)
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.settle()
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
		Entry:  caches.Sized{Name: "STECache", Geometry: c.STECache},
		PASID:  caches.Sized{Name: "CDCache", Geometry: c.CDCache},
		IOTLB:  caches.Sized{Name: "IOTLB", Geometry: c.IOTLB},
		Stage2: caches.Sized{Name: "Stage2", Geometry: c.Stage2},
		Walk:   caches.Levels{Name: "Walk", Levels: c.Walk},
		Walk2:  caches.Levels{Name: "Walk2", Levels: c.Walk2},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// build makes what depends on the capabilities.
func (u *Unit) build() error {
	u.id = u.cfg.ids()
	u.setLimits()
	u.setCommands()
	f, err := reg.NewFile(spec.WindowAll, u.registers())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	u.reg = f
	u.restart()
	return nil
}

// restart forgets everything but registers and caches.
func (u *Unit) restart() {
	u.s = state{GBPA: u.reg.Get(rGBPA)}
	u.stalls = nil
	if u.cfg.StallModel != spec.StallNever {
		u.stalls = make([]stalled, u.cfg.StallMax)
	}
	u.latch(u.reg.Get(rCR0ACK))
	u.setStreamTable()
	u.setCounting()
}

// Reset implements emu.Unit. No register survives a warm reset. After reset the caches of an SMMU are
// undefined and software has to invalidate them (3.11); here they are empty.
func (u *Unit) Reset(kind emu.ResetKind) {
	u.reg.Reset(kind)
	u.cache.Reset()
	u.restart()
}

// Cache implements emu.Unit.
func (u *Unit) Cache(id emu.CacheID) emu.Cache { return u.cache.Get(id) }

// Observe implements emu.Unit.
func (u *Unit) Observe(o emu.Observer) { u.obs = o }

// ReadReg implements emu.Unit. Accesses are 4 or 8 bytes wide and naturally aligned (6.2); others, and
// offsets where no register is, read 0.
func (u *Unit) ReadReg(off uint32, size uint8) uint64 {
	if off >= spec.OffPMCG {
		u.tick()
	}
	return u.reg.Read(off, size)
}

// WriteReg implements emu.Unit. Accesses that ReadReg answers with 0 are dropped.
func (u *Unit) WriteReg(off uint32, size uint8, v uint64) emu.Wake {
	var c [2]reg.Change
	var w emu.Wake
	for i := range u.reg.Write(off, size, v, &c) {
		w |= u.effect(&c[i])
	}
	return w
}
