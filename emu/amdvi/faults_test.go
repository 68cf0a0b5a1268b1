package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Flags of events, bits 59:48, as the specification numbers them.
const (
	fGN = uint64(1) << 48
	fNX = uint64(1) << 49
	fUS = uint64(1) << 50
	fI  = uint64(1) << 51
	fPR = uint64(1) << 52
	fRW = uint64(1) << 53
	fPE = uint64(1) << 54
	fRZ = uint64(1) << 55
	fTR = uint64(1) << 56
)

// faultCase is one way to a fault, with the event that it logs. The address is that of the request
// unless at tells another.
type faultCase struct {
	name  string
	code  uint16
	setup func(r *rig)
	q     func(q *emu.Request)
	flags uint64
	id    uint64 // bits 47:32
	hi    uint64 // bits 31:16
	at    func(r *rig) uint64
	quiet bool
}

func write(q *emu.Request)     { q.Access = emu.Write }
func ats(q *emu.Request)       { q.Type = emu.TranslationReq }
func translate(q *emu.Request) { q.Type = emu.Translated }
func msi(q *emu.Request) {
	q.Addr, q.Len, q.Access, q.Data = 0xfee0_1000, 4, emu.Write, 0x31
}

func all(f ...func(*emu.Request)) func(*emu.Request) {
	return func(q *emu.Request) {
		for _, g := range f {
			g(q)
		}
	}
}

func addr(a uint64) func(*emu.Request) { return func(q *emu.Request) { q.Addr = emu.IOVA(a) } }

func with(b reg.Bits, v uint64) func(*rig) {
	return func(r *rig) { r.mapPage(r.attach(dev, 3, field{b, v}), iova, 0x5000, pRW) }
}

func leaf(e uint64) func(*rig) {
	return func(r *rig) { r.mapPage(r.attach(dev, 3), iova, 0x5000, e) }
}

// raw writes a DTE as it is.
func raw(w ...uint64) func(*rig) { return func(r *rig) { r.Put(r.dte(dev), w...) } }

