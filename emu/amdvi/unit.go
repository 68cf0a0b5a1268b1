package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/caches"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/iotlb"
)

// The engines of a unit.
const (
	EngineCommand emu.Engine = iota // command buffer
	EngineMessage                   // the unit's own interrupts
	EngineTimeout                   // events of device IOTLBs that did not answer
	EngineCounter                   // events of counters
)

// Unit is one AMD-Vi unit. It implements emu.Unit.
type Unit struct {
	cache caches.Set
	cfg   Config
	efr   uint64
	efr2  uint64
	adv   struct{ efr, efr2 uint64 } // what a snapshot advertised
	lim   limits
	reg   *reg.File
	ctl   uint64 // Control
	s     state
	obs   emu.Observer
	perf  perf

	states uint16 // states below this are not counted

	cmd [spec.NumCmdOpcodes]command
}

// state is what a unit remembers besides its registers and caches. It is plain data for Save.
type state struct {
	CmdBusy   bool          // the command engine is between start and stop
	CmdWaits  bool          // the command engine waits for devices
	CmdHalted bool          // stopped by an error until CmdBufEn is set anew
	LogHalted [numLogs]bool // a log overflowed
	Messages  uint8         // interrupts to be sent, by msg...
	ITags     [emu.MaxITags]itag
	Zero      [(spec.MaxBanks*spec.MaxCounters + 63) / 64]uint64 // counters that have come to 0, not yet logged
	PCI       pciState
	Wake      emu.Wake // of engines that the unit had no way to wake when there was work
}

// New returns a unit after a cold reset, or an error that wraps ErrConfig.
func New(c Config) (*Unit, error) {
	c.Walk = append([]iotlb.Level(nil), c.Walk...)
	c.Walk2 = append([]iotlb.Level(nil), c.Walk2...)
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
		Entry:     caches.Sized{Name: "DTECache", Geometry: c.DTECache},
		PASID:     caches.Sized{Name: "GCR3Cache", Geometry: c.GCR3Cache},
		IOTLB:     caches.Sized{Name: "IOTLB", Geometry: c.IOTLB},
		Stage2:    caches.Sized{Name: "Stage2", Geometry: c.Stage2},
		Interrupt: caches.Sized{Name: "Interrupt", Geometry: c.Interrupt},
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
	u.efr, u.efr2 = u.cfg.efrWord(), u.cfg.efr2Word()
	u.setLimits()
	u.setCommands()
	f, err := reg.NewFile(u.cfg.Window(), u.registers())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	u.reg = f
	u.s, u.ctl = state{}, 0
	u.setPerf()
	return nil
}

// Reset implements emu.Unit. No register survives a warm reset.
func (u *Unit) Reset(kind emu.ResetKind) {
	u.reg.Reset(kind)
	u.s, u.ctl = state{}, 0
	u.setPerf()
	u.cache.Reset()
}

// Cache implements emu.Unit.
func (u *Unit) Cache(id emu.CacheID) emu.Cache { return u.cache.Get(id) }

// Observe implements emu.Unit.
func (u *Unit) Observe(o emu.Observer) { u.obs = o }

// ReadReg implements emu.Unit. Accesses are 4 or 8 bytes wide and naturally aligned (3.4); others,
// and offsets where no register is, read 0.
func (u *Unit) ReadReg(off uint32, size uint8) uint64 {
	if u.perf.on {
		u.countScratch(off)
	}
	return u.reg.Read(off, size)
}

// WriteReg implements emu.Unit. Accesses that ReadReg answers with 0 are dropped.
func (u *Unit) WriteReg(off uint32, size uint8, v uint64) emu.Wake {
	var c [2]reg.Change
	var w emu.Wake
	if u.perf.on {
		u.countScratch(off)
	}
	for i := range u.reg.Write(off, size, v, &c) {
		w |= u.effect(&c[i])
	}
	return w | u.perfWake()
}

func (u *Unit) effect(c *reg.Change) emu.Wake {
	switch c.Effect {
	case effCmdBase:
		u.writeRingBase(c, spec.StsCmdBufRun, rCmdHead, rCmdTail)
	case effLogBase:
		for i := range logs {
			if l := &logs[i]; l.base == c.Index {
				u.writeRingBase(c, l.run, l.head, l.tail)
			}
		}
	case effControl:
		return u.writeControl(c)
	case effCmdTail:
		return u.cmdDoorbell()
	case effCounter:
		u.setPerf()
	case effMatch:
		u.writeMatch(c)
	}
	return 0
}

// status reports whether a bit of Status is set.
func (u *Unit) status(b reg.Bits) bool { return b.On(u.reg.Get(rStatus)) }

// control reports whether a bit of Control is set.
func (u *Unit) control(b reg.Bits) bool { return b.On(u.ctl) }
