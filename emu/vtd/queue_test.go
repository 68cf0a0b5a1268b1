package vtd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func (r *rig) iqei() uint64   { return spec.IqercdIQEI.Of(r.R64(spec.OffIQERCD)) }
func (r *rig) iqe() bool      { return spec.FstsIQE.On(r.R32(spec.OffFSTS)) }
func (r *rig) head() uint64   { return r.R64(spec.OffIQH) }
func (r *rig) clearIQE()      { r.W32(spec.OffFSTS, spec.FstsIQE.Mask()) }
func (r *rig) status() emu.PA { return 0x9000 }

func TestWaitWritesStatusAndInterrupts(t *testing.T) {
	for _, wide := range []bool{false, true} {
		r := newRig(t)
		r.unmask()
		r.queue(wide)
		r.Put(r.status(), ^uint64(0))
		lo, hi := wait(0xabcd, r.status())
		r.submit(lo|spec.IwIF.Mask(), hi)
		require.Equal(t, uint64(0xffff_ffff_0000_abcd), r.Get(r.status()), "32 bits are written")
		require.Equal(t, []uint32{ieData}, r.MSI)
		require.EqualValues(t, 1, r.R32(spec.OffICS))
		require.Equal(t, r.tail, r.head())
	}
}

func TestQueueWraps(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	for i := range uint64(600) {
		r.submit(wait(i, r.status()))
		require.Equal(t, i, r.Get(r.status()))
	}
}