var hostFaults = []faultCase{
	{name: "reserved bit of word 0", code: amdvi.FaultDTEReserved, setup: raw(1 | 1<<2), flags: fRZ},
	{name: "reserved bit 63", code: amdvi.FaultDTEReserved, setup: raw(1 | 1<<63), q: write, flags: fRZ | fRW},
	{name: "IoCtl 3", code: amdvi.FaultDTEValue, setup: with(spec.DteIoCtl, 3)},
	{name: "HAD 2", code: amdvi.FaultDTEValue, setup: with(spec.DteHAD, 2)},
	{name: "GLX 3", code: amdvi.FaultDTEValue, setup: raw(1 | 1<<55 | 3<<56)},
	{name: "SATS without SATSSup", code: amdvi.FaultDTEReserved, setup: with(spec.DteSATS, 1), flags: fRZ},
	{name: "illegal DTE, translation request", code: amdvi.FaultDTEReserved, setup: raw(1|1<<2, 0), q: ats, flags: fRZ | fTR},
	{name: "DeviceID beyond the table", code: amdvi.FaultDeviceRange, setup: func(r *rig) { r.W64(spec.OffDevTabBase, uint64(r.dev)|5) }},
	{name: "TV=0", code: amdvi.FaultTV, setup: raw(1, 0x55), id: 0x55},
	{name: "Mode 7", code: amdvi.FaultMode, setup: with(spec.DteMode, 7), flags: fPR, id: did},
	{name: "beyond the width", code: amdvi.FaultAddress, setup: leaf(pRW), q: addr(1 << 39), id: did},
	{name: "not present, read", code: amdvi.FaultNotPresent, setup: leaf(0x5000 | irw), id: did},
	{name: "not present, write", code: amdvi.FaultNotPresent, setup: leaf(0), q: write, flags: fRW, id: did},
	{name: "reserved in a page", code: amdvi.FaultReserved, setup: leaf(0x5000 | pRW | 1<<52), flags: fPR | fRZ, id: did},
	{name: "reserved in a table", code: amdvi.FaultReserved, flags: fPR | fRZ, id: did, setup: func(r *rig) {
		top := r.attach(dev, 3)
		r.mapPage(top, iova, 0x5000, pRW)
		at := r.pte(top, 3, iova, 2)
		r.Put(at, r.Get(at)|1<<60)
	}},
	{name: "reserved before rights", code: amdvi.FaultReserved, setup: leaf(0x5000 | pr | 1<<58), q: write, flags: fPR | fRZ | fRW, id: did},
	{name: "read denied", code: amdvi.FaultPermission, setup: leaf(0x5000 | pr | iw), flags: fPR | fPE, id: did},
	{name: "write denied", code: amdvi.FaultPermission, setup: leaf(0x5000 | pr | ir), q: write, flags: fPR | fPE | fRW, id: did},
	{name: "rights before the level", code: amdvi.FaultPermission, setup: leaf(0x5000 | pr | ir | nextLevel(3)), q: write, flags: fPR | fPE | fRW, id: did},
	{name: "rights of the DTE before Mode", code: amdvi.FaultPermission, setup: func(r *rig) {
		r.bind(dev, field{spec.DteMode, 7}, field{spec.DteIR, 0})
	}, flags: fPR | fPE, id: did},
	{name: "identity without rights", code: amdvi.FaultPermission, setup: func(r *rig) { r.bind(dev, field{spec.DteIW, 0}) }, q: write, flags: fPR | fPE | fRW, id: did},
	{name: "illegal level", code: amdvi.FaultLevel, setup: leaf(0x5000 | pRW | nextLevel(1)), flags: fPR, id: did},
	{name: "illegal size", code: amdvi.FaultPageSize, setup: leaf(spec.PageSizeAddr(0, 21) | pRW | nextLevel(7)), flags: fPR, id: did},
	{name: "PASID without GV", code: amdvi.FaultPASIDDisabled, setup: leaf(pRW), q: func(q *emu.Request) { q.PASID = 0x12345 }, flags: fGN | fUS, id: 0x2345, hi: 1},

	{name: "device table not readable", code: amdvi.FaultDTERead, setup: func(r *rig) { r.BusError(r.dte(dev), 32) },
		at: func(r *rig) uint64 { return uint64(r.dte(dev)) }, flags: 1 << 57},
	{name: "device table not readable, translation request", code: amdvi.FaultDTERead, setup: func(r *rig) { r.BusError(r.dte(dev), 32) }, q: ats,
		at: func(r *rig) uint64 { return uint64(r.dte(dev)) }, flags: 1<<57 | fTR},
	{name: "host table not readable", code: amdvi.FaultPTERead, setup: func(r *rig) { r.BusError(r.attach(dev, 3), 4096) }, q: write,
		at: func(r *rig) uint64 { return r.Get(r.dte(dev))&spec.PteAddr.Mask() + iova>>30*8 }, flags: 1<<57 | fRW, id: did},

	{name: "read of the interrupt range", code: amdvi.FaultReadInterrupt, q: addr(0xfee0_0000)},
	{name: "AtomicOp to the interrupt range", code: amdvi.FaultReadInterrupt, q: all(addr(0xfee0_0000), func(q *emu.Request) { q.Access = emu.RW | emu.Atomic })},
	{name: "long write of the interrupt range", code: amdvi.FaultWriteInterrupt, q: all(addr(0xfee0_0000), write), flags: 4 << 57},
	{name: "translated request with I=0", code: amdvi.FaultTranslated, setup: leaf(pRW), q: translate, flags: 1 << 57},
	{name: "translated request with V=0", code: amdvi.FaultTranslated, q: translate, flags: 1 << 57},
	{name: "translation request with I=0", code: amdvi.FaultTRDisabled, setup: leaf(pRW), q: ats, flags: 1<<57 | fTR},
	{name: "translation request with V=0", code: amdvi.FaultTRDisabled, q: ats, flags: 1<<57 | fTR},
	{name: "translation request for the interrupt range", code: amdvi.FaultTRRange, q: all(ats, addr(0xfee0_0000)), flags: fTR},
	{name: "translation request beyond the table", code: amdvi.FaultTRDevice, setup: func(r *rig) { r.W64(spec.OffDevTabBase, uint64(r.dev)|5) }, q: ats, flags: 2<<57 | fTR},

	{name: "interrupt with PASID", code: amdvi.FaultInterruptPASID, q: all(msi, func(q *emu.Request) { q.PASID = 5 }), flags: fGN | fI, id: 5},
	{name: "interrupt, IntCtl 0", code: amdvi.FaultInterruptAborted, setup: raw(0, 0x66, 1), q: msi, flags: fI, id: 0x66},
	{name: "interrupt, reserved bits", code: amdvi.FaultDTEReserved, setup: raw(0, 0, 1|1<<52), q: msi, flags: fI | fRZ | fRW},
	{name: "interrupt, IntCtl 3", code: amdvi.FaultDTEReserved, setup: raw(0, 0, 1|3<<60), q: msi, flags: fI | fRZ | fRW},
	{name: "interrupt, IntTabLen", code: amdvi.FaultDTEValue, setup: raw(0, 0, 1|2<<60|12<<1), q: msi, flags: fI | fRW},
	{name: "interrupt, device table not readable", code: amdvi.FaultDTERead, setup: func(r *rig) { r.BusError(r.dte(dev), 32) }, q: msi,
		at: func(r *rig) uint64 { return uint64(r.dte(dev)) }, flags: 1<<57 | fI | fRW},
	{name: "page requests off", code: amdvi.FaultPPRDisabled, q: func(q *emu.Request) { q.Type = emu.PageRequest }, quiet: true},
	{name: "translation request, unit off", code: amdvi.FaultDisabled, setup: func(r *rig) { r.control(false, spec.CtlIommuEn) }, q: ats, quiet: true},
}

