package entry_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/host/entry"
)

// shape writes the steps of a plan in short.
func shape(p entry.Plan) string {
	var s []string
	for _, st := range p.Steps {
		switch st.Op {
		case entry.OpStore:
			s = append(s, fmt.Sprintf("store%d", st.Size))
		case entry.OpSyncEntry:
			s = append(s, "entry")
		default:
			s = append(s, "all")
		}
	}
	return strings.Join(s, " ")
}

// requirePlan checks a plan by simulating every reader: one that reads each unit at any moment of its
// own between two synchronisations. It shares nothing with the planner but the rule of used bits.
func requirePlan(t require.TestingT, f *entry.Format, old, new []uint64, p entry.Plan) {
	contents := [][]uint64{slices.Clone(old)} // what memory holds, over time
	epochs := []int{0}                        // of each content: number of synchronisations before it
	cur, epoch := slices.Clone(old), 0
	for i, s := range p.Steps {
		if s.Op == entry.OpStore {
			copy(cur[s.Offset/8:], s.Value[:s.Size/8])
			require.Zero(t, s.Offset%s.Size, "aligned")
			require.LessOrEqual(t, s.Size, f.Unit)
			contents, epochs = append(contents, slices.Clone(cur)), append(epochs, epoch)
		} else {
			epoch++
			contents, epochs = append(contents, slices.Clone(cur)), append(epochs, epoch)
		}
		require.Equal(t, cur, p.States[i])
	}
	require.True(t, f.Same(cur, new), "ends with the new content")
	if p.Verdict == entry.VerdictNop {
		require.Empty(t, p.Steps)
		return
	}
	n := f.Words * 8 / f.Unit
	pick := make([]int, n) // moment at which each unit is read
	for {
		if readable(f, old, contents, epochs, pick) {
			mix := assemble(f, contents, pick)
			ok := sees(f, mix, old) || sees(f, mix, new) || p.Verdict == entry.VerdictDisruptive && !f.Present(mix)
			require.True(t, ok, "units read at %v of\n%x\nold %x\nnew %x\nmix %x", pick, contents, old, new, mix)
		}
		i := 0
		for ; i < n; i++ {
			if pick[i]++; pick[i] < len(contents) {
				break
			}
			pick[i] = 0
		}
		if i == n {
			return
		}
	}
}

// readable reports whether one reader can read its units at these moments.
func readable(f *entry.Format, old []uint64, contents [][]uint64, epochs, pick []int) bool {
	for _, m := range pick {
		if epochs[m] != epochs[pick[0]] {
			return false
		}
		// Architectural guarantee: an entry seen present has been read behind what was stored before.
		if f.Handshake && !f.Present(contents[firstOf(epochs, epochs[m])]) && f.Present(contents[pick[0]]) && m < pick[0] {
			return false
		}
	}
	return true
}

func firstOf(epochs []int, e int) int { return slices.Index(epochs, e) }

func assemble(f *entry.Format, contents [][]uint64, pick []int) []uint64 {
	mix := make([]uint64, f.Words)
	n := f.Unit / 8
	for u, m := range pick {
		copy(mix[u*n:(u+1)*n], contents[m][u*n:(u+1)*n])
	}
	return mix
}

// sees reports whether hardware does the same with both, but for recording faults.
func sees(f *entry.Format, a, b []uint64) bool {
	ea, eb := f.Effective(a), f.Effective(b)
	for i, s := range f.Safe {
		ea[i] &^= s
		eb[i] &^= s
	}
	return slices.Equal(ea, eb)
}
