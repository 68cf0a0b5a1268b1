package guest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// words is a processor that only has memory.
type words struct {
	host.CPU
	m       map[emu.PA]uint64
	flushed []emu.PA
}

// Fence does nothing: stores are visible at once.
func (w *words) Fence() {}

func (w *words) Load64(pa emu.PA) uint64           { return w.m[pa] }
func (w *words) Store64(pa emu.PA, v uint64)       { w.m[pa] = v }
func (w *words) Store128(pa emu.PA, lo, hi uint64) { w.m[pa], w.m[pa+8] = lo, hi }
func (w *words) Flush(pa emu.PA, n int)            { w.flushed = append(w.flushed, pa) }
func (w *words) CAS64(pa emu.PA, old, v uint64) bool {
	if w.m[pa] != old {
		return false
	}
	w.m[pa] = v
	return true
}

func (w *words) CAS128(pa emu.PA, old, v [2]uint64) bool {
	if w.m[pa] != old[0] || w.m[pa+8] != old[1] {
		return false
	}
	w.m[pa], w.m[pa+8] = v[0], v[1]
	return true
}

func (w *words) Zero(pa emu.PA, n int) {
	for end := pa + emu.PA(n); pa < end; pa += 8 {
		delete(w.m, pa)
	}
}

// parent is a second-stage domain without a driver.
type parent struct {
	host.Domain
	table *pagetable.Table
}

func (p *parent) Tables() *pagetable.Table                           { return p.table }
func (p *parent) Kind() host.DomainKind                              { return host.DomainPaging }
func (p *parent) Lookup(iova emu.IOVA) (pagetable.Translation, bool) { return p.table.Lookup(iova) }
func (p *parent) mapped(t *testing.T, gpa emu.IOVA, pa emu.PA, n uint64) {
	_, err := p.table.Map(gpa, pa, n, pagetable.Read|pagetable.Write, nil)
	require.NoError(t, err)
}

// driver makes nested domains that keep what they are told.
type driver struct {
	host.Driver
	spec host.DomainSpec
	err  error
	last *nested
}

type invalidation struct {
	iova   emu.IOVA
	n      uint64
	tables bool
}

type nested struct {
	host.Domain
	told    []invalidation
	flushes int
	err     error
}

func (d *driver) NewDomain(s host.DomainSpec) (host.Domain, error) {
	if d.err != nil {
		return nil, d.err
	}
	d.spec, d.last = s, &nested{}
	return d.last, nil
}

func (n *nested) ID() uint32   { return 7 }
func (n *nested) Free() error  { return n.err }
func (n *nested) Flush() error { n.flushes++; return n.err }
func (n *nested) Invalidate(iova emu.IOVA, bytes uint64, tables bool) error {
	n.told = append(n.told, invalidation{iova, bytes, tables})
	return n.err
}

// machine is a guest with two pieces of memory: 0..3FFFFFh and one page at 8000_0000h.
func machine(t *testing.T) (*words, *parent, *CPU, *host.Frames) {
	w := &words{m: map[emu.PA]uint64{}}
	frames, err := host.NewFrames(w, 1<<32, 1<<24)
	require.NoError(t, err)
	table, err := pagetable.New(pagetable.VTDSS{}, w, frames, pagetable.Config{Levels: 3})
	require.NoError(t, err)
	p := &parent{table: table}
	p.mapped(t, 0, 0x4000_0000, 0x40_0000)
	p.mapped(t, 0x8000_0000, 0x5000_0000, 0x1000)
	cpu := NewCPU(w, p)
	ram, err := host.NewFrames(cpu, 0x10_0000, 0x10_0000)
	require.NoError(t, err)
	return w, p, cpu, ram
}

