package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

func TestResetValues(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffDevTabBase, 0)
	want := map[uint32]uint64{
		spec.OffCmdBufBase: 8 << 56, spec.OffEventLogBase: 8 << 56, spec.OffExclLimit: 0xfff,
		spec.OffEFR: r.R64(spec.OffEFR), spec.OffEFR2: 1<<3 | 1<<8 | 1<<11,
		spec.OffPPRLogBase: 8 << 56, spec.OffGALogBase: 8 << 56,
		spec.OffMSIMapCap: spec.MSIMapping, spec.OffMSIVector0: 64<<15 | 52<<8 | 2<<5, spec.OffMSICapHeader: 0x0080_0005,
	}
	for off := uint32(0); off < spec.Window; off += 8 {
		require.Equal(t, want[off], r.R64(off), "%#x", off)
	}
}

// Bit numbers of the specification, not of package spec.
func TestDefaultAdvertisesWhatIsModelled(t *testing.T) {
	set := func(bits ...uint) (w uint64) {
		for _, b := range bits {
			w |= 1 << b
		}
		return w
	}
	r := newRig(t)
	require.Equal(t, set(0, 1, 2, 3, 4, 6, 7, 8, 9, 21, 40, 41, 46, 48, 49, 50, 52, 54, 61)|2<<10|1<<12|1<<14|15<<32|3<<38, r.R64(spec.OffEFR))
}

func TestAMDQuirk44_UnsupportedControlBitsReadZero(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffControl, ^uint64(0)&^1)
	got := r.R64(spec.OffControl)
	for _, bit := range []uint{18, 22, 23, 24, 26, 27, 30, 31, 32, 33, 37, 38, 40, 41, 44, 49, 52, 53, 55, 56, 57, 60, 61, 62, 63} {
		require.Zero(t, got>>bit&1, "bit %d", bit)
	}
	for _, bit := range []uint{1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 25, 28, 29, 34, 39, 42, 43, 45, 46, 48, 50, 51, 54, 58, 59} {
		require.EqualValues(t, 1, got>>bit&1, "bit %d", bit)
	}
	m := presetRig(t, "minimal")
	m.W64(spec.OffControl, ^uint64(0)&^1)
	require.EqualValues(t, 0x1ffe, m.R64(spec.OffControl))
}

func TestAccessesAreFourOrEightBytesWide(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffExclLimit, 0x1234_5678_9000)
	require.EqualValues(t, 0x5678_9fff, r.R32(spec.OffExclLimit))
	require.EqualValues(t, 0x1234, r.R32(spec.OffExclLimit+4))
	r.W32(spec.OffExclLimit+4, 0xffff_ffff)
	require.EqualValues(t, 0xf_ffff_5678_9fff, r.R64(spec.OffExclLimit))
	for _, size := range []uint8{1, 2, 3, 16} {
		require.Zero(t, r.u.ReadReg(spec.OffEFR, size))
		require.Zero(t, r.u.WriteReg(spec.OffExclLimit, size, 0))
	}
	require.NotZero(t, r.R64(spec.OffExclLimit))
}

func TestAMDQuirk26_BasesComeAsTwoHalves(t *testing.T) {
	r := newRig(t)
	pa := emu.PA(0x1_2345_6000)
	r.W32(spec.OffCmdHead, 0x40)
	r.W32(spec.OffCmdTail, 0x80)
	r.base(spec.OffCmdBufBase, pa, 9)
	require.Equal(t, uint64(pa)|9<<56, r.R64(spec.OffCmdBufBase))
	require.Zero(t, r.R64(spec.OffCmdHead), "a write clears head and tail")
	require.Zero(t, r.R64(spec.OffCmdTail))
	// What was set up with two halves works.
	r.control(true, spec.CtlCmdBufEn)
	r.control(true, spec.CtlIommuEn)
	status := r.Page()
	w := wait(status, 5)
	r.Put(pa, w[0], w[1])
	r.W32(spec.OffCmdTail, 16)
	require.EqualValues(t, 5, r.Get(status))
	// While the buffer runs the base stays.
	r.W64(spec.OffCmdBufBase, 0)
	require.Equal(t, uint64(pa)|9<<56, r.R64(spec.OffCmdBufBase))
	require.EqualValues(t, 16, r.head())
}

