package amdvi_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

func presetRig(t testing.TB, name string) *rig {
	c, err := amdvi.Preset(name)
	require.NoError(t, err)
	return newRig(t, func(p *amdvi.Config) { *p = c })
}

// Words that machines print at boot, or that were read out of QEMU. without is what is not modelled.
func TestPresetsHaveThePublishedFeatures(t *testing.T) {
	const (
		smi      = 3<<16 | 7<<18
		logs     = 3<<24 | 3<<28 | 1<<44 // two logs each, stop marks
		hardware = smi | logs | 1<<37 | 3<<42 | 1<<45 | 1<<51 | 1<<55 | 1<<56 | 15<<57
	)
	for name, want := range map[string]struct{ efr, without uint64 }{
		"zen2": {0x58f77ef22294ade, hardware},
		"zen1": {0x4f77ef22294ada, hardware},
		"qemu": {0x29d3, 3<<12 | 1<<46},
	} {
		r := presetRig(t, name)
		got := r.R64(spec.OffEFR)
		require.Equal(t, want.efr&^want.without, got&^want.without, "%s: %x", name, (want.efr^got)&^want.without)
		require.Zero(t, r.R64(spec.OffEFR2), name)
	}
}

func TestEveryPresetIsAWorkingUnit(t *testing.T) {
	for _, p := range amdvi.Presets() {
		t.Run(p.Name, func(t *testing.T) {
			require.NotEmpty(t, p.Doc)
			r := presetRig(t, p.Name).enable()
			r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
			status := r.Page()
			r.submit(invDevtab(dev), invPages(did, spec.AllPages|invS|invPDE), wait(status, 1))
			require.EqualValues(t, 1, r.Get(status))
			for range 2 {
				r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
			}
			r.RequireFault(r.Access(dev, iova+4096, emu.Read), amdvi.FaultNotPresent)
			r.event()
			// Its own registers, loaded into another unit, are all understood.
			u := newRig(t)
			u.Mem = r.Mem
			u.become(u.u)
			require.NoError(t, u.u.Load(image(r.u)))
			require.Empty(t, u.u.Unmodelled())
			require.Equal(t, r.R64(spec.OffEFR), u.R64(spec.OffEFR))
			u.RequireOK(u.Access(dev, iova, emu.Read), 0x5000)
		})
	}
}

func TestPresetOfUnknownNameListsThem(t *testing.T) {
	_, err := amdvi.Preset("none")
	require.ErrorIs(t, err, amdvi.ErrConfig)
	for _, p := range amdvi.Presets() {
		require.ErrorContains(t, err, p.Name)
	}
}

func TestPresetsShareNothing(t *testing.T) {
	for _, p := range amdvi.Presets() {
		a, err := amdvi.Preset(p.Name)
		require.NoError(t, err)
		b, err := amdvi.Preset(p.Name)
		require.NoError(t, err)
		require.Equal(t, a, b)
		a.Walk[0].Lg2 = 0
		require.NotEqual(t, a, b)
	}
}

// docs/amdvi.md lists the features that the widest unit advertises, and no others.
func TestDocumentListsWhatIsAdvertised(t *testing.T) {
	doc, err := os.ReadFile("../../docs/amdvi.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(doc), "\n## Advertised\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n## ")
	r := presetRig(t, "full")
	def := newRig(t)
	for _, x := range []struct {
		l    *reg.Layout
		word uint64
	}{
		{&spec.EFRLayout, r.R64(spec.OffEFR) | def.R64(spec.OffEFR)},
		{&spec.EFR2Layout, r.R64(spec.OffEFR2) | def.R64(spec.OffEFR2)},
	} {
		for _, f := range x.l.Fields {
			listed := regexp.MustCompile(`\b` + f.Name + `\b`).MatchString(table)
			require.Equal(t, f.Bits().On(x.word), listed, "%s.%s", x.l.Name, f.Name)
		}
	}
	for _, p := range amdvi.Presets() {
		require.Contains(t, string(doc), "| `"+p.Name+"` |")
	}
}
