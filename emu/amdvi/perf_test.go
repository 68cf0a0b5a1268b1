package amdvi_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// banks makes room for a counter of each source.
func banks(c *amdvi.Config) { c.Banks, c.BankCounters = 3, 12 }

// counterOff is where the registers of counter i are: 12 to a bank.
func counterOff(i int) uint32 { return spec.CounterOffset(i/12, i%12) }

// countAll lets counter s count source s, from 0.
func (r *rig) countAll() *rig {
	for s := 1; s < spec.NumSources; s++ {
		r.W64(counterOff(s), 0)
		r.W64(counterOff(s)+spec.OffCounterSource, uint64(s))
	}
	return r
}

// counts returns what the counters of countAll have counted, by source, without those that counted
// nothing.
func (r *rig) counts() map[int]uint64 {
	m := map[int]uint64{}
	for s := 1; s < spec.NumSources; s++ {
		if v := r.R64(counterOff(s)); v != 0 {
			m[s] = v
		}
	}
	return m
}

func TestCounterRegisters(t *testing.T) {
	r := newRig(t, banks)
	require.EqualValues(t, 12<<7|3<<12, r.R64(0x4000))
	r.W64(0x4000, 0)
	require.EqualValues(t, 12<<7|3<<12, r.R64(0x4000))
	for off, want := range map[uint32]uint64{
		0x4_0000: 0xffff_ffff_ffff, 0x4_0008: 0xff, 0x4_0010: 0xf_ffff_800f_ffff, 0x4_0018: 0xffff_8000_ffff,
		0x4_0020: 0xffff_8000_ffff, 0x4_0028: 0x800f_ffff_ffff_ffff, 0x4_0030: 0,
		0x4_2b00: 0xffff_ffff_ffff, // bank 2, counter 11
		0x4_0c00: 0, 0x4_3000: 0, 0x7_fff8: 0,
		0x4008: 7, 0x4010: 7, 0x4018: 7, 0x4020: 0,
	} {
		r.W64(off, ^uint64(0))
		require.Equal(t, want, r.R64(off), "%#x", off)
		r.W64(off, 0)
	}
	// As drivers do: two halves.
	r.W32(0x4_0010, 0x8000_0012)
	r.W32(0x4_0014, 0xf_ffff)
	require.EqualValues(t, 0xf_ffff_8000_0012, r.R64(0x4_0010))

	r = newRig(t, func(c *amdvi.Config) { c.PCSup, c.Banks, c.BankCounters = false, 0, 0 })
	require.False(t, spec.EfrPCSup.On(r.R64(spec.OffEFR)))
	r.W64(0x4_0008, 5)
	require.Zero(t, r.R64(0x4_0008))
	require.EqualValues(t, 0x4000, func() uint32 { c := r.u.Config(); return c.Window() }())
}

func TestLockedBanksKeepTheirMatchRegisters(t *testing.T) {
	for lock, match := range map[uint32]uint32{0x4008: 0x10, 0x4010: 0x18, 0x4018: 0x20} {
		r := newRig(t, banks)
		r.W64(lock, 1<<1)
		for _, off := range []uint32{0x10, 0x18, 0x20} {
			r.W64(spec.CounterOffset(1, 3)+off, 5)
			r.W64(spec.CounterOffset(2, 3)+off, 5)
			want := uint64(5)
			if off == match {
				want = 0
			}
			require.Equal(t, want, r.R64(spec.CounterOffset(1, 3)+off), "%#x %#x", lock, off)
			require.EqualValues(t, 5, r.R64(spec.CounterOffset(2, 3)+off))
		}
	}
}

