package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/host/guest"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// vm is a guest with 16 MiB of memory, and what it sees beyond that at pages.
type vm struct {
	*drivertest.Guest
	r *rig
}

// guestPages is where a guest has page 0 of the machine's target.
const guestPages = emu.PA(0x8000_0000)

func (r *rig) vm() *vm {
	g := r.Guest(drivertest.GuestBase, host.DomainSpec{})
	require.NoError(r.T, g.Parent.Map(emu.IOVA(guestPages), target, 16<<20, emu.RW))
	return &vm{g, r}
}

// domain makes a domain of the guest that maps iova to a page, by number.
func (g *vm) domain(asid uint16, i int) *guest.Domain {
	d := g.Domain(guest.Spec{Kind: guest.Arm{ASID: asid, Flags: g.r.d.caps.flags}})
	require.NoError(g.r.T, d.Map(iova, guestPages+emu.PA(i)<<20, 0x1000, emu.RW))
	return d
}

// A guest's stage 1 over the host's stage 2: both are walked, the VMID is the parent's.
func TestNested_BothStages(t *testing.T) {
	r := start(t)
	g := r.vm()
	one := g.domain(1, 1)
	require.Equal(t, g.Parent.ID(), one.ID())
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, one))
	_, raw := r.d.STEAt(dev)
	require.EqualValues(t, spec.ConfigNested, spec.SteConfig.Of(raw[0]))
	require.EqualValues(t, g.Parent.ID(), spec.SteS2VMID.Get(raw))
	r.Reaches(dev, emu.NoPASID, iova, page(1))
	_, err := one.Unmap(iova, 0x1000)
	require.NoError(t, err)
	r.Blocked(dev, emu.NoPASID, iova)
	require.NoError(t, one.Map(iova, guestPages+2<<20, 0x1000, emu.RW))
	r.Reaches(dev, emu.NoPASID, iova, page(2))

	// The host takes a page away: what was made from it is gone, though the guest's tables are not.
	_, err = g.Parent.Unmap(emu.IOVA(guestPages), 16<<20)
	require.NoError(t, err)
	r.Blocked(dev, emu.NoPASID, iova)
	require.ErrorIs(t, g.Parent.Free(), host.ErrBusy)
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	require.ErrorIs(t, g.Parent.Free(), host.ErrBusy)
	require.NoError(t, one.Free())
	require.NoError(t, g.Parent.Free())
}

// Moves to, from and between nested domains: what one store does, and what cannot be hitless.
func TestNested_Moves(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to string
		want     entry.Verdict
		stores   int
	}{
		{"another CD of the guest", "one", "two", entry.VerdictHitless, 1},
		{"stage 2 alone to both", "parent", "one", entry.VerdictHitless, 2},
		{"both to stage 2 alone", "one", "parent", entry.VerdictHitless, 2},
		{"another parent that maps the same", "one", "again", entry.VerdictHitless, 0},
		{"bypass to both", "identity", "one", entry.VerdictHitless, 0},
		{"both to bypass", "one", "identity", entry.VerdictHitless, 0},
		{"stage 1 to both", "host", "one", entry.VerdictDisruptive, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t)
			g := r.vm()
			again := &vm{g.Again(), r}
			require.NoError(t, again.Parent.Map(emu.IOVA(guestPages), target, 16<<20, emu.RW))
			again.Frames = g.Frames
			doms := map[string]host.Domain{
				"one": g.domain(1, 1), "two": g.domain(2, 2), "parent": g.Parent, "again": again.domain(3, 3),
				"identity": r.Domain(host.DomainSpec{Kind: host.DomainIdentity}), "host": r.stage(host.StageFirst, 4),
			}
			reach := map[string]emu.PA{
				"one": page(1), "two": page(2), "parent": drivertest.GuestBase + emu.PA(iova), "again": page(3), "identity": emu.PA(iova), "host": page(4),
			}
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, doms[c.from]))
			r.Reaches(dev, emu.NoPASID, iova, reach[c.from])
			rep, err := r.d.Replace(dev, emu.NoPASID, doms[c.to], entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, c.want, rep.Verdict, rep.Reason)
			if c.stores > 0 {
				require.Equal(t, c.stores, rep.Stores)
			}
			r.Reaches(dev, emu.NoPASID, iova, reach[c.to])
		})
	}
}

// What a guest's own STE says decides: what it lets pass goes through stage 2 alone, what it blocks is
// blocked, and each is reached from each other.
func TestNested_GuestSTE(t *testing.T) {
	r := start(t)
	g := r.vm()
	one := g.domain(1, 1)
	_, raw := func() (emu.PA, []uint64) {
		require.NoError(t, r.d.Attach(0x400, emu.NoPASID, one))
		return r.d.STEAt(0x400)
	}()
	vste := func(config uint64) host.Domain {
		w := []uint64{raw[0]&^spec.SteConfig.Mask() | spec.SteConfig.Put(config), raw[1]}
		return r.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: g.Parent, Guest: w})
	}
	states := []host.Domain{vste(spec.ConfigAbort), vste(spec.ConfigBypass), vste(spec.ConfigS1)}
	where := []emu.PA{0, drivertest.GuestBase + emu.PA(iova), page(1)}
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, states[0]))
	for _, i := range []int{1, 2, 0, 2, 1, 0} {
		rep, err := r.d.Replace(dev, emu.NoPASID, states[i], entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictHitless, rep.Verdict)
		if where[i] == 0 {
			r.Blocked(dev, emu.NoPASID, iova)
		} else {
			r.Reaches(dev, emu.NoPASID, iova, where[i])
		}
	}
	_, err := r.d.NewDomain(host.DomainSpec{Kind: host.DomainNested, Parent: g.Parent, Guest: []uint64{1}})
	require.ErrorIs(t, err, host.ErrUnsupported)
}

