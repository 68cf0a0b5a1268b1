package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuv3Machine is a snapshot made by hand: a linear stream table of 64 entries at 0x10_0000.
type smmuv3Machine struct {
	regs64, regs32 map[uint32]uint64
	words          map[emu.PA]uint64
}

func newSMMUv3Machine() *smmuv3Machine {
	return &smmuv3Machine{
		regs32: map[uint32]uint64{
			spec.OffIDR0: 0x0d4c_101b, spec.OffIDR1: 0x0273_0010 | 20<<6 | 19<<11, spec.OffIDR3: 1 << 2, spec.OffIDR5: 0x75, // 48 bits
			spec.OffCR0: 0xd, spec.OffCR0ACK: 0xd, spec.OffCR2: 0, spec.OffSTRTABBaseCfg: 6,
		},
		regs64: map[uint32]uint64{spec.OffSTRTABBase: 0x10_0000},
		words:  map[emu.PA]uint64{},
	}
}

func (m *smmuv3Machine) put(at emu.PA, w ...uint64) {
	for i, v := range w {
		m.words[at+emu.PA(8*i)] = v
	}
}

func (m *smmuv3Machine) ste(sid int, w ...uint64) { m.put(emu.PA(0x10_0000+64*sid), w...) }

func (m *smmuv3Machine) write(t *testing.T) (args []string) {
	memory := mem.New()
	for pa, v := range m.words {
		require.True(t, memory.Store64(pa, v))
	}
	list := func(regs map[uint32]uint64) string {
		var s []string
		for off, v := range regs {
			s = append(s, fmt.Sprintf(`"%#x": "%#x"`, off, v))
		}
		return strings.Join(s, ",")
	}
	regs, core := writeSnapshot(t, memory, `{"iommu": "smmu", "regs64": {%s}, "regs32": {%s}}`, list(m.regs64), list(m.regs32))
	return []string{"--regs", regs, "--core", core}
}

func (m *smmuv3Machine) inspect(t *testing.T, args ...string) string {
	code, out, errs := run(context.Background(), "", append(append([]string{"inspect"}, args...), m.write(t)...)...)
	require.Equal(t, exitOK, code, errs)
	return out
}

const (
	cdBase  = 1<<31 | 1<<41 | 1<<45 | 1<<46 | 5<<32 // V, AA64, R, A, 48 bits
	page1   = 3 | 1<<6 | 1<<10                      // stage 1: page, unprivileged, accessed
	block1  = 1 | 1<<6 | 1<<10
	ro1     = 1 << 7
	uxn     = 1 << 54
	epd1    = 1 << 30
	stage1  = 1 | 5<<1
	page2RW = 3 | 0xf<<2 | 3<<6 | 1<<10
	page2W  = 3 | 0xf<<2 | 2<<6 | 1<<10
)

// stage1Tables has a stream for each granule; that of 4 KiB has both halves, and the top byte ignored.
func stage1Tables() *smmuv3Machine {
	m := newSMMUv3Machine()
	m.ste(1, stage1|0x20_0000)
	m.put(0x20_0000, cdBase|25|25<<16|2<<22|1<<38|7<<48, 0x30_0000, 0x31_0000)
	m.put(0x30_0000, 0x30_1003, 0x4000_0000|block1|uxn) // 1 GiB
	m.put(0x30_1000, 0x30_2003, 0x20_0000|block1|ro1)   // 2 MiB
	m.put(0x30_2008, 0xaaa_000|page1, 0xaab_000|page1, 0xaac_000|page1&^(1<<6), 0xaad_000|page1&^(1<<10))
	m.put(0x31_0ff8, 0x31_1003)
	m.put(0x31_1ff8, 0x31_2003)
	m.put(0x31_2ff8, 0xbbb_000|page1)
	// 16 KiB, 36 bits; 64 KiB, 42 bits.
	m.ste(2, stage1|0x20_0040)
	m.put(0x20_0040, cdBase|28|2<<6|epd1|8<<48, 0x32_0000)
	m.put(0x32_0000, 0x32_4003)
	m.put(0x32_4008, 0xa0_4000|page1)
	m.ste(3, stage1|0x20_0080)
	m.put(0x20_0080, cdBase|22|1<<6|epd1|9<<48, 0x33_0000)
	m.put(0x33_0008, 0x2000_0000|block1)
	for page := emu.PA(0x32_0000); page < 0x34_0000; page += emu.PageSize { // tables are larger than pages of the snapshot
		m.put(page+0xff8, 0)
	}
	return m
}

