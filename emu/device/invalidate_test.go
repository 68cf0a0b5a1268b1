package device

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// inv is an ATS invalidation request of 2^lg2 pages.
func inv(itag uint8, p emu.PASID, addr uint64, lg2 uint, global bool) *emu.ATSInvalidation {
	q := &emu.ATSInvalidation{PASID: p, Body: addr, ITag: itag}
	if lg2 > 0 {
		q.Body = addr&^(emu.PageSize<<lg2-1) | (emu.PageSize<<(lg2-1) - 1) | 1<<11
		q.Body &^= 0x7ff
	}
	if global {
		q.Body |= 1
	}
	return q
}

func TestInvalidate_DropsWhatIsMeantAndNothingElse(t *testing.T) {
	const no = emu.NoPASID
	type held struct {
		pasid  emu.PASID
		addr   emu.IOVA
		access emu.Access
		global bool
	}
	all := []held{
		{no, 0x5000, emu.Read, false},
		{no, 0x9000, emu.Read, false},
		{7, 0x5000, emu.Read, false},
		{7, 0x5000, emu.Read | emu.Priv, false},
		{7, 0x9000, emu.Read, false},
		{8, 0x5000, emu.Read, false},
		{9, 0x6000, emu.Read, true},
		{9, 0xa000, emu.Read, true},
	}
	for name, c := range map[string]struct {
		q       *emu.ATSInvalidation
		global  bool
		dropped []int
	}{
		"page without PASID":           {inv(0, no, 0x5000, 0, false), true, []int{0, 2, 3, 4, 5, 6, 7}},
		"other page without PASID":     {inv(0, no, 0xf000, 0, false), true, []int{2, 3, 4, 5, 6, 7}},
		"G means nothing without":      {inv(0, no, 0xf000, 0, true), true, []int{2, 3, 4, 5, 6, 7}},
		"page of a PASID":              {inv(0, 7, 0x5000, 0, false), true, []int{2, 3}},
		"block of a PASID":             {inv(0, 7, 0, 4, false), true, []int{2, 3, 4}},
		"global mapping by its PASID":  {inv(0, 9, 0x6000, 0, false), true, nil},
		"page of all PASIDs":           {inv(0, 7, 0x5000, 0, true), true, []int{2, 3, 5}},
		"eight pages of all PASIDs":    {inv(0, 77, 0, 3, true), true, []int{2, 3, 5, 6}},
		"all of all PASIDs":            {&emu.ATSInvalidation{PASID: 1, Body: 0x7fff_ffff_ffff_f801}, true, []int{2, 3, 4, 5, 6, 7}},
		"all":                          {&emu.ATSInvalidation{PASID: no, Body: 0x7fff_ffff_ffff_f800}, true, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		"G of a device without global": {inv(0, 7, 0x5000, 0, true), false, []int{2, 3}},
		"nothing there":                {inv(0, 7, 0x7000, 0, false), true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newATSRig(t, func(e *EndpointConfig) { e.Global = c.global; e.TLB.Ways = 16 })
			perm := map[bool]emu.Access{false: emu.RW, true: emu.RW | emu.Global}
			for _, h := range all {
				r.table = granted(perm[h.global], 12)
				r.dmaPASID(h.addr, h.access, h.pasid)
				r.run()
			}
			require.Equal(t, timing.ATSCompleted, r.InvalidateATS(0, c.q))
			var dropped []int
			for i, h := range all {
				var m mapping
				if !r.find(&emu.Request{Addr: h.addr, PASID: h.pasid, Access: h.access}, &m) {
					dropped = append(dropped, i)
				}
			}
			require.Equal(t, c.dropped, dropped)
			require.EqualValues(t, 1, r.Stats().Invalidations)
		})
	}
}

// PCIe 10.3.6: the answer to a translation request that an invalidation has overtaken is not used.
func TestInvalidate_DiscardsAnswersUnderWay(t *testing.T) {
	r := newATSRig(t)
	r.dma(0x5000, emu.Read)
	r.dma(0x6000, emu.Read)
	r.serve(0) // the unit has looked
	r.table = granted(emu.RW, 12)
	require.Equal(t, timing.ATSCompleted, r.InvalidateATS(0, inv(1, emu.NoPASID, 0x5000, 0, false)))
	r.deliver(0)
	require.Equal(t, "ttt", r.types(), "asked again")
	require.EqualValues(t, 0x5000, r.log[2].Addr)
	r.run()
	require.Equal(t, "tttTT", r.types())
	require.EqualValues(t, 1, r.Stats().Discarded)
	require.Len(t, r.ends, 2)
}

