package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/mem"
)

// amdviMachine is a snapshot made by hand: nothing of it comes from our drivers or page tables.
type amdviMachine struct {
	regs  map[uint32]uint64
	words map[emu.PA]uint64
}

const amdviEFR = 1<<1 | 1<<3 | 1<<4 | 1<<6 | 1<<7 | 2<<10 | 1<<12 | 2<<14 | 1<<21 | 19<<32 | 3<<38 | 1<<48 | 1<<49 | 1<<52

func newAMDViMachine(control uint64) *amdviMachine {
	return &amdviMachine{
		regs: map[uint32]uint64{
			spec.OffDevTabBase: 0x10_0000, spec.OffControl: control | 1, spec.OffEFR: amdviEFR, spec.OffEFR2: 1 << 3,
		},
		words: map[emu.PA]uint64{},
	}
}

// dte stores a device table entry of the first segment.
func (m *amdviMachine) dte(sid int, w ...uint64) {
	for i, v := range w {
		m.words[emu.PA(0x10_0000+32*sid+8*i)] = v
	}
}

func (m *amdviMachine) write(t *testing.T) (args []string) {
	memory := mem.New()
	for pa, v := range m.words {
		require.True(t, memory.Store64(pa, v))
	}
	var list []string
	for off, v := range m.regs {
		list = append(list, fmt.Sprintf(`"%#x": "%#x"`, off, v))
	}
	regs, core := writeSnapshot(t, memory, `{"iommu": "amdvi", "regs64": {%s}}`, strings.Join(list, ","))
	return []string{"--regs", regs, "--core", core}
}

func (m *amdviMachine) inspect(t *testing.T, args ...string) string {
	code, out, errs := run(context.Background(), "", append(append([]string{"inspect"}, args...), m.write(t)...)...)
	require.Equal(t, exitOK, code, errs)
	return out
}

const (
	rw     = 3 << 61
	gtEn   = 1 << 16
	tabled = 3 | rw // V, TV, rights
	gv     = 1 << 55
	giov   = 1 << 54
)

func (m *amdviMachine) walks(t *testing.T, rows ...string) { walks(t, m.write(t), rows...) }

// Host tables of one to six levels, every kind of leaf, links that skip levels.
func hostTables() *amdviMachine {
	m := newAMDViMachine(0)
	// 0x08 and its alias 0x09: 4 levels, of which the second is skipped.
	m.dte(8, tabled|4<<9|0x20_0000, 7)
	m.dte(9, tabled|4<<9|0x20_0000, 7)
	m.words[0x20_0000] = 1 | rw | 2<<9 | 0x20_1000    // to level 2
	m.words[0x20_0008] = 1 | rw | 3<<9 | 0x20_2000    // to level 3
	m.words[0x20_1000] = 1 | rw | 1<<9 | 0x20_3000    // to level 1
	m.words[0x20_1008] = 1 | 1<<61 | 0x4000_0000      // 2 MiB
	m.words[0x20_1010] = 1 | rw | 7<<9 | 0x8001_ff000 // 4 MiB, two slots
	m.words[0x20_1018] = 1 | rw | 7<<9 | 0x8001_ff000
	m.words[0x20_2000] = 1 | rw | 0x1_4000_0000 // 1 GiB
	m.words[0x20_3008] = 1 | 1<<62 | 0x5000     // 4 KiB
	for i := range emu.PA(16) {                 // 64 KiB
		m.words[0x20_3080+8*i] = 1 | rw | 7<<9 | 0x9000_7000
	}
	// 0x10: one level. 0x11: six. 0x12: mode 7.
	m.dte(16, tabled|1<<9|0x20_3000, 8)
	m.dte(17, tabled|6<<9|0x20_4000, 9)
	m.words[0x20_4008] = 1 | rw | 1<<9 | 0x20_3000
	m.dte(18, tabled|7<<9|0x20_3000, 10)
	return m
}

