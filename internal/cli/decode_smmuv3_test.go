package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func TestDecodeSMMUv3(t *testing.T) {
	const sid = 0x18 << 32
	for name, c := range map[string]struct {
		kind  string
		words []uint64
		want  []string
	}{
		// Entries that Linux wrote.
		"L1STD": {"l1std", []uint64{0x4be2_0009}, []string{"L1STD {", "Span 4:0 = 0x9", "0x4be20000 level 2 table"}},
		"STE":   {"ste", []uint64{0x45fc_000b, 0, 0, 0, 0, 0, 0, 0}, []string{"STE {", "Config 3:1 = 0x5", "0x45fc0000 CD or CD table", "64 bytes"}},
		"STE, stage 2": {"ste", []uint64{1 | 6<<1, 1 << 44, 9 | 25<<32 | 1<<38 | 4<<48 | 1<<51, 0x40_0000, 0, 0, 0, 0},
			[]string{"SHCFG 109:108 = 0x1", "S2VMID 143:128 = 0x9", "S2T0SZ 165:160 = 0x19", "S2PS 178:176 = 0x4", "0x400000 stage 2 table"}},
		"L1CD": {"l1cd", []uint64{0x45fc_1001}, []string{"L1CD {", "0x45fc1000 level 2 table"}},
		"CD": {"cd", []uint64{0x0001_f205_c019_3510, 0x4623_0000, 0, 0xf404_ff44, 0, 0, 0, 0},
			[]string{"CD {", "T0SZ 5:0 = 0x10", "ASID 63:48 = 0x1", "0x46230000 table of the lower half", "EPD1 30 = 0x1"}},
		"table descriptor":   {"ttd-table", []uint64{0x45d8_1003 | 1<<62}, []string{"table descriptor {", "0x45d81000 next table", "APTable[1] 62 = 0x1"}},
		"stage 1 page":       {"ttd-s1", []uint64{0x60_0000_0809_0e4b}, []string{"stage 1 descriptor {", "AttrIndx 4:2 = 0x2", "AP[1] 6 = 0x1", "0x8090000 output"}},
		"stage 2 page":       {"ttd-s2", []uint64{0x5000 | 3 | 0xf<<2 | 3<<6 | 1<<10 | 2<<53}, []string{"stage 2 descriptor {", "MemAttr 5:2 = 0xf", "S2AP[1] 7 = 0x1", "XN 54:53 = 0x2", "0x5000 output"}},
		"CMD_CFGI_STE":       {"command", []uint64{3 | sid, 1}, []string{"CMD_CFGI_STE {", "StreamID 63:32 = 0x18", "Leaf 64 = 0x1"}},
		"CMD_CFGI_STE_RANGE": {"command", []uint64{4, 31}, []string{"CMD_CFGI_STE_RANGE {", "Range 68:64 = 0x1f"}},
		"CMD_TLBI_NH_VA":     {"command", []uint64{0x12 | 7<<48, 0xffff_9000 | 1}, []string{"CMD_TLBI_NH_VA {", "ASID 63:48 = 0x7", "/* what translates 0xffff9000 */"}},
		"CMD_TLBI_NH_VA, range": {"command", []uint64{0x12 | 3<<12 | 2<<20, 0x4000 | 1<<10},
			[]string{"NUM 16:12 = 0x3", "SCALE 25:20 = 0x2", "/* addresses 0x4000 to 0x13fff */"}},
		"CMD_TLBI_NH_VA, 64 KiB": {"command", []uint64{0x12 | 31<<12 | 39<<20, 3 << 10}, []string{"/* addresses 0x0 to 0xfffffffffffffff */"}},
		"CMD_TLBI, too far":      {"command", []uint64{0x12 | 40<<20, 1 << 10}, []string{"/* SCALE is reserved */"}},
		"CMD_TLBI_S2_IPA":        {"command", []uint64{0x2a | 9<<32, 0x8000 | 2<<10}, []string{"CMD_TLBI_S2_IPA {", "VMID 47:32 = 0x9", "/* addresses 0x8000 to 0xbfff */"}},
		"CMD_ATC_INV":            {"command", []uint64{0x40 | 1<<11 | 5<<12 | sid, 0x7000 | 1}, []string{"CMD_ATC_INV {", "SubstreamID 31:12 = 0x5", "/* addresses 0x6000 to 0x7fff */"}},
		"CMD_ATC_INV, all":       {"command", []uint64{0x40 | sid, 52}, []string{"/* all addresses */"}},
		"CMD_PRI_RESP":           {"command", []uint64{0x41 | sid, 0x1ff | 2<<12}, []string{"CMD_PRI_RESP {", "PRGIndex 72:64 = 0x1ff", "Resp 77:76 = 0x2"}},
		"CMD_SYNC":               {"command", []uint64{0x46 | 1<<12 | 0x55<<32, 0x809_0040}, []string{"CMD_SYNC {", "MSIData 63:32 = 0x55", "0x8090040 message address"}},
		"no command":             {"command", []uint64{0xfe, 1}, []string{"command of unknown opcode 0xfe {", "other bits set"}},
		"F_TRANSLATION": {"event", []uint64{0x10 | 1<<11 | 5<<12 | sid, 1<<35 | 2<<40, 0xdead_0000, 0},
			[]string{"F_TRANSLATION {", "SubstreamID 31:12 = 0x5", "RnW 99 = 0x1", "CLASS 105:104 = 0x2", "InputAddr 191:128 = 0xdead0000"}},
		"F_PERMISSION of stage 2": {"event", []uint64{0x13 | sid, 1<<39 | 1<<40, 0x1000, 0x4000}, []string{"F_PERMISSION {", "S2 103 = 0x1", "0x4000 with S2: IPA"}},
		"F_WALK_EABT":             {"event", []uint64{0x0b, 0, 0, 0x40_0008}, []string{"F_WALK_EABT {", "0x400008 address of the structure"}},
		"implementation defined":  {"event", []uint64{0xe3, 0, 0, 0}, []string{"implementation defined event 0xe3 {"}},
		"no event":                {"event", []uint64{0x30, 0, 0, 0}, []string{"event of unknown number 0x30 {"}},
		"PRI record":              {"pri", []uint64{0x18 | 3<<32 | 1<<60 | 1<<63, 0x7f000 | 9}, []string{"PRI record {", "StreamID 31:0 = 0x18", "PRGIndex 72:64 = 0x9", "0x7f000 address"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := decoded(t, "smmuv3", c.kind, c.words...)
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
			if !strings.Contains(strings.Join(c.want, ""), "other bits set") {
				require.Contains(t, out, "all other bits: 0")
			}
		})
	}
}

// Every command and every event has its name.
func TestDecodeSMMUv3_Names(t *testing.T) {
	for op, l := range spec.CmdLayouts {
		require.True(t, strings.HasPrefix(decoded(t, "smmuv3", "command", op, 0), l.Name+" {"), l.Name)
	}
	for n, l := range spec.EventLayouts {
		require.True(t, strings.HasPrefix(decoded(t, "smmuv3", "event", n, 0, 0, 0), l.Name+" {"), l.Name)
	}
}
