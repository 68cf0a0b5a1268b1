package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// presets are in the order in which a user reads them. Those of hardware have the capabilities that
// machines print when they boot; geometries of caches are not published and are those of the default.
var presets = emu.Presets[Config]{
	{PresetInfo: emu.PresetInfo{Name: "default", Doc: "a server unit without device-TLB: DefaultConfig"}, Config: DefaultConfig},
	{PresetInfo: emu.PresetInfo{Name: "full", Doc: "everything that is modelled; SRTP and SIRTP invalidate nothing, so a forgotten flush shows"}, Config: full},
	{PresetInfo: emu.PresetInfo{Name: "full-esrtps", Doc: "full, but SRTP and SIRTP invalidate the caches"}, Config: fullESRTPS},
	{PresetInfo: emu.PresetInfo{Name: "v6", Doc: "server of 2023, version 6.0: scalable mode, nested, no register-based invalidation"}, Config: version6},
	{PresetInfo: emu.PresetInfo{Name: "legacy", Doc: "server of 2014 to 2019, version 1.0: legacy mode with device-TLB and posted interrupts"}, Config: legacyServer},
	{PresetInfo: emu.PresetInfo{Name: "client", Doc: "desktop of 2015 to 2022, version 1.0: legacy mode, non-coherent walks, 256 domains, no device-TLB"}, Config: client},
	{PresetInfo: emu.PresetInfo{Name: "qemu", Doc: "QEMU 11 with scalable mode and second stage, 48 address bits"}, Config: qemu},
	{PresetInfo: emu.PresetInfo{Name: "qemu-legacy", Doc: "QEMU 11 without scalable mode, 48 address bits"}, Config: qemuLegacy},
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
	c.DT, c.DIT, c.NWFS = true, true, true
	c.IR, c.EIM, c.PI, c.MHMV = true, true, true, 15
	c.PRS, c.PDS, c.PTRS, c.SMS = true, true, true, true
	c.PMS, c.Perf = true, DefaultPerf()
	c.InterruptCache = iotlb.Geometry{Sets: 16, Ways: 4}
	return c
}

func fullESRTPS() Config {
	c := full()
	c.ESRTPS, c.ESIRTPS = true, true
	return c
}

// version6 prints cap 19ed008c40780c66 ecap 3ee9e86f050df at a host address width of 52. Of these
// MTS is not modelled.
func version6() Config {
	c := full()
	c.VersionMajor, c.HAW = 6, 52
	c.FaultOffset, c.FaultRecords, c.MAMV = 0x400, 1, 0x2d
	c.ERS, c.PRS, c.SMS, c.PASID, c.RPRIVS, c.PMS, c.ADMS, c.PTRS = false, false, false, false, false, false, false, false
	return c
}

// noScalableMode takes away what came with scalable mode.
func noScalableMode(c *Config) {
	c.NoScalable()
	c.PSS, c.ERS, c.SRS, c.NWFS, c.DIT, c.ADMS, c.PMS = 0, false, false, false, false, false, false
	c.PASIDCache, c.Walk2, c.Stage2 = iotlb.Geometry{}, nil, iotlb.Geometry{}
}

// legacyServer prints cap 8d2078c106f0466 ecap f020df at a host address width of 46.
func legacyServer() Config {
	c := full()
	noScalableMode(&c)
	c.VersionMajor, c.HAW = 1, 46
	c.SAGAW, c.MGAW, c.MAMV = uint8(spec.SAGAW48), 48, 0x12
	c.FaultOffset, c.IOTLBOffset = 0x100, 0x200
	return c
}

// client prints cap d2008c40660462 ecap f050da at a host address width of 39.
func client() Config {
	c := full()
	noScalableMode(&c)
	c.VersionMajor, c.HAW, c.ND = 1, 39, 2
	c.SAGAW, c.MGAW, c.MAMV = uint8(spec.SAGAW48), 39, 0x12
	c.FaultOffset, c.FaultRecords = 0x400, 1
	c.C, c.DT, c.PI = false, false, false
	return c
}

// qemu reads as cap 80d2008c222f0606 ecap 480080f00f4a.
func qemu() Config {
	c := qemuLegacy()
	c.SMTS, c.SSTS, c.SRS = true, true, true
	c.PASIDCache = DefaultConfig().PASIDCache
	return c
}

// qemuLegacy reads as cap 80d2008c222f0606 ecap f00f4a.
func qemuLegacy() Config {
	c := full()
	noScalableMode(&c)
	c.VersionMajor, c.HAW = 1, 48
	c.PLMR, c.PHMR, c.ZLR = false, false, false
	c.SAGAW, c.MGAW, c.MAMV = uint8(spec.SAGAW39|spec.SAGAW48), 48, 0x12
	c.FaultOffset, c.FaultRecords, c.IOTLBOffset = 0x220, 1, 0xf0
	c.ESRTPS = true
	c.C, c.DT, c.EIM, c.PI, c.SC = false, false, false, false, false
	return c
}