func TestInspectAMDVi_HostTables(t *testing.T) {
	require.Equal(t, strings.TrimPrefix(`
host (v1) table at 0x200000, 4 levels, domain 7, 5 leaves, of 0x0008 0x0009
  0x1000-0x1fff -> 0x5000 W, 1 x 0x1000
  0x10000-0x1ffff -> 0x90000000 RW, 1 x 0x10000
  0x200000-0x3fffff -> 0x40000000 R, 1 x 0x200000
  0x400000-0x7fffff -> 0x800000000 RW, 1 x 0x400000
  0x8000000000-0x803fffffff -> 0x140000000 RW, 1 x 0x40000000
host (v1) table at 0x203000, 1 levels, domain 8, 2 leaves, of 0x0010
  0x1000-0x1fff -> 0x5000 W, 1 x 0x1000
  0x10000-0x1ffff -> 0x90000000 RW, 1 x 0x10000
host (v1) table at 0x204000, 6 levels, domain 9, 2 leaves, of 0x0011
  0x200000000001000-0x200000000001fff -> 0x5000 W, 1 x 0x1000
  0x200000000010000-0x20000000001ffff -> 0x90000000 RW, 1 x 0x10000
host (v1) table at 0x203000, 7 levels, domain 10, 0 leaves, of 0x0012
  pagetable: amdv1: 7 levels, not 1..6: table configuration does not fit the format
`, "\n"), hostTables().inspect(t, "tables"))
}

func TestWalkAMDVi_HostTables(t *testing.T) {
	hostTables().walks(t,
		"0x8,,0x1008,W,ok,0x5008", "0x9,,0x1008,W,ok,0x5008", "0x8,,0x1008,R,fault,", "0x8,,0x2000,R,fault,",
		"0x8,,0x1a008,R,ok,0x9000a008", "0x8,,0x3ffff8,R,ok,0x401ffff8", "0x8,,0x600010,W,ok,0x800200010",
		"0x8,,0x8012345678,R,ok,0x152345678",
		"0x8,,0x40001008,R,fault,",      // bits that the link skips
		"0x8,,0x1000000000000,R,fault,", // beyond four levels
		"0x10,,0x1000,W,ok,0x5000", "0x10,,0x200000,R,fault,",
		"0x11,,0x200000000001000,W,ok,0x5000", "0x11,,0x1000,R,fault,", "0x12,,0x1000,R,fault,",
		"0x13,,0x1234,R,ok,0x1234") // V=0
}

// Guest tables: GCR3 tables of one to three levels, four and five levels, with and without GIoV.
func guestTables() *amdviMachine {
	m := newAMDViMachine(gtEn)
	gcr3 := func(root uint64, glx uint64) (w0, w1 uint64) {
		return gv | glx<<56 | root>>12&7<<58, root>>15&0xffff<<16 | root>>31<<43
	}
	lo, mid := gcr3(0x30_0000, 0)
	m.dte(8, tabled|giov|lo, 7|mid)
	m.words[0x30_0000] = 0x31_0001 // PASID 0
	m.words[0x30_0028] = 0x31_4001 // PASID 5
	m.words[0x30_0030] = 0x31_4000 // V=0
	lo, mid = gcr3(0x30_1000, 1)
	m.dte(16, tabled|lo, 8|mid, 1<<54) // five levels
	m.words[0x30_1010] = 0x30_2001
	m.words[0x30_2008] = 0x31_5001 // PASID 0x401
	lo, mid = gcr3(0x30_3000, 2)
	m.dte(17, tabled|lo, 9|mid)
	m.words[0x30_3018] = 0x30_4001
	m.words[0x30_4000] = 0x30_5001
	m.words[0x30_5000] = 0x31_0001 // PASID 0xc0000
	// Four levels: 4 KiB, read-only 2 MiB, 1 GiB that is not to be executed; one page in the upper half.
	m.words[0x31_0000] = 0x31_1027
	m.words[0x31_0000+256*8] = 0x31_6027
	m.words[0x31_6000] = 0x31_7027
	m.words[0x31_7000] = 0x31_8027
	m.words[0x31_8008] = 0xbbb067
	m.words[0x31_1000] = 0x31_2027
	m.words[0x31_1008] = 1<<63 | 0x4000_00e7
	m.words[0x31_2000] = 0x31_3027
	m.words[0x31_2008] = 0x60_00a5
	m.words[0x31_3008] = 0xaaa067
	m.words[0x31_4000] = 0x31_1027 // another root
	m.words[0x31_5000] = 0x31_0027 // five levels
	return m
}

