package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// caps is what the driver wants to know of VER, CAP and ECAP.
type caps struct {
	cap, ecap uint64
	version   uint8 // major

	cm, rwbf, psi, esrtps bool
	dwd, drd              bool
	mamv                  uint8
	pasids                uint32 // that a directory may have, at most
	faults                int    // recording registers
	fro, iro              uint32 // offsets in bytes
	second, first, nest   bool   // stages of translation that there are
}

func (c *caps) has(b reg.Bits) bool { return b.On(c.ecap) }

// readCaps reads the capabilities and settles the mode.
func (d *Driver) readCaps() error {
	c := &d.caps
	c.cap, c.ecap = d.k.Read(spec.OffCAP, 8), d.k.Read(spec.OffECAP, 8)
	if c.cap == ^uint64(0) && c.ecap == ^uint64(0) {
		return fmt.Errorf("vtd: unit %d: %w", d.opt.Unit, ErrNoUnit)
	}
	c.version = uint8(spec.VerMax.Of(d.k.Read(spec.OffVER, 4)))
	c.cm, c.rwbf = spec.CapCM.On(c.cap), spec.CapRWBF.On(c.cap)
	c.psi, c.esrtps = spec.CapPSI.On(c.cap), spec.CapESRTPS.On(c.cap)
	c.dwd, c.drd = spec.CapDWD.On(c.cap), spec.CapDRD.On(c.cap)
	c.mamv = uint8(spec.CapMAMV.Of(c.cap))
	c.faults = int(spec.CapNFR.Of(c.cap)) + 1
	c.fro, c.iro = uint32(spec.CapFRO.Of(c.cap))*16, uint32(spec.EcapIRO.Of(c.ecap))*16
	d.k.Coherent, d.k.Tables.Coherent = c.has(spec.EcapC), c.has(spec.EcapC)

	_, _, second := c.width(0)
	_, _, first := c.firstWidth(0)
	c.second, c.first = c.has(spec.EcapSSTS) && second, c.has(spec.EcapFSTS) && first
	if err := d.inheritedMode(); err != nil {
		return err
	}
	can := c.has(spec.EcapSMTS) && c.has(spec.EcapQI) && (c.second || c.first)
	switch {
	case d.opt.Mode == ModeScalable && !can:
		return fmt.Errorf("vtd: unit %d: scalable mode with a stage of translation: %w", d.opt.Unit, host.ErrUnsupported)
	case d.opt.Mode == ModeScalable, d.opt.Mode == ModeAuto && can && !d.opt.NoQueue:
		d.scalable = true
		d.k.Tables.Coherent = c.has(spec.EcapSMPWCS)
		c.nest = c.second && c.first && c.has(spec.EcapNEST)
		if c.has(spec.EcapPASID) {
			c.pasids = 1 << (spec.EcapPSS.Of(c.ecap) + 1)
		}
	case !second:
		return fmt.Errorf("vtd: unit %d: no second-stage width in SAGAW %#x: %w",
			d.opt.Unit, spec.CapSAGAW.Of(c.cap), host.ErrUnsupported)
	default:
		c.second, c.first = true, false
	}
	return nil
}

// width returns levels and address bits of tables for at least want bits, or for as many as there are
// with want 0: the widest that CAP.SAGAW has, limited by CAP.MGAW, no deeper than MGAW needs.
func (c *caps) width(want uint8) (levels, bits uint8, ok bool) {
	mgaw := uint8(spec.CapMGAW.Of(c.cap)) + 1
	sagaw := spec.CapSAGAW.Of(c.cap)
	for l := uint8(3); l <= 5; l++ {
		if sagaw>>(l-2)&1 == 0 {
			continue
		}
		natural := 12 + 9*l
		levels, bits = l, min(natural, mgaw)
		if natural >= mgaw || want != 0 && natural >= want {
			break
		}
	}
	if want > bits || bits < 12+9*(levels-1) {
		return levels, bits, false
	}
	if want != 0 && want > 12+9*(levels-1) {
		bits = want
	}
	return levels, bits, true
}

// firstWidth is width for the first stage: the lower half of the canonical addresses of 4 or 5 levels,
// limited by CAP.MGAW (3.6).
func (c *caps) firstWidth(want uint8) (levels, bits uint8, ok bool) {
	mgaw := uint8(spec.CapMGAW.Of(c.cap)) + 1
	for l := uint8(4); l <= 5; l++ {
		if l == 5 && (!spec.CapFS5LP.On(c.cap) || mgaw <= bits) {
			break
		}
		levels, bits = l, min(12+9*l-1, mgaw)
		if want != 0 && want <= bits {
			break
		}
	}
	return levels, bits, bits > 39 && want <= bits
}
