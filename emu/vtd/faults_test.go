package vtd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// A fault case prepares tables, makes one request and names the reason expected.
type faultCase struct {
	name   string
	code   uint16
	config func(*vtd.Config)
	setup  func(r *rig)
	q      emu.Request // Source sid, PASID none, Len 64 unless set
}

const iova = 0x1234_5000

func (c *faultCase) run(t *testing.T, on func(*rig)) {
	r := newRig(t, func(cfg *vtd.Config) {
		if c.config != nil {
			c.config(cfg)
		}
	})
	c.setup(r)
	on(r)
	q := c.q
	if q.Source == 0 {
		q.Source = sid
	}
	if q.PASID == 0 {
		q.PASID = emu.NoPASID
	}
	if q.Len == 0 {
		q.Len = 64
	}
	if q.Addr == 0 {
		q.Addr = iova
	}
	if q.Access == 0 {
		q.Access = emu.Read
	}
	res := r.Do(q)
	r.RequireFault(res, c.code)
	require.Equal(t, q.Addr, res.Fault.Addr)
	require.Equal(t, q.Source, res.Fault.Source)
	if c.code > 0xff {
		require.True(t, res.Fault.Quiet)
		require.Zero(t, r.R32(spec.OffFSTS))
		return
	}
	require.False(t, res.Fault.Quiet)
	rec := r.record(0)
	require.True(t, rec.F())
	require.EqualValues(t, c.code, rec.FR())
	require.EqualValues(t, q.Source, rec.SID())
	require.EqualValues(t, q.Addr&^0xfff, rec[0])
	// The second time around the answer is the same: nothing of a fault is cached, or it is cached
	// as a fault.
	r.RequireFault(r.Do(q), c.code)
}

func dt(c *vtd.Config) { c.DT = true }

// pri is a unit that takes page requests, ptrs one that takes translated requests with PASID.
func pri(c *vtd.Config) {
	c.DT, c.DIT, c.PRS, c.PDS, c.SMS, c.NWFS = true, true, true, true, true, true
}
func ptrs(c *vtd.Config) { pri(c); c.PTRS = true }

// requests lets sid make device-TLB and page requests.
func requests(r *rig) {
	r.pasidEntry(sid, 0)
	at := r.smContext(sid)
	r.Put(at, r.Get(at)|spec.SMCtxDTE.Mask()|spec.SMCtxPRE.Mask())
}

