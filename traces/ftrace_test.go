package traces

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func ftraceLines(events ...string) string {
	var b strings.Builder
	for i, e := range events {
		b.WriteString("          kworker/0:1H-123     [000] d..2.    10." + uitoa(uint64(1_000_000 + i))[1:] + ": " + e + "\n")
	}
	return b.String()
}

const aMap = "map: IOMMU: iova=0x00000000fff41000 - 0x00000000fff43000 paddr=0x000000000578d000 size=8192"

// One case per event of the formats table: the line, and the events that come of it.
func TestFtrace_Events(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"add_device_to_group":      {[]string{"add_device_to_group: IOMMU: groupID=3 device=0000:00:04.0"}, "0,marker,0x20,,0x0,,0x0,\n"},
		"remove_device_from_group": {[]string{"remove_device_from_group: IOMMU: groupID=3 device=0000:00:04.0"}, "0,marker,0x20,,0x0,,0x0,\n"},
		"attach":                   {[]string{"attach_device_to_domain: IOMMU: device=0000:00:04.0"}, "0,attach,0x20,,0x0,,,\n"},
		"attach with domain": {[]string{"cache_tag_assign: dmar0/dmar0 type iotlb did 2 pasid 0 ref 1",
			"attach_device_to_domain: IOMMU: device=0000:00:04.0", "attach_device_to_domain: IOMMU: device=0000:00:05.0"},
			"1000,attach,0x20,,0x0,,0x2,\n2000,attach,0x28,,0x0,,,\n"},
		"map without owner": {[]string{aMap, "unmap: IOMMU: iova=0x00000000fff41000 - 0x00000000fff43000 size=8192 unmapped_size=8192"}, ""},
		"io_page_fault":     {[]string{"io_page_fault: IOMMU:e1000e 0000:00:04.0 iova=0x00000000deadb000 flags=0x0001"}, "0,marker,0x20,,0xdeadb000,,0x0,w\n"},
		"dma_map_phys": {[]string{aMap, "dma_map_phys: 0000:04:01.0 dir=FROM_DEVICE dma_addr=fff41f40 size=1522 phys_addr=578df40 attrs=",
			"unmap: IOMMU: iova=0x00000000fff41000 - 0x00000000fff43000 size=8192 unmapped_size=8192",
			"dma_unmap_phys: 0000:04:01.0 dir=FROM_DEVICE dma_addr=fff41f40 size=1522 attrs=SKIP_CPU_SYNC|MMIO"},
			"1000,map,0x408,,0xfff41000,8192,0x578d000,w\n3000,unmap,0x408,,0xfff41000,8192,,\n"},
		"dma_map_page": {[]string{"dma_map_page: 0000:00:02.0 dir=TO_DEVICE dma_addr=1234800 size=4096 phys_addr=5678800 attrs=",
			"dma_unmap_page: 0000:00:02.0 dir=TO_DEVICE dma_addr=1234800 size=4096 attrs="},
			"0,map,0x10,,0x1234000,8192,0x5678000,r\n1000,unmap,0x10,,0x1234000,8192,,\n"},
		"dma_map_resource": {[]string{"dma_map_resource: 0000:00:02.0 dir=BIDIRECTIONAL dma_addr=1234000 size=4 phys_addr=fe000000 attrs=MMIO",
			"dma_unmap_resource: 0000:00:02.0 dir=BIDIRECTIONAL dma_addr=1234000 size=4 attrs=MMIO"},
			"0,map,0x10,,0x1234000,4096,0xfe000000,rw\n1000,unmap,0x10,,0x1234000,4096,,\n"},
		"dma_alloc": {[]string{"map: IOMMU: iova=0x00000000fffe0000 - 0x00000000fffec000 paddr=0x0000000004a24000 size=49152",
			"map: IOMMU: iova=0x00000000fffec000 - 0x00000000ffff0000 paddr=0x0000000004a60000 size=16384",
			"dma_alloc: 0000:00:03.0 dir=BIDIRECTIONAL dma_addr=fffe0000 size=65536 virt_addr=(____ptrval____) flags=GFP_KERNEL|__GFP_ZERO attrs=NO_WARN",
			"dma_free: 0000:00:03.0 dir=BIDIRECTIONAL dma_addr=fffe0000 size=65536 virt_addr=00000000a1b2c3d4 attrs="},
			"2000,map,0x18,,0xfffe0000,49152,0x4a24000,rw\n2000,map,0x18,,0xfffec000,16384,0x4a60000,rw\n3000,unmap,0x18,,0xfffe0000,65536,,\n"},
		"dma_alloc without iommu": {[]string{"dma_alloc_pages: 0000:00:03.0 dir=TO_DEVICE dma_addr=fffe0000 size=4096 virt_addr=0000000012345678 flags=GFP_KERNEL attrs=",
			"dma_free_pages: 0000:00:03.0 dir=TO_DEVICE dma_addr=fffe0000 size=4096 virt_addr=0000000012345678 attrs="},
			"0,map,0x18,,0xfffe0000,4096,,r\n1000,unmap,0x18,,0xfffe0000,4096,,\n"},
		"dma_alloc_sgt": {[]string{"dma_alloc_sgt: 0000:00:03.0 dir=FROM_DEVICE dma_addr=fffe0000 size=4096 phys_addrs={0x7000} flags=GFP_KERNEL attrs=",
			"dma_free_sgt: 0000:00:03.0 dir=FROM_DEVICE dma_addr=fffe0000 size=4096 phys_addrs={0x7000}"},
			"0,map,0x18,,0xfffe0000,4096,0x7000,w\n1000,unmap,0x18,,0xfffe0000,4096,,\n"},
		"dma_map_sg merged": {[]string{"map: IOMMU: iova=0x00000000ffff0000 - 0x00000000ffff1000 paddr=0x0000000000001000 size=4096",
			"map: IOMMU: iova=0x00000000ffff1000 - 0x00000000ffff3000 paddr=0x0000000000008000 size=8192",
			"dma_map_sg: 0000:00:02.0 dir=TO_DEVICE nents=2/2 ents=1/1 dma_addrs={0xffff0000} sizes={0x3000} phys_addrs={0x1000,0x8000} attrs=",
			"dma_unmap_sg: 0000:00:02.0 dir=TO_DEVICE phys_addrs={0x1000,0x8000} attrs="},
			"2000,map,0x10,,0xffff0000,4096,0x1000,r\n2000,map,0x10,,0xffff1000,8192,0x8000,r\n3000,unmap,0x10,,0xffff0000,12288,,\n"},
		"dma_map_sg truncated, no iommu events": {[]string{
			"dma_map_sg: 0000:00:02.0 dir=TO_DEVICE nents=2/200 ents=2/200 [TRUNCATED] dma_addrs={0xffff0000,0xfffe0000} sizes={4096,512} phys_addrs={0x1000,0x8000} attrs="},
			"0,map,0x10,,0xfffe0000,4096,0x8000,r\n0,map,0x10,,0xffff0000,4096,0x1000,r\n"},
		"dma_map_sg of older kernels": {[]string{"dma_map_sg: 0000:00:02.0 dir=TO_DEVICE dma_addrs={0xffff0000} sizes={4096} phys_addrs={0x1000} attrs="},
			"0,map,0x10,,0xffff0000,4096,0x1000,r\n"},
		"nothing mapped": {[]string{"dma_map_sg_err: 0000:00:02.0 dir=TO_DEVICE dma_addrs={0x1000} err=-5 attrs=",
			"dma_alloc_sgt_err: 0000:00:02.0 dir=TO_DEVICE dma_addr=0 size=4096 virt_addr=0000000000000000 flags=GFP_KERNEL attrs=",
			"dma_sync_single_for_cpu: 0000:00:02.0 dir=TO_DEVICE dma_addr=1000 size=64",
			"dma_sync_single_for_device: 0000:00:02.0 dir=TO_DEVICE dma_addr=1000 size=64",
			"dma_sync_sg_for_cpu: 0000:00:02.0 dir=TO_DEVICE dma_addrs={0x1000} sizes={64}",
			"dma_sync_sg_for_device: 0000:00:02.0 dir=TO_DEVICE dma_addrs={0x1000} sizes={64}",
			"swiotlb_bounced: dev_name: 0000:00:02.0 dma_mask=ffffffff dev_addr=1000 size=64 FORCE",
			"cache_tag_unassign: dmar0/dmar0 type iotlb did 2 pasid 0 ref 0",
			"cache_tag_flush_range: dmar0 dmar0[0] type iotlb did 3 [0xfff-0x1fff] addr 0x0 mask 0x1",
			"cache_tag_flush_range_np: dmar0 dmar0[0] type iotlb did 3 [0xfff-0x1fff] addr 0x0 mask 0x1"}, ""},
		"qi_submit page":   {[]string{"qi_submit: iotlb_inv dmar0: 0xe00f2 0xffefa041 0x0 0x0"}, "0,invalidate,,,0xffefa000,8192,0xe,\n"},
		"qi_submit wait":   {[]string{"qi_submit: inv_wait dmar0: 0x200000025 0x1000 0x0 0x0"}, ""},
		"qi_submit iec":    {[]string{"qi_submit: iec_inv dmar0: 0x4 0x0 0x0 0x0"}, "0,marker,,,0x0,,0x0,\n"},
		"prq_report":       {[]string{"prq_report: dmar0/0000:00:0a.0 seq# 7: rid=0x50 addr=0x7f12345 rw-p- pasid=0x1 index=0x0"}, "0,prq,0x50,0x1,0x7f12345000,4096,,rw\n"},
		"prq_report short": {[]string{"prq_report: dmar0/0000:00:0a.0 seq# 8: rid=0x50 addr=0x1     w pasid=0x0 index=0x3 private=0x1/0x2"}, "0,prq,0x50,,0x1000,4096,,w\n"},
		"mark":             {[]string{"tracing_mark_write: RIG: WORKLOAD_START"}, "0,marker,,,0x0,,0x0,\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, rep, err := ImportFtrace(strings.NewReader(ftraceLines(c.lines...)), ImportOptions{})
			require.NoError(t, err)
			require.Equal(t, c.want, csvOf(tr))
			require.Empty(t, rep.Unknown)
			require.Equal(t, len(c.lines), rep.Known)
		})
	}
}

