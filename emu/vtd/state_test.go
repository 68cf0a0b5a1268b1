package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func TestSaveRestoreIsTheSameUnit(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	r.queue(true)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.Access(sid, iova+4096, emu.Read)
	r.submit(0, 0)
	b := emutest.Save(r.u)

	u, err := vtd.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	for off := uint32(0); off < spec.Window; off += 8 {
		require.Equal(t, r.u.ReadReg(off, 8), u.ReadReg(off, 8), "%#x", off)
	}
	// Both go on alike: from the caches, and from the queue error.
	q := dma(emu.Read)
	var a, c emu.Result
	require.True(t, r.u.Lookup(&q, &a))
	require.True(t, u.Lookup(&q, &c))
	require.Equal(t, a, c)
	require.Equal(t, r.u.WriteReg(spec.OffFSTS, 4, spec.FstsIQE.Mask()), u.WriteReg(spec.OffFSTS, 4, spec.FstsIQE.Mask()))
}

func TestSaveRestoreKeepsWhatNestedTranslationHasCached(t *testing.T) {
	r := newRig(t)
	g := r.nest(sid, 0, 7, 0)
	g.mapTwo(iova, gpa, 0x5000)
	r.scalable()
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	b := emutest.Save(r.u)
	u, err := vtd.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	for _, id := range []emu.CacheID{emu.CacheStage2, emu.CacheWalk2} {
		require.Equal(t, r.u.Cache(id).Stats(), u.Cache(id).Stats())
		require.NotZero(t, u.Cache(id).Stats().Fills)
	}
	c := r.u.Config()
	c.Stage2.Ways = 2
	u, err = vtd.New(c)
	require.NoError(t, err)
	require.ErrorIs(t, u.Restore(emu.NewDecoder(b)), emu.ErrState)
}

func TestRestoreOfALoadedSnapshot(t *testing.T) {
	loaded, _ := loadCapture(t, "vtd-sm-ss")
	b := emutest.Save(loaded)
	u, err := vtd.New(vtd.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	require.Equal(t, loaded.Unmodelled(), u.Unmodelled())
}

func TestRestoreOfDamagedStateIsAnError(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	r.Access(sid, iova, emu.Read)
	b := emutest.Save(r.u)
	for n := 0; n < len(b); n += 97 {
		u, err := vtd.New(vtd.DefaultConfig())
		require.NoError(t, err)
		require.ErrorIs(t, u.Restore(emu.NewDecoder(b[:n])), emu.ErrState)
	}
	c := vtd.DefaultConfig()
	c.HAW = 46
	u, err := vtd.New(c)
	require.NoError(t, err)
	require.ErrorIs(t, u.Restore(emu.NewDecoder(b)), emu.ErrState)
}

func TestLoadTakesOverARunningUnit(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	r.queue(true)
	r.submit(wait(1, r.status()))
	r.RequireFault(r.Access(hiSID, iova, emu.Read), vtd.FaultRootAbsentSM)

	c := vtd.DefaultConfig()
	c.FaultRecords, c.MGAW, c.DT = 1, 48, true // replaced by those of the image
	u, err := vtd.New(c)
	require.NoError(t, err)
	require.NoError(t, u.Load(emutest.Image(r.u, 0, spec.Window)))
	require.Equal(t, emutest.Image(r.u, 0, spec.Window), emutest.Image(u, 0, spec.Window))
	require.Empty(t, u.Unmodelled())
	r.become(u)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.submit(wait(2, r.status()))
	require.EqualValues(t, 2, r.Get(r.status()))
	// The next fault goes behind the one that is pending.
	r.RequireFault(r.Access(hiSID, iova, emu.Read), vtd.FaultRootAbsentSM)
	rec := r.record(1)
	require.True(t, rec.F())
	// TE and QIE are known to be on: restating them changes nothing.
	r.W32(spec.OffGCMD, spec.GcmdTE.Mask()|spec.GcmdQIE.Mask())
	require.Equal(t, spec.GstsTES.Mask()|spec.GstsQIES.Mask()|spec.GstsRTPS.Mask(), r.R32(spec.OffGSTS))
}

func TestLoadErrorsNameThePlace(t *testing.T) {
	r := newRig(t)
	for text, img := range map[string]emu.RegImage{
		"VER_REG":         {},
		"offset 0x1000":   append(emutest.Image(r.u, 0, spec.Window), emu.RegValue{Off: 0x1000, Size: 4}),
		"offset 0x100000": {{Off: 0x10_0000, Size: 4}},
		"offset 0x7":      {{Off: 7, Size: 4}},
		"size 2":          {{Off: 0, Size: 2}},
		"SAGAW":           {{Off: 0, Size: 8, Value: 0x10}, {Off: 8, Size: 8}, {Off: 16, Size: 8}},
	} {
		err := r.u.Load(img)
		require.ErrorIs(t, err, vtd.ErrImage)
		require.ErrorContains(t, err, text)
	}
}

func TestFeaturesOfASnapshotThatAreNotModelledDoNotBreakDMA(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	img := emutest.Image(r.u, 0, spec.Window)
	img[2].Value |= spec.EcapPRS.Mask() | spec.EcapFSTS.Mask() | spec.EcapNEST.Mask()
	require.NoError(t, r.u.Load(img))
	require.Equal(t, []string{"ECAP.PRS"}, r.u.Unmodelled())
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
}

// A snapshot that contradicts itself: interrupt remapping is on, and the unit has none.
func TestInterruptRemappingOfASnapshotWithoutItCanOnlyBeTurnedOff(t *testing.T) {
	r := newRig(t, noInterrupts)
	img := emutest.Image(r.u, 0, spec.Window)
	img[3].Value |= spec.GstsIRES.Mask() << 32
	require.NoError(t, r.u.Load(img))
	require.Equal(t, []string{"GSTS.IRES"}, r.u.Unmodelled())
	res := r.irq(sid, msiTo, 0x31)
	r.RequireFault(res, vtd.FaultNoRemapping)
	require.True(t, res.Fault.Quiet)
	r.command(spec.GcmdIRE, false)
	require.False(t, spec.GstsIRES.On(r.R32(spec.OffGSTS)))
	r.command(spec.GcmdIRE, true)
	require.False(t, spec.GstsIRES.On(r.R32(spec.OffGSTS)))
	require.Equal(t, emu.Interrupt, r.irq(sid, msiTo, 0x31).Status)
}

// A damaged state is refused, or makes a unit that works somehow.
func FuzzRestore(f *testing.F) {
	busy := func(t testing.TB) *rig {
		r := newRig(t, func(c *vtd.Config) { *c, _ = vtd.Preset("full") })
		r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
		r.scalable()
		r.queue(true)
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		return r
	}
	base := emutest.Save(busy(f).u)
	f.Add([]byte{})
	f.Add([]byte("\x00\x01\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(append([]byte{0, 0, 0x50, 8}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := busy(t)
		in := &emutest.Input{B: b[:min(len(b), 600)]}
		state := emutest.Mutate(base, &emutest.Input{B: in.B[:len(in.B)/12*12]})
		if err := r.u.Restore(emu.NewDecoder(state)); err != nil {
			require.ErrorIs(t, err, emu.ErrState)
			r.u.Reset(emu.ResetCold)
		}
		r.Exercise(in, spec.Window)
	})
}
