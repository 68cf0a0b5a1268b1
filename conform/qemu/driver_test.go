package qemu_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/driver/amdvi"
	"github.com/iommulab/iommulab/host/driver/smmuv3"
	"github.com/iommulab/iommulab/host/driver/vtd"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/qemutest"
)

// driven is what the drivers of all architectures have.
type driven interface {
	host.Driver
	Enable() error
	Shutdown() error
	SetOmit(entry.Omit)
}

// system is host code of ours on QEMU's unit.
type system struct {
	*rig
	mode   *driverMode
	cpu    *conform.CPU
	frames *host.Frames
	d      driven
	stats  func() (common driver.Stats, errors uint64)
	faults []host.FaultRecord
	spare  host.Domain
	target emu.PA // pages that DMA may reach, above the driver's memory
	large  emu.PA // 2 MiB in the driver's memory
}

// driverMode is a unit that a driver is run on.
type driverMode struct {
	name string
	peer qemu.Options
	open func(s *system) error // brings a driver up: d and stats
	spec host.DomainSpec
	// Fault reasons as QEMU has them; 0: nothing is reported.
	absent, readOnly, detached uint16
	noQueue                    bool
	// told, if set, is what the driver is told of a fault in QEMU's own words.
	told func(host.FaultRecord) host.FaultRecord
	// unnamed: QEMU lets a device pass until an invalidation names it, whatever its entry says.
	unnamed bool
}

// VT-d (7.1.3): scalable mode reports the second stage with the codes of legacy mode, and in a PASID-table
// entry of zeros QEMU minds the type (5bh), not P (59h). SMMUv3 (7.3): what is detached aborts without an
// event. AMD-Vi (2.5.3): so does QEMU's; what it says of a fault is of little use.
var driverModes = []driverMode{
	{
		name: "vtd/legacy", peer: qemu.Options{Mode: qemu.Legacy}, open: onVTD(vtd.Options{HAW: 48}),
		absent: 6, readOnly: 5, detached: 2,
	},
	{
		name: "vtd/legacy, invalidation by registers", peer: qemu.Options{Mode: qemu.Legacy},
		open: onVTD(vtd.Options{HAW: 48, NoQueue: true}), absent: 6, readOnly: 5, detached: 2, noQueue: true,
	},
	{
		name: "vtd/legacy, caching mode", peer: qemu.Options{Mode: qemu.Legacy, Properties: []string{"caching-mode=on"}},
		open: onVTD(vtd.Options{HAW: 48}), absent: 6, readOnly: 5, detached: 2,
	},
	{
		name: "vtd/legacy on a unit with more", peer: qemu.Options{Mode: qemu.SecondStage},
		open: onVTD(vtd.Options{HAW: 48, Mode: vtd.ModeLegacy}), absent: 6, readOnly: 5, detached: 2,
	},
	{
		name: "vtd/scalable, second stage", peer: qemu.Options{Mode: qemu.SecondStage},
		open: onVTD(vtd.Options{HAW: 48, Mode: vtd.ModeScalable}), absent: 6, readOnly: 5, detached: 0x5b,
	},
	{
		name: "vtd/scalable, first stage", peer: qemu.Options{Mode: qemu.FirstStage},
		open: onVTD(vtd.Options{HAW: 48, Mode: vtd.ModeScalable}), absent: 0x71, readOnly: 0x85, detached: 0x5b,
	},
	{
		name: "smmuv3/stage 1", peer: qemu.Options{Mode: qemu.BothStages}, open: onSMMUv3(smmuv3.Options{}),
		spec: host.DomainSpec{Stage: host.StageFirst}, absent: 0x10, readOnly: 0x13,
	},
	{
		name: "smmuv3/stage 1, CD in place, linear table, no ranges", peer: qemu.Options{Mode: qemu.BothStages},
		open: onSMMUv3(smmuv3.Options{Move: smmuv3.MoveASID, Linear: true, StreamBits: 9, NoRange: true}),
		spec: host.DomainSpec{Stage: host.StageFirst}, absent: 0x10, readOnly: 0x13,
	},
	{
		name: "smmuv3/stage 2", peer: qemu.Options{Mode: qemu.BothStages}, open: onSMMUv3(smmuv3.Options{}),
		spec: host.DomainSpec{Stage: host.StageSecond}, absent: 0x10, readOnly: 0x13,
	},
	{
		name: "amdvi/host tables", peer: qemu.Options{Mode: qemu.HostTables}, open: onAMDVi(amdvi.Options{LastDevice: 0x1ff}),
		absent: 2, readOnly: 2, told: amdTold, unnamed: true,
	},
	{
		name: "amdvi/host tables, x2APIC", peer: qemu.Options{Mode: qemu.X2APIC}, open: onAMDVi(amdvi.Options{LastDevice: 0x1ff}),
		absent: 2, readOnly: 2, told: amdTold, unnamed: true,
	},
}

