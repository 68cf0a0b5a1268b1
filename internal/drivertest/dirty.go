package drivertest

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/guest"
)

// DirtyPages is how many pages the domains of Tracked map.
const DirtyPages = 32

// writer is a device of the timed machine that writes pages in turn, from StreamPage on. It knows when the
// data of each was last visible.
type writer struct {
	m      *timing.Machine
	sid    emu.SourceID
	id     int
	link   uint64 // cycles from there to the device
	n      emu.IOVA
	last   map[emu.IOVA]uint64
	on     bool
	faults int
}

func (w *writer) Complete(c *timing.Completion) {
	if c.Result.Status != emu.OK {
		w.faults++
	}
	page := c.Request.Addr &^ 0xfff
	w.last[page] = max(w.last[page], c.Done-w.link)
	if w.on {
		w.m.Timer(w.id, w.m.Now()+7, c.Tag)
	}
}

func (w *writer) Timer(tag uint32) {
	w.n = (w.n*5 + 3) % DirtyPages
	q := emu.Request{Addr: StreamPage + w.n<<12, Source: w.sid, PASID: emu.NoPASID, Len: 64, Access: emu.Write}
	if !w.m.Issue(w.id, 0, tag, &q) {
		w.m.Timer(w.id, w.m.Now()+10, tag)
	}
}

func (w *writer) Save(*emu.Encoder)          {}
func (w *writer) Restore(*emu.Decoder) error { return nil }

// Tracked are domains whose writes are tracked: by their own tables, or by the parent's.
var Tracked = []struct {
	Name string
	make func(t Tester, d host.Driver, cpu host.CPU) (attach, track host.Domain)
	iova emu.IOVA // of the first page in what is tracked
}{
	{"first stage", own(host.StageFirst), StreamPage},
	{"second stage", own(host.StageSecond), StreamPage},
	{"parent of a guest", func(t Tester, d host.Driver, cpu host.CPU) (host.Domain, host.Domain) {
		parent, err := d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
		require.NoError(t, err)
		require.NoError(t, parent.Map(0, GuestBase, 16<<20, emu.RW))
		require.NoError(t, parent.Map(0x4000_0000, Target, DirtyPages<<12, emu.RW))
		ram := guest.NewCPU(cpu, parent)
		frames, err := host.NewFrames(ram, 0x10_0000, 8<<20)
		require.NoError(t, err)
		dom, err := guest.New(d, ram, frames, guest.Spec{})
		require.NoError(t, err)
		require.NoError(t, dom.Map(StreamPage, 0x4000_0000, DirtyPages<<12, emu.RW))
		return dom, parent
	}, 0x4000_0000},
}

// own makes a domain that is tracked by its own tables.
func own(stage host.Stage) func(Tester, host.Driver, host.CPU) (host.Domain, host.Domain) {
	return func(t Tester, d host.Driver, _ host.CPU) (host.Domain, host.Domain) {
		dom, err := d.NewDomain(host.DomainSpec{Stage: stage})
		require.NoError(t, err)
		require.NoError(t, dom.Map(StreamPage, Target, DirtyPages<<12, emu.RW))
		return dom, dom
	}
}

// LostWrites reads and clears the dirty flags of the i-th of Tracked while a device writes. It returns how many of
// the DirtyPages pages were written later than a reading ended and not reported by one behind. omit is
// called before the readings begin; link is the time of a message to the device.
func LostWrites(t Tester, i int, d host.Driver, m *timing.Machine, cpu *timing.CPU, sid emu.SourceID, link uint64, omit func()) int {
	attach, track := Tracked[i].make(t, d, cpu)
	base := Tracked[i].iova
	require.NoError(t, d.Attach(sid, emu.NoPASID, attach))
	w := &writer{m: m, sid: sid, link: link, last: map[emu.IOVA]uint64{}, on: true}
	w.id = m.AddClient(w)
	for tag := range uint32(8) {
		w.Timer(tag)
	}
	cpu.Compute(5000)
	require.NoError(t, track.SetDirty(true))
	clear(w.last)
	omit()
	var ends []uint64
	reported := map[emu.IOVA]int{} // number of the reading
	read := func() {
		require.NoError(t, track.ReadDirty(base, DirtyPages<<12, true, func(first, last emu.IOVA) {
			for ; first < last; first += 0x1000 {
				reported[first-base+StreamPage] = len(ends)
			}
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
	require.Zero(t, w.faults)
	require.Len(t, w.last, DirtyPages)
	clear(reported)
	read()
	require.Empty(t, reported, "nothing is written any more")
	return lost
}
