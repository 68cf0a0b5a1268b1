package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

func TestPages_SetUpOnlyWithAllThatItNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hw.Config)
		opt    Options
		spec   host.DeviceSpec
		up     bool
		entry  uint64 // DTE and PRE of the context entry
	}{
		"all":             {withPRI, Options{}, host.DeviceSpec{ATS: true, PRI: true}, true, spec.SMCtxDTE.Mask() | spec.SMCtxPRE.Mask()},
		"device without":  {withPRI, Options{}, host.DeviceSpec{ATS: true}, true, spec.SMCtxDTE.Mask()},
		"PRI without ATS": {withPRI, Options{}, host.DeviceSpec{PRI: true}, true, 0},
		"no drain": {func(c *hw.Config) { withPRI(c); c.PDS = false }, Options{},
			host.DeviceSpec{ATS: true, PRI: true}, false, spec.SMCtxDTE.Mask()},
		"no PRS":        {withATS, Options{}, host.DeviceSpec{ATS: true, PRI: true}, false, spec.SMCtxDTE.Mask()},
		"no device-TLB": {scalable, Options{}, host.DeviceSpec{ATS: true, PRI: true}, false, 0},
		"legacy mode":   {withPRI, Options{Mode: ModeLegacy}, host.DeviceSpec{ATS: true, PRI: true}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := machine(t, c.change).up(c.opt)
			pqa := r.cpu.Functional.ReadReg(0, spec.OffPQA, 8)
			require.Equal(t, c.up, pqa != 0)
			if c.up {
				require.EqualValues(t, 4, pqa&7, "64 KiB")
				require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffPECTL, 4))
			}
			require.NoError(t, r.d.Probe(dev, c.spec))
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
			if r.d.Scalable() {
				_, raw := r.d.ContextAt(dev)
				require.Equal(t, c.entry, raw[0]&(spec.SMCtxDTE.Mask()|spec.SMCtxPRE.Mask()))
			}
			require.NoError(t, r.d.Shutdown())
			require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffPQA, 8))
		})
	}
}

// pager is a machine with a device that asks for pages.
type pager struct {
	*rig
	*drivertest.Pager
}

func newPager(t testing.TB, change ...func(*hwdev.EndpointConfig)) *pager {
	r := start(t, withPRI)
	return &pager{r, r.Pager(dev, 0x310, host.DomainSpec{}, change...)}
}

func (p *pager) prs() uint64 { return p.cpu.Functional.ReadReg(0, spec.OffPRS, 4) }

func TestPages_DeviceFaultsItsPagesIn(t *testing.T) {
	p := newPager(t)
	for i := range emu.IOVA(8) {
		p.Back[0x10000+i<<12] = target + emu.PA(i)<<13
	}
	for _, pasid := range []emu.PASID{emu.NoPASID, 5} {
		for i := range emu.IOVA(8) {
			p.Dev.Reaches(pasid, 0x10008+i<<12, target+emu.PA(i)<<13+8)
		}
	}
	require.Len(t, p.Got, 8, "the domain is the same")
	require.Equal(t, host.PageGroup{
		Source: dev, PASID: emu.NoPASID, Requests: []host.PageRequest{{Addr: 0x10000, Access: emu.Read}},
	}, p.Got[0])
	s := p.d.Stats()
	require.EqualValues(t, []uint64{8, 8, 0}, []uint64{s.PageRequests, s.PageGroups, s.PageOverflows})
	require.Empty(t, p.Faults)
	require.Zero(t, p.prs())
	n := p.Dev.Stats().Translations
	p.Dev.Reaches(5, 0x10000, target)
	require.Equal(t, n, p.Dev.Stats().Translations, "kept")
}

