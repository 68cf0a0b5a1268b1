package smmuv3_test

import (
	"maps"
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

// capture is a snapshot in traces/testdata.
type capture struct {
	name   string
	stage2 bool           // tables are of stage 2, otherwise of stage 1
	rows   int            // of the oracle
	passed int            // of these, with addresses that QEMU does not look at where an STE bypasses
	events int            // that QEMU recorded
	pages  map[uint64]int // leaves by size
}

var captures = []capture{
	{name: "smmuv3-s1", rows: 4475, events: 869, pages: map[uint64]int{1 << 12: 2197, 1 << 21: 1}},
	{name: "smmuv3-s2", stage2: true, rows: 4492, passed: 92, events: 2153, pages: map[uint64]int{1 << 12: 2383, 1 << 21: 2}},
	{name: "smmuv3-16k", rows: 3122, passed: 92, events: 891, pages: map[uint64]int{1 << 14: 1538, 1 << 25: 2}},
	{name: "smmuv3-16k-s2", stage2: true, rows: 3168, events: 1578, pages: map[uint64]int{1 << 14: 1562, 1 << 25: 3}},
	{name: "smmuv3-lazy", rows: 4164, events: 1076, pages: map[uint64]int{1 << 12: 2213}},
}

func forCaptures(t *testing.T, test func(t *testing.T, c *capture)) {
	for i := range captures {
		t.Run(captures[i].name, func(t *testing.T) { test(t, &captures[i]) })
	}
}

// load returns a unit and its memory as in the snapshot.
func (c *capture) load(t testing.TB, change ...func(*smmuv3.Config)) (*smmuv3.Unit, *mem.Memory) {
	regs, m := emutest.Capture(t, c.name)
	cfg := smmuv3.DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	u, err := smmuv3.New(cfg)
	require.NoError(t, err)
	require.NoError(t, u.Load(regs))
	return u, m
}

// walkerFaults are the faults by what an independent walker of the same tables found: where stage 1
// translates, and where stage 2 does.
var walkerFaults = map[string][2]uint16{
	"":                     {},
	"abort":                {smmuv3.FaultConfig, smmuv3.FaultConfig},
	"C_BAD_STREAMID":       {smmuv3.FaultSpan, smmuv3.FaultSpan},
	"F_PERMISSION":         {smmuv3.FaultS1Permission, smmuv3.FaultS2Permission},
	"F_ADDR_SIZE(in)":      {smmuv3.FaultInput, smmuv3.FaultInput},
	"F_TRANSLATION(range)": {smmuv3.FaultS1Range, smmuv3.FaultS2Range},
	"F_TRANSLATION-L0":     {smmuv3.FaultS1Translation, smmuv3.FaultS2Translation},
	"F_TRANSLATION-L1":     {smmuv3.FaultS1Translation, smmuv3.FaultS2Translation},
	"F_TRANSLATION-L2":     {smmuv3.FaultS1Translation, smmuv3.FaultS2Translation},
	"F_TRANSLATION-L3":     {smmuv3.FaultS1Translation, smmuv3.FaultS2Translation},
}

// fault returns the fault that a row asks for.
func (c *capture) fault(t *testing.T, o *emutest.Row) uint16 {
	want, known := walkerFaults[o.Text("walker_fault")]
	require.True(t, known, o.Text("walker_fault"))
	switch {
	case c.stage2 && want[1] == smmuv3.FaultS2Range && o.Number("iova")>>44 != 0: // beyond the input size (3.4)
		return smmuv3.FaultInput
	case c.stage2:
		return want[1]
	case want[0] == smmuv3.FaultS1Range && o.Number("iova")>>55&1 != 0: // EPD1=1: T1SZ does not count
		return smmuv3.FaultEPD
	}
	return want[0]
}

func noCaches(c *smmuv3.Config) {
	c.STECache.Sets, c.CDCache.Sets, c.IOTLB.Sets, c.Stage2.Sets = 0, 0, 0, 0
	c.Walk, c.Walk2 = nil, nil
}

func TestCaptureTranslatesAsTheOracleDid(t *testing.T) {
	for name, change := range map[string]func(*smmuv3.Config){"default": func(*smmuv3.Config) {}, "no caches": noCaches} {
		t.Run(name, func(t *testing.T) {
			forCaptures(t, func(t *testing.T, c *capture) { c.agrees(t, change) })
		})
	}
}

func (c *capture) agrees(t *testing.T, change func(*smmuv3.Config)) {
	u, m := c.load(t, change)
	f := emu.NewFunctional(u, m)
	list := emutest.Rows(t, c.name, "oracle.csv.zst")
	require.Len(t, list, c.rows)
	for pass := range 2 { // cold, then from the caches
		passed := 0
		for i := range list {
			o := &list[i]
			want := c.fault(t, o)
			q := o.Request()
			var res emu.Result
			f.Translate(&q, &res)
			if o.Text("agree") == "deviates" { // QEMU lets it pass
				require.Equal(t, smmuv3.FaultInput, int(want), o)
				require.Equal(t, "ok", o.Text("expect"), o)
				passed++
			} else {
				require.Equal(t, "agree", o.Text("agree"))
				require.Equal(t, want == 0, o.Text("expect") == "ok", o)
			}
			if want != 0 {
				require.Equal(t, emu.Blocked, res.Status, o)
				require.Equal(t, want, res.Fault.Code, "%s: %#x", o, res.Fault.Code)
				if o.Text("qemu_fault_code") != "" {
					require.Equal(t, o.Number("qemu_fault_code"), uint64(res.Fault.Code&0xff), o)
				}
				continue
			}
			require.Equal(t, emu.OK, res.Status, "%d %s: %#x", pass, o, res.Fault.Code)
			require.Equal(t, emu.PA(o.Number("pa")), res.PA, o)
			if o.Text("page_size") == "" { // bypass
				require.Equal(t, uint64(q.Addr), uint64(res.PA), o)
				continue
			}
			require.NotZero(t, res.Prov.Leaf, o)
			require.Equal(t, o.Number("page_size"), uint64(1)<<res.Lg2, o)
			require.Equal(t, o.Text("perm"), strings.TrimSuffix(res.Perm.String(), "X"), o)
		}
		require.Equal(t, c.passed, passed)
	}
}

func TestCaptureMappedIsComplete(t *testing.T) {
	forCaptures(t, func(t *testing.T, c *capture) {
		u, m := c.load(t)
		f := emu.NewFunctional(u, m)
		pages := map[uint64]int{}
		for _, r := range emutest.Rows(t, c.name, "mapped.csv.zst") {
			a := emu.Read
			if r.Text("perm") == "W" {
				a = emu.Write
			}
			first, size := r.Number("iova"), r.Number("size")
			pages[size]++
			for _, at := range []uint64{first, first + size - 8} {
				var res emu.Result
				f.Translate(&emu.Request{Source: emu.SourceID(r.Number("sid")), Addr: emu.IOVA(at), PASID: emu.NoPASID, Len: 8, Access: a}, &res)
				require.Equal(t, emu.OK, res.Status, r)
				require.Equal(t, emu.PA(r.Number("pa")+at-first), res.PA, r)
				require.Equal(t, size, uint64(1)<<res.Lg2, r)
				require.Equal(t, r.Text("perm"), strings.TrimSuffix(res.Perm.String(), "X"), r)
			}
		}
		require.True(t, maps.Equal(c.pages, pages), "%v", pages)
	})
}

// The event of a refused access has the qwords that the other model recorded, except that it puts all bits
// of the address in IPA, which begins at bit 12 (7.3.13).
func TestCaptureEventsAreThoseOfTheOracle(t *testing.T) {
	forCaptures(t, func(t *testing.T, c *capture) {
		u, m := c.load(t)
		f := emu.NewFunctional(u, m)
		base := emu.PA(u.ReadReg(spec.OffEVENTQBase, 8) & spec.QBaseAddr.Mask())
		n := 0
		for _, o := range emutest.Rows(t, c.name, "oracle.csv.zst") {
			if o.Text("qemu_fault_raw") == "" {
				continue
			}
			q := o.Request()
			var res emu.Result
			f.Translate(&q, &res)
			require.EqualValues(t, n+1, u.ReadReg(spec.OffEVENTQProd, 4), "%s: %+v", o, res)
			for i, w := range strings.Split(o.Text("qemu_fault_raw"), ":") {
				want, err := strconv.ParseUint(w, 16, 64)
				require.NoError(t, err)
				got, ok := m.Load64(base + emu.PA(32*n+8*i))
				require.True(t, ok)
				if i == 3 {
					want &= spec.EvtIPA.Mask()
				}
				require.Equal(t, want, got, "%s qword %d", o, i)
			}
			n++
		}
		require.Equal(t, c.events, n)
	})
}

func TestCaptureListsWhatIsNotModelled(t *testing.T) {
	forCaptures(t, func(t *testing.T, c *capture) {
		u, _ := c.load(t)
		require.Empty(t, u.Unmodelled())
		require.EqualValues(t, 4, u.Config().OAS)
		require.False(t, u.Config().ATS)
	})
}
