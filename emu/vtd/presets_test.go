package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func presetRig(t testing.TB, name string) *rig {
	c, err := vtd.Preset(name)
	require.NoError(t, err)
	return newRig(t, func(p *vtd.Config) { *p = c })
}

// Words that machines print at boot, or that were read out of QEMU.
func TestPresetsHaveThePublishedCapabilities(t *testing.T) {
	for name, want := range map[string]struct {
		ver, cap, ecap uint64
		haw            uint8
		without        uint64 // of ECAP, what is not modelled
	}{
		"v6":          {0x60, 0x19ed_008c_4078_0c66, 0x3_ee9e_86f0_50df, 52, 1 << 25},
		"legacy":      {0x10, 0x08d2_078c_106f_0466, 0xf0_20df, 46, 0},
		"client":      {0x10, 0x00d2_008c_4066_0462, 0xf0_50da, 39, 0},
		"qemu":        {0x10, 0x80d2_008c_222f_0606, 0x4800_80f0_0f4a, 48, 0},
		"qemu-legacy": {0x10, 0x80d2_008c_222f_0606, 0xf0_0f4a, 48, 0},
	} {
		r := presetRig(t, name)
		require.Equal(t, want.ver, r.R32(spec.OffVER), name)
		require.Equal(t, want.cap, r.R64(spec.OffCAP), "%s: %x", name, want.cap^r.R64(spec.OffCAP))
		require.Equal(t, want.ecap&^want.without, r.R64(spec.OffECAP), "%s: %x", name, want.ecap^r.R64(spec.OffECAP))
		require.Equal(t, want.haw, r.u.Config().HAW, name)
	}
	u, _ := loadCapture(t, "vtd-sm-ss")
	r := presetRig(t, "qemu")
	require.Equal(t, u.ReadReg(spec.OffCAP, 8), r.R64(spec.OffCAP))
}

// Bit numbers of the specification (11.4.2, 11.4.3), not of package spec.
func TestFullAdvertisesWhatIsModelled(t *testing.T) {
	set := func(bits ...uint) (w uint64) {
		for _, b := range bits {
			w |= 1 << b
		}
		return w
	}
	for name, es := range map[string]bool{"full": false, "full-esrtps": true} {
		r := presetRig(t, name)
		cap := set(5, 6, 22, 34, 35, 39, 54, 55, 56, 59, 60, 61) | // PLMR PHMR ZLR 2M 1G PSI DWD DRD FS1GP PI FS5LP ECMDS
			6 | 0xc<<8 | 56<<16 | 0x60<<24 | 7<<40 | 0x1e<<48 // ND SAGAW MGAW FRO NFR MAMV
		if es {
			cap |= set(62, 63)
		}
		ecap := set(0, 1, 2, 3, 4, 6, 7, 26, 29, 30, 31, 33, 34) | // C QI DT IR EIM PT SC NEST PRS ERS SRS NWFS EAFS
			set(40, 41, 42, 43, 45, 46, 47, 48, 49, 51, 52, 53, 56, 58) | // PASID DIT PDS SMTS SSADS SSTS FSTS SMPWCS RPS PMS ADMS RPRIVS PTRS SMS
			0x50<<8 | 15<<20 | 19<<35 // IRO MHMV PSS
		require.Equal(t, cap, r.R64(spec.OffCAP), "%s: %x", name, cap^r.R64(spec.OffCAP))
		require.Equal(t, ecap, r.R64(spec.OffECAP), "%s: %x", name, ecap^r.R64(spec.OffECAP))
		// AFL, MTS, VCS: the registers read 0.
		for _, off := range []uint32{spec.OffAFLOG, spec.OffMTRRCAP, spec.OffMTRRDEF, 0x180, 0xe00, 0xe10, 0xe30} {
			r.W64(off, ^uint64(0))
			require.Zero(t, r.R64(off), "%#x", off)
		}
	}
}

func TestEveryPresetIsAWorkingUnit(t *testing.T) {
	for _, p := range vtd.Presets() {
		t.Run(p.Name, func(t *testing.T) {
			require.NotEmpty(t, p.Doc)
			r := presetRig(t, p.Name)
			c := r.u.Config()
			r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
			r.legacy()
			r.queue(false)
			r.push(ccInv(spec.GranGlobal, 0, 0, 0), 0)
			r.push(iotlbInv(spec.GranGlobal, 0), 0)
			r.submit(wait(1, r.status()))
			require.EqualValues(t, 1, r.Get(r.status()))
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
			if c.SMTS {
				r = presetRig(t, p.Name)
				r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7, with(spec.PasidPWSNP, 0)), iova, 0x5000, ssRW)
				ctx := r.smContext(sid)
				r.Put(ctx, r.Get(ctx)&^spec.SMCtxPASIDE.Mask())
				r.scalable()
				r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
			}
			// Its own registers, loaded into another unit, are all understood.
			var img emu.RegImage
			for off := uint32(0); off < c.Window(); off += 8 {
				img = append(img, emu.RegValue{Off: off, Size: 8, Value: r.R64(off)})
			}
			other := newRig(t, func(cfg *vtd.Config) { cfg.HAW = c.HAW })
			require.NoError(t, other.u.Load(img))
			require.Empty(t, other.u.Unmodelled())
			require.Equal(t, r.R64(spec.OffCAP), other.R64(spec.OffCAP))
			require.Equal(t, r.R64(spec.OffECAP), other.R64(spec.OffECAP))
			res := other.Access(sid, iova, emu.Read)
			require.NotEqual(t, emu.Pending, res.Status)
		})
	}
}

func TestPresetOfUnknownNameListsThem(t *testing.T) {
	_, err := vtd.Preset("none")
	require.ErrorIs(t, err, vtd.ErrConfig)
	for _, p := range vtd.Presets() {
		require.ErrorContains(t, err, p.Name)
	}
}

func TestPresetsShareNothing(t *testing.T) {
	for _, p := range vtd.Presets() {
		a, err := vtd.Preset(p.Name)
		require.NoError(t, err)
		b, err := vtd.Preset(p.Name)
		require.NoError(t, err)
		require.Equal(t, a, b)
		a.Walk[0].Lg2 = 0
		require.NotEqual(t, a, b)
	}
}