// What each source counts, by what makes it count. The unit has its caches and they are cold.
func TestSourcesCount(t *testing.T) {
	host := func(r *rig) { r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW) }
	read := func(r *rig) { r.Access(dev, iova, emu.Read) }
	for name, c := range map[string]struct {
		before, do func(r *rig)
		want       map[int]uint64
	}{
		"off": {host, func(r *rig) { r.control(false, spec.CtlIommuEn); read(r); r.irq(1) }, map[int]uint64{}},
		"walk": {host, read, map[int]uint64{
			spec.SrcTranslated: 1, spec.SrcDTEMiss: 1, spec.SrcTLBMiss: 1, spec.SrcPDEMiss: 1, spec.SrcTableReads: 3}},
		"hit": {func(r *rig) { host(r); read(r) }, read, map[int]uint64{spec.SrcTranslated: 1, spec.SrcDTEHit: 1, spec.SrcTLBHit: 1}},
		"walk from a cached table": {func(r *rig) { host(r); read(r); r.Access(dev, iova+4096, emu.Read) },
			func(r *rig) { r.Access(dev, iova+8192, emu.Read) }, map[int]uint64{
				spec.SrcTargetAbort: 1, spec.SrcDTEHit: 1, spec.SrcTLBMiss: 1, spec.SrcPDEHit: 1, spec.SrcTableReads: 1}},
		"V=0":      {func(r *rig) {}, read, map[int]uint64{spec.SrcPassUntranslated: 1, spec.SrcDTEMiss: 1}},
		"identity": {func(r *rig) { r.bind(dev) }, read, map[int]uint64{spec.SrcPassUntranslated: 1, spec.SrcDTEMiss: 1}},
		"excluded": {func(r *rig) {
			host(r)
			r.W64(spec.OffExclLimit, iova)
			r.W64(spec.OffExclBase, iova|spec.ExclEn.Mask()|spec.ExclAllow.Mask())
		}, read, map[int]uint64{spec.SrcPassExcluded: 1, spec.SrcDTEMiss: 1}},
		"translated request": {func(r *rig) { r.bind(dev, field{spec.DteI, 1}) }, func(r *rig) {
			q := dma(emu.Read)
			q.Type = emu.Translated
			r.Do(q)
		}, map[int]uint64{spec.SrcPassPretranslated: 1, spec.SrcDTEMiss: 1}},
		"guest": {func(r *rig) { r.guests(4, 1, 0).gmap(5, iova, 0x7000, gAll) },
			func(r *rig) { r.pasidAccess(5, iova, emu.Read) }, map[int]uint64{
				spec.SrcTranslated: 1, spec.SrcDTEMiss: 1, spec.SrcTLBMiss: 1, spec.SrcPDEMiss: 1,
				spec.SrcTableReads: 6, spec.SrcTableReadsGuest: 6}}, // two of them of the GCR3 table
		"nested": {func(r *rig) { r.guests(4, 0, 3).gmap(5, iova, 0x7000, gAll|gA) },
			func(r *rig) { r.pasidAccess(5, iova, emu.Read) }, map[int]uint64{
				spec.SrcTranslated: 1, spec.SrcDTEMiss: 1, spec.SrcTLBMiss: 1, spec.SrcPDEMiss: 2, spec.SrcPDEHit: 4,
				spec.SrcTableReads: 12, spec.SrcTableReadsGuest: 5, spec.SrcTableReadsNested: 7}},
		"read of the interrupt range": {func(r *rig) {}, func(r *rig) { r.Access(dev, 0xfee0_0000, emu.Read) },
			map[int]uint64{spec.SrcTargetAbort: 1}},
		"interrupt": {func(r *rig) { r.Put(r.remapped(9), 0x0041_0001) }, func(r *rig) { r.irq(0); r.irq(0); r.irq(1) },
			map[int]uint64{spec.SrcIntDTEMiss: 1, spec.SrcIntDTEHit: 2, spec.SrcInterruptsNonGuest: 2}},
		"interrupt passed": {func(r *rig) { r.bind(dev) }, func(r *rig) { r.irq(0) }, map[int]uint64{spec.SrcIntDTEMiss: 1}},
		"guest interrupt": {func(r *rig) { r.guestIRQ(0, 0, 0x41, 0) }, func(r *rig) { r.irq(5) },
			map[int]uint64{spec.SrcIntDTEMiss: 1, spec.SrcInterruptsGuest: 1}},
		"SMI": {func(r *rig) { r.remapped(9) }, func(r *rig) {
			r.irq(0x200)
			q := interrupt()
			q.Addr, q.Data = 0xfee0_0004, 0x200 // logical
			r.Do(q)
		}, map[int]uint64{spec.SrcIntDTEMiss: 1, spec.SrcIntDTEHit: 1, spec.SrcSMI: 2, spec.SrcSMIBlocked: 1}},
		"commands": {func(r *rig) {}, func(r *rig) {
			r.submit(invDevtab(dev), invPages(did, iova), invGuest(did, 5, iova), invAll(), wait(0x9000, 1),
				[2]uint64{op(spec.CmdInvalidateIntTable)}, [2]uint64{op(spec.CmdPrefetchPages)}, [2]uint64{op(spec.CmdPrefetchPages), spec.PfInval.Mask()},
				[2]uint64{})
		}, map[int]uint64{spec.SrcCommands: 8, spec.SrcInvalidations: 6, spec.SrcTLBInvalidations: 4}},
		"1FF8h": {func(r *rig) {}, func(r *rig) { r.R64(0x1ff8); r.R32(0x1ffc); r.W32(0x1ff8, 1); r.R32(0x2000) },
			map[int]uint64{spec.SrcScratchAccesses: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t, banks)
			c.before(r)
			r.countAll()
			c.do(r)
			require.Equal(t, c.want, r.counts())
		})
	}
}

