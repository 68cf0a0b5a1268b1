package vtd

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

type variant struct {
	name   string
	change []func(*hw.Config)
	opt    Options
}

// variants are units that a driver meets.
var variants = []variant{
	{"scalable", nil, Options{}},
	{"scalable unit in legacy mode", nil, Options{Mode: ModeLegacy}},
	{"legacy", []func(*hw.Config){legacy}, Options{}},
	{"caching mode", []func(*hw.Config){func(c *hw.Config) { c.CM = true }}, Options{}},
	{"legacy caching mode", []func(*hw.Config){legacy, func(c *hw.Config) { c.CM = true }}, Options{}},
	{"write buffer", []func(*hw.Config){legacy, func(c *hw.Config) { c.RWBF = true }}, Options{}},
	{"ESRTPS", []func(*hw.Config){func(c *hw.Config) { c.ESRTPS = true }}, Options{}},
	{"no queue", []func(*hw.Config){legacy, noQueue}, Options{}},
	{"no queue, caching mode", []func(*hw.Config){legacy, noQueue, func(c *hw.Config) { c.CM = true }}, Options{}},
	{"queue not used", []func(*hw.Config){legacy}, Options{NoQueue: true}},
	{"version 6", []func(*hw.Config){func(c *hw.Config) { c.VersionMajor = 6 }}, Options{}},
	{"39 bits", []func(*hw.Config){func(c *hw.Config) { c.SAGAW, c.MGAW = uint8(spec.SAGAW39), 39 }}, Options{}},
	{"no page-selective invalidation", []func(*hw.Config){func(c *hw.Config) { c.PSI = false }}, Options{}},
	{"no large pages", []func(*hw.Config){func(c *hw.Config) { c.SSLPS = 0 }}, Options{}},
	{"16 domains", []func(*hw.Config){legacy, func(c *hw.Config) { c.ND = 0 }}, Options{}},
	{"non-coherent", []func(*hw.Config){func(c *hw.Config) { c.C, c.SMPWCS = false, false }}, Options{}},
	{"device-TLB", []func(*hw.Config){withATS}, Options{}},
	{"first stage only", []func(*hw.Config){firstOnly}, Options{}},
	{"first stage of five levels", []func(*hw.Config){firstOnly, func(c *hw.Config) { c.FS5LP, c.FS1GP = true, true }}, Options{}},
	{"first stage, caching mode", []func(*hw.Config){firstOnly, func(c *hw.Config) { c.CM = true }}, Options{}},
	{"first stage, non-coherent", []func(*hw.Config){firstOnly, func(c *hw.Config) { c.C, c.SMPWCS = false, false }}, Options{}},
	{"first stage, device-TLB", []func(*hw.Config){firstOnly, withATS}, Options{}},
	{"both stages and nested", []func(*hw.Config){nested}, Options{}},
	{"nested, device-TLB", []func(*hw.Config){nested, withATS}, Options{}},
	{"device-TLB, caching mode", []func(*hw.Config){nested, withATS, func(c *hw.Config) { c.CM = true }}, Options{}},
	{"abort mode", []func(*hw.Config){func(c *hw.Config) { c.ADMS = true }}, Options{}},
}

// presets are the units that have a name.
func presets() []variant {
	var list []variant
	for _, p := range hw.Presets() {
		change := func(c *hw.Config) { *c, _ = hw.Preset(p.Name) }
		list = append(list, variant{"preset " + p.Name, []func(*hw.Config){change}, Options{}})
	}
	return list
}

const dev = emu.SourceID(0x0108)

func TestBringUp_EveryUnitTranslates(t *testing.T) {
	for _, v := range slices.Concat(variants, presets()) {
		t.Run(v.name, func(t *testing.T) {
			r := machine(t, v.change...).up(v.opt)
			r.Blocked(dev, emu.NoPASID, 0x10000)
			a := r.Mapped(0x10000, target)
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
			r.Reaches(dev, emu.NoPASID, 0x10010, target+0x10)
			r.Blocked(dev, emu.NoPASID, 0x11000)

			require.NoError(t, a.Map(0x11000, target+0x5000, 0x1000, emu.Read))
			r.Reaches(dev, emu.NoPASID, 0x11000, target+0x5000)
			require.Equal(t, emu.Blocked, r.Access(dev, emu.NoPASID, 0x11000, emu.Write).Status)

			require.NoError(t, a.Map(0x4000_0000, target, 1<<30, emu.RW))
			r.Reaches(dev, emu.NoPASID, 0x4123_4567, target+0x123_4567)
			n, err := a.Unmap(0x4000_0000, 1<<30)
			require.NoError(t, err)
			require.Equal(t, uint64(1<<30), n)
			r.Blocked(dev, emu.NoPASID, 0x4123_4567)

			n, err = a.Unmap(0x10000, 0x1000)
			require.NoError(t, err)
			require.Equal(t, uint64(0x1000), n)
			r.Blocked(dev, emu.NoPASID, 0x10000)

			for i, w := range entry.Writers() {
				b := r.Mapped(0x11000, target+emu.PA(i+8)<<12)
				_, err := r.d.Replace(dev, emu.NoPASID, b, w)
				require.NoError(t, err)
				r.Reaches(dev, emu.NoPASID, 0x11000, target+emu.PA(i+8)<<12)
			}
			require.NoError(t, r.d.Detach(dev, emu.NoPASID))
			r.Blocked(dev, emu.NoPASID, 0x11000)
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x11000, target)))
			r.Reaches(dev, emu.NoPASID, 0x11000, target)
			require.NoError(t, a.Free())
			require.NoError(t, r.d.Shutdown())
			r.Reaches(dev, emu.NoPASID, 0x11000, 0x11000)
		})
	}
}

