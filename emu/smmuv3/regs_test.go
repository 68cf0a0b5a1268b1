package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func TestIDRegistersSayWhatIsConfigured(t *testing.T) {
	r := newRig(t)
	for _, b := range []reg.Bits{spec.Idr0S1P, spec.Idr0S2P, spec.Idr0COHACC, spec.Idr0ATS, spec.Idr0PRI, spec.Idr0CD2L, spec.Idr0VMID16} {
		require.True(t, b.On(r.R32(spec.OffIDR0)))
	}
	require.EqualValues(t, spec.TTFAArch64, spec.Idr0TTF.Of(r.R32(spec.OffIDR0)))
	require.EqualValues(t, 16, spec.Idr1SSIDSIZE.Of(r.R32(spec.OffIDR1)))
	require.False(t, spec.Idr1ECMDQ.On(r.R32(spec.OffIDR1)))
	require.EqualValues(t, 2, r.R32(spec.OffAIDR))
	require.EqualValues(t, 48, spec.OASBits(spec.Idr5OAS.Of(r.R32(spec.OffIDR5))))
	for off := uint32(spec.OffIDR0); off <= spec.OffAIDR; off += 4 {
		v := r.R32(off)
		r.W32(off, ^v)
		require.Equal(t, v, r.R32(off))
	}
	require.EqualValues(t, 0xb1, r.R32(0xffc))
}

func TestAccessSizes(t *testing.T) {
	r := newRig(t)
	r.W32(spec.OffSTRTABBase, 0x8765_4300)
	r.W32(spec.OffSTRTABBase+4, 0x4000_0001)
	require.EqualValues(t, uint64(0x4000_0001_8765_4300), r.R64(spec.OffSTRTABBase))
	require.EqualValues(t, 0x4000_0001, r.R32(spec.OffSTRTABBase+4))
	for _, size := range []uint8{1, 2, 3, 16} {
		require.Zero(t, r.u.ReadReg(spec.OffIDR0, size))
		r.u.WriteReg(spec.OffCR0, size, 1)
	}
	require.Zero(t, r.R32(spec.OffCR0))
	require.Zero(t, r.u.ReadReg(spec.OffIDR0+2, 4))
	require.Zero(t, r.R32(0x8000), "no Secure interface")
}

func TestSMMUQuirk37_CR0ACKReflectsWhatThereIs(t *testing.T) {
	r := newRig(t)
	r.W32(spec.OffCR0, ^uint64(0)&^spec.Cr0CMDQEN.Mask())
	want := uint64(spec.Cr0SMMUEN.Mask() | spec.Cr0PRIQEN.Mask() | spec.Cr0EVENTQEN.Mask() | spec.Cr0ATSCHK.Mask() | spec.Cr0VMW.Mask())
	require.Equal(t, want, r.R32(spec.OffCR0))
	require.Equal(t, want, r.R32(spec.OffCR0ACK))
	r.W32(spec.OffCR0ACK, 0)
	require.Equal(t, want, r.R32(spec.OffCR0ACK))
	r = newRig(t, func(c *smmuv3.Config) { c.ATS, c.PRI, c.VMW = false, false, false })
	r.W32(spec.OffCR0, ^uint64(0))
	require.EqualValues(t, 0xd, r.R32(spec.OffCR0ACK))
	// PRIQEN is acknowledged while SMMUEN=0, though the queue is off.
	r = newRig(t).queues()
	require.True(t, spec.Cr0PRIQEN.On(r.R32(spec.OffCR0ACK)))
}

