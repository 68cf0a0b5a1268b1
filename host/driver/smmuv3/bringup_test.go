package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// The order of a boot: tables while the unit is off, the command queue and an invalidation of everything, the
// other queues, and translation last.
func TestBringUp_Order(t *testing.T) {
	r := machine(t)
	r.up(Options{})
	var order []uint32
	for _, w := range r.CPU.Writes {
		order = append(order, w.Off)
	}
	require.Equal(t, []uint32{
		spec.OffCR0, spec.OffCR1, spec.OffCR2, spec.OffSTRTABBase, spec.OffSTRTABBaseCfg,
		spec.OffCR0, spec.OffCMDQBase, spec.OffCMDQProd, spec.OffCMDQCons, spec.OffCR0, spec.OffCMDQProd,
		spec.OffIRQCtrl, spec.OffGERRORIRQCfg0, spec.OffGERRORIRQCfg1, spec.OffGERRORIRQCfg2,
		spec.OffCR0, spec.OffEVENTQBase, spec.OffEVENTQProd, spec.OffEVENTQCons,
		spec.OffEVENTQIRQCfg0, spec.OffEVENTQIRQCfg1, spec.OffEVENTQIRQCfg2, spec.OffCR0,
		spec.OffCR0, spec.OffPRIQBase, spec.OffPRIQProd, spec.OffPRIQCons,
		spec.OffPRIQIRQCfg0, spec.OffPRIQIRQCfg1, spec.OffPRIQIRQCfg2, spec.OffCR0, spec.OffIRQCtrl,
		spec.OffCR0, spec.OffCR0,
	}, order)
	require.EqualValues(t, 0xd75, r.CPU.ReadReg(0, spec.OffCR1, 4), "as Linux 7.3 has it")
	want := spec.Cr0SMMUEN.Mask() | spec.Cr0CMDQEN.Mask() | spec.Cr0EVENTQEN.Mask() | spec.Cr0PRIQEN.Mask() | spec.Cr0ATSCHK.Mask()
	require.Equal(t, want, r.CPU.ReadReg(0, spec.OffCR0ACK, 4))
	require.NoError(t, r.d.Shutdown())
	require.Zero(t, r.CPU.ReadReg(0, spec.OffCR0ACK, 4))
}

// A unit that somebody left on is turned off, and aborts what comes until it is on again.
func TestBringUp_RunningUnitAborts(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.stage(host.StageFirst, 0)))
	r.Reaches(dev, emu.NoPASID, iova, page(0))
	second, err := New(r.CPU, r.Frames, Options{})
	require.NoError(t, err)
	require.True(t, spec.GbpaABORT.On(r.CPU.ReadReg(0, spec.OffGBPA, 4)))
	r.Blocked(dev, emu.NoPASID, iova)
	require.NoError(t, second.Enable())
	r.Blocked(dev, emu.NoPASID, iova)
	r.Use(second)
	dom := r.In(host.StageSecond, iova, page(3))
	require.NoError(t, second.Attach(dev, emu.NoPASID, dom))
	r.Reaches(dev, emu.NoPASID, iova, page(3))
}

// Units of all kinds come up and translate, by linear tables and by those of two levels.
func TestBringUp_UnitsOfAllKinds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hw.Config)
		opt    Options
	}{
		"stage 1 only": {stage1Only, Options{}}, "stage 2 only": {stage2Only, Options{}}, "linear, 6 bits": {linear, Options{}},
		"linear by choice": {nil, Options{Linear: true, StreamBits: 12}}, "no messages": {noMessages, Options{}},
		"small ids": {smallIDs, Options{}}, "no flags": {noFlags, Options{}}, "never stalls": {neverStall, Options{}},
		"no ATS": {noATS, Options{}}, "32 StreamID bits": {func(c *hw.Config) { c.SIDSIZE = 32 }, Options{}},
		"52 bits":             {func(c *hw.Config) { c.OAS = spec.OAS52 }, Options{}},
		"32 bits":             {func(c *hw.Config) { c.OAS = 0 }, Options{}},
		"40 bits":             {func(c *hw.Config) { c.OAS = 2 }, Options{}},
		"only 16 KiB":         {func(c *hw.Config) { c.GRAN4K, c.GRAN64K = false, false }, Options{}},
		"only 64 KiB":         {func(c *hw.Config) { c.GRAN4K, c.GRAN16K = false, false }, Options{}},
		"SMMUv3.0":            {func(c *hw.Config) { c.Minor, c.RIL, c.FWB, c.BBML = 0, false, false, 0 }, Options{}},
		"aborts are required": {func(c *hw.Config) { c.TermModel = true }, Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			var change []func(*hw.Config)
			if c.change != nil {
				change = append(change, c.change)
			}
			r := machine(t, change...).up(c.opt)
			const sid = emu.SourceID(0x2a)
			dom := r.Domain(host.DomainSpec{})
			require.NoError(t, dom.Map(iova, 0x4000_0000, 0x1_0000, emu.RW))
			require.NoError(t, r.d.Attach(sid, emu.NoPASID, dom))
			r.Reaches(sid, emu.NoPASID, iova, 0x4000_0000)
			r.Reaches(sid, emu.NoPASID, iova+0xf000, 0x4000_f000)
			require.NoError(t, r.d.Detach(sid, emu.NoPASID))
			r.Blocked(sid, emu.NoPASID, iova)
			require.NoError(t, dom.Free())
			require.NoError(t, r.d.Release(sid))
		})
	}
}