// amdTold is an IO_PAGE_FAULT of QEMU: I=1, the kind of access in GN and NX, no address, a device without
// its bus.
func amdTold(f host.FaultRecord) host.FaultRecord {
	f.Reason |= 8<<4 | uint16(f.Access)<<4
	f.Source &= 0xff
	f.Addr, f.Access, f.Interrupt = 0, 0, true
	return f
}

func onVTD(o vtd.Options) func(*system) error {
	return func(s *system) error {
		d, err := vtd.New(s.cpu, s.frames, o)
		s.d, s.stats = d, func() (driver.Stats, uint64) { st := d.Stats(); return st.Stats, st.QueueErrors }
		return err
	}
}

func onSMMUv3(o smmuv3.Options) func(*system) error {
	return func(s *system) error {
		d, err := smmuv3.New(s.cpu, s.frames, o)
		s.d, s.stats = d, func() (driver.Stats, uint64) { st := d.Stats(); return st.Stats, st.CommandErrors + st.Gerrors }
		return err
	}
}

func onAMDVi(o amdvi.Options) func(*system) error {
	return func(s *system) error {
		d, err := amdvi.New(s.cpu, s.frames, o)
		s.d, s.stats = d, func() (driver.Stats, uint64) { st := d.Stats(); return st.Stats, st.CommandErrors }
		return err
	}
}

const iova = emu.IOVA(0x7e_1234_5000)

func (m *driverMode) boot(t *testing.T) *system {
	s := &system{rig: start(t, m.peer), mode: m}
	s.large = s.m.RAM + 3<<20
	s.target = s.large + 2<<20
	if v := s.Peer.(*qemu.Peer).Version(); m.peer.Mode.IOMMU() == "vtd" && v.Major < 11 && !m.noQueue {
		qemutest.Need(t, fmt.Errorf("QEMU %v refuses a wait that neither writes nor interrupts, which VT-d 6.5.2.9 allows: %w", v, qtest.ErrUnsupported), "queued invalidation")
	}
	s.up()
	if m.unnamed {
		d := s.domain()
		for _, v := range s.m.Devices {
			require.NoError(s, s.d.Attach(v.Source, emu.NoPASID, d))
			require.NoError(s, s.d.Detach(v.Source, emu.NoPASID))
		}
		require.NoError(s, d.Free())
	}
	return s
}

// up brings a driver up on the machine.
func (s *system) up() {
	s.cpu = conform.NewCPU(s.Peer)
	var err error
	s.frames, err = host.NewFrames(s.cpu, s.m.RAM, uint64(s.target-s.m.RAM))
	require.NoError(s, err)
	err = s.mode.open(s)
	require.NoError(s, s.cpu.Err())
	require.NoError(s, err)
	s.faults, s.spare = nil, nil
	s.d.OnFault(func(f host.FaultRecord) { s.faults = append(s.faults, f) })
	require.NoError(s, s.d.Enable())
	require.NoError(s, s.cpu.Err())
}

func (s *system) domain() host.Domain {
	s.Helper()
	d, err := s.d.NewDomain(s.mode.spec)
	require.NoError(s, err)
	return d
}

// settle lets the driver see what the unit has reported: by an interrupt, or, if the unit sends none,
// because the driver looks when it has something to do.
func (s *system) settle() {
	s.Helper()
	s.cpu.Compute(1)
	if s.spare == nil {
		s.spare = s.domain()
	}
	require.NoError(s, s.spare.Map(0x1000, s.target, 0x1000, emu.RW))
	_, err := s.spare.Unmap(0x1000, 0x1000)
	require.NoError(s, err)
}

// reaches requires that each device reads v at an address.
func (s *system) reaches(at emu.IOVA, v uint64) {
	s.Helper()
	for dev := range s.m.Devices {
		got, ok := s.dmaRead(dev, at)
		require.True(s, ok, "device %d", dev)
		require.Equal(s, v, got, "device %d", dev)
	}
	s.settle()
	require.Empty(s, s.faults)
}