func TestPages_RequestsAreHandedOnAsTheyAre(t *testing.T) {
	p := newPager(t, func(c *hwdev.EndpointConfig) { c.Gather = 100 })
	for i := range emu.IOVA(4) {
		p.Back[0x10000+i<<12] = target
	}
	p.Dev.Put(5, 0x10000, emu.Read)
	p.Dev.Put(5, 0x11000, emu.Write)
	p.Dev.Put(emu.NoPASID, 0x12000, emu.Atomic)
	p.Dev.Put(5, 0x13000, emu.Read)
	p.Bus.Run(1000)
	require.Equal(t, []host.PageGroup{
		{Source: dev, PASID: 5, Index: 0, Requests: []host.PageRequest{
			{Addr: 0x10000, Access: emu.Read}, {Addr: 0x11000, Access: emu.Write}, {Addr: 0x13000, Access: emu.Read},
		}},
		{Source: dev, PASID: emu.NoPASID, Index: 1, Requests: []host.PageRequest{{Addr: 0x12000, Access: emu.RW}}},
	}, p.Got)
	require.Equal(t, 4, p.Dev.Ended)
	require.True(t, p.Dev.Idle())
}

func TestPages_Answers(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(p *pager)
		want hwdev.End
	}{
		"nobody there": {func(p *pager) { p.d.OnPageRequest(nil) }, hwdev.EndInvalid},
		"no such page": {func(*pager) {}, hwdev.EndInvalid},
		"failure": {func(p *pager) {
			p.d.OnPageRequest(func(g host.PageGroup) { _ = p.d.Respond(g, host.PageFailure) })
		}, hwdev.EndPageFailure},
		"nothing mapped":   {func(p *pager) { p.d.OnPageRequest(func(g host.PageGroup) { p.Retry(g) }) }, hwdev.EndOK},
		"entry is gone":    {func(p *pager) { p.put64(5, 0) }, hwdev.EndInvalid},
		"answered at last": {func(p *pager) { p.d.OnPageRequest(func(g host.PageGroup) { p.Got = append(p.Got, g) }) }, hwdev.EndOK},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPager(t)
			c.set(p)
			p.Dev.Put(5, 0x10000, emu.Read)
			p.Bus.Run(200)
			if p.Dev.Ended == 0 {
				require.Len(t, p.Got, 1)
				require.NoError(t, p.Dom.Map(0x10000, target, 0x1000, emu.RW))
				require.NoError(t, p.d.Respond(p.Got[0], host.PageSuccess))
				p.Bus.Run(200)
			}
			require.Equal(t, 1, p.Dev.Ended)
			require.Equal(t, c.want, p.Dev.End)
			require.Equal(t, c.want == hwdev.EndPageFailure, p.Dev.PagesStopped())
		})
	}
}

// put64 stores behind the driver's back.
func (p *pager) put64(pasid emu.PASID, v uint64) {
	at, _ := p.d.EntryAt(dev, pasid)
	p.cpu.Functional.Store64(at, v)
}

// A domain that is gone, though the entry is still there as far as the device can tell.
func TestPages_ForNobodyAreRefused(t *testing.T) {
	p := newPager(t)
	other := p.Endpoint(p.Bus, 0x300)
	require.NoError(t, p.d.Probe(0x300, host.DeviceSpec{ATS: true, PRI: true}))
	require.NoError(t, p.d.Attach(0x300, emu.NoPASID, p.Dom))
	delete(p.d.k.Devices, 0x300)
	_, end := other.Access(emu.NoPASID, 0x10000, emu.Read)
	require.Equal(t, hwdev.EndInvalid, end)
	require.Empty(t, p.Got)
}

func TestPages_StopMarkersAndUnknownEntriesAreSkipped(t *testing.T) {
	p := newPager(t)
	p.Back[0x10000] = target
	var res emu.Result
	p.cpu.Translate(&emu.Request{Addr: 0x1000, Source: dev, PASID: 5, Type: emu.PageRequest, Data: emu.MakePRG(0, true)}, &res)
	require.Equal(t, emu.OK, res.Status)
	p.d.takePage([4]uint64{2 | uint64(dev)<<16, 4})
	require.Zero(t, p.d.k.Groups.Pending())
	p.Dev.Reaches(5, 0x10000, target)
	require.Len(t, p.Got, 1)
}

