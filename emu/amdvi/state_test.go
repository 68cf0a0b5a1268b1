package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

func save(u *amdvi.Unit) []byte {
	var e emu.Encoder
	u.Save(&e)
	return e.Bytes()
}

// image is what software would read from a unit.
func image(u *amdvi.Unit) emu.RegImage {
	var img emu.RegImage
	for off := uint32(0); off < spec.Window; off += 8 {
		img = append(img, emu.RegValue{Off: off, Size: 8, Value: u.ReadReg(off, 8)})
	}
	return img
}

func busyRig(t *testing.T) *rig {
	r := newRig(t).enable()
	r.messages()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.ok(r.access(dev, iova, emu.Read), 0x5000)
	r.access(dev, iova+4096, emu.Read)
	r.submit([2]uint64{}) // halts
	return r
}

func TestSaveRestoreIsTheSameUnit(t *testing.T) {
	r := busyRig(t)
	b := save(r.u)
	u, err := amdvi.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, save(u))
	require.Equal(t, image(r.u), image(u))
	q := dma(emu.Read)
	var x, y emu.Result
	require.True(t, r.u.Lookup(&q, &x))
	require.True(t, u.Lookup(&q, &y))
	require.Equal(t, x, y)
	// Both are halted, and restart alike.
	require.Zero(t, u.WriteReg(spec.OffCmdTail, 4, 0x40))
	off := r.r64(spec.OffControl) &^ spec.CtlCmdBufEn.Mask()
	u.WriteReg(spec.OffControl, 8, off)
	require.Equal(t, amdvi.EngineCommand.Set(), u.WriteReg(spec.OffControl, 8, off|spec.CtlCmdBufEn.Mask()))
}

func TestRestoreOfALoadedSnapshot(t *testing.T) {
	loaded, _ := loadCapture(t)
	b := save(loaded)
	u, err := amdvi.New(amdvi.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, save(u))
	require.Equal(t, loaded.Unmodelled(), u.Unmodelled())
}

func TestRestoreOfDamagedStateIsAnError(t *testing.T) {
	b := save(busyRig(t).u)
	for n := 0; n < len(b); n += 97 {
		u, err := amdvi.New(amdvi.DefaultConfig())
		require.NoError(t, err)
		require.ErrorIs(t, u.Restore(emu.NewDecoder(b[:n])), emu.ErrState)
	}
	c := amdvi.DefaultConfig()
	c.PAsize = 46
	u, err := amdvi.New(c)
	require.NoError(t, err)
	require.ErrorIs(t, u.Restore(emu.NewDecoder(b)), emu.ErrState)
}

func TestLoadTakesOverARunningUnit(t *testing.T) {
	r := busyRig(t)
	u, err := amdvi.New(func() amdvi.Config { c, _ := amdvi.Preset("minimal"); c.IotlbSup, c.IRTCacheDis = true, true; return c }())
	require.NoError(t, err)
	require.NoError(t, u.Load(image(r.u)))
	require.Equal(t, image(r.u), image(u))
	require.Empty(t, u.Unmodelled())
	r.f, r.u = emu.NewFunctional(u, r.m), u
	r.f.OnMSI = func(_ emu.PA, data uint32) { r.msi = append(r.msi, data) }
	r.ok(r.access(dev, iova, emu.Read), 0x5000)
	// It was halted and stays so until it is restarted.
	status := r.page()
	r.submit(wait(status, 1))
	require.Zero(t, r.get(status))
	r.control(false, spec.CtlCmdBufEn)
	r.w32(spec.OffCmdHead, 16)
	r.control(true, spec.CtlCmdBufEn)
	require.EqualValues(t, 1, r.get(status))
	// The next event goes behind those that are there.
	require.Len(t, r.events(), 2)
	r.access(dev, iova+8192, emu.Read)
	require.EqualValues(t, iova+8192, r.event()[1])
}

func TestLoadErrorsNameThePlace(t *testing.T) {
	r := newRig(t)
	for text, img := range map[string]emu.RegImage{
		"Extended Feature": {},
		"offset 0x80000":   append(image(r.u), emu.RegValue{Off: 0x8_0000, Size: 4}),
		"offset 0x7":       {{Off: 7, Size: 4}},
		"size 2":           {{Off: 0, Size: 2}},
		"HATS":             {{Off: spec.OffEFR, Size: 8, Value: 3 << 10}},
	} {
		err := r.u.Load(img)
		require.ErrorIs(t, err, amdvi.ErrImage)
		require.ErrorContains(t, err, text)
	}
}

func TestResetLeavesNothing(t *testing.T) {
	fresh := newRig(t)
	fresh.w64(spec.OffDevTabBase, 0)
	for _, kind := range []emu.ResetKind{emu.ResetCold, emu.ResetWarm} {
		r := busyRig(t)
		r.u.Reset(kind)
		require.Equal(t, image(fresh.u), image(r.u))
		q := dma(emu.Read)
		var res emu.Result
		require.True(t, r.u.Lookup(&q, &res))
		require.EqualValues(t, iova, res.PA, "off")
		r.w64(spec.OffDevTabBase, uint64(r.dev)|63)
		r.enable()
		require.False(t, r.u.Lookup(&q, &res), "the caches are empty")
	}
}
