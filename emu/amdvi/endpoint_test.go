package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/device"
)

// Devices with a device IOTLB below the unit: translation requests, translated requests, invalidations
// and page requests as PCIe has them.

var atsOn = field{spec.DteI, 1}

// invDevice invalidates the device IOTLB of dev: w1 is the second word.
func invDevice(p emu.PASID, w1 uint64) [2]uint64 {
	w := invIOTLB(dev, uint64(dev), 32)
	if p != emu.NoPASID {
		w[0] |= spec.PutIotlbPASID(uint64(p))
		w1 |= invGN
	}
	return [2]uint64{w[0], w1}
}

func TestEndpointKeepsATranslationUntilItsOwnInvalidation(t *testing.T) {
	r := fullRig(t)
	at := r.mapPage(r.attach(dev, 3, atsOn), iova, 0x5000, pRW)
	e := r.Endpoint(dev)
	status := r.Page()
	e.RequireReaches(emu.NoPASID, iova, 0x5000)
	r.Put(at, 0x6000|pRW)
	r.submit(invPages(did, iova), wait(status, 1))
	require.EqualValues(t, 1, r.Get(status))
	e.RequireReaches(emu.NoPASID, iova, 0x5000) // the unit has forgotten it, the device has not
	r.submit(invDevice(emu.NoPASID, iova), wait(status, 2))
	require.EqualValues(t, 2, r.Get(status))
	e.RequireReaches(emu.NoPASID, iova, 0x6000)
	require.EqualValues(t, 2, e.Stats().Translations)
	require.EqualValues(t, 1, e.Stats().Invalidations)
}

func TestEndpointRangesAndPASIDsOfInvalidations(t *testing.T) {
	const far = iova + 1<<21
	for name, c := range map[string]struct {
		w    [2]uint64
		want map[emu.PASID][2]bool // of PASID 5 and 6: near and far are asked for anew
	}{
		"page of a PASID":      {invDevice(5, iova), map[emu.PASID][2]bool{5: {true, false}, 6: {false, false}}},
		"all of a PASID":       {invDevice(5, spec.AllPages|invS), map[emu.PASID][2]bool{5: {true, true}, 6: {false, false}}},
		"8 MiB of a PASID":     {invDevice(6, iova&^(1<<23-1)|0x3f_f000|invS), map[emu.PASID][2]bool{5: {false, false}, 6: {true, true}}},
		"all, without a PASID": {invDevice(emu.NoPASID, spec.AllPages|invS), map[emu.PASID][2]bool{5: {true, true}, 6: {true, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t)
			g := r.guests(4, 1, 3, atsOn)
			for _, p := range []uint64{5, 6} {
				g.gmap(p, iova, 0x5000, gAll)
				g.gmap(p, far, 0x7000, gAll)
			}
			e := r.Endpoint(dev)
			asks := func(p emu.PASID, addr, pa uint64) bool {
				n := e.Stats().Translations
				e.RequireReaches(p, addr, pa)
				return e.Stats().Translations > n
			}
			for _, p := range []emu.PASID{5, 6} {
				require.True(t, asks(p, iova, 0x5000))
				require.True(t, asks(p, far, 0x7000))
				require.False(t, asks(p, far, 0x7000))
			}
			r.submit(c.w)
			for p, want := range c.want {
				require.Equal(t, want[0], asks(p, iova, 0x5000), "PASID %d", p)
				require.Equal(t, want[1], asks(p, far, 0x7000), "PASID %d", p)
			}
		})
	}
}

func TestEndpointThatIsNotAllowedToTranslate(t *testing.T) {
	r := fullRig(t)
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW) // I=0
	e := r.Endpoint(dev)
	l := e.Access(emu.NoPASID, iova, emu.Read)
	require.Equal(t, device.EndBlocked, l.End)
	require.Equal(t, spec.EventInvalidRequest, int(spec.EvtCode.Of(r.event()[0])))
}

// U of a page: the device must go by untranslated requests.
func TestEndpointObeysUntranslatedOnly(t *testing.T) {
	r := fullRig(t)
	r.mapPage(r.attach(dev, 3, atsOn), iova, 0x5000, pRW|spec.PteU.Mask())
	e := r.Endpoint(dev)
	var types []emu.ReqType
	r.F.Trace = func(t *emu.Txn) {
		if t.Act.Op == emu.OpDone && t.Req.Type != emu.Job {
			types = append(types, t.Req.Type)
		}
	}
	e.RequireReaches(emu.NoPASID, iova, 0x5000)
	require.Equal(t, []emu.ReqType{emu.TranslationReq, emu.Untranslated}, types)
}

