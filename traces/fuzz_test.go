package traces

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// located fails if an error has no place in it.
func located(t *testing.T, err error) {
	if err != nil {
		var place *Error
		require.ErrorAs(t, err, &place)
		require.NotContains(t, place.Error(), "\n")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(native(f, small()))
	f.Add(native(f, &Trace{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := readNative(b)
		located(t, err)
		if err == nil {
			again, err := readNative(native(t, tr))
			require.NoError(t, err)
			require.Equal(t, tr.Events, again.Events)
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add(textOf(f, small()))
	f.Add([]byte(csvColumns + "\n1,read,,,0,,,\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewCSVReader(bytes.NewReader(b))
		located(t, err)
		if err != nil {
			return
		}
		tr, err := ReadAll(r)
		located(t, err)
		if err == nil {
			r, err := NewCSVReader(bytes.NewReader(textOf(t, tr)))
			require.NoError(t, err)
			again, err := ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, tr, again)
		}
	})
}

// imported checks what holds for any log: no panic, a located error, a trace that every format holds and
// that maps nothing twice.
func imported(t *testing.T, tr *Trace, rep *Report, err error) {
	located(t, err)
	require.NotEmpty(t, rep.String())
	var state Mappings
	var mapped uint64
	for i := range tr.Events {
		mapped += tr.Events[i].Len / 4096
		require.False(t, state.Apply(&tr.Events[i]), "mapped twice")
	}
	require.NotEmpty(t, native(t, tr))
	require.NotEmpty(t, textOf(t, tr))
	if mapped < 1<<16 {
		synth := SynthAccesses(Window(tr, tr.span()/3, tr.span()))
		require.NotEmpty(t, native(t, synth))
	}
}

// span is the time of the last event.
func (t *Trace) span() uint64 {
	if len(t.Events) == 0 {
		return 0
	}
	return t.Events[len(t.Events)-1].Time
}

func FuzzQEMU(f *testing.F) {
	f.Add([]byte("2026-11-21T00:21:36.921625Z " + hit10 + "\n1@2.5:" + trans10 + "\nvtd_inv_desc_iotlb_pages iotlb invalidate domain 0x3 addr 0xffffe000 mask 0x1\n"))
	f.Add([]byte("vtd_inv_desc invalidate desc type iotlb high 0xffffe041 low 0x300f2\nvtd_reg_write addr 0x90 size 0x8 value 0x1\n"))
	f.Add([]byte(amdUpdate + "\n" + amdResult + "\n" + amdUpdate8 + "\n" + amdResult8 + "\namdvi_pages_inval AMD-Vi pages for domain 0x3 invalidated\n"))
	f.Add([]byte("amdvi_page_fault error: page fault accessing guest physical address 0x1000\namdvi_translation_result devid: 00:03.0 gpa 0x1000 hpa 0x0\n" +
		"amdvi_mmio_write AMDVI_MMIO_CONTROL write addr 0x18, size 8, val 0x1, offset 0x0\n"))
	f.Add([]byte(strings.Join(smmuTranslation(11, "7", "0x201000 tg=1 level=3"), "\n") + "\nsmmuv3_range_inval vmid=2 asid=-1 addr=0x201000 tg=1 num_pages=0x1 ttl=0 leaf=1 stage=1\n"))
	f.Add([]byte("smmuv3-iommu-memory-region-24-1 translation failed for iova=0x1000 (SMMU_EVT_C_BAD_STE)\nsmmuv3_propagate_event SMMU_EVT_C_BAD_STE sid=0x18\nsmmuv3_cmdq_tlbi_nh vmid=0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, opts := range []ImportOptions{{}, {Lenient: true}, {Lenient: true, NoMappings: true}} {
			tr, rep, err := ImportQEMU(bytes.NewReader(b), opts)
			imported(t, tr, rep, err)
			if opts.Lenient && len(b) < maxLine {
				require.NoError(t, err)
			}
		}
	})
}

func FuzzFtrace(f *testing.F) {
	f.Add([]byte(ftraceLines(aMap, "dma_map_phys: 0000:04:01.0 dir=FROM_DEVICE dma_addr=fff41f40 size=1522 phys_addr=578df40 attrs=")))
	f.Add([]byte(ftraceLines("dma_map_sg: 0000:00:02.0 dir=TO_DEVICE nents=2/2 ents=1/1 dma_addrs={0xffff0000} sizes={0x3000} phys_addrs={0x1000,0x8000} attrs=",
		"dma_unmap_sg: 0000:00:02.0 dir=TO_DEVICE phys_addrs={0x1000,0x8000} attrs=")))
	f.Add([]byte(ftraceLines("qi_submit: iotlb_inv dmar0: 0xe00f2 0xffefa041 0x0 0x0", "prq_report: dmar0/0000:00:0a.0 seq# 7: rid=0x50 addr=0x7 rw-p- pasid=0x1 index=0x0")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, opts := range []ImportOptions{{}, {Lenient: true}} {
			tr, rep, err := ImportFtrace(bytes.NewReader(b), opts)
			imported(t, tr, rep, err)
			if opts.Lenient && len(b) < maxLine {
				require.NoError(t, err)
			}
		}
	})
}