func TestFtrace_LineForms(t *testing.T) {
	const text = "attach_device_to_domain: IOMMU: device=0000:00:04.0"
	for line, want := range map[string]ftraceLine{
		"          <idle>-0       [000] d..2.     0.056000: " + text:                     {task: 1 << 32, time: 56_000_000},
		"          <idle>-0       [003]     0.056000: " + text:                           {task: 1<<32 + 3, time: 56_000_000},
		"            init-1       [000] .....  6.385754: " + text:                        {task: 1, time: 6_385_754_000},
		" my task - [1] x-42      (     40) [012] d..2.  6.385754: " + text:              {task: 42, time: 6_385_754_000},
		"  kworker/u4:1-29-77     (-------) [001]   6.385754123: " + text:                {task: 77, time: 6_385_754_123},
		"            init-1       [000]     6.385754: attach_device_to_domain: IOMMU: x": {task: 1, time: 6_385_754_000},
		"swapper     0 [002] 12345.678901: iommu:" + text:                                {task: 1<<32 + 2, time: 12345_678_901_000},
		"some name   12/13 [002] 12345.678901:         iommu:" + text:                    {task: 13, time: 12345_678_901_000},
	} {
		var got ftraceLine
		require.True(t, parseFtraceLine(line, &got), line)
		require.Equal(t, "attach_device_to_domain", got.event)
		require.True(t, strings.HasPrefix(got.text, "IOMMU: "), got.text)
		got.event, got.text = "", ""
		require.Equal(t, want, got, line)
	}
	for _, line := range []string{"", "x", "CPU:1 [LOST 20 EVENTS]", "a [000] 1.0: x: y", "a-1 [000] 1: x: y", "a-1 [000] d..2. x 1.0: x: y", "a-1 [000] 1.0: x"} {
		require.False(t, parseFtraceLine(line, new(ftraceLine)), line)
	}
}

