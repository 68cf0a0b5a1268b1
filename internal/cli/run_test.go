package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// run executes a command line with a context.
func run(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Run(ctx, args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func snapArgs(cmd string, more ...string) []string {
	dir := filepath.Join(recordings, "vtd-legacy")
	return append([]string{cmd, "--core", filepath.Join(dir, "core.elf.zst"), "--regs", filepath.Join(dir, "regs.json")}, more...)
}

func TestInterruptedWalkWritesWhatWasDone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	manifest := filepath.Join(dir, "m.json")
	code, out, errs := run(ctx, "", snapArgs("walk", "--oracle", filepath.Join(recordings, "vtd-legacy/oracle.csv.zst"), "--json", "-", "--manifest", manifest)...)
	require.Equal(t, exitInterrupted, code)
	require.Contains(t, out, `"incomplete": true`)
	require.Equal(t, "iommulab walk: interrupted\n", errs)
	b, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.Contains(t, string(b), `"incomplete": true`)
}

func TestInterruptedConversionLeavesNoFile(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "x.iotrace")
	code, _, _ := run(ctx, "", "trace", "gen", "zipf", "-o", out)
	require.Equal(t, exitInterrupted, code)
	left, err := os.ReadDir(filepath.Dir(out))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSameInputSameBytes(t *testing.T) {
	for _, args := range [][]string{
		snapArgs("inspect", "--json", "-"),
		snapArgs("explain", "0x10", "0xffa44cb0", "--json", "-"),
		{"trace", "gen", "zipf", "--accesses", "1000", "-o", "-"},
		{"trace", "info", "--json", "-"},
	} {
		_, a, _ := run(context.Background(), "", args...)
		_, b, _ := run(context.Background(), "", args...)
		require.NotEmpty(t, a)
		require.Equal(t, a, b)
	}
}

func TestManifestHashesStdin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.json")
	code, out, errs := run(context.Background(), "0170950300000000", "decode", "--kind", "pasid-dir", "--manifest", path, "-")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "SMPTBLPTR")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), `"name": "stdin"`)
	require.Contains(t, string(b), `"bytes": 16`)
}

func FuzzDecode(f *testing.F) {
	for _, a := range archs {
		for _, k := range a.kinds {
			f.Add(a.name, k.name, strings.Repeat("5a", k.bytes[0]))
		}
	}
	f.Fuzz(func(t *testing.T, iommu, kind, hex string) {
		code, out, errs := run(context.Background(), hex, "decode", "--iommu", iommu, "--kind", kind, "-")
		require.Contains(t, []int{exitOK, exitUsage}, code)
		require.Equal(t, code == exitOK, out != "")
		require.Equal(t, code == exitUsage, strings.Count(errs, "\n") == 1)
	})
}

func FuzzOracle(f *testing.F) {
	f.Add("sid,pasid,iova,access,expect,pa\n0x10,,0x1000,R,ok,0x2000\n")
	f.Add("sid,iova,access\n00:02.0,0xffa44cb0,W\n")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := newOracle(strings.NewReader(text), "x.csv")
		for err == nil {
			_, err = o.next()
		}
		require.NotContains(t, oneLine(err), "\n")
	})
}
