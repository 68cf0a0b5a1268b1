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

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/mem/snapshot"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// synthetic writes a snapshot of a unit in scalable mode with one device, 0x0008, whose PASID entries
// are given as their first three words; memory is given as raw words.
func synthetic(t *testing.T, pasids [][3]uint64, words map[emu.PA]uint64) (args []string) {
	const rootTable, contexts, dir, table = 0x1000, 0x2000, 0x3000, 0x4000
	m := mem.New()
	put := func(pa emu.PA, v uint64) { require.True(t, m.Store64(pa, v)) }
	put(rootTable, contexts|1)
	put(contexts+8*32, dir|1)
	put(dir, table|1)
	for i, e := range pasids {
		for j, w := range e {
			put(table+emu.PA(i*64+j*8), w)
		}
	}
	for pa, v := range words {
		put(pa, v)
	}
	// A real unit, with first stage, nesting and snoop control and without 1 GiB leaves of either kind.
	capReg := uint64(0x80d2008c222f0606) &^ spec.CapSSLPS.Put(spec.SSLPS1G)
	ecap := uint64(0x0000480080f00f4a) | spec.EcapFSTS.Put(1) | spec.EcapNEST.Put(1) | spec.EcapSC.Put(1)
	regs, core := writeSnapshot(t, m, `{"iommu": "vtd", "regs32": {"0x0": "0x50"}, "regs64": {"0x8": "%#x", "0x10": "%#x", "0x20": "%#x"}}`,
		capReg, ecap, rootTable|spec.RtaddrTTM.Put(spec.TTMScalable))
	return []string{"inspect", "--regs", regs, "--core", core}
}

// writeSnapshot writes memory and registers, which are JSON as fmt.Sprintf has it.
func writeSnapshot(t *testing.T, m *mem.Memory, format string, args ...any) (regs, core string) {
	folder := t.TempDir()
	core, regs = filepath.Join(folder, "core.elf"), filepath.Join(folder, "regs.json")
	f, err := os.Create(core)
	require.NoError(t, err)
	require.NoError(t, snapshot.WriteCore(f, m, &snapshot.Core{}))
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(regs, fmt.Appendf(nil, format, args...), 0o644))
	return regs, core
}

const (
	pgttFirst, pgttSecond, pgttNested = 1 << 6, 2 << 6, 3 << 6 // word 0 of a PASID entry
	aw48                              = 2 << 2
	fspm5, fspmBad, nxe               = 1 << 2, 2 << 2, 1 << 5 // word 2
)

func TestInspect_FirstStageTables(t *testing.T) {
	args := synthetic(t, [][3]uint64{
		{pgttFirst | 1, 7, 0x10000 | nxe},
		{pgttFirst | 1, 8, 0x20000 | fspm5},
		{pgttFirst | 1, 7, 0x10000 | nxe}, // the same tables
		{pgttFirst | 1, 9, 0x10000},       // the same, but bit 63 is reserved here
		{pgttFirst | 1, 10, 0x20000 | fspmBad},
		{pgttFirst | 1, 11, 0x90000},
		{pgttFirst, 12, 0x10000}, // not present
	}, map[emu.PA]uint64{
		// Four levels.
		0x10000:         0x11027, // PML4E
		0x10000 + 511*8: 0x14027,
		0x11000:         0x12027,                  // PDPE
		0x12000:         0x13027,                  // PDE
		0x12008:         1<<63 | 0x20_0000 | 0xa5, // 2 MiB, read-only
		0x13008:         0xaaa067,                 // two adjacent pages
		0x13010:         0xaab067,
		0x13018:         0xaac063,              // U/S=0
		0x13020:         1<<63 | 0xaad067,      // not to be executed
		0x13028:         0x5000_0000_0000_0000, // P=0
		0x14000 + 511*8: 0x15027,
		0x15000 + 511*8: 0x16007,
		0x16000 + 511*8: 0xbbb005,
		// Five levels, a leaf of a size that the unit lacks behind a good one.
		0x20000 + 255*8: 0x21007,
		0x21000:         0x22007,
		0x22000:         0x23007,
		0x22008:         0x4000_0087,
		0x23000:         0x60_0087,
	})
	code, out, errs := run(context.Background(), "", append(args, "tables")...)
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, strings.TrimPrefix(`
first stage table at 0x10000, 4 levels, domain 7, 6 leaves, of 0x0008/0 0x0008/2
  0x1000-0x2fff -> 0xaaa000 RWX, 2 x 0x1000
  0x3000-0x3fff -> 0xaac000 -, 1 x 0x1000
  0x4000-0x4fff -> 0xaad000 RW, 1 x 0x1000
  0x200000-0x3fffff -> 0x200000 R, 1 x 0x200000
  0xfffffffffffff000-0xffffffffffffffff -> 0xbbb000 RX, 1 x 0x1000
first stage table at 0x20000, 5 levels, domain 8, 1 leaves, of 0x0008/1
  pagetable: check 0xff000040000000 (entry 0x22008 = 0x0000000040000087): malformed table
  0xff000000000000-0xff0000001fffff -> 0x600000 RW, 1 x 0x200000
first stage table at 0x10000, 4 levels, domain 9, 4 leaves, of 0x0008/3
  pagetable: check 0x4000 (entry 0x13020 = 0x8000000000aad067): malformed table
  0x1000-0x2fff -> 0xaaa000 RW, 2 x 0x1000
  0x3000-0x3fff -> 0xaac000 -, 1 x 0x1000
  0xfffffffffffff000-0xffffffffffffffff -> 0xbbb000 R, 1 x 0x1000
first stage table at 0x20000, 6 levels, domain 10, 0 leaves, of 0x0008/4
  pagetable: x86: 6 levels, not 4..5: table configuration does not fit the format
first stage table at 0x90000, 4 levels, domain 11, 0 leaves, of 0x0008/5
  entry at 0x90000: not in the snapshot
`, "\n"), out)

	code, out, errs = run(context.Background(), "", append(args, "context")...)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "0x0008 PASID 0 at 0x4000: first stage\n")
	require.Contains(t, out, "FSPTPTR       191:140 = 0x10 ")
	require.Contains(t, out, "0x0008 PASID 6 at 0x4180: not present\n")
}

