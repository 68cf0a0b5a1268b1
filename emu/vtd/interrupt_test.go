package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

func noInterrupts(c *vtd.Config) {
	c.IR, c.EIM, c.PI, c.ESIRTPS, c.MHMV = false, false, false, false, 0
}

// msi sends an interrupt request.
func (r *rig) irq(s emu.SourceID, addr uint64, data uint32) emu.Result {
	return r.Do(write4(s, addr, data))
}

func write4(s emu.SourceID, addr uint64, data uint32) emu.Request {
	return emu.Request{Source: s, Addr: emu.IOVA(addr), PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: data}
}

// setIRTA makes a table of 2^(size+1) entries and lets the unit use it.
func (r *rig) setIRTA(size uint64, extended bool) emu.PA {
	table := r.Page()
	for n := uint64(emu.PageSize / spec.IRTESize); n < 2<<size; n += emu.PageSize / spec.IRTESize {
		r.Page()
	}
	r.W64(spec.OffIRTA, uint64(table)|spec.IrtaEIME.PutBool(extended)|spec.IrtaS.Put(size))
	r.command(spec.GcmdSIRTP, true)
	return table
}

// remapping turns interrupt remapping on with a table of 32 entries.
func (r *rig) remapping(extended bool) emu.PA {
	table := r.setIRTA(4, extended)
	r.command(spec.GcmdIRE, true)
	require.True(r.T, spec.GstsIRES.On(r.R32(spec.OffGSTS)))
	return table
}

// irte makes an entry for vector v of processor 2 that any source may use. Values are of fields that
// every version of the specification has, in hexadecimal as they lie in memory.
func irte(v uint64, set ...func([]uint64)) [2]uint64 {
	e := []uint64{0x0000_0200_0000_0001 | v<<16, 0}
	for _, f := range set {
		f(e)
	}
	return [2]uint64{e[0], e[1]}
}

func (r *rig) putIRTE(table emu.PA, index int, e [2]uint64) {
	require.True(r.T, r.Mem.Store(table+emu.PA(index)*16, 16, &[4]uint64{e[0], e[1]}))
}

// handle is the address of a request for entry index, without subhandle.
func handle(index uint64) uint64 { return 0xfee0_0010 | index&0x7fff<<5 | index>>15<<2 }

// iec is an interrupt-entry cache invalidation.
func iec(selective bool, index, im uint64) uint64 {
	return spec.PutDescType(spec.DescIEC) | spec.IeG.PutBool(selective) | spec.IeIIDX.Put(index) | spec.IeIM.Put(im)
}

func (r *rig) interrupts(res emu.Result, addr emu.PA, data uint32) {
	r.T.Helper()
	require.Equal(r.T, emu.Interrupt, res.Status, "fault %#x", res.Fault.Code)
	require.Equal(r.T, addr, res.PA, "%#x", uint64(res.PA))
	require.Equal(r.T, data, res.Data, "%#x", res.Data)
}

func TestInterruptRequestOfEachFormat(t *testing.T) {
	for _, c := range []struct {
		name string
		addr uint64
		data uint32
		want int // index
	}{
		{"handle", handle(5), 0, 5},
		{"data is ignored without SHV", handle(5), 0xffff_ffff, 5},
		{"subhandle", handle(5) | 8, 3, 8},
		{"handle bit 15", handle(0x8005), 0, 0x8005},
		{"handle bit 15 and subhandle", handle(0x8005) | 8, 0x7f00, 0xff05},
		{"the sum has 16 bits", handle(0xffff) | 8, 3, 2},
	} {
		r := newRig(t)
		table := r.setIRTA(15, false)
		r.command(spec.GcmdIRE, true)
		r.putIRTE(table, c.want, irte(0x41))
		r.interrupts(r.irq(sid, c.addr, c.data), 0xfee0_2000, 0x4041)
	}
}

