package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// ask makes a translation request of sid.
func (r *rig) ask(p emu.PASID, at uint64, a emu.Access) emu.Result {
	return r.Do(emu.Request{Source: sid, Addr: emu.IOVA(at), PASID: p, Access: a, Type: emu.TranslationReq})
}

func TestTranslationCompletionFields(t *testing.T) {
	type want struct {
		perm  emu.Access
		lg2   uint8
		snoop bool
	}
	const p = emu.PASID(5)
	for name, c := range map[string]struct {
		config func(*vtd.Config)
		set    []func([]uint64)
		level  int
		bits   uint64 // of the leaf
		p      emu.PASID
		access emu.Access
		want   want
	}{
		"read and write":                  {bits: ssRW, p: p, access: emu.RW, want: want{emu.RW, 12, false}},
		"both rights, whatever is asked":  {bits: ssRW, p: p, access: emu.Read, want: want{emu.RW, 12, false}},
		"read only":                       {bits: ssR, p: p, access: emu.RW, want: want{emu.Read, 12, false}},
		"write only":                      {bits: ssW, p: p, access: emu.Read, want: want{emu.Write, 12, false}},
		"none":                            {bits: 0, p: p, access: emu.RW, want: want{0, 12, false}},
		"2M":                              {bits: ssRW | 1<<7, level: 1, p: p, access: emu.RW, want: want{emu.RW, 21, false}},
		"1G":                              {bits: ssRW | 1<<7, level: 2, p: p, access: emu.RW, want: want{emu.RW, 30, false}},
		"none below a large page's level": {bits: 0, level: 1, p: p, access: emu.RW, want: want{0, 12, false}},
		"no write":                        {bits: ssRW, p: p, access: emu.RW | emu.NoWrite, want: want{emu.Read, 12, false}},
		"no write without NWFS": {bits: ssRW, p: p, access: emu.RW | emu.NoWrite, want: want{emu.RW, 12, false},
			config: func(c *vtd.Config) { c.NWFS = false }},
		"snooped page":  {bits: ssRW | 1<<11, p: p, access: emu.RW, want: want{emu.RW, 12, true}},
		"snooped PASID": {bits: ssRW, p: p, access: emu.RW, set: []func([]uint64){with(spec.PasidPGSNP, 1)}, want: want{emu.RW, 12, true}},
		"privileged": {bits: ssRW, p: p, access: emu.RW | emu.Priv, set: []func([]uint64){with(spec.PasidSRE, 1)},
			want: want{emu.RW | emu.Priv, 12, false}},
		"privileged with SRE=0": {bits: ssRW, p: p, access: emu.RW | emu.Priv, want: want{emu.Priv, 12, false}},
		"privileged without SRS": {bits: ssRW, p: p, access: emu.RW | emu.Priv,
			config: func(c *vtd.Config) { c.SRS, c.RPRIVS = false, false }, want: want{emu.Priv, 12, false}},
		"execute": {bits: ssRW, p: p, access: emu.RW | emu.Exec, set: []func([]uint64){with(spec.PasidERE, 1)},
			want: want{emu.RW | emu.Exec, 12, false}},
		"execute not asked for": {bits: ssRW | ssX, p: p, access: emu.RW, set: []func([]uint64){with(spec.PasidERE, 1)},
			want: want{emu.RW, 12, false}},
		"execute without X": {bits: ssRW, p: p, access: emu.RW | emu.Exec, want: want{emu.RW, 12, false},
			set: []func([]uint64){with(spec.PasidERE, 1), with(spec.PasidSSEE, 1)}},
		"execute without R": {bits: ssW, p: p, access: emu.RW | emu.Exec, want: want{emu.Write, 12, false},
			set: []func([]uint64){with(spec.PasidERE, 1)}},
		"execute with ERE=0": {bits: ssRW, p: p, access: emu.RW | emu.Exec, want: want{0, 12, false}},
		"execute without ERS": {bits: ssRW, p: p, access: emu.RW | emu.Exec,
			config: func(c *vtd.Config) { c.ERS = false }, want: want{0, 12, false}},
		"bits of the prefix without a PASID": {bits: ssRW, p: emu.NoPASID, access: emu.RW | emu.Exec | emu.Priv, want: want{emu.RW, 12, false}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, pri, func(cfg *vtd.Config) {
				if c.config != nil {
					c.config(cfg)
				}
			})
			requests(r)
			q := c.p
			if q == emu.NoPASID {
				q = 0
			}
			top := r.bind(sid, q, spec.PGTTSecond, 7, c.set...)
			r.Put(r.pte(top, iova, c.level), 0x4000_0000|c.bits)
			r.scalable()
			for range 2 { // from the tables and from the IOTLB
				res := r.ask(c.p, iova, c.access)
				require.Equal(t, emu.OK, res.Status, "fault %#x", res.Fault.Code)
				require.Equal(t, c.want, want{res.Perm, res.Lg2, res.Snoop})
				if res.Perm&emu.RW != 0 {
					require.EqualValues(t, 0x4000_0000|iova&(1<<res.Lg2-1), res.PA)
				}
			}
			require.Zero(t, r.R32(spec.OffFSTS))
		})
	}
}

