package traces

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// pageOf is what one 4 KiB page of a requester translates to.
type pageOf struct {
	sid  emu.SourceID
	iova uint64
}
type pageTo struct {
	pa   uint64
	perm Perm
}

// tablePages reads mapped.csv: the leaves that an independent walker found in the tables of the guest.
func tablePages(t *testing.T, capture string) map[pageOf]pageTo {
	rows, err := csv.NewReader(bytes.NewReader(readZstd(t, "testdata/"+capture+"/mapped.csv.zst"))).ReadAll()
	require.NoError(t, err)
	perms := map[string]Perm{"R": PermR, "W": PermW, "RW": PermRW}
	num := func(s string) uint64 {
		v, err := strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
		return v
	}
	out := make(map[pageOf]pageTo)
	for _, r := range rows[1:] { // sid,rid_pasid,iova,size,pa,perm,level,pte
		perm, known := perms[r[5]]
		require.True(t, known, r[5])
		for off := uint64(0); off < num(r[3]); off += emu.PageSize {
			out[pageOf{emu.SourceID(num(r[0])), num(r[2]) + off}] = pageTo{num(r[4]) + off, perm}
		}
	}
	return out
}

// The driver's tracepoints and the tables that it wrote have nothing in common but the driver: at the
// moment of the snapshot the mappings that the import has rebuilt are those in the tables. What may differ:
//
//   - Pages that the next and the last few events unmap or map: the moment is not known better.
//   - Pages of an iommu:map that no dma event has claimed: its task was interrupted before, or used the
//     two-step API (dma_iova_link), which has no event.
//   - Identity maps of ISA devices, and the bridge, which shares the domain of the device behind it.
func TestFtrace_AgreesWithTheTables(t *testing.T) {
	for _, c := range []struct {
		capture   string
		alias     map[emu.SourceID]emu.SourceID
		slack     int // events around the snapshot, whose moment is not known better
		compared  int // pages, at least
		unclaimed int // pages, at most

		loose       bool // pages may have moved within the slack
		noWriteOnly bool // the tables have no such pages
	}{
		{"vtd-legacy", map[emu.SourceID]emu.SourceID{0x0408: 0x0400}, 40, 2500, 32, false, false},
		{"vtd-sm-ss", nil, 40, 2500, 96, false, false}, // this driver does not enter the alias in scalable mode
		{"amdvi-v1", nil, 120, 1400, 64, true, false},
		{"smmuv3-s1", nil, 40, 1400, 64, true, true},
	} {
		t.Run(c.capture, func(t *testing.T) {
			text := readZstd(t, "testdata/"+c.capture+"/ftrace.txt.zst")
			at := bytes.Index(text, []byte("# rig: SNAPSHOT"))
			require.Positive(t, at)
			prefix, _, err := ImportFtrace(bytes.NewReader(text[:at]), ImportOptions{Alias: c.alias})
			require.NoError(t, err)
			all, _, err := ImportFtrace(bytes.NewReader(text), ImportOptions{Alias: c.alias})
			require.NoError(t, err)
			n := len(prefix.Events)
			require.Equal(t, prefix.Events, all.Events[:n])

			var state Mappings
			for i := range prefix.Events {
				require.False(t, state.Apply(&prefix.Events[i]))
			}
			moving := make(map[pageOf]bool)
			for _, e := range all.Events[n-c.slack : n+c.slack] {
				for off := uint64(0); off < e.Len && (e.Kind == Map || e.Kind == Unmap); off += emu.PageSize {
					moving[pageOf{e.SID, uint64(e.IOVA) + off}] = true
				}
			}
			tables := tablePages(t, c.capture)
			inTrace := make(map[emu.SourceID]bool)
			compared := 0
			for _, s := range state.Spaces() {
				inTrace[s.SID] = true
				for _, m := range state.Of(s) {
					for off := uint64(0); off < m.Len; off += emu.PageSize {
						key := pageOf{s.SID, uint64(m.IOVA) + off}
						got, ok := tables[key]
						if !ok {
							require.True(t, moving[key], "in the trace only: %#x", key)
							continue
						}
						want := pageTo{uint64(m.PA) + off, m.Perm}
						if c.noWriteOnly && want.perm == PermW {
							want.perm = PermRW
						}
						if got != want { // mapped elsewhere meanwhile
							require.True(t, c.loose && moving[key], "%#x: %#v, want %#v", key, got, want)
						}
						delete(tables, key)
						compared++
					}
				}
			}
			require.GreaterOrEqual(t, compared, c.compared)

			stated := statedMaps(t, text[:at])
			unclaimed := 0
			for key, to := range tables {
				if inTrace[key.sid] && c.alias[key.sid] == 0 && !moving[key] {
					require.True(t, stated[[2]uint64{key.iova, to.pa}], "in the tables only: %#x", key)
					unclaimed++
				}
			}
			require.LessOrEqual(t, unclaimed, c.unclaimed)
		})
	}
}

// statedMaps collects every page that an iommu:map line names, with where it goes.
func statedMaps(t *testing.T, text []byte) map[[2]uint64]bool {
	out := make(map[[2]uint64]bool)
	for _, m := range regexp.MustCompile(`map: IOMMU: iova=(0x[0-9a-f]+) - \S+ paddr=(0x[0-9a-f]+) size=(\d+)`).FindAllSubmatch(text, -1) {
		var v [3]uint64
		for i := range v {
			var err error
			v[i], err = strconv.ParseUint(string(m[i+1]), 0, 64)
			require.NoError(t, err)
		}
		for off := uint64(0); off < v[2]; off += emu.PageSize {
			out[[2]uint64{v[0] + off, v[1] + off}] = true
		}
	}
	return out
}
