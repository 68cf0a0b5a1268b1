package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// TestDamagedSnapshots: whatever is wrong with a snapshot, inspect and explain come to an end, with what they
// found or with one line that says what is wrong.
func TestDamagedSnapshots(t *testing.T) {
	for name, c := range map[string]struct {
		snapshot func() (write func(*testing.T) []string, words map[emu.PA]uint64, regs []map[uint32]uint64)
		sids     []string
	}{
		"amdvi, host tables":    {amdviDamaged(hostTables), []string{"0", "1", "2", "5"}},
		"amdvi, guest tables":   {amdviDamaged(guestTables), []string{"0", "1", "2", "3"}},
		"amdvi, nested tables":  {amdviDamaged(func() *amdviMachine { return nestedTables(true) }), []string{"0", "1", "2"}},
		"smmuv3, stage 1":       {smmuv3Damaged(stage1Tables), []string{"1", "2", "3"}},
		"smmuv3, stage 2":       {smmuv3Damaged(stage2Tables), []string{"1", "2"}},
		"smmuv3, both stages":   {smmuv3Damaged(nestedStages), []string{"1"}},
		"smmuv3, 52 bits":       {smmuv3Damaged(wideTables), []string{"1", "2"}},
		"smmuv3, the other end": {smmuv3Damaged(bigEndianTables), []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			for n := range 12 {
				write, words, regs := c.snapshot()
				var all []uint64
				for _, at := range sorted(words) {
					all = append(all, words[at])
				}
				for range 1 + r.IntN(4) {
					at := sorted(words)[r.IntN(len(words))]
					words[at] = damage(r, words[at], all)
				}
				if r.IntN(3) == 0 {
					set := regs[r.IntN(len(regs))]
					off := sorted(set)[r.IntN(len(set))]
					set[off] = damage(r, set[off], nil) & 0xffff_ffff
				}
				args := write(t)
				start := time.Now()
				code, out, errs := run(context.Background(), "", append([]string{"inspect", "--last", "3"}, args...)...)
				endsWell(t, n, code, out, errs)
				sid := c.sids[r.IntN(len(c.sids))]
				iova := fmt.Sprintf("%#x", r.Uint64()>>r.IntN(64))
				code, out, errs = run(context.Background(), "", append([]string{"explain", sid, iova, "RW"}, args...)...)
				endsWell(t, n, code, out, errs)
				require.Less(t, time.Since(start), 20*time.Second, n)
			}
		})
	}
}

// damage changes a bit, puts another word of the snapshot in its place, or something else.
func damage(r *rand.Rand, v uint64, all []uint64) uint64 {
	switch r.IntN(4) {
	case 0:
		return r.Uint64()
	case 1:
		if len(all) > 0 {
			return all[r.IntN(len(all))]
		}
		return 0
	}
	return v ^ 1<<r.IntN(64)
}

func endsWell(t *testing.T, n, code int, out, errs string) {
	if code == exitOK {
		require.NotEmpty(t, out, n)
		require.Empty(t, errs, n)
		return
	}
	require.Equal(t, exitUsage, code, "%d: %s", n, errs)
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func amdviDamaged(f func() *amdviMachine) func() (func(*testing.T) []string, map[emu.PA]uint64, []map[uint32]uint64) {
	return func() (func(*testing.T) []string, map[emu.PA]uint64, []map[uint32]uint64) {
		m := f()
		m.regs[spec.OffCmdBufBase], m.regs[spec.OffEventLogBase] = 8<<56|0x10_0000, 8<<56|0x10_1000
		return m.write, m.words, []map[uint32]uint64{m.regs}
	}
}

func smmuv3Damaged(f func() *smmuv3Machine) func() (func(*testing.T) []string, map[emu.PA]uint64, []map[uint32]uint64) {
	return func() (func(*testing.T) []string, map[emu.PA]uint64, []map[uint32]uint64) {
		m := f()
		return m.write, m.words, []map[uint32]uint64{m.regs64, m.regs32}
	}
}
