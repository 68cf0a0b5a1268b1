package traces

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// One translation from configuration to result, in the words of QEMU 11, 8 and 4.
func smmuTranslation(release int, asid, size string) []string {
	switch release {
	case 11:
		return []string{
			"smmuv3_config_cache_miss Config cache MISS for sid=0x18 (hits=0, misses=3, hit rate=0)",
			"smmu_iotlb_lookup_miss IOTLB cache MISS asid=" + asid + " vmid=2 addr=0x201008 hit=0 miss=1 hit rate=0",
			"smmu_iotlb_insert IOTLB ++ asid=" + asid + " vmid=2 addr=" + size,
			"smmuv3_translate_success smmuv3-iommu-memory-region-24-1 sid=0x18 iova=0x201008 translated=0x40101008 perm=0x3 stage=1",
		}
	case 8:
		return []string{
			"smmuv3_config_cache_hit Config cache HIT for sid=0x18 (hits=1, misses=3, hit rate=25)",
			"smmu_iotlb_lookup_hit IOTLB cache HIT asid=" + asid + " addr=0x201008 hit=1 miss=1 hit rate=50",
			"smmuv3_translate_success smmuv3-iommu-memory-region-24-1 sid=0x18 iova=0x201008 translated=0x40101008 perm=0x3 ",
		}
	}
	return []string{
		"smmuv3_config_cache_hit Config cache HIT for sid 24 (hits=1, misses=3, hit rate=25)",
		"smmu_iotlb_cache_hit IOTLB cache HIT asid=" + asid + " addr=0x201000 hit=1 miss=1 hit rate=50",
		"smmuv3_translate_success smmuv3-iommu-memory-region-24-1 sid=24 iova=0x201008 translated=0x40101008 perm=0x3",
	}
}

