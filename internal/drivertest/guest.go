package drivertest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/guest"
)

// Guest is a guest: 16 MiB of memory at 0 in a parent domain, and an allocator for tables in it.
type Guest struct {
	Rig    *Rig
	Parent host.Domain
	CPU    *guest.CPU
	Frames *host.Frames
}

// Guest makes a parent domain, and a guest whose memory is at base on the host.
func (r *Rig) Guest(base emu.PA, s host.DomainSpec) *Guest {
	s.Stage = host.StageSecond
	p := r.Domain(s)
	require.NoError(r.T, p.Map(0, base, 16<<20, emu.RW))
	return r.GuestOn(p)
}

// GuestOn is a guest whose memory p maps.
func (r *Rig) GuestOn(p host.Domain) *Guest {
	g := &Guest{Rig: r, Parent: p, CPU: guest.NewCPU(r.CPU, p)}
	var err error
	g.Frames, err = host.NewFrames(g.CPU, 0x10_0000, 8<<20)
	require.NoError(r.T, err)
	return g
}

// Again is the same guest through a parent of its own with the same mappings.
func (g *Guest) Again() *Guest {
	p := g.Rig.Guest(GuestBase, host.DomainSpec{}).Parent
	return &Guest{Rig: g.Rig, Parent: p, CPU: guest.NewCPU(g.Rig.CPU, p), Frames: g.Frames}
}

// Domain makes a domain of the guest.
func (g *Guest) Domain(s guest.Spec) *guest.Domain {
	d, err := guest.New(g.Rig.D, g.CPU, g.Frames, s)
	require.NoError(g.Rig.T, err)
	return d
}

// Mapped has one page at iova that goes to gpa.
func (g *Guest) Mapped(iova emu.IOVA, gpa emu.PA) *guest.Domain {
	d := g.Domain(guest.Spec{})
	require.NoError(g.Rig.T, d.Map(iova, gpa, 0x1000, emu.RW))
	return d
}
