package smmuv3_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Tables that Linux wrote, translated by this unit and compared with what an independent model did. The
// unit gets the registers and the memory of the snapshot and nothing else.

const capture = "smmuv3-s1"

// loadCapture returns a unit and its memory as in the snapshot.
func loadCapture(t testing.TB, change ...func(*smmuv3.Config)) (*smmuv3.Unit, *mem.Memory) {
	regs, m := emutest.Capture(t, capture)
	c := smmuv3.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := smmuv3.New(c)
	require.NoError(t, err)
	require.NoError(t, u.Load(regs))
	return u, m
}

// walkerFaults are the faults by what an independent walker of the same tables found.
var walkerFaults = map[string]uint16{
	"":                     0,
	"abort":                smmuv3.FaultConfig,
	"F_PERMISSION":         smmuv3.FaultS1Permission,
	"F_TRANSLATION(range)": smmuv3.FaultS1Range,
	"F_TRANSLATION-L0":     smmuv3.FaultS1Translation,
	"F_TRANSLATION-L1":     smmuv3.FaultS1Translation,
	"F_TRANSLATION-L2":     smmuv3.FaultS1Translation,
	"F_TRANSLATION-L3":     smmuv3.FaultS1Translation,
}

func noCaches(c *smmuv3.Config) {
	c.STECache.Sets, c.CDCache.Sets, c.IOTLB.Sets, c.Stage2.Sets = 0, 0, 0, 0
	c.Walk, c.Walk2 = nil, nil
}

func TestCaptureTranslatesAsTheOracleDid(t *testing.T) {
	for name, change := range map[string]func(*smmuv3.Config){"default": func(*smmuv3.Config) {}, "no caches": noCaches} {
		t.Run(name, func(t *testing.T) {
			u, m := loadCapture(t, change)
			f := emu.NewFunctional(u, m)
			list := emutest.Rows(t, capture, "oracle.csv.zst")
			require.Greater(t, len(list), 4000)
			for pass := range 2 { // cold, then from the caches
				for _, o := range list {
					require.Equal(t, "agree", o.Text("agree"))
					want, known := walkerFaults[o.Text("walker_fault")]
					require.True(t, known, o.Text("walker_fault"))
					q := o.Request()
					var res emu.Result
					f.Translate(&q, &res)
					if want == smmuv3.FaultS1Range && q.Addr>>55&1 != 0 { // EPD1=1: T1SZ does not count
						want = smmuv3.FaultEPD
					}
					if o.Text("expect") != "ok" {
						require.Equal(t, emu.Blocked, res.Status, o)
						require.Equal(t, want, res.Fault.Code, "%s: %#x", o, res.Fault.Code)
						if o.Text("qemu_fault_code") != "" {
							require.Equal(t, o.Number("qemu_fault_code"), uint64(res.Fault.Code&0xff), o)
						}
						continue
					}
					require.Equal(t, emu.OK, res.Status, "%d %s: %#x", pass, o, res.Fault.Code)
					require.Equal(t, emu.PA(o.Number("pa")), res.PA, o)
					require.NotZero(t, res.Prov.Leaf, o)
					require.Equal(t, o.Number("page_size"), uint64(1)<<res.Lg2, o)
					require.Equal(t, o.Text("perm"), res.Perm.String(), o)
				}
			}
		})
	}
}

func TestCaptureMappedIsComplete(t *testing.T) {
	u, m := loadCapture(t)
	f := emu.NewFunctional(u, m)
	for _, r := range emutest.Rows(t, capture, "mapped.csv.zst") {
		a := emu.Read
		if r.Text("perm") == "W" {
			a = emu.Write
		}
		first, size := r.Number("iova"), r.Number("size")
		for _, at := range []uint64{first, first + size - 8} {
			var res emu.Result
			f.Translate(&emu.Request{Source: emu.SourceID(r.Number("sid")), Addr: emu.IOVA(at), PASID: emu.NoPASID, Len: 8, Access: a}, &res)
			require.Equal(t, emu.OK, res.Status, r)
			require.Equal(t, emu.PA(r.Number("pa")+at-first), res.PA, r)
			require.Equal(t, size, uint64(1)<<res.Lg2, r)
			require.Equal(t, r.Text("perm"), res.Perm.String())
		}
	}
}

// The event of a refused access has the qwords that the other model recorded.
func TestCaptureEventsAreThoseOfTheOracle(t *testing.T) {
	u, m := loadCapture(t)
	f := emu.NewFunctional(u, m)
	base := emu.PA(u.ReadReg(spec.OffEVENTQBase, 8) & spec.QBaseAddr.Mask())
	n := uint64(0)
	for _, o := range emutest.Rows(t, capture, "oracle.csv.zst") {
		if o.Text("qemu_fault_raw") == "" {
			continue
		}
		q := o.Request()
		var res emu.Result
		f.Translate(&q, &res)
		prod := u.ReadReg(spec.OffEVENTQProd, 4)
		require.Equal(t, n+1, prod, "%s: %+v", o, res)
		for i, w := range strings.Split(o.Text("qemu_fault_raw"), ":") {
			want, err := strconv.ParseUint(w, 16, 64)
			require.NoError(t, err)
			got, ok := m.Load64(base + emu.PA(32*n+uint64(8*i)))
			require.True(t, ok)
			require.Equal(t, want, got, "%s qword %d", o, i)
		}
		n = prod
	}
	require.Greater(t, n, uint64(100))
}

func TestCaptureListsWhatIsNotModelled(t *testing.T) {
	u, _ := loadCapture(t)
	require.Empty(t, u.Unmodelled())
	require.EqualValues(t, 4, u.Config().OAS)
	require.False(t, u.Config().ATS)
}
