package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/host"
)

// caps is what the driver wants to know of the feature registers.
type caps struct {
	efr, efr2 uint64

	levels       uint8  // of host tables, at most; 0: none
	guestLevels  uint8  // of guest tables, at most; 0: none
	pasids       uint32 // that a device may have, at most
	maxGLX       uint8
	pages        bool // page requests
	ats          bool
	wide         bool // 32-bit destinations of interrupts
	segments     uint8
	invalidateIA bool // INVALIDATE_IOMMU_ALL
}

func (c *caps) has(b reg.Bits) bool { return b.On(c.efr) }

// readCaps reads the features. Guest tables for requests of all kinds need GTSup and GIoSup; PASIDs and page
// requests need PPRSup and EPHSup besides, as with Linux 7.3.
func (d *Driver) readCaps() error {
	c := &d.caps
	c.efr, c.efr2 = d.k.Read(spec.OffEFR, 8), d.k.Read(spec.OffEFR2, 8)
	if c.efr == ^uint64(0) && c.efr2 == ^uint64(0) {
		return fmt.Errorf("amdvi: unit %d: %w", d.opt.Unit, ErrNoUnit)
	}
	if hats := spec.EfrHATS.Of(c.efr); hats <= spec.HATS6 {
		c.levels = 4 + uint8(hats)
	}
	if c.has(spec.EfrGTSup) && c.has(spec.EfrGIoSup) {
		c.guestLevels = 4 + uint8(min(spec.EfrGATS.Of(c.efr), spec.GATS5))
	}
	if c.levels == 0 && c.guestLevels == 0 {
		return fmt.Errorf("amdvi: unit %d: neither host nor guest tables: %w", d.opt.Unit, host.ErrUnsupported)
	}
	c.ats = !d.opt.NoATS
	enhanced := c.has(spec.EfrPPRSup) && c.has(spec.EfrEPHSup)
	c.pages = c.ats && enhanced
	if c.guestLevels != 0 && enhanced {
		c.maxGLX = uint8(min(spec.EfrGLXSup.Of(c.efr), spec.MaxGLX))
		c.pasids = 1 << min(spec.EfrPASmax.Of(c.efr)+1, 9*(uint64(c.maxGLX)+1))
	}
	c.wide = c.has(spec.EfrXTSup) && !d.opt.XAPIC
	c.segments = min(d.opt.Segments, uint8(spec.EfrDevTblSegSup.Of(c.efr)))
	c.invalidateIA = c.has(spec.EfrIASup)
	return nil
}

// hostWidth returns the levels that a host table of at least want address bits has to begin with, and those
// that it may grow to. Without a wish it begins with three, as Linux 7.3 does.
func (c *caps) hostWidth(want uint8) (levels, most uint8, ok bool) {
	if want == 0 {
		return min(3, c.levels), c.levels, c.levels != 0
	}
	for l := uint8(1); l <= c.levels; l++ {
		if l == spec.MaxMode || 12+9*l >= want {
			return l, l, want <= 64
		}
	}
	return 0, 0, false
}

// guestWidth returns the levels of guest tables for at least want address bits: requests with PASID have
// canonical addresses, of which the tables of requests without have the lower half.
func (c *caps) guestWidth(want uint8) (levels uint8, ok bool) {
	for l := uint8(4); l <= c.guestLevels; l++ {
		if want <= 12+9*l-1 {
			return l, true
		}
	}
	return 0, false
}