func TestAMDQuirk25_RingsStartWithWhicheverEnableComesLast(t *testing.T) {
	for _, last := range []bool{false, true} {
		r := newRig(t)
		r.cmd, r.log = r.Page(), r.Page()
		r.base(spec.OffCmdBufBase, r.cmd, 8)
		r.base(spec.OffEventLogBase, r.log, 8)
		status := r.Page()
		r.push(wait(status, 1))
		r.ring()
		rings := func() { r.control(true, spec.CtlCmdBufEn, spec.CtlEventLogEn) }
		if !last {
			rings()
		}
		require.False(t, r.status(spec.StsCmdBufRun) || r.status(spec.StsEventLogRun))
		r.control(true, spec.CtlIommuEn)
		if last {
			require.False(t, r.status(spec.StsCmdBufRun))
			rings()
		}
		require.True(t, r.status(spec.StsCmdBufRun) && r.status(spec.StsEventLogRun))
		require.EqualValues(t, 1, r.Get(status))
		r.control(false, spec.CtlIommuEn)
		require.False(t, r.status(spec.StsCmdBufRun) || r.status(spec.StsEventLogRun))
	}
}

func TestReservedRingLengthDoesNotRun(t *testing.T) {
	r := newRig(t)
	r.base(spec.OffCmdBufBase, r.Page(), 7)
	r.base(spec.OffEventLogBase, r.Page(), 0)
	r.control(true, spec.CtlCmdBufEn, spec.CtlEventLogEn)
	r.control(true, spec.CtlIommuEn)
	r.W32(spec.OffCmdTail, 16)
	require.Zero(t, r.R64(spec.OffStatus))
	require.True(t, r.Access(dev, 0x5000, emu.Read).Status == emu.OK)
}

func TestUnitOffPassesEverything(t *testing.T) {
	r := newRig(t)
	r.Put(r.dte(dev), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0))
	r.RequireOK(r.Access(dev, 0x5000, emu.Write), 0x5000)
	r.RequireOK(r.Access(0x1_0000, 0x5000, emu.Write), 0x5000)
	r.RequireOK(r.pasidAccess(9, 0x5000, emu.Write), 0x5000)
	q := dma(emu.Write)
	msi(&q)
	res := r.Do(q)
	require.Equal(t, emu.Interrupt, res.Status)
	require.Equal(t, q.Data, res.Data)
	require.EqualValues(t, q.Addr, res.PA)
	r.RequireOK(r.Access(dev, 0xfee0_0000, emu.Read), 0xfee0_0000)
	q.Type = emu.PageRequest
	r.RequireFault(r.Do(q), amdvi.FaultDisabled)
	require.Zero(t, r.u.Cache(emu.CacheEntry).Stats().Lookups)
}

func TestAMDQuirk49_SizeAndSegmentsOfTheDeviceTable(t *testing.T) {
	r := newRig(t).enable()
	r.W64(spec.OffDevTabBase, uint64(r.dev)|1) // 8 KiB: 256 entries
	r.bind(0xff)
	r.RequireOK(r.Access(0xff, 0x5000, emu.Read), 0x5000)
	r.RequireFault(r.Access(0x100, 0x5000, emu.Read), amdvi.FaultDeviceRange)
	r.RequireFault(r.Access(0x1_0000, 0x5000, emu.Read), amdvi.FaultDeviceRange)

	for en := uint64(0); en <= 3; en++ {
		for seg := range emu.SourceID(8) {
			r := newRig(t).enable()
			r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlDevTblSegEn.Put(en))
			id := seg<<13 | 5
			r.W64(spec.OffDevTabBase, uint64(r.dev)) // 128 entries
			n := emu.SourceID(1) << en
			s := id >> (16 - en)
			index := id & (1<<(16-en) - 1)
			base := r.dev
			if s != 0 {
				base = r.Page()
				r.W64(spec.OffDevTabSeg1+8*uint32(s-1), uint64(base))
			}
			if index >= 128 {
				r.RequireFault(r.Access(id, 0x5000, emu.Read), amdvi.FaultDeviceRange)
				continue
			}
			r.Put(base+emu.PA(index)*32, 3|irw)
			res := r.Access(id, 0x5000, emu.Write)
			r.RequireOK(res, 0x5000)
			require.Less(t, s, n)
			require.Equal(t, amdvi.DTEVersion([]uint64{3 | irw, 0, 0, 0}), res.Prov.Entry, "segments %d, device %#x", n, id)
		}
	}
}

