package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// image is what software would read from a unit.
func image(u *amdvi.Unit) emu.RegImage {
	img := emutest.Image(u, 0, spec.OffCounterDeviceLock+8)
	c := u.Config()
	for b := range int(c.Banks) {
		for n := range int(c.BankCounters) {
			at := spec.CounterOffset(b, n)
			img = append(img, emutest.Image(u, at, at+spec.OffCounterReport+8)...)
		}
	}
	return img
}

func busyRig(t testing.TB) *rig {
	r := newRig(t).enable()
	r.messages()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	r.Access(dev, iova+4096, emu.Read)
	r.submit([2]uint64{}) // halts
	return r
}

func TestSaveRestoreIsTheSameUnit(t *testing.T) {
	r := busyRig(t)
	b := emutest.Save(r.u)
	u, err := amdvi.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	require.Equal(t, image(r.u), image(u))
	q := dma(emu.Read)
	var x, y emu.Result
	require.True(t, r.u.Lookup(&q, &x))
	require.True(t, u.Lookup(&q, &y))
	require.Equal(t, x, y)
	// Both are halted, and restart alike.
	require.Zero(t, u.WriteReg(spec.OffCmdTail, 4, 0x40))
	off := r.R64(spec.OffControl) &^ spec.CtlCmdBufEn.Mask()
	u.WriteReg(spec.OffControl, 8, off)
	require.Equal(t, amdvi.EngineCommand.Set(), u.WriteReg(spec.OffControl, 8, off|spec.CtlCmdBufEn.Mask()))
}

func TestRestoreOfALoadedSnapshot(t *testing.T) {
	loaded, _ := loadCapture(t)
	b := emutest.Save(loaded)
	u, err := amdvi.New(amdvi.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	require.Equal(t, loaded.Unmodelled(), u.Unmodelled())
}

func TestRestoreOfDamagedStateIsAnError(t *testing.T) {
	b := emutest.Save(busyRig(t).u)
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
	r.become(u)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	// It was halted and stays so until it is restarted.
	status := r.Page()
	r.submit(wait(status, 1))
	require.Zero(t, r.Get(status))
	r.control(false, spec.CtlCmdBufEn)
	r.W32(spec.OffCmdHead, 16)
	r.control(true, spec.CtlCmdBufEn)
	require.EqualValues(t, 1, r.Get(status))
	// The next event goes behind those that are there.
	require.Len(t, r.events(), 2)
	r.Access(dev, iova+8192, emu.Read)
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
	fresh.W64(spec.OffDevTabBase, 0)
	for _, kind := range []emu.ResetKind{emu.ResetCold, emu.ResetWarm} {
		r := busyRig(t)
		r.u.Reset(kind)
		require.Equal(t, image(fresh.u), image(r.u))
		q := dma(emu.Read)
		var res emu.Result
		require.True(t, r.u.Lookup(&q, &res))
		require.EqualValues(t, iova, res.PA, "off")
		r.W64(spec.OffDevTabBase, uint64(r.dev)|63)
		r.enable()
		require.False(t, r.u.Lookup(&q, &res), "the caches are empty")
	}
}

// A damaged state is refused, or makes a unit that works somehow.
func FuzzRestore(f *testing.F) {
	base := emutest.Save(busyRig(f).u)
	f.Add([]byte{})
	f.Add([]byte("\x00\x01\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(append([]byte{0, 0, 0x50, 8}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := busyRig(t)
		in := &emutest.Input{B: b[:min(len(b), 600)]}
		state := emutest.Mutate(base, &emutest.Input{B: in.B[:len(in.B)/12*12]})
		if err := r.u.Restore(emu.NewDecoder(state)); err != nil {
			require.ErrorIs(t, err, emu.ErrState)
			r.u.Reset(emu.ResetCold)
		}
		r.Exercise(in, spec.Window)
	})
}

// A snapshot may have anything in any register.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{})
	f.Add(emutest.Words(spec.OffEFR, ^uint64(0), spec.OffEFR2, ^uint64(0), spec.OffControl, ^uint64(0), spec.OffCounterConfig, ^uint64(0)))
	f.Add(emutest.Words(spec.OffStatus, ^uint64(0), spec.OffCmdTail, 0x30, spec.OffCmdBufBase, ^uint64(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := busyRig(t)
		in := &emutest.Input{B: b[:min(len(b), 1024)]}
		img := image(r.u)
		for range len(in.B) / 16 {
			off, v := uint32(in.U64()), in.U64()
			for i := range img {
				if img[i].Off == off&^7 {
					img[i].Value = v
				}
			}
		}
		if err := r.u.Load(img); err != nil {
			require.ErrorIs(t, err, amdvi.ErrImage)
		}
		r.Exercise(in, spec.Window)
	})
}

// A snapshot that contradicts itself: logs and the command buffer run, and have no length.
func TestLoadOfRingsWithoutLength(t *testing.T) {
	r := busyRig(t)
	img := image(r.u)
	for i := range img {
		switch img[i].Off {
		case spec.OffEventLogBase, spec.OffPPRLogBase, spec.OffGALogBase, spec.OffCmdBufBase:
			img[i].Value &^= spec.RingLen.Mask()
		case spec.OffStatus:
			img[i].Value |= spec.StsEventLogRun.Mask() | spec.StsCmdBufRun.Mask() | spec.StsPPRLogRun.Mask() | spec.StsGALogRun.Mask()
		}
	}
	require.NoError(t, r.u.Load(img))
	res := r.Access(dev, iova+4096, emu.Read)
	r.RequireFault(res, amdvi.FaultNotPresent)
	require.True(t, res.Fault.Quiet)
	require.Zero(t, r.u.WriteReg(spec.OffCmdTail, 4, 0x40), "nothing runs")
}
