package vtd_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
)

// Tables that Linux wrote, translated by this unit and compared with what an independent model did.
// The unit gets the registers and the memory of the snapshot and nothing else.

// loadCapture returns a unit and its memory as in the snapshot.
func loadCapture(t testing.TB, name string) (*vtd.Unit, *mem.Memory) {
	regs, m := emutest.Capture(t, name)
	u, err := vtd.New(vtd.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Load(regs))
	return u, m
}

// scalableCode maps a legacy fault reason to that of scalable mode. The oracle reports legacy ones
// throughout; absent second-stage entries it reports by access.
func scalableCode(c uint16, walker string) uint16 {
	switch {
	case c == vtd.FaultContextAbsent:
		return vtd.FaultContextAbsentSM
	case strings.Contains(walker, "root-not-present"):
		return vtd.FaultRootAbsentSM
	case c == vtd.FaultWidth:
		return vtd.FaultWidthSM
	case strings.Contains(walker, "not-present-L"):
		return vtd.FaultSSAbsent
	case c == vtd.FaultWrite:
		return vtd.FaultWriteSM
	case c == vtd.FaultRead:
		return vtd.FaultReadSM
	}
	return c
}

func TestCapturesTranslateAsTheOracleDid(t *testing.T) {
	for _, name := range []string{"vtd-legacy", "vtd-sm-ss"} {
		t.Run(name, func(t *testing.T) {
			u, m := loadCapture(t, name)
			f := emu.NewFunctional(u, m)
			rows := emutest.Rows(t, name, "oracle.csv.zst")
			require.NotEmpty(t, rows)
			for pass := range 2 { // cold, then from the caches
				for _, o := range rows {
					q := o.Request()
					var res emu.Result
					f.Translate(&q, &res)
					if o.Text("expect") == "ok" {
						require.Equal(t, emu.OK, res.Status, "%d %s: %#x", pass, o, res.Fault.Code)
						require.EqualValues(t, o.Number("pa"), res.PA, o)
						require.NotZero(t, res.Prov.Leaf, o)
						continue
					}
					require.Equal(t, emu.Blocked, res.Status, o)
					want := uint16(o.Number("qemu_fault_code")) // 0: unknown
					if name == "vtd-sm-ss" {
						want = scalableCode(want, o.Text("walker_fault"))
					}
					if want != 0 {
						require.Equal(t, want, res.Fault.Code, "%s: %#x", o, res.Fault.Code)
					}
				}
			}
		})
	}
}

func TestCapturesListWhatIsNotModelled(t *testing.T) {
	u, _ := loadCapture(t, "vtd-legacy")
	require.Empty(t, u.Unmodelled())
	u, _ = loadCapture(t, "vtd-sm-ss")
	require.Empty(t, u.Unmodelled())
}