func TestCPU_MemoryIsTheParents(t *testing.T) {
	w, p, cpu, _ := machine(t)
	cpu.Store64(0x1008, 5)
	require.Equal(t, uint64(5), w.m[0x4000_1008])
	require.Equal(t, uint64(5), cpu.Load64(0x1008))
	cpu.Store128(0x8000_0010, 6, 7)
	require.Equal(t, uint64(7), w.m[0x5000_0018])
	require.True(t, cpu.CAS64(0x1008, 5, 9))
	require.False(t, cpu.CAS64(0x1008, 5, 9))
	require.True(t, cpu.CAS128(0x8000_0010, [2]uint64{6, 7}, [2]uint64{8, 9}))
	require.Equal(t, uint64(8), cpu.Load64(0x8000_0010))
	w.flushed = nil
	cpu.Flush(0x1ff8, 16)
	require.Equal(t, []emu.PA{0x4000_1ff8, 0x4000_2000}, w.flushed, "each page by itself")
	cpu.Zero(0x1000, 0x40)
	require.Zero(t, cpu.Load64(0x1008))
	require.Zero(t, cpu.Missed())

	require.Equal(t, ^uint64(0), cpu.Load64(0x9000_0000))
	cpu.Store64(0x9000_0000, 1)
	require.False(t, cpu.CAS64(0x9000_0000, 0, 1))
	require.Equal(t, uint64(3), cpu.Missed())
	require.Equal(t, ^uint64(0), cpu.ReadReg(0, 0, 4), "the host's units are not the guest's")
	cpu.WriteReg(0, 0, 4, 1)

	// What the parent maps anew is seen at once, what it changes after Forget.
	p.mapped(t, 0x9000_0000, 0x6000_0000, 0x1000)
	cpu.Store64(0x9000_0000, 1)
	require.Equal(t, uint64(1), w.m[0x6000_0000])
	_, err := p.table.Unmap(0x9000_0000, 0x1000, nil)
	require.NoError(t, err)
	p.mapped(t, 0x9000_0000, 0x7000_0000, 0x1000)
	cpu.Store64(0x9000_0000, 2)
	require.Equal(t, uint64(2), w.m[0x6000_0000])
	cpu.Forget()
	cpu.Store64(0x9000_0000, 3)
	require.Equal(t, uint64(3), w.m[0x7000_0000])
}

func TestDomain_TablesAreInTheGuest(t *testing.T) {
	_, p, cpu, ram := machine(t)
	drv := &driver{}
	d, err := New(drv, cpu, ram, Spec{ID: 9})
	require.NoError(t, err)
	root, levels := d.Tables().Root()
	require.Equal(t, host.DomainSpec{Kind: host.DomainNested, Parent: p, Root: root, Levels: 4, ID: 9}, drv.spec)
	require.Equal(t, uint8(4), levels)
	require.True(t, ram.InUse(root))
	require.Equal(t, drv.last, host.Underlying(d))

	require.NoError(t, d.Map(0x7000, 0x8000_0000, 0x1000, emu.RW))
	require.NoError(t, d.Map(0x20_0000, 0x20_0000, 0x20_0000, emu.Read))
	tr, ok := d.Lookup(0x7008)
	require.True(t, ok)
	require.Equal(t, pagetable.Translation{PA: 0x5000_0008, Lg2: 12, Perm: pagetable.Read | pagetable.Write}, tr)
	tr, ok = d.Lookup(0x20_1000)
	require.True(t, ok)
	require.Equal(t, pagetable.Translation{PA: 0x4020_1000, Lg2: 21, Perm: pagetable.Read}, tr)
	require.NoError(t, d.Map(0x9000, 0x7000_0000, 0x1000, emu.RW))
	_, ok = d.Lookup(0x9000)
	require.False(t, ok, "memory that the guest does not have")
	_, ok = d.Lookup(0xa000)
	require.False(t, ok)
	require.ErrorIs(t, d.Map(0xb000, 1<<39, 0x1000, emu.RW), pagetable.ErrRange, "beyond what the parent can map")
	for m := range d.Tables().Leaves(0, 1<<30) {
		require.True(t, m.Accessed)
		require.Equal(t, m.IOVA != 0x20_0000, m.Dirty)
	}
}