func TestRemappedMessageIsComposedOfTheEntry(t *testing.T) {
	for _, c := range []struct {
		name     string
		extended bool
		lo       uint64
		addr     emu.PA
		data     uint32
	}{
		{"fixed, edge, physical", false, 0x0000_ab00_0031_0001, 0xfeea_b000, 0x4031},
		{"redirection hint", false, 0x0000_ab00_0031_0009, 0xfeea_b008, 0x4031},
		{"logical", false, 0x0000_ab00_0031_0005, 0xfeea_b004, 0x4031},
		{"level", false, 0x0000_ab00_0031_0011, 0xfeea_b000, 0xc031},
		{"NMI", false, 0x0000_ab00_0031_0081, 0xfeea_b000, 0x4431},
		{"available bits", false, 0x0000_ab00_0031_0f01, 0xfeea_b000, 0x4031},
		{"extended destination", true, 0x1234_56ab_0031_0001, 0x1234_5600_feea_b000, 0x4031},
		{"small extended destination", true, 0x0000_00ab_0031_0001, 0xfeea_b000, 0x4031},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			table := r.remapping(c.extended)
			r.putIRTE(table, 7, [2]uint64{c.lo, 0})
			for range 2 { // from memory, from the cache
				r.interrupts(r.irq(sid, handle(7), 0), c.addr, c.data)
			}
			dest := uint32(c.lo >> 32)
			if !c.extended {
				dest >>= 8
			}
			if c.lo&0xc == 0 {
				require.Equal(t, emu.MSITo(dest), c.addr, "the layout is that of messages to processors")
			}
		})
	}
}

func TestInterruptsPassUnchangedWhileRemappingIsOff(t *testing.T) {
	for _, c := range []func(*vtd.Config){func(*vtd.Config) {}, noInterrupts} {
		r := newRig(t, c)
		for _, addr := range []uint64{0xfee0_1000, handle(3)} {
			r.interrupts(r.irq(sid, addr, 0x1234), emu.PA(addr), 0x1234)
		}
	}
}

// irqFaults has every fault of an interrupt request, with what makes it and whether FPD suppresses it.
var irqFaults = []struct {
	name      string
	code      uint16
	extended  bool
	entry     [2]uint64
	source    emu.SourceID
	addr      uint64
	data      uint32
	qualified bool
	setup     func(r *rig, table emu.PA)
}{
	{name: "reserved data bits with SHV", code: 0x20, addr: handle(5) | 8, data: 1 << 16},
	{name: "index beyond the table", code: 0x21, addr: handle(32)},
	{name: "sum beyond the table", code: 0x21, addr: handle(31) | 8, data: 1},
	{name: "not present", code: 0x22, entry: [2]uint64{0x0000_0200_0041_0000}, qualified: true},
	{name: "not present comes before reserved", code: 0x22, entry: [2]uint64{1 << 12}, qualified: true},
	{name: "read error", code: 0x23, entry: irte(0x41), setup: func(r *rig, table emu.PA) { r.BusError(table+5*16, 16) }},
	{name: "reserved bit 12", code: 0x24, entry: irte(0x41, with(12_012, 1)), qualified: true},
	{name: "reserved bit 14, remapped", code: 0x24, entry: irte(0x41, with(14_014, 1)), qualified: true},
	{name: "reserved bit 31", code: 0x24, entry: irte(0x41, with(31_031, 1)), qualified: true},
	{name: "reserved bit 84", code: 0x24, entry: irte(0x41, with(84_084, 1)), qualified: true},
	{name: "reserved bit 127", code: 0x24, entry: irte(0x41, with(127_127, 1)), qualified: true},
	{name: "posted: reserved bit 2", code: 0x24, entry: irte(0x41, with(15_015, 1), with(63_032, 0), with(2_002, 1)), qualified: true},
	{name: "posted: reserved bit 37", code: 0x24, entry: irte(0x41, with(15_015, 1), with(63_032, 0), with(37_037, 1)), qualified: true},
	{name: "compatibility format", code: 0x25, addr: 0xfee0_1000, data: 0x31},
	{name: "another source", code: 0x26, entry: irte(0x41, with(83_082, 1), with(79_064, 0x0311)), qualified: true},
	{name: "reserved SVT", code: 0x26, entry: irte(0x41, with(83_082, 3), with(79_064, 0x0310)), qualified: true},
	{name: "descriptor read error", code: 0x27, entry: postedIRTE(0x41, pidAt), qualified: true,
		setup: func(r *rig, _ emu.PA) { r.BusError(pidAt, 64) }},
	{name: "descriptor beyond the host width", code: 0x27, entry: postedIRTE(0x41, 1<<48), qualified: true},
	{name: "descriptor: reserved bit 258", code: 0x28, entry: postedIRTE(0x41, pidAt), qualified: true,
		setup: func(r *rig, _ emu.PA) { r.Put(pidAt+32, 1<<2) }},
	{name: "descriptor: reserved bit 280", code: 0x28, entry: postedIRTE(0x41, pidAt), qualified: true,
		setup: func(r *rig, _ emu.PA) { r.Put(pidAt+32, 1<<24) }},
	{name: "descriptor: reserved bit 511", code: 0x28, entry: postedIRTE(0x41, pidAt), qualified: true,
		setup: func(r *rig, _ emu.PA) { r.Put(pidAt+56, 1<<63) }},
	{name: "descriptor: destination bit 288", code: 0x28, entry: postedIRTE(0x41, pidAt), qualified: true,
		setup: func(r *rig, _ emu.PA) { r.Put(pidAt+32, 1<<32) }},
}