func TestQueueErrors(t *testing.T) {
	ww, wa := wait(1, 0x9000)
	for _, c := range []struct {
		name   string
		iqei   uint64
		wide   bool
		lo, hi uint64
		config func(*vtd.Config)
		after  func(r *rig)
		ttm    uint64
	}{
		{name: "tail beyond the queue", iqei: 1, lo: ww, hi: wa, after: func(r *rig) { r.tail = 0x1000 }},
		{name: "queue not readable", iqei: 2, lo: ww, hi: wa, after: func(r *rig) { r.BusError(r.iq, 16) }},
		{name: "type 0", iqei: 3},
		{name: "type 15", iqei: 3, lo: 15},
		{name: "type 85 is not type 5", iqei: 3, lo: ww | 1<<9},
		{name: "device-TLB without DT", iqei: 3, lo: spec.PutDescType(spec.DescDevTLB)},
		{name: "PASID cache without SMTS", iqei: 3, lo: pcInv(spec.GranPCGlobal, 0, 0), config: (*vtd.Config).NoScalable},
		{name: "PASID cache in a narrow descriptor", iqei: 3, lo: pcInv(spec.GranPCGlobal, 0, 0)},
		{name: "PASID cache in legacy mode", iqei: 3, wide: true, lo: pcInv(spec.GranPCGlobal, 0, 0)},
		{name: "page group response in a narrow descriptor", iqei: 3, config: pri, lo: spec.PutDescType(spec.DescPageGroup)},
		{name: "page group response in legacy mode", iqei: 3, config: pri, wide: true, lo: spec.PutDescType(spec.DescPageGroup)},
		{name: "page group response without PRS", iqei: 3, wide: true, ttm: spec.TTMScalable, lo: spec.PutDescType(spec.DescPageGroup)},
		{name: "wait bit 8", iqei: 4, lo: ww | 1<<8, hi: wa},
		{name: "wait bit 12", iqei: 4, lo: ww | 1<<12, hi: wa},
		{name: "wait PD without PDS", iqei: 4, lo: ww | spec.IwPD.Mask(), hi: wa},
		{name: "wait status address", iqei: 4, lo: ww, hi: wa | 2},
		{name: "context bit 6", iqei: 4, lo: ccInv(1, 0, 0, 0) | 1<<6},
		{name: "context bit 50", iqei: 4, lo: ccInv(1, 0, 0, 0) | 1<<50},
		{name: "context second word", iqei: 4, lo: ccInv(1, 0, 0, 0), hi: 1},
		{name: "context granularity 0", iqei: 4, lo: ccInv(0, 0, 0, 0)},
		{name: "IOTLB granularity 0", iqei: 4, lo: iotlbInv(0, 0)},
		{name: "IOTLB bit 32", iqei: 4, lo: iotlbInv(1, 0) | 1<<32},
		{name: "IOTLB word 1 bit 7", iqei: 4, lo: iotlbInv(1, 0), hi: 1 << 7},
		{name: "IOTLB AM beyond MAMV", iqei: 4, lo: iotlbInv(3, 0), hi: 0x1f},
		{name: "IOTLB page without PSI", iqei: 4, lo: iotlbInv(3, 0), config: func(c *vtd.Config) { c.PSI = false }},
		{name: "interrupt entry bit 26", iqei: 4, lo: spec.PutDescType(spec.DescIEC) | 1<<26},
		{name: "PASID cache granularity 2", iqei: 4, wide: true, ttm: spec.TTMScalable, lo: pcInv(2, 0, 0)},
		{name: "PASID cache bit 52", iqei: 4, wide: true, ttm: spec.TTMScalable, lo: pcInv(0, 0, 0) | 1<<52},
		{name: "page group response bit 5", iqei: 4, wide: true, ttm: spec.TTMScalable, config: pri, lo: spec.PutDescType(spec.DescPageGroup) | 1<<5},
		{name: "page group response bit 52", iqei: 4, wide: true, ttm: spec.TTMScalable, config: pri, lo: spec.PutDescType(spec.DescPageGroup) | 1<<52},
		{name: "page group response bit 76", iqei: 4, wide: true, ttm: spec.TTMScalable, config: pri, lo: spec.PutDescType(spec.DescPageGroup), hi: 1 << 12},
		{name: "page group response third word", iqei: 4, wide: true, ttm: spec.TTMScalable, config: pri, lo: spec.PutDescType(spec.DescPageGroup),
			after: func(r *rig) { r.Put(r.iq+16, 1) }},
		{name: "PASID IOTLB granularity 1", iqei: 4, wide: true, ttm: spec.TTMScalable, lo: spec.PutDescType(spec.DescPASIDIOTLB) | spec.PiG.Put(1)},
		{name: "PFSID without DIT", iqei: 4, config: dt, lo: spec.PutDescType(spec.DescDevTLB) | spec.DtPFSIDHi.Put(1)},
		{name: "upper half of a wide descriptor", iqei: 4, wide: true, lo: ww, hi: wa,
			after: func(r *rig) { r.Put(r.iq+24, 1) }},
		{name: "wide descriptors without scalable mode", iqei: 5, wide: true, lo: ww, hi: wa,
			config: func(c *vtd.Config) { c.NoScalable(); c.ADMS = false }},
		{name: "narrow descriptors in scalable mode", iqei: 5, lo: ww, hi: wa, ttm: spec.TTMScalable},
		{name: "tail not aligned", iqei: 6, wide: true, lo: ww, hi: wa, after: func(r *rig) { r.tail = 16 }},
		{name: "table mode reserved", iqei: 7, lo: ww, hi: wa, ttm: spec.TTMReserved},
	} {
		t.Run(fmt.Sprintf("%d %s", c.iqei, c.name), func(t *testing.T) {
			r := newRig(t, func(cfg *vtd.Config) {
				if c.config != nil {
					c.config(cfg)
				}
			})
			r.unmask()
			r.setRoot(c.ttm)
			r.queue(c.wide)
			r.push(c.lo, c.hi)
			if c.after != nil {
				c.after(r)
			}
			r.ring()
			require.True(t, r.iqe())
			require.Equal(t, c.iqei, r.iqei())
			require.Zero(t, r.head(), "IQH stays at the descriptor")
			require.Equal(t, []uint32{feData}, r.MSI)
			require.Zero(t, r.Get(0x9000))
		})
	}
}