func TestEndpointThatDoesNotAnswerTimesOut(t *testing.T) {
	r := fullRig(t)
	r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlInvTimeOut.Put(4))
	r.mapPage(r.attach(dev, 3, atsOn), iova, 0x5000, pRW)
	e := r.Endpoint(dev)
	e.Mute(true)
	status := r.Page()
	r.submit(invDevice(emu.NoPASID, iova), wait(status, 1))
	require.EqualValues(t, 1, r.Get(status), "the command counts as done")
	ev := r.event()
	require.Equal(t, spec.EventIOTLBTimeout, int(spec.EvtCode.Of(ev[0])))
	require.EqualValues(t, r.cmd, ev[1])
}

// A page that is not there: the device asks, software maps it and says so, the access ends.
func TestEndpointPageRequests(t *testing.T) {
	for _, c := range []struct {
		status uint64
		end    device.End
	}{{spec.PPRSuccess, device.EndOK}, {spec.PPRInvalid, device.EndInvalid}, {2, device.EndPageFailure}, {spec.PPRFailure, device.EndPageFailure}} {
		r := fullRig(t)
		r.control(true, spec.CtlEPHEn)
		g := r.guests(4, 1, 3, atsOn, field{spec.DtePPR, 1}, field{spec.DteGPRP, 1})
		g.gmap(5, iova+4096, 0x7000, gAll)
		log, _ := r.pageRequests()
		e := r.Endpoint(dev)
		e.Put(5, iova, emu.Write)
		e.Run(100)
		require.Empty(t, e.Ends, "it waits")
		require.EqualValues(t, 16, r.R64(spec.OffPPRTail))
		lo := r.Get(log)
		require.EqualValues(t, dev, spec.PprDeviceID.Of(lo))
		require.EqualValues(t, 5, spec.PprPASIDLo.Of(lo))
		require.True(t, spec.PprW.On(lo) && spec.PprLast.On(lo) && spec.PprGN.On(lo))
		require.Equal(t, iova, r.Get(log+8))
		g.gmap(5, iova, 0x5000, gAll)
		r.submit([2]uint64{op(spec.CmdCompletePPR) | uint64(dev) | spec.CpPASID.Put(5),
			invGN | spec.PprPRG.Of(lo)<<32 | c.status<<44})
		e.Run(100)
		require.Len(t, e.Ends, 1)
		require.Equal(t, c.end, e.Ends[0].End)
		require.Equal(t, c.end == device.EndPageFailure, e.PagesStopped())
		if c.end == device.EndOK {
			require.EqualValues(t, 0x5000, e.Ends[0].Result.PA)
		}
		require.Empty(t, r.events(), "none of this is an event")
	}
}

// Hardware answers page requests by itself: when all are to be, when the log is full, and when they are not
// allowed.
func TestEndpointPageRequestsThatHardwareAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		setup func(r *rig)
		end   device.End
		event bool
	}{
		"always": {func(r *rig) { r.control(true, spec.CtlPprAutoRspAon) }, device.EndInvalid, false},
		"the log is full": {func(r *rig) {
			r.control(true, spec.CtlPprAutoRspEn)
			r.W32(spec.OffPPRHead, 16)
		}, device.EndInvalid, false},
		"not allowed": {func(r *rig) { r.control(true, spec.CtlEPHEn) }, device.EndInvalid, true}, // DTE.PPR=0
	} {
		t.Run(name, func(t *testing.T) {
			r := fullRig(t)
			r.attach(dev, 3, atsOn)
			r.pageRequests()
			r.W64(spec.OffPPRAutoResponse, emu.PRGInvalid)
			c.setup(r)
			e := r.Endpoint(dev)
			require.Equal(t, c.end, e.Access(emu.NoPASID, iova, emu.Read).End)
			if c.event {
				require.Equal(t, spec.EventInvalidPPR, int(spec.EvtCode.Of(r.event()[0])))
			}
			require.Empty(t, r.events())
		})
	}
}