func TestLegacyFaultReasons(t *testing.T) {
	ctx := func(e [2]uint64) func(*rig) { return func(r *rig) { r.Put(r.context(sid), e[0], e[1]) } }
	entry := func(tt, aw uint64) [2]uint64 { return legacyEntry(tt, 0x80000, aw, 7) }
	mapped := func(level int, bits uint64) func(*rig) {
		return func(r *rig) { r.Put(r.pte(r.attach(sid, 7), iova, level), bits) }
	}
	rsvd := func(i int, bit uint64) func(*rig) {
		e := entry(spec.TTUntranslated, spec.AW48)
		e[i] |= bit
		return ctx(e)
	}
	cases := []faultCase{
		{name: "root not present", code: 0x1, setup: func(*rig) {}},
		{name: "context not present", code: 0x2, setup: func(r *rig) { r.context(sid) }},
		{name: "TT reserved", code: 0x3, setup: ctx(entry(3, spec.AW48))},
		{name: "TT=01 without DT", code: 0x3, setup: ctx(entry(spec.TTAll, spec.AW48))},
		{name: "TT=10 without PT", code: 0x3, setup: ctx(entry(spec.TTPassThrough, spec.AW57)),
			config: func(c *vtd.Config) { c.PT = false }},
		{name: "AW not supported", code: 0x3, setup: ctx(entry(spec.TTUntranslated, spec.AW39))},
		{name: "AW reserved", code: 0x3, setup: ctx(entry(spec.TTUntranslated, 4))},
		{name: "top table not readable", code: 0x3, setup: func(r *rig) { r.BusError(r.attach(sid, 7), 4096) }},
		{name: "address beyond AW", code: 0x4, setup: mapped(0, ssRW), q: emu.Request{Addr: 1 << 48}},
		{name: "address beyond MGAW", code: 0x4, config: func(c *vtd.Config) { c.MGAW = 40 },
			setup: mapped(0, ssRW), q: emu.Request{Addr: 1 << 40}},
		{name: "pass-through beyond HAW", code: 0x4, setup: ctx(entry(spec.TTPassThrough, spec.AW57)),
			q: emu.Request{Addr: 1 << 48}},
		{name: "pass-through with AW below the largest", code: 0x4, setup: ctx(entry(spec.TTPassThrough, spec.AW48))},
		{name: "write of a read-only page", code: 0x5, setup: mapped(0, 0x5000|ssR), q: emu.Request{Access: emu.Write}},
		{name: "write of an absent page", code: 0x5, setup: mapped(0, 0), q: emu.Request{Access: emu.Write}},
		{name: "write below a read-only table", code: 0x5, setup: mapped(2, 0x5000|ssR), q: emu.Request{Access: emu.Write}},
		{name: "AtomicOp on a read-only page", code: 0x5, setup: mapped(0, 0x5000|ssR), q: emu.Request{Access: emu.RW | emu.Atomic}},
		{name: "AtomicOp on a write-only page", code: 0x6, setup: mapped(0, 0x5000|ssW), q: emu.Request{Access: emu.RW | emu.Atomic}},
		{name: "read of a write-only page", code: 0x6, setup: mapped(0, 0x5000|ssW)},
		{name: "read of an absent page", code: 0x6, setup: mapped(1, 0)},
		{name: "lower table not readable", code: 0x7, setup: func(r *rig) {
			top := r.attach(sid, 7)
			r.mapPage(top, iova, 0x5000, ssRW)
			r.BusError(r.pte(top, iova, 1), 8)
		}},
		{name: "root not readable", code: 0x8, setup: func(r *rig) { r.BusError(r.root, 4096) }},
		{name: "context not readable", code: 0x9, setup: func(r *rig) { r.BusError(r.context(sid), 16) }},
		{name: "root bit 1", code: 0xa, setup: func(r *rig) { r.Put(r.root+emu.PA(sid>>8)*16, 0x8000|3) }},
		{name: "root beyond HAW", code: 0xa, setup: func(r *rig) { r.Put(r.root+emu.PA(sid>>8)*16, 1<<48|1) }},
		{name: "root upper word", code: 0xa, setup: func(r *rig) { r.Put(r.root+emu.PA(sid>>8)*16, 0x8000|1, 1) }},
		{name: "context bit 4", code: 0xb, setup: rsvd(0, 1<<4)},
		{name: "context bit 11", code: 0xb, setup: rsvd(0, 1<<11)},
		{name: "context SSPTPTR beyond HAW", code: 0xb, setup: rsvd(0, 1<<48)},
		{name: "context bit 71", code: 0xb, setup: rsvd(1, 1<<7)},
		{name: "context bit 88", code: 0xb, setup: rsvd(1, 1<<24)},
		{name: "context DID beyond ND", code: 0xb, setup: rsvd(1, 1<<23), config: func(c *vtd.Config) { c.ND = 2 }},
		{name: "TM in a leaf", code: 0xc, setup: mapped(0, 0x5000|ssRW|1<<62)},
		{name: "SNP in a table entry", code: 0xc, setup: mapped(1, 0x5000|ssRW|1<<11)},
		{name: "SNP without SC", code: 0xc, setup: mapped(0, 0x5000|ssRW|1<<11), config: func(c *vtd.Config) { c.SC = false }},
		{name: "PS at level 4", code: 0xc, setup: mapped(3, 0x5000|ssRW|1<<7)},
		{name: "PS 1G without SSLPS", code: 0xc, setup: mapped(2, ssRW|1<<7),
			config: func(c *vtd.Config) { c.SSLPS = uint8(spec.SSLPS2M) }},
		{name: "2M page not aligned", code: 0xc, setup: mapped(1, 0x1000|ssRW|1<<7)},
		{name: "page beyond HAW", code: 0xc, setup: mapped(0, 1<<48|ssRW)},
		{name: "translation request with TT=00", code: 0xd, setup: mapped(0, 0x5000|ssRW), config: dt,
			q: emu.Request{Type: emu.TranslationReq}},
		{name: "translated request with TT=10", code: 0xd, setup: ctx(entry(spec.TTPassThrough, spec.AW57)), config: dt,
			q: emu.Request{Type: emu.Translated}},
		{name: "output in interrupt range", code: 0xe, setup: mapped(0, 0xfee0_1000|ssRW)},
		{name: "translated address in interrupt range", code: 0xe, setup: ctx(entry(spec.TTAll, spec.AW48)), config: dt,
			q: emu.Request{Type: emu.Translated, Addr: 0xfee0_0000}},
		{name: "read of the interrupt range", code: 0x29, setup: mapped(0, ssRW), q: emu.Request{Addr: 0xfee0_0000}},
		{name: "long write to the interrupt range", code: 0x29, setup: mapped(0, ssRW),
			q: emu.Request{Addr: 0xfee0_0000, Access: emu.Write, Len: 8}},
		{name: "request with PASID", code: 0x31, setup: mapped(0, ssRW), q: emu.Request{PASID: 5}},
		{name: "page request", code: 0x32, setup: mapped(0, ssRW), q: emu.Request{Type: emu.PageRequest}},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%02X %s", c.code, c.name), func(t *testing.T) { c.run(t, (*rig).legacy) })
	}
}

