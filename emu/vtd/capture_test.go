package vtd_test

import (
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/mem/snapshot"
	"github.com/iommulab/iommulab/emu/vtd"
)

// Tables that Linux wrote, translated by this unit and compared with what an independent model did.
// The unit gets the registers and the memory of the snapshot and nothing else.

func testdata(t testing.TB, name string) io.ReadCloser {
	f, err := os.Open(filepath.Join("..", "..", "traces", "testdata", name))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	if !strings.HasSuffix(name, ".csv.zst") {
		return f
	}
	d, err := zstd.NewReader(f)
	require.NoError(t, err)
	return d.IOReadCloser()
}

// loadCapture returns a unit and its memory as in the snapshot.
func loadCapture(t testing.TB, name string) (*vtd.Unit, *mem.Memory) {
	regs, err := snapshot.ReadRegs(testdata(t, name+"/regs.json"), name)
	require.NoError(t, err)
	m, _, err := snapshot.ReadCore(testdata(t, name+"/core.elf.zst"), name)
	require.NoError(t, err)
	u, err := vtd.New(vtd.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Load(regs.Image))
	return u, m
}

type oracleRow struct {
	q    emu.Request
	ok   bool
	pa   emu.PA
	code uint64 // what the oracle recorded; 0 unknown
	text string
}

func readOracle(t testing.TB, name string) []oracleRow {
	rows, err := csv.NewReader(testdata(t, name+"/oracle.csv.zst")).ReadAll()
	require.NoError(t, err)
	num := func(s string) uint64 {
		if s == "" {
			return 0
		}
		v, err := strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
		return v
	}
	col := map[string]int{}
	for i, h := range rows[0] {
		col[h] = i
	}
	var out []oracleRow
	for _, r := range rows[1:] {
		o := oracleRow{
			q: emu.Request{
				Source: emu.SourceID(num(r[col["sid"]])), Addr: emu.IOVA(num(r[col["iova"]])),
				PASID: emu.NoPASID, Len: 8, Access: emu.Read,
			},
			ok:   r[col["expect"]] == "ok",
			pa:   emu.PA(num(r[col["pa"]])),
			code: num(r[col["qemu_fault_code"]]),
			text: strings.Join(r, ","),
		}
		if r[col["access"]] == "W" {
			o.q.Access = emu.Write
		}
		out = append(out, o)
	}
	return out
}

// scalableCode maps a legacy fault reason to that of scalable mode. The oracle reports legacy ones
// throughout; absent second-stage entries it reports by access.
func scalableCode(c uint64, walker string) uint16 {
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
	return uint16(c)
}

func TestCapturesTranslateAsTheOracleDid(t *testing.T) {
	for _, name := range []string{"vtd-legacy", "vtd-sm-ss"} {
		t.Run(name, func(t *testing.T) {
			u, m := loadCapture(t, name)
			f := emu.NewFunctional(u, m)
			rows := readOracle(t, name)
			require.NotEmpty(t, rows)
			for pass := range 2 { // cold, then from the caches
				for _, o := range rows {
					var res emu.Result
					f.Translate(&o.q, &res)
					if o.ok {
						require.Equal(t, emu.OK, res.Status, "%d %s: %#x", pass, o.text, res.Fault.Code)
						require.Equal(t, o.pa, res.PA, o.text)
						require.NotZero(t, res.Prov.Leaf, o.text)
						continue
					}
					require.Equal(t, emu.Blocked, res.Status, o.text)
					want := uint16(o.code)
					if name == "vtd-sm-ss" {
						want = scalableCode(o.code, o.text)
					}
					if want != 0 {
						require.Equal(t, want, res.Fault.Code, "%s: %#x", o.text, res.Fault.Code)
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
