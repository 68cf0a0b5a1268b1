package emu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

func TestMSITo_HasTheNumberInBothHalves(t *testing.T) {
	for cpu, want := range map[uint32]emu.PA{
		0: 0xfee0_0000, 1: 0xfee0_1000, 255: 0xfeef_f000, 256: 0x100_fee0_0000, 0x1234_5678: 0x1234_5600_fee7_8000,
	} {
		require.Equal(t, want, emu.MSITo(cpu))
		for _, other := range []uint32{0, 1, 255, 256, 0x1234_5678} {
			ok, only := emu.MSIReaches(want, other)
			require.Equal(t, cpu == other, ok)
			require.True(t, only || !ok)
		}
	}
}

// sender is a unit that lets every request pass as an interrupt message.
type sender struct{ emu.Unit }

func (sender) Cache(emu.CacheID) emu.Cache           { return nil }
func (sender) Lookup(*emu.Request, *emu.Result) bool { return false }
func (sender) Start(t *emu.Txn, q *emu.Request)      { t.Req, t.State = *q, 0 }
func (sender) Step(t *emu.Txn) {
	t.Act.Op = emu.OpDone
	t.Res = emu.Result{Status: emu.Status(t.Req.Len), PA: emu.PA(t.Req.Addr), Data: t.Req.Data}
}

func TestFunctional_DeliversInterruptsOfDevices(t *testing.T) {
	f := emu.NewFunctional(sender{}, mem.New())
	var got []int
	for i := range 3 {
		addr, data := f.OnIRQ(func() { got = append(got, i) })
		require.Equal(t, emu.MSIAddress, addr)
		require.EqualValues(t, emu.FirstVector+i, data)
	}
	type message struct {
		addr emu.PA
		data uint32
	}
	var others []message
	f.OnMSI = func(addr emu.PA, data uint32) { others = append(others, message{addr, data}) }
	var res emu.Result
	send := func(st emu.Status, addr emu.PA, data uint32) {
		f.Translate(&emu.Request{Addr: emu.IOVA(addr), Len: uint32(st), Data: data}, &res)
	}
	send(emu.Interrupt, emu.MSIAddress, emu.FirstVector+2)
	send(emu.Interrupt, emu.MSIAddress|8, emu.FirstVector|0x4000)
	send(emu.OK, emu.MSIAddress, emu.FirstVector)
	send(emu.Posted, emu.MSIAddress, emu.FirstVector)
	send(emu.Blocked, emu.MSIAddress, emu.FirstVector)
	require.Equal(t, []int{2, 0}, got)
	require.Empty(t, others)
	send(emu.Interrupt, emu.MSITo(1), emu.FirstVector) // another processor
	send(emu.Interrupt, emu.MSIAddress, emu.FirstVector+3)
	send(emu.Interrupt, emu.MSIAddress, emu.FirstVector|0x400) // NMI
	require.Equal(t, []message{{emu.MSITo(1), 0x20}, {emu.MSIAddress, 0x23}, {emu.MSIAddress, 0x420}}, others)

	// A handler may use the unit: the transaction is over.
	again := 0
	_, data := f.OnIRQ(func() {
		if again++; again < 3 {
			f.Translate(&emu.Request{Addr: emu.IOVA(emu.MSIAddress), Len: uint32(emu.Interrupt), Data: emu.FirstVector + 3}, new(emu.Result))
		}
	})
	send(emu.Interrupt, emu.MSIAddress, data)
	require.Equal(t, 3, again)
}
