package traces

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

const (
	amdUpdate = "amdvi_cache_update  update iotlb domid 0x3 devid: 00:02.0 gpa 0xfffff002 hpa 0x403f000"
	amdHit    = "amdvi_iotlb_hit hit iotlb devid 00:02.0 gpa 0xfffff002 hpa 0x403f000"
	amdResult = "amdvi_translation_result devid: 00:02.0 gpa 0xfffff002 hpa 0x403f000"
	// The same in a page of 8 KiB, or in one of 4 KiB: the log does not say.
	amdUpdate8 = "amdvi_cache_update  update iotlb domid 0x3 devid: 00:02.0 gpa 0xfffff002 hpa 0x403e000"
	amdResult8 = "amdvi_translation_result devid: 00:02.0 gpa 0xfffff002 hpa 0x403e000"
)

func TestQEMUAMDVi_Events(t *testing.T) {
	const first = "0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x403f000,rw\n1000,access,0x10,,0xfffff002,,0x403f002,rw\n"
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"translated, then from the cache": {[]string{amdUpdate, amdResult, amdHit, amdResult}, first + "3000,access,0x10,,0xfffff002,,0x403f002,rw\n"},
		"page of unknown size": {[]string{amdUpdate8, amdResult8, amdUpdate8, amdResult8},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,,rw\n1000,access,0x10,,0xfffff002,,,rw\n3000,access,0x10,,0xfffff002,,,rw\n"},
		"page of unknown size, elsewhere without an invalidation": {[]string{amdUpdate8, amdResult8, amdUpdate, amdResult},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,,rw\n1000,access,0x10,,0xfffff002,,,rw\n" +
				"3000,unmap,0x10,,0xfffff000,4096,,\n3000,map,0x10,,0xfffff000,4096,0x403f000,rw\n3000,access,0x10,,0xfffff002,,0x403f002,rw\n"},
		"start of a large page": {[]string{
			"amdvi_cache_update  update iotlb domid 0x3 devid: 00:02.0 gpa 0xffc00cb0 hpa 0x8200000",
			"amdvi_translation_result devid: 00:02.0 gpa 0xffc00cb0 hpa 0x8200000"},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xffc00000,4096,0x8200000,rw\n1000,access,0x10,,0xffc00cb0,,0x8200cb0,rw\n"},
		"an invalidation has no address": {[]string{amdUpdate, amdResult, "amdvi_pages_inval AMD-Vi pages for domain 0x3 invalidated", amdUpdate, amdResult},
			first + "2000,invalidate,,,0x0,,0x3,\n2000,unmap,0x10,,0xfffff000,4096,,\n4000,map,0x10,,0xfffff000,4096,0x403f000,rw\n4000,access,0x10,,0xfffff002,,0x403f002,rw\n"},
		"of another domain":    {[]string{amdUpdate, amdResult, "amdvi_pages_inval AMD-Vi pages for domain 0x4 invalidated"}, first + "2000,invalidate,,,0x0,,0x4,\n"},
		"everything":           {[]string{amdUpdate, amdResult, "amdvi_all_inval Invalidation of all AMD-Vi cache requested "}, first + "2000,invalidate,,,0x0,,,\n2000,unmap,0x10,,0xfffff000,4096,,\n"},
		"not translated (V=0)": {[]string{"amdvi_translation_result devid: 00:03.0 gpa 0x12345678 hpa 0x12345000"}, "0,map,0x18,,0x12345000,4096,0x12345000,rw\n0,access,0x18,,0x12345678,,0x12345678,rw\n"},
		"refused": {[]string{
			"amdvi_page_fault error: page fault accessing guest physical address 0x12345678",
			"amdvi_translation_result devid: 00:03.0 gpa 0x12345678 hpa 0x0",
			"amdvi_translation_result devid: 00:03.0 gpa 0x12345678 hpa 0x0"}, "1000,marker,0x18,,0x12345678,,0x0,\n2000,marker,0x18,,0x12345678,,0x1,\n"},
		"refused in the first page": {[]string{
			"amdvi_invalid_dte PTE entry at 0x7 is invalid ",
			"amdvi_translation_result devid: 00:03.0 gpa 0x8 hpa 0x0"}, "1000,marker,0x18,,0x8,,0x0,\n"},
		"without its IOTLB line": {[]string{amdResult}, "0,map,0x10,,0xfffff000,4096,0x403f000,rw\n0,access,0x10,,0xfffff002,,0x403f002,rw\n"},
		"result of another request than the line before": {[]string{amdUpdate, "amdvi_translation_result devid: 00:02.0 gpa 0xffffe000 hpa 0x0"},
			"0,attach,0x10,,0x0,,0x3,\n1000,marker,0x10,,0xffffe000,,0x0,\n"},
		"registers": {[]string{
			"amdvi_mmio_write AMDVI_MMIO_CONTROL write addr 0x18, size 8, val 0x1, offset 0x0",
			"amdvi_mmio_write UNHANDLED write addr 0x24, size 4, val 0x2, offset 0x4",
			"amdvi_mmio_read AMDVI_MMIO_STATUS read addr 0x2020, size 4 offset 0x2020",
			"amdvi_mmio_read_invalid error: addr outside region (max 0x4000): read addr 0x4008, size 8",
			"amdvi_mmio_write error: addr outside region: max  write addr 0x4000, size 8, val 0x5, offset 0x0"},
			"0,reg_write,,,0x18,8,0x1,\n1000,reg_write,,,0x24,4,0x2,\n2000,reg_read,,,0x2020,4,,\n3000,reg_read,,,0x4008,8,,\n"},
		"interrupts": {[]string{
			"amdvi_mem_ir_write_req addr 0x0 data 0x1 size 0x4",
			"amdvi_ir_remap_msi_req addr 0xfee00000 data 0x1 devid 0x18",
			"amdvi_ir_delivery_mode fixed/arbitrated", "amdvi_ir_intctl int_ctl 0x2", "amdvi_ir_irte addr 0x40a6000 offset 0x10",
			"amdvi_ir_irte_ga_val hi 0x2d lo 0x1", "amdvi_ir_irte_val data 0x2d0001",
			"amdvi_ir_remap_msi (addr 0xfee00000, data 0x1) -> (addr 0xfee00000, data 0x402d)",
			"amdvi_mem_ir_write addr 0xfee00000 data 0x402d", "amdvi_generate_msi_interrupt Mode: xt"}, "1000,irq,,,0xfee00000,,0x1,\n"},
		"commands": {[]string{
			"amdvi_command_exec command buffer head at 0x10 command buffer tail at 0x20 command buffer base at 0x2694000",
			"amdvi_devtab_inval device table entry for devid: 04:00.0 invalidated",
			"amdvi_completion_wait completion wait requested with store address 0x2687000 and store data 0x2",
			"amdvi_intr_inval Interrupt table invalidated", "amdvi_iotlb_inval IOTLB pages invalidated",
			"amdvi_prefetch_pages Pre-fetch of AMD-Vi pages requested", "amdvi_ppr_exec Execution of PPR queue requested ",
			"amdvi_unhandled_command unhandled command 0xb", "amdvi_iotlb_reset IOTLB exceed size limit - reset "},
			"1000,marker,0x400,,0x0,,0x0,\n3000,marker,,,0x0,,0x1,\n4000,marker,,,0x0,,0x2,\n5000,marker,,,0x0,,0x3,\n6000,marker,,,0x0,,0x4,\n7000,marker,,,0x0,,0x5,\n"},
		"errors": {[]string{
			"amdvi_command_error error: Executing commands with command buffer disabled 0x0",
			"amdvi_command_read_fail error: fail to access memory at 0x2694000 + 0x10",
			"amdvi_completion_wait_fail error: fail to write at address 0x2687000",
			"amdvi_evntlog_fail error: fail to write at addr 0x3748000 +  offset 0x20",
			"amdvi_ir_target_abort RemapEn is disabled", "amdvi_ir_err int_ctl reserved", "amdvi_err MSI is not from IOAPIC."},
			"0,marker,,,0x0,,0x0,\n1000,marker,,,0x2694010,,0x1,\n2000,marker,,,0x2687000,,0x2,\n3000,marker,,,0x3748020,,0x3,\n4000,marker,,,0x0,,0x4,\n5000,marker,,,0x0,,0x5,\n6000,marker,,,0x0,,0x6,\n"},
		"why a request is refused": {[]string{
			"amdvi_mode_invalid error: translation level 0x7 translating addr 0x1000", "amdvi_translation_result devid: 00:03.0 gpa 0x1000 hpa 0x0",
			"amdvi_get_pte_hwerror hardware error eccessing PTE at addr 0x8000", "amdvi_translation_result devid: 00:03.0 gpa 0x1000 hpa 0x0",
			"amdvi_dte_get_fail error: failed to access Device Entry devtab 0x26a0000 offset 0x300", "amdvi_translation_result devid: 00:03.0 gpa 0x1000 hpa 0x0"},
			"1000,marker,0x18,,0x1000,,0x0,\n3000,marker,0x18,,0x1000,,0x1,\n5000,marker,0x18,,0x1000,,0x2,\n"},
		"state": {[]string{"amdvi_control_status MMIO_STATUS state 0x0", "x86_iommu_iec_notify Notify IEC invalidation: global=1 index=0 mask=0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr, rep, err := ImportQEMU(strings.NewReader(strings.Join(c.lines, "\n")+"\n"), ImportOptions{})
			require.NoError(t, err)
			require.Equal(t, c.want, csvOf(tr))
			require.Empty(t, rep.Unknown)
			require.Equal(t, len(c.lines), rep.Known)
			checkTrace(t, tr)
		})
	}
}

func TestQEMUAMDVi_Marks(t *testing.T) {
	tr, _, err := ImportQEMU(strings.NewReader("amdvi_mode_invalid error: translation level 0x7 translating addr 0x1000\n"+
		"amdvi_translation_result devid: 00:03.0 gpa 0x1000 hpa 0x0\namdvi_ir_target_abort RemapEn is disabled\namdvi_unhandled_command unhandled command 0xb\n"), ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"illegal mode of the device table entry", "interrupt refused: RemapEn is disabled", "unknown command 0xb"}, tr.Header.Marks)
	require.Equal(t, "amdvi", tr.Header.IOMMU)
}

