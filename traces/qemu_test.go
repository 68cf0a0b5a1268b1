package traces

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

const (
	hit10   = "vtd_iotlb_page_hit IOTLB page hit sid 0x10 iova 0xfffff002 slpte 0x3f2a003 domain 0x3"
	trans10 = "vtd_dmar_translate dev 00:02.00 iova 0xfffff000 -> gpa 0x3f2a000 mask 0xfff"
)

func TestQEMU_Events(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"direction unknown": {[]string{hit10, trans10},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n"},
		"mapped once, unmapped by the invalidation that covers it": {[]string{hit10, trans10, hit10, trans10,
			"vtd_inv_desc invalidate desc type iotlb high 0xffffe041 low 0x300f2",
			"vtd_inv_desc_iotlb_pages iotlb invalidate domain 0x3 addr 0xffffe000 mask 0x1", hit10, trans10},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n" +
				"3000,access,0x10,,0xfffff002,,0x3f2a002,rw\n4000,invalidate,,,0xffffe000,8192,0x3,\n4000,unmap,0x10,,0xfffff000,4096,,\n" +
				"7000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n7000,access,0x10,,0xfffff002,,0x3f2a002,rw\n"},
		"invalidation of another domain or page": {[]string{hit10, trans10,
			"vtd_inv_desc_iotlb_pages iotlb invalidate domain 0x4 addr 0xfffff000 mask 0x0",
			"vtd_inv_desc_iotlb_pages iotlb invalidate domain 0x3 addr 0xffffe000 mask 0x0"},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n" +
				"2000,invalidate,,,0xfffff000,4096,0x4,\n3000,invalidate,,,0xffffe000,4096,0x3,\n"},
		"domain and global": {[]string{hit10, trans10, "vtd_inv_desc_iotlb_domain iotlb invalidate whole domain 0x3", hit10, trans10, "vtd_inv_desc_iotlb_global iotlb invalidate global"},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n" +
				"2000,invalidate,,,0x0,,0x3,\n2000,unmap,0x10,,0xfffff000,4096,,\n" +
				"4000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n4000,access,0x10,,0xfffff002,,0x3f2a002,rw\n" +
				"5000,invalidate,,,0x0,,,\n5000,unmap,0x10,,0xfffff000,4096,,\n"},
		"large page, read only": {[]string{"vtd_iotlb_page_update IOTLB page update sid 0x10 iova 0xffc01234 slpte 0xae00081 domain 0x3",
			"vtd_dmar_translate dev 00:02.00 iova 0xffc00000 -> gpa 0xae00000 mask 0x1fffff"},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xffc00000,2097152,0xae00000,r\n1000,read,0x10,,0xffc01234,,0xae01234,r\n"},
		"write only": {[]string{"vtd_iotlb_page_update IOTLB page update sid 0x100 iova 0x1008 slpte 0x5002 domain 0x3",
			"vtd_dmar_translate dev 01:00.00 iova 0x1000 -> gpa 0x5000 mask 0xfff"},
			"0,attach,0x100,,0x0,,0x3,\n1000,map,0x100,,0x1000,4096,0x5000,w\n1000,write,0x100,,0x1008,,0x5008,w\n"},
		"contradiction without invalidation": {[]string{hit10, trans10, hit10, strings.Replace(trans10, "0x3f2a000", "0x9000000", 1)},
			"0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n" +
				"3000,unmap,0x10,,0xfffff000,4096,,\n3000,map,0x10,,0xfffff000,4096,0x9000000,rw\n3000,access,0x10,,0xfffff002,,0x9000002,rw\n"},
		"no IOTLB line":    {[]string{trans10}, "0,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n0,access,0x10,,0xfffff000,,0x3f2a000,rw\n"},
		"interrupt writes": {[]string{"vtd_dmar_translate dev 00:02.00 iova 0xfee00000 -> gpa 0xfee00000 mask 0xfff", "vtd_ir_remap_msi_req addr 0xfee00538 data 0x2"}, "1000,irq,,,0xfee00538,,0x2,\n"},
		"registers":        {[]string{"vtd_reg_write addr 0x90 size 0x8 value 0x2694801", "vtd_reg_read addr 0x10 size 0x8"}, "0,reg_write,,,0x90,8,0x2694801,\n1000,reg_read,,,0x10,8,,\n"},
		"fault":            {[]string{"vtd_dmar_fault sid 0x400 fault 2 addr 0xfffff004 write 0", "vtd_dmar_fault sid 0x400 fault 2 addr 0xfffff004 write 1"}, "0,marker,0x400,,0xfffff004,,0x0,r\n1000,marker,0x400,,0xfffff004,,0x0,w\n"},
		"wait and iec":     {[]string{"vtd_inv_desc invalidate desc type wait high 0x2693004 low 0x200000025", "vtd_inv_desc invalidate desc type iec high 0x0 low 0x100000014"}, "1000,marker,,,0x0,,0x0,\n"},
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

func TestQEMU_Prefixes(t *testing.T) {
	for name, c := range map[string]struct {
		text, clock, start string
		times              []uint64
	}{
		"iso": {"2026-11-21T00:21:36.921625Z vtd_reg_read addr 0x10 size 0x8\n2026-11-21T00:21:37.000000Z vtd_reg_read addr 0x10 size 0x8\n",
			"utc", "2026-11-21T00:21:36.921625Z", []uint64{0, 78_375_000}},
		"iso, whole second": {"2026-11-21T00:21:36Z vtd_reg_read addr 0x10 size 0x8\n2026-11-21T00:21:36.000007Z vtd_reg_read addr 0x10 size 0x8\n",
			"utc", "2026-11-21T00:21:36Z", []uint64{0, 7000}},
		"log backend": {"1234@1763684496.921625:vtd_reg_read addr 0x10 size 0x8\n1234@1763684497.000000:vtd_reg_read addr 0x10 size 0x8\n",
			"utc", "1763684496.921625", []uint64{0, 78_375_000}},
		"none":         {"vtd_reg_read addr 0x10 size 0x8\nvtd_reg_read addr 0x10 size 0x8\n", "line", "", []uint64{0, 1000}},
		"out of order": {"1@2.5:vtd_reg_read addr 0x10 size 0x8\n1@2.4:vtd_reg_read addr 0x10 size 0x8\n", "utc", "2.5", []uint64{0, 0}},
	} {
		tr, rep, err := ImportQEMU(strings.NewReader(c.text), ImportOptions{})
		require.NoError(t, err, name)
		require.Equal(t, c.clock, tr.Header.Clock, name)
		require.Equal(t, c.start, tr.Header.Start, name)
		var times []uint64
		for _, e := range tr.Events {
			times = append(times, e.Time)
		}
		require.Equal(t, c.times, times, name)
		require.Equal(t, name == "out of order", rep.Reordered == 1)
	}
}

func TestQEMU_UnknownIsCountedMalformedIsAnError(t *testing.T) {
	text := "qemu: warning: something\nvirtio_notify vdev 0x1\nvtd_reg_write addr 0x90\n"
	_, _, err := ImportQEMU(strings.NewReader(text), ImportOptions{})
	require.EqualError(t, err, `line 3: vtd_reg_write: want addr %x size %x value %x, got "addr 0x90"`)
	_, rep, err := ImportQEMU(strings.NewReader(text), ImportOptions{Lenient: true})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"(text)": 1, "virtio_notify": 1}, rep.Unknown)
	require.Equal(t, 1, rep.Malformed)
	_, _, err = ImportQEMU(strings.NewReader("vtd_dmar_translate dev 00:02.00 iova 0x0 -> gpa 0x0 mask 0x7ff\n"), ImportOptions{})
	require.ErrorContains(t, err, "line 1: vtd_dmar_translate: want a PCI function and the mask of a page")
}

func TestQEMU_WithoutMappings(t *testing.T) {
	tr, _, err := ImportQEMU(strings.NewReader(hit10+"\n"+trans10+"\n"), ImportOptions{NoMappings: true})
	require.NoError(t, err)
	require.Equal(t, "0,attach,0x10,,0x0,,0x3,\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n", csvOf(tr))
	got, err := DeriveMappings(tr)
	require.NoError(t, err)
	require.Equal(t, "0,attach,0x10,,0x0,,0x3,\n1000,map,0x10,,0xfffff000,4096,0x3f2a000,rw\n1000,access,0x10,,0xfffff002,,0x3f2a002,rw\n", csvOf(got))
	_, err = DeriveMappings(got)
	require.ErrorContains(t, err, "want a trace without map and unmap events")
}

func TestVTDDescriptor(t *testing.T) {
	for name, c := range map[string]struct {
		low, high uint64
		want      Event
		mark      string
	}{
		"iotlb global":       {0x12, 0, Event{SID: NoSID, PASID: emu.NoPASID}, ""},
		"iotlb domain":       {0x7_0022, 0, Event{SID: NoSID, PASID: emu.NoPASID, PA: 7, HasPA: true}, ""},
		"iotlb pages":        {0x7_0032, 0x1234_5042, Event{SID: NoSID, PASID: emu.NoPASID, PA: 7, HasPA: true, IOVA: 0x1234_4000, Len: 0x4000}, ""},
		"pasid iotlb all":    {0x5_0007_0026, 0, Event{SID: NoSID, PASID: 5, PA: 7, HasPA: true}, ""},
		"pasid iotlb pages":  {0x5_0007_0036, 0x1000, Event{SID: NoSID, PASID: 5, PA: 7, HasPA: true, IOVA: 0x1000, Len: 0x1000}, ""},
		"device one page":    {0x20_0000_0003, 0x7000, Event{SID: 0x20, PASID: emu.NoPASID, IOVA: 0x7000, Len: 0x1000}, ""},
		"device two pages":   {0x20_0000_0003, 0x6001, Event{SID: 0x20, PASID: emu.NoPASID, IOVA: 0x6000, Len: 0x2000}, ""},
		"device four pages":  {0x20_0000_0003, 0x5001, Event{SID: 0x20, PASID: emu.NoPASID, IOVA: 0x4000, Len: 0x4000}, ""},
		"device everything":  {0x20_0000_0003, 0x7fff_ffff_ffff_f001, Event{SID: 0x20, PASID: emu.NoPASID}, ""},
		"pasid device":       {0x5_0020_0008, 0x6800, Event{SID: 0x20, PASID: 5, IOVA: 0x6000, Len: 0x2000}, ""},
		"pasid device, all":  {0x5_0020_0008, 0x6001, Event{SID: 0x20, PASID: emu.NoPASID, IOVA: 0x6000, Len: 0x1000}, ""},
		"context cache":      {0x11, 0, Event{SID: NoSID, PASID: emu.NoPASID}, "context-cache invalidation"},
		"interrupt entries":  {0x4, 0, Event{SID: NoSID, PASID: emu.NoPASID}, "interrupt-entry-cache invalidation"},
		"PASID cache":        {0x37, 0, Event{SID: NoSID, PASID: emu.NoPASID}, "PASID-cache invalidation"},
		"page-group reponse": {0x9, 0, Event{SID: NoSID, PASID: emu.NoPASID}, "page-group response"},
	} {
		c.want.Kind = Invalidate
		if c.mark != "" {
			c.want.Kind = Marker
		}
		e, mark, ok := vtdDescriptor(c.low, c.high)
		require.True(t, ok, name)
		require.Equal(t, c.mark, mark, name)
		require.Equal(t, c.want, e, name)
	}
	for _, low := range []uint64{0x0, 0x2, 0x6, 0x16, 0xa, 0xf, 0x202} {
		_, _, ok := vtdDescriptor(low, 0)
		require.False(t, ok, "%#x", low)
	}
}

// At the moment of the snapshot every mapping that was derived from QEMU's log is in the tables that the
// guest's driver wrote. The logs are those of testdata and, with the whole captures at hand, the whole ones.
func TestQEMU_AgreesWithTheTables(t *testing.T) {
	for _, c := range []struct {
		capture      string
		parts, whole int // pages compared, at least
	}{
		{"vtd-legacy", 500, 1900}, {"vtd-sm-ss", 60, 1900}, {"amdvi-v1", 20, 20}, {"smmuv3-s1", 200, 900}, {"smmuv3-s2", 60, 600}, {"smmuv3-16k", 200, 900},
	} {
		t.Run(c.capture, func(t *testing.T) { agreesWithTheTables(t, c.capture, "testdata", c.parts) })
		if dir := os.Getenv(capturesEnv); dir != "" {
			t.Run(c.capture+", whole", func(t *testing.T) { agreesWithTheTables(t, c.capture, dir, c.whole) })
		}
	}
}

// passing are requesters without tables, whose addresses are taken as they are.
var passing = map[string]emu.SourceID{"smmuv3-s2": 0x60, "smmuv3-16k": 0x60}

func agreesWithTheTables(t *testing.T, capture, dir string, least int) {
	text := readZstd(t, filepath.Join(dir, capture, "qemu-trace.log.zst"))
	at := bytes.Index(text, []byte("# rig: SNAPSHOT"))
	require.Positive(t, at)
	tr, _, err := ImportQEMU(bytes.NewReader(text[:at]), ImportOptions{})
	require.NoError(t, err)
	checkTrace(t, tr)
	var state Mappings
	for i := range tr.Events {
		state.Apply(&tr.Events[i])
	}
	tables := tablePages(t, capture)
	compared := 0
	for _, s := range state.Spaces() {
		for _, m := range state.Of(s) {
			if passing[capture] == s.SID {
				require.Equal(t, uint64(m.IOVA), uint64(m.PA))
				continue
			}
			for off := uint64(0); off < m.Len; off += emu.PageSize {
				key := pageOf{s.SID, uint64(m.IOVA) + off}
				got, ok := tables[key]
				require.True(t, ok, "%#x", key)
				if m.HasPA { // a log of amd-iommu does not always determine it
					require.Equal(t, uint64(m.PA)+off, got.pa, "%#x", key)
				}
				if tr.Header.IOMMU != "amdvi" { // which has no permissions
					require.Equal(t, m.Perm, got.perm, "%#x", key)
				}
				compared++
			}
		}
	}
	require.Greater(t, compared, least)
}
