package emu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// holder is a unit that holds every request under its source as often as Len says, and answers with what
// the last OpResume gave. Its engine resumes by sel.
type holder struct {
	emu.Unit
	sel  emu.Selector
	data uint64
	wake emu.Wake // what a request wakes as it is held
}

func (*holder) Cache(emu.CacheID) emu.Cache           { return nil }
func (*holder) Lookup(*emu.Request, *emu.Result) bool { return false }
func (*holder) Start(t *emu.Txn, q *emu.Request)      { *t = emu.Txn{Req: *q} }

func (u *holder) Step(t *emu.Txn) {
	a := &t.Act
	switch {
	case t.Req.Type == emu.Job && t.State == 0:
		u.data++
		*a = emu.Act{Op: emu.OpResume, Sel: u.sel, Data: [4]uint64{u.data}}
	case t.Req.Type == emu.Job:
		*a = emu.Act{Op: emu.OpPark}
		t.State = 0
		return
	case uint32(t.State) < t.Req.Len:
		*a = emu.Act{Op: emu.OpHold, Key: emu.Key{Addr: uint64(t.Req.Source)}}
		t.Wake |= u.wake
	default:
		*a = emu.Act{Op: emu.OpDone}
		t.Res = emu.Result{Status: emu.OK, PA: emu.PA(t.In[0])}
	}
	t.State++
}

func TestFunctional_HoldsTransactions(t *testing.T) {
	u := &holder{}
	f := emu.NewFunctional(u, mem.New())
	ends := map[uint32]emu.PA{}
	f.OnEnd = func(id uint32, r *emu.Result) { ends[id] = r.PA }
	held := func(s emu.SourceID, times uint32) uint32 {
		var r emu.Result
		f.Translate(&emu.Request{Source: s, Len: times}, &r)
		require.Equal(t, emu.Pending, r.Status)
		return r.Data
	}
	engine := emu.Engine(0).Set()
	a, b, c := held(1, 1), held(2, 2), held(1, 1)
	require.Len(t, map[uint32]bool{a: true, b: true, c: true}, 3, "each has a number")

	u.sel = emu.Selector{Match: emu.MatchSource, Source: 3}
	f.Wake(engine)
	require.Empty(t, ends)
	u.sel.Source = 1
	f.Wake(engine)
	require.Equal(t, map[uint32]emu.PA{a: 2, c: 2}, ends)

	u.sel = emu.Selector{}
	f.Wake(engine)
	require.Len(t, ends, 2, "one of them is held again")
	f.Wake(engine)
	require.EqualValues(t, 4, ends[b])
	require.Contains(t, []uint32{a, b, c}, held(1, 1), "numbers are used again")
}

// What resumes it may be woken by the very event: Translate then has the end.
func TestFunctional_ResumedBeforeTranslateReturns(t *testing.T) {
	u := &holder{wake: emu.Engine(0).Set()}
	f := emu.NewFunctional(u, mem.New())
	f.OnEnd = func(uint32, *emu.Result) { t.Fatal("Translate has it") }
	for i := range emu.PA(3) {
		var r emu.Result
		f.Translate(&emu.Request{Len: 1}, &r)
		require.Equal(t, emu.Result{Status: emu.OK, PA: i + 1}, r)
	}
	q, r := &emu.Request{Len: 1}, new(emu.Result)
	require.Zero(t, testing.AllocsPerRun(100, func() { f.Translate(q, r) }))
}

func TestSelector_Resumes(t *testing.T) {
	held := emu.Key{Addr: 0x17, Tag: emu.MakeTag(2, 7, emu.NoPASID)}
	for _, c := range []struct {
		sel  emu.Selector
		want bool
	}{
		{emu.Selector{}, true},
		{emu.Selector{Match: emu.MatchSource, Source: 0x17}, true},
		{emu.Selector{Match: emu.MatchSource, Source: 0x10}, false},
		{emu.Selector{Match: emu.MatchSource, Source: 0x10, SourceMask: 7}, true},
		{emu.Selector{Match: emu.MatchDomain, Domain: 7}, true},
		{emu.Selector{Match: emu.MatchDomain, Domain: 8}, false},
		{emu.Selector{Match: emu.MatchClass, Classes: 1 << 2}, true},
		{emu.Selector{Match: emu.MatchClass, Classes: 1 << 3}, false},
		{emu.Selector{Match: emu.MatchSource | emu.MatchDomain, Source: 0x17, Domain: 8}, false},
		{emu.Selector{Match: emu.MatchAddress, First: 1, Last: 2}, true},
	} {
		require.Equal(t, c.want, c.sel.Resumes(&held), "%+v", c.sel)
	}
}