// Every event has a line that it does not take: it is an error with its place, or counted.
func TestQEMU_MalformedKnownEvents(t *testing.T) {
	for _, table := range [][]rule[*qemuImport]{qemuAMDVi, qemuSMMUv3} {
		for _, r := range table {
			if r.texts == nil || r.texts[0] == "%*" || r.texts[0] == "Mode: %*" {
				continue
			}
			line := r.name + " something else entirely\n"
			_, _, err := ImportQEMU(strings.NewReader("\n"+line), ImportOptions{Name: "log"})
			require.ErrorContains(t, err, "log: line 2: "+r.name+": want ")
			_, rep, err := ImportQEMU(strings.NewReader(line), ImportOptions{Lenient: true})
			require.NoError(t, err)
			require.Equal(t, 1, rep.Malformed, r.name)
			require.Zero(t, rep.Known)
		}
	}
	for _, line := range []string{
		"amdvi_translation_result devid: 00:20.0 gpa 0x1000 hpa 0x1000",
		"amdvi_iotlb_hit hit iotlb devid 100:00.0 gpa 0x1000 hpa 0x1000",
		"amdvi_cache_update  update iotlb domid 0x3 devid: 00:02.8 gpa 0x1000 hpa 0x1000",
		"amdvi_devtab_inval device table entry for devid: 00:ff.0 invalidated",
	} {
		_, _, err := ImportQEMU(strings.NewReader(line+"\n"), ImportOptions{})
		require.ErrorContains(t, err, "want a PCI function, got ", line)
	}
	for _, line := range []string{
		"smmu_iotlb_insert IOTLB ++ asid=7 vmid=0 addr=0x1000 tg=4 level=3",
		"smmu_iotlb_insert IOTLB ++ asid=7 vmid=0 addr=0x1000 tg=1 level=-1",
		"smmuv3_range_inval vmid=2 asid=7 addr=0x1000 tg=1 num_pages=0x0 ttl=0 leaf=1 stage=1",
		"smmuv3_range_inval vmid=2 asid=7 addr=0x1000 tg=9 num_pages=0x1 ttl=0 leaf=1 stage=1",
	} {
		_, _, err := ImportQEMU(strings.NewReader(line+"\n"), ImportOptions{})
		require.ErrorContains(t, err, "line 1: "+strings.Fields(line)[0]+": want a granule ", line)
	}
}