func TestScalableFaultReasons(t *testing.T) {
	const p = emu.PASID(0x45)
	ctx := func(w0, w1 uint64) func(*rig) {
		return func(r *rig) {
			r.pasidEntry(sid, 0)
			at := r.smContext(sid)
			r.Put(at, r.Get(at)|w0, w1)
		}
	}
	bound := func(set ...func([]uint64)) func(*rig) {
		return func(r *rig) { r.bind(sid, 0, spec.PGTTSecond, 7, set...) }
	}
	mapped := func(level int, bits uint64, set ...func([]uint64)) func(*rig) {
		return func(r *rig) { r.Put(r.pte(r.bind(sid, 0, spec.PGTTSecond, 7, set...), iova, level), bits) }
	}
	edit := func(at func(r *rig) emu.PA, word int, bits uint64) func(*rig) {
		return func(r *rig) {
			r.bind(sid, 0, spec.PGTTSecond, 7)
			r.Put(at(r)+emu.PA(8*word), r.Get(at(r)+emu.PA(8*word))|bits)
		}
	}
	entry := func(r *rig) emu.PA { return r.pasidEntry(sid, 0) }
	dir := func(r *rig) emu.PA { return emu.PA(r.Get(r.smContext(sid)) & spec.SMCtxPASIDDIRPTR.Mask()) }
	root := func(r *rig) emu.PA { return r.root + emu.PA(sid>>8)*16 }
	unreadable := func(at func(r *rig) emu.PA, n uint64) func(*rig) {
		return func(r *rig) { r.bind(sid, 0, spec.PGTTSecond, 7); r.BusError(at(r), n) }
	}
	wr := emu.Request{Access: emu.Write}
	cases := []faultCase{
		{name: "root not readable", code: 0x38, setup: unreadable(root, 16)},
		{name: "root half not present", code: 0x39, setup: func(r *rig) { r.smContext(sid) }, q: emu.Request{Source: hiSID}},
		{name: "root bit 1", code: 0x3a, setup: edit(root, 0, 2)},
		{name: "root beyond HAW", code: 0x3a, setup: edit(root, 0, 1<<50)},
		{name: "context not readable", code: 0x40, setup: unreadable(func(r *rig) emu.PA { return r.smContext(sid) }, 16)},
		{name: "context second half not readable", code: 0x40,
			setup: unreadable(func(r *rig) emu.PA { return r.smContext(sid) + 16 }, 16)},
		{name: "context not present", code: 0x41, setup: func(r *rig) { r.smContext(sid) }},
		{name: "context bit 5", code: 0x42, setup: ctx(1<<5, 0)},
		{name: "context bit 85", code: 0x42, setup: ctx(0, 1<<21)},
		{name: "context beyond HAW", code: 0x42, setup: ctx(1<<50, 0)},
		{name: "context third word", code: 0x42, setup: edit(func(r *rig) emu.PA { return r.smContext(sid) }, 2, 1)},
		{name: "RID_PRIV without RPRIVS", code: 0x42, setup: ctx(0, spec.SMCtxRIDPRIV.Mask()),
			config: func(c *vtd.Config) { c.RPRIVS = false }},
		{name: "DTE without DT", code: 0x42, setup: ctx(spec.SMCtxDTE.Mask(), 0)},
		{name: "PASIDE without PASID", code: 0x42, setup: ctx(0, 0), config: func(c *vtd.Config) { c.PASID = false }},
		{name: "PRE without PRS", code: 0x42, config: dt, setup: ctx(spec.SMCtxDTE.Mask()|spec.SMCtxPRE.Mask(), 0)},
		{name: "EPTR without PTRS", code: 0x42, config: pri, setup: ctx(spec.SMCtxEPTR.Mask(), 0)},
		{name: "RID_PASID without RPS", code: 0x42, setup: ctx(0, 5), config: func(c *vtd.Config) { c.RPS = false }},
		{name: "PRE without DTE", code: 0x43, config: pri, setup: ctx(spec.SMCtxPRE.Mask(), 0)},
		{name: "RID_PASID beyond PDTS", code: 0x43, setup: ctx(0, 1<<13)},
		{name: "EPTR without PASIDE", code: 0x43, config: ptrs, setup: func(r *rig) {
			r.Put(r.smContext(sid), uint64(r.Page())|spec.SMCtxP.Put(1)|spec.SMCtxEPTR.Put(1))
		}},
		{name: "translation request with DTE=0", code: 0x44, setup: mapped(0, ssRW), config: dt, q: emu.Request{Type: emu.TranslationReq}},
		{name: "translated request with DTE=0", code: 0x44, setup: mapped(0, ssRW), config: dt, q: emu.Request{Type: emu.Translated}},
		{name: "PASID with PASIDE=0", code: 0x45, q: emu.Request{PASID: p}, setup: func(r *rig) {
			r.Put(r.smContext(sid), uint64(r.Page())|spec.SMCtxP.Put(1))
		}},
		{name: "PASID beyond PDTS", code: 0x46, setup: mapped(0, ssRW), q: emu.Request{PASID: 1 << 13}},
		{name: "page request beyond PDTS", code: 0x46, config: pri, setup: requests, q: emu.Request{Type: emu.PageRequest, PASID: 1 << 13}},
		{name: "page request with PASIDE=0", code: 0x45, config: pri, q: emu.Request{Type: emu.PageRequest, PASID: p}, setup: func(r *rig) {
			r.Put(r.smContext(sid), uint64(r.Page())|spec.SMCtxP.Put(1)|spec.SMCtxDTE.Put(1)|spec.SMCtxPRE.Put(1))
		}},
		{name: "PASID beyond PSS", code: 0x89, setup: ctx(spec.SMCtxPDTS.Put(7), 0), q: emu.Request{PASID: 1 << 16},
			config: func(c *vtd.Config) { c.PSS = 15 }},
		{name: "page request with PRE=0", code: 0x47, setup: mapped(0, ssRW), q: emu.Request{Type: emu.PageRequest}},
		{name: "page request with PRE=0, DTE=1", code: 0x47, config: pri, setup: ctx(spec.SMCtxDTE.Mask(), 0), q: emu.Request{Type: emu.PageRequest}},
		{name: "PASID that is RID_PASID", code: 0x48, setup: ctx(0, 0x45), q: emu.Request{PASID: p}},
		{name: "page request with RID_PASID", code: 0x48, config: pri, q: emu.Request{Type: emu.PageRequest, PASID: p},
			setup: ctx(spec.SMCtxDTE.Mask()|spec.SMCtxPRE.Mask(), 0x45)},
		{name: "translated request with PASID and EPTR=0", code: 0x49, config: ptrs, setup: requests,
			q: emu.Request{Type: emu.Translated, PASID: p}},
		{name: "translated request with PASID without PTRS", code: vtd.FaultTranslatedPASID, config: pri, setup: requests,
			q: emu.Request{Type: emu.Translated, PASID: p}},
		{name: "page request, directory entry not present", code: 0x51, config: pri, q: emu.Request{Type: emu.PageRequest}, setup: func(r *rig) {
			r.Put(r.smContext(sid), uint64(r.Page())|spec.SMCtxP.Put(1)|spec.SMCtxDTE.Put(1)|spec.SMCtxPRE.Put(1))
		}},
		{name: "page request, entry not present", code: 0x59, config: pri, setup: requests, q: emu.Request{Type: emu.PageRequest}},
		{name: "directory not readable", code: 0x50, setup: unreadable(dir, 8)},
		{name: "directory entry not present", code: 0x51, setup: func(r *rig) {
			r.Put(r.smContext(sid), uint64(r.Page())|spec.SMCtxP.Put(1))
		}},
		{name: "directory bit 2", code: 0x52, setup: edit(dir, 0, 4)},
		{name: "entry not readable", code: 0x58, setup: unreadable(entry, 64)},
		{name: "entry last chunk not readable", code: 0x58, setup: unreadable(func(r *rig) emu.PA { return entry(r) + 48 }, 16)},
		{name: "entry not present", code: 0x59, setup: func(r *rig) { r.pasidEntry(sid, 0) }},
		{name: "entry bit 10", code: 0x5a, setup: edit(entry, 0, 1<<10)},
		{name: "entry bit 80", code: 0x5a, setup: edit(entry, 1, 1<<16)},
		{name: "entry bit 136", code: 0x5a, setup: edit(entry, 2, 1<<8)},
		{name: "entry word 3", code: 0x5a, setup: edit(entry, 3, 1)},
		{name: "entry word 7", code: 0x5a, setup: edit(entry, 7, 1<<63)},
		{name: "SSADE without SSADS", code: 0x5a, setup: bound(with(spec.PasidSSADE, 1)), config: func(c *vtd.Config) { c.SSADS = false }},
		{name: "PWSNP without SMPWCS", code: 0x5a, setup: bound(), config: func(c *vtd.Config) { c.SMPWCS = false }},
		{name: "PGSNP without SC", code: 0x5a, setup: bound(with(spec.PasidPGSNP, 1)), config: func(c *vtd.Config) { c.SC = false }},
		{name: "SSPTPTR beyond HAW", code: 0x5a, setup: edit(entry, 0, 1<<49)},
		{name: "PGTT reserved", code: 0x5b, setup: func(r *rig) { r.bind(sid, 0, 5, 7) }},
		{name: "second-stage fields without SSTS", code: 0x5a, setup: bound(),
			config: func(c *vtd.Config) { c.SSTS, c.NEST = false, false }},
		{name: "PGTT second stage without SSTS", code: 0x5b, setup: bound(func(e []uint64) {
			e[0] &^= spec.PasidSSPTPTR.Mask() | spec.PasidAW.Mask()
		}), config: func(c *vtd.Config) { c.SSTS, c.NEST = false, false }},
		{name: "PGTT pass-through without PT", code: 0x5b, config: func(c *vtd.Config) { c.PT = false },
			setup: func(r *rig) { r.bind(sid, 0, spec.PGTTPassThrough, 7) }},
		{name: "AW not supported", code: 0x5b, setup: bound(with(spec.PasidAW, spec.AW39))},
		{name: "execute with ERE=0", code: 0x5c, q: emu.Request{PASID: p, Access: emu.Read | emu.Exec},
			setup: func(r *rig) { r.bind(sid, p, spec.PGTTSecond, 7) }},
		{name: "supervisor with SRE=0", code: 0x5d, q: emu.Request{PASID: p, Access: emu.Read | emu.Priv},
			setup: func(r *rig) { r.bind(sid, p, spec.PGTTSecond, 7) }},
		{name: "RID_PRIV with SRE=0", code: 0x5d, setup: func(r *rig) {
			r.bind(sid, 0, spec.PGTTSecond, 7)
			r.Put(r.smContext(sid)+8, spec.SMCtxRIDPRIV.Mask())
		}},
		{name: "lower table not readable", code: 0x78, setup: func(r *rig) {
			top := r.bind(sid, 0, spec.PGTTSecond, 7)
			r.BusError(r.pte(top, iova, 0), 8)
		}},
		{name: "absent read", code: 0x79, setup: mapped(0, 0)},
		{name: "absent write", code: 0x79, setup: mapped(2, 0), q: wr},
		{name: "nothing left over the levels", code: 0x79, setup: func(r *rig) {
			top := r.bind(sid, 0, spec.PGTTSecond, 7)
			r.mapPage(top, iova, 0x5000, ssR)
			at := r.pte(top, iova, 1)
			r.Put(at, r.Get(at)&^ssR)
		}, q: wr},
		{name: "absent with X set but no SSEE", code: 0x79, setup: mapped(0, 0x5000|ssX)},
		{name: "absent with reserved bits set", code: 0x79, setup: mapped(0, 1<<62)},
		{name: "TM in a leaf", code: 0x7a, setup: mapped(0, 0x5000|ssRW|1<<62)},
		{name: "PS at level 4", code: 0x7a, setup: mapped(3, ssRW|1<<7)},
		{name: "top table not readable", code: 0x7b, setup: func(r *rig) { r.BusError(r.bind(sid, 0, spec.PGTTSecond, 7), 4096) }},
		{name: "accessed flag in a walk that does not snoop", code: 0x7c,
			setup: mapped(0, 0x5000|ssRW, with(spec.PasidSSADE, 1), with(spec.PasidPWSNP, 0))},
		{name: "flag update fails", code: 0x7d, setup: func(r *rig) {
			top := r.bind(sid, 0, spec.PGTTSecond, 7, with(spec.PasidSSADE, 1))
			at := r.mapPage(top, iova, 0x5000, ssRW)
			r.Mem.AddBusError(at, at+7, emu.Write)
		}},
		{name: "execute without X", code: 0x82, q: emu.Request{PASID: p, Access: emu.Read | emu.Exec}, setup: func(r *rig) {
			top := r.bind(sid, p, spec.PGTTSecond, 7, with(spec.PasidSSEE, 1), with(spec.PasidERE, 1))
			r.mapPage(top, iova, 0x5000, ssRW)
		}},
		{name: "pass-through beyond HAW", code: 0x83, q: emu.Request{Addr: 1 << 48},
			setup: func(r *rig) { r.bind(sid, 0, spec.PGTTPassThrough, 7) }},
		{name: "address beyond AW", code: 0x84, setup: mapped(0, ssRW), q: emu.Request{Addr: 1 << 48}},
		{name: "write of a read-only page", code: 0x85, setup: mapped(0, 0x5000|ssR), q: wr},
		{name: "AtomicOp on a read-only page", code: 0x85, setup: mapped(0, 0x5000|ssR), q: emu.Request{Access: emu.RW | emu.Atomic}},
		{name: "read of a write-only page", code: 0x86, setup: mapped(0, 0x5000|ssW)},
		{name: "output in interrupt range", code: 0x87, setup: mapped(0, 0xfee0_1000|ssRW)},
		{name: "pass-through with PASID to interrupt range", code: 0x87, q: emu.Request{PASID: p, Addr: 0xfee0_0000, Access: emu.Write, Len: 4},
			setup: func(r *rig) { r.bind(sid, p, spec.PGTTPassThrough, 7) }},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%02X %s", c.code, c.name), func(t *testing.T) { c.run(t, (*rig).scalable) })
	}
}

