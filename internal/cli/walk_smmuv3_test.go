package cli

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// TestWalkSMMUv3_Oracle: every row of a real recording.
func TestWalkSMMUv3_Oracle(t *testing.T) {
	for name, want := range map[string]struct{ rows, passed uint64 }{
		"smmuv3-s1": {rows: 4475}, "smmuv3-s2": {4492, 92}, "smmuv3-16k": {3122, 92}, "smmuv3-16k-s2": {rows: 3168}, "smmuv3-lazy": {rows: 4164},
	} {
		code, w := walkRecording(t, name)
		require.Equal(t, exitOK, code, name)
		require.Equal(t, want.rows, w.Checked, name)
		require.Equal(t, want.rows, w.Agree, name)
		require.Empty(t, w.Differences, name)
		if want.passed == 0 {
			require.Empty(t, w.Deviations, name)
			continue
		}
		require.Len(t, w.Deviations, 1, name)
		require.Equal(t, want.passed, w.Deviations[0].Agree, name)
		require.Equal(t, "3.4", w.Deviations[0].Clause, name)
		code, w = walkRecording(t, name, "--strict")
		require.Equal(t, exitFailed, code, name)
		require.Equal(t, want.passed, w.Differ, name)
	}
}

// Tables that no driver wrote, with all granules and start levels, nested, and entries of all kinds: what agrees
// only with a deviation of QEMU is counted by name.
func TestWalkSMMUv3_Deviations(t *testing.T) {
	code, w := walkRecording(t, "smmuv3-made")
	require.Equal(t, exitOK, code)
	require.EqualValues(t, 430, w.Checked)
	require.EqualValues(t, 430, w.Agree)
	got := map[string]uint64{}
	for _, d := range w.Deviations {
		got[d.Clause] = d.Agree
	}
	require.Equal(t, map[string]uint64{"3.4": 8, "5.4": 6, "5.2, S2SL0": 10, "5.2, S1CDMax": 2, "5.2, S2T0SZ": 2}, got)

	code, w = walkRecording(t, "smmuv3-made", "--strict")
	require.Equal(t, exitFailed, code)
	require.EqualValues(t, 28, w.Differ)
	require.Empty(t, w.Deviations)

	// A deviation is no excuse for another answer than that which follows from it.
	packed, err := os.ReadFile(filepath.Join(recordings, "smmuv3-made", "oracle.csv.zst"))
	require.NoError(t, err)
	text := unpacked(t, packed)
	rows := strings.SplitAfter(text, "\n")
	spoiled := rows[0]
	for _, r := range rows[1:] {
		if f := strings.Split(r, ","); len(f) > 5 && strings.HasSuffix(r, ",deviates\n") {
			if f[4] == "ok" {
				f[5] = fmt.Sprintf("%#x", number(t, f[5])^0x1_0000)
			} else {
				f[4], f[5] = "ok", "0x48000000"
			}
			spoiled += strings.Join(f, ",")
		}
	}
	list := filepath.Join(t.TempDir(), "oracle.csv")
	require.NoError(t, os.WriteFile(list, []byte(spoiled), 0o644))
	_, w = walkRecording(t, "smmuv3-made", "--oracle", list)
	require.EqualValues(t, 28, w.Checked)
	require.EqualValues(t, 28, w.Differ)
}

// What inspect shows is what the unit does.
func TestWalkSMMUv3_AsShown(t *testing.T) {
	for _, c := range []struct {
		name string
		make func() *smmuv3Machine
	}{
		{"granules and halves", stage1Tables},
		{"big-endian", bigEndianTables},
		{"EL2", el2Tables},
		{"stage 2", stage2Tables},
		{"52 bits", wideTables},
		{"contiguous", func() *smmuv3Machine {
			m := stage1Tables()
			for i := range 16 {
				m.put(emu.PA(0x30_2080+8*i), 0xbb0_000+uint64(i)<<12|page1|1<<52)
			}
			return m
		}},
		{"write excludes execute", func() *smmuv3Machine {
			m := stage1Tables()
			m.words[0x20_0000] |= 1 << 50
			return m
		}},
	} {
		t.Run(c.name, func(t *testing.T) { walksAsShown(t, c.make().write(t)) })
	}
}

