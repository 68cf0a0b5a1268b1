package hitless

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/hitless/reverse"
	"github.com/iommulab/iommulab/host"
	smmudriver "github.com/iommulab/iommulab/host/driver/smmuv3"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/iotlb"
)

// smmuMove is a move of a device to another domain as the driver does it on a weakly ordered processor, to
// be explored.
type smmuMove struct {
	Scenario
	d      *smmudriver.Driver
	at     emu.PA // of the entry that is rewritten
	report entry.Report

	formats entry.SMMUv3
	format  *entry.Format
	live    []host.Domain
	shared  bool // by devices sid+1, which is in the old domain, and sid+2, in the new one
}

// smmuHost makes the domains of a move: those of the host, and of one guest.
type smmuHost struct {
	t      *testing.T
	d      *smmudriver.Driver
	cpu    host.CPU
	parent host.Domain
	guest  *guest.CPU
	frames *host.Frames
	asid   uint16
}

// smmuEnd is a domain at one end of a move: it maps iova to pa, but for identity.
type smmuEnd func(h *smmuHost, pa emu.PA) host.Domain

func smmuStage(s host.Stage) smmuEnd {
	return func(h *smmuHost, pa emu.PA) host.Domain {
		dom, err := h.d.NewDomain(host.DomainSpec{Stage: s, Width: 40})
		require.NoError(h.t, err)
		require.NoError(h.t, dom.Map(iova, pa, 4096, emu.RW))
		return dom
	}
}

func smmuIdentity(h *smmuHost, _ emu.PA) host.Domain {
	dom, err := h.d.NewDomain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(h.t, err)
	return dom
}

// Where a guest has its tables, and the pages that it maps.
const (
	smmuGuestTables = emu.PA(0x100_0000)
	smmuGuestPages  = emu.PA(0x200_0000)
	smmuGuestRAM    = emu.PA(0x3000_0000)
)

// newParent maps the guest's memory, and iova to a page for requests that the guest lets pass.
func (h *smmuHost) newParent(pa emu.PA) host.Domain {
	p := smmuS2(h, pa)
	require.NoError(h.t, p.Map(emu.IOVA(smmuGuestTables), smmuGuestRAM, 1<<20, emu.RW))
	require.NoError(h.t, p.Map(emu.IOVA(smmuGuestPages), 0, 4<<20, emu.RW))
	h.parent, h.guest = p, guest.NewCPU(h.cpu, p)
	if h.frames == nil {
		var err error
		h.frames, err = host.NewFrames(h.guest, smmuGuestTables, 1<<20)
		require.NoError(h.t, err)
	}
	return p
}

// smmuParent is the parent of the nested domain at the other end.
func smmuParent(h *smmuHost, pa emu.PA) host.Domain {
	if h.parent == nil {
		return h.newParent(pa)
	}
	require.NoError(h.t, func() error { _, err := h.parent.Unmap(iova, 4096); return err }())
	require.NoError(h.t, h.parent.Map(iova, pa, 4096, emu.RW))
	return h.parent
}

// smmuNested is a guest's domain, over the parent of the other end or over another that maps the same.
func smmuNested(another bool) smmuEnd {
	return func(h *smmuHost, pa emu.PA) host.Domain {
		if h.parent == nil || another {
			h.newParent(3 << 20)
		}
		h.asid++
		dom, err := guest.New(h.d, h.guest, h.frames, guest.Spec{Kind: guest.Arm{ASID: h.asid}})
		require.NoError(h.t, err)
		require.NoError(h.t, dom.Map(iova, smmuGuestPages+pa, 4096, emu.RW))
		return dom
	}
}

var smmuS1, smmuS2 = smmuStage(host.StageFirst), smmuStage(host.StageSecond)