func TestTableModeFaults(t *testing.T) {
	set := func(ttm uint64) func(*rig) {
		return func(r *rig) { r.setRoot(ttm); r.command(spec.GcmdTE, true) }
	}
	nothing := func(*rig) {}
	(&faultCase{name: "reserved", code: 0x30, setup: nothing}).run(t, set(spec.TTMReserved))
	(&faultCase{name: "scalable without SMTS", code: 0x30, setup: nothing, config: (*vtd.Config).NoScalable}).run(t, set(spec.TTMScalable))
	(&faultCase{name: "abort without ADMS", code: 0x30, setup: nothing,
		config: func(c *vtd.Config) { c.ADMS = false }}).run(t, set(spec.TTMAbort))
	(&faultCase{name: "abort", code: vtd.FaultAbortMode, setup: nothing}).run(t, set(spec.TTMAbort))
}

func TestNothingIsTranslatedWhileOff(t *testing.T) {
	r := newRig(t)
	res := r.Access(sid, iova, emu.Write)
	r.RequireOK(res, iova)
	require.EqualValues(t, 64, res.Lg2)
	r.RequireOK(r.pasidAccess(5, 0xfee0_0000, emu.Write), 0xfee0_0000)
	for _, typ := range []emu.ReqType{emu.TranslationReq, emu.Translated, emu.PageRequest} {
		r.RequireFault(r.Do(emu.Request{Source: sid, PASID: emu.NoPASID, Type: typ, Data: emu.MakePRG(1, true)}), vtd.FaultDisabled)
	}
}
