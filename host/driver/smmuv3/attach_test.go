package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// A device reads through stage 1, stage 2, or neither, and is blocked without a domain.
func TestAttach_EachKindOfDomain(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{}))
	r.Blocked(dev, emu.NoPASID, iova)
	for i, s := range []host.Stage{host.StageFirst, host.StageSecond, host.StageAny} {
		dom := r.stage(s, i)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		r.Reaches(dev, emu.NoPASID, iova, page(i))
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		r.Blocked(dev, emu.NoPASID, iova)
		require.NoError(t, dom.Free())
	}
	dom := r.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
	r.Reaches(dev, emu.NoPASID, iova, emu.PA(iova))
	_, err := r.d.Replace(dev, emu.NoPASID, r.stage(host.StageFirst, 7), entry.Hitless)
	require.NoError(t, err)
	r.Reaches(dev, emu.NoPASID, iova, page(7))
	at, raw := r.d.STEAt(dev)
	require.NotZero(t, at)
	require.EqualValues(t, spec.ConfigS1, spec.SteConfig.Of(raw[0]))
	require.Empty(t, r.Faults, "devices without a domain abort without an event")
}