func TestMatchRegistersFilter(t *testing.T) {
	const en = uint64(1) << 31
	const all = uint64(0xffff)<<32 | en
	for name, c := range map[string]struct {
		off  uint32
		v    uint64
		want map[int]uint64
	}{
		"not enabled":         {spec.OffDeviceMatch, 1 | 0xffff<<32, map[int]uint64{spec.SrcTranslated: 4, spec.SrcDTEMiss: 2}},
		"this device":         {spec.OffDeviceMatch, uint64(dev) | all, map[int]uint64{spec.SrcTranslated: 3, spec.SrcDTEMiss: 1}},
		"devices of a bus":    {spec.OffDeviceMatch, 0x03ff | 0xff00<<32 | en, map[int]uint64{spec.SrcTranslated: 4, spec.SrcDTEMiss: 2}},
		"another device":      {spec.OffDeviceMatch, 0x0400 | all, map[int]uint64{}},
		"this domain":         {spec.OffDomainMatch, did | all, map[int]uint64{spec.SrcTranslated: 3}}, // not known when the DTE is looked up
		"another domain":      {spec.OffDomainMatch, 99 | all, map[int]uint64{}},
		"this PASID":          {spec.OffPASIDMatch, 5 | 0xf_ffff<<32 | en, map[int]uint64{spec.SrcTranslated: 2, spec.SrcDTEMiss: 1}},
		"PASIDs with a bit":   {spec.OffPASIDMatch, 7 | 1<<32 | en, map[int]uint64{spec.SrcTranslated: 2, spec.SrcDTEMiss: 1}},
		"any PASID, not none": {spec.OffPASIDMatch, en, map[int]uint64{spec.SrcTranslated: 3, spec.SrcDTEMiss: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t, banks)
			g := r.guests(4, 1, 0)
			g.gmap(5, iova, 0x7000, gAll)
			g.gmap(4, iova, 0x7000, gAll)
			r.mapPage(r.attach(other, 3, field{spec.DteDomainID, 8}), iova, 0x5000, pRW)
			r.countAll()
			for s := 1; s < spec.NumSources; s++ {
				r.W64(counterOff(s)+c.off, c.v)
			}
			r.pasidAccess(5, iova, emu.Read)
			r.pasidAccess(5, iova, emu.Read)
			r.pasidAccess(4, iova, emu.Read)
			r.Access(other, iova, emu.Read)
			got := r.counts()
			require.Equal(t, c.want[spec.SrcTranslated], got[spec.SrcTranslated])
			require.Equal(t, c.want[spec.SrcDTEMiss], got[spec.SrcDTEMiss])
		})
	}
	// Commands match by what they name.
	r := fullRig(t, banks).countAll()
	r.W64(counterOff(spec.SrcCommands)+spec.OffDeviceMatch, uint64(dev)|all)
	r.W64(counterOff(spec.SrcTLBInvalidations)+spec.OffDomainMatch, did|all)
	r.submit(invDevtab(dev), invDevtab(other), invPages(did, iova), invPages(8, iova), invAll())
	require.Equal(t, map[int]uint64{spec.SrcCommands: 1, spec.SrcInvalidations: 5, spec.SrcTLBInvalidations: 1}, r.counts())
}

