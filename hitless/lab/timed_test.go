package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host/entry"
)

// shaken is a processor that pauses for a random time before what it does.
type shaken struct {
	*timing.CPU
	r *rand.Rand
}

func (c *shaken) pause() {
	if c.r.IntN(2) == 0 {
		c.Compute(uint64(c.r.IntN(1500)))
	}
}

func (c *shaken) Store64(pa emu.PA, v uint64) {
	c.pause()
	c.CPU.Store64(pa, v)
}

func (c *shaken) Store128(pa emu.PA, lo, hi uint64) {
	c.pause()
	c.CPU.Store128(pa, lo, hi)
}

func (c *shaken) WriteReg(unit int, off uint32, size uint8, v uint64) {
	c.pause()
	c.CPU.WriteReg(unit, off, size, v)
}

// stream is a device that has some requests under way all the time.
type stream struct {
	m        *timing.Machine
	id       int
	r        *rand.Rand
	requests []emu.Request
	on       bool
	ends     []ended
}

// ended is how a request of a stream has ended.
type ended struct {
	which  int // of stream.requests
	issued uint64
	res    emu.Result
}

func (s *stream) Complete(c *timing.Completion) {
	s.ends = append(s.ends, ended{int(c.Tag), c.Issued, *c.Result})
	if s.on {
		s.m.Timer(s.id, s.m.Now()+uint64(s.r.IntN(400)), c.Tag)
	}
}

func (s *stream) Timer(tag uint32) {
	if q := s.requests[tag]; !s.m.Issue(s.id, 0, tag, &q) {
		s.m.Timer(s.id, s.m.Now()+10, tag)
	}
}

func (s *stream) Save(*emu.Encoder)          {}
func (s *stream) Restore(*emu.Decoder) error { return nil }

// evictor empties the caches every now and then, as others' requests could.
type evictor struct {
	stream
	b *bench
}

func (e *evictor) Timer(uint32) {
	e.b.reset()
	if e.on {
		e.m.Timer(e.id, e.m.Now()+20+uint64(e.r.IntN(1000)), 0)
	}
}

// timedRun is a rewrite on the timed machine.
type timedRun struct {
	report  entry.Report
	devices []*stream // those of the device whose entry is rewritten, then a bystander
}

// bystander is its index in timedRun.devices.
const bystander = 2

// timed carries a rewrite out on the timed machine while devices read; what is random about it is seed's.
func (k *Kind) timed(w entry.Writer, old, new []uint64, beside bool, seed uint64) (*timedRun, error) {
	o, b, err := k.lay(MatrixOptions(), old, new)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, 1))
	p, err := timing.LoadPreset("default")
	if err != nil {
		return nil, err
	}
	if k.Weak {
		p.Host.Order, p.Host.DrainSpread = timing.WeakOrder, 600
	}
	// Where a further part of an entry takes as long as the processor pauses, stores fall between parts.
	p.Mem, p.Follow = 20+uint64(r.IntN(400)), 1+uint64(r.IntN(1+1500*r.IntN(2)))
	b.reset()
	m := timing.New(p.Params, b.mem)
	m.AddUnit(b.unit, 16)
	cpu := &shaken{m.AddCPU(seed), r}
	b.queue = cpu
	out := &timedRun{}
	begin := func(requests []emu.Request) {
		d := &stream{m: m, r: r, requests: requests, on: true}
		d.id = m.AddClient(d)
		for i := range requests {
			m.Timer(d.id, uint64(r.IntN(500)), uint32(i))
		}
		out.devices = append(out.devices, d)
	}
	begin(b.requests)
	begin(b.requests)
	if beside {
		b.put(b.at+emu.PA(8*k.Words), old...)
		q := slices.Clone(b.requests)
		for i := range q {
			q[i].Source = sid + 1
		}
		begin(q)
	}
	e := &evictor{stream: stream{m: m, r: r, on: r.IntN(4) != 0}, b: b}
	e.id = m.AddClient(e)
	m.Timer(e.id, uint64(r.IntN(4000)), 0)
	cpu.Compute(uint64(r.IntN(4000)))
	if out.report, err = w.Write(k.target(o, cpu, b, b.at), new); err != nil {
		return nil, err
	}
	cpu.Compute(4000)
	e.on = false
	for _, d := range out.devices {
		d.on = false
	}
	m.RunUntil(m.Now() + 100_000) // what is held then stays so
	return out, nil
}

// byDevice are the kinds whose entries lie side by side, one for each device.
var byDevice = []string{"context", "context-scalable", "dte", "ste"}

