package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// newPager is a machine with a device that asks for pages, in a domain of stage 1.
func newPager(t testing.TB, change ...func(*hw.Config)) (*rig, *drivertest.Pager) {
	r := start(t, change...)
	return r, r.Pager(dev, 0x320, host.DomainSpec{Stage: host.StageFirst})
}

func TestPages_DeviceFaultsItsPagesIn(t *testing.T) {
	r, p := newPager(t)
	e := p.Dev
	for i := range emu.IOVA(8) {
		p.Back[iova+i<<12] = target + emu.PA(i)<<13
	}
	for _, pasid := range []emu.PASID{emu.NoPASID, 5} {
		for i := range emu.IOVA(8) {
			e.Reaches(pasid, iova+8+i<<12, target+emu.PA(i)<<13+8)
		}
	}
	require.Len(t, p.Got, 8, "the domain is the same")
	require.Equal(t, host.PageGroup{
		Source: dev, PASID: emu.NoPASID, Requests: []host.PageRequest{{Addr: iova, Access: emu.Read}},
	}, p.Got[0])
	s := r.d.Stats()
	require.EqualValues(t, []uint64{8, 8, 0}, []uint64{s.PageRequests, s.PageGroups, s.PageOverflows})
	require.Empty(t, r.Faults)
}

func TestPages_RefusedAndUnknown(t *testing.T) {
	r, p := newPager(t)
	e := p.Dev
	_, end := e.Access(5, 0x70_0000, emu.Read)
	require.NotEqual(t, hwdev.EndOK, end, "nobody has the page")
	require.Len(t, p.Got, 1)
	r.d.OnPageRequest(nil)
	_, end = e.Access(5, 0x71_0000, emu.Read)
	require.NotEqual(t, hwdev.EndOK, end)
	require.Len(t, p.Got, 1)
}

// Detach answers what waits, and nothing of it is left to be answered later.
func TestPages_DetachAnswersWhatIsLeft(t *testing.T) {
	r, p := newPager(t)
	e := p.Dev
	var kept []host.PageGroup
	r.d.OnPageRequest(func(g host.PageGroup) { kept = append(kept, g) })
	e.Put(5, iova, emu.Read)
	p.Bus.Run(100)
	require.Len(t, kept, 1)
	require.Zero(t, e.Ended)
	require.NoError(t, r.d.Detach(dev, 5))
	p.Bus.Run(100)
	require.Equal(t, 1, e.Ended)
	require.NotEqual(t, hwdev.EndOK, e.End)
	require.ErrorIs(t, r.d.Respond(kept[0], host.PageSuccess), host.ErrPageGroup)
}

// A queue that overflows is answered by the unit itself; devices ask again and get their pages.
func TestPages_Overflow(t *testing.T) {
	r, p := newPager(t, func(c *hw.Config) { c.PRIQS = 1 })
	e := p.Dev
	for i := range emu.IOVA(16) {
		p.Back[iova+i<<12] = target + emu.PA(i)<<12
	}
	r.d.pages.taking = true // as if the handler had no time
	for i := range emu.IOVA(8) {
		e.Put(emu.NoPASID, iova+i<<12, emu.Read)
	}
	for range 40 {
		p.Bus.Run(1)
	}
	r.d.pages.taking = false
	r.d.pageInterrupt()
	p.Bus.Run(1000)
	require.NotZero(t, r.d.Stats().PageOverflows)
	require.Equal(t, 8, e.Ended)
	for i := range emu.IOVA(8) {
		e.Reaches(emu.NoPASID, iova+i<<12, target+emu.PA(i)<<12)
	}
}

// The TLB of a device forgets what is unmapped and what is replaced, by page and by PASID.
func TestATS_DeviceTLBsFollow(t *testing.T) {
	for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
		r := start(t)
		e := r.Endpoint(r.NewBus(), dev)
		require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true}))
		dom, other := r.stage(stage, 0), r.stage(stage, 1)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		e.Reaches(emu.NoPASID, iova, page(0))
		n := e.Stats().Translations
		e.Reaches(emu.NoPASID, iova, page(0))
		require.Equal(t, n, e.Stats().Translations, "kept")
		got := r.during(func() {
			_, err := r.d.Replace(dev, emu.NoPASID, other, entry.Hitless)
			require.NoError(t, err)
		})
		require.Contains(t, got, "ATC_INV 0x310 0x0 2^52")
		e.Reaches(emu.NoPASID, iova, page(1))
		got = r.during(func() {
			_, err := other.Unmap(iova, 0x1000)
			require.NoError(t, err)
		})
		require.Equal(t, "SYNC", got[1], "the translation is gone before the device asks again")
		require.Equal(t, "ATC_INV 0x310 0x10000 2^0", got[2])
		_, end := e.Access(emu.NoPASID, iova, emu.Read)
		require.NotEqual(t, hwdev.EndOK, end)
	}
}

// A device that does not answer is asked again, and named as an error in the end. The queue goes on.
func TestATS_DeviceDoesNotAnswer(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{ATS: true}))
	dom := r.stage(host.StageFirst, 0)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
	asked, answers := 0, 2
	r.CPU.OnATSInvalidate = func(*emu.Txn) bool { asked++; return asked > answers }
	_, err := dom.Unmap(iova, 0x1000)
	require.NoError(t, err)
	require.Equal(t, 3, asked)
	require.EqualValues(t, 2, r.d.Stats().DeviceRetries)
	require.NoError(t, dom.Map(iova, page(0), 0x1000, emu.RW))
	answers = 1000
	_, err = dom.Unmap(iova, 0x1000)
	require.ErrorIs(t, err, host.ErrDeviceTLB)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.NoError(t, r.d.invalidate(0, tlbiVMID(9)))
}

