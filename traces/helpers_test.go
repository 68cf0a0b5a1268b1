package traces

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares with a committed text.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		writeFile(t, path, []byte(got))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// summary counts the kinds and the accesses of each requester.
func summary(tr *Trace) string {
	var kinds [numKinds]int
	dma := make(map[emu.SourceID]int)
	for i := range tr.Events {
		e := &tr.Events[i]
		kinds[e.Kind]++
		if e.Kind.IsDMA() {
			dma[e.SID]++
		}
	}
	var b strings.Builder
	for k, n := range kinds {
		if n > 0 {
			fmt.Fprintf(&b, "%s: %d\n", Kind(k), n)
		}
	}
	for _, sid := range tr.Header.Devices {
		if dma[sid] > 0 {
			fmt.Fprintf(&b, "accesses of %#04x: %d\n", uint32(sid), dma[sid])
		}
	}
	return b.String()
}

// csvOf is the readable form of a trace without its header.
func csvOf(tr *Trace) string {
	var b []byte
	for i := range tr.Events {
		b = appendCSV(b, &tr.Events[i])
	}
	return string(b)
}

// native returns t as an .iotrace file.
func native(t testing.TB, tr *Trace) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, &tr.Header)
	require.NoError(t, err)
	require.NoError(t, w.Write(tr.Events))
	require.NoError(t, w.Close())
	return b.Bytes()
}

func textOf(t testing.TB, tr *Trace) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewCSVWriter(&b, &tr.Header)
	require.NoError(t, err)
	require.NoError(t, w.Write(tr.Events))
	require.NoError(t, w.Close())
	return b.Bytes()
}

func parquetOf(t testing.TB, tr *Trace) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewParquetWriter(&b, &tr.Header)
	require.NoError(t, err)
	require.NoError(t, w.Write(tr.Events))
	require.NoError(t, w.Close())
	return b.Bytes()
}

// drawTrace draws any trace that the model allows.
func drawTrace(t *rapid.T) *Trace {
	tr := &Trace{Header: Header{
		Version:   Version,
		IOMMU:     rapid.SampledFrom([]string{"", "vtd", "amdvi", "smmuv3"}).Draw(t, "iommu"),
		Source:    rapid.String().Draw(t, "source"),
		Seed:      rapid.Uint64().Draw(t, "seed"),
		Synthetic: rapid.Bool().Draw(t, "synthetic"),
	}}
	tr.Header.Notes = append(tr.Header.Notes, rapid.SliceOf(rapid.String()).Draw(t, "notes")...)
	tr.Header.Marks = append(tr.Header.Marks, rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "marks")...)
	var now uint64
	for range rapid.IntRange(0, 200).Draw(t, "n") {
		now += rapid.OneOf(rapid.Uint64Max(1000), rapid.Uint64Max(1<<58)).Draw(t, "gap")
		e := Event{
			Time: now, Kind: Kind(rapid.Uint8Max(uint8(numKinds-1)).Draw(t, "kind")), Perm: Perm(rapid.Uint8Max(7).Draw(t, "perm")),
			IOVA: emu.IOVA(rapid.Uint64().Draw(t, "iova")), Len: rapid.Uint64Max(MaxLen).Draw(t, "len"),
			SID:   emu.SourceID(rapid.OneOf(rapid.Uint32Max(8), rapid.Uint32()).Draw(t, "sid")),
			PASID: emu.NoPASID,
		}
		if rapid.Bool().Draw(t, "pasid?") {
			e.PASID = emu.PASID(rapid.Uint32Max(uint32(emu.MaxPASID)).Draw(t, "pasid"))
		}
		if e.HasPA = rapid.Bool().Draw(t, "pa?"); e.HasPA {
			e.PA = emu.PA(rapid.Uint64().Draw(t, "pa"))
		}
		tr.Events = append(tr.Events, e)
	}
	return tr
}