func TestQueueErrorStopsUntilCleared(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.submit(0, 0)
	r.submit(wait(1, r.status()))
	require.True(t, r.iqe())
	require.Zero(t, r.Get(r.status()))
	require.Zero(t, r.head())
}

func TestQueueErrorInTheMiddlePointsAtItsDescriptor(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.push(wait(1, r.status()))
	r.push(0xf, 0)
	r.push(wait(2, r.status()))
	r.ring()
	require.EqualValues(t, 16, r.head())
	require.EqualValues(t, 1, r.Get(r.status()))
}

func TestStillBadDescriptorIsReportedAgain(t *testing.T) {
	r := newRig(t)
	r.unmask()
	r.queue(false)
	r.submit(0, 0)
	r.clearIQE()
	require.True(t, r.iqe())
	require.Len(t, r.MSI, 2)
}

func TestQueueErrorAfterAPendingFaultRaisesNoSecondInterrupt(t *testing.T) {
	r := newRig(t)
	r.unmask()
	r.legacy()
	r.Access(sid, iova, emu.Read)
	require.Len(t, r.MSI, 1)
	r.queue(false)
	r.submit(0, 0)
	require.True(t, r.iqe())
	require.Len(t, r.MSI, 1)
}

func TestInvalidationReachesWhatItNames(t *testing.T) {
	const did = 7
	ii := iotlbInv
	pi := func(g, d, p uint64) uint64 {
		return spec.PutDescType(spec.DescPASIDIOTLB) | spec.PiG.Put(g) | spec.PiDID.Put(d) | spec.PiPASID.Put(p)
	}
	// One entry of each class is put into the IOTLB by hand: which of them survive?
	for _, c := range []struct {
		name   string
		lo, hi uint64
		gone   string // of "SFNP": second stage, first stage, nested, pass-through
	}{
		{"type 2 global", ii(1, 0), 0, "SFNP"},
		{"type 2 domain", ii(2, did), 0, "SFNP"},
		{"type 2 other domain", ii(2, did+1), 0, ""},
		{"type 2 page", ii(3, did), pageInv(iova, 0, false), "SFN"},
		{"type 2 other page", ii(3, did), pageInv(iova+4096, 0, false), "FN"},
		{"type 6 PASID", pi(2, did, 5), 0, "FNP"},
		{"type 6 other PASID", pi(2, did, 6), 0, ""},
		{"type 6 page", pi(3, did, 5), pageInv(iova, 0, false), "FN"},
		{"type 6 other page", pi(3, did, 5), pageInv(iova+4096, 0, false), ""},
		{"type 6 all pages", pi(3, did, 5), pageInv(0, 63, false), "FN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.setRoot(spec.TTMScalable)
			r.queue(true)
			tlb := r.u.Cache(emu.CacheIOTLB)
			keys := []emu.Key{
				{Tag: emu.MakeTag(vtd.ClassSS, did, emu.NoPASID), Addr: iova},
				{Tag: emu.MakeTag(vtd.ClassFS, did, 5), Addr: iova},
				{Tag: emu.MakeTag(vtd.ClassNested, did, 5), Addr: iova},
				{Tag: emu.MakeTag(vtd.ClassPT, did, 5), Addr: iova},
			}
			var v [4]uint64
			for i := range keys {
				tlb.Fill(&keys[i], 12, 0, &v)
			}
			r.submit(c.lo, c.hi)
			require.False(t, r.iqe())
			gone := ""
			for i := range keys {
				if !tlb.Probe(&keys[i], &v) {
					gone += "SFNP"[i : i+1]
				}
			}
			require.Equal(t, c.gone, gone)
		})
	}
}

