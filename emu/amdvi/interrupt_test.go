package amdvi_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// remapped gives dev an interrupt table of 2^n entries.
func (r *rig) remapped(n uint64, fields ...field) (table emu.PA) {
	table = r.Pages(8)
	r.bind(dev, append([]field{{spec.DteIV, 1}, {spec.DteIntCtl, spec.IntCtlRemap}, {spec.DteIntTabLen, n}, {spec.DteIRTRoot, uint64(table) >> 6}}, fields...)...)
	return table
}

// irq sends an interrupt with an index.
func (r *rig) irq(index uint32) emu.Result {
	q := interrupt()
	q.Data = index
	return r.Do(q)
}

func (r *rig) delivered(res emu.Result, pa emu.PA, data uint32) {
	r.T.Helper()
	require.Equal(r.T, emu.Interrupt, res.Status, "fault %#x", res.Fault.Code)
	require.Equal(r.T, pa, res.PA)
	require.Equal(r.T, data, res.Data)
}

const (
	irteEn    = uint64(1)
	irteGuest = uint64(1) << 7
)

func TestIRTEOf32Bits(t *testing.T) {
	r := newRig(t).enable()
	table := r.remapped(9)
	put := func(i emu.PA, e uint32) {
		v := [4]uint64{uint64(e)}
		require.True(t, r.Mem.Store(table+4*i, 4, &v))
	}
	put(5, 0x0041_1201)        // fixed, physical, destination 12h, vector 41h
	put(0x1ff, 0x0042_0f45)    // arbitrated, logical, destination 0fh
	put(6, 0x0043_0001|1<<24)  // a reserved bit
	put(7, 0x0043_0001|irteDM) // a neighbour in the same 8 bytes
	r.delivered(r.irq(5), 0xfee1_2000, 0x41)
	r.delivered(r.irq(0x1ff), 0xfee0_f004, 0x142)
	r.delivered(r.irq(7), 0xfee0_0004, 0x43)
	r.RequireFault(r.irq(6), amdvi.FaultIRTEReserved)
	require.Equal(t, fI|fPR|fRZ, flags(r.event()))
	s := r.Begin(interrupt())
	s.Txn.Req.Data = 8
	s.End()
	sizes, at := fetched(s)
	require.EqualValues(t, 4, sizes[len(sizes)-1])
	require.Equal(t, table+32, at[len(at)-1])
}

const irteDM = uint32(1) << 6

func TestAMDQuirk38_GAEnMakesEntries16BytesAndXTEnWidensDestinations(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn)
	table := r.remapped(9)
	r.Put(table+5*16, irteEn|0x345678<<8, 0x12<<56|0x41)
	r.delivered(r.irq(5), 0xfee7_8000, 0x41)
	r.control(true, spec.CtlXTEn)
	r.delivered(r.irq(5), emu.PA(0x12_3456_00)<<32|0xfee7_8000, 0x41)
	s := r.Begin(interrupt())
	s.Txn.Req.Data = 9
	s.End()
	sizes, at := fetched(s)
	require.EqualValues(t, 16, sizes[len(sizes)-1])
	require.Equal(t, table+9*16, at[len(at)-1])
}