// Devices without ATS are not asked, and such as have it on a unit without have none.
func TestATS_OnlyWhereBothHaveIt(t *testing.T) {
	for _, c := range []struct {
		change func(*hw.Config)
		spec   host.DeviceSpec
		eats   uint64
	}{
		{noMessages, host.DeviceSpec{ATS: true}, spec.EATSFull}, {noMessages, host.DeviceSpec{}, spec.EATSOff},
		{noATS, host.DeviceSpec{ATS: true, PRI: true}, spec.EATSOff},
	} {
		r := start(t, c.change)
		require.NoError(t, r.d.Probe(dev, c.spec))
		for _, s := range []host.Stage{host.StageFirst, host.StageSecond} {
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.stage(s, 0)))
			_, raw := r.d.STEAt(dev)
			require.Equal(t, c.eats, spec.SteEATS.Get(raw))
			require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		}
	}
}

// Transactions of a device that can wait are held until the pages are there, at either stage, and aborted if
// they will not be.
func TestStall_HeldUntilThePagesAreThere(t *testing.T) {
	for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
		r := start(t, stalls)
		p := &drivertest.Pager{Rig: r.Rig, Back: map[emu.IOVA]emu.PA{iova: target}, Dom: r.Domain(host.DomainSpec{Stage: stage})}
		require.NoError(t, r.d.Probe(dev, host.DeviceSpec{Stall: true}))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, p.Dom))
		r.d.OnPageRequest(p.Serve)
		r.Reaches(dev, emu.NoPASID, iova+8, target+8)
		require.Len(t, p.Got, 1)
		require.Equal(t, []host.PageRequest{{Addr: iova, Access: emu.Read}}, p.Got[0].Requests)
		r.Blocked(dev, emu.NoPASID, 0x70_0000)
		require.Len(t, p.Got, 2)
		require.EqualValues(t, 2, r.d.Stats().Stalls)
		require.Empty(t, r.Faults, "somebody was asked")

		// Another device does not wait.
		require.NoError(t, r.d.Probe(0x320, host.DeviceSpec{}))
		if stage == host.StageFirst {
			require.NoError(t, r.d.Attach(0x320, emu.NoPASID, r.Domain(host.DomainSpec{Stage: stage})))
			_, raw := r.d.STEAt(0x320)
			require.EqualValues(t, 1, spec.SteS1STALLD.Get(raw))
			r.Blocked(0x320, emu.NoPASID, iova)
			require.Len(t, r.Faults, 1)
		}
	}
}

// The answer may come much later; the transaction goes on then.
func TestStall_AnsweredLater(t *testing.T) {
	r := start(t, stalls)
	dom := r.Domain(host.DomainSpec{Stage: host.StageFirst})
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{Stall: true, PASIDs: 8}))
	require.NoError(t, r.d.Attach(dev, 3, dom))
	var kept []host.PageGroup
	r.d.OnPageRequest(func(g host.PageGroup) { kept = append(kept, g) })
	ended := map[uint32]emu.Result{}
	r.CPU.OnEnd = func(id uint32, res *emu.Result) { ended[id] = *res }
	var ids []uint32
	for i := range emu.IOVA(3) {
		res := r.Access(dev, 3, iova+i<<12, emu.Write)
		require.Equal(t, emu.Pending, res.Status)
		ids = append(ids, res.Data)
	}
	require.Len(t, kept, 3)
	require.Equal(t, emu.PASID(3), kept[0].PASID)
	require.NotEqual(t, kept[0].Index, kept[1].Index)
	require.NoError(t, dom.Map(iova, target, 0x1000, emu.RW))
	got := r.during(func() { require.NoError(t, r.d.Respond(kept[0], host.PageSuccess)) })
	require.Len(t, got, 1)
	require.Contains(t, got[0], "ac 1 ab 0")
	require.Equal(t, emu.OK, ended[ids[0]].Status)
	require.Equal(t, target, ended[ids[0]].PA)
	require.NoError(t, r.d.Respond(kept[1], host.PageInvalid))
	require.Equal(t, emu.Blocked, ended[ids[1]].Status)
	require.NotContains(t, ended, ids[2])
	// What is left is aborted by the detach.
	got = r.during(func() { require.NoError(t, r.d.Detach(dev, 3)) })
	require.Contains(t, got, "STALL_TERM 0x310")
	require.Equal(t, emu.Blocked, ended[ids[2]].Status)
	require.ErrorIs(t, r.d.Respond(kept[2], host.PageSuccess), host.ErrPageGroup)
}

// A unit that must stall does, whatever the device.
func TestStall_Forced(t *testing.T) {
	r := start(t, func(c *hw.Config) { c.StallModel, c.StallMax, c.ATS, c.PRI = spec.StallAlways, 4, false, false })
	for i, s := range []host.Stage{host.StageFirst, host.StageSecond} {
		dom := r.stage(s, i)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		r.Reaches(dev, emu.NoPASID, iova, page(i))
		r.Blocked(dev, emu.NoPASID, 0x70_0000)
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	}
	require.EqualValues(t, 2, r.d.Stats().Stalls)
}
