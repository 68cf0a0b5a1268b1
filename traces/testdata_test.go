package traces

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func TestTestdata_IsWhatTheREADMESays(t *testing.T) {
	text, err := os.ReadFile("testdata/README.md")
	require.NoError(t, err)
	var listed []string
	total := 0
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\d+) \\| `([0-9a-f]{64})` \\|$").FindAllSubmatch(text, -1) {
		name := string(m[1])
		listed = append(listed, name)
		b, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		require.Equal(t, string(m[3]), fmt.Sprintf("%x", sha256.Sum256(b)), name)
		require.Equal(t, string(m[2]), fmt.Sprint(len(b)), name)
		total += len(b)
	}
	require.Equal(t, testdataFiles(t), listed)
	require.Less(t, total, 5<<20)
	require.Less(t, len(DefaultBytes()), 1<<20)
}

// pageMap is the dumbest model of mappings there is: a Go map of 4 KiB pages.
type pageMap map[Space]map[uint64]struct {
	pa   emu.PA
	perm Perm
}

func (m pageMap) apply(t *testing.T, e *Event) {
	s := Space{e.SID, e.PASID}
	if e.Kind == Map || e.Kind == Unmap {
		require.Zero(t, uint64(e.IOVA)%emu.PageSize)
		require.Zero(t, e.Len%emu.PageSize)
		require.NotZero(t, e.Len)
	}
	for off := uint64(0); off < e.Len && (e.Kind == Map || e.Kind == Unmap); off += emu.PageSize {
		page := uint64(e.IOVA) + off
		if m[s] == nil {
			m[s] = make(map[uint64]struct {
				pa   emu.PA
				perm Perm
			})
		}
		if e.Kind == Unmap {
			delete(m[s], page)
			continue
		}
		_, mapped := m[s][page]
		require.False(t, mapped, "mapped twice: %+v", e)
		m[s][page] = struct {
			pa   emu.PA
			perm Perm
		}{e.PA + emu.PA(off), e.Perm}
	}
}

func (m pageMap) check(t *testing.T, e *Event) {
	if !e.Kind.IsDMA() {
		return
	}
	at, ok := m[Space{e.SID, e.PASID}][uint64(e.IOVA)&^(emu.PageSize-1)]
	require.True(t, ok, "not mapped: %+v", e)
	require.NotZero(t, at.perm)
	require.Equal(t, e.Need(), e.Need()&at.perm, "not allowed: %+v", e)
	require.Equal(t, e.Perm, e.Perm&at.perm, "permission: %+v", e)
	if e.HasPA {
		require.Equal(t, at.pa+emu.PA(e.IOVA%emu.PageSize), e.PA, "elsewhere: %+v", e)
	}
}

func TestDefault_EveryAccessIsMapped(t *testing.T) {
	r, err := Default()
	require.NoError(t, err)
	require.False(t, r.Header().Synthetic)
	require.Equal(t, "vtd", r.Header().IOMMU)
	model := make(pageMap)
	kinds := make(map[Kind]int)
	devices := make(map[emu.SourceID]int)
	var state Mappings
	for e, err := range All(r) {
		require.NoError(t, err)
		kinds[e.Kind]++
		model.apply(t, &e)
		model.check(t, &e)
		require.False(t, state.Apply(&e))
		require.True(t, state.Allows(&e))
		if e.Kind.IsDMA() {
			devices[e.SID]++
		}
	}
	require.GreaterOrEqual(t, kinds[Read]+kinds[Write]+kinds[Access], 20_000)
	require.Len(t, devices, 8)
	for sid, n := range devices {
		require.GreaterOrEqual(t, n, 1000, "%#x", sid)
	}
	require.Len(t, r.Header().Devices, 8)
	require.NotZero(t, kinds[Map])
	require.NotZero(t, kinds[Unmap])
	require.Equal(t, kinds[Invalidate], kinds[RegWrite], "the driver writes the tail register once per invalidation")
}

func TestCaptures_Import(t *testing.T) {
	for _, c := range []struct {
		file   string
		kinds  map[Kind]int
		report string
	}{
		{file: "vtd-legacy/qemu-trace.log.zst"}, {file: "vtd-sm-ss/qemu-trace.log.zst"},
		{file: "vtd-legacy/ftrace.txt.zst"}, {file: "vtd-sm-ss/ftrace.txt.zst"},
		{file: "amdvi-v1/qemu-trace.log.zst"},
		{file: "amdvi-v1/ftrace.txt.zst"}, {file: "smmuv3-s1/ftrace.txt.zst"}, {file: "smmuv3-s1/qemu-trace.log.zst"},
		{file: "smmuv3-s2/qemu-trace.log.zst"}, {file: "smmuv3-16k/qemu-trace.log.zst"},
	} {
		t.Run(c.file, func(t *testing.T) {
			text := readZstd(t, filepath.Join("testdata", c.file))
			do := ImportFtrace
			if strings.Contains(c.file, "qemu") {
				do = ImportQEMU
			}
			tr, rep, err := do(bytes.NewReader(text), ImportOptions{Name: c.file})
			require.NoError(t, err)
			if rep.Format == "ftrace" {
				tr = SynthAccesses(tr)
			}
			checkTrace(t, tr)
			golden(t, filepath.Join("import", filepath.Dir(c.file)+"-"+rep.Format+".txt"), rep.String()+summary(tr))
		})
	}
}

// Every fault and command that QEMU 11 can be brought to: see qemu_live_test.go.
func TestCaptures_Faults(t *testing.T) {
	for _, unit := range []string{"amdvi", "smmuv3"} {
		text := readZstd(t, filepath.Join("testdata", unit+"-faults", "qemu-trace.log.zst"))
		tr, rep, err := ImportQEMU(bytes.NewReader(text), ImportOptions{})
		require.NoError(t, err)
		checkTrace(t, tr)
		golden(t, filepath.Join("faults", unit+".txt"), rep.String()+strings.Join(tr.Header.Marks, "\n")+"\n"+csvOf(tr))
	}
}

// checkTrace proves that a trace replays: in order, mapped once, no access without a mapping.
func checkTrace(t *testing.T, tr *Trace) {
	model := make(pageMap)
	last := uint64(0)
	for i := range tr.Events {
		e := &tr.Events[i]
		require.GreaterOrEqual(t, e.Time, last)
		last = e.Time
		_, _, ok := e.check()
		require.True(t, ok, "%+v", e)
		model.apply(t, e)
		model.check(t, e)
	}
}
