package traces

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

// parse reads a trace from CSV lines.
func parse(t *testing.T, lines string) *Trace {
	r, err := NewCSVReader(bytes.NewReader([]byte(csvColumns + "\n" + lines)))
	require.NoError(t, err)
	tr, err := ReadAll(r)
	require.NoError(t, err)
	tr.setDevices()
	return tr
}

func TestWindow_PutsWhatIsInForceFirst(t *testing.T) {
	tr := parse(t, "0,attach,0x10,,0x0,,0x3,\n0,map,0x10,,0x1000,8192,0x5000,r\n5,map,0x18,0x1,0x1000,4096,,rw\n"+
		"10,unmap,0x10,,0x1000,4096,,\n20,read,0x10,,0x2000,4,0x6000,r\n30,unmap,0x10,,0x2000,4096,,\n40,irq,,,0x0,,0x0,\n")
	require.Equal(t, "0,attach,0x10,,0x0,,0x3,\n0,map,0x10,,0x2000,4096,0x6000,r\n0,map,0x18,0x1,0x1000,4096,,rw\n"+
		"5,read,0x10,,0x2000,4,0x6000,r\n15,unmap,0x10,,0x2000,4096,,\n", csvOf(Window(tr, 15, 40)))
	require.Equal(t, tr.Events, Window(tr, 0, 0).Events)
	require.Equal(t, tr.Header, Window(tr, 0, 0).Header)
}

func TestFilter_KeepsWhatIsAskedFor(t *testing.T) {
	tr := parse(t, "0,map,0x10,,0x1000,4096,,r\n1,map,0x18,,0x1000,4096,,r\n")
	got := Filter(tr, func(e *Event) bool { return e.SID == 0x18 })
	require.Equal(t, "1,map,0x18,,0x1000,4096,,r\n", csvOf(got))
	require.Equal(t, []emu.SourceID{0x18}, got.Header.Devices)
}

func TestMerge_NeedsAnOffset(t *testing.T) {
	a := parse(t, "0,map,0x10,,0x1000,4096,,r\n100,marker,,,0x0,,0x0,\n")
	a.Header.Marks = []string{"a"}
	b := parse(t, "0,read,0x18,,0x1000,,,\n50,marker,,,0x0,,0x0,\n")
	b.Header.Marks = []string{"b"}
	for offset, want := range map[int64]string{
		0:    "0,map,0x10,,0x1000,4096,,r\n0,read,0x18,,0x1000,,,\n50,marker,,,0x0,,0x1,\n100,marker,,,0x0,,0x0,\n",
		70:   "0,map,0x10,,0x1000,4096,,r\n70,read,0x18,,0x1000,,,\n100,marker,,,0x0,,0x0,\n120,marker,,,0x0,,0x1,\n",
		-10:  "0,read,0x18,,0x1000,,,\n10,map,0x10,,0x1000,4096,,r\n50,marker,,,0x0,,0x1,\n110,marker,,,0x0,,0x0,\n",
		-200: "0,read,0x18,,0x1000,,,\n50,marker,,,0x0,,0x1,\n200,map,0x10,,0x1000,4096,,r\n300,marker,,,0x0,,0x0,\n",
	} {
		m, err := Merge(a, b, offset)
		require.NoError(t, err)
		require.Equal(t, want, csvOf(m), offset)
		require.Equal(t, []string{"a", "b"}, m.Header.Marks)
		require.Equal(t, []emu.SourceID{0x10, 0x18}, m.Header.Devices)
	}
	late := parse(t, "1000,read,0x18,,0x1000,,,\n")
	m, err := Merge(a, late, -950)
	require.NoError(t, err)
	require.Equal(t, uint64(50), m.Events[1].Time, "no shift of a if b fits as it is")
	far := parse(t, "18446744073709551615,read,0x18,,0x1000,,,\n")
	_, err = Merge(a, far, 1)
	require.ErrorContains(t, err, "less than 2^64")
	_, err = Merge(far, b, -1)
	require.ErrorContains(t, err, "less than 2^64")
}

