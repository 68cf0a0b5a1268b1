package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Which fields of the ID registers a version has, 2.2 to 2.8 and 6.3.1 to 6.3.6: reserved before since, and not 0
// from must on, where the unit has the stages that it is about.
var versionRules = []struct {
	off         uint32
	field       reg.Bits
	name        string
	since, must uint64
	needs       uint64 // of IDR0
	only        bool   // RES0 without needs
}{
	{spec.OffIDR0, spec.Idr0HYP, "HYP", 0, 2, both, true},
	{spec.OffIDR0, spec.Idr0ATSRECERR, "ATSRECERR", 3, never, spec.Idr0ATS.Mask(), true},
	{spec.OffIDR0, spec.Idr0NS1ATS, "NS1ATS", 0, never, spec.Idr0ATS.Mask() | both, true},
	{spec.OffIDR0, spec.Idr0PRI, "PRI", 0, never, spec.Idr0ATS.Mask(), true},
	{spec.OffIDR0, spec.Idr0VMW, "VMW", 0, never, spec.Idr0S2P.Mask(), true},
	{spec.OffIDR0, spec.Idr0VATOS, "VATOS", 0, never, spec.Idr0ATOS.Mask() | both, true},
	{spec.OffIDR1, spec.Idr1ECMDQ, "ECMDQ", 3, never, 0, false},
	{spec.OffIDR3, spec.Idr3HAD, "HAD", 0, 1, spec.Idr0S1P.Mask(), true},
	{spec.OffIDR3, spec.Idr3XNX, "XNX", 1, 1, spec.Idr0S2P.Mask(), true},
	{spec.OffIDR3, spec.Idr3PBHA, "PBHA", 1, never, 0, false},
	{spec.OffIDR3, spec.Idr3PPS, "PPS", 0, never, spec.Idr0PRI.Mask(), true},
	{spec.OffIDR3, spec.Idr3FWB, "FWB", 2, 2, spec.Idr0S2P.Mask(), true},
	{spec.OffIDR3, spec.Idr3STT, "STT", 2, never, 0, false},
	{spec.OffIDR3, spec.Idr3RIL, "RIL", 2, 2, 0, false},
	{spec.OffIDR3, spec.Idr3BBML, "BBML", 2, 2, 0, false},
	{spec.OffIDR3, spec.Idr3E0PD, "E0PD", 3, 3, 0, false},
	{spec.OffIDR3, spec.Idr3PTWNNC, "PTWNNC", 3, 3, spec.Idr0S2P.Mask(), true},
	{spec.OffIDR3, spec.Idr3PASIDTT, "PASIDTT", 4, never, spec.Idr0ATS.Mask(), true},
	{spec.OffIDR3, spec.Idr3EPAN, "EPAN", 4, 4, 0, false},
	{spec.OffIDR3, spec.Idr3MTEPERM, "MTEPERM", 4, 4, spec.Idr0S2P.Mask(), true},
	{spec.OffIDR5, spec.Idr5VAX, "VAX", 1, never, 0, false},
	{spec.OffIDR5, spec.Idr5DS, "DS", 4, never, 0, false},
	{spec.OffIDR5, spec.Idr5D128, "D128", 4, never, 0, false},
}

const (
	never = 99
	both  = 1<<0 | 1<<1 // S1P, S2P
)

func TestVersions_IDRegistersOfPresets(t *testing.T) {
	for _, p := range smmuv3.Presets() {
		if p.Name == "qemu" {
			continue // which says 3.1, with RIL and BBML of 3.2
		}
		c, err := smmuv3.Preset(p.Name)
		require.NoError(t, err)
		u, err := smmuv3.New(c)
		require.NoError(t, err)
		idr0, idr5 := u.ReadReg(spec.OffIDR0, 4), u.ReadReg(spec.OffIDR5, 4)
		minor := spec.AidrMinor.Of(u.ReadReg(spec.OffAIDR, 4))
		for _, r := range versionRules {
			v := r.field.Of(u.ReadReg(r.off, 4))
			has := idr0&r.needs == r.needs
			if minor < r.since || r.only && !has {
				require.Zero(t, v, "%s: %s is reserved", p.Name, r.name)
			}
			if minor >= r.must && has {
				require.NotZero(t, v, "%s: %s is mandatory", p.Name, r.name)
			}
		}
		if minor < 4 {
			require.NotEqualValues(t, spec.HTTUTable, spec.Idr0HTTU.Of(idr0), "%s: HAFT", p.Name)
		}
		most := uint64(spec.OAS52)
		if minor == 0 {
			most = spec.OAS52 - 1
		}
		require.LessOrEqual(t, spec.Idr5OAS.Of(idr5), most, "%s: OAS", p.Name)
		if spec.Idr5OAS.Of(idr5) == spec.OAS52 || spec.Idr5VAX.Of(idr5) == spec.VAX52 {
			require.True(t, spec.Idr5GRAN64K.On(idr5) || spec.Idr5DS.On(idr5), "%s: 52 bits need a granule", p.Name)
		}
	}
}

