package timing

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// holding is a toy that holds a request that misses, as it has a walker, until a write of register 0 lets
// those of that source go; they look again.
type holding struct{ *toy }

const toyHeld = 100

func (u *holding) Step(t *emu.Txn) {
	a := &t.Act
	switch {
	case t.Req.Type == emu.Job && t.State == toyStart:
		*a = emu.Act{Op: emu.OpResume, Sel: emu.Selector{Match: emu.MatchSource, Source: emu.SourceID(u.page[0])}, Data: [4]uint64{42}}
		t.State = toySent
	case t.State == toyWalker && t.Aux[1] == 0:
		*a = emu.Act{Op: emu.OpHold, Key: emu.Key{Addr: uint64(t.Req.Source)}}
		t.State = toyHeld
	case t.State == toyHeld:
		t.Aux[1], t.State = t.In[0], toyStart
		u.toy.Step(t)
	default:
		u.toy.Step(t)
	}
}

func newHolding(p Params) (*Machine, *client, *CPU, func(source emu.SourceID, page int)) {
	m, u, c := New(p, mem.New()), &holding{toy: newToy(tlb)}, &client{}
	m.AddUnit(u, 64)
	cpu := m.AddCPU(1)
	dev := m.AddClient(c)
	for i := range emu.PA(64) {
		m.Memory().Store(toyTable+i*8, 8, &[4]uint64{uint64(i)<<12 | 0x1000_0001})
	}
	tag := uint32(0)
	return m, c, cpu, func(s emu.SourceID, page int) {
		m.Issue(dev, 0, tag, &emu.Request{Source: s, Addr: emu.IOVA(page) << 12, PASID: emu.NoPASID, Len: 64, Access: emu.Read})
		tag++
	}
}

func TestHold_KeepsNoSlotsAndIsNotWaitedFor(t *testing.T) {
	p := params()
	p.Walkers, p.MissRegisters = 1, 1
	m, c, cpu, request := newHolding(p)
	for page := range 5 {
		request(emu.SourceID(page), page)
	}
	for m.Step() {
	}
	require.Empty(t, c.done, "all are held, although there is but one walker")
	require.Zero(t, m.UnitStats(0).MemoryReads, "none has walked")

	for i, source := range []uint64{9, 3, 1} {
		cpu.WriteReg(0, 0, 8, source)
		for m.Step() {
		}
		require.Len(t, c.done, i, "source %d", source)
	}
	require.Equal(t, []emu.PA{0x1000_3000, 0x1000_1000}, c.pas)
}

func TestHold_Checkpoint(t *testing.T) {
	script := func() (*Machine, *client, *CPU) {
		m, c, cpu, request := newHolding(params())
		for page := range 3 {
			request(emu.SourceID(page), page)
		}
		cpu.WriteReg(0, 0, 8, 1)
		return m, c, cpu
	}
	finish := func(m *Machine, c *client, cpu *CPU) []string {
		for m.Step() {
		}
		cpu.WriteReg(0, 0, 8, 2)
		for m.Step() {
		}
		return c.log
	}
	want := finish(script())
	require.Len(t, want, 2)
	for cut := uint64(0); cut < 860; cut += 53 {
		m, done, _ := script()
		m.RunUntil(cut)
		var e emu.Encoder
		m.Save(&e)
		r, c, cpu, _ := newHolding(params())
		require.NoError(t, r.Restore(emu.NewDecoder(e.Bytes())))
		c.log = append(c.log, done.log...)
		require.Equal(t, want, finish(r, c, cpu), "checkpoint at cycle %d", cut)
	}
}