func TestInspectSMMUv3_Stage1Tables(t *testing.T) {
	require.Equal(t, strings.TrimPrefix(`
stage 1 table at 0x300000, 3 levels, domain 7, 6 leaves, of 0x0001/0
  0x1000-0x2fff -> 0xaaa000 RWX, 2 x 0x1000
  0x3000-0x3fff -> 0xaac000 X, 1 x 0x1000
  0x4000-0x4fff -> 0xaad000 -, 1 x 0x1000
  0x200000-0x3fffff -> 0x200000 RX, 1 x 0x200000
  0x40000000-0x7fffffff -> 0x40000000 RW, 1 x 0x40000000
stage 1, upper half table at 0x310000, 3 levels, domain 7, 1 leaves, of 0x0001/0
  0xfffffffffffff000-0xffffffffffffffff -> 0xbbb000 RWX, 1 x 0x1000
stage 1 table at 0x320000, 2 levels, domain 8, 1 leaves, of 0x0002/0
  0x4000-0x7fff -> 0xa04000 RWX, 1 x 0x4000
stage 1 table at 0x330000, 2 levels, domain 9, 1 leaves, of 0x0003/0
  0x20000000-0x3fffffff -> 0x20000000 RWX, 1 x 0x20000000
`, "\n"), stage1Tables().inspect(t, "tables"))
}

func TestInspectSMMUv3_Streams(t *testing.T) {
	m := newSMMUv3Machine()
	m.ste(0, 1)
	m.ste(1, 1)
	m.ste(2, 1|4<<1)
	m.ste(3, 0, 5)
	m.ste(4, 1|6<<1, 0, 9|25<<32|1<<38, 0x40_0000)
	m.ste(5, 1|6<<1, 0, 9|25<<32|3<<46, 0x40_0000)
	m.ste(6, stage1|0x20_0000)
	m.ste(7, stage1|0x20_0040)
	m.put(0x20_0000, 7<<48)
	m.put(0x20_0040, cdBase|25|1<<14|epd1)
	require.Equal(t, []string{
		"0x0000 to 0x0001 at 0x100000: abort",
		"0x0002 at 0x100080: bypass",
		"0x0003 at 0x1000c0: not valid",
		"0x0004 at 0x100100: stage 2",
		"0x0005 at 0x100140: stage 2 with a reserved granule or start level",
		"0x0006 at 0x100180: stage 1",
		"0x0006 PASID 0 at 0x200000: not valid",
		"0x0007 at 0x1001c0: stage 1",
		"0x0007 PASID 0 at 0x200040: no walks (EPD0, EPD1)",
	}, headings(m.inspect(t, "context"), "0x"))
}

// CD tables: linear, and of two levels.
func TestInspectSMMUv3_Substreams(t *testing.T) {
	m := stage1Tables()
	cd := uint64(cdBase | 28 | 2<<6 | epd1 | 8<<48)
	m.ste(1, stage1|0x20_1000|2<<59) // 4 CDs
	m.put(0x20_1000, cd, 0x32_0000)
	m.put(0x20_10c0, cd, 0x32_0000)
	m.ste(2, stage1|1<<4|0x20_2000|8<<59) // 256 CDs, 64 in a leaf
	m.put(0x20_2008, 0x20_3001)
	m.put(0x20_2010, 0x20_4000) // V=0
	m.put(0x20_3040, cd, 0x32_0000)
	m.ste(3, stage1|2<<4|0x21_0000|11<<59) // 2048 CDs, 1024 in a leaf
	m.put(0x21_0008, 0x22_0001)
	m.put(0x22_ffc0, cd, 0x32_0000)
	require.Equal(t, []string{
		"0x0001 at 0x100040: stage 1", "0x0001 PASID 0 at 0x201000: stage 1", "0x0001 PASID 3 at 0x2010c0: stage 1",
		"0x0002 at 0x100080: stage 1", "0x0002 PASID 65 at 0x203040: stage 1",
		"0x0003 at 0x1000c0: stage 1", "0x0003 PASID 2047 at 0x22ffc0: stage 1",
	}, headings(m.inspect(t, "context"), "0x"))
	require.Contains(t, m.inspect(t, "tables"), "of 0x0001/0 0x0001/3 0x0002/65 0x0003/2047\n")
}

// nestedStages has a stream of both stages, whose CD and tables of stage 1 are at intermediate addresses.
func nestedStages() *smmuv3Machine {
	m := newSMMUv3Machine()
	m.ste(1, 1|7<<1|0x1000, 0, 9|24<<32|1<<38|5<<48|1<<51, 0x40_0000) // 40 bits: two tables side by side
	m.put(0x40_0000, 0x40_2003)
	m.put(0x40_1000, 0x8000_0000|page2RW&^2) // 1 GiB in the second
	m.put(0x40_2000, 0x40_3003)
	m.put(0x40_3008, 0x50_1000|page2RW, 0x50_2000|page2RW, 0x50_3000|page2RW, 0x50_4000|page2RW, 0x50_5000|page2W)
	m.put(0x50_1000, cdBase|25|epd1|7<<48, 0x2000)
	m.put(0x50_2000, 0x3003)
	m.put(0x50_3000, 0x4003, 0x5003) // the second cannot be read
	m.put(0x50_4008, 0x6000|page1, 0x4000|page1, 0x5000|page1)
	return m
}