// 6.3: which registers take a write while what is enabled. Bit by bit of CR0.
func TestSMMUQuirk35_GuardedRegisters(t *testing.T) {
	smmu, cmd, events, pri := spec.Cr0SMMUEN, spec.Cr0CMDQEN, spec.Cr0EVENTQEN, spec.Cr0PRIQEN
	for _, c := range []struct {
		name  string
		off   uint32
		size  uint8
		guard []reg.Bits
		v     uint64
	}{
		{"STRTAB_BASE", spec.OffSTRTABBase, 8, []reg.Bits{smmu}, 0x1_0000},
		{"STRTAB_BASE_CFG", spec.OffSTRTABBaseCfg, 4, []reg.Bits{smmu}, 5},
		{"CR2", spec.OffCR2, 4, []reg.Bits{smmu}, 6},
		{"CR1 tables", spec.OffCR1, 4, []reg.Bits{smmu}, 0xd40},
		{"CR1 queues", spec.OffCR1, 4, []reg.Bits{cmd, events, pri}, 0x35},
		{"CMDQ_BASE", spec.OffCMDQBase, 8, []reg.Bits{cmd}, 0x1_0008},
		{"CMDQ_CONS", spec.OffCMDQCons, 4, []reg.Bits{cmd}, 1},
		{"CMDQ_PROD", spec.OffCMDQProd, 4, nil, 1},
		{"EVENTQ_BASE", spec.OffEVENTQBase, 8, []reg.Bits{events}, 0x1_0008},
		{"EVENTQ_PROD", spec.OffEVENTQProd, 4, []reg.Bits{events}, 1},
		{"EVENTQ_CONS", spec.OffEVENTQCons, 4, nil, 1},
		{"PRIQ_BASE", spec.OffPRIQBase, 8, []reg.Bits{pri}, 0x1_0008},
		{"PRIQ_PROD", spec.OffPRIQProd, 4, []reg.Bits{pri}, 1},
		{"PRIQ_CONS", spec.OffPRIQCons, 4, nil, 1},
	} {
		for _, on := range []reg.Bits{smmu, cmd, events, pri} {
			r := newRig(t)
			r.W64(spec.OffSTRTABBase, 0)
			r.W32(spec.OffSTRTABBaseCfg, 0)
			r.W32(spec.OffCR0, on.Mask())
			was := r.u.ReadReg(c.off, c.size)
			r.F.WriteReg(0, c.off, c.size, c.v)
			want := c.v
			for _, g := range c.guard {
				if g == on {
					want = was
				}
			}
			if c.name == "CMDQ_PROD" && on == cmd {
				continue // runs into what is no command
			}
			require.Equal(t, want, r.u.ReadReg(c.off, c.size), "%s with CR0=%#x", c.name, on.Mask())
		}
	}
}

// Where the indexes of the queues that the unit writes are.
func TestIndexesAreInPage1(t *testing.T) {
	r := newRig(t)
	for off := range map[uint32]bool{0xa8: true, 0xac: true, 0xc8: true, 0xcc: true} {
		r.W32(off, 1)
		require.Zero(t, r.R32(off))
		r.W32(0x1_0000+off, 1)
		require.EqualValues(t, 1, r.R32(0x1_0000+off))
	}
}

// An update is under way from the write to the acknowledgement: meanwhile the old state counts, and what
// it guards is guarded.
func TestSMMUQuirk36_DisabledMeansAcknowledged(t *testing.T) {
	r := newRig(t).enable()
	e := r.Crew(1)
	off := r.R32(spec.OffCR0) &^ spec.Cr0SMMUEN.Mask()
	job := e.StartEngine(r.u.WriteReg(spec.OffCR0, 4, off))
	require.Equal(t, off, r.R32(spec.OffCR0), "reads back at once")
	require.True(t, spec.Cr0SMMUEN.On(r.R32(spec.OffCR0ACK)))
	r.u.WriteReg(spec.OffSTRTABBaseCfg, 4, 0)
	require.EqualValues(t, streamBits, r.R32(spec.OffSTRTABBaseCfg))
	r.u.WriteReg(spec.OffCR0, 4, off|1) // the second change comes too early
	require.Equal(t, off, r.R32(spec.OffCR0))
	for !e.Step(job) {
	}
	require.Equal(t, off, r.R32(spec.OffCR0ACK))
	r.W32(spec.OffSTRTABBaseCfg, 3)
	require.EqualValues(t, 3, r.R32(spec.OffSTRTABBaseCfg))
}

// An update of SMMUEN waits for what began before it.
func TestUpdateWaitsForTransactions(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
	c := r.Crew(1)
	x := c.Start(dma(emu.Read))
	c.Step(x)
	c.StartEngine(r.u.WriteReg(spec.OffCR0, 4, r.R32(spec.OffCR0)&^1))
	c.RunEngine()
	require.True(t, c.Blocked())
	require.True(t, spec.Cr0SMMUEN.On(r.R32(spec.OffCR0ACK)))
	for !c.Step(x) {
	}
	c.Active = nil
	c.RunEngine()
	require.False(t, spec.Cr0SMMUEN.On(r.R32(spec.OffCR0ACK)))
}