// bigEndianTables are those of stage1Tables, of the first stream, in the other byte order.
func bigEndianTables() *smmuv3Machine {
	m := stage1Tables()
	m.regs32[spec.OffIDR0] &^= 3 << 21 // both orders
	m.ste(2, 0)
	m.ste(3, 0)
	m.words[0x20_0000] |= 1 << 15 // ENDI
	for at, v := range m.words {
		if at >= 0x30_0000 {
			m.words[at] = bits.ReverseBytes64(v)
		}
	}
	return m
}

// el2Tables has a stream of EL2: neither EPD0 nor the upper half count, nor do ASID and AP[1].
func el2Tables() *smmuv3Machine {
	m := stage1Tables()
	m.regs32[spec.OffIDR0] |= 1 << 9
	m.ste(1, stage1|0x20_0000, 2<<30)
	m.ste(2, 0)
	m.ste(3, 0)
	m.words[0x20_0000] |= 1 << 14 // EPD0
	m.put(0x30_2000, 0)
	for at := emu.PA(0x30_0000); at < 0x30_3000; at += 8 {
		if m.words[at] != 0 {
			m.words[at] |= uxn // without it they can be executed, which is not shown
		}
	}
	return m
}

// stage2Tables has streams of stage 2 alone: of 4 KiB with tables side by side that the STE's address is not
// aligned to, and of 64 KiB.
func stage2Tables() *smmuv3Machine {
	m := newSMMUv3Machine()
	m.ste(1, 1|6<<1, 0, 9|24<<32|1<<38|5<<48|1<<51, 0x40_0000|0x10)
	m.put(0x40_0000, 0x40_2003)
	m.put(0x40_1000, 0x8000_0000|page2RW&^2)
	m.put(0x40_2000, 0x40_3003, 0x60_0000|page2RW&^2|1<<54)
	m.put(0x40_3008, 0x50_1000|page2RW, 0x50_2000|page2RW, 0x50_3000|page2W, 0x50_4000|page2RW|3<<53)
	m.ste(2, 1|6<<1, 0, 8|22<<32|1<<38|1<<46|5<<48|1<<51, 0x41_0000)
	m.put(0x41_0008, 0x42_0003)
	m.put(0x42_0010, 0x7_0000|page2RW)
	for _, table := range []emu.PA{0x41_0000, 0x42_0000} {
		for page := table; page < table+0x1_0000; page += emu.PageSize {
			m.put(page+0xff8, 0)
		}
	}
	return m
}

// wideTables has addresses of 52 bits, by DS and with 64 KiB.
func wideTables() *smmuv3Machine {
	m := newSMMUv3Machine()
	m.regs32[spec.OffIDR3] |= 1<<3 | 1<<10 | 2<<11 // SMMUv3.4
	m.regs32[spec.OffIDR5] = 0x76 | 1<<10 | 1<<15  // OAS, VAX, DS
	m.regs32[spec.OffAIDR] = 4
	const cd = 1<<31 | 1<<41 | 1<<45 | 1<<46 | 6<<32 | epd1
	m.ste(1, stage1|0x20_0000)
	m.put(0x20_0000, cd|25, 0x30_0000, 1<<59)
	m.put(0x30_0000, 0x30_1003)
	m.put(0x30_1000, 0x30_2003)
	m.put(0x30_2008, 0xaaa_000|page1|3<<8, 0xaab_000|page1|1<<49)
	m.ste(2, stage1|0x20_0040)
	m.put(0x20_0040, cd|22|1<<6|1<<48, 0x31_0000)
	m.put(0x31_0008, 0x2000_0000|block1|0xa<<12)
	for page := emu.PA(0x31_0000); page < 0x32_0000; page += emu.PageSize {
		m.put(page+0xff8, 0)
	}
	return m
}

// Nested: what both stages map, and what one of them refuses.
func TestWalkSMMUv3_Nested(t *testing.T) {
	walks(t, nestedStages().write(t),
		"1,,0x2008,R,ok,0x504008",
		"1,,0x2008,W,ok,0x504008",
		"1,,0x3008,W,ok,0x505008",
		"1,,0x3008,R,fault,",   // stage 2 only lets it be written
		"1,,0x1008,R,fault,",   // not mapped by stage 2
		"1,,0x4008,R,fault,",   // nor by stage 1
		"1,,0x200000,R,fault,", // its table cannot be read
		"1,7,0x2008,R,fault,",  // no SubstreamIDs
	)
}
