package qemu_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/host/entry"
)

// host code of ours on QEMU's unit.
type system struct {
	*rig
	cpu    *conform.CPU
	frames *host.Frames
	d      *vtd.Driver
	faults []host.FaultRecord
}

// driverModes are the units that the driver is run on.
var driverModes = []struct {
	name string
	peer qemu.Options
	opt  vtd.Options
	// Fault reasons (7.1.3) as QEMU has them: its scalable mode reports the second stage with the codes
	// of legacy mode, and in a PASID-table entry of zeros it minds the type (5bh), not P (59h).
	absent, readOnly, detached uint16
}{
	{"legacy", qemu.Options{Mode: qemu.Legacy}, vtd.Options{HAW: 48}, 6, 5, 2},
	{"legacy, invalidation by registers", qemu.Options{Mode: qemu.Legacy}, vtd.Options{HAW: 48, NoQueue: true}, 6, 5, 2},
	{"legacy, caching mode", qemu.Options{Mode: qemu.Legacy, Properties: []string{"caching-mode=on"}}, vtd.Options{HAW: 48}, 6, 5, 2},
	{"legacy on a unit with more", qemu.Options{Mode: qemu.SecondStage}, vtd.Options{HAW: 48, Mode: vtd.ModeLegacy}, 6, 5, 2},
	{"scalable, second stage", qemu.Options{Mode: qemu.SecondStage}, vtd.Options{HAW: 48, Mode: vtd.ModeScalable}, 6, 5, 0x5b},
	{"scalable, first stage", qemu.Options{Mode: qemu.FirstStage}, vtd.Options{HAW: 48, Mode: vtd.ModeScalable}, 0x71, 0x85, 0x5b},
}

const (
	target = emu.PA(0x60_0000) // pages that DMA may reach, above the driver's memory
	iova   = emu.IOVA(0x7e_1234_5000)
)

func boot(t *testing.T, o qemu.Options, opt vtd.Options) *system {
	s := &system{rig: start(t, o)}
	if v := s.Peer.(*qemu.Peer).Version(); v.Major < 11 && !opt.NoQueue {
		t.Skipf("skipped: QEMU %v refuses a wait that neither writes nor interrupts, which VT-d 6.5.2.9 allows", v)
	}
	s.up(opt)
	return s
}

// up brings a driver up on the machine.
func (s *system) up(opt vtd.Options) {
	s.cpu = conform.NewCPU(s.Peer)
	var err error
	s.frames, err = host.NewFrames(s.cpu, s.m.RAM, uint64(target-s.m.RAM))
	require.NoError(s, err)
	s.d, err = vtd.New(s.cpu, s.frames, opt)
	require.NoError(s, s.cpu.Err())
	require.NoError(s, err)
	s.faults = nil
	s.d.OnFault(func(f host.FaultRecord) { s.faults = append(s.faults, f) })
	require.NoError(s, s.d.Enable())
	require.NoError(s, s.cpu.Err())
}

func (s *system) domain() host.Domain {
	s.Helper()
	d, err := s.d.NewDomain(host.DomainSpec{})
	require.NoError(s, err)
	return d
}

// reaches requires that each device reads v at an address.
func (s *system) reaches(at emu.IOVA, v uint64) {
	s.Helper()
	for dev := range s.m.Devices {
		got, ok := s.dmaRead(dev, at)
		require.True(s, ok, "device %d", dev)
		require.Equal(s, v, got, "device %d", dev)
	}
	s.cpu.Compute(1)
	require.Empty(s, s.faults)
}

// faulted requires that the driver was told of one fault, and forgets it.
func (s *system) faulted(dev int, at emu.IOVA, access emu.Access, reason uint16) {
	s.Helper()
	s.cpu.Compute(1)
	require.Len(s, s.faults, 1)
	f := s.faults[0]
	s.faults = nil
	require.Equal(s, s.m.Devices[dev].Source, f.Source)
	require.Equal(s, at&^0xfff, f.Addr)
	require.Equal(s, access, f.Access)
	require.Equal(s, reason, f.Reason, "reason %#x", f.Reason)
}