func TestFaultsOfInterruptRequests(t *testing.T) {
	for _, c := range irqFaults {
		for _, fpd := range []uint64{0, 1} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t)
				r.Put(pidAt, 0, 0, 0, 0, 0, 0, 0, 0)
				table := r.remapping(c.extended)
				e := c.entry
				spec.IrteFPD.Set(e[:], fpd)
				r.putIRTE(table, 5, e)
				if c.setup != nil {
					c.setup(r, table)
				}
				addr, index := c.addr, uint64(5)
				if addr == 0 {
					addr = handle(5)
				}
				switch c.code {
				case 0x20, 0x25: // no index was settled
					index = 0
				case 0x21:
					index = 32
				}
				for range 2 { // never from the cache
					res := r.irq(sid, addr, c.data)
					r.RequireFault(res, c.code)
					require.Equal(t, c.qualified && fpd == 1, res.Fault.Quiet)
				}
				rec := r.record(0)
				require.Equal(t, !c.qualified || fpd == 0, rec.F())
				if rec.F() {
					require.Equal(t, index<<48, rec[0], "FI")
					require.Equal(t, 1<<63|uint64(c.code)<<32|uint64(sid), rec[1], "type, PASID and privilege are of DMA")
				}
				require.Contains(t, r.u.FaultName(c.code), " ", "has a name")
			})
		}
	}
}

// A bus error of an address range beyond HAW is not even asked for.
func TestInterruptTableBeyondTheHostWidth(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffIRTA, 1<<48|4)
	r.command(spec.GcmdSIRTP, true)
	r.command(spec.GcmdIRE, true)
	r.RequireFault(r.irq(sid, handle(5), 0), vtd.FaultIRIndex)
}

func TestIllegalRequestsToTheInterruptRange(t *testing.T) {
	r := newRig(t)
	for _, q := range []emu.Request{
		{Source: sid, Addr: 0xfee0_0000, PASID: emu.NoPASID, Len: 4, Access: emu.Read},
		{Source: sid, Addr: 0xfee0_0000, PASID: emu.NoPASID, Len: 8, Access: emu.Write},
		{Source: sid, Addr: 0xfee0_0002, PASID: emu.NoPASID, Len: 4, Access: emu.Write},
		{Source: sid, Addr: 0xfee0_0000, PASID: emu.NoPASID, Len: 4, Access: emu.RW | emu.Atomic},
	} {
		r.RequireOK(r.Do(q), uint64(q.Addr))
		r.remapping(false)
		res := r.Do(q)
		r.RequireFault(res, vtd.FaultIllegalInterrupt)
		require.False(t, res.Fault.Quiet)
		rec := r.record(0)
		require.EqualValues(t, 0x29, rec.FR())
		require.EqualValues(t, 0xfee0_0000, rec[0])
		r.clearFaults()
		r.command(spec.GcmdIRE, false)
	}
}

