package vtd

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// writer is a device that writes pages in turn. It knows when the data of each was last visible.
type writer struct {
	m     *timing.Machine
	id    int
	link  uint64 // cycles from there to the device
	n     emu.IOVA
	last  map[emu.IOVA]uint64
	on    bool
	fault int
}

const writerPages = 32

func (w *writer) Complete(c *timing.Completion) {
	if c.Result.Status != emu.OK {
		w.fault++
	}
	page := c.Request.Addr &^ 0xfff
	w.last[page] = max(w.last[page], c.Done-w.link)
	if w.on {
		w.m.Timer(w.id, w.m.Now()+7, c.Tag)
	}
}

func (w *writer) Timer(tag uint32) {
	w.n = (w.n*5 + 3) % writerPages
	q := emu.Request{Addr: 0x10000 + w.n<<12, Source: dev, PASID: emu.NoPASID, Len: 64, Access: emu.Write}
	if !w.m.Issue(w.id, 0, tag, &q) {
		w.m.Timer(w.id, w.m.Now()+10, tag)
	}
}

func (w *writer) Save(*emu.Encoder)          {}
func (w *writer) Restore(*emu.Decoder) error { return nil }

// tracked are domains whose writes are tracked: by their own tables, or by the parent's.
var tracked = []struct {
	name string
	make func(t *testing.T, d *Driver, cpu host.CPU) (attach, track host.Domain)
	iova emu.IOVA // of the first page in what is tracked
}{
	{"first stage", func(t *testing.T, d *Driver, _ host.CPU) (host.Domain, host.Domain) {
		dom, err := d.NewDomain(host.DomainSpec{Stage: host.StageFirst})
		require.NoError(t, err)
		require.NoError(t, dom.Map(0x10000, target, writerPages<<12, emu.RW))
		return dom, dom
	}, 0x10000},
	{"second stage", func(t *testing.T, d *Driver, _ host.CPU) (host.Domain, host.Domain) {
		dom, err := d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
		require.NoError(t, err)
		require.NoError(t, dom.Map(0x10000, target, writerPages<<12, emu.RW))
		return dom, dom
	}, 0x10000},
	{"parent of a guest", func(t *testing.T, d *Driver, cpu host.CPU) (host.Domain, host.Domain) {
		parent, err := d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
		require.NoError(t, err)
		require.NoError(t, parent.Map(0, drivertest.GuestBase, 16<<20, emu.RW))
		require.NoError(t, parent.Map(0x4000_0000, target, writerPages<<12, emu.RW))
		ram := guest.NewCPU(cpu, parent)
		frames, err := host.NewFrames(ram, 0x10_0000, 8<<20)
		require.NoError(t, err)
		dom, err := guest.New(d, ram, frames, guest.Spec{})
		require.NoError(t, err)
		require.NoError(t, dom.Map(0x10000, 0x4000_0000, writerPages<<12, emu.RW))
		return dom, parent
	}, 0x4000_0000},
}

// Dirty flags are read and cleared while devices write: of no page that was written later than a
// reading ended is the flag missing in the readings behind. Without the invalidation writes get lost.
func TestTimed_NoWriteIsLostToDirtyTracking(t *testing.T) {
	preset, err := timing.LoadPreset("default")
	require.NoError(t, err)
	for _, c := range tracked {
		for _, omit := range []entry.Omit{0, entry.OmitIOTLB} {
			d, m, cpu, _ := timed(t, "default", nested)
			attach, track := c.make(t, d, cpu)
			require.NoError(t, d.Attach(dev, emu.NoPASID, attach))
			w := &writer{m: m, link: preset.Link, last: map[emu.IOVA]uint64{}, on: true}
			w.id = m.AddClient(w)
			for tag := range uint32(8) {
				w.Timer(tag)
			}
			cpu.Compute(5000)
			require.NoError(t, track.SetDirty(true))
			clear(w.last)
			d.SetOmit(omit)
			var ends []uint64
			reported := map[emu.IOVA]int{} // number of the reading
			read := func() {
				require.NoError(t, track.ReadDirty(c.iova, writerPages<<12, true, func(first, _ emu.IOVA) {
					reported[first-c.iova+0x10000] = len(ends)
				}))
				ends = append(ends, cpu.Now())
			}
			for i := range 60 {
				cpu.Compute(uint64(300 + i*13))
				read()
			}
			w.on = false
			cpu.Compute(20000)
			read()
			lost := 0
			for page, at := range w.last {
				n, _ := slices.BinarySearch(ends, at) // readings that had ended
				if at, ok := reported[page]; !ok || at < n {
					lost++
				}
			}
			require.Zero(t, w.fault, c.name)
			require.Len(t, w.last, writerPages)
			require.Equal(t, omit != 0, lost > 0, "%s: %d of %d pages lost", c.name, lost, writerPages)
			clear(reported)
			read()
			require.Empty(t, reported, "nothing is written any more")
		}
	}
}