// On the timed machine a device streams while its page moves. Behind the COMPLETION_WAIT that follows the
// invalidations of unit and device no access goes to the old page.
func TestTimedEndpointAndCompletionWait(t *testing.T) {
	for _, mode := range []uint64{0, 3} {
		r := fullRig(t)
		g := r.guests(4, 0, mode, atsOn)
		at := g.gmap(5, iova, 0x5000, gAll|gA|gD)
		other := g.gmap(5, iova+4096, 0x8000, gAll|gA|gD)
		m := r.Timed(64)
		left := 2000
		e := m.Endpoint(dev, device.Func(func(q *emu.Request) (uint64, bool) {
			*q = emu.Request{Addr: emu.IOVA(iova + uint64(left%64)*64), PASID: 5, Len: 64, Access: emu.Write}
			left--
			return 0, left >= 0
		}))
		e.Kick()
		status := r.Page()
		var begun, over []uint64 // of each change
		r.Mem.Watch(status, status+7, func(emu.PA, uint8) { over = append(over, m.Machine.Now()) })
		pages := []uint64{0x5000, 0x8000}
		for i := uint64(1); left > 0; i++ {
			m.CPU.Compute(4000)
			begun = append(begun, m.CPU.Now())
			if i%2 == 1 {
				m.CPU.Store64(at, r.Get(other))
			} else {
				m.CPU.Store64(at, r.Get(at)&^spec.GptAddr.Mask()|firstPage(g, r))
			}
			for j, w := range [][2]uint64{invGuest(did, 5, iova), invDevice(5, iova), wait(status, i)} {
				m.CPU.Store128(r.cmd+emu.PA((r.tail+16*uint64(j))%emu.PageSize), w[0], w[1])
			}
			r.tail = (r.tail + 48) % emu.PageSize
			m.CPU.Fence()
			m.CPU.WriteReg(0, spec.OffCmdTail, 4, r.tail)
			require.True(t, m.CPU.Poll(func() bool { return m.CPU.Load64(status) == i }, 1_000_000))
		}
		m.Settle()
		require.Len(t, e.Ends, 2000)
		require.Greater(t, len(over), 5)
		require.NotZero(t, e.Stats().Invalidations)
		seen := [2]int{}
		for _, l := range e.Ends {
			require.Equal(t, device.EndOK, l.End)
			i := 0 // changes that were complete when it was issued
			for i < len(over) && over[i] <= l.Issued {
				i++
			}
			page := uint64(l.Result.PA) &^ 0xfff
			require.Contains(t, pages, page)
			if i == len(begun) || l.Done < begun[i] { // and no other one had begun when it was over
				require.Equal(t, pages[i%2], page)
				seen[i%2]++
			}
		}
		require.Greater(t, seen[0], 100)
		require.Greater(t, seen[1], 100)
	}
}

// firstPage is what guests call the page at 0x5000: the first one that gmap mapped.
func firstPage(g *guestTables, r *rig) uint64 {
	if g.host == 0 {
		return 0x5000
	}
	for gpa := uint64(0x4000_0000); ; gpa += emu.PageSize {
		if e := r.Get(r.pte(g.host, 3, gpa, 1)); e&spec.PteAddr.Mask() == 0x5000 {
			return gpa
		}
	}
}

// A page request on the timed machine: the unit interrupts, the handler finds the request in the log,
// maps the page and answers.
func TestTimedPageRequestIsServed(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 1, 0, atsOn)
	g.gmap(5, iova+4096, 0x7000, gAll)
	leaf := g.gpte(5, iova, 1)
	log, _ := r.pageRequests()
	m := r.Timed(64)
	served := 0
	addr, data := m.CPU.OnIRQ(func() {
		m.CPU.WriteReg(0, spec.OffStatus, 8, spec.StsPprInt.Mask())
		for m.CPU.ReadReg(0, spec.OffPPRHead, 4) != m.CPU.ReadReg(0, spec.OffPPRTail, 4) {
			head := m.CPU.ReadReg(0, spec.OffPPRHead, 4)
			lo := m.CPU.Load64(log + emu.PA(head))
			m.CPU.Store64(leaf, 0x5000|gAll)
			m.CPU.Store128(r.cmd+emu.PA(r.tail), op(spec.CmdCompletePPR)|uint64(dev)|spec.CpPASID.Put(5), invGN|spec.PprPRG.Of(lo)<<32)
			r.tail += spec.CommandSize
			m.CPU.Fence()
			m.CPU.WriteReg(0, spec.OffCmdTail, 4, r.tail)
			m.CPU.WriteReg(0, spec.OffPPRHead, 4, head+spec.PPRSize)
			served++
		}
	})
	r.configureMSI(addr, uint16(data), true)
	e := m.Endpoint(dev, nil)
	e.Put(5, iova, emu.Write)
	require.True(t, m.CPU.Poll(func() bool { return len(e.Ends) == 1 }, 1_000_000))
	require.Equal(t, device.EndOK, e.Ends[0].End)
	require.EqualValues(t, 0x5000, e.Ends[0].Result.PA)
	require.Equal(t, 1, served)
	require.EqualValues(t, 1, e.Stats().Responses)
}
