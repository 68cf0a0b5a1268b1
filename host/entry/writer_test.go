package entry_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/entry"
)

// tape is a processor and an invalidator that write down what they are told.
type tape struct {
	at   emu.PA
	mem  []uint64
	now  uint64
	log  []string
	cost entry.Cost
	fail string // event that fails
	open bool   // a store may not be visible yet
}

var errBroken = errors.New("broken")

func (c *tape) note(format string, a ...any) error {
	c.now++
	e := fmt.Sprintf(format, a...)
	c.log = append(c.log, e)
	if e == c.fail {
		return errBroken
	}
	return nil
}

func (c *tape) Load64(pa emu.PA) uint64 { return c.mem[(pa-c.at)/8] }
func (c *tape) Store64(pa emu.PA, v uint64) {
	c.mem[(pa-c.at)/8], c.open = v, true
	_ = c.note("%d", (pa-c.at)/8)
}
func (c *tape) Store128(pa emu.PA, lo, hi uint64) {
	c.mem[(pa-c.at)/8], c.mem[(pa-c.at)/8+1] = lo, hi
	c.open = true
	_ = c.note("%d+%d", (pa-c.at)/8, (pa-c.at)/8+1)
}
func (c *tape) CAS64(pa emu.PA, old, v uint64) bool {
	i := (pa - c.at) / 8
	if c.mem[i] != old {
		return false
	}
	c.mem[i] = v
	_ = c.note("swap %d", i)
	return true
}

func (c *tape) CAS128(pa emu.PA, old, v [2]uint64) bool {
	i := (pa - c.at) / 8
	if [2]uint64(c.mem[i:i+2]) != old {
		return false
	}
	c.mem[i], c.mem[i+1] = v[0], v[1]
	_ = c.note("swap %d+%d", i, i+1)
	return true
}
func (c *tape) Fence()                 { c.open = false }
func (c *tape) Flush(pa emu.PA, n int) { _ = c.note("flush %d", n) }
func (c *tape) Now() uint64            { return c.now }

func (c *tape) SyncEntry([][]uint64) error {
	c.cost.Invalidations++
	c.cost.Waits++
	return c.note("entry")
}

func (c *tape) SyncAll(_, _ [][]uint64, how entry.Batching) error {
	c.cost.Invalidations += 2
	c.cost.Waits += 1 + int(how)
	return c.note("all %d", how)
}

func (c *tape) Install(_ []uint64, how entry.Batching) error { return c.note("install %d", how) }
func (c *tape) Cost() entry.Cost                             { return c.cost }

func rewrite(f *entry.Format, w entry.Writer, old, new []uint64) (*tape, entry.Report, error) {
	c := &tape{at: 0x5000, mem: slices.Clone(old)}
	r, err := w.Write(&entry.Target{CPU: c, Format: f, At: c.at, Inv: c}, new)
	if err == nil && c.open {
		err = errors.New("complete before the last store is visible")
	}
	return c, r, err
}

func TestWriters_Order(t *testing.T) {
	zero2, zero8 := make([]uint64, 2), make([]uint64, 8)
	move := [2][]uint64{ctx(0, 0x1000, 2, 5), ctx(0, 0x2000, 2, 6)}
	first := [2][]uint64{fs(0x1000, 5), fs(0x2000, 6)}
	up := [2][]uint64{ss(0x1000, 5), fs(0x2000, 6)}
	for _, c := range []struct {
		name     string
		w        entry.Writer
		f        *entry.Format
		old, new []uint64
		log      []string
		verdict  entry.Verdict
		inv      int
		waits    int
	}{
		{"hitless move", entry.Hitless, unit.Context(), move[0], move[1], []string{"0+1", "all 0"}, entry.VerdictHitless, 2, 1},
		{"linux move", entry.Linux, unit.Context(), move[0], move[1],
			[]string{"0", "all 1", "0", "1", "0", "1", "0", "install 1"}, entry.VerdictDisruptive, 2, 2},
		{"naive move", entry.Naive, unit.Context(), move[0], move[1], []string{"0", "1", "all 0"}, entry.VerdictDisruptive, 2, 1},
		{"breakmake move", entry.BreakMake, unit.Context(), move[0], move[1], []string{"0", "all 0", "0+1", "install 0"}, entry.VerdictDisruptive, 2, 1},
		{"hitless SS to FS", entry.Hitless, unit.PASID(), up[0], up[1], []string{"2", "entry", "0+1", "all 0"}, entry.VerdictHitless, 3, 2},
		{"hitless FS to FS falls back", entry.Hitless, unit.PASID(), first[0], first[1],
			[]string{"0", "all 0", "2", "0+1", "install 0"}, entry.VerdictDisruptive, 2, 1},
		{"naive FS to FS", entry.Naive, unit.PASID(), first[0], first[1],
			[]string{"0", "1", "2", "3", "4", "5", "6", "7", "all 0"}, entry.VerdictDisruptive, 2, 1},
		{"naive one word", entry.Naive, unit.Context(), move[0], ctx(0, 0x2000, 2, 5), []string{"0", "1", "all 0"}, entry.VerdictHitless, 2, 1},
		{"hitless first use", entry.Hitless, unit.PASID(), zero8, first[1], []string{"2", "0+1", "install 0"}, entry.VerdictHitless, 0, 0},
		{"linux first use", entry.Linux, unit.PASID(), zero8, first[1], []string{"0", "1", "2", "0", "install 1"}, entry.VerdictHitless, 0, 0},
		{"hitless retire", entry.Hitless, unit.Context(), move[0], zero2, []string{"0", "all 0", "0+1"}, entry.VerdictHitless, 2, 1},
		{"linux retire", entry.Linux, unit.Context(), move[0], zero2, []string{"0", "all 1", "0", "1"}, entry.VerdictHitless, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, r, err := rewrite(c.f, c.w, c.old, c.new)
			require.NoError(t, err)
			require.Equal(t, c.log, m.log)
			require.Equal(t, c.new, m.mem)
			require.Equal(t, c.verdict, r.Verdict, r.Reason)
			require.Equal(t, entry.Cost{Invalidations: c.inv, Waits: c.waits}, r.Cost)
			require.Equal(t, c.old, r.States[0])
			require.Equal(t, c.new, r.States[len(r.States)-1])
			require.Less(t, r.First, r.Done)
		})
	}
}