// The life of a domain, with every device, through the driver: what it maps is reached, what it unmaps
// faults and is reported to it, what it replaces is replaced, what it detaches is blocked.
func TestDriver_OnQEMU(t *testing.T) {
	for _, mode := range driverModes {
		t.Run(mode.name, func(t *testing.T) {
			s := boot(t, mode.peer, mode.opt)
			const large = emu.IOVA(0x7e_1400_0000)
			a, b := s.domain(), s.domain()
			s.store(target, 0xaaaa)
			s.store(target+0x1000, 0xbbbb)
			require.NoError(t, a.Map(iova, target, 0x1000, emu.RW))
			require.NoError(t, b.Map(iova, target+0x1000, 0x1000, emu.Read))
			require.NoError(t, b.Map(large, 0x40_0000, 0x20_0000, emu.RW)) // one large page
			for _, d := range s.m.Devices {
				require.NoError(t, s.d.Attach(d.Source, emu.NoPASID, a))
			}
			s.reaches(iova, 0xaaaa)
			for dev := range s.m.Devices {
				require.True(t, s.dmaWrite(dev, iova+8, dev))
				require.Equal(t, tag(dev), s.load(target+8))
				_, ok := s.dmaRead(dev, iova+0x1000)
				require.False(t, ok)
				s.faulted(dev, iova+0x1000, emu.Read, mode.absent)
			}

			n, err := a.Unmap(iova, 0x1000)
			require.NoError(t, err)
			require.EqualValues(t, 0x1000, n)
			for dev := range s.m.Devices {
				_, ok := s.dmaRead(dev, iova)
				require.False(t, ok, "unmapped")
				s.faulted(dev, iova, emu.Read, mode.absent)
			}
			require.NoError(t, a.Map(iova, target, 0x1000, emu.RW))
			s.reaches(iova, 0xaaaa)

			for i, w := range entry.Writers() {
				next, v := b, uint64(0xbbbb)
				if i%2 == 1 {
					next, v = a, 0xaaaa
				}
				for _, d := range s.m.Devices {
					_, err := s.d.Replace(d.Source, emu.NoPASID, next, w)
					require.NoError(t, err)
				}
				s.reaches(iova, v)
			}
			for _, d := range s.m.Devices {
				_, err := s.d.Replace(d.Source, emu.NoPASID, b, entry.Hitless)
				require.NoError(t, err)
			}
			for dev := range s.m.Devices {
				require.False(t, s.dmaWrite(dev, iova+0x40, 0), "read-only")
				require.Zero(t, s.load(target+0x1040))
				s.faulted(dev, iova, emu.Write, mode.readOnly)
			}
			s.store(0x40_0000+0x1f_f008, 0xcccc)
			s.reaches(large+0x1f_f008, 0xcccc)

			for dev, d := range s.m.Devices {
				require.NoError(t, s.d.Detach(d.Source, emu.NoPASID))
				s.cpu.Compute(1)
				s.faults = nil
				require.False(t, s.dmaWrite(dev, iova, 0))
				s.faulted(dev, iova, emu.Write, mode.detached)
				require.NoError(t, s.d.Release(d.Source))
			}
			require.NoError(t, a.Free())
			require.NoError(t, b.Free())
			require.NoError(t, s.d.Shutdown())
			s.reaches(emu.IOVA(target), 0xaaaa) // untranslated again
			require.NoError(t, s.cpu.Err())
			require.Zero(t, s.d.Stats().LostFaults)
			require.Zero(t, s.d.Stats().QueueErrors)

			s.up(mode.opt) // and once more, on a unit that was in use
			c := s.domain()
			require.NoError(t, c.Map(iova, target, 0x1000, emu.RW))
			for _, d := range s.m.Devices {
				require.NoError(t, s.d.Attach(d.Source, emu.NoPASID, c))
			}
			s.reaches(iova, 0xaaaa)
		})
	}
}

