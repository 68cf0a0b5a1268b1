package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/driver"
)

// The values are put together by hand from the bit positions of 6.5.2.
func TestOp_Encode(t *testing.T) {
	c := &caps{}
	drain := &caps{dwd: true, drd: true}
	for _, x := range []struct {
		name string
		o    op
		c    *caps
		want desc
	}{
		{"context global", contextGlobal(), c, desc{0x1 | 1<<4}},
		{"context device", contextDevice(0x1234, 0xabcd), c, desc{0x1 | 3<<4 | 0x1234<<16 | 0xabcd<<32}},
		{"PASID cache global", pasidGlobal(), c, desc{0x7 | 3<<4}},
		{"PASID cache selective", pasidSelective(5, 0xfffff), c, desc{0x7 | 1<<4 | 5<<16 | 0xfffff<<32}},
		{"IOTLB global", iotlbGlobal(), c, desc{0x2 | 1<<4}},
		{"IOTLB domain, draining", iotlbDomain(5), drain, desc{0x2 | 2<<4 | 1<<6 | 1<<7 | 5<<16}},
		{"IOTLB pages", iotlbPages(5, 0x12340000, 4, true), c, desc{0x2 | 3<<4 | 5<<16, 0x12340000 | 1<<6 | 4}},
		{"IOTLB of a PASID", iotlbPASID(5, 9), c, desc{0x6 | 2<<4 | 5<<16 | 9<<32}},
		{"IOTLB pages of a PASID", iotlbPASIDPages(5, 9, 0x12340000, 51, true), drain, desc{0x6 | 3<<4 | 5<<16 | 9<<32, 0x12340000 | 1<<6 | 51}},
		{"device-TLB page", deviceTLB(0xabcd, emu.NoPASID, 0x5000, 0), c, desc{0x3 | 0xabcd<<32, 0x5000}},
		{"device-TLB all", deviceTLB(0xabcd, emu.NoPASID, 0, wholeSpace), c, desc{0x3 | 0xabcd<<32, 0x7fff_ffff_ffff_f001}},
		{"PASID device-TLB page", deviceTLB(0xabcd, 9, 0x5000, 0), c, desc{0x8 | 0xabcd<<16 | 9<<32, 0x5000}},
		{"PASID device-TLB all", deviceTLB(0xabcd, 9, 0, wholeSpace), c, desc{0x8 | 0xabcd<<16 | 9<<32, 0x7fff_ffff_ffff_f800}},
		{"interrupt entries", interruptGlobal(), c, desc{0x4}},
		{"interrupt entries by index", interruptEntries(0xabcd, 5), c, desc{0x4 | 1<<4 | 5<<27 | 0xabcd<<32}},
	} {
		require.Equal(t, x.want, x.o.encode(x.c), x.name)
	}
	require.Equal(t, desc{0x5 | 1<<5 | 0x77<<32, 0x8004}, waitDesc(0x8004, 0x77))
	require.Equal(t, desc{0x5 | 1<<6}, fenceDesc())
}

func TestVTDQuirk39_DeviceTLBSizeIsCodedInTheAddress(t *testing.T) {
	for _, x := range []struct {
		addr uint64
		am   uint8
		want uint64
		s    bool
	}{
		{0x5000, 0, 0x5000, false},
		{0x4000, 1, 0x4000, true},                 // 8K: bit 12 is 0
		{0x4000, 2, 0x5000, true},                 // 16K: 01
		{0x8000, 3, 0xb000, true},                 // 32K: 011
		{0x20_0000, 9, 0x20_0000 | 0xff000, true}, // 2M
		{0, wholeSpace, 0x7fff_ffff_ffff_f000, true},
	} {
		got, s := atsRange(x.addr, x.am)
		require.Equal(t, x.want, got, "%#x %d", x.addr, x.am)
		require.Equal(t, x.s, s)
	}
}

func TestBlock_WidensToAnAlignedPowerOfTwo(t *testing.T) {
	for _, x := range []struct {
		first, last emu.IOVA
		addr        uint64
		am          uint8
	}{
		{0x5000, 0x5fff, 0x5000, 0},
		{0x4000, 0x5fff, 0x4000, 1},
		{0x5000, 0x6fff, 0x4000, 2},
		{0x7000, 0x8fff, 0, 4},
		{0x20_0000, 0x3f_ffff, 0x20_0000, 9},
		{0, ^emu.IOVA(0), 0, wholeSpace},
	} {
		addr, lg2 := driver.Block(x.first, x.last)
		am := lg2 - emu.PageShift
		require.Equal(t, x.addr, addr, "%#x", x.first)
		require.Equal(t, x.am, am, "%#x", x.first)
	}
}

func TestCaps_FirstWidth(t *testing.T) {
	for _, x := range []struct {
		five         uint64
		mgaw         uint64
		want         uint8
		levels, bits uint8
		ok           bool
	}{
		{0, 48, 0, 4, 47, true},
		{0, 57, 0, 4, 47, true},
		{0, 57, 48, 4, 47, false},
		{0, 46, 0, 4, 46, true},
		{0, 39, 0, 4, 39, false},
		{1, 57, 0, 5, 56, true},
		{1, 57, 47, 4, 47, true},
		{1, 57, 48, 5, 56, true},
		{1, 52, 0, 5, 52, true},
		{1, 47, 0, 4, 47, true},
		{1, 57, 57, 5, 56, false},
	} {
		c := caps{cap: x.five<<60 | (x.mgaw-1)<<16}
		l, b, ok := c.firstWidth(x.want)
		require.Equal(t, x.ok, ok, "%+v", x)
		if ok {
			require.Equal(t, [2]uint8{x.levels, x.bits}, [2]uint8{l, b}, "%+v", x)
		}
	}
}

func TestCaps_Width(t *testing.T) {
	for _, x := range []struct {
		sagaw, mgaw  uint64
		want         uint8
		levels, bits uint8
		ok           bool
	}{
		{2 | 4 | 8, 57, 0, 5, 57, true},
		{2 | 4 | 8, 48, 0, 4, 48, true},
		{2 | 4, 48, 0, 4, 48, true},
		{2 | 4, 48, 39, 3, 39, true},
		{4, 46, 0, 4, 46, true},
		{4, 46, 40, 4, 40, true},
		{4, 46, 39, 4, 46, true},
		{2, 48, 0, 3, 39, true},
		{2, 48, 48, 3, 39, false},
		{4, 39, 0, 4, 39, true}, // desktop units: the root has one entry
		{4, 38, 0, 4, 38, false},
		{0, 48, 0, 0, 0, false},
	} {
		c := caps{cap: x.sagaw<<8 | (x.mgaw-1)<<16}
		l, b, ok := c.width(x.want)
		require.Equal(t, x.ok, ok, "%+v", x)
		if ok {
			require.Equal(t, [2]uint8{x.levels, x.bits}, [2]uint8{l, b}, "%+v", x)
		}
	}
}