// What means nothing is not advertised, whatever the configuration says.
func TestVersions_ReservedWithoutOtherFields(t *testing.T) {
	everything := func() smmuv3.Config {
		c, err := smmuv3.Preset("full")
		require.NoError(t, err)
		c.NS1ATS = true
		return c
	}
	for name, c := range map[string]struct {
		change change
		off    uint32
		fields []reg.Bits
	}{
		"no ATS":           {func(c *smmuv3.Config) { c.ATS, c.PRI = false, false }, spec.OffIDR0, []reg.Bits{spec.Idr0NS1ATS, spec.Idr0ATSRECERR}},
		"no ATS, IDR3":     {func(c *smmuv3.Config) { c.ATS, c.PRI = false, false }, spec.OffIDR3, []reg.Bits{spec.Idr3PASIDTT, spec.Idr3PPS}},
		"no PRI":           {func(c *smmuv3.Config) { c.PRI = false }, spec.OffIDR3, []reg.Bits{spec.Idr3PPS}},
		"no SubstreamIDs":  {func(c *smmuv3.Config) { c.SSIDSIZE, c.PASIDTT = 0, false }, spec.OffIDR3, []reg.Bits{spec.Idr3PPS}},
		"no stage 2":       {func(c *smmuv3.Config) { c.S2P, c.HYP, c.XNX, c.FWB, c.VATOS = false, false, false, false, false }, spec.OffIDR3, []reg.Bits{spec.Idr3PTWNNC, spec.Idr3MTEPERM}},
		"no stage 2, IDR0": {func(c *smmuv3.Config) { c.S2P, c.HYP, c.XNX, c.FWB, c.VATOS = false, false, false, false, false }, spec.OffIDR0, []reg.Bits{spec.Idr0VMW, spec.Idr0NS1ATS}},
		"no stage 1": {func(c *smmuv3.Config) {
			c.S1P, c.HYP, c.SSIDSIZE, c.CD2L, c.PASIDTT, c.VATOS = false, false, 0, false, false, false
		}, spec.OffIDR3, []reg.Bits{spec.Idr3HAD}},
	} {
		full := everything()
		u, err := smmuv3.New(full)
		require.NoError(t, err)
		less := everything()
		c.change(&less)
		v, err := smmuv3.New(less)
		require.NoError(t, err, name)
		for _, f := range c.fields {
			require.True(t, f.On(u.ReadReg(c.off, 4)), name)
			require.False(t, f.On(v.ReadReg(c.off, 4)), name)
		}
	}
}

// Pointers beyond the output size are ILLEGAL from SMMUv3.1 on; before, what they point to cannot be fetched (5.2,
// S1ContextPtr; 5.3, L2Ptr).
func TestVersions_PointersOutOfRange(t *testing.T) {
	for minor := range uint8(5) {
		r := newRig(t, func(c *smmuv3.Config) { c.Minor, c.OAS = minor, 2 }).enable() // 40 bits
		r.attach(dev)
		r.set(r.ste(dev), field{spec.SteS1Context, 1 << (41 - 6)})
		r.bind(other, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1CDMax, 7}, field{spec.SteS1Fmt, 1}, field{spec.SteS1Context, uint64(r.Page()) >> 6},
			field{spec.SteS1DSS, spec.DSSSSID0})
		l1 := r.Get(r.ste(other)) & spec.SteS1Context.Mask()
		r.Put(emu.PA(l1), 1<<41|1)
		q := emutest.DMA(other, emu.NoPASID, iova, emu.Read)
		if minor == 0 {
			r.requireEvent(dma(emu.Read), smmuv3.FaultCDFetch)
			r.requireEvent(q, smmuv3.FaultCDFetch)
			continue
		}
		r.requireEvent(dma(emu.Read), smmuv3.FaultSTEIllegal)
		r.requireEvent(q, smmuv3.FaultL1CDPointer)
	}
}

