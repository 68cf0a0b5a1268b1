package emutest

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
)

// Captures are tables that a real driver wrote, in traces/testdata, with what an independent model did.
// A unit gets the registers and the memory of one and nothing else.

// Testdata opens a file of a capture, as a package two levels below the module sees it. What ends in
// .csv.zst is decompressed.
func Testdata(t testing.TB, capture, name string) io.Reader {
	f, err := os.Open(filepath.Join("..", "..", "traces", "testdata", capture, name))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	if !strings.HasSuffix(name, ".csv.zst") {
		return f
	}
	d, err := zstd.NewReader(f)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// Capture returns registers and memory of a capture.
func Capture(t testing.TB, capture string) (emu.RegImage, *mem.Memory) {
	regs, err := snapshot.ReadRegs(Testdata(t, capture, "regs.json"), "regs.json")
	require.NoError(t, err)
	m, _, err := snapshot.ReadCore(Testdata(t, capture, "core.elf.zst"), "core.elf.zst")
	require.NoError(t, err)
	return regs.Image, m
}

// Row is a line of a table of a capture, by the name of the column.
type Row struct {
	t    testing.TB
	col  map[string]int
	text []string
}

// Rows reads a table of a capture.
func Rows(t testing.TB, capture, name string) []Row {
	lines, err := csv.NewReader(Testdata(t, capture, name)).ReadAll()
	require.NoError(t, err)
	col := map[string]int{}
	for i, h := range lines[0] {
		col[h] = i
	}
	rows := make([]Row, 0, len(lines)-1)
	for _, l := range lines[1:] {
		rows = append(rows, Row{t, col, l})
	}
	return rows
}

// Text returns the field of a column.
func (r Row) Text(column string) string {
	i, ok := r.col[column]
	require.True(r.t, ok, "column %s", column)
	return r.text[i]
}

// Number returns the number in a column, 0 if it is empty.
func (r Row) Number(column string) uint64 {
	s := r.Text(column)
	if s == "" {
		return 0
	}
	v, err := strconv.ParseUint(s, 0, 64)
	require.NoError(r.t, err)
	return v
}

// String returns the line.
func (r Row) String() string { return strings.Join(r.text, ",") }

// Request returns the request of a line of an oracle: 8 bytes, without PASID.
func (r Row) Request() emu.Request {
	q := emu.Request{
		Source: emu.SourceID(r.Number("sid")), Addr: emu.IOVA(r.Number("iova")), PASID: emu.NoPASID, Len: 8, Access: emu.Read,
	}
	if r.Text("access") == "W" {
		q.Access = emu.Write
	}
	return q
}
