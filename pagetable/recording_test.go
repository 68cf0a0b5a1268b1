package pagetable

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// coreMemory is the read-only memory of an ELF core. Reads outside of it fail the test.
type coreMemory struct {
	t     *testing.T
	pages map[emu.PA][]byte
}

func (c *coreMemory) Load64(pa emu.PA) uint64 {
	p := c.pages[pa&^4095]
	require.NotNil(c.t, p, "read of %#x, which is not in the capture", uint64(pa))
	return binary.LittleEndian.Uint64(p[pa&4095:])
}
func (c *coreMemory) Store64(emu.PA, uint64) { c.t.Fatal("store to a capture") }
func (c *coreMemory) CAS64(emu.PA, uint64, uint64) bool {
	c.t.Fatal("store to a capture")
	return false
}
func (c *coreMemory) Flush(emu.PA, int) {}

func unzstd(t *testing.T, name string) []byte {
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	out, err := d.DecodeAll(raw, nil)
	require.NoError(t, err)
	return out
}

func loadCore(t *testing.T, name string) *coreMemory {
	f, err := elf.NewFile(bytes.NewReader(unzstd(t, name)))
	require.NoError(t, err)
	c := &coreMemory{t: t, pages: map[emu.PA][]byte{}}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		data := make([]byte, p.Filesz)
		_, err := p.ReadAt(data, 0)
		require.NoError(t, err)
		for off := 0; off+4096 <= len(data); off += 4096 {
			c.pages[emu.PA(p.Paddr)+emu.PA(off)] = data[off : off+4096]
		}
	}
	return c
}

// loadRegs reads registers by offset; those of 64 bits where a capture has both.
func loadRegs(t *testing.T, name string) map[uint64]uint64 {
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	var file struct{ Regs32, Regs64 map[string]string }
	require.NoError(t, json.Unmarshal(raw, &file))
	out := map[uint64]uint64{}
	for _, regs := range []map[string]string{file.Regs32, file.Regs64} {
		for offset, v := range regs {
			out[number(t, offset)] = number(t, v)
		}
	}
	return out
}

// recording is the memory and the registers of a capture. Its methods find the tables of each source-id
// by the layouts of the specifications, written by hand.
type recording struct {
	t      *testing.T
	format Format
	mem    *coreMemory
	regs   map[uint64]uint64
}

func (r *recording) table(root uint64, cfg Config) *Table {
	tab, err := Open(r.format, r.mem, nil, emu.PA(root), cfg)
	require.NoError(r.t, err)
	return tab
}

// words reads an entry.
func (r *recording) words(pa uint64, n int) []uint64 {
	w := make([]uint64, n)
	for i := range w {
		w[i] = r.mem.Load64(emu.PA(pa) + emu.PA(i*8))
	}
	return w
}

func sidName(sid uint64) string { return fmt.Sprintf("0x%04x", sid) }

// openVTD reads the legacy root and context tables (VT-d 9.1, 9.3).
func openVTD(r *recording) map[string]*Table {
	rootTable := r.regs[0x20] // RTADDR
	require.Zero(r.t, field(rootTable, 11, 10), "legacy mode")
	out := map[string]*Table{}
	for bus := range uint64(256) {
		root := r.words(rootTable+bus*16, 1)[0]
		if root&1 == 0 {
			continue
		}
		for fn := range uint64(256) {
			ctx := r.words(root&^4095+fn*16, 2)
			if ctx[0]&1 == 0 {
				continue
			}
			require.Zero(r.t, field(ctx[0], 3, 2), "translation type")
			out[sidName(bus<<8|fn)] = r.table(ctx[0]&^4095, Config{Levels: uint8(ctx[1]&7) + 2})
		}
	}
	return out
}