// What the driver cannot handle is refused by name.
func TestBringUp_Refused(t *testing.T) {
	for _, c := range []struct {
		off  uint32
		v    func(v uint64) uint64
		want error
		text string
	}{
		{spec.OffIDR1, func(v uint64) uint64 { return v | spec.Idr1TablesPreset.Mask() }, host.ErrUnsupported, "tables and queues of one's own"},
		{spec.OffIDR1, func(v uint64) uint64 { return v | spec.Idr1REL.Mask() }, host.ErrUnsupported, "tables and queues of one's own"},
		{spec.OffIDR1, func(v uint64) uint64 { return v &^ spec.Idr1CMDQS.Mask() }, host.ErrUnsupported, "a command queue of 16 entries"},
		{spec.OffIDR0, func(v uint64) uint64 { return v | spec.Idr0TTENDIAN.Put(spec.TTEndianBE) }, host.ErrUnsupported, "little-endian tables"},
		{spec.OffIDR0, func(v uint64) uint64 { return v &^ spec.Idr0TTF.Mask() }, host.ErrUnsupported, "tables of VMSAv8-64"},
		{spec.OffIDR0, func(v uint64) uint64 { return v &^ 3 }, host.ErrUnsupported, "a stage of translation"},
		{spec.OffIDR5, func(v uint64) uint64 { return v &^ (7 << 4) }, host.ErrUnsupported, "pages of 2^0 bytes"},
	} {
		r := machine(t)
		r.CPU.Fake = func(off uint32, v uint64) uint64 {
			if off == c.off {
				return c.v(v)
			}
			return v
		}
		_, err := New(r.CPU, r.Frames, Options{})
		require.ErrorIs(t, err, c.want)
		require.ErrorContains(t, err, c.text)
	}
	r := machine(t)
	_, err := New(r.CPU, r.Frames, Options{StreamBits: 17})
	require.ErrorContains(t, err, "StreamIDs of 17 bits")
	r.CPU.Fake = func(uint32, uint64) uint64 { return 0xffff_ffff }
	_, err = New(r.CPU, r.Frames, Options{})
	require.ErrorIs(t, err, driver.ErrNoUnit)
	r = machine(t)
	r.CPU.Drop[spec.OffCR0] = true
	_, err = New(r.CPU, r.Frames, Options{})
	require.ErrorIs(t, err, host.ErrTimeout)
	require.ErrorContains(t, err, "CR0ACK")
}

// A unit that does not snoop finds everything written back.
func TestBringUp_NonCoherent(t *testing.T) {
	r := machine(t)
	r.CPU.Fake = func(off uint32, v uint64) uint64 {
		if off == spec.OffIDR0 {
			v &^= spec.Idr0COHACC.Mask()
		}
		return v
	}
	clean := func(off uint32) {
		if off == spec.OffCMDQProd || off == spec.OffCR0 {
			require.Empty(t, r.CPU.Dirty)
		}
	}
	r.CPU.Hook = clean
	r.up(Options{})
	for i, s := range []host.Stage{host.StageFirst, host.StageSecond} {
		dom := r.stage(s, i)
		require.Empty(t, r.CPU.Dirty)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		require.Empty(t, r.CPU.Dirty)
		r.Reaches(dev, emu.NoPASID, iova, page(i))
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		require.False(t, arch{r.d}.CanTrack(dom.(*driver.Domain)))
	}
	require.NoError(t, r.d.Probe(5, host.DeviceSpec{PASIDs: 1000}))
	require.NoError(t, r.d.Attach(5, 700, r.stage(host.StageFirst, 9)))
	require.Empty(t, r.CPU.Dirty)
	r.Reaches(5, 700, iova, page(9))
}

// Devices beyond the stream table do not exist.
func TestProbe_Limits(t *testing.T) {
	r := machine(t).up(Options{StreamBits: 9})
	require.NoError(t, r.d.Probe(0x1ff, host.DeviceSpec{}))
	require.ErrorIs(t, r.d.Probe(0x200, host.DeviceSpec{}), host.ErrDevice)
	require.ErrorIs(t, r.d.Probe(0x1ff, host.DeviceSpec{}), host.ErrDevice)
	require.ErrorIs(t, r.d.Probe(1, host.DeviceSpec{PASIDs: 1<<16 + 1}), host.ErrUnsupported)
	require.NoError(t, r.d.Probe(1, host.DeviceSpec{PASIDs: 1 << 16}))
}