func TestInspectAMDVi_GuestTables(t *testing.T) {
	const ranges = `
  0x1000-0x1fff -> 0xaaa000 RWX, 1 x 0x1000
  0x200000-0x3fffff -> 0x600000 RX, 1 x 0x200000
  0x40000000-0x7fffffff -> 0x40000000 RW, 1 x 0x40000000`
	require.Equal(t, strings.TrimPrefix(`
guest (v2) table at 0x310000, 4 levels, domain 7, 4 leaves, of 0x0008/0`+ranges+`
  0x800000001000-0x800000001fff -> 0xbbb000 RWX, 1 x 0x1000
guest (v2) table at 0x314000, 4 levels, domain 7, 3 leaves, of 0x0008/5`+ranges+`
guest (v2) table at 0x315000, 5 levels, domain 8, 4 leaves, of 0x0010/1025`+ranges+`
  0x800000001000-0x800000001fff -> 0xbbb000 RWX, 1 x 0x1000
guest (v2) table at 0x310000, 4 levels, domain 9, 4 leaves, of 0x0011/786432`+ranges+`
  0xffff800000001000-0xffff800000001fff -> 0xbbb000 RWX, 1 x 0x1000
`, "\n"), guestTables().inspect(t, "tables"))

	out := guestTables().inspect(t, "context")
	require.Contains(t, out, "0x0008 at 0x100100: guest table of PASID 0\n")
	require.Contains(t, out, "0x0008 PASID 5 at 0x300028: guest (v2)\n")
	require.Contains(t, out, "0x0008 PASID 6 at 0x300030: not valid (V=0)\n")
	require.Contains(t, out, "0x0010 at 0x100200: identity (Mode=0)\n")
	require.Contains(t, out, "GCR3Root                 = 0x303000 ")

	m := guestTables()
	m.regs[spec.OffEFR] &^= 0x1f << 32
	m.regs[spec.OffEFR] |= 3 << 32
	require.Contains(t, m.inspect(t, "context"), "PASID 1025 at 0x302008: not to be reached: beyond PASmax\n")
}

func TestWalkAMDVi_GuestTables(t *testing.T) {
	guestTables().walks(t,
		"0x8,,0x1008,W,ok,0xaaa008", "0x8,,0x200008,R,ok,0x600008", "0x8,,0x200008,W,fault,", "0x8,,0x40000010,W,ok,0x40000010",
		"0x8,,0x800000001008,R,ok,0xbbb008", // no PASID: no sign
		"0x8,,0xffff800000001008,R,fault,",  // the same
		"0x8,5,0x1008,R,ok,0xaaa008", "0x8,6,0x1008,R,fault,", "0x8,512,0x1008,R,fault,",
		"0x10,,0x1008,R,ok,0x1008", "0x10,0x401,0x1008,W,ok,0xaaa008", "0x10,0x400,0x1008,R,fault,",
		"0x11,0xc0000,0xffff800000001008,R,ok,0xbbb008", "0x11,0xc0000,0x800000001008,R,fault,")
}

// Nested: guest tables at guest physical addresses, below a host table that maps 2 MiB at 0x1_0000_0000;
// with trp the GCR3 table is at one, too.
func nestedTables(trp bool) *amdviMachine {
	m := newAMDViMachine(gtEn)
	root := uint64(0x1_0000_0000)
	if trp {
		m.regs[spec.OffControl] |= 1 << 58
		root = 0
	}
	m.dte(8, tabled|2<<9|gv|giov|0x20_0000|root>>12&7<<58, 7|root>>15&0xffff<<16|root>>31<<43)
	m.words[0x20_0000] = 1 | rw | 0x1_0000_0000
	m.words[0x20_0008] = 1 | rw | 1<<9 | 0x20_1000
	m.words[0x20_1000] = 1 | 1<<62 | 0x7000 // to be written only
	m.words[0x1_0000_0000] = 0x1001         // GCR3 table, PASID 0
	m.words[0x1_0000_0008] = 0x20_0001      // PASID 1: its table cannot be read
	m.words[0x1_0000_1000] = 0x2027
	m.words[0x1_0000_2000] = 0x3027
	m.words[0x1_0000_3000] = 0x4027
	m.words[0x1_0000_4008] = 0x5067
	return m
}