func TestCounterAtZeroLogsAnEvent(t *testing.T) {
	r := fullRig(t, banks)
	r.messages()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.Access(dev, iova, emu.Read)
	hits := counterOff(spec.SrcTLBHit)
	start := func(cere uint64) {
		r.W64(hits, 0xffff_ffff_fffe)
		r.W64(hits+spec.OffCounterReport, cere<<63|0xa_bcde_1234_5678)
		r.W64(hits+spec.OffCounterSource, spec.SrcTLBHit)
	}
	start(1)
	r.Access(dev, iova, emu.Read)
	require.Empty(t, r.events())
	r.MSI = nil
	r.Access(dev, iova, emu.Read)
	require.Equal(t, [2]uint64{0xa << 60, 0x1234_5678_000a_bcde}, r.event())
	require.Equal(t, []uint32{msiData}, r.MSI, "through EventLogInt, like any event")
	require.Zero(t, r.R64(hits))
	r.Access(dev, iova, emu.Read)
	require.EqualValues(t, 1, r.R64(hits), "and goes on")
	require.Empty(t, r.events())
	start(0)
	for range 3 {
		r.Access(dev, iova, emu.Read)
	}
	require.EqualValues(t, 1, r.R64(hits))
	require.Empty(t, r.events(), "CERE=0")
	r.W64(hits, 0)
	require.Empty(t, r.events(), "software may set it to 0")
	// A counter of register reads, which wake no engine: the event comes with the next access.
	scratch := counterOff(spec.SrcScratchAccesses)
	r.W64(scratch, 0xffff_ffff_ffff)
	r.W64(scratch+spec.OffCounterReport, 1<<63|7)
	r.W64(scratch+spec.OffCounterSource, spec.SrcScratchAccesses)
	r.R32(0x1ff8)
	require.EqualValues(t, 7<<32, r.eventAfter(func() { r.W32(spec.OffCmdHead, 0) })[1])
}

// eventAfter is the one event that f makes.
func (r *rig) eventAfter(f func()) [2]uint64 {
	require.Empty(r.T, r.events())
	f()
	return r.event()
}

func TestManyCountersAtZeroAreAllReported(t *testing.T) {
	r := fullRig(t, banks)
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.countAll()
	want := map[uint64]bool{}
	for _, s := range []int{spec.SrcTranslated, spec.SrcDTEMiss, spec.SrcTLBMiss, spec.SrcPDEMiss} {
		r.W64(counterOff(s), 0xffff_ffff_ffff)
		r.W64(counterOff(s)+spec.OffCounterReport, 1<<63|uint64(s))
		want[uint64(s)<<32] = true
	}
	// The unit is saved and restored with all of them pending.
	q := dma(emu.Read)
	s := r.Begin(q)
	s.End()
	u, err := amdvi.New(amdvi.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(emutest.Save(r.u))))
	require.Equal(t, r.u.Config(), u.Config())
	r.become(u)
	r.W32(spec.OffCmdHead, 0) // whatever comes next
	r.F.Wake(s.Txn.Wake)
	got := map[uint64]bool{}
	for _, e := range r.events() {
		require.EqualValues(t, spec.EventCounterZero, spec.EvtCode.Of(e[0]))
		got[e[1]] = true
	}
	require.Equal(t, want, got)
}