func TestQEMUSMMUv3_Translations(t *testing.T) {
	const small = "0x201000 tg=1 level=3"
	page := func(at int, domain string) string {
		n := uitoa(uint64(at * 1000))
		return n + ",attach,0x18,,0x0,," + domain + ",\n" + n + ",map,0x18,,0x201000,4096,0x40101000,rw\n" + n + ",access,0x18,,0x201008,,0x40101008,rw\n"
	}
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"now":                          {smmuTranslation(11, "7", small), page(3, "0x20007")},
		"from the cache, without VMID": {smmuTranslation(8, "7", ""), page(2, "0x7")},
		"decimal requesters":           {smmuTranslation(4, "7", ""), page(2, "0x7")},
		"second stage alone":           {smmuTranslation(11, "-1", small), page(3, "0x2ffff")},
		"2 MiB":                        {smmuTranslation(11, "7", "0x200000 tg=1 level=2"), "3000,attach,0x18,,0x0,,0x20007,\n3000,map,0x18,,0x201000,4096,0x40101000,rw\n3000,access,0x18,,0x201008,,0x40101008,rw\n"},
		"2 MiB that fits": {[]string{
			"smmuv3_config_cache_hit Config cache HIT for sid=0x18 (hits=1, misses=3, hit rate=25)",
			"smmu_iotlb_lookup_miss IOTLB cache MISS asid=7 vmid=0 addr=0x200100 hit=1 miss=4 hit rate=20",
			"smmu_iotlb_insert IOTLB ++ asid=7 vmid=0 addr=0x200000 tg=1 level=2",
			"smmuv3_translate_success smmuv3-iommu-memory-region-24-1 sid=0x18 iova=0x200100 translated=0x40200100 perm=0x1 stage=1"},
			"3000,attach,0x18,,0x0,,0x7,\n3000,map,0x18,,0x200000,2097152,0x40200000,r\n3000,read,0x18,,0x200100,,0x40200100,r\n"},
		"64 KiB granule": {[]string{
			"smmu_iotlb_insert IOTLB ++ asid=7 addr=0x210000 tg=3 level=3",
			"smmuv3_translate_success r sid=0x18 iova=0x21f008 translated=0x4004f008 perm=0x2"},
			"1000,map,0x18,,0x210000,65536,0x40040000,w\n1000,write,0x18,,0x21f008,,0x4004f008,w\n"},
		"nested: the look-ups of table addresses are not the input's": {[]string{
			"smmuv3_config_cache_hit Config cache HIT for sid=0x18 (hits=1, misses=3, hit rate=25)",
			"smmu_iotlb_lookup_miss IOTLB cache MISS asid=-1 vmid=9 addr=0x34000 hit=0 miss=1 hit rate=0",
			"smmu_iotlb_lookup_miss IOTLB cache MISS asid=7 vmid=9 addr=0x201008 hit=0 miss=2 hit rate=0",
			"smmu_iotlb_lookup_miss IOTLB cache MISS asid=-1 vmid=9 addr=0x36000 hit=0 miss=3 hit rate=0",
			"smmu_iotlb_insert IOTLB ++ asid=-1 vmid=9 addr=0x36000 tg=1 level=3",
			"smmu_iotlb_insert IOTLB ++ asid=7 vmid=9 addr=0x201000 tg=1 level=3",
			"smmuv3_translate_success r sid=0x18 iova=0x201008 translated=0x40101008 perm=0x3 stage=3"}, page(6, "0x90007")},
		"not translated": {[]string{
			"smmuv3_translate_disable smmuv3-iommu-memory-region-24-1 sid=0x18 bypass (smmu disabled) iova:0x40100010 is_write=1",
			"smmuv3_translate_bypass smmuv3-iommu-memory-region-24-1 sid=24 STE bypass iova:0x40100020 is_write=0"},
			"0,map,0x18,,0x40100000,4096,0x40100000,rw\n0,access,0x18,,0x40100010,,0x40100010,rw\n1000,access,0x18,,0x40100020,,0x40100020,rw\n"},
		"abort":     {[]string{"smmuv3_translate_abort r sid=0x18 abort on iova:0x40100004 is_write=0"}, "0,marker,0x18,,0x40100004,,0x0,\n"},
		"no rights": {[]string{"smmuv3_translate_success r sid=0x18 iova=0x201008 translated=0x40101008 perm=0x0 stage=1"}, ""},
		"fault with its message": {[]string{
			"smmuv3_config_cache_miss Config cache MISS for sid=0x18 (hits=0, misses=1, hit rate=0)",
			"smmuv3-iommu-memory-region-24-1 translation failed for iova=0x1000 (SMMU_EVT_C_BAD_STE)",
			"smmuv3_propagate_event SMMU_EVT_C_BAD_STE sid=0x18",
			"smmuv3-iommu-memory-region-24-1 translation failed for iova=0x2000 (no recorded event)"}, "1000,marker,0x18,,0x1000,,0x0,\n3000,marker,,,0x2000,,0x1,\n"},
		"fault without": {[]string{
			"smmuv3_config_cache_hit Config cache HIT for sid=0x18 (hits=1, misses=3, hit rate=25)",
			"smmu_iotlb_lookup_miss IOTLB cache MISS asid=7 vmid=0 addr=0x5004 hit=1 miss=6 hit rate=14",
			"smmu_ptw_invalid_pte stage=1 level=3 base@=0x40033000 pte@=0x40033028 offset=5 pte=0x0",
			"smmuv3_record_event F_TRANSLATION sid=24", "smmuv3_record_event SMMU_EVT_C_BAD_STREAMID sid=0x20"},
			"3000,marker,0x18,,0x5004,,0x0,\n4000,marker,0x20,,0x0,,0x1,\n"},
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

// Each invalidation after a translation in domain VMID 2, ASID 7, and another in VMID 2, ASID 8.
func TestQEMUSMMUv3_Invalidations(t *testing.T) {
	first := smmuTranslation(11, "7", "0x201000 tg=1 level=3")
	second := strings.Split(strings.ReplaceAll(strings.Join(smmuTranslation(11, "8", "0x201000 tg=1 level=3"), "\n"), "0x18", "0x20"), "\n")
	const (
		unmap1, unmap2 = "8000,unmap,0x18,,0x201000,4096,,\n", "8000,unmap,0x20,,0x201000,4096,,\n"
		all1, all2     = "8000,invalidate,,,0x0,,0x20007,\n" + unmap1, "8000,invalidate,,,0x0,,0x20008,\n" + unmap2
		page1, page2   = "8000,invalidate,,,0x201000,4096,0x20007,\n" + unmap1, "8000,invalidate,,,0x201000,4096,0x20008,\n" + unmap2
	)
	for line, want := range map[string]string{
		"smmuv3_range_inval vmid=2 asid=7 addr=0x201000 tg=0 num_pages=0x1 ttl=0 leaf=1 stage=1":             page1,
		"smmuv3_range_inval vmid=2 asid=9 addr=0x201000 tg=0 num_pages=0x1 ttl=0 leaf=1 stage=1":             "8000,invalidate,,,0x201000,4096,0x20009,\n",
		"smmuv3_range_inval vmid=2 asid=7 addr=0x200000 tg=1 num_pages=0x4 ttl=3 leaf=1 stage=1":             "8000,invalidate,,,0x200000,16384,0x20007,\n" + unmap1,
		"smmuv3_range_inval vmid=2 asid=7 addr=0x200000 tg=2 num_pages=0x2 ttl=3 leaf=1":                     "8000,invalidate,,,0x200000,32768,0x20007,\n" + unmap1,
		"smmuv3_range_inval vmid=2 asid=7 addr=0x200000 tg=3 num_pages=0x1000000000000 ttl=3 leaf=1 stage=1": all1,
		"smmuv3_range_inval vmid=2 asid=-1 addr=0x201000 tg=0 num_pages=0x1 ttl=0 leaf=1 stage=1":            page1 + page2,
		"smmuv3_range_inval vmid=3 asid=-1 addr=0x201000 tg=0 num_pages=0x1 ttl=0 leaf=1 stage=1":            "8000,invalidate,,,0x201000,4096,0x3ffff,\n",
		// A second stage's addresses are not those of combined translations.
		"smmuv3_range_inval vmid=2 asid=-1 addr=0x201000 tg=0 num_pages=0x1 ttl=0 leaf=1 stage=2": "8000,invalidate,,,0x201000,4096,0x2ffff,\n",
		"smmuv3_s1_range_inval vmid =2 asid =7 addr=0x201000 tg=1 num_pages=0x1 ttl=0 leaf=1":     page1,
		"smmuv3_s1_range_inval vmid =2 asid =7 addr=0x201000 leaf=1":                              page1,
		"smmuv3_cmdq_tlbi_nh_va vmid =2 asid =8 addr=0x201000 leaf=1":                             page2,
		"smmuv3_cmdq_tlbi_nh_vaa vmid =2 addr=0x201000":                                           page1 + page2,
		"smmuv3_cmdq_tlbi_nh_asid asid=8":                                                         all2,
		"smmuv3_cmdq_tlbi_nh vmid=2":                                                              all1 + all2,
		"smmuv3_cmdq_tlbi_nh ":                                                                    "8000,invalidate,,,0x0,,,\n" + unmap1 + unmap2,
		"smmuv3_cmdq_tlbi_nh vmid=5":                                                              "8000,invalidate,,,0x0,,0x5ffff,\n",
		"smmuv3_cmdq_tlbi_s12_vmid vmid=2":                                                        all1 + all2,
		"smmuv3_cmdq_tlbi_nsnh ":                                                                  "8000,invalidate,,,0x0,,,\n" + unmap1 + unmap2,
		"smmu_iotlb_inv_all IOTLB invalidate all":                                                 "",
		"smmu_iotlb_inv_asid_vmid IOTLB invalidate asid=7 vmid=2":                                 "",
		"smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_VA":                                             "",
		"smmuv3_cmdq_opcode <--- SMMU_CMD_SYNC":                                                   "",
		"smmuv3_cmdq_opcode <--- SMMU_CMD_ATC_INV":                                                "8000,marker,,,0x0,,0x0,\n",
		"smmuv3_cmdq_cfgi_ste streamid= 0x18":                                                     "8000,marker,0x18,,0x0,,0x0,\n",
		"smmuv3_cmdq_cfgi_ste streamid =24":                                                       "8000,marker,0x18,,0x0,,0x0,\n",
		"smmuv3_cmdq_cfgi_ste_range start=0x0 - end=0xffffffff":                                   "8000,marker,,,0x0,,0x0,\n",
		"smmuv3_cmdq_cfgi_ste_range start=0x18 - end=0x18":                                        "8000,marker,0x18,,0x0,,0x0,\n",
		"smmuv3_cmdq_cfgi_cd streamid = 24":                                                       "8000,marker,0x18,,0x0,,0x0,\n",
	} {
		t.Run(line, func(t *testing.T) {
			lines := append(append(append([]string{}, first...), second...), line)
			tr, rep, err := ImportQEMU(strings.NewReader(strings.Join(lines, "\n")+"\n"), ImportOptions{})
			require.NoError(t, err)
			_, got, found := strings.Cut(csvOf(tr), "7000,access,0x20,,0x201008,,0x40101008,rw\n")
			require.True(t, found)
			require.Equal(t, want, got)
			require.Empty(t, rep.Unknown)
			checkTrace(t, tr)
		})
	}
}

func TestQEMUSMMUv3_Registers(t *testing.T) {
	tr, _, err := ImportQEMU(strings.NewReader("smmuv3_read_mmio addr: 0x0 val:0xd44101b size: 0x4(0)\n"+
		"smmuv3_write_mmio addr: 0x80 val:0x40020000 size: 0x8(0)\nsmmuv3_write_gerror toggled=0x1, new GERROR=0x5\n"+
		"smmuv3_write_gerrorn acked=0x1, new GERRORN=0x1\n"), ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, "0,reg_read,,,0x0,4,0xd44101b,\n1000,reg_write,,,0x80,8,0x40020000,\n2000,marker,,,0x5,,0x0,\n", csvOf(tr))
}

func TestQEMUSMMUv3_CountsAreThoseOfTheLog(t *testing.T) {
	text := readZstd(t, "testdata/smmuv3-s1/qemu-trace.log.zst")
	lines := make(map[string]int)
	for l := range strings.Lines(string(text)) {
		if f := strings.Fields(l); len(f) > 1 {
			lines[f[1]]++
		}
	}
	tr, rep, err := ImportQEMU(bytes.NewReader(text), ImportOptions{})
	require.NoError(t, err)
	require.Empty(t, rep.Unknown)
	require.Equal(t, "smmuv3", tr.Header.IOMMU)
	kinds := make(map[Kind]int)
	for _, e := range tr.Events {
		kinds[e.Kind]++
	}
	require.Equal(t, 1553, kinds[Access]+kinds[Read])
	require.Equal(t, lines["smmuv3_translate_success"], kinds[Access]+kinds[Read])
	require.Equal(t, lines["smmuv3_write_mmio"], kinds[RegWrite])
	require.Equal(t, lines["smmuv3_read_mmio"], kinds[RegRead])
	require.Equal(t, lines["smmuv3_range_inval"]+lines["smmuv3_cmdq_tlbi_nsnh"], kinds[Invalidate])
	const prefetches = 16 // of SMMU_CMD_PREFETCH_CONFIG
	require.Equal(t, lines["smmuv3_cmdq_cfgi_ste"]+lines["smmuv3_cmdq_cfgi_cd"]+lines["smmuv3_cmdq_cfgi_ste_range"]+prefetches, kinds[Marker])
	require.Equal(t, kinds[Map]+kinds[Unmap]+kinds[Attach], rep.Derived)
}
