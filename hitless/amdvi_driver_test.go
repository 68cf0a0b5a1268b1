package hitless

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/host"
	amddriver "github.com/iommulab/iommulab/host/driver/amdvi"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
)

// amdHost is a unit with its driver. What the driver stores to one entry, and what its commands drop, is the
// program to be explored.
type amdHost struct {
	*amdTape
	t      *testing.T
	unit   *amdvi.Unit
	mem    *mem.Memory
	d      *amddriver.Driver
	parent host.Domain // of the guest
	cpu    *guest.CPU
	frames *host.Frames // in the guest
}

// amdTape is a processor that keeps the stores to [at, at+size), and what is dropped between two waits.
type amdTape struct {
	*emu.Functional
	at      emu.PA
	size    emu.PA
	program []Step
	pending []emu.Selector
}

func (w *amdTape) store(s Step) {
	if s.Addr >= w.at && s.Addr < w.at+w.size {
		w.program = append(w.program, s)
	}
}

func (w *amdTape) Store64(pa emu.PA, v uint64) {
	w.Functional.Store64(pa, v)
	w.store(Store64("entry", pa, v))
}

func (w *amdTape) Store128(pa emu.PA, lo, hi uint64) {
	w.Functional.Store128(pa, lo, hi)
	w.store(Store128("entry", pa, lo, hi))
}

func (w *amdTape) CAS128(pa emu.PA, old, v [2]uint64) bool {
	ok := w.Functional.CAS128(pa, old, v)
	if ok {
		w.store(Store128("entry", pa, v[0], v[1]))
	}
	return ok
}

func (w *amdTape) traced(x *emu.Txn) {
	switch {
	case w.size == 0 || x.Req.Type != emu.Job:
	case x.Act.Op == emu.OpInvalidate:
		w.pending = append(w.pending, x.Act.Sel)
	case x.Act.Op == emu.OpDrain && len(w.pending) > 0:
		w.program = append(w.program, Sync("commands", w.pending...))
		w.pending = nil
	}
}

func newAMDHost(t *testing.T, cached bool) *amdHost {
	u, err := amdvi.New(amdConfig(cached))
	require.NoError(t, err)
	h := &amdHost{t: t, unit: u, mem: mem.New()}
	h.amdTape = &amdTape{Functional: emu.NewFunctional(u, h.mem)}
	h.Trace = h.traced
	frames, err := host.NewFrames(h, 1<<32, 1<<28)
	require.NoError(t, err)
	h.d, err = amddriver.New(h, frames, amddriver.Options{LastDevice: 0xff})
	require.NoError(t, err)
	require.NoError(t, h.d.Enable())
	return h
}

// amdDomain makes a domain that maps iova to pa.
type amdDomain func(h *amdHost, pa emu.PA) host.Domain

func amdPaging(s host.Stage, width uint8) amdDomain {
	return func(h *amdHost, pa emu.PA) host.Domain {
		dom, err := h.d.NewDomain(host.DomainSpec{Stage: s, Width: width})
		require.NoError(h.t, err)
		require.NoError(h.t, dom.Map(iova, pa, 4096, emu.RW))
		return dom
	}
}

func amdPassing(h *amdHost, _ emu.PA) host.Domain {
	dom, err := h.d.NewDomain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(h.t, err)
	return dom
}

// amdNested is a domain of the guest, over the same parent as before or over another one: that maps the
// same, or the guest's memory somewhere else.
func amdNested(another, alike bool) amdDomain {
	return func(h *amdHost, pa emu.PA) host.Domain {
		if h.parent == nil || another {
			p, err := h.d.NewDomain(host.DomainSpec{Stage: host.StageSecond, Width: 48})
			require.NoError(h.t, err)
			require.NoError(h.t, p.Map(0, guestRAM, 1<<22, emu.RW))
			base := emu.PA(0)
			if h.parent != nil && !alike {
				base = 1 << 23
			}
			for at := emu.PA(0); at < 1<<22; at += 1 << 21 { // apart: a leaf of 4 MiB has two entries
				require.NoError(h.t, p.Map(emu.IOVA(1<<30+at), base+at, 1<<21, emu.RW))
			}
			h.parent, h.cpu = p, guest.NewCPU(h, p)
			if h.frames == nil {
				h.frames, err = host.NewFrames(h.cpu, 0x10_0000, 1<<20)
				require.NoError(h.t, err)
			}
		}
		dom, err := guest.New(h.d, h.cpu, h.frames, guest.Spec{})
		require.NoError(h.t, err)
		require.NoError(h.t, dom.Map(iova, 1<<30+pa, 4096, emu.RW))
		return dom
	}
}