func smmuConfig(cached bool) smmuv3.Config {
	c := smmuv3.DefaultConfig()
	c.HTTU = 0 // flags are set beforehand
	none := iotlb.Geometry{}
	c.Walk2, c.Stage2 = nil, none // see TestSMMUNested_WithCachesOfStage2
	if !cached {
		c.STECache, c.CDCache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	return c
}

// smmuSpec says how a move goes.
type smmuSpec struct {
	from, to smmuEnd
	by       entry.Writer
	move     smmudriver.Move
	pasid    emu.PASID // of the requests; 0: they have none
	beside   bool      // another PASID of the device is in use, and PASID 0 is tried
	shared   bool      // both domains have another device, so that no id is alone
	wide     bool      // 16 bytes at a time
	reverse  bool      // on a unit that reads the words of STE and CD from the last to the first
}

func newSMMUMove(t *testing.T, c smmuv3.Config, s smmuSpec) *smmuMove {
	if s.wide {
		c.FetchSize = 16
	}
	u, err := smmuv3.New(c)
	require.NoError(t, err)
	m := mem.New()
	cpu := &Recorder{Functional: emu.NewFunctional(u, m)}
	frames, err := host.NewFrames(cpu, 1<<32, 1<<28)
	require.NoError(t, err)
	d, err := smmudriver.New(cpu, frames, smmudriver.Options{Move: s.move, Wide: s.wide})
	require.NoError(t, err)
	base, n := d.Queue()
	cpu.Aside = func(pa emu.PA) bool { return pa >= base && pa < base+emu.PA(n*spec.CommandSize) }
	require.NoError(t, d.Enable())
	h := &smmuHost{t: t, d: d, cpu: cpu}
	old, new := s.from(h, 1<<20), s.to(h, 2<<20)
	if s.shared {
		require.NoError(t, d.Attach(sid+1, emu.NoPASID, old))
		require.NoError(t, d.Attach(sid+2, emu.NoPASID, new))
	}
	pasid := emu.NoPASID
	if s.pasid != 0 || s.beside {
		require.NoError(t, d.Probe(sid, host.DeviceSpec{PASIDs: 64}))
	}
	if s.beside {
		require.NoError(t, d.Attach(sid, 9, smmuS1(h, 3<<20)))
	}
	if s.pasid != 0 {
		pasid = s.pasid
	}
	require.NoError(t, d.Attach(sid, pasid, old))
	x := &smmuMove{d: d, live: []host.Domain{old, new}, shared: s.shared}
	x.Program = cpu.Record(func() {
		x.report, err = d.Replace(sid, pasid, new, s.by)
		require.NoError(t, err)
	})
	x.at, _ = d.EntryAt(sid, pasid)
	x.formats = smmuFormats(u, s.wide)
	x.format = x.formats.CD(nil)
	if ste, _ := d.STEAt(sid); x.at == ste {
		x.format = x.formats.STE()
	}
	for c := range emu.NumCaches {
		if cache := u.Cache(c); cache != nil {
			cache.Reset()
		}
	}
	// A request that faults writes no event: what requests write is not explored.
	cpu.WriteReg(0, spec.OffCR0, 4, u.ReadReg(spec.OffCR0, 4)&^spec.Cr0EVENTQEN.Mask())
	x.Scenario.Unit, x.Memory, x.Weak = u, m, true
	if s.reverse {
		x.Scenario.Unit = reverse.SMMUv3(u)
	}
	x.Request = emu.Request{Addr: iova, Source: sid, PASID: pasid, Len: 8, Access: emu.Read}
	if s.beside {
		zero := x.Request
		zero.PASID = 0
		x.Others = append(x.Others, zero)
	}
	return x
}

// smmuFormats are the formats of a unit.
func smmuFormats(u *smmuv3.Unit, wide bool) entry.SMMUv3 {
	id := func(off uint32) uint32 { return uint32(u.ReadReg(off, 4)) }
	return entry.SMMUv3{IDR0: id(spec.OffIDR0), IDR1: id(spec.OffIDR1), IDR3: id(spec.OffIDR3), IDR5: id(spec.OffIDR5), Wide: wide}
}

// halfWritten returns the ways of PASID 0 on which CD 0 was read as valid and not as it is before or after.
func (x *smmuMove) halfWritten(t *testing.T) (list []Seen) {
	if len(x.Others) == 0 {
		return nil
	}
	sc := x.Scenario
	sc.Request, sc.Others = x.Others[0], nil
	rep, err := Explore(&sc)
	require.NoError(t, err)
	cd := x.formats.CD(nil)
	_, ste := x.d.STEAt(sid)
	at := emu.PA(ste[0] & spec.SteS1Context.Mask())
	var whole [][]uint64
	for _, p := range []point{last(0), last(len(x.Program))} {
		m, w := timeline{x.Memory, x.Program, p}, make([]uint64, 8)
		for i := range w {
			var v [4]uint64
			m.Load(at+emu.PA(i*8), 8, &v)
			w[i] = v[0]
		}
		whole = append(whole, w)
	}
	return rep.pick(func(s *Seen) bool {
		return slices.ContainsFunc(s.Entries, func(e Entry) bool {
			return e.At == at && spec.CdV.On(e.Words[0]) && !slices.ContainsFunc(whole, func(w []uint64) bool { return cd.Same(w, e.Words[:]) })
		})
	})
}

// bystanders returns the wrong ways of the devices that stay in a domain which the move begins or ends in.
func (x *smmuMove) bystanders(t *testing.T) (list []Seen) {
	if !x.shared {
		return nil
	}
	for _, by := range []emu.SourceID{sid + 1, sid + 2} {
		sc := x.Scenario
		sc.Others = []emu.Request{sc.Request}
		sc.Request.Source, sc.Request.PASID = by, emu.NoPASID
		rep, err := Explore(&sc)
		require.NoError(t, err)
		list = append(list, x.wrong(rep)...)
	}
	return list
}

// torn returns the ways on which the entry was read, in what counts, as none of the declared contents.
func (x *smmuMove) torn(rep *Report) []Seen {
	return rep.pick(func(s *Seen) bool {
		return slices.ContainsFunc(s.Entries, func(e Entry) bool {
			return e.At == x.at && !slices.ContainsFunc(x.report.States, func(d []uint64) bool { return x.format.Same(d, e.Words[:]) })
		})
	})
}

// left is what caches hold of the old content at the end.
func (x *smmuMove) left(rep *Report) []Copy {
	list := rep.Left(func(c emu.CacheID, a, b [4]uint64) bool {
		f := x.formats.STE()
		if c == emu.CachePASID {
			f = x.formats.CD(nil)
			a[3], b[3] = 0, 0 // flags
		} else if c != emu.CacheEntry {
			return false
		}
		return f.Same(append(a[:], 0, 0, 0, 0), append(b[:], 0, 0, 0, 0))
	})
	// Stage 2 under the VMID of a domain that goes on is not the device's alone.
	return slices.DeleteFunc(list, func(c Copy) bool {
		id := c.Key.Tag.Domain()
		return (c.Cache == emu.CacheWalk2 || c.Cache == emu.CacheStage2) && slices.ContainsFunc(x.live, func(d host.Domain) bool { return d.ID() == id })
	})
}

// wrong returns the ways that a hitless rewrite does not have: faults, and pages of neither domain.
func (x *smmuMove) wrong(rep *Report) []Seen {
	ends := append(slices.Clip(rep.Old), rep.New...)
	return rep.pick(func(s *Seen) bool {
		return !slices.ContainsFunc(ends, func(o Seen) bool {
			return s.Status == o.Status && s.PA == o.PA && s.Prov.Leaf == o.Prov.Leaf
		})
	})
}

// Undisturbed, a unit that reads in the reverse order finds the same.
func TestSMMUReverse_ReadsTheSame(t *testing.T) {
	for _, m := range smmuMoves {
		m.by = entry.Hitless
		var ends [2][]Seen
		for i := range ends {
			m.reverse = i == 1
			x := newSMMUMove(t, smmuConfig(false), m.smmuSpec)
			x.Program = nil
			rep, err := Explore(&x.Scenario)
			require.NoError(t, err)
			ends[i] = rep.All
			var w walk
			x.Scenario.Unit.Start(&w.t, &x.Request)
			order := map[emu.PA][]emu.PA{}
			for w.t.Act.Op != emu.OpDone {
				x.Scenario.Unit.Step(&w.t)
				w.t.Ans = emu.AnsOK
				if a := &w.t.Act; a.Op == emu.OpFetch {
					require.True(t, x.Memory.Load(a.Addr, a.Size, &w.t.In))
					if a.Step == smmuv3.StepSTE || a.Step == smmuv3.StepCD {
						order[a.Addr&^63] = append(order[a.Addr&^63], a.Addr)
					}
				}
			}
			require.NotEmpty(t, order)
			for _, list := range order {
				require.Contains(t, []int{4, 8}, len(list))
				if m.reverse && !m.wide {
					slices.Reverse(list)
				}
				require.True(t, slices.IsSorted(list))
			}
		}
		require.Len(t, ends[0], 1)
		require.Equal(t, emu.OK, ends[0][0].Status, m.name)
		for i := range ends {
			ends[i][0].Path = nil
		}
		require.Equal(t, ends[0], ends[1], m.name)
	}
}
