package drivertest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/host"
)

// Pager is a device that asks for pages, and what the host was asked for.
type Pager struct {
	Rig  *Rig
	Bus  *device.Direct
	Dev  *Endpoint
	Dom  host.Domain
	Got  []host.PageGroup
	Back map[emu.IOVA]emu.PA // what is mapped when it is asked for
}

// PagerDriver is a driver that hands page requests on.
type PagerDriver interface {
	host.Driver
	host.PageRequester
}

// Pager makes a device that has one domain for its own requests and for PASID 5, and another device with
// a domain of its own.
func (r *Rig) Pager(sid, other emu.SourceID, spec host.DomainSpec, change ...func(*device.EndpointConfig)) *Pager {
	p := &Pager{Rig: r, Bus: r.NewBus(), Back: map[emu.IOVA]emu.PA{}}
	p.Dev = r.Endpoint(p.Bus, sid, change...)
	p.Dom = r.Domain(spec)
	require.NoError(r.T, r.D.Probe(sid, host.DeviceSpec{ATS: true, PRI: true, PASIDs: 64}))
	require.NoError(r.T, r.D.Attach(sid, emu.NoPASID, p.Dom))
	require.NoError(r.T, r.D.Attach(sid, 5, p.Dom))
	require.NoError(r.T, r.D.Probe(other, host.DeviceSpec{ATS: true, PRI: true}))
	require.NoError(r.T, r.D.Attach(other, emu.NoPASID, r.Domain(spec)))
	r.Endpoint(p.Bus, other)
	p.driver().OnPageRequest(p.Serve)
	return p
}

func (p *Pager) driver() PagerDriver { return p.Rig.D.(PagerDriver) }

// Serve maps what Back has.
func (p *Pager) Serve(g host.PageGroup) {
	p.Got = append(p.Got, g)
	r := host.PageSuccess
	for _, q := range g.Requests {
		if _, ok := p.Dom.Lookup(q.Addr); ok {
			continue
		}
		pa, ok := p.Back[q.Addr]
		if !ok {
			r = host.PageInvalid
			continue
		}
		require.NoError(p.Rig.T, p.Dom.Map(q.Addr, pa, 0x1000, emu.RW))
	}
	require.NoError(p.Rig.T, p.driver().Respond(g, r))
	require.ErrorIs(p.Rig.T, p.driver().Respond(g, r), host.ErrPageGroup, "once")
}

// Retry answers a group twice before it maps the page.
func (p *Pager) Retry(g host.PageGroup) {
	if p.Got = append(p.Got, g); len(p.Got) == 3 {
		require.NoError(p.Rig.T, p.Dom.Map(g.Requests[0].Addr, Target, 0x1000, emu.RW))
	}
	require.NoError(p.Rig.T, p.driver().Respond(g, host.PageSuccess))
}