func TestTranslationCompletionInLegacyMode(t *testing.T) {
	r, pte := ats(t, ssRW|1<<11)
	for range 2 {
		res := r.ask(emu.NoPASID, iova, emu.RW)
		require.Equal(t, emu.RW, res.Perm)
		require.True(t, res.Snoop, "SNP of the leaf")
	}
	require.False(t, r.Access(sid, iova, emu.Read).Snoop, "only a completion says so")
	r.Put(pte, 0)
	r.queue(false)
	r.submit(iotlbInv(2, 7), 0)
	res := r.ask(emu.NoPASID, iova, emu.RW)
	require.Equal(t, emu.OK, res.Status)
	require.Zero(t, res.Perm)
}

func TestTranslationOfAPassThroughEntryIsLargeAndClearOfInterrupts(t *testing.T) {
	for addr, lg2 := range map[uint64]uint8{
		0x1_2345_6000: 30, 0xc000_0000: 21, 0xfec0_0000: 21, 0xfed0_0000: 21, 0xfee0_0000 - 0x1000: 21, 0xfef0_0000: 12, 0xff00_0000: 21,
	} {
		r := newRig(t, pri)
		requests(r)
		r.bind(sid, 0, spec.PGTTPassThrough, 7, with(spec.PasidPGSNP, 1))
		r.scalable()
		res := r.ask(emu.NoPASID, addr, emu.RW)
		r.RequireOK(res, addr)
		require.Equal(t, emu.RW, res.Perm)
		require.Equal(t, lg2, res.Lg2, "%#x", addr)
		require.True(t, res.Snoop)
	}
}