// What requests see on the timed machine is among what the explorer finds: random rewrites of all kinds, by
// random writers, under DMA of several devices, with random pauses of the processor, evictions, and latencies of
// memory; and some in which every mixture can be met. A device that shares the old id sees the old entry and nothing
// else, unless the explorer calls the rewrite unsafe.
func TestTimed_ShowsNothingThatTheExplorerExcludes(t *testing.T) {
	rounds := 10
	if os.Getenv("IOMMULAB_LONG") != "" {
		rounds = 400
	}
	r := rand.New(rand.NewPCG(7, 7))
	seen := map[string]int{}
	for _, c := range []struct{ iommu, kind, from, to string }{
		{"vtd", "pasid", "first 1, id 3", "first 2, id 4"},
		{"smmuv3", "ste", "stage 2 table 1, VMID 1", "stage 2 table 2, VMID 2"},
		{"smmuv3", "cd", "table 1, ASID 1", "table 2, ASID 2"},
	} {
		k := find(t, c.iommu, c.kind)
		k.compare(t, entry.Naive, Form{c.from, k.formNamed(t, c.from)}, Form{c.to, k.formNamed(t, c.to)}, 40, r, seen)
	}
	for _, k := range Kinds() {
		for range rounds {
			from, to := k.Forms[r.IntN(len(k.Forms))], k.Forms[r.IntN(len(k.Forms))]
			k.compare(t, entry.Writers()[r.IntN(len(entry.Writers()))], from, to, 4, r, seen)
		}
	}
	t.Log(seen)
	require.NotZero(t, seen["neither old nor new"])
}

// explored is what the explorer says of a rewrite.
type explored struct {
	*run
	found   *Result
	reports []*hitless.Report // for each request, in either order of reading
}

func (k *Kind) explored(t *testing.T, w entry.Writer, from, to []uint64, name string) (x explored) {
	var err error
	x.run, err = k.start(MatrixOptions(), w, from, to, 0)
	require.NoError(t, err, name)
	x.found, err = x.explore()
	require.NoError(t, err, name)
	require.NoError(t, x.told(func(_ *hitless.Scenario, rep *hitless.Report) { x.reports = append(x.reports, rep) }), name)
	return x
}

// compare carries a rewrite out some times on the timed machine.
func (k *Kind) compare(t *testing.T, w entry.Writer, from, to Form, times int, r *rand.Rand, seen map[string]int) {
	name := fmt.Sprintf("%s %s, %s to %s by %s", k.IOMMU, k.Name, from.Name, to.Name, w.Name())
	x := k.explored(t, w, from.Raw, to.Raw, name)
	beside := slices.Contains(byDevice, k.Name) && (x.f.ID == 0 || x.f.ID.Get(from.Raw) != x.f.ID.Get(to.Raw))
	for range times {
		seed := r.Uint64()
		got, err := k.timed(w, from.Raw, to.Raw, beside, seed)
		if errors.Is(err, entry.ErrChanged) && k.pte != nil {
			continue // hardware has marked the entry
		}
		require.NoError(t, err, name)
		x := x
		if old := got.report.States[0]; !slices.Equal(old, from.Raw) {
			x = k.explored(t, w, old, to.Raw, name+", marked") // when the writer came
		}
		for i, d := range got.devices {
			require.NotEmpty(t, d.ends)
			for j := range d.ends {
				e := &d.ends[j]
				rep := x.reports[e.which]
				switch {
				case i == bystander && x.found.Found != Unsafe:
					require.True(t, e.in(rep.Old, false), "%s, seed %#x: bystander %+v", name, seed, e.res)
				case i != bystander:
					after := e.issued >= got.report.Done
					require.True(t, e.in(rep.All, after), "%s, seed %#x: %+v, after %v", name, seed, e.res, after)
					if !e.in(rep.Old, false) && !e.in(rep.New, false) {
						seen["neither old nor new"]++
					}
					seen["requests"]++
				}
			}
		}
	}
}

// in reports whether list has the way that a request went; one that began after the rewrite, if so wanted.
func (e *ended) in(list []hitless.Seen, after bool) bool {
	return slices.ContainsFunc(list, func(s hitless.Seen) bool {
		if after && !s.After {
			return false
		}
		if s.Status == emu.Blocked || e.res.Status == emu.Blocked {
			return s.Status == e.res.Status && s.Code == e.res.Fault.Code
		}
		return s.Status == e.res.Status && s.PA == e.res.PA && s.Prov == e.res.Prov
	})
}