func TestCompatibilityFormatPassesOnlyWithCFISAndWithoutEIME(t *testing.T) {
	for _, c := range []struct{ extended, cfi, pass bool }{
		{false, false, false}, {false, true, true}, {true, false, false}, {true, true, false},
	} {
		r := newRig(t)
		r.remapping(c.extended)
		r.command(spec.GcmdCFI, c.cfi)
		require.Equal(t, c.cfi, spec.GstsCFIS.On(r.R32(spec.OffGSTS)))
		res := r.irq(sid, 0xfee0_1008, 0x31)
		if c.pass {
			r.interrupts(res, 0xfee0_1008, 0x31)
		} else {
			r.RequireFault(res, vtd.FaultCompatibility)
		}
		r.command(spec.GcmdIRE, false)
		r.interrupts(r.irq(sid, 0xfee0_1008, 0x31), 0xfee0_1008, 0x31)
	}
}

func TestVTDQuirk01_InterruptTableIsUsedAfterSIRTPOnly(t *testing.T) {
	r := newRig(t)
	first := r.remapping(false)
	r.putIRTE(first, 5, irte(0x41))
	second := r.Page()
	r.putIRTE(second, 5, [2]uint64{0x1234_5601_0042_0001, 0})
	v := uint64(second) | spec.IrtaEIME.Mask() | 1 // extended mode, 4 entries
	r.W64(spec.OffIRTA, v)
	require.Equal(t, v, r.R64(spec.OffIRTA), "reads return what was written")
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
	r.command(spec.GcmdCFI, true)
	r.interrupts(r.irq(sid, 0xfee0_1000, 0x31), 0xfee0_1000, 0x31)
	r.command(spec.GcmdSIRTP, true)
	r.RequireFault(r.irq(sid, handle(5), 0), vtd.FaultIRIndex)
	r.RequireFault(r.irq(sid, 0xfee0_1000, 0x31), vtd.FaultCompatibility)
	r.W64(spec.OffIRTA, v+1)
	r.command(spec.GcmdSIRTP, true)
	r.queue(false)
	r.submit(iec(false, 0, 0), 0)
	r.interrupts(r.irq(sid, handle(5), 0), 0x1234_5600_fee0_1000, 0x4042)
}

func TestIRTPSDropsWhileTheCommandRuns(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffIRTA, uint64(r.Page()))
	r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdSIRTP.Mask())
	require.False(t, spec.GstsIRTPS.On(r.R32(spec.OffGSTS)))
	r.F.Wake(vtd.EngineCommand.Set())
	require.True(t, spec.GstsIRTPS.On(r.R32(spec.OffGSTS)))
	r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdSIRTP.Mask())
	require.False(t, spec.GstsIRTPS.On(r.R32(spec.OffGSTS)))
}

func TestVTDQuirk05_SIRTPInvalidatesOnlyWithESIRTPS(t *testing.T) {
	for _, esirtps := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.ESIRTPS = esirtps })
		require.Equal(t, esirtps, spec.CapESIRTPS.On(r.R64(spec.OffCAP)))
		r.putIRTE(r.remapping(false), 5, irte(0x41))
		r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
		r.putIRTE(r.setIRTA(4, false), 5, irte(0x42))
		want := uint32(0x4041)
		if esirtps {
			want++
		}
		r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, want)
	}
}