// Commands of a guest act on its own VMID and stream, and on nothing else.
func TestNested_GuestCommands(t *testing.T) {
	r := start(t)
	g := r.vm()
	one := g.domain(7, 1)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, one))
	id := one.ID()
	require.EqualValues(t, 1, id)
	r.Reaches(dev, emu.NoPASID, iova, page(1))
	for _, c := range []struct {
		in   command
		want string
	}{
		{tlbiASID(9, 7), "NH_ASID vmid 1 asid 7"}, {tlbiVMID(3), "NH_ALL vmid 1"}, {newCommand(spec.CmdTlbiNSNHAll), "NH_ALL vmid 1"},
		{cfgiCD(5, 0, false), "CFGI_CD 0x310 0 leaf"}, {cfgiSTE(5, false), "CFGI_STE 0x310 leaf"}, {atcInv(5, emu.NoPASID, 0, 64), "ATC_INV 0x310 0x0 2^52"},
	} {
		got := r.during(func() { require.NoError(t, r.d.GuestCommand(one, dev, c.in)) })
		require.Equal(t, c.want, got[0])
	}
	for _, c := range []command{tlbiBoth(1), cfgiAll(), resume(dev, 1, true), newCommand(spec.CmdTlbiEL2All), {0xff}} {
		require.ErrorIs(t, r.d.GuestCommand(one, dev, c), host.ErrUnsupported)
	}
	// A guest that has rewritten its CD says so.
	other := g.domain(8, 2)
	r.Reaches(dev, emu.NoPASID, iova, page(1))
	cd := func(d host.Domain) emu.PA { return host.Underlying(d).(*driver.Domain).Root }
	for i := range emu.PA(8) {
		g.CPU.Store64(cd(one)+i*8, g.CPU.Load64(cd(other)+i*8))
	}
	r.Reaches(dev, emu.NoPASID, iova, page(1))
	require.NoError(t, r.d.GuestCommand(one, dev, cfgiCD(0, 0, false)))
	r.Reaches(dev, emu.NoPASID, iova, page(2))
}

// Units without both stages, and what is no parent.
func TestNested_Refused(t *testing.T) {
	for _, change := range []func(*hw.Config){stage1Only, stage2Only} {
		r := start(t, change)
		p := r.Domain(host.DomainSpec{})
		_, err := r.d.NewDomain(host.DomainSpec{Kind: host.DomainNested, Parent: p})
		require.ErrorIs(t, err, host.ErrUnsupported)
	}
	r := start(t)
	_, err := r.d.NewDomain(host.DomainSpec{Kind: host.DomainNested, Parent: r.stage(host.StageFirst, 0)})
	require.ErrorIs(t, err, host.ErrUnsupported)
	_, err = r.d.NewDomain(host.DomainSpec{Kind: host.DomainNested})
	require.ErrorIs(t, err, host.ErrUnsupported)
}

// What a guest's requests have left of stage 2 outlives them: it is under the parent's VMID, and goes when the
// parent's tables change.
func TestNested_StageTwoOutlivesTheGuest(t *testing.T) {
	r := start(t)
	g := r.vm()
	one := g.domain(1, 1)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, one))
	r.Reaches(dev, emu.NoPASID, iova, page(1))
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	_, err := g.Parent.Unmap(emu.IOVA(guestPages), 16<<20)
	require.NoError(t, err)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, one))
	r.Blocked(dev, emu.NoPASID, iova)
}

// A guest's tables have a granule of their own, which the host does not know: whatever the guest takes away
// is reached no more, in pages and blocks of either.
func TestNested_Granules(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		for _, theirs := range []uint8{12, 14, 16} {
			for _, ours := range []uint8{12, 14, 16} {
				r := machine(t).up(Options{NoRange: !ranges, Granule: ours})
				g := r.vm()
				dom := g.Domain(guest.Spec{Kind: guest.Arm{ASID: 1, Granule: theirs, Flags: r.d.caps.flags}})
				require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
				size := emu.IOVA(1) << theirs
				for _, pages := range []emu.IOVA{1, 2, 5, 33} {
					at := emu.IOVA(4<<30) + 3*size
					n := uint64(pages * size)
					require.NoError(t, dom.Map(at, guestPages, n, emu.RW))
					for i := range pages {
						r.Reaches(dev, emu.NoPASID, at+i*size, target+emu.PA(i*size))
					}
					_, err := dom.Unmap(at, n)
					require.NoError(t, err)
					for i := range pages {
						r.Blocked(dev, emu.NoPASID, at+i*size)
					}
				}
			}
		}
	}
}