func TestPASIDCacheInvalidationReachesWhatItNames(t *testing.T) {
	for _, c := range []struct {
		name string
		lo   uint64
		gone bool
	}{
		{"global", pcInv(spec.GranPCGlobal, 0, 0), true},
		{"domain", pcInv(spec.GranPCDomain, 7, 0), true},
		{"other domain", pcInv(spec.GranPCDomain, 8, 5), false},
		{"PASID", pcInv(spec.GranPCPASID, 7, 5), true},
		{"other PASID", pcInv(spec.GranPCPASID, 7, 6), false},
		{"new domain of the PASID", pcInv(spec.GranPCPASID, 8, 5), false},
		{"context only", ccInv(1, 0, 0, 0), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			top := r.bind(sid, 5, spec.PGTTSecond, 7)
			r.mapPage(top, iova, 0x5000, ssRW)
			r.scalable()
			r.queue(true)
			r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
			r.Put(r.pasidEntry(sid, 5), 0)
			r.submit(c.lo, 0)
			require.False(t, r.iqe())
			if res := r.pasidAccess(5, iova, emu.Read); c.gone {
				r.RequireFault(res, vtd.FaultPASIDAbsent)
			} else {
				r.RequireOK(res, 0x5000)
			}
		})
	}
}

func TestDeviceTLBInvalidation(t *testing.T) {
	r := newRig(t, dt)
	var got []emu.Act
	r.F.OnATSInvalidate = func(t *emu.Txn) bool { got = append(got, t.Act); return true }
	r.setRoot(spec.TTMScalable)
	r.queue(true)
	r.push(spec.PutDescType(spec.DescDevTLB)|spec.DtSID.Put(uint64(sid))|spec.DtMIP.Put(4), spec.AllAddressS|1)
	r.push(spec.PutDescType(spec.DescPASIDDevTLB)|spec.PdSID.Put(uint64(sid))|spec.PdPASID.Put(5), iova|spec.PdS.Mask()|spec.PdG.Mask())
	r.push(wait(1, r.status()))
	r.ring()
	require.EqualValues(t, 1, r.Get(r.status()))
	require.Len(t, got, 2)
	require.EqualValues(t, sid, got[0].Key.Addr)
	require.Equal(t, emu.NoPASID, got[0].Key.Tag.PASID())
	require.EqualValues(t, spec.AllAddressS|1<<11, got[0].Data[0])
	require.EqualValues(t, 5, got[1].Key.Tag.PASID())
	require.EqualValues(t, iova|1<<11|1, got[1].Data[0])
}

func TestUnexpectedATSCompletionIsLogged(t *testing.T) {
	r := newRig(t, dt)
	r.unmask()
	r.F.Wake(r.u.UnexpectedATSCompletion(sid))
	require.True(t, spec.FstsICE.On(r.R32(spec.OffFSTS)))
	require.EqualValues(t, sid, spec.IqercdICESID.Of(r.R64(spec.OffIQERCD)))
	require.Equal(t, []uint32{feData}, r.MSI)
	r.W32(spec.OffFSTS, spec.FstsICE.Mask())
	require.Zero(t, r.R32(spec.OffFSTS))
}

func TestQueueOffWaitsForTheEngine(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	// The queue is turned off by the handler of its own interrupt, while it runs.
	r.unmask()
	r.F.OnMSI = func(emu.PA, uint32) {
		r.command(spec.GcmdQIE, false)
	}
	lo, hi := wait(1, r.status())
	r.submit(lo|spec.IwIF.Mask(), hi)
	require.False(t, spec.GstsQIES.On(r.R32(spec.OffGSTS)))
	require.Zero(t, r.head())
}

func TestInterruptEntryInvalidationIsAccepted(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.push(spec.PutDescType(spec.DescIEC), 0)
	r.push(spec.PutDescType(spec.DescIEC)|spec.IeG.Mask()|spec.IeIM.Put(3)|spec.IeIIDX.Put(9), 0)
	r.push(wait(1, r.status()))
	r.ring()
	require.False(t, r.iqe())
	require.EqualValues(t, 1, r.Get(r.status()))
}