func TestInterruptEntriesStayUntilTheyAreInvalidated(t *testing.T) {
	for _, c := range []struct {
		name  string
		desc  uint64
		stale []int // of entries 0 to 15
	}{
		{"global", iec(false, 0, 0), nil},
		{"one", iec(true, 5, 0), []int{0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
		{"two", iec(true, 5, 1), []int{0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
		{"eight", iec(true, 8, 3), []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"beyond", iec(true, 16, 2), []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
		{"DMA caches", iotlbInv(spec.GranGlobal, 0), []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
	} {
		r := newRig(t)
		table := r.remapping(false)
		for i := range 16 {
			r.putIRTE(table, i, irte(0x41))
			r.interrupts(r.irq(sid, handle(uint64(i)), 0), 0xfee0_2000, 0x4041)
			r.putIRTE(table, i, irte(0x42))
		}
		r.queue(false)
		r.submit(c.desc, 0)
		var stale []int
		for i := range 16 {
			if r.irq(sid, handle(uint64(i)), 0).Data == 0x4041 {
				stale = append(stale, i)
			}
		}
		require.Equal(t, c.stale, stale, c.name)
	}
}

func TestVTDQuirk42_GranularityOfInterruptEntryInvalidation(t *testing.T) {
	// The bit is 0 for global, unlike everywhere else, and IM is a power of two.
	r := newRig(t)
	table := r.remapping(false)
	for i := range 8 {
		r.putIRTE(table, i, irte(0x41))
		r.irq(sid, handle(uint64(i)), 0)
		r.putIRTE(table, i, irte(0x42))
	}
	r.queue(false)
	r.submit(0x04|1<<4|2<<27|4<<32, 0) // four from 4 on
	for i, want := range []uint32{0x4041, 0x4041, 0x4041, 0x4041, 0x4042, 0x4042, 0x4042, 0x4042} {
		require.Equal(t, want, r.irq(sid, handle(uint64(i)), 0).Data, "entry %d", i)
	}
	r.submit(0x04|4<<32, 0) // global: the index does not count
	require.EqualValues(t, 0x4042, r.irq(sid, handle(0), 0).Data)
}

func TestInterruptIndexMaskIsLimitedByMHMV(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.MHMV = 2 })
	require.EqualValues(t, 2, spec.EcapMHMV.Of(r.R64(spec.OffECAP)))
	r.queue(false)
	r.submit(iec(true, 0, 2), 0)
	r.submit(iec(false, 0, 3), 0) // IM does not count
	require.False(t, r.iqe())
	r.submit(iec(true, 0, 3), 0)
	require.True(t, r.iqe())
	require.EqualValues(t, spec.IQEIReserved, spec.IqercdIQEI.Of(r.R64(spec.OffIQERCD)))
}

func TestAbsentInterruptCacheHoldsNothing(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.InterruptCache = iotlb.Geometry{} })
	table := r.remapping(false)
	r.putIRTE(table, 5, irte(0x41))
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
	r.putIRTE(table, 5, irte(0x42))
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4042)
}

// The cached entry is verified for each request, and its FPD counts.
func TestCachedInterruptEntryIsVerifiedForEachSource(t *testing.T) {
	r := newRig(t)
	table := r.remapping(false)
	r.putIRTE(table, 5, irte(0x41, with(spec.IrteSVT, 1), with(spec.IrteSID, uint64(sid)), with(spec.IrteFPD, 1)))
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
	res := r.irq(hiSID, handle(5), 0)
	r.RequireFault(res, vtd.FaultIRTESource)
	require.True(t, res.Fault.Quiet)
	require.True(t, res.Touched.Has(emu.CacheInterrupt))
}

func TestSourceQualifierIgnoresLowFunctionBits(t *testing.T) {
	for sq, mask := range []emu.SourceID{0, 4, 6, 7} {
		r := newRig(t)
		r.putIRTE(r.remapping(false), 5, irte(0x41, with(spec.IrteSVT, 1), with(spec.IrteSID, 0x0312), with(spec.IrteSQ, uint64(sq))))
		for fn := range emu.SourceID(8) {
			got := r.irq(0x0310|fn, handle(5), 0).Status == emu.Interrupt
			require.Equal(t, (fn^2)&^mask == 0, got, "SQ %d, function %d", sq, fn)
		}
		require.Equal(t, emu.Blocked, r.irq(0x031a, handle(5), 0).Status)
	}
}

func TestVTDQuirk53_BusRangeHasTheFirstBusInItsHighByte(t *testing.T) {
	r := newRig(t)
	r.putIRTE(r.remapping(false), 5, irte(0x41, with(spec.IrteSVT, 2), with(spec.IrteSID, 0x0305)))
	for bus, want := range map[emu.SourceID]emu.Status{
		2: emu.Blocked, 3: emu.Interrupt, 4: emu.Interrupt, 5: emu.Interrupt, 6: emu.Blocked,
	} {
		require.Equal(t, want, r.irq(bus<<8|0xff, handle(5), 0).Status, "bus %d", bus)
	}
}

func TestVTDQuirk54_DestinationOfEightBits(t *testing.T) {
	for bit := range uint(32) {
		r := newRig(t)
		table := r.remapping(false)
		e := irte(0x41)
		e[0] = e[0]&0xffff_ffff | 1<<(32+bit)
		r.putIRTE(table, 5, e)
		res := r.irq(sid, handle(5), 0)
		if bit < 8 || bit > 15 {
			r.RequireFault(res, vtd.FaultIRTEReserved)
			r.setIRTA(4, true) // extended: all bits count
			r.putIRTE(emu.PA(r.R64(spec.OffIRTA)&spec.IrtaIRTA.Mask()), 5, e)
			r.interrupts(r.irq(sid, handle(5), 0), emu.MSITo(1<<bit), 0x4041)
			continue
		}
		r.interrupts(res, 0xfee0_0000|1<<(12+bit-8), 0x4041)
	}
}

func TestPostedFormatNeedsPI(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.PI = false })
	require.False(t, spec.CapPI.On(r.R64(spec.OffCAP)))
	r.putIRTE(r.remapping(false), 5, postedIRTE(0x41, pidAt))
	r.RequireFault(r.irq(sid, handle(5), 0), vtd.FaultIRTEReserved)
}