func (r *rig) run(t *testing.T, c *faultCase) {
	if c.setup != nil {
		c.setup(r)
	}
	q := dma(emu.Read)
	if c.q != nil {
		c.q(&q)
	}
	res := r.Do(q)
	r.RequireFault(res, c.code)
	require.NotContains(t, r.u.FaultName(c.code), "fault ")
	require.NotEqual(t, "step", r.u.Describe(res.Fault.Step).Name[:4])
	if c.quiet {
		require.True(t, res.Fault.Quiet)
		require.Empty(t, r.events())
		return
	}
	at := uint64(q.Addr)
	if c.at != nil {
		at = c.at(r)
	}
	if c.code&0xf == spec.EventIllegalDTE {
		at &^= 3
	}
	e := r.event()
	require.Equal(t, uint64(c.code&0xf), e[0]>>60)
	require.Equal(t, uint64(q.Source), e[0]&0xffff)
	require.Equal(t, c.hi, e[0]>>16&0xffff)
	require.Equal(t, c.id, e[0]>>32&0xffff)
	require.Equal(t, c.flags, flags(e), "%#x, want %#x", flags(e)>>48, c.flags>>48)
	require.Equal(t, at, e[1])
}

func TestFaultsAndTheirEvents(t *testing.T) {
	for _, c := range hostFaults {
		for name, change := range map[string]func(*amdvi.Config){"": func(*amdvi.Config) {}, ", no caches": noCaches} {
			t.Run(c.name+name, func(t *testing.T) {
				newRig(t, change).enable().run(t, &c)
			})
		}
	}
}

func TestAMDQuirk33_OrderOfChecks(t *testing.T) {
	// One entry with everything wrong, repaired step by step.
	const bad = 0x5000 | 1<<52 | 7<<9
	for _, c := range []struct {
		entry uint64
		code  uint16
		flags uint64
	}{
		{bad, amdvi.FaultNotPresent, fRW},
		{bad | pr, amdvi.FaultReserved, fPR | fRZ | fRW},
		{bad&^(1<<52) | pr, amdvi.FaultPermission, fPR | fPE | fRW},
		{0x1f_f000 | 7<<9 | pr | iw, amdvi.FaultPageSize, fPR | fRW},
	} {
		r := newRig(t).enable()
		leaf(c.entry)(r)
		r.RequireFault(r.Access(dev, iova, emu.Write), c.code)
		require.Equal(t, c.flags, flags(r.event()))
	}
}