// What counters say of random requests is what caches and memory saw, and counting changes no result.
func TestCountersAgreeWithTheCaches(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := fullRig(t, banks, func(c *amdvi.Config) { c.HtRangeIgnore = seed&1 != 0 })
		plain := fullRig(t, banks, func(c *amdvi.Config) { c.HtRangeIgnore = seed&1 != 0 })
		crowd(r, rand.New(rand.NewPCG(seed, 4)))
		crowd(plain, rand.New(rand.NewPCG(seed, 4)))
		r.countAll()
		before := emutest.Stats(r.u)
		memory := uint64(0)
		for i := range 4000 {
			var q emu.Request
			randomRequest(rng, &q)
			got := r.Do(q)
			require.Equal(t, plain.Do(q), got, "%+v", q)
			interrupt := got.Status == emu.Interrupt || q.Type == emu.Untranslated && q.Addr>>20 == 0xfee && q.Access&^emu.Priv == emu.Write && q.Len == 4
			if !interrupt && q.Type != emu.PageRequest {
				memory++
			}
			if i%50 == 0 {
				r.events()
				plain.events()
				r.submit(invAll())
				plain.submit(invAll())
			}
		}
		s := emutest.Stats(r.u)
		n := r.counts()
		lookups := func(id emu.CacheID) uint64 { return s[id].Lookups - before[id].Lookups }
		hits := func(id emu.CacheID) uint64 { return s[id].Hits - before[id].Hits }
		require.Equal(t, hits(emu.CacheIOTLB), n[spec.SrcTLBHit])
		require.Equal(t, lookups(emu.CacheIOTLB), n[spec.SrcTLBHit]+n[spec.SrcTLBMiss])
		require.Equal(t, hits(emu.CacheEntry), n[spec.SrcDTEHit]+n[spec.SrcIntDTEHit])
		require.Equal(t, lookups(emu.CacheEntry), n[spec.SrcDTEHit]+n[spec.SrcIntDTEHit]+n[spec.SrcDTEMiss]+n[spec.SrcIntDTEMiss])
		require.Equal(t, hits(emu.CacheWalk)+hits(emu.CacheWalk2), n[spec.SrcPDEHit])
		require.Equal(t, lookups(emu.CacheWalk)+lookups(emu.CacheWalk2), n[spec.SrcPDEHit]+n[spec.SrcPDEMiss])
		require.Equal(t, memory, n[spec.SrcTargetAbort]+n[spec.SrcTranslated]+n[spec.SrcPassUntranslated]+
			n[spec.SrcPassPretranslated]+n[spec.SrcPassExcluded], "every request ends somehow")
		require.NotZero(t, n[spec.SrcTableReads]-n[spec.SrcTableReadsGuest]-n[spec.SrcTableReadsNested], "reads for host tables alone")
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := fullRig(t, banks)
	g := r.guests(4, 1, 3, giov)
	for i := range uint64(64) {
		g.gmap(0, i<<12, 0x10_0000+i<<12, gAll)
	}
	r.countAll()
	q, res := dma(emu.Read), emu.Result{}
	i := uint64(0)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		q.Addr = emu.IOVA(i % 64 << 12)
		i++
		r.F.Translate(&q, &res)
	}))
	require.EqualValues(t, i, r.R64(counterOff(spec.SrcTranslated)))
}

// On the timed machine an overflow of a busy unit is one event, written between those of others.
func TestTimedCounterAtZero(t *testing.T) {
	r := fullRig(t, banks)
	r.attach(dev, 3)
	aborts := counterOff(spec.SrcTargetAbort)
	r.W64(aborts, 1<<48-10)
	r.W64(aborts+spec.OffCounterReport, 1<<63|3)
	r.W64(aborts+spec.OffCounterSource, spec.SrcTargetAbort)
	m := r.Timed(64)
	m.Issue(40, dma(emu.Write))
	m.Settle()
	count := map[uint64]int{}
	for _, e := range r.events() {
		count[e[0]>>60]++
	}
	require.Equal(t, map[uint64]int{spec.EventPageFault: 40, spec.EventCounterZero: 1}, count)
	require.EqualValues(t, 30, r.R64(aborts))
}