// 3.23.1: with MTEPERM the value that denies access to tags is write-back memory; else it is reserved. That of an
// STE's override stays reserved.
func TestVersions_NoTagAccess(t *testing.T) {
	for _, has := range []bool{true, false} {
		r := newRig(t, func(c *smmuv3.Config) { c.MTEPERM, c.AttrTypesOvr = has, true }).enable()
		root := r.attach2(dev)
		r.mapPage(root, iova, 0x5000, s2RW&^(15<<2)|spec.S2NoTagAccess<<2)
		want := "Device-nGnRnE"
		if has {
			want = usual.text()
		}
		require.Equal(t, want, r.attr(dma(emu.Read)))
		r.bind(other, field{spec.SteConfig, spec.ConfigBypass}, field{spec.SteMTCFG, 1}, field{spec.SteMemAttr, spec.S2NoTagAccess})
		require.Equal(t, "Device-nGnRnE", r.attr(emutest.DMA(other, emu.NoPASID, iova, emu.Read)))
	}
}

// window is what software sees of every register that a unit with everything has: its value after reset, and
// the bits that take a write while the unit is off. Everything else in both pages and that of VATOS reads 0.
var window = []struct {
	name  string
	off   uint32
	size  uint8
	reset uint64
	rw    uint64
}{
	{"IDR0", 0x000, 4, 0x089f_f6db, 0},
	{"IDR1", 0x004, 4, 0x0e73_9d20, 0},
	{"IDR2", 0x008, 4, 1, 0},
	{"IDR3", 0x00c, 4, 0x0043_7734, 0},
	{"IDR4", 0x010, 4, 0, 0},
	{"IDR5", 0x014, 4, 0x0010_04f6, 0},
	{"IIDR", 0x018, 4, 0, 0},
	{"AIDR", 0x01c, 4, 4, 0},
	{"CR0", 0x020, 4, 0, 0x1df},
	{"CR0ACK", 0x024, 4, 0, 0},
	{"CR1", 0x028, 4, 0, 0xfff},
	{"CR2", 0x02c, 4, 0, 0xf},
	{"S2PII", 0x030, 8, 0, 0},
	{"STATUSR", 0x040, 4, 0, 0},
	{"GBPA", 0x044, 4, 0x1000, 0}, // without UPDATE
	{"AGBPA", 0x048, 4, 0, 0},
	{"IRQ_CTRL", 0x050, 4, 0, 7},
	{"IRQ_CTRLACK", 0x054, 4, 0, 0},
	{"GERROR", 0x060, 4, 0, 0},
	{"GERRORN", 0x064, 4, 0, 0}, // nothing is active
	{"GERROR_IRQ_CFG0", 0x068, 8, 0, 0x000f_ffff_ffff_fffc},
	{"GERROR_IRQ_CFG1", 0x070, 4, 0, 0xffff_ffff},
	{"GERROR_IRQ_CFG2", 0x074, 4, 0, 0x3f},
	{"STRTAB_BASE", 0x080, 8, 0, 0x400f_ffff_ffff_ffc0},
	{"STRTAB_BASE_CFG", 0x088, 4, 0, 0x3_07ff},
	{"CMDQ_BASE", 0x090, 8, 0, 0x400f_ffff_ffff_ffff},
	{"CMDQ_PROD", 0x098, 4, 0, 1}, // of a queue of one entry: index and wrap flag
	{"CMDQ_CONS", 0x09c, 4, 0, 0x7f00_0001},
	{"EVENTQ_BASE", 0x0a0, 8, 0, 0x400f_ffff_ffff_ffff},
	{"EVENTQ_IRQ_CFG0", 0x0b0, 8, 0, 0x000f_ffff_ffff_fffc},
	{"EVENTQ_IRQ_CFG1", 0x0b8, 4, 0, 0xffff_ffff},
	{"EVENTQ_IRQ_CFG2", 0x0bc, 4, 0, 0x3f},
	{"PRIQ_BASE", 0x0c0, 8, 0, 0x400f_ffff_ffff_ffff},
	{"PRIQ_IRQ_CFG0", 0x0d0, 8, 0, 0x000f_ffff_ffff_fffc},
	{"PRIQ_IRQ_CFG1", 0x0d8, 4, 0, 0xffff_ffff},
	{"PRIQ_IRQ_CFG2", 0x0dc, 4, 0, 0x8000_003f},
	{"GATOS_CTRL", 0x100, 4, 0, 0}, // while SMMUEN=0
	{"GATOS_SID", 0x108, 8, 0, 0x001f_ffff_ffff_ffff},
	{"GATOS_ADDR", 0x110, 8, 0, 0xffff_ffff_ffff_ffc0},
	{"GATOS_PAR", 0x118, 8, 0, 0},
	{"MPAMIDR", 0x130, 4, 0, 0}, {"GMPAM", 0x138, 4, 0, 0}, {"GBPMPAM", 0x13c, 4, 0, 0},
	{"VATOS_SEL", 0x180, 4, 0, 0xffff},
	{"IDR6", 0x190, 4, 0, 0},
	{"DPT_BASE", 0x200, 8, 0, 0}, {"DPT_BASE_CFG", 0x208, 4, 0, 0}, {"DPT_CFG_FAR", 0x210, 8, 0, 0},
	{"CIDR0", 0xff0, 4, 0x0d, 0}, {"CIDR1", 0xff4, 4, 0xf0, 0}, {"CIDR2", 0xff8, 4, 0x05, 0}, {"CIDR3", 0xffc, 4, 0xb1, 0},
	{"CMDQ_CONTROL_PAGE_BASE0", 0x4000, 8, 0, 0},
	{"S_IDR1", 0x8004, 4, 0, 0}, {"S_INIT", 0x803c, 4, 0, 0},
	{"EVENTQ_PROD", 0x1_00a8, 4, 0, 0x8000_0001},
	{"EVENTQ_CONS", 0x1_00ac, 4, 0, 0x8000_0001},
	{"PRIQ_PROD", 0x1_00c8, 4, 0, 0x8000_0001},
	{"PRIQ_CONS", 0x1_00cc, 4, 0, 0x8000_0001},
	{"VATOS_CTRL", 0x3_0a00, 4, 0, 0},
	{"VATOS_SID", 0x3_0a08, 8, 0, 0x001f_ffff_ffff_ffff},
	{"VATOS_ADDR", 0x3_0a10, 8, 0, 0xffff_ffff_ffff_ffc0},
	{"VATOS_PAR", 0x3_0a18, 8, 0, 0},
}