func TestAMDQuirk32_WriteIsShownOnAFaultNotPresent(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3)
	r.RequireFault(r.Access(dev, iova, emu.Write), amdvi.FaultNotPresent)
	require.EqualValues(t, 0x020, r.event()[0]>>48&0xfff)
	r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultNotPresent)
	require.EqualValues(t, 0x000, r.event()[0]>>48&0xfff)
}

func TestAMDQuirk34_FailedTranslationRequestsAreNotLogged(t *testing.T) {
	for name, setup := range map[string]func(*rig){
		"not present": leaf(0), "reserved": leaf(pRW | 1<<52), "no rights": leaf(pr), "level": leaf(pRW | nextLevel(1)),
		"TV=0": func(r *rig) {}, "Mode 7": with(spec.DteMode, 7),
	} {
		r := newRig(t).enable()
		setup(r)
		at := r.dte(dev)
		r.Put(at, r.Get(at)|1, r.Get(at+8)|spec.DteI.Mask())
		q := dma(emu.Read)
		q.Type = emu.TranslationReq
		for range 2 {
			res := r.Do(q)
			require.Equal(t, emu.OK, res.Status, name)
			require.Zero(t, res.Perm&emu.RW, name)
			require.Zero(t, res.Fault, name)
		}
		require.Empty(t, r.events(), name)
	}
}

func TestAMDQuirk35_TranslatedRequestsBypassTheTables(t *testing.T) {
	r := newRig(t).enable()
	r.attach(dev, 3, field{spec.DteI, 1}) // an empty table
	q := dma(emu.Write)
	q.Type = emu.Translated
	res := r.Do(q)
	r.RequireOK(res, iova)
	require.EqualValues(t, 64, res.Lg2)
	require.False(t, res.Touched.Has(emu.CacheIOTLB))
}

func TestAMDQuirk36_SpecialRangesAreTakenOutBeforeTheTables(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 6)
	for _, a := range []uint64{0xfee0_0000, 0xfeef_f000, 0xfedf_f000, 0xfef0_0000} {
		r.Put(r.pte(top, 6, a, 1), 0x5000|pRW)
	}
	r.RequireFault(r.Access(dev, 0xfee0_0000, emu.Read), amdvi.FaultReadInterrupt)
	r.RequireFault(r.Access(dev, 0xfeef_f000, emu.Read), amdvi.FaultReadInterrupt)
	r.RequireOK(r.Access(dev, 0xfedf_f000, emu.Read), 0x5000)
	r.RequireOK(r.Access(dev, 0xfef0_0000, emu.Read), 0x5000)

	full := func(c *amdvi.Config) { c.HtRangeIgnore = false }
	for _, c := range []struct {
		addr   uint64
		sysmgt uint64
		ioctl  uint64
		code   uint16 // 0: the table translates; 1: the address passes
		a      emu.Access
	}{
		{0xfd_f90f_f000, 3, 2, amdvi.FaultInterruptReserved, emu.Read},
		{0xfd_0000_0000, 3, 2, amdvi.FaultInterruptReserved, emu.Read},
		{0xfd_f910_0000, 0, 0, amdvi.FaultSysMgt, emu.Write},
		{0xfd_f910_0000, 1, 0, 1, emu.Write},
		{0xfd_f910_0000, 2, 0, 1, emu.Write},
		{0xfd_f910_0000, 2, 0, amdvi.FaultSysMgt, emu.Read},
		{0xfd_f910_0000, 3, 0, 0, emu.Read},
		{0xfd_fc00_0000, 0, 0, amdvi.FaultPortIO, emu.Read},
		{0xfd_fc00_0000, 0, 1, 1, emu.Read},
		{0xfd_fc00_0000, 0, 2, 0, emu.Read},
		{0xff_ffff_f000, 3, 2, amdvi.FaultSysMgtAddress, emu.Read},
		{0xfc_ffff_f000, 0, 0, 0, emu.Read},
		{0x100_0000_0000, 0, 0, 0, emu.Read},
	} {
		r := newRig(t, full).enable()
		top := r.attach(dev, 6, field{spec.DteSysMgt, c.sysmgt}, field{spec.DteIoCtl, c.ioctl})
		r.Put(r.pte(top, 6, c.addr, 1), 0x5000|pRW)
		for range 2 {
			switch res := r.Access(dev, c.addr, c.a); c.code {
			case 0:
				r.RequireOK(res, 0x5000)
			case 1:
				r.RequireOK(res, c.addr)
			default:
				r.RequireFault(res, c.code)
				e := r.event()
				require.EqualValues(t, spec.EventInvalidRequest, e[0]>>60)
				require.Equal(t, c.addr, e[1])
			}
		}
		// A translation request has no business there.
		if c.code != 0 {
			at := r.dte(dev)
			r.Put(at+8, r.Get(at+8)|spec.DteI.Mask())
			r.submit(invDevtab(dev))
			q := dma(emu.Read)
			q.Type, q.Addr = emu.TranslationReq, emu.IOVA(c.addr)
			r.RequireFault(r.Do(q), amdvi.FaultTRRange)
		}
		// With HtRangeIgnore it is address space like any other.
		r = newRig(t).enable()
		top = r.attach(dev, 6)
		r.Put(r.pte(top, 6, c.addr, 1), 0x5000|pRW)
		r.RequireOK(r.Access(dev, c.addr, c.a), 0x5000)
	}
}