func TestInspectAMDVi_NestedTables(t *testing.T) {
	for _, trp := range []bool{false, true} {
		require.Equal(t, strings.TrimPrefix(`
nested, guest (v2) table at 0x1000 (input of the table at 0x200000), 4 levels, domain 7, 1 leaves, of 0x0008/0
  0x1000-0x1fff -> 0x5000 RWX, 1 x 0x1000
host (v1) table at 0x200000, 2 levels, domain 7, 2 leaves, of 0x0008/0 0x0008/1
  0x0-0x1fffff -> 0x100000000 RW, 1 x 0x200000
  0x200000-0x200fff -> 0x7000 W, 1 x 0x1000
nested, guest (v2) table at 0x200000 (input of the table at 0x200000), 4 levels, domain 7, 0 leaves, of 0x0008/1
  entry at 0x200000: the second stage does not let it be read
`, "\n"), nestedTables(trp).inspect(t, "tables"))
		nestedTables(trp).walks(t, "0x8,,0x1010,W,ok,0x100005010", "0x8,1,0x1010,R,fault,", "0x8,,0x2010,R,fault,")
	}
	// A GCR3 table at a guest physical address that there is not.
	m := nestedTables(true)
	m.dte(8, tabled|2<<9|gv|0x20_0000|7<<58, 7|1<<31)
	require.Contains(t, m.inspect(t, "context"), "note: GCR3 table of 0x0008: entry at 0x40007000: the second stage does not let it be read\n")
}

func TestInspectAMDVi_GCR3TablesThatGoRound(t *testing.T) {
	m := newAMDViMachine(gtEn)
	m.dte(8, tabled|gv|2<<56, 6<<16) // at 0x30000
	for i := range emu.PA(512) {
		m.words[0x30000+8*i] = 0x30001
	}
	code, _, errs := run(context.Background(), "", append([]string{"inspect", "context"}, m.write(t)...)...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "want tables that end")
}

// Two segments: the upper bit of a DeviceID selects the table.
func TestInspectAMDVi_DeviceTableSegments(t *testing.T) {
	m := hostTables()
	m.regs[spec.OffControl] |= 1 << 34
	m.regs[spec.OffDevTabSeg1] = 0x11_0000
	m.words[0x11_0000+8*32] = tabled | 1<<9 | 0x20_3000
	m.words[0x11_0000+8*32+8] = 11
	require.Contains(t, m.inspect(t, "context"), "0x8008 at 0x110100: host (v1)\n")
	require.Contains(t, m.inspect(t, "tables"), "1 levels, domain 8, 2 leaves, of 0x0010 0x8008\n")
	m.walks(t, "0x8008,,0x1000,W,ok,0x5000", "0x8010,,0x1000,W,ok,0x1000", "0x8,,0x1000,W,ok,0x5000", "0xff08,,0x1000,R,fault,")
}