func TestQEMUAMDVi_Alias(t *testing.T) {
	tr, _, err := ImportQEMU(strings.NewReader(strings.ReplaceAll(amdUpdate+"\n"+amdResult+"\n", "00:02.0", "04:01.0")),
		ImportOptions{Alias: map[emu.SourceID]emu.SourceID{0x408: 0x400}})
	require.NoError(t, err)
	require.Equal(t, []emu.SourceID{0x400}, tr.Header.Devices)
}

// The log has only the start of each page. Where the import states an address all the same, the driver has
// mapped it there, as its tracepoints say.
func TestQEMUAMDVi_AddressesAreThoseThatTheDriverMapped(t *testing.T) {
	tr, _, err := ImportQEMU(bytes.NewReader(readZstd(t, "testdata/amdvi-v1/qemu-trace.log.zst")), ImportOptions{})
	require.NoError(t, err)
	stated := statedMaps(t, readZstd(t, "testdata/amdvi-v1/ftrace.txt.zst"))
	const page = ^uint64(emu.PageSize - 1)
	known, unknown := 0, 0
	for _, e := range tr.Events {
		switch {
		case e.Kind != Access:
		case e.HasPA:
			require.True(t, stated[[2]uint64{uint64(e.IOVA) & page, uint64(e.PA) & page}], "%+v", e)
			known++
		default:
			unknown++
		}
	}
	require.Greater(t, known, 300)
	require.Greater(t, unknown, 300)
}