var (
	amdHostTables, amdGuestTables = amdPaging(host.StageSecond, 0), amdPaging(host.StageFirst, 0)
	amdGuestTables5               = amdPaging(host.StageFirst, 50)
)

var amdDriverMoves = []struct {
	name     string
	from, to amdDomain
	pasid    emu.PASID
	shared   bool // other devices have the domains, too
	verdict  entry.Verdict
}{
	{"v1 to v1", amdHostTables, amdHostTables, emu.NoPASID, false, entry.VerdictHitless},
	{"v1 to v1, shared", amdHostTables, amdHostTables, emu.NoPASID, true, entry.VerdictHitless},
	{"v1 to v2", amdHostTables, amdGuestTables, emu.NoPASID, false, entry.VerdictHitless},
	{"v1 to v2 of five levels", amdHostTables, amdGuestTables5, emu.NoPASID, false, entry.VerdictHitless},
	{"v2 to v1", amdGuestTables, amdHostTables, emu.NoPASID, false, entry.VerdictHitless},
	{"v2 of five levels to v1", amdGuestTables5, amdHostTables, emu.NoPASID, false, entry.VerdictHitless},
	{"v1 to identity", amdHostTables, amdPassing, emu.NoPASID, false, entry.VerdictHitless},
	{"identity to v2", amdPassing, amdGuestTables, emu.NoPASID, false, entry.VerdictHitless},
	{"v2 to v2", amdGuestTables, amdGuestTables, emu.NoPASID, false, entry.VerdictHitless},
	{"v2 to v2, shared", amdGuestTables, amdGuestTables, emu.NoPASID, true, entry.VerdictHitless},
	{"v2 to v2 of five levels", amdGuestTables, amdGuestTables5, emu.NoPASID, false, entry.VerdictDisruptive},
	{"v1 to nested", amdHostTables, amdNested(false, false), emu.NoPASID, false, entry.VerdictHitless},
	{"nested to v1", amdNested(false, false), amdHostTables, emu.NoPASID, false, entry.VerdictHitless},
	{"nested, same parent", amdNested(false, false), amdNested(false, false), emu.NoPASID, false, entry.VerdictHitless},
	{"nested, same parent, shared", amdNested(false, false), amdNested(false, false), emu.NoPASID, true, entry.VerdictHitless},
	{"nested, parents alike", amdNested(false, false), amdNested(true, true), emu.NoPASID, false, entry.VerdictHitless},
	{"nested, another parent", amdNested(false, false), amdNested(true, false), emu.NoPASID, false, entry.VerdictDisruptive},
	{"v2 to nested", amdGuestTables, amdNested(false, false), emu.NoPASID, false, entry.VerdictDisruptive},
	{"nested to v2", amdNested(false, false), amdGuestTables, emu.NoPASID, false, entry.VerdictDisruptive},
	{"PASID", amdGuestTables, amdGuestTables, amdPASID, false, entry.VerdictHitless},
	{"PASID, shared", amdGuestTables, amdGuestTables, amdPASID, true, entry.VerdictHitless},
	{"PASID, nested", amdNested(false, false), amdNested(false, false), amdPASID, false, entry.VerdictHitless},
}