func TestInspectAMDVi_Interrupts(t *testing.T) {
	m := newAMDViMachine(0)
	m.dte(8, 0, 0, 1|1<<1|0x20_0000|2<<60)  // two entries
	m.dte(9, 0, 0, 1|1<<1|0x20_0000|2<<60)  // the same
	m.dte(16, 0, 0, 1|1<<1|0x20_0000|1<<60) // passed on
	m.words[0x20_0000] = 1<<6 | 1<<2 | 1 | 0x3f<<8 | 0x21<<16 | 1<<32
	require.Equal(t, []string{
		"interrupt table at 0x200000, 2 of 2 entries present, remapping is on, entries of 4 bytes, 8-bit destinations, of 0x0008 0x0009",
		"interrupt 0 at 0x200000, of 0x0008 0x0009: lowest priority, vector 0x21 of logical destination 0x3f",
		"interrupt 1 at 0x200004, of 0x0008 0x0009: vector 0x0 of processor 0x0",
	}, headings(m.inspect(t, "interrupts"), "interrupt"))

	m.regs[spec.OffControl] |= 1<<17 | 1<<50 | 1<<25
	m.regs[spec.OffEFR] |= 1 << 2
	m.words[0x20_0000], m.words[0x20_0008] = 1|0x123456<<8, 0x31|0xab<<56
	m.words[0x20_0010], m.words[0x20_0018] = 1|1<<7|0x77<<32, 0x32|0x9000
	require.Equal(t, []string{
		"interrupt table at 0x200000, 2 of 2 entries present, remapping is on, entries of 16 bytes, 32-bit destinations, of 0x0008 0x0009",
		"interrupt 0 at 0x200000, of 0x0008 0x0009: vector 0x31 of processor 0xab123456",
		"interrupt 1 at 0x200010, of 0x0008 0x0009: posted to the virtual APIC page at 0x9000, vector 0x32, GA tag 0x77",
	}, headings(m.inspect(t, "interrupts"), "interrupt"))
	m.words[0x20_0010] |= 1<<6 | 5<<8
	require.Contains(t, m.inspect(t, "interrupts"), "vector 0x32, doorbell to processor 0x5\n")
}

// headings returns the lines that begin with word.
func headings(text, word string) (list []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			list = append(list, strings.TrimSuffix(line, "\n"))
		}
	}
	return list
}

func TestInspectAMDVi_PendingEntries(t *testing.T) {
	m := newAMDViMachine(0)
	m.regs[spec.OffCmdBufBase], m.regs[spec.OffCmdHead], m.regs[spec.OffCmdTail] = 8<<56|0x40_0000, 0xff0, 0x10
	m.regs[spec.OffEventLogBase], m.regs[spec.OffEventTail] = 8<<56|0x40_1000, 0x10
	m.regs[spec.OffPPRLogBase], m.regs[spec.OffPPRTail] = 8<<56|0x40_2000, 0x10
	m.regs[spec.OffGALogBase], m.regs[spec.OffGATail] = 8<<56|0x40_3000, 0x8
	m.regs[spec.OffStatus] = 1<<4 | 1
	m.words[0x40_0ff0], m.words[0x40_0ff8] = 3<<60|9<<32, 1|0x7fff_ffff_ffff_f000
	m.words[0x40_0000] = 8 << 60
	m.words[0x40_1000], m.words[0x40_1008] = 2<<60|1<<53|9<<32|8, 0xdead000
	m.words[0x40_2000], m.words[0x40_2008] = 1<<60|1<<56|1<<50|1<<41|3<<32|5<<16|8, 0x7f000
	m.words[0x40_3000] = 1<<60 | 8<<32 | 0x1234
	out := m.inspect(t, "queues")
	require.Equal(t, []string{
		"command buffer at 0x400000, 256 entries of 16 bytes, on, head 255, tail 1",
		"command buffer: entry 255 at 0x400ff0 is pending",
		"command buffer: entry 0 at 0x400000 is pending",
	}, headings(out, "command"))
	require.Contains(t, out, "    /* all addresses */\n")
	require.Contains(t, out, "INVALIDATE_IOMMU_ALL {")
	require.Contains(t, out, "event log at 0x401000, 256 entries of 16 bytes, off, head 0, tail 1\n  overflow\n")
	require.Contains(t, out, "IO_PAGE_FAULT {")
	require.Contains(t, out, "PPR log at 0x402000, 256 entries of 16 bytes, off, head 0, tail 1\n")
	require.Contains(t, out, "GA log at 0x403000, 512 entries of 8 bytes, off, head 0, tail 1\n")
	require.Contains(t, out, "GATag            31:0 = 0x1234 ")
}
