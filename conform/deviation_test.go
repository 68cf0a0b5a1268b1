package conform_test

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
	amdvi "github.com/iommulab/iommulab/emu/amdvi/spec"
	arm "github.com/iommulab/iommulab/emu/smmuv3/spec"
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

// near are defects that are close to entries of the tables of deviations.
var near = map[string][]defect{
	"vtd": {
		{name: "a fault reason", mutant: func(m *conform.Model) conform.Peer { return otherReason{m} }},
		{name: "a report that lacks", mutant: func(m *conform.Model) conform.Peer { return quietWrites{m} }},
	},
	"smmuv3": {
		{name: "an event number", mutant: func(m *conform.Model) conform.Peer {
			return rewords{m, func(w uint64) uint64 {
				if n := arm.EvtNumber.Of(w); n >= arm.EvTranslation && n <= arm.EvPermission && w == n|arm.EvtSID.Put(0x18) {
					w ^= 1
				}
				return w
			}}
		}},
		{name: "the direction of an event", mutant: func(m *conform.Model) conform.Peer {
			return rewords{m, func(w uint64) uint64 {
				if w&^(arm.EvtS2.Mask()|arm.EvtClass.Mask()) == arm.EvtRnW.Mask() {
					w = w &^ arm.EvtRnW.Mask()
				}
				return w
			}}
		}},
		{name: "an index", mutant: deaf(arm.OffEVENTQProd, 1)},
		{name: "a report that lacks", mutant: func(m *conform.Model) conform.Peer { return smmuQuiet{m} }},
	},
}

// smmuQuiet records nothing of refused writes.
type smmuQuiet struct{ *conform.Model }

func (m smmuQuiet) DMA(d *conform.DMA) (conform.Outcome, error) {
	if !d.Write {
		return m.Model.DMA(d)
	}
	cr0, _ := m.ReadReg(arm.OffCR0, 4)
	_ = m.WriteReg(arm.OffCR0, 4, cr0&^arm.Cr0EVENTQEN.Mask())
	o, err := m.Model.DMA(d)
	_ = m.WriteReg(arm.OffCR0, 4, cr0)
	return o, err
}

// The tables of deviations hide no defect that is not in them, though some are close to an entry.
func TestDeviations_HideNoDefects(t *testing.T) {
	for iommu, list := range near {
		for _, target := range conform.Targets(iommu) {
			for _, d := range slices.Concat(list, defects[iommu]) {
				t.Run(target.Mode+"/"+d.name, func(t *testing.T) {
					r := conform.NewRunner(target, model(t, target, true), d.mutant(model(t, target, true)))
					firstDifferent(t, r, target, 200)
				})
			}
		}
	}
}

// Where what the other side shows is worked out from the deviations, a defect has to be one of QEMU.

// qemuWith is QEMU with a defect.
type qemuWith struct {
	conform.Peer
	reg  func(off uint32, v uint64) uint64
	word func(w uint64) uint64
	dma  func(d *conform.DMA) bool // not carried out, though it says so
	msgs func([]conform.Message) []conform.Message
}

func (q *qemuWith) ReadReg(off uint32, size uint8) (uint64, error) {
	v, err := q.Peer.ReadReg(off, size)
	if q.reg != nil {
		v = q.reg(off, v)
	}
	return v, err
}

func (q *qemuWith) Read(pa emu.PA, b []byte) error {
	err := q.Peer.Read(pa, b)
	for i := 0; q.word != nil && i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], q.word(binary.LittleEndian.Uint64(b[i:])))
	}
	return err
}

func (q *qemuWith) DMA(d *conform.DMA) (conform.Outcome, error) {
	if q.dma == nil || !q.dma(d) {
		return q.Peer.DMA(d)
	}
	r := *d
	r.Write, r.Data = false, make([]byte, 8)
	return q.Peer.DMA(&r)
}

func (q *qemuWith) Messages() ([]conform.Message, error) {
	list, err := q.Peer.Messages()
	if q.msgs != nil {
		list = q.msgs(list)
	}
	return list, err
}

func TestDeviations_HideNoDefectsOfQEMU(t *testing.T) {
	target := conform.Targets("amdvi")[0]
	for name, q := range map[string]qemuWith{
		"a register bit": {reg: func(off uint32, v uint64) uint64 {
			if off == amdvi.OffStatus {
				v &^= amdvi.StsEventLogInt.Mask()
			}
			return v
		}},
		"a pointer": {reg: func(off uint32, v uint64) uint64 {
			if off == amdvi.OffEventTail && v > 16 {
				v -= 16
			}
			return v
		}},
		"an event": {word: func(w uint64) uint64 {
			if w>>48 == amdvi.EventPageFault<<12|0xa {
				w |= 1 << 40
			}
			return w
		}},
		"a write": {dma: func(d *conform.DMA) bool { return d.Write && len(d.Data) == 8 && d.Device == 1 }},
		"a message": {msgs: func(l []conform.Message) []conform.Message {
			return slices.DeleteFunc(l, func(m conform.Message) bool { return m.Data == 0x20 })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			q.Peer = peer(t, target)
			r, _, err := conform.Pair(target, &q)
			require.NoError(t, err)
			firstDifferent(t, r, target, 100)
		})
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