// Whatever the driver maps, unmaps, attaches and replaces, in whatever order: each DMA on QEMU's unit
// ends as plain maps say.
func TestDriver_OnQEMUAgainstMaps(t *testing.T) {
	for _, mode := range driverModes {
		t.Run(mode.name, func(t *testing.T) {
			s := boot(t, mode.peer, mode.opt)
			r := rand.New(rand.NewPCG(7, 1))
			pages := []emu.IOVA{0x1f_e000, 0x1f_f000, 0x20_0000, 0x20_1000, iova, 0x7f_ffff_f000}
			var doms []host.Domain
			maps := make([]map[emu.IOVA]int, 4) // page -> number of the target
			for i := range maps {
				doms, maps[i] = append(doms, s.domain()), map[emu.IOVA]int{}
			}
			for i := range uint64(16) {
				s.store(target+emu.PA(i)<<12, 0x1_0000+i)
			}
			at := make([]int, len(s.m.Devices)) // domain+1 of each device
			for range 300 {
				dom, dev, page := r.IntN(len(doms)), r.IntN(len(at)), pages[r.IntN(len(pages))]
				sid := s.m.Devices[dev].Source
				switch op := r.IntN(8); {
				case op < 2 && maps[dom][page] == 0:
					n := r.IntN(16)
					require.NoError(t, doms[dom].Map(page, target+emu.PA(n)<<12, 0x1000, emu.RW))
					maps[dom][page] = 1 + n
				case op < 4 && maps[dom][page] != 0:
					_, err := doms[dom].Unmap(page, 0x1000)
					require.NoError(t, err)
					delete(maps[dom], page)
				case op == 4 && at[dev] == 0:
					require.NoError(t, s.d.Attach(sid, emu.NoPASID, doms[dom]))
					at[dev] = dom + 1
				case op == 5 && at[dev] != 0:
					require.NoError(t, s.d.Detach(sid, emu.NoPASID))
					at[dev] = 0
				case op > 5 && at[dev] != 0:
					_, err := s.d.Replace(sid, emu.NoPASID, doms[dom], entry.Writers()[r.IntN(4)])
					require.NoError(t, err)
					at[dev] = dom + 1
				}
				for _, page := range []emu.IOVA{page, pages[r.IntN(len(pages))]} {
					want := 0
					if at[dev] != 0 {
						want = maps[at[dev]-1][page]
					}
					v, ok := s.dmaRead(dev, page)
					require.Equal(t, want != 0, ok)
					if ok {
						require.EqualValues(t, 0x1_0000+want-1, v)
					}
				}
			}
			require.NoError(t, s.cpu.Err())
		})
	}
}

// What the driver forgets to flush, QEMU still knows: the tests above would see it.
func TestDriver_ForgottenFlushShowsOnQEMU(t *testing.T) {
	for _, mode := range driverModes {
		t.Run(mode.name, func(t *testing.T) {
			s := boot(t, mode.peer, mode.opt)
			d := s.domain()
			require.NoError(t, d.Map(iova, target, 0x1000, emu.RW))
			require.NoError(t, s.d.Attach(s.m.Devices[0].Source, emu.NoPASID, d))
			_, ok := s.dmaRead(0, iova)
			require.True(t, ok)
			s.d.SetOmit(entry.OmitIOTLB)
			_, err := d.Unmap(iova, 0x1000)
			require.NoError(t, err)
			_, ok = s.dmaRead(0, iova)
			require.True(t, ok, "the IOTLB still has it")
			s.d.SetOmit(0)
			require.NoError(t, d.Flush())
			_, ok = s.dmaRead(0, iova)
			require.False(t, ok)
		})
	}
}