func TestFtrace_UnknownIsCountedMalformedIsAnError(t *testing.T) {
	text := "# tracer: nop\nCPU:1 [LOST 20 EVENTS]\ncpus=4\n" + ftraceLines("sched_switch: whatever", "sched_switch: else", "map: IOMMU: iova=zz") + "free text\n"
	_, _, err := ImportFtrace(strings.NewReader(text), ImportOptions{Name: "log"})
	require.EqualError(t, err, `log: line 6: map: want IOMMU: iova=%x - %x paddr=%x size=%d, got "IOMMU: iova=zz"`)
	_, rep, err := ImportFtrace(strings.NewReader(text), ImportOptions{Name: "log", Lenient: true})
	require.NoError(t, err)
	require.Equal(t, "ftrace: 7 lines, 0 known, 0 ignored, 0 events (0 derived)\n  comments: 3\n  malformed: 1\n  lost by the recorder: 20\n"+
		`  first malformed: log: line 6: map: want IOMMU: iova=%x - %x paddr=%x size=%d, got "IOMMU: iova=zz"`+"\n"+
		"  unknown: (text): 1\n  unknown: sched_switch: 2\n", rep.String())
}

func TestFtrace_MalformedKnownEvents(t *testing.T) {
	for _, e := range []string{
		"map: IOMMU: iova=0x1000 - 0x2000 paddr=0x1000 size=8192",
		"dma_map_phys: 0000:00:02.0 dir=SIDEWAYS dma_addr=1000 size=1 phys_addr=1000 attrs=",
		"dma_map_phys: 0000:00:02.0 dir=NONE dma_addr=ffffffffffffffff size=2 phys_addr=1000 attrs=",
		"dma_map_phys: 0000:00:02.0 dir=NONE dma_addr=1ffffffffffffffff size=2 phys_addr=1000 attrs=",
		"dma_map_sg: 0000:00:02.0 dir=NONE nents=1/1 ents=1/1 dma_addrs={0x1000,} sizes={1} phys_addrs={0x1} attrs=",
		"dma_map_sg: 0000:00:02.0 dir=NONE nents=1/1 ents=1/1 dma_addrs={0x1000} sizes={1,2} phys_addrs={0x1} attrs=",
		"dma_unmap_sg: 0000:00:02.0 dir=NONE phys_addrs={} attrs=",
		"prq_report: dmar0/0000:00:0a.0 seq# 7: rid=0x50 addr=0x7f12345 abcde pasid=0x1 index=0x0",
		"prq_report: dmar0/0000:00:0a.0 seq# 7: rid=0x50 addr=0x7f12345 r---- pasid=0x100000 index=0x0",
		"qi_submit: iotlb_inv dmar0: 0xe00f2",
		"attach_device_to_domain: something else",
	} {
		_, _, err := ImportFtrace(strings.NewReader(ftraceLines(e)), ImportOptions{})
		var place *Error
		require.ErrorAs(t, err, &place, e)
		require.Equal(t, 1, place.Line)
	}
	_, _, err := ImportFtrace(strings.NewReader("init-1 [000] 6.3: dma_free"), ImportOptions{})
	require.NoError(t, err, "a name without its colon is text")
	_, _, err = ImportFtrace(strings.NewReader("init [000] 6.3: dma_free: 0000:00:02.0"), ImportOptions{})
	require.ErrorContains(t, err, "line 1: line: want TASK-PID")
}

func TestFtrace_DevicesAndAliases(t *testing.T) {
	text := ftraceLines("dma_map_phys: 9050000.smmuv3 dir=NONE dma_addr=1000 size=1 phys_addr=1000 attrs=",
		"dma_map_phys: 0001:04:01.0 dir=NONE dma_addr=1000 size=1 phys_addr=1000 attrs=",
		"dma_map_phys: 0000:04:01.0 dir=NONE dma_addr=1000 size=1 phys_addr=1000 attrs=")
	tr, rep, err := ImportFtrace(strings.NewReader(text), ImportOptions{Alias: map[emu.SourceID]emu.SourceID{0x408: 0x400}})
	require.NoError(t, err)
	require.Equal(t, []emu.SourceID{0x400, 0x1_0408}, tr.Header.Devices)
	require.Equal(t, 1, rep.Skipped["event of the device 9050000.smmuv3, whose source ID is not known"])
	tr, _, err = ImportFtrace(strings.NewReader(text), ImportOptions{Devices: map[string]emu.SourceID{"9050000.smmuv3": 7}})
	require.NoError(t, err)
	require.Equal(t, []emu.SourceID{7, 0x408, 0x1_0408}, tr.Header.Devices)
}