func TestDomain_AsksForInvalidationsAndFreesBehindThem(t *testing.T) {
	_, _, cpu, ram := machine(t)
	drv := &driver{}
	d, err := New(drv, cpu, ram, Spec{})
	require.NoError(t, err)
	require.NoError(t, d.Map(0x20_0000, 0x1000, 0x20_0000, emu.RW))
	require.Empty(t, drv.last.told, "what was not there is in no cache")
	n, err := d.Unmap(0x20_1000, 0x2000)
	require.NoError(t, err)
	require.Equal(t, uint64(0x2000), n)
	require.Equal(t, []invalidation{{0x20_1000, 0x2000, false}}, drv.last.told)
	require.NoError(t, d.Map(0x20_1000, 0x2000, 0x2000, emu.RW))

	drv.last.err, drv.last.told = host.ErrTimeout, nil
	freed := ram.Stats().Freed
	_, err = d.Unmap(0x20_0000, 0x20_0000)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.Equal(t, []invalidation{{0x20_0000, 0x20_0000, true}}, drv.last.told)
	require.Equal(t, freed, ram.Stats().Freed)
	require.ErrorIs(t, d.Free(), host.ErrTimeout)
	drv.last.err = nil
	require.NoError(t, d.Free())
	require.Zero(t, ram.Stats().InUse)
}

func TestDomain_FailedMapIsUndone(t *testing.T) {
	_, _, cpu, ram := machine(t)
	d, err := New(&driver{}, cpu, ram, Spec{})
	require.NoError(t, err)
	require.NoError(t, d.Map(0x3000, 0x1000, 0x1000, emu.RW))
	require.ErrorIs(t, d.Map(0x1000, 0x1000, 0x4000, emu.RW), pagetable.ErrExists)
	_, ok := d.Lookup(0x1000)
	require.False(t, ok)
}

func TestDomain_Dirty(t *testing.T) {
	_, _, cpu, ram := machine(t)
	drv := &driver{}
	d, err := New(drv, cpu, ram, Spec{})
	require.NoError(t, err)
	require.NoError(t, d.Map(0x1000, 0x1000, 0x3000, emu.RW))
	require.ErrorIs(t, d.ReadDirty(0, 1<<20, true, nil), host.ErrNotTracking)
	require.NoError(t, d.SetDirty(true))
	require.Equal(t, 1, drv.last.flushes)
	var seen []emu.IOVA
	visit := func(first, _ emu.IOVA) { seen = append(seen, first) }
	require.NoError(t, d.ReadDirty(0, 1<<20, true, visit))
	require.Empty(t, seen, "begins clean")
	require.NoError(t, d.Tables().SetDirty(0x2000))
	require.NoError(t, d.ReadDirty(0, 1<<20, true, visit))
	require.Equal(t, []emu.IOVA{0x2000}, seen)
	require.Equal(t, []invalidation{{0x2000, 0x1000, false}}, drv.last.told)
	require.ErrorIs(t, d.ReadDirty(0, 0, true, visit), pagetable.ErrLength)
	require.NoError(t, d.SetDirty(false))
}

func TestNew_Errors(t *testing.T) {
	_, _, cpu, ram := machine(t)
	_, err := New(&driver{err: host.ErrNoID}, cpu, ram, Spec{})
	require.ErrorIs(t, err, host.ErrNoID)
	require.Zero(t, ram.Stats().InUse)
	_, err = New(&driver{}, cpu, ram, Spec{Levels: 3})
	require.ErrorIs(t, err, pagetable.ErrGeometry)
	_, err = New(&driver{}, NewCPU(cpu, &parent{}), ram, Spec{})
	require.ErrorIs(t, err, host.ErrUnsupported)
}