func TestAMDQuirk37_IndexOf512And2048Interrupts(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn)
	table := r.remapped(11, field{spec.DteNMIPass, 1}, field{spec.DteInitPass, 1})
	for _, i := range []emu.PA{0x1ff, 0x200, 0x400, 0x7ff} {
		r.Put(table+16*i, irteEn, uint64(0x40+i>>8))
	}
	dm := func(data uint32) emu.Result { // address bit 2 set
		q := interrupt()
		q.Addr, q.Data = q.Addr|4, data
		return r.Do(q)
	}
	// Bits 10:8 are the delivery mode: only 0 and 1 are remapped.
	r.delivered(r.irq(0x1ff), 0xfee0_0000, 0x41)
	r.delivered(r.irq(0x200), emu.PA(interrupt().Addr), 0x200) // SMI passes
	r.delivered(r.irq(0x400), emu.PA(interrupt().Addr), 0x400) // NMI
	r.delivered(r.irq(0x500), emu.PA(interrupt().Addr), 0x500) // INIT
	for _, data := range []uint32{0x300, 0x600, 0x700} {       // reserved, reserved, ExtInt without EIntPass
		r.RequireFault(r.irq(data), amdvi.FaultInterruptAborted)
	}
	for _, data := range []uint32{0x200, 0x400, 0x7ff} { // logical
		r.RequireFault(dm(data), amdvi.FaultInterruptAborted)
	}
	// With 2048 interrupts all bits are the index, if address bit 2 is set.
	r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlNumIntRemapMode.Put(spec.NumIntRemap2048))
	r.delivered(dm(0x200), 0xfee0_0000, 0x42)
	r.delivered(dm(0x400), 0xfee0_0000, 0x44)
	r.delivered(dm(0x7ff), 0xfee0_0000, 0x47)
	r.delivered(r.irq(0x400), emu.PA(interrupt().Addr), 0x400)
}

func TestInterruptFaults(t *testing.T) {
	addr := uint64(interrupt().Addr)
	for _, wide := range []bool{false, true} {
		size := emu.PA(4)
		if wide {
			size = 16
		}
		for _, c := range []struct {
			name  string
			lo    uint64
			hi    uint64
			code  uint16
			flags uint64
			wide  bool // only there
		}{
			{"RemapEn=0", 0xfff0_0000, 0, amdvi.FaultRemapEn, fI, false},
			{"IntType", irteEn | 2<<2, 0, amdvi.FaultIRTEReserved, fI | fPR | fRZ, false},
			{"GuestMode", irteEn | irteGuest, 0, amdvi.FaultIRTEReserved, fI | fPR | fRZ, false},
			{"reserved high", irteEn, 1 << 8, amdvi.FaultIRTEReserved, fI | fPR | fRZ, true},
			{"reserved low", irteEn | 1<<32, 0, amdvi.FaultIRTEReserved, fI | fPR | fRZ, true},
		} {
			if c.wide && !wide {
				continue
			}
			t.Run(fmt.Sprintf("%s, wide %v", c.name, wide), func(t *testing.T) {
				r := newRig(t).enable()
				r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlGAEn.PutBool(wide))
				table := r.remapped(9)
				r.Put(table+4*size, c.lo, c.hi)
				for range 2 { // nothing of it is cached
					r.RequireFault(r.irq(4), c.code)
					require.Equal(t, [2]uint64{2<<60 | uint64(dev) | did<<32 | c.flags, addr}, r.event())
				}
				// The entry may ask for silence.
				r.Put(table+4*size, c.lo|2, c.hi)
				res := r.irq(4)
				r.RequireFault(res, c.code)
				require.True(t, res.Fault.Quiet)
				require.Empty(t, r.events())
			})
		}
		r := newRig(t).enable()
		r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlGAEn.PutBool(wide))
		table := r.remapped(3)
		r.RequireFault(r.irq(8), amdvi.FaultIRTEIndex)
		require.Equal(t, [2]uint64{2<<60 | uint64(dev) | did<<32 | fI, addr}, r.event())
		r.BusError(table, 8)
		r.RequireFault(r.irq(0), amdvi.FaultIRTERead)
		require.Equal(t, [2]uint64{4<<60 | uint64(dev) | did<<32 | fI | fRW | 1<<57, uint64(table)}, r.event())
	}
}

