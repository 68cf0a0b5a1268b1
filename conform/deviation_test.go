package conform_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// otherReason reports every fault reason with another bit.
type otherReason struct{ *conform.Model }

func (m otherReason) ReadReg(off uint32, size uint8) (uint64, error) {
	v, err := m.Model.ReadReg(off, size)
	if off == 0x228 && size == 8 && spec.FrF.On(v) {
		v ^= spec.FrFR.Put(0x20)
	}
	return v, err
}

// quietWrites does not report refused writes.
type quietWrites struct{ *conform.Model }

func (m quietWrites) DMA(d *conform.DMA) (conform.Outcome, error) {
	o, err := m.Model.DMA(d)
	if d.Write && !o.OK {
		_ = m.WriteReg(0x22c, 4, 1<<31)
	}
	return o, err
}

// The table of deviations hides no defect that is not in it, though some are close to an entry.
func TestDeviations_HideNoDefects(t *testing.T) {
	for _, target := range conform.Targets("vtd") {
		for name, mutant := range map[string]func(*conform.Model) conform.Peer{
			"a register bit":      func(m *conform.Model) conform.Peer { return deafPPF{m} },
			"a permission check":  func(m *conform.Model) conform.Peer { return writesAsReads{m} },
			"an invalidation":     func(m *conform.Model) conform.Peer { return keepsPages{m} },
			"a fault reason":      func(m *conform.Model) conform.Peer { return otherReason{m} },
			"a report that lacks": func(m *conform.Model) conform.Peer { return quietWrites{m} },
		} {
			t.Run(target.Mode+"/"+name, func(t *testing.T) {
				r := conform.NewRunner(target, model(t, target, true), mutant(model(t, target, true)))
				firstDifferent(t, r, target, 200)
			})
		}
	}
}

// A deviation that does not show any more fails a campaign, and so does its program.
func TestCampaign_MissesWhatIsGone(t *testing.T) {
	target := conform.Targets("vtd")[0]
	doc, err := conform.Campaign(context.Background(), conform.Options{
		Targets: []*conform.Target{target}, Jobs: 1, Directed: conform.Directed,
		Open: func(target *conform.Target) (conform.Peer, error) { return model(t, target, true), nil },
	})
	require.NoError(t, err)
	require.False(t, doc.Holds())
	m := &doc.Modes[0]
	require.Empty(t, m.Deviations)
	can := 0
	for _, d := range target.Deviations() {
		if d.Unseen == "" {
			can++
			require.Contains(t, m.Gone, d.ID)
		}
	}
	require.Len(t, m.Gone, can)
	require.Len(t, m.Differences, m.Directed)
	require.Contains(t, m.Differences[0].Differs[0], "does not show")
}