func TestWriters_IdenticalIsNop(t *testing.T) {
	for _, w := range entry.Writers() {
		m, r, err := rewrite(unit.PASID(), w, fs(0x1000, 5), fs(0x1000, 5))
		require.NoError(t, err)
		require.Equal(t, entry.VerdictNop, r.Verdict, w.Name())
		require.Empty(t, m.log)
		require.Zero(t, r.Stores+r.Invalidations+r.Waits)
	}
}

func TestWriters_IllegalStoresNothing(t *testing.T) {
	for _, w := range entry.Writers() {
		m, _, err := rewrite(unit.Context(), w, ctx(0, 0x1000, 2, 5), ctx(3, 0x1000, 2, 5))
		require.ErrorIs(t, err, entry.ErrIllegal)
		require.Empty(t, m.log)
	}
}

func TestWriters_NoncoherentFlushesEachStore(t *testing.T) {
	old, new := ss(0x1000, 5), fs(0x2000, 6)
	c := &tape{mem: slices.Clone(old)}
	_, err := entry.Hitless.Write(&entry.Target{CPU: c, Format: unit.PASID(), Inv: c, Noncoherent: true}, new)
	require.NoError(t, err)
	require.Equal(t, []string{"2", "flush 8", "entry", "0+1", "flush 16", "all 0"}, c.log)
}

func TestWriters_FailedInvalidationStopsAndLeavesADeclaredState(t *testing.T) {
	old, new := ss(0x1000, 5), fs(0x2000, 6)
	c := &tape{mem: slices.Clone(old), fail: "entry"}
	r, err := entry.Hitless.Write(&entry.Target{CPU: c, Format: unit.PASID(), Inv: c}, new)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, c.mem, r.States[len(r.States)-1])
	require.True(t, unit.PASID().Same(c.mem, old), "still the old entry to hardware")
}

func TestWriters_EndWithTheNewEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, gen := unit.PASID(), genPASID
		if rapid.Bool().Draw(t, "context") {
			f, gen = unit.Context(), genContext
		}
		old, new := gen(t, "old "), gen(t, "new ")
		w := rapid.SampledFrom(entry.Writers()).Draw(t, "writer")
		m, r, err := rewrite(f, w, old, new)
		require.NoError(t, err)
		require.True(t, f.Same(m.mem, new))
		if f.Present(old) && r.Verdict != entry.VerdictNop {
			require.NotZero(t, r.Waits)
		}
	})
}

func TestWriterByName(t *testing.T) {
	for _, w := range entry.Writers() {
		got, ok := entry.WriterByName(w.Name())
		require.True(t, ok)
		require.Equal(t, w, got)
	}
	_, ok := entry.WriterByName("other")
	require.False(t, ok)
}

// What a report declares: contents in order, and from which on they translate as the new one.
func TestHitless_GoesByATemporaryID(t *testing.T) {
	old, new := fs(0x1000, 5), fs(0x2000, 6)
	c := &tape{at: 0x5000, mem: slices.Clone(old)}
	asked := 0
	target := &entry.Target{CPU: c, Format: unit.PASID(), At: c.at, Inv: c, Means: func(a, b []uint64) entry.Means {
		asked++
		require.Equal(t, [2][]uint64{old, new}, [2][]uint64{a, b})
		return entry.Means{Temp: temp}
	}}
	r, err := entry.Hitless.Write(target, new)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "entry", "2", "entry", "1", "all 0"}, c.log)
	require.Equal(t, entry.VerdictHitless, r.Verdict)
	require.Equal(t, uint32(temp), r.Temp)
	require.Equal(t, [][]uint64{old, fs(0x1000, temp), fs(0x2000, temp), new}, r.States)
	require.Equal(t, 2, r.Turn)
	require.Equal(t, 3, r.Stores)
	require.Equal(t, 3, r.Waits)

	// A second stage moves without: nobody is asked.
	c.mem = ss(0x1000, 5)
	r, err = entry.Hitless.Write(target, ss(0x2000, 6))
	require.NoError(t, err)
	require.Equal(t, 1, asked)
	require.Zero(t, r.Temp)
	require.Equal(t, 1, r.Turn)

	// After an error the report tells that caches may hold the id.
	c = &tape{at: 0x5000, mem: slices.Clone(old), fail: "entry"}
	target.CPU, target.Inv = c, c
	r, err = entry.Hitless.Write(target, new)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, uint32(temp), r.Temp)
	require.Equal(t, [][]uint64{old, fs(0x1000, temp)}, r.States)
}

func TestWriters_TurnIsWhereTheNewContentBegins(t *testing.T) {
	old, new := fs(0x1000, 5), fs(0x2000, 6)
	for _, w := range entry.Writers() {
		_, r, err := rewrite(unit.PASID(), w, old, new)
		require.NoError(t, err)
		for i, s := range r.States {
			require.Equal(t, i >= r.Turn, unit.PASID().Same(s, new), "%s: state %d, turn %d", w.Name(), i, r.Turn)
		}
	}
}
