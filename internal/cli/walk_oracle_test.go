package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/report"
)

// walkRecording makes the requests of a recording's oracle. Of a flag that is given twice the last counts.
func walkRecording(t *testing.T, name string, flags ...string) (int, report.Walk) {
	dir := filepath.Join(recordings, name)
	code, out, errs := run(context.Background(), "", append([]string{"walk", "--core", filepath.Join(dir, "core.elf.zst"),
		"--regs", filepath.Join(dir, "regs.json"), "--oracle", filepath.Join(dir, "oracle.csv.zst"), "--json", "-"}, flags...)...)
	var w report.Walk
	require.NoError(t, json.Unmarshal([]byte(out), &w), errs)
	return code, w
}

// walks makes the requests of a list of "sid,pasid,iova,access,expect,pa" on a snapshot and compares.
func walks(t *testing.T, snapshot []string, rows ...string) {
	list := filepath.Join(t.TempDir(), "oracle.csv")
	text := "sid,pasid,iova,access,expect,pa\n" + strings.Join(rows, "\n") + "\n"
	require.NoError(t, os.WriteFile(list, []byte(text), 0o644))
	code, out, errs := run(context.Background(), "", append([]string{"walk", "--oracle", list}, snapshot...)...)
	require.Equal(t, exitOK, code, out+errs)
	require.Contains(t, out, fmt.Sprintf("%d checked, %d agree, 0 differ", len(rows), len(rows)))
}

// walksAsShown makes requests of every kind at both ends of each range that inspect shows. They translate
// to where it leads, if it has the right.
func walksAsShown(t *testing.T, snapshot []string) {
	code, out, errs := run(context.Background(), "", append([]string{"inspect", "tables", "--json", "-"}, snapshot...)...)
	require.Equal(t, exitOK, code, errs)
	var doc inspection
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	var rows []string
	for _, table := range doc.Tables {
		require.Empty(t, table.Over, "its addresses are not physical")
		require.Empty(t, table.Note)
		for _, u := range table.Users {
			sid, pasid, _ := strings.Cut(u, "/")
			for _, r := range table.Ranges {
				first, last := number(t, r.First), number(t, r.Last)-7
				for _, at := range []uint64{first, last} {
					for _, access := range []string{"R", "W", "X"} {
						row := fmt.Sprintf("%s,%s,%#x,%s,", sid, pasid, at, access)
						if strings.Contains(r.Perm, access) {
							row += fmt.Sprintf("ok,%#x", number(t, r.PA)+at-first)
						} else {
							row += "fault,"
						}
						rows = append(rows, row)
					}
				}
			}
		}
	}
	require.NotEmpty(t, rows)
	walks(t, snapshot, rows...)
}