func TestInspectSMMUv3_NestedTables(t *testing.T) {
	m := nestedStages()
	require.Equal(t, strings.TrimPrefix(`
nested, stage 1 table at 0x2000 (input of the table at 0x400000), 3 levels, domain 7, 3 leaves, of 0x0001/0
  entry at 0x5000: the second stage does not let it be read
  0x1000-0x1fff -> 0x6000 RWX, 1 x 0x1000
  0x2000-0x3fff -> 0x4000 RWX, 2 x 0x1000
stage 2 table at 0x400000, 3 levels, domain 9, 6 leaves, of 0x0001/0
  0x1000-0x4fff -> 0x501000 RWX, 4 x 0x1000
  0x5000-0x5fff -> 0x505000 WX, 1 x 0x1000
  0x8000000000-0x803fffffff -> 0x80000000 RWX, 1 x 0x40000000
`, "\n"), m.inspect(t, "tables"))
	require.Contains(t, m.inspect(t, "context"), "0x0001 PASID 0 at 0x1000: nested, stage 1\n")
	m.ste(1, 1|7<<1|0x9000)
	require.Contains(t, m.inspect(t, "context"), "note: CD table of 0x0001: entry at 0x9000: the second stage does not let it be read\n")
}

// Two levels of stream table, of which parts are not in the snapshot.
func TestInspectSMMUv3_TwoLevelStreamTable(t *testing.T) {
	m := newSMMUv3Machine()
	m.regs32[spec.OffSTRTABBaseCfg] = 16 | 8<<6 | 1<<16
	m.put(0x10_0000, 0x60_0000|9, 0, 0x61_0000|3, 0x70_0000|9)
	m.put(0x60_0000+64*5, 1)
	m.put(0x61_0000+64*3, 1|4<<1)
	m.put(0x61_0000+64*4, 1|4<<1) // beyond Span
	out := m.inspect(t, "context")
	require.Equal(t, []string{"0x0005 at 0x600140: abort", "0x0203 at 0x6100c0: bypass"}, headings(out, "0x"))
	require.Contains(t, out, "note: stream table at 0x600000: 192 of 256 entries are not in the snapshot\n")
	require.Contains(t, out, "note: stream table at 0x700000: 256 of 256 entries are not in the snapshot\n")
}

func TestInspectSMMUv3_PendingEntries(t *testing.T) {
	m := newSMMUv3Machine()
	m.regs64[spec.OffCMDQBase], m.regs32[spec.OffCMDQProd], m.regs32[spec.OffCMDQCons] = 0x50_0001, 0b01, 0b11|1<<24 // full
	m.regs64[spec.OffEVENTQBase], m.regs32[spec.OffEVENTQProd], m.regs32[spec.OffEVENTQCons] = 0x51_0003, 1<<31|9, 7
	m.regs32[spec.OffGERROR] = 1
	m.regs32[spec.OffIDR0] |= 1 << 16
	m.regs64[spec.OffPRIQBase], m.regs32[spec.OffPRIQProd], m.regs32[spec.OffPRIQCons] = 0x52_0002, 1, 0
	m.put(0x50_0000, 0x46, 0, 0xff, 0)
	m.put(0x51_00e0, 0x10|5<<32, 1<<35, 0xdead_0000)
	m.put(0x51_0000, 0x02|6<<32)
	m.put(0x52_0000, 5|3<<32|1<<60|1<<62|1<<63, 0x7f000|9)
	out := m.inspect(t, "queues")
	require.Equal(t, []string{
		"command queue at 0x500000, 2 entries of 16 bytes, on, head 1, tail 1",
		"command queue: entry 1 at 0x500010 is pending", "command queue: entry 0 at 0x500000 is pending",
	}, headings(out, "command queue"))
	require.Contains(t, out, "  stopped at head: error 1\n")
	require.Contains(t, out, "command of unknown opcode 0xff {")
	require.Contains(t, out, "event queue at 0x510000, 8 entries of 32 bytes, on, head 7, tail 1\n  overflow\nevent queue: entry 7 at 0x5100e0 is pending\nF_TRANSLATION {")
	require.Contains(t, out, "C_BAD_STREAMID {")
	require.Contains(t, out, "PRI queue at 0x520000, 4 entries of 16 bytes, off, head 0, tail 1\n")
	require.Contains(t, out, "0x7f000 address")
}

func TestInspectSMMUv3_MissingRegisters(t *testing.T) {
	for _, c := range []struct {
		in32 bool
		off  uint32
		want string
	}{
		{true, spec.OffIDR0, "regs32[0x0]: missing, want IDR0"}, {true, spec.OffIDR5, "regs32[0x14]: missing, want IDR5"},
		{true, spec.OffSTRTABBaseCfg, "regs32[0x88]: missing, want STRTAB_BASE_CFG"}, {false, spec.OffSTRTABBase, "regs64[0x80]: missing, want STRTAB_BASE"},
	} {
		m := newSMMUv3Machine()
		m.ste(0, 1)
		if c.in32 {
			delete(m.regs32, c.off)
		} else {
			delete(m.regs64, c.off)
			m.regs64[spec.OffCMDQBase] = 0
		}
		code, _, errs := run(context.Background(), "", append([]string{"inspect", "context"}, m.write(t)...)...)
		require.Equal(t, exitUsage, code)
		require.Equal(t, "iommulab inspect: "+c.want+"\n", errs)
	}
}