func TestBringUp_Refuses(t *testing.T) {
	r := machine(t)
	r.cpu.Fake = func(uint32, uint64) uint64 { return ^uint64(0) }
	_, err := New(r.cpu, r.frames, Options{})
	require.ErrorIs(t, err, ErrNoUnit)

	_, err = New(machine(t, legacy).cpu, r.frames, Options{Mode: ModeScalable})
	require.ErrorIs(t, err, host.ErrUnsupported)

	six := machine(t, func(c *hw.Config) { c.VersionMajor = 6 })
	_, err = New(six.cpu, six.frames, Options{NoQueue: true})
	require.ErrorIs(t, err, host.ErrUnsupported)

	none := machine(t)
	small, err := host.NewFrames(none.cpu, drivertest.RAMBase, 0x1000)
	require.NoError(t, err)
	_, err = New(none.cpu, small, Options{})
	require.ErrorIs(t, err, host.ErrNoFrames)
}

// Each command that never completes is an error that names it.
func TestBringUp_Timeouts(t *testing.T) {
	for _, c := range []struct {
		name string
		fake func(off uint32, v uint64) uint64
		want string
	}{
		{"SRTP", func(off uint32, v uint64) uint64 {
			if off == spec.OffGSTS {
				v &^= spec.GstsRTPS.Mask()
			}
			return v
		}, "GCMD.SRTP"},
		{"QIE", func(off uint32, v uint64) uint64 {
			if off == spec.OffGSTS {
				v &^= spec.GstsQIES.Mask()
			}
			return v
		}, "GCMD.QIE"},
	} {
		r := machine(t)
		r.cpu.Fake = c.fake
		_, err := New(r.cpu, r.frames, Options{})
		require.ErrorIs(t, err, host.ErrTimeout, c.name)
		require.ErrorContains(t, err, c.want)
	}
}

func TestVTDQuirk02_LevelsAreRestatedOneShotsAreNot(t *testing.T) {
	r := start(t)
	level := uint64(0)
	for _, w := range r.cpu.Writes {
		if w.Off != spec.OffGCMD {
			continue
		}
		require.Equal(t, level, w.V&level, "%#x switches something off", w.V)
		shots := w.V & (1<<30 | 1<<29 | 1<<27 | 1<<24)
		require.Zero(t, shots&(shots-1), "%#x has two one-shot commands", w.V)
		if shots != 0 {
			require.Equal(t, level, w.V&^shots, "one bit changes per write")
		}
		level = w.V &^ shots
	}
	require.Equal(t, uint64(1<<31|1<<26), level)
	require.EqualValues(t, 0x96ff_ffff, levels)
}

func TestVTDQuirk03_WriteBufferFlushIsDoneWhenWBFSIsClear(t *testing.T) {
	r := machine(t, legacy, func(c *hw.Config) { c.RWBF = true })
	r.cpu.Fake = func(off uint32, v uint64) uint64 {
		if off == spec.OffGSTS {
			v |= spec.GstsWBFS.Mask()
		}
		return v
	}
	_, err := New(r.cpu, r.frames, Options{})
	require.ErrorIs(t, err, host.ErrTimeout)
	require.ErrorContains(t, err, "GCMD.WBF")
	require.NotZero(t, start(t, legacy, func(c *hw.Config) { c.RWBF = true }).d.Stats().WriteBuffer)
	require.Zero(t, start(t).d.Stats().WriteBuffer)
}

func TestVTDQuirk04_GCMDIsNeverRead(t *testing.T) {
	r := start(t)
	require.Zero(t, r.cpu.Reads[spec.OffGCMD])
}

