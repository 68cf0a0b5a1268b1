package drivertest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// Next is the machine for another kernel, while translation is on: it has other memory, and no driver yet.
// What was written to registers so far is forgotten.
func (r *Rig) Next() *Rig {
	next := &Rig{T: r.T, Mem: r.Mem, CPU: r.CPU, Through: r.Through}
	var err error
	next.Frames, err = host.NewFrames(r.CPU, RAMBase+4*RAMSize, RAMSize)
	require.NoError(r.T, err)
	r.CPU.Writes = nil
	return next
}

// CopyOf makes a domain with the tables and the id of another kernel's.
func (r *Rig) CopyOf(d host.Domain) host.Domain {
	m := host.Underlying(d).(*driver.Domain)
	s := host.DomainSpec{Kind: m.Kind(), ID: m.ID(), Root: m.Root, Levels: m.Levels, Stage: host.StageSecond}
	if m.Table != nil {
		s.Root, s.Levels = m.Table.Root()
		s.Width = m.Config.VABits
	}
	if m.First {
		s.Stage = host.StageFirst
	}
	return r.Domain(s)
}