// Table 30: what is wrong with an address or a missing entry ends in success without rights, what is
// wrong with the tables in a completer abort, what is forbidden in an unsupported request.
func TestTranslationRequestsThatAreBlocked(t *testing.T) {
	const p = emu.PASID(5)
	bound := func(bits uint64, set ...func([]uint64)) func(*rig) {
		return func(r *rig) { r.mapPage(r.bind(sid, p, spec.PGTTSecond, 7, set...), iova, 0x5000, bits) }
	}
	for name, c := range map[string]struct {
		setup func(r *rig)
		at    uint64
		p     emu.PASID
		code  uint16 // 0: success without rights
		abort bool
	}{
		"directory entry not present": {setup: func(*rig) {}, p: 0x100},
		"PASID entry not present":     {setup: func(*rig) {}},
		"page not present":            {setup: bound(0)},
		"address beyond width":        {setup: bound(ssRW), at: 1 << 48},
		"pass-through beyond HAW":     {setup: func(r *rig) { r.bind(sid, p, spec.PGTTPassThrough, 7) }, at: 1 << 48},
		"reserved bits in a page":     {setup: bound(ssRW | 1<<62), code: 0x7a, abort: true},
		"reserved bits in an entry":   {setup: bound(ssRW, func(e []uint64) { e[0] |= 1 << 10 }), code: 0x5a, abort: true},
		"entry invalid":               {setup: bound(ssRW, with(spec.PasidAW, spec.AW39)), code: 0x5b, abort: true},
		"output in interrupt range":   {setup: func(r *rig) { r.mapPage(r.bind(sid, p, spec.PGTTSecond, 7), iova, 0xfee0_1000, ssRW) }, code: 0x87, abort: true},
		"page around interrupt range": {setup: func(r *rig) { r.Put(r.pte(r.bind(sid, p, spec.PGTTSecond, 7), iova, 2), 0xc000_0000|ssRW|1<<7) }, code: 0x87, abort: true},
		"PASID beyond directory":      {setup: bound(ssRW), p: 1 << 13, code: 0x46},
		"PASID that is RID_PASID":     {setup: bound(ssRW), p: 1 << 20, code: 0x48},
		"DTE=0": {setup: func(r *rig) {
			at := r.smContext(sid)
			r.Put(at, r.Get(at)&^(spec.SMCtxDTE.Mask()|spec.SMCtxPRE.Mask()))
		}, code: 0x44},
		"context entry not present":   {setup: func(r *rig) { r.Put(r.smContext(sid), 0) }, code: 0x41},
		"context entry with reserved": {setup: func(r *rig) { at := r.smContext(sid); r.Put(at, r.Get(at)|1<<8) }, code: 0x42, abort: true},
		"context entry not readable":  {setup: func(r *rig) { r.BusError(r.smContext(sid), 16) }, code: 0x40, abort: true},
		"second-stage table unreadable": {setup: func(r *rig) {
			r.BusError(r.pte(r.bind(sid, p, spec.PGTTSecond, 7), iova, 0), 8)
		}, code: 0x78, abort: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, pri)
			requests(r)
			r.pasidEntry(sid, 0)
			c.setup(r)
			r.scalable()
			at, p := c.at, c.p
			if at == 0 {
				at = iova
			}
			switch p {
			case 0:
				p = 5
			case 1 << 20:
				p = 0
			}
			res := r.ask(p, at, emu.RW)
			if c.code == 0 {
				require.Equal(t, emu.OK, res.Status, "fault %#x", res.Fault.Code)
				require.Zero(t, res.Perm)
				require.EqualValues(t, 12, res.Lg2)
				require.Zero(t, r.R32(spec.OffFSTS))
				return
			}
			r.RequireFault(res, c.code)
			require.Equal(t, c.abort, res.Fault.Abort)
			rec := r.record(0)
			require.EqualValues(t, c.code, rec.FR())
			require.EqualValues(t, emu.TranslationReq, spec.FrAT.Get(rec[:]))
		})
	}
}

func TestTranslatedRequests(t *testing.T) {
	translated := func(r *rig, p emu.PASID, at uint64) emu.Result {
		return r.Do(emu.Request{Source: sid, Addr: emu.IOVA(at), PASID: p, Len: 64, Access: emu.Write, Type: emu.Translated})
	}
	r := newRig(t, pri)
	requests(r)
	r.scalable()
	r.RequireOK(translated(r, emu.NoPASID, 0x7000), 0x7000)
	r.RequireFault(translated(r, 5, 0x7000), vtd.FaultTranslatedPASID)
	require.Zero(t, r.R32(spec.OffFSTS), "blocked before it gets to remapping")
	r.RequireFault(translated(r, emu.NoPASID, 0xfee0_0000), vtd.FaultOutputRangeSM)
	r.RequireFault(translated(r, emu.NoPASID, 1<<48), vtd.FaultHAW)

	r = newRig(t, ptrs)
	requests(r)
	r.scalable()
	r.RequireFault(translated(r, 5, 0x7000), vtd.FaultNoEPTR)
	at := r.smContext(sid)
	r.Put(at, r.Get(at)|spec.SMCtxEPTR.Mask())
	r.queue(true)
	r.submit(ccInv(1, 0, 0, 0), 0)
	r.RequireOK(translated(r, 5, 0x7000), 0x7000)
	r.RequireOK(translated(r, emu.NoPASID, 0x7000), 0x7000)
	r.RequireFault(translated(r, 0, 0x7000), vtd.FaultRIDPASID)
	r.RequireFault(translated(r, 1<<13, 0x7000), vtd.FaultPASIDRange)
	require.False(t, r.Do(emu.Request{Source: sid, PASID: 1 << 13, Type: emu.Translated}).Fault.Abort)
}

func TestProtectedMemoryStaysOutOfReachOfTranslatedRequests(t *testing.T) {
	r := newRig(t, pri)
	requests(r)
	r.scalable()
	r.W32(spec.OffPLMBASE, 0x20_0000)
	r.W32(spec.OffPLMLIMIT, 0x3f_ffff)
	r.W32(spec.OffPMEN, spec.PmenEPM.Mask())
	q := emu.Request{Source: sid, Addr: 0x20_0000, PASID: emu.NoPASID, Len: 64, Access: emu.Read, Type: emu.Translated}
	r.RequireFault(r.Do(q), vtd.FaultProtected)
	q.Addr = 0x40_0000
	r.RequireOK(r.Do(q), 0x40_0000)
}

