package drivertest

import (
	"errors"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
)

// ModelSpec is what a model tries.
type ModelSpec struct {
	Stages []host.Stage // of paging domains
	Nested bool
	// Guest is what guests' domains are, one after the other; nil: those of the zero guest.Spec.
	Guest  func() guest.Spec
	PASIDs bool
	// Track reports whether a domain can be tracked; nil: none.
	Track func(host.Domain) bool
	// Refuses reports whether the driver may refuse to give (sid, pasid) a domain as things are, by
	// host.ErrBusy or host.ErrUnsupported.
	Refuses bool
	// Absence: what is not present may be cached as such, even in guests' tables.
	Absence bool
	// DirtyReads: what a device-TLB has a translation of may count as written.
	DirtyReads bool
}

// ModelDevices are the devices that a model uses. They are probed, and the first may be in Rig.Through.
var ModelDevices = []emu.SourceID{1, 0x81, 0x1234}

// model is a driver beside plain maps.
type model struct {
	*Rig
	spec  ModelSpec
	doms  []*modelDomain
	att   map[attachment]*modelDomain
	guest *Guest // what nested domains are of
}

// RunModel draws operations: whatever is attached, mapped, replaced and freed in whatever order, each access
// through the unit ends as plain maps say. Ids, tables and caches are reused all the time.
func (r *Rig) RunModel(t *rapid.T, s ModelSpec) {
	m := &model{Rig: r, spec: s, att: map[attachment]*modelDomain{}}
	r.Frames.SetPoison(true)
	for range rapid.IntRange(5, 80).Draw(t, "steps") {
		m.step(t)
		m.check(t)
	}
}

type attachment struct {
	sid   emu.SourceID
	pasid emu.PASID
}

type modelDomain struct {
	host.Domain
	spec   host.DomainSpec
	pages  map[emu.IOVA]emu.PA
	stale  map[emu.IOVA][]emu.PA // lazy: where an access may still go
	parent *modelDomain          // nested: what pages are pages of
	// written since they were read last; nil if that is not tracked
	written map[emu.IOVA]bool
}

// write notes that a page was written through d.
func (d *modelDomain) write(iova emu.IOVA) {
	if d.written != nil {
		d.written[iova] = true
	}
	if d.parent != nil {
		d.parent.write(emu.IOVA(d.pages[iova]))
	}
}

// where says where an access has to go, or where it may still go if that is nowhere.
func (d *modelDomain) where(iova emu.IOVA) (pa emu.PA, ok bool, stale []emu.PA) {
	if d == nil {
		return 0, false, nil
	}
	pa, ok = d.pages[iova]
	stale = d.stale[iova]
	if d.parent != nil && ok {
		return d.parent.where(emu.IOVA(pa))
	}
	return pa, ok, stale
}

// modelPages lie in three tables; one of them is alone in its.
var modelPages = []emu.IOVA{0x1f_e000, 0x1f_f000, 0x20_0000, 0x20_1000, 0x4000_0000}

func (m *model) step(t *rapid.T) {
	a := m.drawAttachment(t)
	cur := m.att[a]
	switch rapid.IntRange(0, 15).Draw(t, "op") {
	case 0, 1:
		if len(m.doms) < 4 {
			if m.spec.Nested && rapid.Bool().Draw(t, "nested") {
				m.newNested()
				return
			}
			s := host.DomainSpec{Flush: host.FlushMode(rapid.IntRange(0, 1).Draw(t, "lazy"))}
			if len(m.spec.Stages) > 0 {
				s.Stage = rapid.SampledFrom(m.spec.Stages).Draw(t, "stage")
			}
			d, err := m.D.NewDomain(s)
			require.NoError(t, err)
			m.add(d, s)
		}
	case 2, 3:
		if d := m.draw(t); d != nil && cur == nil {
			if m.done(t, m.D.Attach(a.sid, a.pasid, d.Domain)) {
				m.att[a] = d
			}
		}
	case 4:
		if d := m.draw(t); d != nil && cur != nil {
			w := rapid.SampledFrom(entry.Writers()).Draw(t, "writer")
			_, err := m.D.Replace(a.sid, a.pasid, d.Domain, w)
			if m.done(t, err) {
				m.att[a] = d
			}
		}
	case 5:
		if cur != nil {
			require.NoError(t, m.D.Detach(a.sid, a.pasid))
			delete(m.att, a)
		}
	case 6, 7, 8, 9, 10:
		if d := m.draw(t); d != nil {
			m.change(t, d)
		}
	case 11:
		require.NoError(t, m.D.FlushLazy())
		for _, d := range m.doms {
			clear(d.stale)
		}
	case 12:
		m.free(t)
	case 13, 14:
		m.write(a, rapid.SampledFrom(modelPages).Draw(t, "iova"))
	default:
		if d := m.draw(t); d != nil {
			m.track(t, d)
		}
	}
}

// done reports whether an attachment was made. One may be refused if the driver has limits.
func (m *model) done(t *rapid.T, err error) bool {
	if m.spec.Refuses && (errors.Is(err, host.ErrBusy) || errors.Is(err, host.ErrUnsupported)) {
		return false
	}
	require.NoError(t, err)
	return true
}

// write lets a device write, wherever that goes.
func (m *model) write(a attachment, iova emu.IOVA) {
	res := m.Access(a.sid, a.pasid, iova, emu.Write)
	want, ok, stale := m.att[a].where(iova)
	switch {
	case ok:
		require.Equal(m.T, emu.OK, res.Status, "fault %#x", res.Fault.Code)
		require.Equal(m.T, want, res.PA)
		m.att[a].write(iova)
	case res.Status == emu.OK:
		require.Contains(m.T, stale, res.PA)
	}
}

