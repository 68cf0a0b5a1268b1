package entry_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	amdvi "github.com/iommulab/iommulab/emu/amdvi/spec"
	smmuv3 "github.com/iommulab/iommulab/emu/smmuv3/spec"
	vtd "github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/entry"
)

const (
	ssPage  = 0x1_0000_0103 // R, W, A
	ssDirty = 1 << 9
	ptPage  = 0x6000_0001_0000_0021 // PR, A, IR, IW
)

// marker is a processor beside which hardware changes the entry once before a compare-and-swap.
type marker struct {
	*tape
	set uint64
}

func (m *marker) CAS64(pa emu.PA, old, v uint64) bool {
	m.mem[(pa-m.at)/8] |= m.set
	m.set = 0
	return m.tape.CAS64(pa, old, v)
}

// A mark that hardware makes between load and store is not lost: the swap is tried again, and the report has
// it. A change that is no mark ends the rewrite.
func TestPaging_SwapKeepsMarks(t *testing.T) {
	f := unit.SSPTE(0, true)
	for _, c := range []struct {
		set  uint64
		fail error
	}{{0, nil}, {ssDirty, nil}, {1 << 13, entry.ErrChanged}} {
		m := &marker{&tape{at: 0x5000, mem: []uint64{ssPage}}, c.set}
		r, err := entry.Hitless.Write(&entry.Target{CPU: m, Format: f, At: m.at, Inv: m}, []uint64{0})
		require.ErrorIs(t, err, c.fail)
		if c.fail != nil {
			continue
		}
		require.Equal(t, entry.VerdictHitless, r.Verdict)
		require.Equal(t, c.set, r.Marked)
		require.Equal(t, []string{"swap 0", "all 0"}, m.log)
		require.Zero(t, m.mem[0])
	}
}

// Only a leaf that hardware may still mark needs the swap.
func TestPaging_PlainStoreWhereNothingIsLost(t *testing.T) {
	for _, c := range []struct {
		f        *entry.Format
		old, new uint64
		log      string
	}{
		{unit.SSPTE(0, true), ssPage, 0, "swap 0"},
		{unit.SSPTE(0, true), ssPage | ssDirty, 0, "0"},
		{unit.SSPTE(0, true), ssPage | ssDirty, ssPage, "0"},
		{unit.SSPTE(0, true), ssPage, ssPage | ssDirty, "0"},
		{unit.SSPTE(0, true), ssPage, ssPage&^2 | ssDirty, "0"},
		{unit.SSPTE(0, true), ssPage &^ 2, 0, "0"},
		{unit.SSPTE(0, false), ssPage, 0, "0"},
		{unit.SSPTE(1, true), ssPage, 0, "0"}, // a table
		{unit.FSPTE(0), 0x1_0000_0027, 0, "swap 0"},
	} {
		log, _, err := rewrite(c.f, entry.Hitless, []uint64{c.old}, []uint64{c.new})
		require.NoError(t, err)
		require.Equal(t, c.log, log.log[0], "%#x to %#x", c.old, c.new)
	}
}

// Linux unmaps and maps; only dirty flags that it tracks are cleared in place.
func TestPaging_Linux(t *testing.T) {
	for _, c := range []struct {
		f        *entry.Format
		old, new uint64
		log      []string
		verdict  entry.Verdict
	}{
		{unit.SSPTE(0, false), ssPage, 0x1_0000_1103, []string{"0", "all 1", "0", "install 1"}, entry.VerdictDisruptive},
		{unit.SSPTE(0, false), 0, ssPage, []string{"0", "install 1"}, entry.VerdictHitless},
		{unit.SSPTE(0, false), ssPage, 0, []string{"0", "all 1"}, entry.VerdictHitless},
		{unit.SSPTE(0, true), ssPage | ssDirty, ssPage, []string{"0", "all 1"}, entry.VerdictHitless},
		{unit.FSPTE(0), 0x1_0000_0067, 0x1_0000_0027, []string{"0", "all 1", "0", "install 1"}, entry.VerdictDisruptive},
		{unit.SSPTE(0, true), ssPage, 0, []string{"0", "all 1"}, entry.VerdictDisruptive},
	} {
		log, r, err := rewrite(c.f, entry.Linux, []uint64{c.old}, []uint64{c.new})
		require.NoError(t, err)
		require.Equal(t, c.log, log.log, "%#x to %#x", c.old, c.new)
		require.Equal(t, c.verdict, r.Verdict)
	}
}

