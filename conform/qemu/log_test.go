package qemu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
)

func TestLog_LinesOfAllReleases(t *testing.T) {
	for _, c := range []struct {
		line string
		want seen
	}{
		{"vtd_ir_remap_msi (addr 0xfee00010, data 0x5) -> (addr 0xfee7f000, data 0x4021)",
			seen{messages: []conform.Message{{Addr: 0xfee7_f000, Data: 0x4021}}}},
		{"123@1700000000.000001:vtd_ir_remap_msi (addr 0xfee00010, data 0x5) -> (addr 0xfee7f000, data 0x4021)",
			seen{messages: []conform.Message{{Addr: 0xfee7_f000, Data: 0x4021}}}},
		{"vtd_ir_remap_msi_req addr 0xfee00010 data 0x5", seen{}},
		{"vtd_irq_generate addr 0xfee01000 data 0x55", seen{messages: []conform.Message{{Addr: 0xfee0_1000, Data: 0x55}}, own: 1}},
		{"Invalid read at addr 0x2000, size 4, region '(null)', reason: rejected", seen{refused: true}},
		{"Invalid write at addr 0x2000, size 4, region '(null)', reason: rejected", seen{refused: true}},
		{"something else", seen{}},
		{"vtd_irq_generate addr", seen{messages: []conform.Message{{}}, own: 1}},
	} {
		var s seen
		s.line([]byte(c.line))
		require.Equal(t, c.want, s, c.line)
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte("vtd_ir_remap_msi (addr 0xfee00010, data 0x5) -> (addr 0xfee7f000, data 0x4021)"))
	f.Add([]byte("vtd_irq_generate addr 0xfffffffffffffffffffffffff data 0x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var s seen
		s.line(line)
		require.LessOrEqual(t, len(s.messages), 1)
	})
}
