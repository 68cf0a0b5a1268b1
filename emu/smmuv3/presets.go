package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// presets are in the order in which a user reads them. Those of a version have what it makes mandatory and
// what it brought, as far as it is modelled.
var presets = emu.Presets[Config]{
	{PresetInfo: emu.PresetInfo{Name: "default", Doc: "a server unit, SMMUv3.2: DefaultConfig"}, Config: DefaultConfig},
	{PresetInfo: emu.PresetInfo{Name: "full", Doc: "everything that is modelled, SMMUv3.4 with 52-bit addresses"}, Config: full},
	{PresetInfo: emu.PresetInfo{Name: "3.0", Doc: "SMMUv3.0: 48-bit addresses, no range invalidation"}, Config: version(0)},
	{PresetInfo: emu.PresetInfo{Name: "3.1", Doc: "SMMUv3.1: 52-bit addresses with 64K granules"}, Config: version(1)},
	{PresetInfo: emu.PresetInfo{Name: "3.2", Doc: "SMMUv3.2: range invalidation, forced write-back, small tables, BBML 1"}, Config: version(2)},
	{PresetInfo: emu.PresetInfo{Name: "3.3", Doc: "SMMUv3.3: E0PD, BBML 2, events of ATS configuration errors"}, Config: version(3)},
	{PresetInfo: emu.PresetInfo{Name: "3.4", Doc: "SMMUv3.4: 52-bit addresses with all granules, access flags of table descriptors, PASIDs on translated transactions"}, Config: version(4)},
	{PresetInfo: emu.PresetInfo{Name: "qemu", Doc: "QEMU 11: both stages, one CD for each stream, no ATS"}, Config: qemu},
	{PresetInfo: emu.PresetInfo{Name: "minimal", Doc: "stage 1, 4K granule, linear stream table, nothing else"}, Config: minimal},
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

// full has all features, and does all that the specification leaves to the implementation.
func full() Config {
	c := features()
	c.CONT, c.NoCrossing, c.PageHints, c.Prefetch = true, true, true, true
	c.Merge, c.MergeWindow = MergeAlways, 1000
	return c
}

// features is SMMUv3.4 with all that it may have and the unit models, but for what a server does without.
func features() Config {
	c := DefaultConfig()
	c.HTTU, c.SSIDSIZE, c.ATSRECERR = spec.HTTUTable, spec.MaxSSIDSIZE, true
	c.E0PD, c.PTWNNC, c.PASIDTT, c.EPAN, c.MTEPERM = true, true, true, true, true
	c.ATOS, c.VATOS, c.AttrTypesOvr = true, true, true
	c.OAS, c.VAX, c.DS, c.Minor = spec.OAS52, spec.VAX52, true, 4
	return c
}

// version returns the preset of SMMUv3.n: features without those of later versions, 2.2 to 2.8.
func version(n uint8) func() Config {
	return func() Config {
		c := features()
		c.Minor = n
		if n < 4 {
			c.DS, c.HTTU, c.PASIDTT, c.EPAN, c.MTEPERM = false, spec.HTTUDirty, false, false, false
		}
		if n < 3 {
			c.E0PD, c.PTWNNC, c.ATSRECERR = false, false, false
		}
		c.BBML = 2
		if n == 2 {
			c.BBML = 1
		}
		if n < 2 {
			c.RIL, c.FWB, c.STT, c.BBML = false, false, false, 0
		}
		if n < 1 {
			c.XNX, c.HAD = false, false
			c.OAS, c.VAX = 5, spec.VAX48
		}
		return c
	}
}

// qemu reads as QEMU 11 does with both stages.
func qemu() Config {
	c := DefaultConfig()
	c.HTTU, c.HYP, c.ATS, c.MSI, c.SEV, c.PRI, c.VMW, c.CD2L, c.ATSRECERR = spec.HTTUNone, false, false, false, false, false, false, false, false
	c.StallModel, c.TermModel, c.TTENDIAN = spec.StallNever, true, spec.TTEndianLE
	c.SIDSIZE, c.SSIDSIZE, c.PRIQS, c.AttrPermsOvr = 16, 0, 0, false
	c.PPS, c.FWB, c.STT, c.OAS, c.Minor, c.Counters = false, false, false, 4, 1, 0
	return c
}

func minimal() Config {
	c := DefaultConfig()
	return Config{
		S1P: true, TTENDIAN: spec.TTEndianLE, StallModel: spec.StallNever, TermModel: true,
		SIDSIZE: 6, CMDQS: 8, EVENTQS: 8, OAS: 3, GRAN4K: true, Wires: true, FetchSize: 8,
		STECache: c.STECache, CDCache: c.CDCache, IOTLB: c.IOTLB, Walk: c.Walk,
	}
}