// Entries in a row: repeated where the size is in the entry, going on where it is not.
func TestPaging_Rows(t *testing.T) {
	amd := entry.AMDVi{}.PTE(0, false).Paging
	coded := ptPage&^amdvi.PteAddr.Mask() | amdvi.PteNextLevel.Put(7) | amdvi.PageSizeAddr(0x1_0000_0000, 13)
	arm := entry.SMMUv3{}.Stage1TTD(entry.TTD{Granule: smmuv3.Granule4K}).Paging
	run := uint64(0x1_0000_0000) | 0x443 | smmuv3.TtdContig.Mask()
	require.Equal(t, 2, amd.Entries(coded, 0))
	require.Equal(t, 16, arm.Entries(0x443, run))
	require.EqualValues(t, 16, arm.Lg2(0x443, run))
	for i, want := range []uint64{coded, coded, coded + 0x2000, coded + 0x2000} {
		require.Equal(t, want, amd.Entry(coded, i))
	}
	require.Equal(t, uint64(ptPage+0x3000), amd.Entry(ptPage, 3))
	require.Equal(t, run+0x3000, arm.Entry(run, 3))
	require.Zero(t, arm.Entry(0, 3))
}

// What the architectures refuse.
func TestPaging_Legal(t *testing.T) {
	arm := entry.SMMUv3{IDR5: uint32(smmuv3.Idr5OAS.Put(5))}
	ttd := func(g smmuv3.Granule, level int8) *entry.Format {
		return arm.Stage1TTD(entry.TTD{Granule: g, Level: level})
	}
	for _, c := range []struct {
		f    *entry.Format
		raw  uint64
		want string
	}{
		{unit.SSPTE(0, false), ssPage, ""},
		{unit.SSPTE(0, false), 0xfff0_0000_0000_0000, ""}, // not present: nothing counts
		{unit.SSPTE(0, false), ssPage | 1<<62, "bit 62"},
		{unit.SSPTE(1, false), ssPage | 1<<11, "SNP"},
		{unit.SSPTE(3, false), ssPage | 1<<7, "PS is reserved in level 3"},
		{unit.SSPTE(1, false), 0x1_0000_0083, "pages of 2^21 bytes are not supported"},
		{entry.VTD{CAP: vtd.CapSSLPS.Put(3)}.SSPTE(1, false), 0x1_0010_0083, "address bits 20:12"},
		{unit.FSPTE(1), 0x1_0000_1087, ""}, // PAT
		{unit.FSPTE(1), 0x1_0000_2087, "address bits 20:12"},
		{entry.AMDVi{}.PTE(0, false), ptPage | 1<<52, "reserved bits"},
		{entry.AMDVi{}.PTE(5, false), ptPage, "maps no pages"},
		{entry.AMDVi{}.PTE(0, false), ptPage | 1<<9, "NextLevel=1 in level 1"},
		{entry.AMDVi{}.PTE(1, false), ptPage | 7<<9, "NextLevel=7 with a page of 2^13 bytes"},
		{entry.AMDVi{}.GuestPTE(3), 0x1_0000_0087, "PS is reserved in level 4"},
		{ttd(smmuv3.Granule4K, 0), 0x1_0000_0443, ""},
		{ttd(smmuv3.Granule4K, 0), 0x1_0000_0441, "reserved in level 3"},
		{ttd(smmuv3.Granule16K, 2), 0x441, "a block in level 1"},
		{ttd(smmuv3.Granule4K, 0), 0x1_0000_1443 | smmuv3.TtdContig.Mask(), "aligned to 2^16"},
		{ttd(smmuv3.Granule4K, 0), 0x1_0000_0543, "SH=1"},
	} {
		err := c.f.Legal([]uint64{c.raw})
		if c.want == "" {
			require.NoError(t, err, "%#x", c.raw)
			continue
		}
		require.ErrorContains(t, err, c.want, fmt.Sprintf("%s %#x", c.f.Name, c.raw))
	}
}
