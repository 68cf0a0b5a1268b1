package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/mem"
)

// Tables that Linux wrote, translated by this unit and compared with what an independent model did.
// The unit gets the registers and the memory of the snapshot and nothing else.

const capture = "amdvi-v1"

// loadCapture returns a unit and its memory as in the snapshot.
func loadCapture(t testing.TB, change ...func(*amdvi.Config)) (*amdvi.Unit, *mem.Memory) {
	regs, m := emutest.Capture(t, capture)
	c := amdvi.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := amdvi.New(c)
	require.NoError(t, err)
	require.NoError(t, u.Load(regs))
	return u, m
}

// walkerFaults are the faults by what an independent walker of the same tables found.
var walkerFaults = map[string]uint16{
	"":                     0,
	"permission":           amdvi.FaultPermission,
	"not-present-L1":       amdvi.FaultNotPresent,
	"not-present-L2":       amdvi.FaultNotPresent,
	"not-present-L3":       amdvi.FaultNotPresent,
	"beyond-address-width": amdvi.FaultAddress,
}

// blocked is a requester that no driver uses: V=1, TV=1, Mode=0, IR=IW=0. The rows of the oracle say that
// its requests pass, but the rights of a DTE count with Mode=0, too (2.2.2.1), and this is how Linux
// blocks a device.
const blocked = emu.SourceID(0xf0)

func TestCaptureBlockedRequesterHasNoRights(t *testing.T) {
	u, m := loadCapture(t)
	at := emu.PA(u.ReadReg(spec.OffDevTabBase, 8)&spec.DevTabBase.Mask()) + emu.PA(blocked)*spec.DTESize
	w0, ok := m.Load64(at)
	require.True(t, ok)
	require.Equal(t, spec.DteV.Mask()|spec.DteTV.Mask(), w0)
}

func TestCaptureTranslatesAsTheOracleDid(t *testing.T) {
	for name, change := range map[string]func(*amdvi.Config){"default": func(*amdvi.Config) {}, "no caches": noCaches} {
		t.Run(name, func(t *testing.T) {
			u, m := loadCapture(t, change)
			f := emu.NewFunctional(u, m)
			rows := emutest.Rows(t, capture, "oracle.csv.zst")
			require.Len(t, rows, 4632)
			for pass := range 2 { // cold, then from the caches
				for _, o := range rows {
					require.Equal(t, "agree", o.Text("agree"))
					want, known := walkerFaults[o.Text("walker_fault")]
					require.True(t, known, o)
					q := o.Request()
					var res emu.Result
					f.Translate(&q, &res)
					if q.Source == blocked {
						require.Equal(t, emu.Blocked, res.Status)
						require.EqualValues(t, amdvi.FaultPermission, res.Fault.Code)
						continue
					}
					if o.Text("expect") != "ok" {
						require.Equal(t, emu.Blocked, res.Status, o)
						require.Equal(t, want, res.Fault.Code, "%s: %#x", o, res.Fault.Code)
						require.EqualValues(t, spec.EventPageFault, res.Fault.Code&0xf)
						continue
					}
					require.Equal(t, emu.OK, res.Status, "%d %s: %#x", pass, o, res.Fault.Code)
					require.EqualValues(t, o.Number("pa"), res.PA, o)
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
	for _, row := range emutest.Rows(t, capture, "mapped.csv.zst") {
		a := emu.Read
		if row.Text("perm") == "W" {
			a = emu.Write
		}
		first, size := row.Number("iova"), row.Number("size")
		for _, at := range []uint64{first, first + size - 8} {
			q := emutest.DMA(emu.SourceID(row.Number("sid")), emu.NoPASID, at, a)
			var res emu.Result
			f.Translate(&q, &res)
			require.Equal(t, emu.OK, res.Status, row)
			require.EqualValues(t, row.Number("pa")+at-first, res.PA, row)
			require.Equal(t, size, uint64(1)<<res.Lg2, row)
			require.Equal(t, row.Text("perm"), res.Perm.String())
		}
	}
}

func TestCaptureListsWhatIsNotModelled(t *testing.T) {
	u, _ := loadCapture(t)
	require.Equal(t, []string{"EFR.GATS"}, u.Unmodelled())
	require.EqualValues(t, spec.HATS6, u.Config().HATS)
	require.False(t, u.Config().XTSup)
}