// What the driver stores and asks for when a device moves to another domain, in every legal order: hitless
// where it says so, faults and nothing else where it does not, and never a request that passes.
func TestAMDDriver_Moves(t *testing.T) {
	for _, m := range amdDriverMoves {
		for _, cached := range []bool{true, false} {
			for _, by := range []entry.Writer{entry.Hitless, entry.Linux} {
				t.Run(fmt.Sprintf("%s, caches %t, %s", m.name, cached, by.Name()), func(t *testing.T) {
					h := newAMDHost(t, cached)
					from, to := m.from(h, 1<<20), m.to(h, 2<<20)
					spec := host.DeviceSpec{PASIDs: 16}
					if m.pasid == emu.NoPASID {
						spec.PASIDs = 0
					}
					require.NoError(t, h.d.Probe(sid, spec))
					require.NoError(t, h.d.Attach(sid, m.pasid, from))
					if m.shared {
						for i, dom := range []host.Domain{from, to} {
							require.NoError(t, h.d.Attach(sid+emu.SourceID(i)+1, emu.NoPASID, dom))
						}
					}
					rep := h.explore(m.pasid, to, by, m.verdict)
					ends := append(slices.Clip(rep.Old), rep.New...)
					for _, s := range rep.All {
						ok := slices.ContainsFunc(ends, func(o Seen) bool { return s.Status == o.Status && s.PA == o.PA && s.Prov.Leaf == o.Prov.Leaf })
						if by == entry.Linux || m.verdict == entry.VerdictDisruptive {
							ok = ok || s.Status == emu.Blocked
						}
						require.True(t, ok, "status %d, pa %#x", s.Status, uint64(s.PA))
					}
					require.Empty(t, rep.Stale())
				})
			}
		}
	}
}

// explore moves the device and explores what it saw.
func (h *amdHost) explore(pasid emu.PASID, to host.Domain, by entry.Writer, verdict entry.Verdict) *Report {
	at, old := h.d.EntryAt(sid, pasid)
	h.at, h.size = at, emu.PA(len(old)*8)
	rep, err := h.d.Replace(sid, pasid, to, by)
	require.NoError(h.t, err)
	h.size = 0
	// Events are stores, which are not explored.
	h.WriteReg(0, spec.OffControl, 8, h.ReadReg(0, spec.OffControl, 8)&^spec.CtlEventLogEn.Mask())
	if by == entry.Hitless {
		require.Equal(h.t, verdict, rep.Verdict, rep.Reason)
	}
	for i, v := range old {
		h.Functional.Store64(at+emu.PA(i*8), v)
	}
	for c := range emu.NumCaches {
		if cache := h.unit.Cache(c); cache != nil {
			cache.Reset()
		}
	}
	sc := &Scenario{Unit: h.unit, Memory: h.mem, Program: h.program, Request: emu.Request{
		Addr: iova, Source: sid, PASID: pasid, Len: 8, Access: emu.Read,
	}}
	out, err := Explore(sc)
	require.NoError(h.t, err)
	require.Len(h.t, out.Old, 1)
	require.Len(h.t, out.New, 1)
	require.NotEqual(h.t, out.Old[0].PA, out.New[0].PA)
	require.Empty(h.t, out.Torn(at, rep.States...))
	return out
}

// Without the wait between device table entry and translations nothing would be held back: the fence is there.
func TestAMDDriver_WaitsBetweenEntryAndTranslations(t *testing.T) {
	h := newAMDHost(t, true)
	from, to := amdGuestTables(h, 1<<20), amdGuestTables(h, 2<<20)
	require.NoError(t, h.d.Attach(sid, emu.NoPASID, from))
	h.explore(emu.NoPASID, to, entry.Hitless, entry.VerdictHitless)
	var syncs [][]emu.Selector
	for _, s := range h.program {
		if s.Invalidate != nil {
			syncs = append(syncs, s.Invalidate)
		}
	}
	require.Len(t, syncs, 2)
	require.Len(t, syncs[0], 1)
	require.NotZero(t, syncs[0][0].Match&emu.MatchSource)
	for _, s := range syncs[1] {
		require.NotZero(t, s.Match&emu.MatchDomain)
		require.True(t, s.Caches.Has(emu.CacheWalk))
	}
}