// outbox drives the queue engine alone and keeps the invalidation requests it sends, unanswered.
type outbox struct {
	*rig
	engine emu.Txn
	parked bool
	sent   []emu.ATSInvalidation
	to     []emu.SourceID
}

func newOutbox(t *testing.T, change ...func(*vtd.Config)) *outbox {
	o := &outbox{rig: newRig(t, append([]func(*vtd.Config){pri}, change...)...)}
	o.setRoot(spec.TTMScalable)
	o.queue(true)
	return o
}

// run lets the engine go on until it parks or ends.
func (o *outbox) run(w emu.Wake) {
	if w&vtd.EngineQueue.Set() == 0 {
		return
	}
	if !o.parked {
		o.u.Start(&o.engine, &emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	}
	o.parked = false
	for {
		o.u.Step(&o.engine)
		a := &o.engine.Act
		o.engine.Ans = emu.AnsOK
		switch a.Op {
		case emu.OpFetch, emu.OpStore:
			o.engine.Ans = emu.MemoryAnswer(o.Mem, &o.engine)
		case emu.OpSend:
			o.sent = append(o.sent, a.ATSInvalidation())
			o.to = append(o.to, emu.SourceID(a.Key.Addr))
		case emu.OpPark:
			o.parked = true
			return
		case emu.OpDone:
			return
		}
	}
}

func (o *outbox) kick() { o.run(o.u.WriteReg(spec.OffIQT, 4, o.tail)) }

// end ends request i.
func (o *outbox) end(i int, completed bool) {
	o.run(o.u.ATSEnded(o.to[i], o.sent[i].ITag, completed))
}

// devTLB pushes a device-TLB invalidation.
func (o *outbox) devTLB(source emu.SourceID, pf, mip uint64) {
	o.push(spec.PutDescType(spec.DescDevTLB)|spec.DtSID.Put(uint64(source))|spec.DtMIP.Put(mip)|
		spec.DtPFSIDLo.Put(pf)|spec.DtPFSIDHi.Put(pf>>4), iova)
}

func TestDeviceTLBInvalidationsAreOutstandingTogether(t *testing.T) {
	o := newOutbox(t)
	for range 40 {
		o.devTLB(sid, 1, 0)
	}
	o.push(wait(1, o.status()))
	o.kick()
	require.Len(t, o.sent, 32, "as many as there are ITags")
	tags := map[uint8]bool{}
	for _, q := range o.sent {
		tags[q.ITag] = true
	}
	require.Len(t, tags, 32)
	o.end(7, true)
	require.Len(t, o.sent, 33)
	require.Equal(t, o.sent[7].ITag, o.sent[32].ITag, "the tag is free again")
	for i := range 40 {
		require.Zero(t, o.Get(o.status()), "the wait waits for all")
		if i != 7 {
			o.end(i, true)
		}
	}
	require.EqualValues(t, 1, o.Get(o.status()))
	require.False(t, o.parked)
}

func TestVTDQuirk40_MIPThrottlesThePhysicalFunction(t *testing.T) {
	for _, dit := range []bool{true, false} {
		o := newOutbox(t, func(c *vtd.Config) { c.DIT = dit })
		pf := func(n uint64) uint64 {
			if !dit {
				return 0 // reserved
			}
			return n
		}
		o.devTLB(0x310, pf(0x9a7), 2)
		o.devTLB(0x311, pf(0x9a7), 2)
		o.devTLB(0x400, pf(0x400), 2)
		o.devTLB(0x312, pf(0x9a7), 2)
		o.kick()
		if !dit {
			require.Len(t, o.sent, 4, "a hint that is not taken")
			continue
		}
		require.Len(t, o.sent, 3, "two are pending at the function")
		o.end(2, true)
		require.Len(t, o.sent, 3, "the other function's do not count")
		o.end(0, true)
		require.Len(t, o.sent, 4)
	}
}

func TestVTDQuirk06_IQHMovesOnWhileDevicesHaveNotAnswered(t *testing.T) {
	o := newOutbox(t)
	o.devTLB(sid, 1, 0)
	o.push(wait(1, o.status()))
	o.kick()
	require.Equal(t, o.tail, o.head())
	require.Zero(t, o.Get(o.status()))
	o.end(0, true)
	require.EqualValues(t, 1, o.Get(o.status()))
}

func TestVTDQuirk08_OneOfSeveralTimesOut(t *testing.T) {
	o := newOutbox(t)
	o.devTLB(0x310, 1, 0)
	o.devTLB(0x311, 1, 0)
	o.push(wait(1, o.status()))
	o.push(iotlbInv(1, 0), 0)
	o.push(wait(2, o.status()+8))
	o.kick()
	o.end(0, true)
	o.end(1, false)
	require.True(t, spec.FstsITE.On(o.R32(spec.OffFSTS)))
	require.EqualValues(t, 0x311, spec.IqercdITESID.Of(o.R64(spec.OffIQERCD)))
	require.Equal(t, o.tail, o.head(), "what was fetched is done")
	o.run(o.u.WriteReg(spec.OffFSTS, 4, spec.FstsITE.Mask()))
	require.Zero(t, o.Get(o.status()), "aborted for good")
	require.Zero(t, o.Get(o.status()+8))
	o.push(wait(3, o.status()+16))
	o.kick()
	require.EqualValues(t, 3, o.Get(o.status()+16))
}

func TestTimeoutOfAQueueThatStandsStill(t *testing.T) {
	// No wait is pending: ITE is set at once.
	o := newOutbox(t)
	o.devTLB(sid, 1, 0)
	o.kick()
	o.end(0, false)
	require.True(t, spec.FstsITE.On(o.R32(spec.OffFSTS)))
	// A second one while ITE stands does not change the device named.
	o = newOutbox(t)
	o.devTLB(0x310, 1, 0)
	o.devTLB(0x311, 1, 0)
	o.kick()
	o.end(0, false)
	o.end(1, false)
	require.EqualValues(t, 0x310, spec.IqercdITESID.Of(o.R64(spec.OffIQERCD)))
	// Behind a queue error both are reported.
	o = newOutbox(t)
	o.devTLB(sid, 1, 0)
	o.push(0xf, 0)
	o.kick()
	require.True(t, o.iqe())
	o.end(0, false)
	require.True(t, o.iqe() && spec.FstsITE.On(o.R32(spec.OffFSTS)))
	require.EqualValues(t, 32, o.head(), "IQH stays at the bad descriptor")
}

func TestTimeoutInFrontOfABadDescriptorIsNotLost(t *testing.T) {
	o := newOutbox(t)
	o.devTLB(sid, 1, 0)
	o.push(wait(1, o.status()))
	o.push(0xf, 0)
	o.kick()
	o.end(0, false)
	require.True(t, o.iqe() && spec.FstsITE.On(o.R32(spec.OffFSTS)))
	require.EqualValues(t, 64, o.head())
	require.Zero(t, o.Get(o.status()))
}

func TestCompletionThatNobodyWaitsForIsLogged(t *testing.T) {
	o := newOutbox(t)
	o.devTLB(sid, 1, 0)
	o.kick()
	o.run(o.u.ATSEnded(sid+1, o.sent[0].ITag, true)) // of another device
	require.True(t, spec.FstsICE.On(o.R32(spec.OffFSTS)))
	require.EqualValues(t, sid+1, spec.IqercdICESID.Of(o.R64(spec.OffIQERCD)))
	o.run(o.u.WriteReg(spec.OffFSTS, 4, spec.FstsICE.Mask()))
	o.end(0, true)
	require.Zero(t, o.R32(spec.OffFSTS))
	o.end(0, true)
	require.True(t, spec.FstsICE.On(o.R32(spec.OffFSTS)), "the tag is free")
	o.end(0, false)
	require.False(t, spec.FstsITE.On(o.R32(spec.OffFSTS)), "nothing is outstanding that could time out")
}

func TestQueueCanBeTurnedOffWhileDevicesHaveNotAnswered(t *testing.T) {
	o := newOutbox(t)
	o.devTLB(sid, 1, 0)
	o.push(wait(1, o.status()))
	o.kick()
	o.command(spec.GcmdQIE, false) // the command engine of the functional executor waits
	require.True(t, spec.GstsQIES.On(o.R32(spec.OffGSTS)))
	o.end(0, true)
	require.EqualValues(t, 1, o.Get(o.status()), "what was fetched is completed")
	o.F.Wake(o.engine.Wake)
	require.False(t, spec.GstsQIES.On(o.R32(spec.OffGSTS)))
}