func TestSynthAccesses_EveryBufferOnceWhileMapped(t *testing.T) {
	tr := parse(t, "0,map,0x10,,0x1000,8192,0x5000,r\n100,map,0x18,,0x1800,4096,,w\n"+
		"300,unmap,0x10,,0x1000,8192,,\n300,map,0x10,,0x1000,4096,0x9000,rw\n300,unmap,0x10,,0x1000,4096,,\n400,irq,,,0x0,,0x0,\n")
	got := SynthAccesses(tr)
	require.True(t, got.Header.Synthetic)
	require.Equal(t, "0,map,0x10,,0x1000,8192,0x5000,r\n100,read,0x10,,0x1000,4096,0x5000,r\n100,map,0x18,,0x1800,4096,,w\n"+
		"200,read,0x10,,0x2000,4096,0x6000,r\n200,write,0x18,,0x1800,2048,,w\n300,write,0x18,,0x2000,2048,,w\n"+
		"300,unmap,0x10,,0x1000,8192,,\n300,map,0x10,,0x1000,4096,0x9000,rw\n300,access,0x10,,0x1000,4096,0x9000,rw\n"+
		"300,unmap,0x10,,0x1000,4096,,\n400,irq,,,0x0,,0x0,\n", csvOf(got))
}

func TestMappings_AgreeWithAPageMap(t *testing.T) {
	const pages = 32
	rapid.Check(t, func(rt *rapid.T) {
		var m Mappings
		model := make(map[int]Mapping) // page -> one page
		for range rapid.IntRange(0, 60).Draw(rt, "n") {
			first := rapid.IntRange(0, pages-1).Draw(rt, "first")
			n := rapid.IntRange(1, pages-first).Draw(rt, "pages")
			e := Event{SID: 1, PASID: emu.NoPASID, IOVA: emu.IOVA(first * emu.PageSize), Len: uint64(n * emu.PageSize), Kind: Unmap}
			if rapid.Bool().Draw(rt, "map") {
				e.Kind, e.HasPA, e.PA = Map, true, emu.PA(rapid.IntRange(0, 1000).Draw(rt, "pa")*emu.PageSize)
				e.Perm = Perm(rapid.IntRange(1, 3).Draw(rt, "perm"))
			}
			taken := false
			for p := first; p < first+n; p++ {
				_, was := model[p]
				taken = taken || was
				delete(model, p)
				if e.Kind == Map {
					model[p] = Mapping{PA: e.PA + emu.PA((p-first)*emu.PageSize), Perm: e.Perm}
				}
			}
			require.Equal(rt, taken && e.Kind == Map, m.Apply(&e))
		}
		for p := range pages {
			for _, off := range []int{0, emu.PageSize - 1} {
				iova := emu.IOVA(p*emu.PageSize + off)
				got, ok := m.Lookup(Space{1, emu.NoPASID}, iova)
				want, mapped := model[p]
				require.Equal(rt, mapped, ok)
				if ok {
					require.Equal(rt, want.PA+emu.PA(off), got.At(iova))
					require.Equal(rt, want.Perm, got.Perm)
				}
				e := Event{Kind: Write, SID: 1, PASID: emu.NoPASID, IOVA: iova, Len: 2}
				next := want.Perm
				if off != 0 {
					next = model[p+1].Perm
				}
				require.Equal(rt, want.Perm&next&PermW != 0, m.Allows(&e))
			}
		}
	})
	var m Mappings
	m.Apply(&Event{Kind: Map, IOVA: ^emu.IOVA(0xfff), Len: 8192, Perm: PermR})
	require.True(t, m.Allows(&Event{Kind: Read, IOVA: ^emu.IOVA(0), Len: 64}), "the end of the address space is an end")
	require.Len(t, m.Remove(Space{}, 0, MaxLen), 0)
}
