package amdvi

import (
	"fmt"
	"strings"

	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// PresetInfo names a configuration and says what it is.
type PresetInfo struct {
	Name string
	Doc  string // one line
}

type preset struct {
	PresetInfo
	config func() Config
}

// presets are in the order in which a user reads them. Those of hardware have the features that
// machines print when they boot, as far as they are modelled; geometries of caches are not published
// and are those of the default.
var presets = [...]preset{
	{PresetInfo{"default", "a server unit: DefaultConfig"}, DefaultConfig},
	{PresetInfo{"full", "everything that is modelled, 20-bit PASIDs, the HyperTransport range"}, full},
	{PresetInfo{"zen2", "server of 2019: host tables of 6 levels, guest tables of 4, x2APIC"}, zen2},
	{PresetInfo{"zen1", "server of 2017: as zen2 without x2APIC"}, zen1},
	{PresetInfo{"qemu", "QEMU 11: no segments, guest translation advertised without GIoSup"}, qemu},
	{PresetInfo{"minimal", "host tables of 4 levels and nothing else"}, minimal},
}

// Presets lists the named configurations.
func Presets() []PresetInfo {
	list := make([]PresetInfo, len(presets))
	for i, p := range presets {
		list[i] = p.PresetInfo
	}
	return list
}

// Preset returns the configuration of a name. An error wraps ErrConfig and lists the names.
func Preset(name string) (Config, error) {
	names := make([]string, len(presets))
	for i, p := range presets {
		if p.Name == name {
			return p.config(), nil
		}
		names[i] = p.Name
	}
	return Config{}, fmt.Errorf("%w: no preset %q; want one of %s", ErrConfig, name, strings.Join(names, ", "))
}

func full() Config {
	c := DefaultConfig()
	c.GLXSup, c.PASmax = spec.MaxGLX, 19
	c.HtRangeIgnore = false
	return c
}

// zen2 prints 58f77ef22294ade.
func zen2() Config {
	c := DefaultConfig()
	c.PreFSup, c.HESup, c.HDSup, c.InvIotlbTypeSup, c.GAUpdateDisSup, c.NumIntRemap2K = false, false, false, false, false, false
	c.GATS, c.GLXSup, c.PASmax = spec.GATS4, 1, 15
	c.GCR3TRPModeSup, c.HtRangeIgnore, c.IRTCacheDis = false, false, false
	c.PAsize = 48
	return c
}

// zen1 prints 4f77ef22294ada.
func zen1() Config {
	c := zen2()
	c.XTSup, c.InvIotlbTypeSup = false, true
	return c
}

// qemu reads as 29d3; it says 6 guest levels.
func qemu() Config {
	c := minimal()
	c.PreFSup, c.PPRSup, c.IotlbSup, c.GTSup, c.IASup, c.GASup, c.HESup = true, true, true, true, true, true, true
	c.HATS, c.GATS = spec.HATS6, spec.GATS5
	return c
}

func minimal() Config {
	c := DefaultConfig()
	return Config{
		HATS: spec.HATS4, PAsize: 48, VAsize: 64, MsiCapMmioSup: c.MsiCapMmioSup,
		DTECache: c.DTECache, GCR3Cache: iotlb.Geometry{}, IOTLB: c.IOTLB, Walk: c.Walk, Interrupt: c.Interrupt,
	}
}