func TestSMMUQuirk38_GBPAUpdates(t *testing.T) {
	r := newRig(t).queues()
	require.EqualValues(t, 0x1000, r.R32(spec.OffGBPA))
	r.RequireOK(r.Do(dma(emu.Read)), iova)
	r.W32(spec.OffGBPA, spec.GbpaABORT.Mask())
	require.EqualValues(t, 0x1000, r.R32(spec.OffGBPA), "without UPDATE nothing happens")
	c := r.Crew(1)
	job := c.StartEngine(r.u.WriteReg(spec.OffGBPA, 4, spec.GbpaABORT.Mask()|spec.GbpaUPDATE.Mask()))
	require.EqualValues(t, spec.GbpaABORT.Mask()|spec.GbpaUPDATE.Mask(), r.R32(spec.OffGBPA), "reads back at once")
	r.u.WriteReg(spec.OffGBPA, 4, spec.GbpaUPDATE.Mask())
	require.True(t, spec.GbpaABORT.On(r.R32(spec.OffGBPA)), "while an update is under way nothing happens")
	r.RequireOK(r.Do(dma(emu.Read)), iova)
	for !c.Step(job) {
	}
	require.EqualValues(t, spec.GbpaABORT.Mask(), r.R32(spec.OffGBPA))
	r.requireSilent(dma(emu.Read), smmuv3.FaultGBPA)
}

func TestSMMUQuirk51_SMMUENDoesNotInvalidate(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.update(false, spec.Cr0SMMUEN)
	r.RequireOK(r.Do(dma(emu.Read)), iova)
	r.set(r.ste(dev), field{spec.SteV, 0})
	r.set(cd, field{spec.CdV, 0})
	r.update(true, spec.Cr0SMMUEN)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	// And while it is off, invalidations are done and nothing is cached.
	r.update(false, spec.Cr0SMMUEN)
	before := emutest.Stats(r.u)
	r.RequireOK(r.Do(dma(emu.Read)), iova)
	require.Equal(t, before, emutest.Stats(r.u))
	r.submit(cfgiAll(), sync())
	r.update(true, spec.Cr0SMMUEN)
	r.requireEvent(dma(emu.Read), smmuv3.FaultSTEInvalid)
}

func TestResetAndLoadOfRegisters(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev)
	r.Do(dma(emu.Read))
	img := emutest.Image(r.u, 0, spec.Window)
	fresh, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, fresh.Load(img))
	require.Equal(t, img, emutest.Image(fresh, 0, spec.Window))
	require.Empty(t, fresh.Unmodelled())
	fresh.Reset(emu.ResetCold)
	again, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	require.Equal(t, emutest.Image(again, 0, spec.Window), emutest.Image(fresh, 0, spec.Window))
	// Errors name what is wrong.
	require.ErrorIs(t, fresh.Load(emu.RegImage{{Off: 2, Size: 4}}), smmuv3.ErrImage)
	require.ErrorContains(t, fresh.Load(nil), "IDR0 is missing")
	require.ErrorContains(t, fresh.Load(emu.RegImage{{Off: 0, Size: 8, Value: spec.Idr0S1P.Mask()}}), "IDR5 is missing")
	require.ErrorIs(t, fresh.Load(emu.RegImage{{Off: 0, Size: 8}, {Off: 0x14, Size: 4}}), smmuv3.ErrImage)
}

func TestSnapshotAdvertisesWhatIsNotModelled(t *testing.T) {
	u, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	idr0 := spec.Idr0S1P.Mask() | spec.Idr0S2P.Mask() | spec.Idr0TTF.Mask() | spec.Idr0BTM.Mask() | spec.Idr0DORMHINT.Mask() | spec.Idr0TTENDIAN.Put(2)
	require.NoError(t, u.Load(emu.RegImage{{Off: 0, Size: 4, Value: idr0}, {Off: 4, Size: 4, Value: spec.Idr1ECMDQ.Mask()}, {Off: 12, Size: 4, Value: spec.Idr3MPAM.Mask()},
		{Off: 0x14, Size: 4, Value: spec.Idr5GRAN4K.Mask() | spec.Idr5D128.Mask()}}))
	require.Equal(t, []string{"IDR0.TTF", "IDR0.BTM", "IDR0.DORMHINT", "IDR1.ECMDQ", "IDR3.MPAM", "IDR5.D128"}, u.Unmodelled())
}