func TestPages_WhatIsNeverEndedIsBounded(t *testing.T) {
	p := newPager(t)
	var res emu.Result
	const most = 3 * 4096
	for i := range 2 * most {
		p.cpu.Translate(&emu.Request{Addr: emu.IOVA(i) << 12, Source: dev, PASID: emu.PASID(5), Access: emu.Read, Type: emu.PageRequest,
			Data: emu.MakePRG(uint16(i%3), false)}, &res)
	}
	n := p.d.k.Groups.Pending()
	require.Equal(t, 3, n.Begun)
	require.Less(t, n.Requests, most)
	require.NoError(t, p.d.Detach(dev, 5))
	require.Zero(t, p.d.k.Groups.Pending())
}

// An interrupt in the middle of an operation: nobody is told before it has ended.
func TestPages_NobodyIsToldInTheMiddleOfAnOperation(t *testing.T) {
	ops := map[string]func(p *pager){
		"map":    func(p *pager) { require.NoError(p.t, p.Dom.Map(0x40_0000, target, 0x1000, emu.RW)) },
		"unmap":  func(p *pager) { _, _ = p.Dom.Unmap(0x20000, 0x1000) },
		"flush":  func(p *pager) { require.NoError(p.t, p.Dom.Flush()) },
		"attach": func(p *pager) { require.NoError(p.t, p.d.Attach(dev, 6, p.Dom)) },
		"detach": func(p *pager) { require.NoError(p.t, p.d.Detach(dev, 5)) },
		"replace": func(p *pager) {
			_, err := p.d.Replace(dev, 5, p.Mapped(0x30000, target), entry.Hitless)
			require.NoError(p.t, err)
		},
		"release": func(p *pager) { require.NoError(p.t, p.d.Release(0x300)) },
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			p := newPager(t)
			p.d.caps.rwbf = true // so that every operation touches a register
			p.Back[0x10000] = target
			require.NoError(t, p.Dom.Map(0x20000, target, 0x1000, emu.RW))
			require.NoError(t, p.d.Probe(0x300, host.DeviceSpec{}))
			require.NoError(t, p.d.Attach(0x300, emu.NoPASID, p.Dom))
			require.NoError(t, p.d.Detach(0x300, emu.NoPASID))
			inside := 0
			serve := p.Serve
			p.d.OnPageRequest(func(g host.PageGroup) {
				require.True(t, p.d.k.Idle())
				serve(g)
			})
			p.cpu.Hook = func(uint32) {
				p.cpu.Hook = nil
				p.Dev.Put(emu.NoPASID, 0x10000, emu.Read)
				p.Bus.Run(10)
				require.Empty(t, p.Got)
				inside++
			}
			op(p)
			require.Equal(t, 1, inside)
			require.Len(t, p.Got, 1)
			p.Bus.Run(100)
			require.Equal(t, hwdev.EndOK, p.Dev.End)
		})
	}
}

// full fills the queue with the requests of another device, while the event is masked.
func (p *pager) full() {
	p.cpu.Functional.WriteReg(0, spec.OffPECTL, 4, spec.EventIM.Mask())
	var res emu.Result
	for i := 0; ; i++ {
		require.Less(p.t, i, 3000)
		p.cpu.Translate(&emu.Request{Addr: 0x50000, Source: 0x310, PASID: emu.NoPASID, Access: emu.Read, Type: emu.PageRequest,
			Data: emu.MakePRG(uint16(i%0x200), i%0x200 != 0x1ff)}, &res)
		if res.Status == emu.Blocked {
			require.Equal(p.t, 2047, i, "one stays free")
			return
		}
	}
}

func (p *pager) unmask() { p.cpu.Functional.WriteReg(0, spec.OffPECTL, 4, 0) }

func TestPages_OverflowIsOvercome(t *testing.T) {
	p := newPager(t)
	p.Back[0x10000] = target
	p.full()
	p.Dev.Put(emu.NoPASID, 0x10000, emu.Read)
	p.Bus.Run(100)
	require.Zero(t, p.Dev.Ended)
	require.Greater(t, p.Dev.Stats().Responses, uint64(10), "hardware has it try again and again")
	require.Equal(t, spec.PrsPRO.Mask()|spec.PrsPPR.Mask(), p.prs())
	p.unmask()
	p.Bus.Run(100)
	require.Equal(t, hwdev.EndOK, p.Dev.End)
	require.EqualValues(t, 1, p.d.Stats().PageOverflows)
	require.Zero(t, p.prs())
	require.Zero(t, p.d.k.Groups.Pending().Begun, "what had begun is forgotten: its last may have been dropped")
}

