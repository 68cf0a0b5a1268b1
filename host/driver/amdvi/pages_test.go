package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// pager is a machine with a device that asks for pages. Its domain has guest tables: it has PASIDs.
type pager struct {
	*rig
	*drivertest.Pager
}

func newPager(t drivertest.Tester, change ...func(*hwdev.EndpointConfig)) *pager {
	r := start(t)
	return &pager{r, r.Pager(dev, 0x100, host.DomainSpec{Stage: host.StageFirst}, change...)}
}

func TestPages_SetUpOnlyWithAllThatItNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hw.Config)
		spec   host.DeviceSpec
		up     bool
		entry  uint64 // PPR and GPRP
	}{
		"all":             {func(*hw.Config) {}, host.DeviceSpec{ATS: true, PRI: true}, true, 3 << 52},
		"device without":  {func(*hw.Config) {}, host.DeviceSpec{ATS: true}, true, 0},
		"PRI without ATS": {func(*hw.Config) {}, host.DeviceSpec{PRI: true}, true, 0},
		"no PPRSup":       {noPPR, host.DeviceSpec{ATS: true, PRI: true}, false, 0},
		"no IotlbSup":     {noATS, host.DeviceSpec{ATS: true, PRI: true}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, c.change)
			require.Equal(t, c.up, spec.StsPPRLogRun.On(r.CPU.Functional.ReadReg(0, spec.OffStatus, 8)))
			require.NoError(t, r.d.Probe(dev, c.spec))
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
			_, raw := r.d.EntryAt(dev, emu.NoPASID)
			require.Equal(t, c.entry, raw[0]&(3<<52))
			require.NoError(t, r.d.Shutdown())
		})
	}
}

func noPPR(c *hw.Config) {
	c.PPRSup, c.PprEarlySup, c.PPRAutoRspSup, c.EPHSup = false, false, false, false
}

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
	got := p.during(func() { p.Bus.Run(1000) })
	require.Equal(t, []host.PageGroup{
		{Source: dev, PASID: 5, Index: 0, Requests: []host.PageRequest{
			{Addr: 0x10000, Access: emu.Read}, {Addr: 0x11000, Access: emu.Write}, {Addr: 0x13000, Access: emu.Read},
		}},
		{Source: dev, PASID: emu.NoPASID, Index: 1, Requests: []host.PageRequest{{Addr: 0x12000, Access: emu.RW}}},
	}, p.Got)
	require.Equal(t, 4, p.Dev.Ended)
	require.Contains(t, got, "response 310 pasid 5 group 0 status 0")
	require.Contains(t, got, "response 310 pasid - group 1 status 0")
}

func TestPages_Answers(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(p *pager)
		want hwdev.End
		says string
	}{
		"nobody there": {func(p *pager) { p.d.OnPageRequest(nil) }, hwdev.EndInvalid, "status 1"},
		"no such page": {func(*pager) {}, hwdev.EndInvalid, "status 1"},
		"failure": {func(p *pager) {
			p.d.OnPageRequest(func(g host.PageGroup) { _ = p.d.Respond(g, host.PageFailure) })
		}, hwdev.EndPageFailure, "status f"},
		"nothing mapped":   {func(p *pager) { p.d.OnPageRequest(p.Retry) }, hwdev.EndOK, "status 0"},
		"answered at last": {func(p *pager) { p.d.OnPageRequest(func(g host.PageGroup) { p.Got = append(p.Got, g) }) }, hwdev.EndOK, "status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPager(t)
			c.set(p)
			got := p.during(func() {
				p.Dev.Put(5, 0x10000, emu.Read)
				p.Bus.Run(200)
				if p.Dev.Ended == 0 {
					require.Len(t, p.Got, 1)
					require.NoError(t, p.Dom.Map(0x10000, target, 0x1000, emu.RW))
					require.NoError(t, p.d.Respond(p.Got[0], host.PageSuccess))
					p.Bus.Run(200)
				}
			})
			require.Equal(t, 1, p.Dev.Ended)
			require.Equal(t, c.want, p.Dev.End)
			require.Contains(t, got, "response 310 pasid 5 group 0 "+c.says)
		})
	}
}

// What is left when a PASID loses its domain is answered, whoever was told of it.
func TestPages_DetachAnswersWhatIsLeft(t *testing.T) {
	p := newPager(t)
	p.d.OnPageRequest(func(g host.PageGroup) { p.Got = append(p.Got, g) })
	p.Dev.Put(5, 0x10000, emu.Read)
	p.Bus.Run(200)
	require.Len(t, p.Got, 1)
	got := p.during(func() { require.NoError(t, p.d.Detach(dev, 5)) })
	require.Contains(t, got, "response 310 pasid 5 group 0 status 1")
	p.Bus.Run(200)
	require.Equal(t, hwdev.EndInvalid, p.Dev.End)
	require.ErrorIs(t, p.d.Respond(p.Got[0], host.PageSuccess), host.ErrPageGroup)
	require.Zero(t, p.d.k.Groups.Pending())

	// And what comes later.
	p.Dev.Put(5, 0x11000, emu.Read)
	p.Bus.Run(200)
	require.Equal(t, 2, p.Dev.Ended)
	require.Equal(t, hwdev.EndInvalid, p.Dev.End)
}

// An interrupt in the middle of an operation: nobody is told before it has ended.
func TestPages_NobodyIsToldInTheMiddleOfAnOperation(t *testing.T) {
	p := newPager(t)
	p.Back[0x10000] = target
	require.NoError(t, p.Dom.Map(0x20000, target, 0x1000, emu.RW))
	inside := 0
	p.d.OnPageRequest(func(g host.PageGroup) {
		require.True(t, p.d.k.Idle())
		p.Serve(g)
	})
	p.CPU.Hook = func(uint32) {
		p.CPU.Hook = nil
		p.Dev.Put(emu.NoPASID, 0x10000, emu.Read)
		p.Bus.Run(10)
		inside = len(p.Got)
	}
	_, err := p.Dom.Unmap(0x20000, 0x1000)
	require.NoError(t, err)
	require.Zero(t, inside)
	require.Len(t, p.Got, 1)
	p.Bus.Run(200)
	require.Equal(t, hwdev.EndOK, p.Dev.End)
}

// A log that overflows: hardware answers what it has no room for, and the device asks again.
func TestPages_Overflow(t *testing.T) {
	p := newPager(t)
	p.d.OnPageRequest(func(g host.PageGroup) { require.NoError(t, p.d.Respond(g, host.PageInvalid)) })
	busy := p.d.k.Enter() // nobody attends to the log
	var res emu.Result
	for i := range 520 {
		p.CPU.Translate(&emu.Request{Addr: emu.IOVA(i) << 12, Source: dev, PASID: 5, Access: emu.Read, Type: emu.PageRequest,
			Data: emu.MakePRG(uint16(i%512), i%2 == 0)}, &res)
	}
	require.False(t, spec.StsPPRLogRun.On(p.CPU.Functional.ReadReg(0, spec.OffStatus, 8)))
	busy.Leave()
	s := p.d.Stats()
	require.EqualValues(t, 1, s.PageOverflows)
	require.EqualValues(t, 511, s.PageRequests)
	require.Zero(t, p.d.k.Groups.Pending(), "groups that had begun are forgotten")
	require.True(t, spec.StsPPRLogRun.On(p.CPU.Functional.ReadReg(0, spec.OffStatus, 8)))
	p.d.OnPageRequest(p.Serve)
	p.Back[0x40_0000] = target
	p.Dev.Reaches(5, 0x40_0000, target)
}
