package emu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTag_FieldsDoNotMix(t *testing.T) {
	for _, c := range []Class{0, 1, 31} {
		for _, d := range []uint32{0, 1, 0xffff, 1<<32 - 1} {
			for _, p := range []PASID{0, 1, MaxPASID, NoPASID} {
				tag := MakeTag(c, d, p)
				require.Equal(t, c, tag.Class())
				require.Equal(t, d, tag.Domain())
				require.Equal(t, p, tag.PASID())
			}
		}
	}
	require.NotEqual(t, MakeTag(0, 0, NoPASID), MakeTag(0, 0, 0), "no PASID is not PASID 0")
}

func TestAccess_String(t *testing.T) {
	require.Equal(t, "-", Access(0).String())
	require.Equal(t, "RW", RW.String())
	require.Equal(t, "RXP", (Read | Exec | Priv).String())
}

// What an invalidation concerns: by default everything under way, less what is settled otherwise.
func TestMatches_ErrsOnTheSideOfTrue(t *testing.T) {
	settled := Txn{Known: KnownLive | KnownDomain, Tag: MakeTag(1, 5, NoPASID), Req: Request{Source: 0x10, PASID: 3}}
	open := settled
	open.Known = KnownLive
	fresh := settled
	fresh.Known = 0
	job := settled
	job.Req.Type = Job
	for _, c := range []struct {
		name                         string
		sel                          Selector
		settled, open, fresh, engine bool
	}{
		{"everything", Selector{}, true, true, false, false},
		{"own domain", Selector{Match: MatchDomain, Domain: 5}, true, true, false, false},
		{"other domain", Selector{Match: MatchDomain, Domain: 6}, false, true, false, false},
		{"own source", Selector{Match: MatchSource, Source: 0x10}, true, true, false, false},
		{"other source", Selector{Match: MatchSource, Source: 0x20}, false, false, false, false},
		{"source under the mask", Selector{Match: MatchSource, Source: 0x17, SourceMask: 7}, true, true, false, false},
		{"other class", Selector{Match: MatchClass, Classes: 1 << 2}, false, true, false, false},
		{"address is not looked at", Selector{Match: MatchAddress, First: 1 << 40, Last: 1 << 41}, true, true, false, false},
		{"other PASID of translations", Selector{Match: MatchPASID, PASID: 9, Caches: CacheIOTLB.Set()}, false, true, false, false},
		{"own PASID entry", Selector{Match: MatchPASID, PASID: 3, Caches: CachePASID.Set()}, true, true, false, false},
		{"other PASID entry", Selector{Match: MatchPASID, PASID: 4, Caches: CachePASID.Set()}, false, true, false, false},
	} {
		require.Equal(t, c.settled, settled.Matches(&c.sel), "%s: settled", c.name)
		require.Equal(t, c.open, open.Matches(&c.sel), "%s: domain not known yet", c.name)
		require.Equal(t, c.fresh, fresh.Matches(&c.sel), "%s: nothing read yet", c.name)
		require.Equal(t, c.engine, job.Matches(&c.sel), "%s: engine", c.name)
	}
}

func TestMatches_ByWhatATransactionUses(t *testing.T) {
	sel := func(c CacheSet) *Selector { return &Selector{Caches: c} }
	irq := CacheInterrupt.Set()
	x := Txn{Known: KnownLive}
	require.True(t, x.Matches(sel(0)))
	require.True(t, x.Matches(sel(AllCaches)))
	require.True(t, x.Matches(sel(CacheWalk.Set())))
	require.False(t, x.Matches(sel(irq)), "DMA uses no interrupt entry")
	x.Uses = irq
	require.True(t, x.Matches(sel(0)))
	require.True(t, x.Matches(sel(irq)))
	require.False(t, x.Matches(sel(AllCaches&^irq)))
	x.Uses |= CacheEntry.Set() // an interrupt that is looked up through a device entry
	require.True(t, x.Matches(sel(CacheEntry.Set())))

	at := Selector{Caches: irq, Match: MatchAddress, First: 4, Last: 7}
	require.True(t, x.Matches(&at), "the index is not known")
	x.Known |= KnownIndex
	for index, want := range map[uint32]bool{3: false, 4: true, 7: true, 8: false} {
		x.Tag = MakeTag(5, index, NoPASID)
		require.Equal(t, want, x.Matches(&at))
	}
	x.Known &^= KnownLive
	require.False(t, x.Matches(sel(0)))
}

func TestState_RoundTripAndDamage(t *testing.T) {
	var e Encoder
	e.Section("part", 2)
	e.U64(7)
	e.Bool(true)
	e.Words([]uint64{1, 2, 3})
	e.String("name")
	txn := Txn{State: 9, Req: Request{Addr: 0x1234, PASID: NoPASID}, Marked: true}
	e.Struct(&txn)

	d := NewDecoder(e.Bytes())
	d.Section("part", 2)
	require.EqualValues(t, 7, d.U64())
	require.True(t, d.Bool())
	require.Equal(t, []uint64{1, 2, 3}, d.Words())
	require.Equal(t, "name", d.String())
	var back Txn
	d.Struct(&back)
	require.NoError(t, d.Err())
	require.Equal(t, txn, back, "a transaction is plain data")

	for n := range e.Bytes() {
		d := NewDecoder(e.Bytes()[:n])
		d.Section("part", 2)
		d.U64()
		d.Bool()
		d.Words()
		_ = d.String()
		d.Struct(&back)
		require.ErrorIs(t, d.Err(), ErrState)
	}
	d = NewDecoder(e.Bytes())
	d.Section("part", 3)
	require.ErrorContains(t, d.Err(), "version 2, want 3")
	d = NewDecoder(e.Bytes())
	d.Section("other", 2)
	require.ErrorContains(t, d.Err(), `"part", want "other"`)
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte{})
	var e Encoder
	e.Section("x", 1)
	e.Words([]uint64{1})
	f.Add(e.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(b)
		d.Section("x", 1)
		d.Words()
		_ = d.String()
		var txn Txn
		d.Struct(&txn)
		_ = d.Err()
	})
}