func TestInspect_NestedTables(t *testing.T) {
	words := map[emu.PA]uint64{
		// Second stage: 2 MiB of guest memory from 4 MiB on, and a page to be written only.
		0x10000: 0x11003,
		0x11000: 0x12003,
		0x12000: 0x1_0040_0883, // PS, SNP
		0x12008: 0x13003,
		0x13000: 0x2_0000_0002,
		// First stage, at guest address 0x1000.
		0x1_0040_1000: 0x2027,
		0x1_0040_2000: 0x3027,
		0x1_0040_3000: 0x4027,
		0x1_0040_4000: 0x7_7777_7067, // a guest address as well
		// Others at 0x8000 and 0x9000: the one links the page to be written only, the other goes where there is nothing.
		0x1_0040_8000: 0x20_0027,
		0x1_0040_9000: 0x8000_0000_0027,
	}
	args := synthetic(t, [][3]uint64{
		{pgttNested | aw48 | 1 | 0x10000, 7, 0x1000},
		{pgttNested | aw48 | 1 | 0x10000, 7, 0x8000},
		{pgttNested | aw48 | 1 | 0x10000, 7, 0x9000},
		{pgttSecond | aw48 | 1 | 0x10000, 7, 0},
		{pgttNested | aw48 | 1 | 0xa0000, 8, 0x1000},
		{pgttNested | 1 | 0x10000, 9, 0x1000},
	}, words)
	code, out, errs := run(context.Background(), "", append(args, "tables")...)
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, strings.TrimPrefix(`
nested, first stage table at 0x1000 (input of the table at 0x10000), 4 levels, domain 7, 1 leaves, of 0x0008/0
  0x0-0xfff -> 0x777777000 RW, 1 x 0x1000
second stage table at 0x10000, 4 levels, domain 7, 2 leaves, of 0x0008/0 0x0008/1 0x0008/2 0x0008/3
  0x0-0x1fffff -> 0x100400000 RW, 1 x 0x200000
  0x200000-0x200fff -> 0x200000000 W, 1 x 0x1000
nested, first stage table at 0x8000 (input of the table at 0x10000), 4 levels, domain 7, 0 leaves, of 0x0008/1
  entry at 0x200000: the second stage does not let it be read
nested, first stage table at 0x9000 (input of the table at 0x10000), 4 levels, domain 7, 0 leaves, of 0x0008/2
  entry at 0x800000000000: the second stage does not let it be read
nested, first stage table at 0x1000 (input of the table at 0xa0000), 4 levels, domain 8, 0 leaves, of 0x0008/4
  second stage: entry at 0xa0000: not in the snapshot
second stage table at 0xa0000, 4 levels, domain 8, 0 leaves, of 0x0008/4
  entry at 0xa0000: not in the snapshot
nested, first stage table at 0x1000 (input of the table at 0x10000), 4 levels, domain 9, 0 leaves, of 0x0008/5
  pagetable: vtdss: 2 levels, not 3..5: table configuration does not fit the format
second stage table at 0x10000, 2 levels, domain 9, 0 leaves, of 0x0008/5
  pagetable: vtdss: 2 levels, not 3..5: table configuration does not fit the format
`, "\n"), out)

	code, out, errs = run(context.Background(), "", append(args, "tables", "--json", "-")...)
	require.Equal(t, exitOK, code, errs)
	var doc inspection
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	require.Equal(t, "0x10000", doc.Tables[0].Over)
	require.Empty(t, doc.Tables[1].Over)
}

// TestInspect_TablesThatGoRound: links to one another, and an empty table at the end, so that no leaf is
// ever met.
func TestInspect_TablesThatGoRound(t *testing.T) {
	words := map[emu.PA]uint64{0x13ff8: 0}
	for i := range emu.PA(512) {
		words[0x10000+i*8], words[0x11000+i*8], words[0x12000+i*8] = 0x11007, 0x12007, 0x13007
	}
	args := synthetic(t, [][3]uint64{{pgttFirst | 1, 7, 0x10000}}, words)
	code, out, errs := run(context.Background(), "", append(args, "tables")...)
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Equal(t, "iommulab inspect: table at 0x10000: many times more entries than the snapshot has, want tables that end\n", errs)
}
