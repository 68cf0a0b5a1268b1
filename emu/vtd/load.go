package vtd

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// ErrImage is what an error of Load wraps.
var ErrImage = errors.New("vtd: register image")

// Load implements emu.Unit. The unit takes the capabilities of the image as far as it models them
// (see Unmodelled), all registers as they are, and what hardware latches as if it had latched them
// just now. The caches are emptied. The host address width is not in any register: it stays as
// configured. Errors wrap ErrImage and name the offset or the register.
func (u *Unit) Load(img emu.RegImage) error {
	m, err := img.Words(spec.MaxWindow)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	ver, haveVer := m.Get(spec.OffVER, 4)
	cap, haveCap := m.Get(spec.OffCAP, 8)
	ecap, haveEcap := m.Get(spec.OffECAP, 8)
	if !haveVer || !haveCap || !haveEcap {
		return fmt.Errorf("%w: VER_REG, CAP_REG or ECAP_REG is missing", ErrImage)
	}
	if err := u.become(ver, cap, ecap, perfImage(m)); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	for _, r := range img {
		if end := r.Off + uint32(r.Size); end > u.cfg.Window() {
			return fmt.Errorf("%w: offset %#x: size %d: the window that the capabilities tell is %#x", ErrImage, r.Off, r.Size, u.cfg.Window())
		}
	}
	for i := range u.reg.Len() {
		r := u.reg.Reg(i)
		absent := r.Layout == nil && r.RW|r.W1C|r.Sticky == 0
		if i == rVER || i == rCAP || i == rECAP || i == rGCMD || absent {
			continue
		}
		if v, ok := m.Get(r.Off, r.Size); ok {
			u.reg.Set(i, v)
		}
	}
	gsts := u.reg.Get(rGSTS)
	u.s = state{Root: u.reg.Get(rRTADDR), IRTA: u.reg.Get(rIRTA), Levels: uint32(gsts & levelBits)}
	u.s.NextFault = u.freeRecord()
	u.restartRecords()
	u.setMode()
	u.setPerf()
	return nil
}

// levelBits are the bits of GCMD that are levels.
var levelBits = spec.GcmdTE.Mask() | spec.GcmdQIE.Mask() | spec.GcmdIRE.Mask() | spec.GcmdCFI.Mask() | spec.GcmdEAFL.Mask()

// become gives the unit the capabilities of registers and resets it. After an error it has those that it had. perf is as perfWords returns it.
func (u *Unit) become(ver, cap, ecap uint64, perf []uint64) error {
	next := u.cfg
	next.adopt(ver, cap, ecap)
	next.adoptPerf(cap, ecap, perf)
	if err := next.Check(); err != nil {
		return err
	}
	was, adv := u.cfg, u.adv
	u.cfg = next
	u.adv.ver, u.adv.cap, u.adv.ecap = ver, cap, ecap
	if err := u.build(); err != nil {
		u.cfg, u.adv = was, adv
		return errors.Join(err, u.build())
	}
	u.Reset(emu.ResetCold)
	return nil
}

// freeRecord returns the fault record that hardware would use next: the first free one behind FRI.
func (u *Unit) freeRecord() uint32 {
	n := uint32(u.cfg.FaultRecords)
	if !u.fsts(spec.FstsPPF) {
		return 0
	}
	first := uint32(spec.FstsFRI.Of(u.reg.Get(rFSTS))) % n
	for i := range n {
		if at := (first + i) % n; !spec.FrF.On(u.reg.Get(rFRCD + 2*int(at) + 1)) {
			return at
		}
	}
	return first
}

// Unmodelled lists what a loaded snapshot advertises or has turned on and this unit does not do, as
// register and field. A use of it ends in a fault.
func (u *Unit) Unmodelled() []string {
	n := append(spec.CAPLayout.Names("CAP", u.adv.cap&^u.cap), spec.ECAPLayout.Names("ECAP", u.adv.ecap&^u.ecap)...)
	on := u.reg.Get(rGSTS) & spec.GstsAFLS.Mask()
	if !u.cfg.IR {
		on = u.reg.Get(rGSTS) & (spec.GstsIRES.Mask() | spec.GstsCFIS.Mask() | spec.GstsAFLS.Mask())
	}
	return append(n, spec.GSTSLayout.Names("GSTS", on)...)
}
