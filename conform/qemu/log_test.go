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
		s.line(&vtd, []byte(c.line))
		require.Equal(t, c.want, s, c.line)
	}
}

func TestLog_AMDVi(t *testing.T) {
	var s seen
	for _, text := range []string{
		"amdvi_mem_ir_write_req addr 0x7f000 data 0x41 size 0x4",
		"amdvi_ir_remap_msi_req addr 0xfee7f000 data 0x41 devid 0x18",
		"amdvi_ir_remap_msi (addr 0xfee7f000, data 0x41) -> (addr 0x5500fee7f004, data 0x4031)",
		"apic_deliver_irq dest 127 dest_mode 1 delivery_mode 0 vector 49 trigger_mode 0",
		"amdvi_generate_msi_interrupt Mode: MSI",
		"apic_deliver_irq dest 1 dest_mode 1 delivery_mode 1 vector 85 trigger_mode 1",
		"amdvi_generate_msi_interrupt Mode: MSI", // MSI is off
		"amdvi_mem_ir_write_req addr 0x0 data 0x42 size 0x4",
		"apic_deliver_irq dest 0 dest_mode 0 delivery_mode 0 vector 66 trigger_mode 0",
	} {
		s.line(&amdvi, []byte(text))
	}
	require.Equal(t, seen{messages: []conform.Message{{Addr: 0x5500_fee7_f004, Data: 0x4031}, {Addr: 0xfee0_1004, Data: 0x8155}}, own: 1}, s)

	s = seen{reading: true}
	s.line(&amdvi, []byte("amdvi_mem_ir_write_req addr 0x7f004 data 0x9abcdef0 size 0x4"))
	s.line(&amdvi, []byte("amdvi_ir_remap_msi (addr 0xfee7f004, data 0x9abcdef0) -> (addr 0xfee7f004, data 0x4031)"))
	require.Equal(t, seen{reading: true, data: []conform.Message{{Addr: 0xfee7_f004, Data: 0x9abc_def0}}}, s)
}

func FuzzLog(f *testing.F) {
	f.Add([]byte("vtd_ir_remap_msi (addr 0xfee00010, data 0x5) -> (addr 0xfee7f000, data 0x4021)"))
	f.Add([]byte("vtd_irq_generate addr 0xfffffffffffffffffffffffff data 0x"))
	f.Add([]byte("apic_deliver_irq dest 127 dest_mode 1 delivery_mode 99999999999999999999 vector"))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, u := range []*unit{&vtd, &amdvi} {
			s := seen{raised: true}
			s.line(u, line)
			require.LessOrEqual(t, len(s.messages), 1)
		}
	})
}
