package amdvi_test

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
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/mem/snapshot"
)

// Tables that Linux wrote, translated by this unit and compared with what an independent model did.
// The unit gets the registers and the memory of the snapshot and nothing else.

func testdata(t testing.TB, name string) io.ReadCloser {
	f, err := os.Open(filepath.Join("..", "..", "traces", "testdata", "amdvi-v1", name))
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
func loadCapture(t testing.TB, change ...func(*amdvi.Config)) (*amdvi.Unit, *mem.Memory) {
	regs, err := snapshot.ReadRegs(testdata(t, "regs.json"), "regs.json")
	require.NoError(t, err)
	m, _, err := snapshot.ReadCore(testdata(t, "core.elf.zst"), "core.elf.zst")
	require.NoError(t, err)
	c := amdvi.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := amdvi.New(c)
	require.NoError(t, err)
	require.NoError(t, u.Load(regs.Image))
	return u, m
}

type oracleRow struct {
	q    emu.Request
	ok   bool
	pa   emu.PA
	want uint16 // fault; 0 for ok
	perm string
	size uint64
	text string
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

func readOracle(t testing.TB) []oracleRow {
	rows, err := csv.NewReader(testdata(t, "oracle.csv.zst")).ReadAll()
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
		require.Equal(t, "agree", r[col["agree"]])
		want, known := walkerFaults[r[col["walker_fault"]]]
		require.True(t, known, r[col["walker_fault"]])
		o := oracleRow{
			q: emu.Request{
				Source: emu.SourceID(num(r[col["sid"]])), Addr: emu.IOVA(num(r[col["iova"]])),
				PASID: emu.NoPASID, Len: 8, Access: emu.Read,
			},
			ok: r[col["expect"]] == "ok", pa: emu.PA(num(r[col["pa"]])), want: want,
			perm: r[col["perm"]], size: num(r[col["page_size"]]), text: strings.Join(r, ","),
		}
		if r[col["access"]] == "W" {
			o.q.Access = emu.Write
		}
		out = append(out, o)
	}
	return out
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
			rows := readOracle(t)
			require.Len(t, rows, 4632)
			for pass := range 2 { // cold, then from the caches
				for _, o := range rows {
					var res emu.Result
					f.Translate(&o.q, &res)
					if o.q.Source == blocked {
						require.Equal(t, emu.Blocked, res.Status)
						require.EqualValues(t, amdvi.FaultPermission, res.Fault.Code)
						continue
					}
					if !o.ok {
						require.Equal(t, emu.Blocked, res.Status, o.text)
						require.Equal(t, o.want, res.Fault.Code, "%s: %#x", o.text, res.Fault.Code)
						require.EqualValues(t, spec.EventPageFault, res.Fault.Code&0xf)
						continue
					}
					require.Equal(t, emu.OK, res.Status, "%d %s: %#x", pass, o.text, res.Fault.Code)
					require.Equal(t, o.pa, res.PA, o.text)
					require.NotZero(t, res.Prov.Leaf, o.text)
					require.Equal(t, o.size, uint64(1)<<res.Lg2, o.text)
					require.Equal(t, o.perm, res.Perm.String(), o.text)
				}
			}
		})
	}
}

func TestCaptureMappedIsComplete(t *testing.T) {
	u, m := loadCapture(t)
	f := emu.NewFunctional(u, m)
	rows, err := csv.NewReader(testdata(t, "mapped.csv.zst")).ReadAll()
	require.NoError(t, err)
	for _, r := range rows[1:] { // sid,rid_pasid,iova,size,pa,perm,level,pte
		num := func(i int) uint64 {
			v, err := strconv.ParseUint(r[i], 0, 64)
			require.NoError(t, err)
			return v
		}
		a := emu.Read
		if r[5] == "W" {
			a = emu.Write
		}
		first, size := num(2), num(3)
		for _, at := range []uint64{first, first + size - 8} {
			var res emu.Result
			f.Translate(&emu.Request{Source: emu.SourceID(num(0)), Addr: emu.IOVA(at), PASID: emu.NoPASID, Len: 8, Access: a}, &res)
			require.Equal(t, emu.OK, res.Status, r)
			require.Equal(t, emu.PA(num(4)+at-first), res.PA, r)
			require.Equal(t, size, uint64(1)<<res.Lg2, r)
			require.Equal(t, r[5], res.Perm.String())
		}
	}
}

func TestCaptureListsWhatIsNotModelled(t *testing.T) {
	u, _ := loadCapture(t)
	require.Equal(t, []string{"EFR.GATS"}, u.Unmodelled())
	require.EqualValues(t, spec.HATS6, u.Config().HATS)
	require.False(t, u.Config().XTSup)
}