// An answer covers more than was asked for: of that only the page itself is safe.
func TestInvalidate_LargeAnswersUnderWayShrink(t *testing.T) {
	r := newATSRig(t)
	r.table = granted(emu.RW, 21)
	r.dma(0x20_5000, emu.Read)
	r.serve(0)
	require.Equal(t, timing.ATSCompleted, r.InvalidateATS(0, inv(1, emu.NoPASID, 0x20_6000, 0, false)))
	r.deliver(0)
	r.run()
	r.dma(0x20_5000, emu.Read)
	r.dma(0x20_6000, emu.Read)
	require.Equal(t, "tTTt", r.types())
	r.run()
	require.EqualValues(t, 0x10_0020_5000, r.log[1].Addr)
	require.Zero(t, r.Stats().Discarded)
}

// PCIe 10.3.3: the completion waits for accesses that used what is dropped.
func TestInvalidate_CompletionWaitsForAccessesInFlight(t *testing.T) {
	for _, a := range []emu.Access{emu.Read, emu.Write, emu.Atomic} {
		r := newATSRig(t)
		for _, addr := range []emu.IOVA{0x5000, 0x6000} {
			r.dma(addr, emu.Read)
			r.run()
		}
		r.dma(0x6000, a)
		r.dma(0x5000, a)
		r.dma(0x5008, a)
		require.Equal(t, timing.ATSPending, r.InvalidateATS(2, inv(9, emu.NoPASID, 0x5000, 0, false)))
		require.Equal(t, timing.ATSPending, r.InvalidateATS(2, inv(4, emu.NoPASID, 0x4000, 1, false)))
		require.Equal(t, timing.ATSCompleted, r.InvalidateATS(2, inv(5, emu.NoPASID, 0x7000, 0, false)))
		r.dma(0x5010, a) // asks anew, and is not waited for
		r.deliver(0)
		r.deliver(0)
		require.Empty(t, r.completed)
		r.deliver(0)
		require.ElementsMatch(t, []uint8{9, 4}, r.completed)
		require.EqualValues(t, 2, r.Stats().Held)
		r.run()
		require.Len(t, r.completed, 2)
	}
}

// A tag that the unit has given up on may be used again while the first request waits.
func TestInvalidate_TagUsedAgain(t *testing.T) {
	r := newATSRig(t)
	r.dma(0x5000, emu.Read)
	r.run()
	r.dma(0x5000, emu.Read)
	require.Equal(t, timing.ATSPending, r.InvalidateATS(0, inv(9, emu.NoPASID, 0x5000, 0, false)))
	require.Equal(t, timing.ATSPending, r.InvalidateATS(0, inv(9, emu.NoPASID, 0x5000, 0, false)))
	r.run()
	require.Equal(t, []uint8{9}, r.completed)
}

// What has a translation and could not be sent yet gets a new one.
func TestInvalidate_TranslationsNotUsedYet(t *testing.T) {
	r := newATSRig(t)
	r.dma(0x5000, emu.Read)
	r.run()
	r.room = 1
	r.dma(0x6000, emu.Read)
	r.dma(0x5000, emu.Read) // the unit is full
	require.Equal(t, timing.ATSCompleted, r.InvalidateATS(0, inv(1, emu.NoPASID, 0x5000, 0, false)))
	r.run()
	require.Equal(t, "tTttTT", r.types())
	require.Len(t, r.ends, 3)
}

func TestInvalidate_UntranslatedAccessesAreNotWaitedFor(t *testing.T) {
	r := newATSRig(t)
	r.table = granted(emu.RW|emu.UntranslatedOnly, 12)
	r.dma(0x5000, emu.Read)
	r.deliver(0)
	require.Equal(t, "tU", r.types())
	require.Equal(t, timing.ATSCompleted, r.InvalidateATS(0, inv(1, emu.NoPASID, 0x5000, 0, false)))
}

func TestInvalidate_MutedDeviceDoesNothing(t *testing.T) {
	r := newATSRig(t)
	r.dma(0x5000, emu.Read)
	r.run()
	r.Mute(true)
	require.Equal(t, timing.ATSIgnored, r.InvalidateATS(0, inv(1, emu.NoPASID, 0x5000, 0, false)))
	require.Equal(t, 1, r.TLB().Len())
	r.Mute(false)
	require.Equal(t, timing.ATSCompleted, r.InvalidateATS(0, inv(1, emu.NoPASID, 0x5000, 0, false)))
	require.Zero(t, r.TLB().Len())
}