// Nothing is lost and nothing made up: each kind has as many events as the log has lines that say so.
func TestQEMUAMDVi_CountsAreThoseOfTheLog(t *testing.T) {
	text := readZstd(t, "testdata/amdvi-v1/qemu-trace.log.zst")
	lines := make(map[string]int)
	for l := range strings.Lines(string(text)) {
		if f := strings.Fields(l); len(f) > 1 {
			lines[f[1]]++
		}
	}
	tr, rep, err := ImportQEMU(bytes.NewReader(text), ImportOptions{})
	require.NoError(t, err)
	require.Empty(t, rep.Unknown)
	kinds := make(map[Kind]int)
	for _, e := range tr.Events {
		kinds[e.Kind]++
	}
	require.Equal(t, 1298, kinds[Access])
	require.Equal(t, lines["amdvi_translation_result"], kinds[Access])
	require.Equal(t, lines["amdvi_mmio_write"], kinds[RegWrite])
	require.Equal(t, lines["amdvi_mmio_read"], kinds[RegRead])
	require.Equal(t, lines["amdvi_ir_remap_msi_req"], kinds[IRQ])
	require.Equal(t, lines["amdvi_pages_inval"]+lines["amdvi_all_inval"], kinds[Invalidate])
	require.Equal(t, lines["amdvi_command_error"]+lines["amdvi_devtab_inval"]+lines["amdvi_intr_inval"], kinds[Marker])
	require.Equal(t, kinds[Map]+kinds[Unmap]+kinds[Attach], rep.Derived)
}
