package emutest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// Timed is the rig's unit on the timed machine, with two processors and a device that collects what its
// requests end with.
type Timed struct {
	Machine *timing.Machine
	CPU     *timing.CPU
	Other   *timing.CPU
	Status  map[emu.Status]int
	At      map[emu.PA]uint64 // by page: cycle at which the last request's memory was read
	rig     *Rig
	client  int
}

// Timed puts the unit on a machine of the default preset with room for that many requests.
func (r *Rig) Timed(flights int) *Timed {
	p, err := timing.LoadPreset("default")
	require.NoError(r.T, err)
	m := timing.New(p.Params, r.Mem)
	m.AddUnit(r.Unit, flights)
	d := &Timed{Machine: m, CPU: m.AddCPU(1), Other: m.AddCPU(1), Status: map[emu.Status]int{}, At: map[emu.PA]uint64{}, rig: r}
	d.client = m.AddClient(d)
	return d
}

// Issue issues n requests.
func (d *Timed) Issue(n int, q emu.Request) {
	for range n {
		require.True(d.rig.T, d.Machine.Issue(d.client, 0, 0, &q))
	}
}

// Settle runs the machine until nothing is under way.
func (d *Timed) Settle() {
	for !d.Machine.Idle() {
		d.Machine.Step()
	}
}

// Complete implements timing.Client, as do the others.
func (d *Timed) Complete(c *timing.Completion) {
	d.Status[c.Result.Status]++
	d.At[c.Result.PA&^(emu.PageSize-1)] = c.Read
}

func (d *Timed) Timer(uint32)               {}
func (d *Timed) Save(*emu.Encoder)          {}
func (d *Timed) Restore(*emu.Decoder) error { return nil }