// 6.2 and 6.3: every register after reset, and what a write of ones and one of zeros leave of it, as a whole and in
// halves. What is in no register takes nothing.
func TestRegisters_ResetAndAccess(t *testing.T) {
	unit := func() *smmuv3.Unit {
		c, err := smmuv3.Preset("full")
		require.NoError(t, err)
		u, err := smmuv3.New(c)
		require.NoError(t, err)
		return u
	}
	known := map[uint32]bool{}
	for _, w := range window {
		u := unit()
		ones := ^uint64(0) >> (64 - 8*w.size)
		if w.name == "GBPA" {
			ones &^= spec.GbpaUPDATE.Mask()
		}
		require.Equal(t, w.reset, u.ReadReg(w.off, w.size), "%s after reset", w.name)
		u.WriteReg(w.off, w.size, ones)
		require.Equal(t, w.reset&^w.rw|w.rw, u.ReadReg(w.off, w.size), "%s after ones", w.name)
		if w.name != "CR0" && w.name != "IRQ_CTRL" { // which take another value once this one is acknowledged
			u.WriteReg(w.off, w.size, 0)
			require.Equal(t, w.reset&^w.rw, u.ReadReg(w.off, w.size), "%s after zeros", w.name)
		}
		for half := uint32(0); half < uint32(w.size); half += 4 {
			known[w.off+half] = true
			u = unit()
			u.WriteReg(w.off+half, 4, ones>>(8*half)&0xffff_ffff)
			got := u.ReadReg(w.off, w.size) >> (8 * half) & 0xffff_ffff
			require.Equal(t, (w.reset|w.rw)>>(8*half)&0xffff_ffff, got, "%s, half at %d", w.name, half)
			require.Equal(t, got, u.ReadReg(w.off+half, 4), "%s, half at %d", w.name, half)
		}
	}
	for i := range uint32(8) {
		known[spec.OffPIDR4+4*i] = true // implementation defined
	}
	u := unit()
	for off := uint32(0); off < spec.WindowAll; off += 4 {
		if known[off] || off >= spec.OffPMCG && off < spec.WindowPM {
			continue
		}
		require.Zero(t, u.WriteReg(off, 4, 0xffff_ffff), "%#x wakes nobody", off)
		require.Zero(t, u.ReadReg(off, 4), "%#x is in no register", off)
	}
	for _, w := range window {
		require.Equal(t, w.reset, u.ReadReg(w.off, w.size), "%s is where it was", w.name)
	}
}
