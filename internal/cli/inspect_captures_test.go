package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

type mappedPage struct {
	sid  string
	iova uint64
}

type mappedTo struct {
	pa   uint64
	perm string
	size uint64 // of the page it is part of
}

// TestInspect_ShowsWhatIsMapped: of each recording, the ranges that inspect shows of each requester are the
// leaves that an independent walker of the same memory found.
func TestInspect_ShowsWhatIsMapped(t *testing.T) {
	for _, capture := range []string{"vtd-legacy", "vtd-sm-ss", "amdvi-v1", "smmuv3-s1", "smmuv3-s2", "smmuv3-16k", "smmuv3-16k-s2", "smmuv3-lazy"} {
		t.Run(capture, func(t *testing.T) {
			dir := filepath.Join(recordings, capture)
			want := mappedPages(t, filepath.Join(dir, "mapped.csv.zst"))
			code, out, errs := run(context.Background(), "", "inspect", "tables", "--json", "-",
				"--core", filepath.Join(dir, "core.elf.zst"), "--regs", filepath.Join(dir, "regs.json"))
			require.Equal(t, exitOK, code, errs)
			var doc inspection
			require.NoError(t, json.Unmarshal([]byte(out), &doc))
			shown := 0
			for _, table := range doc.Tables {
				require.Empty(t, table.Note)
				for _, r := range table.Ranges {
					first, last, pa, size := number(t, r.First), number(t, r.Last), number(t, r.PA), number(t, r.PageSize)
					for at := first; at-1 != last; at += 4096 {
						for _, u := range table.Users {
							sid, _, _ := strings.Cut(u, "/")
							got := mappedTo{pa + at - first, strings.TrimSuffix(r.Perm, "X"), size}
							require.Equal(t, want[mappedPage{sid, at}], got, "%s %#x", sid, at)
							shown++
						}
					}
				}
			}
			require.Equal(t, len(want), shown)
		})
	}
}

func unpacked(t *testing.T, packed []byte) string {
	z, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer z.Close()
	text, err := z.DecodeAll(packed, nil)
	require.NoError(t, err)
	return string(text)
}

func number(t *testing.T, s string) uint64 {
	v, err := strconv.ParseUint(s, 0, 64)
	require.NoError(t, err)
	return v
}

// mappedPages reads mapped.csv: sid,rid_pasid,iova,size,pa,perm,level,pte.
func mappedPages(t *testing.T, path string) map[mappedPage]mappedTo {
	packed, err := os.ReadFile(path)
	require.NoError(t, err)
	rows, err := csv.NewReader(strings.NewReader(unpacked(t, packed))).ReadAll()
	require.NoError(t, err)
	out := make(map[mappedPage]mappedTo)
	for _, r := range rows[1:] {
		for off := uint64(0); off < number(t, r[3]); off += 4096 {
			out[mappedPage{r[0], number(t, r[2]) + off}] = mappedTo{number(t, r[4]) + off, r[5], number(t, r[3])}
		}
	}
	return out
}