// What the handler does, and what happens if something comes in between.
func TestVTDQuirk56_PPRIsTakenBackFirstAndPROLast(t *testing.T) {
	p := newPager(t)
	p.Back[0x10000], p.Back[0x11000] = target, target
	var log []string
	names := map[uint32]string{spec.OffPRS: "PRS", spec.OffPQT: "PQT", spec.OffPQH: "PQH"}
	p.cpu.Fake = func(off uint32, v uint64) uint64 {
		if n, ok := names[off]; ok {
			log = append(log, "read "+n)
			if n == "PQT" && len(log) == 2 {
				// A request after the tail was read: it raises the event anew.
				p.Dev.Put(emu.NoPASID, 0x11000, emu.Read)
				p.Bus.Run(2)
			}
		}
		return v
	}
	p.cpu.Hook = func(off uint32) {
		if n, ok := names[off]; ok {
			log = append(log, "write "+n)
		}
	}
	p.Dev.Put(emu.NoPASID, 0x10000, emu.Read)
	p.Bus.Run(2)
	require.Equal(t, []string{"write PRS", "read PQT", "read PQH", "write PQH", "read PRS"}, log[:5])
	p.Bus.Run(100)
	require.Len(t, p.Got, 2)
	require.Equal(t, 2, p.Dev.Ended)

	log = nil
	p.full()
	p.unmask()
	require.Equal(t, []string{"write PRS", "read PQT", "read PQH", "write PQH", "read PRS", "read PQH", "read PQT", "write PRS"}, log)
}

func TestPages_DetachDrains(t *testing.T) {
	p := newPager(t)
	p.d.OnPageRequest(func(g host.PageGroup) { p.Got = append(p.Got, g) })
	p.Dev.Put(5, 0x10000, emu.Read)
	p.Dev.Put(emu.NoPASID, 0x11000, emu.Read)
	p.Bus.Run(100)
	require.Len(t, p.Got, 2)
	got := p.during(func() { require.NoError(t, p.d.Detach(dev, 5)) })
	all := "pdevtlb sid 108 pasid 5 0x7ffffffffffff800"
	require.Equal(t, []string{
		"pasid g1 did 2 pasid 5", "fence", "iotlb g2 did 2", all, "wait",
		"response sid 108 pasid 5 index 0 code 1", "wait",
		"fence", "iotlb g2 did 2", all, "wait for page requests",
	}, got)
	p.Bus.Run(100)
	require.Equal(t, hwdev.EndInvalid, p.Dev.End)
	require.Equal(t, 1, p.Dev.Ended)
	require.ErrorIs(t, p.d.Respond(p.Got[0], host.PageSuccess), host.ErrPageGroup)
	require.NoError(t, p.Dom.Map(0x11000, target, 0x1000, emu.RW))
	require.NoError(t, p.d.Respond(p.Got[1], host.PageSuccess), "not of the PASID")
	p.Bus.Run(100)
	require.Equal(t, 2, p.Dev.Ended)
}

// Page requests that are in the queue, unread, while their domain is taken away.
func TestPages_DetachAnswersWhatIsInTheQueue(t *testing.T) {
	p := newPager(t, func(c *hwdev.EndpointConfig) { c.Outstanding = 16 })
	p.cpu.Functional.WriteReg(0, spec.OffPECTL, 4, spec.EventIM.Mask())
	for i := range emu.IOVA(6) {
		p.Dev.Put(5, 0x10000+i<<12, emu.Read)
	}
	p.Bus.Run(100)
	require.NoError(t, p.d.Detach(dev, 5))
	p.Bus.Run(100)
	require.Equal(t, 6, p.Dev.Ended)
	require.Equal(t, hwdev.EndInvalid, p.Dev.End)
	require.Empty(t, p.Got)
	require.True(t, p.Dev.Idle())
}