func TestExtendedModeNeedsEIM(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.EIM = false })
	r.W64(spec.OffIRTA, ^uint64(0))
	require.EqualValues(t, ^uint64(0)&^0xff0, r.R64(spec.OffIRTA))
	r.W64(spec.OffIRTA+0, 0)
	r.putIRTE(r.remapping(true), 5, irte(0x41))
	r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
}

func TestUnitWithoutInterruptRemappingHasNoneOfIt(t *testing.T) {
	r := newRig(t, noInterrupts)
	require.False(t, spec.EcapIR.On(r.R64(spec.OffECAP)))
	r.W64(spec.OffIRTA, ^uint64(0))
	require.Zero(t, r.R64(spec.OffIRTA))
	for _, b := range []uint64{spec.GcmdSIRTP.Mask(), spec.GcmdIRE.Mask(), spec.GcmdCFI.Mask()} {
		r.W32(spec.OffGCMD, b)
		require.Zero(t, r.R32(spec.OffGSTS))
	}
}

func TestInterruptPathAllocatesNothing(t *testing.T) {
	r := newRig(t)
	r.F.OnMSI = func(emu.PA, uint32) {}
	table := r.remapping(false)
	r.Put(pidAt, 0, 0, 0, 0, 0, 0, 0, 0)
	for i := range 24 {
		r.putIRTE(table, i, irte(0x41))
	}
	r.putIRTE(table, 30, postedIRTE(0x41, pidAt))
	queries := make([]emu.Request, 0, 32)
	for i := range uint64(24) { // hits and misses
		queries = append(queries, write4(sid, handle(i), 0))
	}
	queries = append(queries, write4(sid, handle(30), 0), write4(sid, handle(31), 0), write4(sid, 0xfee0_0000, 0))
	var res emu.Result
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for i := range queries {
			r.F.Translate(&queries[i], &res)
		}
	}))
}

func TestInterruptEntryCacheEvents(t *testing.T) {
	r := newRig(t, pms(3))
	table := r.remapping(false)
	r.Put(pidAt, 0, 0, 0, 0, control(pidSN, false), 0, 0, 0)
	r.putIRTE(table, 5, irte(0x41))
	r.putIRTE(table, 6, postedIRTE(0x41, pidAt))
	r.use(0, spec.GroupInterrupt, spec.EventIntLookup, nil)
	r.use(1, spec.GroupInterrupt, spec.EventIntHit, nil)
	r.use(2, spec.GroupInterrupt, spec.EventIntHitPosted, nil)
	for range 3 {
		r.irq(sid, handle(5), 0)
	}
	for range 5 {
		r.irq(sid, handle(6), 0)
	}
	require.EqualValues(t, 8, r.counter(0))
	require.EqualValues(t, 2, r.counter(1))
	require.EqualValues(t, 4, r.counter(2))
}
