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
	r := newRig(t, nil, Options{})
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{}))
	require.Zero(t, r.reads(dev))
	for i, s := range []host.Stage{host.StageFirst, host.StageSecond, host.StageAny} {
		dom := r.domain(s, i)
		r.attach(dev, emu.NoPASID, dom)
		require.Equal(t, page(i), r.reads(dev), "stage %d", s)
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		require.Zero(t, r.reads(dev))
		require.NoError(t, dom.Free())
	}
	dom, err := r.d.NewDomain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, err)
	r.attach(dev, emu.NoPASID, dom)
	require.Equal(t, emu.PA(0x10000), r.reads(dev))
	_, err = r.d.Replace(dev, emu.NoPASID, r.domain(host.StageFirst, 7), entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, page(7), r.reads(dev))
	at, raw := r.d.STEAt(dev)
	require.NotZero(t, at)
	require.EqualValues(t, spec.ConfigS1, spec.SteConfig.Of(raw[0]))
	require.Empty(t, r.faults, "detached devices abort without an event")
}