func TestInterruptTableIsCachedUntilItIsInvalidated(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn)
	table := r.remapped(9)
	put := func(vector uint64) { r.Put(table+5*16, irteEn, vector) }
	put(0x41)
	r.delivered(r.irq(5), 0xfee0_0000, 0x41)
	put(0x42)
	r.delivered(r.irq(5), 0xfee0_0000, 0x41)
	r.submit([2]uint64{op(spec.CmdInvalidateIntTable) | uint64(other)}, invDevtab(dev), invPages(did, spec.AllPages|invS|invPDE))
	r.delivered(r.irq(5), 0xfee0_0000, 0x41)
	r.submit([2]uint64{op(spec.CmdInvalidateIntTable) | uint64(dev)})
	r.delivered(r.irq(5), 0xfee0_0000, 0x42)
	put(0x43)
	r.submit(invAll())
	r.delivered(r.irq(5), 0xfee0_0000, 0x43)
	// Not cached at all with IRTCacheDis, nor is an entry with RemapEn=0.
	r.control(true, spec.CtlIRTCacheDis)
	put(0x44)
	r.delivered(r.irq(5), 0xfee0_0000, 0x44)
	r.control(false, spec.CtlIRTCacheDis)
	r.RequireFault(r.irq(6), amdvi.FaultRemapEn)
	r.Put(table+6*16, irteEn, 0x45)
	r.delivered(r.irq(6), 0xfee0_0000, 0x45)
}

func TestInterruptInFlightKnowsItsDevice(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn)
	table := r.remapped(9)
	r.Put(table+5*16, irteEn, 0x41)
	q := interrupt()
	q.Data = 5
	s := r.Begin(q)
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == table+5*16 })
	sel := func(id emu.SourceID) *emu.Selector {
		return &emu.Selector{
			Caches: emu.CacheInterrupt.Set(), Match: emu.MatchDomain | emu.MatchClass | emu.MatchSource,
			Classes: 1 << amdvi.ClassInterrupt, Domain: uint32(id), Source: id,
		}
	}
	require.True(t, s.Txn.Matches(sel(dev)))
	require.False(t, s.Txn.Matches(sel(other)))
	require.False(t, s.Txn.Matches(&emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: did}))
	s.Txn.Marked = true
	s.End()
	r.Put(table+5*16, irteEn, 0x42)
	r.delivered(r.irq(5), 0xfee0_0000, 0x42)
}

// guestIRQ gives dev an entry 5 with GuestMode=1 and returns the entry and the virtual APIC page.
func (r *rig) guestIRQ(lo uint64, dest, vector, tag uint64) (at, page emu.PA) {
	r.control(true, spec.CtlGAEn)
	r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlGAMEn.Put(1))
	table, page := r.remapped(9), r.Page()
	at = table + 5*16
	r.Put(at, irteEn|irteGuest|lo|dest&0xff_ffff<<8|tag<<32, vector|uint64(page)|dest>>24<<56)
	return at, page
}

const (
	irteGALogIntr = uint64(1) << 2
	irteIsRun     = uint64(1) << 6
)

// galog turns the GA log on and returns its base and where its tail is stored.
func (r *rig) galog() (base, tail emu.PA) {
	base, tail = r.Page(), r.Page()
	r.base(spec.OffGALogBase, base, 8)
	r.W64(spec.OffGALogTailAddr, uint64(tail))
	r.control(true, spec.CtlGALogEn, spec.CtlGAIntEn)
	return base, tail
}

func TestGuestVirtualAPIC(t *testing.T) {
	r := newRig(t).enable()
	var to []emu.PA
	r.F.OnMSI = func(pa emu.PA, data uint32) { to, r.MSI = append(to, pa), append(r.MSI, data) }
	at, page := r.guestIRQ(irteIsRun, 0x1234_5678, 0xe3, 7)
	require.Equal(t, emu.Posted, r.irq(5).Status)
	require.EqualValues(t, 1<<3, r.Get(page+0x270), "bit 3 of the last word of the request register")
	require.Equal(t, []emu.PA{emu.PA(0x12_3456_00)<<32 | 0xfee7_8000}, to, "the doorbell of the processor it runs on")
	require.Equal(t, []uint32{amdvi.Doorbell}, r.MSI)

	// It does not run: the host is told by the log, if it asked for that.
	base, tail := r.galog()
	r.Put(at, r.Get(at)&^irteIsRun)
	require.Equal(t, emu.Posted, r.irq(5).Status)
	require.Zero(t, r.R64(spec.OffGATail))
	r.Put(at, r.Get(at)|irteGALogIntr)
	r.submit([2]uint64{op(spec.CmdInvalidateIntTable) | uint64(dev)})
	r.messages()
	require.Equal(t, emu.Posted, r.irq(5).Status)
	require.Equal(t, uint64(1)<<60|uint64(dev)<<32|7, r.Get(base))
	require.EqualValues(t, 8, r.R64(spec.OffGATail))
	require.EqualValues(t, 8, r.Get(tail))
	require.True(t, r.status(spec.StsGAInt))
	require.Equal(t, uint32(msiData), r.MSI[1])
	require.Len(t, to, 2)
}