// openAMD reads the device table (48882, 2.2.2). Entries without V=1, TV=1 and a Mode have no host tables.
func openAMD(r *recording) map[string]*Table {
	base := r.regs[0] // Device Table Base Address
	out := map[string]*Table{}
	for sid := range (base&0x1ff + 1) * 4096 / 32 {
		dte := r.words(base&^4095+sid*32, 1)[0]
		if dte&3 != 3 || field(dte, 11, 9) == 0 {
			continue
		}
		require.EqualValues(r.t, 3, field(dte, 62, 61), "IR, IW")
		require.Zero(r.t, field(dte, 8, 7), "HAD")
		out[sidName(sid)] = r.table(field(dte, 51, 12)<<12, Config{Levels: uint8(field(dte, 11, 9))})
	}
	return out
}

// openSMMU reads the stream table and the context descriptors (IHI 0070, 5.1 to 5.4), of streams that one
// stage alone translates.
func openSMMU(r *recording) map[string]*Table {
	base, cfg := field(r.regs[0x80], 51, 6)<<6, r.regs[0x88] // STRTAB_BASE, STRTAB_BASE_CFG
	require.EqualValues(r.t, 1, field(cfg, 17, 16), "two levels")
	split := field(cfg, 10, 6)
	out := map[string]*Table{}
	for i := range uint64(1) << (field(cfg, 5, 0) - split) {
		l1 := r.words(base+i*8, 1)[0]
		if l1&31 == 0 {
			continue
		}
		for low := range uint64(1) << (l1&31 - 1) {
			ste := r.words(field(l1, 51, 6)<<6+low*64, 8)
			sid := sidName(i<<split | low)
			switch field(ste[0], 3, 0) {
			case 5<<1 | 1:
				out[sid] = r.stage1(ste)
			case 6<<1 | 1:
				out[sid] = r.stage2(ste)
			}
		}
	}
	return out
}

// levelsOf returns how many levels addresses of so many bits need: each but the first resolves as many bits as
// a page has entries.
func levelsOf(bits, page uint8) uint8 { return (bits - page + page - 4) / (page - 3) }

func (r *recording) stage1(ste []uint64) *Table {
	require.IsType(r.t, LPAES1{}, r.format)
	require.Zero(r.t, field(ste[0], 63, 59), "S1CDMax: one CD")
	cd := r.words(field(ste[0], 51, 6)<<6, 8)
	require.EqualValues(r.t, 1, field(cd[0], 31, 31), "V")
	require.EqualValues(r.t, 1, field(cd[0], 41, 41), "AA64")
	require.EqualValues(r.t, 1, field(cd[0], 30, 30), "EPD1: TTB0 alone")
	page := r.page(field(cd[0], 7, 6))
	require.EqualValues(r.t, 4, field(cd[0], 34, 32), "IPS: 44 bits")
	require.Zero(r.t, field(cd[0], 43, 42), "HA, HD")
	bits := 64 - uint8(field(cd[0], 5, 0))
	return r.table(field(cd[1], 51, 4)<<4, Config{Levels: levelsOf(bits, page), VABits: bits})
}

func (r *recording) stage2(ste []uint64) *Table {
	require.IsType(r.t, LPAES2{}, r.format)
	require.EqualValues(r.t, 1, field(ste[2], 51, 51), "S2AA64")
	page := r.page(field(ste[2], 47, 46))
	require.EqualValues(r.t, 4, field(ste[2], 50, 48), "S2PS: 44 bits")
	require.Zero(r.t, field(ste[2], 56, 55), "S2HA, S2HD")
	bits := 64 - uint8(field(ste[2], 37, 32))
	levels := 2 + uint8(field(ste[2], 39, 38)) // S2SL0: of 4K level 2 and up, of the others level 3 and up
	if page != 12 {
		levels--
	}
	return r.table(field(ste[3], 51, 4)<<4, Config{Levels: levels, VABits: bits})
}

// page returns the log2 size of a page by TG0 or S2TG, which is that of the format.
func (r *recording) page(tg uint64) uint8 {
	page := map[uint64]uint8{0: 12, 1: 16, 2: 14}[tg]
	want := uint8(12)
	switch f := r.format.(type) {
	case LPAES1:
		want = max(want, f.Granule)
	case LPAES2:
		want = max(want, f.Granule)
	}
	require.Equal(r.t, want, page, "granule")
	return page
}
