package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// presets are in the order in which a user reads them. Those of hardware have the features that
// machines print when they boot, as far as they are modelled; geometries of caches are not published
// and are those of the default.
var presets = emu.Presets[Config]{
	{PresetInfo: emu.PresetInfo{Name: "default", Doc: "a server unit: DefaultConfig"}, Config: DefaultConfig},
	{PresetInfo: emu.PresetInfo{Name: "full", Doc: "everything that is modelled, 20-bit PASIDs, the HyperTransport range"}, Config: full},
	{PresetInfo: emu.PresetInfo{Name: "zen2", Doc: "server of 2019: host tables of 6 levels, guest tables of 4, x2APIC"}, Config: zen2},
	{PresetInfo: emu.PresetInfo{Name: "zen1", Doc: "server of 2017: as zen2 without x2APIC"}, Config: zen1},
	{PresetInfo: emu.PresetInfo{Name: "qemu", Doc: "QEMU 11: no segments, guest translation advertised without GIoSup"}, Config: qemu},
	{PresetInfo: emu.PresetInfo{Name: "minimal", Doc: "host tables of 4 levels and nothing else"}, Config: minimal},
}

// Presets lists the named configurations.
func Presets() []emu.PresetInfo { return presets.Info() }

// Preset returns the configuration of a name. An error wraps ErrConfig and lists the names.
func Preset(name string) (Config, error) {
	c, err := presets.Get(name)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

func full() Config {
	c := DefaultConfig()
	c.GLXSup, c.PASmax = spec.MaxGLX, 19
	c.Banks, c.BankCounters = 4, 8
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
	c.HATS, c.GATS, c.NpCache = spec.HATS6, spec.GATS5, true
	return c
}

func minimal() Config {
	c := DefaultConfig()
	return Config{
		HATS: spec.HATS4, PAsize: 48, VAsize: 64, MsiCapMmioSup: c.MsiCapMmioSup,
		DTECache: c.DTECache, GCR3Cache: iotlb.Geometry{}, IOTLB: c.IOTLB, Walk: c.Walk, Interrupt: c.Interrupt,
	}
}
