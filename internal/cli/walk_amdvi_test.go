package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// TestWalkAMDVi_Oracle: the oracle of a real recording but for one requester that Linux blocks by
// Mode=0 without rights; see docs/amdvi.md.
func TestWalkAMDVi_Oracle(t *testing.T) {
	dir := filepath.Join(recordings, "amdvi-v1")
	packed, err := os.ReadFile(filepath.Join(dir, "oracle.csv.zst"))
	require.NoError(t, err)
	z, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer z.Close()
	all, err := z.DecodeAll(packed, nil)
	require.NoError(t, err)
	var rows []byte
	for line := range bytes.Lines(all) {
		if !bytes.HasPrefix(line, []byte("0x00f0,")) {
			rows = append(rows, line...)
		}
	}
	list := filepath.Join(t.TempDir(), "oracle.csv")
	require.NoError(t, os.WriteFile(list, rows, 0o644))
	code, out, errs := run(context.Background(), "", "walk", "--core", filepath.Join(dir, "core.elf.zst"),
		"--regs", filepath.Join(dir, "regs.json"), "--oracle", list)
	require.Equal(t, exitOK, code, out+errs)
	require.Contains(t, out, "4572 checked, 4572 agree, 0 differ")
}