func TestAMDQuirk39_DestinationIsRunAndTagAreNeverCached(t *testing.T) {
	r := newRig(t).enable()
	var to []emu.PA
	r.F.OnMSI = func(pa emu.PA, _ uint32) { to = append(to, pa) }
	at, page := r.guestIRQ(irteIsRun, 0x10, 0x41, 7)
	r.irq(5)
	// The vector and the page are kept, what tells where the guest runs is not.
	second := r.Page()
	r.Put(at, irteEn|irteGuest|irteIsRun|0x20<<8|8<<32, 0x42|uint64(second))
	require.Equal(t, emu.Posted, r.irq(5).Status)
	require.Equal(t, []emu.PA{0xfee1_0000, 0xfee2_0000}, to)
	require.Zero(t, r.Get(second+0x220))
	require.EqualValues(t, 1<<1, r.Get(page+0x220))
	r.submit([2]uint64{op(spec.CmdInvalidateIntTable) | uint64(dev)})
	r.irq(5)
	require.EqualValues(t, 1<<2, r.Get(second+0x220))

	r.BusError(at, 16)
	r.RequireFault(r.irq(5), amdvi.FaultIRTERead)
}

func TestVirtualAPICPageThatCannotBeWritten(t *testing.T) {
	r := newRig(t).enable()
	_, page := r.guestIRQ(0, 0, 0x41, 7)
	r.BusError(page, 4096)
	r.RequireFault(r.irq(5), amdvi.FaultVAPIC)
	require.Equal(t, [2]uint64{4<<60 | uint64(dev) | did<<32 | fI | fRW | 1<<57, uint64(page) + 0x220}, r.event())
}

func TestAMDQuirk45_GALogRunFollowsItsEnable(t *testing.T) {
	r := newRig(t).enable()
	require.False(t, r.status(spec.StsGALogRun))
	r.galog()
	require.True(t, r.status(spec.StsGALogRun))
	r.control(false, spec.CtlGALogEn)
	require.False(t, r.status(spec.StsGALogRun))
}

func TestAMDQuirk28_GALogOfCodeEightHas512Entries(t *testing.T) {
	r := newRig(t).enable()
	r.guestIRQ(irteGALogIntr, 0, 0x41, 7)
	base, _ := r.galog()
	for range 511 {
		require.Equal(t, emu.Posted, r.irq(5).Status)
	}
	require.EqualValues(t, 511*8, r.R64(spec.OffGATail))
	require.False(t, r.status(spec.StsGALOverflow))
	require.Equal(t, emu.Posted, r.irq(5).Status, "posted all the same")
	require.True(t, r.status(spec.StsGALOverflow))
	require.False(t, r.status(spec.StsGALogRun))
	require.Zero(t, r.Get(base+511*8))
	r.W32(spec.OffGAHead, 511*8)
	r.control(false, spec.CtlGALogEn)
	r.W64(spec.OffStatus, spec.StsGALOverflow.Mask())
	r.control(true, spec.CtlGALogEn)
	r.irq(5)
	require.NotZero(t, r.Get(base+511*8))
	require.Zero(t, r.R64(spec.OffGATail), "wrapped")
}

func TestInterruptStaysBehindEarlierWrites(t *testing.T) {
	r := newRig(t).enable()
	r.control(true, spec.CtlGAEn)
	table := r.remapped(9)
	r.Put(table+5*16, irteEn, 0x41)
	q := interrupt()
	q.Data = 5
	s := r.Begin(q)
	s.End()
	require.Equal(t, emu.OpOrder, s.Acts[len(s.Acts)-2].Op)
}