// What a unit without stage 1 says of substreams means nothing.
func TestSnapshotWithoutStage1(t *testing.T) {
	u, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	img := emu.RegImage{{Off: 0, Size: 4, Value: spec.Idr0S2P.Mask() | spec.Idr0CD2L.Mask()}, {Off: 4, Size: 4, Value: spec.Idr1SSIDSIZE.Put(5)},
		{Off: 12, Size: 4, Value: spec.Idr3PASIDTT.Mask()}, {Off: 0x14, Size: 4, Value: spec.Idr5GRAN4K.Mask()}}
	require.NoError(t, u.Load(img))
	require.Contains(t, u.Unmodelled(), "IDR1.SSIDSIZE")
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, f := range map[string]change{
		"S1P":      func(c *smmuv3.Config) { c.S1P, c.S2P = false, false },
		"GRAN4K":   func(c *smmuv3.Config) { c.GRAN4K, c.GRAN16K, c.GRAN64K = false, false, false },
		"TTENDIAN": func(c *smmuv3.Config) { c.TTENDIAN = 1 }, "STLevel": func(c *smmuv3.Config) { c.STLevel = 0 },
		"HYP": func(c *smmuv3.Config) { c.S2P = false }, "PRI": func(c *smmuv3.Config) { c.ATS = false },
		"S2P": func(c *smmuv3.Config) { c.S2P, c.HYP = false, false }, "SIDSIZE": func(c *smmuv3.Config) { c.SIDSIZE = 33 },
		"SSIDSIZE": func(c *smmuv3.Config) { c.SSIDSIZE = 21 }, "CMDQS": func(c *smmuv3.Config) { c.CMDQS = 20 },
		"DS": func(c *smmuv3.Config) { c.DS = true }, "PASIDTT": func(c *smmuv3.Config) { c.PASIDTT, c.SSIDSIZE, c.CD2L = true, 0, false },
		"FetchSize": func(c *smmuv3.Config) { c.FetchSize = 64 }, "OAS": func(c *smmuv3.Config) { c.OAS = 7 },
		"IOTLB": func(c *smmuv3.Config) { c.IOTLB.Sets = 3 },
	} {
		c := smmuv3.DefaultConfig()
		f(&c)
		_, err := smmuv3.New(c)
		require.ErrorIs(t, err, smmuv3.ErrConfig)
		require.ErrorContains(t, err, field)
	}
}

func TestPresets(t *testing.T) {
	for _, p := range smmuv3.Presets() {
		c, err := smmuv3.Preset(p.Name)
		require.NoError(t, err)
		u, err := smmuv3.New(c)
		require.NoError(t, err, p.Name)
		require.NotEmpty(t, p.Doc)
		// A unit that has loaded its registers is like it.
		v, err := smmuv3.New(smmuv3.DefaultConfig())
		require.NoError(t, err)
		require.NoError(t, v.Load(emutest.Image(u, 0, spec.Window)))
		require.Equal(t, emutest.Image(u, 0, spec.Window), emutest.Image(v, 0, spec.Window), p.Name)
		require.Empty(t, v.Unmodelled(), p.Name)
	}
	for minor, name := range []string{"3.0", "3.1", "3.2", "3.3", "3.4"} {
		c, err := smmuv3.Preset(name)
		require.NoError(t, err)
		require.EqualValues(t, minor, c.Minor)
	}
	_, err := smmuv3.Preset("4.0")
	require.ErrorIs(t, err, smmuv3.ErrConfig)
	require.ErrorContains(t, err, "3.4")
}

// The ID registers of the preset are those of the snapshot, as far as they are about what is modelled.
func TestQEMUPresetIsQEMU(t *testing.T) {
	c, err := smmuv3.Preset("qemu")
	require.NoError(t, err)
	u, err := smmuv3.New(c)
	require.NoError(t, err)
	require.EqualValues(t, 0x0d44_101b, u.ReadReg(spec.OffIDR0, 4))
	require.EqualValues(t, 0x0270_0010|19<<16, u.ReadReg(spec.OffIDR1, 4))
	require.EqualValues(t, 0x1414, u.ReadReg(spec.OffIDR3, 4))
	require.EqualValues(t, 0x74, u.ReadReg(spec.OffIDR5, 4))
	require.EqualValues(t, 1, u.ReadReg(spec.OffAIDR, 4))
}
