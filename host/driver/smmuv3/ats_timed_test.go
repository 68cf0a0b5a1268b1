package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	hwdev "github.com/iommulab/iommulab/emu/device"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
)

func TestTimed_DeviceTLBs(t *testing.T) { drivertest.RunATS(t, newATSMachine) }

func newATSMachine(t *testing.T, change ...func(*hwdev.EndpointConfig)) *drivertest.ATS {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	p.Host.Order = timing.WeakOrder
	u, err := hw.New(hw.DefaultConfig())
	require.NoError(t, err)
	m := drivertest.NewATS(t, p, u)
	d, err := New(m.CPU, m.Frames, Options{})
	require.NoError(t, err)
	m.Open = func() int { return d.c.Groups.Pending().Open }
	m.Use(d, dev, host.DomainSpec{Stage: host.StageFirst, Width: 48}, change...)
	return m
}
