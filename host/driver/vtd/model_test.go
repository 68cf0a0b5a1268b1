package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	hwdev "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
)

// model is what a machine should do: plain maps.
type model struct {
	*rig
	doms  []*modelDomain
	att   map[attachment]*modelDomain
	guest *machineIn // what nested domains are of
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

// Whatever is attached, mapped, replaced and freed in whatever order: each access through the unit ends
// as plain maps say, on every unit. Ids, tables and caches are reused all the time.
func TestDriver_AgainstModel(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				o := v.opt
				o.LazyEntries = 4
				m := &model{rig: machine(rt, v.change...).up(o), att: map[attachment]*modelDomain{}}
				m.frames.SetPoison(true)
				if m.unit.Config().DT {
					e := m.endpoint(m.newBus(), 1, func(c *hwdev.EndpointConfig) { c.Pages = 0 })
					m.through = map[emu.SourceID]*endpoint{1: e}
				}
				for _, sid := range []emu.SourceID{1, 0x81, 0x1234} {
					if m.d.Scalable() {
						require.NoError(rt, m.d.Probe(sid, host.DeviceSpec{PASIDs: 128, ATS: sid == 1}))
					}
				}
				for range rapid.IntRange(5, 80).Draw(rt, "steps") {
					m.step(rt)
					m.check(rt)
				}
			})
		})
	}
}

func (m *model) step(t *rapid.T) {
	a := m.drawAttachment(t)
	cur := m.att[a]
	switch rapid.IntRange(0, 15).Draw(t, "op") {
	case 0, 1:
		if len(m.doms) < 4 {
			if m.d.caps.nest && rapid.Bool().Draw(t, "nested") {
				m.newNested()
				return
			}
			s := host.DomainSpec{Flush: host.FlushMode(rapid.IntRange(0, 1).Draw(t, "lazy"))}
			if c := &m.d.caps; c.first && c.second {
				s.Stage = host.Stage(rapid.IntRange(0, 2).Draw(t, "stage"))
			}
			d, err := m.d.NewDomain(s)
			require.NoError(t, err)
			m.add(d, s)
		}
	case 2, 3:
		if d := m.draw(t); d != nil && cur == nil {
			require.NoError(t, m.d.Attach(a.sid, a.pasid, d.Domain))
			m.att[a] = d
		}
	case 4:
		if d := m.draw(t); d != nil && cur != nil {
			w := rapid.SampledFrom(entry.Writers()).Draw(t, "writer")
			_, err := m.d.Replace(a.sid, a.pasid, d.Domain, w)
			require.NoError(t, err)
			m.att[a] = d
		}
	case 5:
		if cur != nil {
			require.NoError(t, m.d.Detach(a.sid, a.pasid))
			delete(m.att, a)
		}
	case 6, 7, 8, 9, 10:
		if d := m.draw(t); d != nil {
			m.change(t, d)
		}
	case 11:
		require.NoError(t, m.d.FlushLazy())
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

// write lets a device write, wherever that goes.
func (m *model) write(a attachment, iova emu.IOVA) {
	res := m.access(a.sid, a.pasid, iova, emu.Write)
	want, ok, stale := m.att[a].where(iova)
	switch {
	case ok:
		require.Equal(m.t, emu.OK, res.Status, "fault %#x", res.Fault.Code)
		require.Equal(m.t, want, res.PA)
		m.att[a].write(iova)
	case res.Status == emu.OK:
		require.Contains(m.t, stale, res.PA)
	}
}

// track turns dirty tracking on or off, or reads what was written.
func (m *model) track(t *rapid.T, d *modelDomain) {
	if m2, ok := d.Domain.(*driver.Domain); !ok || !(arch{m.d}).CanTrack(m2) {
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
		require.Equal(t, d.written, got)
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
		p := m.add(m.domain(s), s)
		const ram = 1 << 32
		require.NoError(m.t, p.Map(ram, guestBase, 4<<20, emu.RW))
		m.guest = &machineIn{r: m.rig, parent: p, cpu: guest.NewCPU(m.cpu, p)}
		var err error
		m.guest.frames, err = host.NewFrames(m.guest.cpu, ram, 4<<20)
		require.NoError(m.t, err)
		m.guest.frames.SetPoison(true)
	}
	d := m.add(m.guest.domain(guest.Spec{}), host.DomainSpec{Kind: host.DomainNested})
	d.parent = m.guest.parent.(*modelDomain)
}

// Behind lets the driver find its own domain.
func (d *modelDomain) Behind() host.Domain { return d.Domain }

func (m *model) drawAttachment(t *rapid.T) attachment {
	a := attachment{rapid.SampledFrom([]emu.SourceID{1, 0x81, 0x1234}).Draw(t, "sid"), emu.NoPASID}
	if m.d.Scalable() {
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
		pa := target + emu.PA(rapid.IntRange(0, 15).Draw(t, "pa"))<<12
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
	if m.guest != nil && d == m.guest.parent.(*modelDomain) {
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
		res := m.access(a.sid, a.pasid, iova, emu.Read)
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
