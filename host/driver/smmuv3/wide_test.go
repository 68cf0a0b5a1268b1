package smmuv3

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// preset makes a unit one of the named ones.
func preset(name string) func(*hw.Config) {
	return func(c *hw.Config) {
		*c, _ = hw.Preset(name)
		c.SIDSIZE = 16
	}
}

// Addresses have as many bits on both sides as the unit has for the granule: 52 with 64 KiB from SMMUv3.1 on,
// with the others from 3.4 on, by DS.
func TestWide_AddressesOf52Bits(t *testing.T) {
	for _, c := range []struct {
		preset  string
		granule uint8
		bits    uint8
		levels  [2]uint8 // of stage 1, of stage 2
		ds      uint64
	}{
		{"full", 12, 52, [2]uint8{5, 4}, 1}, {"full", 14, 52, [2]uint8{4, 4}, 1}, {"full", 16, 52, [2]uint8{3, 3}, 0},
		{"3.4", 12, 52, [2]uint8{5, 4}, 1}, {"3.4", 14, 52, [2]uint8{4, 4}, 1}, {"3.4", 16, 52, [2]uint8{3, 3}, 0},
		{"3.3", 12, 48, [2]uint8{4, 4}, 0}, {"3.3", 14, 48, [2]uint8{4, 3}, 0}, {"3.1", 16, 52, [2]uint8{3, 3}, 0},
		{"3.0", 12, 48, [2]uint8{4, 4}, 0}, {"3.0", 16, 48, [2]uint8{3, 3}, 0},
	} {
		for i, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
			t.Run(fmt.Sprintf("%s, 2^%d, stage %d", c.preset, c.granule, i+1), func(t *testing.T) {
				r := machine(t, preset(c.preset)).up(Options{Granule: c.granule})
				dom := r.Domain(host.DomainSpec{Stage: stage})
				require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
				tab := dom.(*driver.Domain).Table
				_, levels := tab.Root()
				require.Equal(t, c.levels[i], levels)
				require.Equal(t, c.bits, dom.(*driver.Domain).Config.VABits)
				if _, raw := r.d.STEAt(dev); stage == host.StageSecond {
					require.EqualValues(t, 64-c.bits, spec.SteS2T0SZ.Get(raw))
					require.Equal(t, c.ds, spec.SteS2DS.Get(raw))
				} else {
					at := emu.PA(raw[0] & spec.SteS1Context.Mask())
					require.EqualValues(t, 64-c.bits, spec.CdT0SZ.Of(r.CPU.Load64(at)))
					require.Equal(t, c.ds, spec.CdDS.Of(r.CPU.Load64(at+16)))
				}

				// The first and the last page, a block, and each bit of an address on either side.
				page, last := uint64(1)<<c.granule, emu.IOVA(1)<<c.bits-emu.IOVA(1)<<c.granule
				far := emu.PA(1)<<c.bits - emu.PA(page)
				require.NoError(t, dom.Map(0, far, page, emu.RW))
				require.NoError(t, dom.Map(last, 0, page, emu.RW))
				r.Reaches(dev, emu.NoPASID, 8, far+8)
				r.Reaches(dev, emu.NoPASID, last+8, 8)
				for bit := c.granule; bit < c.bits; bit++ {
					require.NoError(t, dom.Map(1<<bit, 1<<bit, page, emu.RW))
					require.NoError(t, dom.Map(1<<bit^(last&^(1<<20-1)), 1<<bit^far, page, emu.RW), "bit %d", bit)
					r.Reaches(dev, emu.NoPASID, 1<<bit+16, 1<<bit+16)
					r.Reaches(dev, emu.NoPASID, 1<<bit^(last&^(1<<20-1)), 1<<bit^far)
				}
				block := uint64(1) << (2*c.granule - 3)
				to := emu.PA(1)<<(c.bits-1) | emu.PA(3*block)
				require.NoError(t, dom.Map(emu.IOVA(5*block), to, block, emu.RW))
				res := r.Access(dev, emu.NoPASID, emu.IOVA(5*block+page), emu.Read)
				require.Equal(t, to+emu.PA(page), res.PA)
				require.EqualValues(t, 2*c.granule-3, res.Lg2)
				if c.bits < 64 {
					require.Error(t, dom.Map(1<<c.bits, 0, page, emu.RW))
					r.Blocked(dev, emu.NoPASID, 1<<c.bits)
				}

				// What is unmapped goes, here and at the far end.
				_, err := dom.Unmap(last, page)
				require.NoError(t, err)
				r.Blocked(dev, emu.NoPASID, last+8)
				_, err = dom.Unmap(emu.IOVA(5*block), block)
				require.NoError(t, err)
				r.Blocked(dev, emu.NoPASID, emu.IOVA(5*block+page))

				// Another domain takes over without a fault.
				other := r.Domain(host.DomainSpec{Stage: stage})
				require.NoError(t, other.Map(0, far-emu.PA(page), page, emu.RW))
				_, err = r.d.Replace(dev, emu.NoPASID, other, entry.Hitless)
				require.NoError(t, err)
				r.Reaches(dev, emu.NoPASID, 8, far-emu.PA(page)+8)
			})
		}
	}
}

// A domain of less bits has no more levels than these need, and is of the same format.
func TestWide_NarrowDomain(t *testing.T) {
	for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
		r := start(t, preset("full"))
		dom := r.Domain(host.DomainSpec{Stage: stage, Width: 39})
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		_, levels := dom.(*driver.Domain).Table.Root()
		require.EqualValues(t, map[host.Stage]int{host.StageFirst: 3, host.StageSecond: 3}[stage], levels)
		require.NoError(t, dom.Map(iova, 0xf_ffff_0000_0000, 0x1000, emu.RW))
		r.Reaches(dev, emu.NoPASID, iova+8, 0xf_ffff_0000_0008)
		r.Blocked(dev, emu.NoPASID, 1<<39)
		require.Error(t, dom.Map(1<<39, 0, 0x1000, emu.RW))
	}
	_, err := start(t, preset("full")).d.NewDomain(host.DomainSpec{Stage: host.StageFirst, Width: 53})
	require.ErrorIs(t, err, host.ErrUnsupported)
	_, err = start(t, preset("3.3")).d.NewDomain(host.DomainSpec{Stage: host.StageFirst, Width: 52})
	require.ErrorIs(t, err, host.ErrUnsupported)
}

// SCALE has five bits, and one more with DS (4.4.1.1).
func TestUnmap_ScaleOfLargeRanges(t *testing.T) {
	for name, want := range map[string][]string{
		"3.3": {"S2_IPA vmid 7 0x2000000000000 32x2^31 of 4K", "S2_IPA vmid 7 0x3000000000000 32x2^31 of 4K"},
		"3.4": {"S2_IPA vmid 7 0x2000000000000 1x2^37 of 4K"},
	} {
		d := start(t, preset(name)).d
		m := &driver.Domain{}
		m.SetID(7)
		var got []string
		for _, w := range d.dropRange(nil, &driver.Change{Domain: m, First: 1 << 49, Last: 1<<50 - 1}, spec.CmdTlbiS2IPA, tlbiBoth(7)) {
			got = append(got, decode(w))
		}
		require.Equal(t, want, got, name)
	}
}
