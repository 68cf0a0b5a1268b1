package conform_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
)

// machine is one like that of the QEMU peer.
var machine = conform.Machine{
	RAM: 1 << 20, Size: 7 << 20, Hole: 0x40_0000_0000,
	Devices: []conform.Device{{Source: 0x0018}, {Source: 0x00a1}, {Source: 0x0100}},
	MSI:     &conform.Message{Addr: emu.MSIAddress, Data: 0x20},
}

// armMachine is one with an SMMUv3.
var armMachine = conform.Machine{First: 0x4000_0000, RAM: 0x4010_0000, Size: 7 << 20, Hole: 0x20_0000_0000, Devices: machine.Devices}

// machineOf returns the machine that has the unit of a target.
func machineOf(t *conform.Target) conform.Machine {
	if t.IOMMU == "smmuv3" {
		return armMachine
	}
	return machine
}

// model returns our machine with the capabilities that QEMU has in the mode.
func model(t testing.TB, target *conform.Target, caches bool) *conform.Model {
	m, lost, err := target.Model(target.Words, machineOf(target), caches)
	require.NoError(t, err)
	require.Empty(t, lost, "capabilities that cannot be expressed")
	id, err := target.ReadIdentity(m)
	require.NoError(t, err)
	require.Equal(t, target.Ours, id, "what is advertised is what was asked for")
	return m
}

// Programs have all the invalidations that they need: a unit with caches and one without show the
// same, mistakes included.
func TestGenerate_InvalidatesEnough(t *testing.T) {
	for _, target := range conform.Targets("") {
		t.Run(target.Mode, func(t *testing.T) {
			r := conform.NewRunner(target.Strict(), model(t, target, true), model(t, target, false))
			transfers, done, legal := 0, 0, 0
			const n = 400
			for seed := range uint64(n) {
				p := target.Generate(seed+1, machineOf(target))
				o, err := r.Run(p)
				require.NoError(t, err, "seed %d", seed+1)
				require.Empty(t, o.Diffs, "seed %d, step %d", seed+1, o.Failed)
				transfers += o.Transfers
				done += o.Done
				if p.Legal {
					legal++
				}
			}
			require.Greater(t, transfers, 5*n)
			require.Greater(t, done, transfers/4, "accesses that are carried out")
			require.Less(t, done, transfers*3/4, "and that are not")
			require.Greater(t, legal, n*4/10, "about half are legal")
			require.Less(t, legal, n*6/10)
		})
	}
}

func TestGenerate_IsAFunctionOfTheSeed(t *testing.T) {
	for _, target := range conform.Targets("") {
		require.Equal(t, lines(t, target.Generate(7, machineOf(target))), lines(t, target.Generate(7, machineOf(target))))
		require.NotEqual(t, lines(t, target.Generate(7, machineOf(target))), lines(t, target.Generate(8, machineOf(target))))
	}
}

// Programs keep to what is suitable, see docs/conform.md.
func TestGenerate_LeavesOutWhatIsUnsuitable(t *testing.T) {
	for _, target := range conform.Targets("") {
		for seed := range uint64(300) {
			p := target.Generate(seed+1, machineOf(target))
			for i := range p.Steps {
				s := &p.Steps[i]
				switch s.Op {
				case conform.RegWrite, conform.RegRead:
					if target.IOMMU == "vtd" {
						require.LessOrEqual(t, s.Off+uint32(s.Size), uint32(0x230), "%v", s)
					}
					require.Zero(t, s.Off%uint32(s.Size), "%v", s)
				case conform.MemWrite:
					require.GreaterOrEqual(t, s.PA, p.RAM)
					require.LessOrEqual(t, s.PA+emu.PA(8*s.Words()), p.RAM+emu.PA(p.Size))
				case conform.Transfer:
					require.False(t, s.Addr >= 0xc000_0000 && s.Addr < 1<<32, "%v", s)
					require.Equal(t, emu.NoPASID, s.PASID)
					require.Less(t, s.Value, uint64(conform.Tags))
				}
			}
		}
	}
}
