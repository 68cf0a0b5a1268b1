package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func noCrossing(c *smmuv3.Config) { c.NoCrossing = true }
func noAtomics(c *smmuv3.Config)  { c.NoAtomics = true }

// crossing is an access of 64 bytes, the last of which is in the next 4 KB.
func crossing(a emu.Access) emu.Request {
	q := emutest.DMA(dev, emu.NoPASID, iova+0xfc1, a)
	q.Len = 64
	return q
}

// What a unit does not support is refused before anything is looked up, with translation on and off.
func TestUnsupportedTransactions(t *testing.T) {
	write, atomic := crossing(emu.Write), dma(emu.RW|emu.Atomic)
	for _, on := range []bool{true, false} {
		for _, c := range []struct {
			q    emu.Request
			code uint16
			want [2]uint64
			only func(*smmuv3.Config)
		}{
			{write, smmuv3.FaultCrossing, [2]uint64{smmuv3.ReasonCrossing, iova + 0xfc1}, noCrossing},
			{crossing(emu.Read), smmuv3.FaultCrossing, [2]uint64{smmuv3.ReasonCrossing | spec.EvtRnW.Mask(), iova + 0xfc1}, noCrossing},
			{atomic, smmuv3.FaultAtomic, [2]uint64{smmuv3.ReasonAtomic, iova}, noAtomics},
		} {
			r := newRig(t, c.only).enable()
			r.update(on, spec.Cr0SMMUEN)
			q := c.q
			e := r.requireEvent(q, c.code) // not C_BAD_STE
			require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvUUT, c.want[0], c.want[1]}, e)
			q.PASID = 5
			require.Equal(t, uint64(dev)<<32|5<<12|1<<11|spec.EvUUT, r.requireEvent(q, c.code)[0])
			q.Type, q.PASID = emu.Translated, emu.NoPASID
			r.requireSilent(q, c.code) // 3.9.1.3
			r.update(false, spec.Cr0EVENTQEN)
			r.requireSilent(c.q, c.code)
			// Others pass, and so does this one on a unit without the restriction.
			r.update(false, spec.Cr0SMMUEN)
			near := c.q
			near.Addr, near.Access = near.Addr-1, near.Access&^emu.Atomic
			r.RequireOK(r.Do(near), uint64(near.Addr))
			r = newRig(t).enable()
			r.update(false, spec.Cr0SMMUEN)
			r.RequireOK(r.Do(c.q), uint64(c.q.Addr))
		}
	}
}

// Requests and messages have no data to cross a boundary with.
func TestOnlyTransactionsAreUnsupported(t *testing.T) {
	r := newRig(t, noCrossing, noAtomics).enable()
	for _, typ := range []emu.ReqType{emu.TranslationReq, emu.PageRequest} {
		q := crossing(emu.RW | emu.Atomic)
		q.Type = typ
		require.NotEqual(t, uint8(spec.EvUUT), uint8(r.Do(q).Fault.Code))
	}
}

// Hits are refused as misses are.
func TestUnsupportedHits(t *testing.T) {
	r := newRig(t, noCrossing).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	q := crossing(emu.Read)
	q.Len = 63
	r.RequireOK(r.Do(q), 0x5fc1)
	require.True(t, r.LookupAgrees(&q))
	q.Len++
	require.False(t, r.LookupAgrees(&q))
	r.RequireFault(r.Do(q), smmuv3.FaultCrossing)
}

func TestSMMUQuirk24_UnsupportedTransactionsKeepTheirAttributes(t *testing.T) {
	r := newRig(t, noCrossing).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass}, field{spec.StePRIVCFG, spec.PrivUser}, field{spec.SteINSTCFG, spec.InstData})
	in := spec.EvtPnU.Mask() | spec.EvtInD.Mask()
	e := r.requireEvent(crossing(emu.Read|emu.Exec|emu.Priv), smmuv3.FaultCrossing)
	require.Equal(t, in|spec.EvtRnW.Mask()|smmuv3.ReasonCrossing, e[1])
	e = r.requireEvent(crossing(emu.Write|emu.Exec|emu.Priv), smmuv3.FaultCrossing)
	require.Equal(t, spec.EvtPnU.Mask()|smmuv3.ReasonCrossing, e[1], "a write is data")
}

func hint(p emu.PASID, a emu.Access, pages uint8) emu.Request {
	return emu.Request{Source: dev, Addr: emu.IOVA(iova + 0x123), PASID: p, Access: a, Type: emu.PageRequest, Data: emu.MakeHint(pages)}
}

func TestPageRequestHints(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.PageHints, c.PRI = true, false }).enable()
	for _, c := range []struct {
		q     emu.Request
		flags uint64
		span  uint64
	}{
		{hint(emu.NoPASID, emu.Read, 1), 1 << 35, 1},
		{hint(emu.NoPASID, emu.Write, 255), 1 << 34, 255},
		{hint(7, emu.Exec, 3), 1 << 33, 3},
		{hint(7, emu.Read|emu.Priv, 0), 1 << 39, 1},
		{hint(7, emu.RW|emu.Exec|emu.Priv, 16), 7 << 37, 16},
	} {
		res := r.Do(c.q)
		require.Equal(t, emu.OK, res.Status)
		want := spec.Event{uint64(dev)<<32 | spec.EvPageRequest, c.flags | c.span<<44, iova}
		if c.q.PASID != emu.NoPASID {
			want[0] |= 7<<12 | 1<<11
		}
		require.Equal(t, want, r.event())
	}
	// One that cannot be recorded is lost; nobody answers.
	r.F.OnPRGResponse = func(*emu.Txn) { t.Fatal("answered") }
	r.fill(1 << eventBits)
	res := r.Do(hint(emu.NoPASID, emu.Read, 1))
	r.RequireFault(res, smmuv3.FaultHintLost)
	require.True(t, res.Fault.Dropped)
	require.NotZero(t, r.R32(spec.OffEVENTQProd)>>31)
	r.drain()
	r.update(false, spec.Cr0EVENTQEN)
	r.requireSilent(hint(emu.NoPASID, emu.Read, 1), smmuv3.FaultHintLost)
	r.update(true, spec.Cr0EVENTQEN)
	r.update(false, spec.Cr0SMMUEN)
	r.requireSilent(hint(emu.NoPASID, emu.Read, 1), smmuv3.FaultHintOff)
	// A unit may do without.
	r = newRig(t).enable()
	r.requireSilent(hint(emu.NoPASID, emu.Read, 1), smmuv3.FaultHintOff)
	require.Zero(t, r.R32(spec.OffPRIQProd))
}