func TestSuppression(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []field
		want   []int // events after each of three faults
	}{
		{"none", nil, []int{1, 1, 1}},
		{"SA", []field{{spec.DteSA, 1}}, []int{0, 0, 0}},
		{"SE", []field{{spec.DteSE, 1}}, []int{1, 0, 0}},
	} {
		r := newRig(t).enable()
		r.attach(dev, 3, c.fields...)
		for _, n := range c.want {
			res := r.Access(dev, iova, emu.Read)
			r.RequireFault(res, amdvi.FaultNotPresent)
			require.Equal(t, n == 0, res.Fault.Quiet, c.name)
			require.Len(t, r.events(), n, c.name)
		}
	}
	// SE counts anew once the DTE was invalidated.
	r := newRig(t).enable()
	r.attach(dev, 3, field{spec.DteSE, 1})
	for range 2 {
		r.Access(dev, iova, emu.Read)
		r.Access(dev, iova, emu.Read)
		require.Len(t, r.events(), 1)
		r.submit(invDevtab(dev))
	}
	// A DTE that was rewritten and invalidated meanwhile is not brought back.
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpStore })
	r.bind(dev)
	s.Txn.Marked = true
	r.submit(invDevtab(dev))
	s.End()
	r.RequireOK(r.Access(dev, iova, emu.Read), iova)
}

func TestAMDQuirk50_HardwareErrorsAreLatchedAndNeverSuppressed(t *testing.T) {
	r := newRig(t).enable()
	top := r.attach(dev, 3, field{spec.DteSA, 1}, field{spec.DteSE, 1})
	r.BusError(top, 4096)
	r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultPTERead)
	e := r.event()
	require.Equal(t, e[0], r.R64(spec.OffHWEventUpper), "upper holds bits 63:0")
	require.Equal(t, e[1], r.R64(spec.OffHWEventLower))
	require.EqualValues(t, 1, r.R64(spec.OffHWEventStatus))
	r.Access(dev, iova+1<<30, emu.Write)
	require.NotEqual(t, e, r.event())
	require.Equal(t, e[1], r.R64(spec.OffHWEventLower), "the first stays")
	require.EqualValues(t, 3, r.R64(spec.OffHWEventStatus))
	r.W64(spec.OffHWEventStatus, 3)
	require.Zero(t, r.R64(spec.OffHWEventStatus))

	r = newRig(t, func(c *amdvi.Config) { c.HESup = false }).enable()
	r.BusError(r.attach(dev, 3), 4096)
	r.Access(dev, iova, emu.Read)
	require.Zero(t, r.R64(spec.OffHWEventUpper)|r.R64(spec.OffHWEventLower)|r.R64(spec.OffHWEventStatus))
}