func TestVTDQuirk05_GlobalInvalidationUnlessSRTPDoesIt(t *testing.T) {
	for _, esrtps := range []bool{false, true} {
		r := machine(t, func(c *hw.Config) { c.ESRTPS = esrtps })
		d, err := New(r.cpu, r.frames, Options{})
		require.NoError(t, err)
		if esrtps {
			require.Zero(t, d.Stats().Invalidations)
			continue
		}
		base, size, _, _ := d.Queue()
		var got []string
		for i := range 6 {
			at := base + emu.PA(i*size)
			got = append(got, decode([2]uint64{r.cpu.Load64(at), r.cpu.Load64(at + 8)}))
		}
		require.Equal(t, []string{"context g1 did 0 sid 0", "wait", "pasid g3 did 0 pasid 0", "wait", "iotlb g1 did 0", "wait"}, got)
	}
}

func TestVTDQuirk57_TranslationIsLastAndModeChangesOnlyWithoutIt(t *testing.T) {
	r := start(t)
	order := map[string]int{}
	for i, w := range r.cpu.Writes {
		switch {
		case w.Off == spec.OffGCMD && w.V&(1<<31) != 0:
			order["TE"] = i
		case w.Off == spec.OffGCMD && w.V&(1<<30) != 0:
			order["SRTP"] = i
		case w.Off == spec.OffRTADDR:
			order["RTADDR"] = i
			require.EqualValues(t, 1, w.V>>10&3)
		case w.Off == spec.OffFECTL:
			order["FECTL"] = i
		case w.Off == spec.OffPMEN:
			order["PMEN"] = i
		}
	}
	require.Less(t, order["RTADDR"], order["SRTP"])
	require.Less(t, order["SRTP"], order["FECTL"])
	require.Less(t, order["FECTL"], order["TE"])
	require.Less(t, order["TE"], order["PMEN"])

	// A second driver finds translation on, in another mode: it turns it off before RTADDR changes.
	r.cpu.Writes = nil
	r.cpu.Hook = func(off uint32) {
		if off == spec.OffRTADDR {
			require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffGSTS, 4)&spec.GstsTES.Mask())
		}
	}
	r.up(Options{Mode: ModeLegacy})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
}

func TestVTDQuirk58_TailIsResetBeforeTheQueueIsEnabledAgain(t *testing.T) {
	r := start(t)
	require.NotZero(t, r.cpu.Functional.ReadReg(0, spec.OffIQT, 8))
	r.cpu.Writes = nil
	r.up(Options{}) // takes a running unit over
	var offs []uint32
	for _, w := range r.cpu.Writes {
		if w.Off == spec.OffIQT || w.Off == spec.OffIQA || w.Off == spec.OffGCMD {
			offs = append(offs, w.Off)
		}
	}
	require.Equal(t, []uint32{spec.OffGCMD, spec.OffIQT, spec.OffIQA, spec.OffGCMD}, offs[:4])
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
}

func TestVTDQuirk55_Version6NeverTouchesTheInvalidationRegisters(t *testing.T) {
	r := start(t, func(c *hw.Config) { c.VersionMajor = 6 })
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	for _, w := range r.cpu.Writes {
		require.NotEqual(t, uint32(spec.OffCCMD), w.Off)
		require.NotEqual(t, r.unit.Config().IOTLBOffset+spec.OffIOTLB, w.Off)
	}
}

// With walks that do not snoop, no line of a structure or table stays unwritten.
func TestNonCoherent_EveryStoreIsFlushed(t *testing.T) {
	r := start(t, func(c *hw.Config) { c.C, c.SMPWCS = false, false })
	clean := func() {
		t.Helper()
		base, size, n, _ := r.d.Queue()
		for line := range r.cpu.Dirty {
			queue := line >= base && line < base+emu.PA(size*n) || line>>12 == r.d.queue.status>>12
			require.True(t, queue, "line %#x, owner %#x", uint64(line), r.frames.Owner(line))
		}
	}
	clean()
	a := r.Mapped(0x10000, target)
	require.NoError(t, a.Map(0x4000_0000, target, 1<<30, emu.RW))
	clean()
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 1024}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, r.d.Attach(dev, 700, a))
	clean()
	for _, w := range entry.Writers() {
		_, err := r.d.Replace(dev, 700, r.Mapped(0x10000, target), w)
		require.NoError(t, err)
		clean()
	}
	_, err := a.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	clean()
}

func TestShutdown_IsWhatTheNextKernelExpects(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Shutdown())
	require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffGSTS, 4)&(1<<31|1<<26))
	r.up(Options{})
}