// The queue overflows while a drain runs: it is drained again.
func TestPages_DrainIsRepeatedAfterAnOverflow(t *testing.T) {
	p := newPager(t)
	drains := 0
	p.cpu.Hook = func(off uint32) {
		if off == spec.OffIQT && p.d.queue.extra != 0 {
			if drains++; drains < 3 {
				p.full()
			}
		}
	}
	require.NoError(t, p.d.Detach(dev, 5))
	require.Equal(t, 3, drains)
	p.cpu.Hook = func(off uint32) {
		if off == spec.OffIQT && p.d.queue.extra != 0 {
			p.full()
		}
	}
	require.ErrorIs(t, p.d.Detach(dev, emu.NoPASID), host.ErrTimeout)
	require.Nil(t, p.d.Attached(dev, emu.NoPASID))
}

// A time-out that nobody has looked at ends the wait of an answer: the device gets it once all the same.
func TestPages_AnswersAreNotRepeated(t *testing.T) {
	p := newPager(t)
	answers := 0
	tell := p.cpu.OnPRGResponse
	p.cpu.OnPRGResponse = func(x *emu.Txn) { answers++; tell(x) }
	p.Back[0x10000], p.Back[0x11000] = target, target
	p.Dev.Reaches(5, 0x10000, target)
	p.d.SetOmit(entry.OmitWait)
	p.Dev.Mute(true)
	_, err := p.Dom.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	p.d.SetOmit(0)
	p.Dev.Mute(false)
	require.NotZero(t, p.cpu.Functional.ReadReg(0, spec.OffFSTS, 4)&spec.FstsITE.Mask())
	p.Dev.Reaches(5, 0x11000, target)
	require.Equal(t, 2, answers)
	require.Zero(t, p.Dev.Stats().Unexpected)
}

func TestDeviceTLB_StaleWhereItsInvalidationIsLeftOut(t *testing.T) {
	for _, pasid := range []emu.PASID{emu.NoPASID, 5} {
		for _, omit := range []bool{false, true} {
			p := newPager(t)
			p.Back[0x10000] = target
			p.Dev.Reaches(pasid, 0x10000, target)
			if omit {
				p.d.SetOmit(entry.OmitDeviceTLB)
			}
			_, err := p.Dom.Unmap(0x10000, 0x1000)
			require.NoError(t, err)
			p.Back[0x10000] = target + 0x7000
			if omit {
				p.Dev.Reaches(pasid, 0x10000, target)
				continue
			}
			p.Dev.Reaches(pasid, 0x10000, target+0x7000)
			require.Len(t, p.Got, 2)
		}
	}
}

func TestDeviceTLB_MutedDeviceTimesOut(t *testing.T) {
	p := newPager(t)
	p.Back[0x10000] = target
	p.Dev.Reaches(5, 0x10000, target)
	p.Dev.Mute(true)
	_, err := p.Dom.Unmap(0x10000, 0x1000)
	require.ErrorIs(t, err, host.ErrDeviceTLB)
	p.Dev.Reaches(5, 0x10000, target)
	p.Dev.Mute(false)
	require.NoError(t, p.Dom.Flush())
	require.Zero(t, p.Dev.TLB().Len())
	_, err = p.Dom.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	p.Back[0x10000] = target + 0x3000
	p.Dev.Reaches(5, 0x10000, target+0x3000)
}

// Reads that use a translation are on their way when it is invalidated: they go first.
func TestDeviceTLB_InvalidationWaitsForWhatIsOnItsWay(t *testing.T) {
	p := newPager(t)
	// An invalidation without PASID would mean all PASIDs.
	require.NoError(t, p.d.Detach(dev, emu.NoPASID))
	require.NoError(t, p.Dom.Map(0x10000, target, 0x4000, emu.RW))
	for i := range emu.IOVA(4) {
		p.Dev.Reaches(5, 0x10000+i<<12, target+emu.PA(i)<<12)
	}
	n := p.Dev.Ended
	for i := range emu.IOVA(4) {
		p.Dev.Put(5, 0x10000+i<<12, emu.Read)
	}
	require.Equal(t, 4, p.Bus.InFlight())
	_, err := p.Dom.Unmap(0x11000, 0x1000)
	require.NoError(t, err)
	require.Equal(t, n+2, p.Dev.Ended, "the second of four")
	require.EqualValues(t, 1, p.Dev.Stats().Held)
}