// faulted requires that the driver was told of one fault, and forgets it; of none, if there is no reason.
func (s *system) faulted(dev int, at emu.IOVA, access emu.Access, reason uint16) {
	s.Helper()
	s.settle()
	if reason == 0 {
		require.Empty(s, s.faults)
		return
	}
	require.Len(s, s.faults, 1)
	want := host.FaultRecord{Reason: reason, Source: s.m.Devices[dev].Source, PASID: emu.NoPASID, Addr: at &^ 0xfff, Access: access}
	if s.mode.told != nil {
		want = s.mode.told(want)
	}
	require.Equal(s, want, s.faults[0], "reason %#x", s.faults[0].Reason)
	s.faults = nil
}

// The life of a domain, with every device, through the driver: what it maps is reached, what it unmaps
// faults and is reported to it, what it replaces is replaced, what it detaches is blocked.
func TestDriver_OnQEMU(t *testing.T) {
	for _, mode := range driverModes {
		t.Run(mode.name, func(t *testing.T) {
			s := mode.boot(t)
			const large = emu.IOVA(0x7e_1400_0000)
			a, b := s.domain(), s.domain()
			s.store(s.target, 0xaaaa)
			s.store(s.target+0x1000, 0xbbbb)
			require.NoError(t, a.Map(iova, s.target, 0x1000, emu.RW))
			require.NoError(t, b.Map(iova, s.target+0x1000, 0x1000, emu.Read))
			require.NoError(t, b.Map(large, s.large, 0x20_0000, emu.RW)) // one large page
			for _, d := range s.m.Devices {
				require.NoError(t, s.d.Attach(d.Source, emu.NoPASID, a))
			}
			s.reaches(iova, 0xaaaa)
			for dev := range s.m.Devices {
				require.True(t, s.dmaWrite(dev, iova+8, dev))
				require.Equal(t, tag(dev), s.load(s.target+8))
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
			require.NoError(t, a.Map(iova, s.target, 0x1000, emu.RW))
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
				require.Zero(t, s.load(s.target+0x1040))
				s.faulted(dev, iova, emu.Write, mode.readOnly)
			}
			s.store(s.large+0x1f_f008, 0xcccc)
			s.reaches(large+0x1f_f008, 0xcccc)

			for dev, d := range s.m.Devices {
				require.NoError(t, s.d.Detach(d.Source, emu.NoPASID))
				s.settle()
				s.faults = nil
				require.False(t, s.dmaWrite(dev, iova, 0))
				s.faulted(dev, iova, emu.Write, mode.detached)
				require.NoError(t, s.d.Release(d.Source))
			}
			require.NoError(t, a.Free())
			require.NoError(t, b.Free())
			require.NoError(t, s.d.Shutdown())
			for dev := range s.m.Devices {
				v, ok := s.dmaRead(dev, emu.IOVA(s.target))
				require.True(t, ok, "untranslated again")
				require.EqualValues(t, 0xaaaa, v)
			}
			require.NoError(t, s.cpu.Err())
			common, errors := s.stats()
			require.Zero(t, common.LostFaults)
			require.Zero(t, errors)

			s.up() // and once more, on a unit that was in use
			c := s.domain()
			require.NoError(t, c.Map(iova, s.target, 0x1000, emu.RW))
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
			s := mode.boot(t)
			r := rand.New(rand.NewPCG(7, 1))
			pages := []emu.IOVA{0x1f_e000, 0x1f_f000, 0x20_0000, 0x20_1000, iova, 0x7f_ffff_f000}
			var doms []host.Domain
			maps := make([]map[emu.IOVA]int, 4) // page -> number of the target
			for i := range maps {
				doms, maps[i] = append(doms, s.domain()), map[emu.IOVA]int{}
			}
			for i := range uint64(16) {
				s.store(s.target+emu.PA(i)<<12, 0x1_0000+i)
			}
			at := make([]int, len(s.m.Devices)) // domain+1 of each device
			for range 300 {
				dom, dev, page := r.IntN(len(doms)), r.IntN(len(at)), pages[r.IntN(len(pages))]
				sid := s.m.Devices[dev].Source
				switch op := r.IntN(8); {
				case op < 2 && maps[dom][page] == 0:
					n := r.IntN(16)
					require.NoError(t, doms[dom].Map(page, s.target+emu.PA(n)<<12, 0x1000, emu.RW))
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
			s := mode.boot(t)
			d := s.domain()
			require.NoError(t, d.Map(iova, s.target, 0x1000, emu.RW))
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