func TestAMDQuirk40_ExclusionRangeIsInclusive(t *testing.T) {
	for _, c := range []struct {
		allow, ex, tv bool
		pass          bool
	}{
		{false, false, true, false}, {true, false, true, true}, {false, true, true, true}, {true, true, false, true},
	} {
		r := newRig(t).enable()
		var e spec.DTE
		spec.DteV.Set(e[:], 1)
		spec.DteTV.Set(e[:], spec.DteTV.PutBool(c.tv)>>1)
		spec.DteEX.Set(e[:], spec.DteEX.PutBool(c.ex)>>39)
		r.Put(r.dte(dev), e[:]...) // no rights at all
		r.W64(spec.OffExclLimit, 0x8000)
		r.W64(spec.OffExclBase, 0x6000|spec.ExclEn.Mask()|spec.ExclAllow.PutBool(c.allow))
		for range 2 {
			for addr, in := range map[uint64]bool{0x5fc0: false, 0x6000: true, 0x8fc0: true, 0x9000: false} {
				res := r.Access(dev, addr, emu.Write)
				require.Equal(t, in && c.pass, res.Status == emu.OK, "%+v %#x", c, addr)
			}
		}
		r.W64(spec.OffExclBase, 0x6000|spec.ExclAllow.Mask())
		require.Equal(t, emu.Blocked, r.Access(dev, 0x6000, emu.Write).Status, "off")
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, change := range map[string]func(*amdvi.Config){
		"HATS":            func(c *amdvi.Config) { c.HATS = 3 },
		"GATS":            func(c *amdvi.Config) { c.GATS = 2 },
		"GLXSup":          func(c *amdvi.Config) { c.GLXSup = 3 },
		"PASmax":          func(c *amdvi.Config) { c.PASmax = 20 },
		"DevTblSegSup":    func(c *amdvi.Config) { c.DevTblSegSup = 4 },
		"GTSup":           func(c *amdvi.Config) { c.GTSup = false },
		"HDSup":           func(c *amdvi.Config) { c.HASup = false },
		"InvIotlbTypeSup": func(c *amdvi.Config) { c.IotlbSup = false },
		"page requests":   func(c *amdvi.Config) { c.IotlbSup, c.InvIotlbTypeSup = false, false },
		"PPRSup":          func(c *amdvi.Config) { c.PPRSup = false },
		"GAMSup":          func(c *amdvi.Config) { c.GASup = false },
		"Interrupt":       func(c *amdvi.Config) { c.Interrupt.Sets = 3 },
		"PAsize":          func(c *amdvi.Config) { c.PAsize = 53 },
		"VAsize":          func(c *amdvi.Config) { c.VAsize = 65 },
		"DTECache":        func(c *amdvi.Config) { c.DTECache.Sets = 3 },
		"GCR3Cache":       func(c *amdvi.Config) { c.GCR3Cache.Sets = 3 },
		"IOTLB":           func(c *amdvi.Config) { c.IOTLB.Sets = 3 },
		"Stage2":          func(c *amdvi.Config) { c.Stage2.Sets = 3 },
		"Walk":            func(c *amdvi.Config) { c.Walk[1].Lg2 = 21 },
		"Walk2":           func(c *amdvi.Config) { c.Walk2[1].Lg2 = 21 },
	} {
		c := amdvi.DefaultConfig()
		change(&c)
		_, err := amdvi.New(c)
		require.ErrorIs(t, err, amdvi.ErrConfig, field)
		require.ErrorContains(t, err, field)
	}
}