// track turns dirty tracking on or off, or reads what was written.
func (m *model) track(t *rapid.T, d *modelDomain) {
	if m.spec.Track == nil || d.spec.Kind != host.DomainPaging || !m.spec.Track(d.Domain) {
		return
	}
	switch {
	case d.written == nil:
		require.NoError(t, d.SetDirty(true))
		d.written = map[emu.IOVA]bool{}
	case rapid.IntRange(0, 3).Draw(t, "off") == 0:
		require.NoError(t, d.SetDirty(false))
		d.written = nil
	default:
		clear, got := rapid.Bool().Draw(t, "clear"), map[emu.IOVA]bool{}
		require.NoError(t, d.ReadDirty(0, 1<<32, clear, func(first, _ emu.IOVA) { got[first] = true }))
		if m.spec.DirtyReads {
			require.Subset(t, got, d.written)
		} else {
			require.Equal(t, d.written, got)
		}
		if clear {
			d.written = map[emu.IOVA]bool{}
		}
	}
}

func (m *model) add(d host.Domain, s host.DomainSpec) *modelDomain {
	x := &modelDomain{Domain: d, spec: s, pages: map[emu.IOVA]emu.PA{}, stale: map[emu.IOVA][]emu.PA{}}
	m.doms = append(m.doms, x)
	return x
}

// newNested makes a domain of the guest, and the guest with a parent domain if there is none. The
// guest's tables are above all that is mapped and unmapped.
func (m *model) newNested() {
	if m.guest == nil {
		s := host.DomainSpec{Stage: host.StageSecond}
		p := m.add(m.Domain(s), s)
		const ram = 1 << 32
		require.NoError(m.T, p.Map(ram, GuestBase, 4<<20, emu.RW))
		m.guest = &Guest{Rig: m.Rig, Parent: p, CPU: guest.NewCPU(m.CPU, p)}
		var err error
		m.guest.Frames, err = host.NewFrames(m.guest.CPU, ram, 4<<20)
		require.NoError(m.T, err)
		m.guest.Frames.SetPoison(true)
	}
	s := guest.Spec{}
	if m.spec.Guest != nil {
		s = m.spec.Guest()
	}
	s.Absence = m.spec.Absence
	d := m.add(m.guest.Domain(s), host.DomainSpec{Kind: host.DomainNested})
	d.parent = m.guest.Parent.(*modelDomain)
}

// Behind lets the driver find its own domain.
func (d *modelDomain) Behind() host.Domain { return d.Domain }

func (m *model) drawAttachment(t *rapid.T) attachment {
	a := attachment{rapid.SampledFrom(ModelDevices).Draw(t, "sid"), emu.NoPASID}
	if m.spec.PASIDs {
		a.pasid = rapid.SampledFrom([]emu.PASID{emu.NoPASID, 1, 100}).Draw(t, "pasid")
	}
	return a
}

func (m *model) draw(t *rapid.T) *modelDomain {
	if len(m.doms) == 0 {
		return nil
	}
	return rapid.SampledFrom(m.doms).Draw(t, "domain")
}

// change maps or unmaps a page, or unmaps everything around it.
func (m *model) change(t *rapid.T, d *modelDomain) {
	iova := rapid.SampledFrom(modelPages).Draw(t, "iova")
	if _, ok := d.pages[iova]; !ok {
		pa := Target + emu.PA(rapid.IntRange(0, 15).Draw(t, "pa"))<<12
		if d.parent != nil {
			pa = emu.PA(rapid.SampledFrom(modelPages).Draw(t, "gpa"))
		}
		require.NoError(t, d.Map(iova, pa, 0x1000, emu.RW))
		d.pages[iova] = pa
		return
	}
	n, err := d.Unmap(iova, 0x1000)
	require.NoError(t, err)
	require.Equal(t, uint64(0x1000), n)
	if d.spec.Flush == host.FlushLazy {
		d.stale[iova] = append(d.stale[iova], d.pages[iova])
	}
	delete(d.pages, iova)
	delete(d.written, iova)
}

func (m *model) free(t *rapid.T) {
	d := m.draw(t)
	if d == nil {
		return
	}
	for _, x := range m.att {
		if x == d {
			require.ErrorIs(t, d.Free(), host.ErrBusy)
			return
		}
	}
	if m.guest != nil && d == m.guest.Parent.(*modelDomain) {
		for _, x := range m.doms {
			if x.parent == d {
				require.ErrorIs(t, d.Free(), host.ErrBusy)
				return
			}
		}
		m.guest = nil
	}
	require.NoError(t, d.Free())
	for i, x := range m.doms {
		if x == d {
			m.doms = append(m.doms[:i], m.doms[i+1:]...)
			break
		}
	}
}

// check tries a few accesses.
func (m *model) check(t *rapid.T) {
	a := m.drawAttachment(t)
	d := m.att[a]
	for _, iova := range modelPages {
		res := m.Access(a.sid, a.pasid, iova, emu.Read)
		want, ok, stale := d.where(iova)
		if ok && res.Status == emu.OK && res.PA == want || !ok && res.Status == emu.Blocked {
			continue
		}
		if d != nil && !ok && res.Status == emu.OK {
			require.Contains(t, stale, res.PA, "%+v %#x", a, uint64(iova))
			continue
		}
		require.Failf(t, "access", "%+v %#x: status %d to %#x, fault %#x; want %#x %t",
			a, uint64(iova), res.Status, uint64(res.PA), res.Fault.Code, uint64(want), ok)
	}
}
