package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/report"
)

func amdviWalk(t *testing.T, regs string, flags ...string) (int, report.Walk) {
	return walkRecording(t, "amdvi-v1", append([]string{"--regs", regs}, flags...)...)
}

// TestWalkAMDVi_Oracle: every row of a real recording. 60 of them are a requester that the driver has
// blocked by Mode=0 without rights, which the recorder lets pass (docs/amdvi.md).
func TestWalkAMDVi_Oracle(t *testing.T) {
	regs := filepath.Join(recordings, "amdvi-v1", "regs.json")
	code, w := amdviWalk(t, regs)
	require.Equal(t, exitOK, code)
	require.EqualValues(t, 4632, w.Checked)
	require.EqualValues(t, 4632, w.Agree)
	require.Zero(t, w.Differ)
	require.Empty(t, w.Differences)
	require.Len(t, w.Deviations, 1)
	d := w.Deviations[0]
	require.EqualValues(t, 60, d.Agree)
	require.Equal(t, "QEMU 11.1.3", d.Recorder)
	require.Equal(t, "2.2.2.1", d.Clause)

	code, w = amdviWalk(t, regs, "--strict")
	require.Equal(t, exitFailed, code)
	require.EqualValues(t, 4572, w.Agree)
	require.EqualValues(t, 60, w.Differ)
	require.Empty(t, w.Deviations)
	for _, x := range w.Differences {
		require.Equal(t, "0x00f0", x.SID)
		require.Equal(t, "fault", x.Result)
		require.Equal(t, x.IOVA, x.ExpectPA)
	}

	// Deviations are those of a recorder: a snapshot that does not name it has none.
	text, err := os.ReadFile(regs)
	require.NoError(t, err)
	unnamed := filepath.Join(t.TempDir(), "regs.json")
	require.NoError(t, os.WriteFile(unnamed, []byte(strings.Replace(string(text), `"qemu": {`, `"other": {`, 1)), 0o644))
	code, w = amdviWalk(t, unnamed)
	require.Equal(t, exitFailed, code)
	require.EqualValues(t, 60, w.Differ)
}
