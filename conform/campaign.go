package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/sync"

	"github.com/iommulab/iommulab/report"
)

// Options say what a Campaign runs.
type Options struct {
	Targets  []*Target
	Programs int    // generated ones for each target
	Seed     uint64 // what their seeds come from
	Jobs     int    // peers at one time; results do not depend on it
	// Open starts the other machine in the mode of a target.
	Open func(t *Target) (Peer, error)
	// Directed are programs to run first, by hand.
	Directed func(t *Target) ([]*Program, error)
	// Keep, if set, is given each program whose results differ, shrunken, and returns where it went.
	Keep func(p *Program, name string) (string, error)
	// Progress, if set, is told how many programs are behind, now and then.
	Progress func(done int)
}

// maxKept is how many programs with differences of one mode are shrunken.
const maxKept = 8

// Campaign runs programs on our machine and on another one, and reports what they showed. If ctx ends
// early, what was done by then is in the result, which is marked incomplete, and the context's cause is
// returned with it. Any other error means that a peer failed.
func Campaign(ctx context.Context, o Options) (*report.Conform, error) {
	began := time.Now()
	doc := report.NewConform()
	doc.Seed = o.Seed
	var done atomic.Int64
	stop := o.watch(&done)
	var err error
	var peers []string
	for _, t := range o.Targets {
		var m *report.ConformMode
		var peer string
		m, peer, err = o.target(ctx, t, &done)
		if m != nil {
			if name := strings.TrimSuffix(peer, " "+t.PeerMode()); !slices.Contains(peers, name) {
				peers = append(peers, name)
			}
			doc.Modes = append(doc.Modes, *m)
		}
		if err != nil {
			break
		}
	}
	stop()
	doc.Peer = strings.Join(peers, ", ")
	doc.Incomplete = err != nil
	doc.Wall.Seconds = time.Since(began).Seconds()
	doc.Wall.ProgramsPerMinute = 60 * float64(done.Load()) / max(doc.Wall.Seconds, 1e-9)
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return doc, err
}

// watch tells the progress until the function that it returns is called.
func (o *Options) watch(done *atomic.Int64) func() {
	if o.Progress == nil {
		return func() {}
	}
	var w sync.WaitGroup
	end := make(chan struct{})
	w.Add(1)
	go func() {
		defer w.Done()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				o.Progress(int(done.Load()))
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); w.Wait() }
}

// job is one program of a campaign.
type job struct {
	name string // for people
	prog *Program
	seed uint64 // of a generated program, made when it is its turn
	out  *Outcomes
}

// seedOf returns the seed of a generated program: never 0, and no two alike.
func seedOf(run uint64, i int) uint64 {
	x := run ^ uint64(i+1)*0x9e37_79b9_7f4a_7c15
	x = (x ^ x>>30) * 0xbf58_476d_1ce4_e5b9
	x = (x ^ x>>27) * 0x94d0_49bb_1331_11eb
	return max(x^x>>31, 1)
}

// target runs all programs of one target.
func (o *Options) target(ctx context.Context, t *Target, done *atomic.Int64) (*report.ConformMode, string, error) {
	var jobs []job
	if o.Directed != nil {
		list, err := o.Directed(t)
		if err != nil {
			return nil, "", err
		}
		for _, p := range list {
			jobs = append(jobs, job{name: p.File, prog: p})
		}
	}
	directed := len(jobs)
	for i := range o.Programs {
		s := seedOf(o.Seed, i)
		jobs = append(jobs, job{name: fmt.Sprintf("seed %#x", s), seed: s})
	}
	r := &rig{target: t, open: o.Open}
	defer r.close()
	if err := r.grow(min(max(o.Jobs, 1), max(len(jobs), 1))); err != nil {
		return nil, "", err
	}
	err := r.run(ctx, jobs, done)
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, "", err
	}
	m := summary(t, jobs, directed)
	m.NotExpressed, m.Notes = r.lost, r.notes
	if err == nil {
		m.Gone = gone(t, m)
		err = o.keep(r, jobs, m)
	}
	return m, r.name(), err
}

// summary counts what the jobs showed.
func summary(t *Target, jobs []job, directed int) *report.ConformMode {
	m := &report.ConformMode{IOMMU: t.IOMMU, Mode: t.Mode, Differences: []report.ConformDifference{},
		Deviations: []report.ConformDeviation{}, Gone: []string{}}
	programs, steps := make(map[string]int), make(map[string]int)
	for i := range jobs {
		j := &jobs[i]
		if j.out == nil {
			continue
		}
		if i < directed {
			m.Directed++
		} else {
			m.Programs++
			if j.prog.Legal {
				m.Legal++
			}
		}
		if j.out.EndedBy != "" {
			m.Ended++
		}
		m.Steps += j.out.Steps
		m.DMAs += j.out.Transfers
		m.DMAsDone += j.out.Done
		for id, n := range j.out.Seen {
			programs[id]++
			steps[id] += n
		}
		if lines := j.differs(); len(lines) > 0 {
			at := j.out.Failed
			if j.out.Same() {
				at = j.out.Steps // it should have shown by its end
			}
			m.Differences = append(m.Differences, report.ConformDifference{Program: j.name, Step: at, Differs: lines})
		}
	}
	for _, d := range t.deviations {
		if n := programs[d.ID]; n > 0 {
			m.Deviations = append(m.Deviations, report.ConformDeviation{ID: d.ID, Right: string(d.Right), Programs: n, Steps: steps[d.ID]})
		}
	}
	return m
}

// differs lists what is wrong with the outcomes of a program, for a report: differences that nothing
// explains, or deviations that it was written for and does not show.
func (j *job) differs() []string {
	var l []string
	for i := range j.out.Diffs {
		if i == 16 {
			return append(l, fmt.Sprintf("and %d more", len(j.out.Diffs)-i))
		}
		l = append(l, j.out.Diffs[i].String())
	}
	if len(l) > 0 {
		return l
	}
	for _, id := range j.prog.Shows {
		if j.out.Seen[id] == 0 {
			l = append(l, "does not show "+id)
		}
	}
	return l
}

// gone lists the deviations that programs can show and none has shown.
func gone(t *Target, m *report.ConformMode) []string {
	seen := make(map[string]bool)
	for i := range m.Deviations {
		seen[m.Deviations[i].ID] = true
	}
	list := []string{}
	for _, d := range t.deviations {
		if d.match != nil && !seen[d.ID] {
			list = append(list, d.ID)
		}
	}
	return list
}

// keep shrinks the programs that differ and keeps them.
func (o *Options) keep(r *rig, jobs []job, m *report.ConformMode) error {
	n := 0
	for i := range jobs {
		j := &jobs[i]
		if j.out == nil || len(j.differs()) == 0 {
			continue
		}
		d := &m.Differences[n]
		if n++; n > maxKept || j.out.Same() {
			continue
		}
		small, err := Shrink(r.runners[0], j.prog, ShrinkLimit)
		if err != nil {
			return err
		}
		d.Steps = len(small.Steps)
		if o.Keep != nil {
			if d.File, err = o.Keep(small, fmt.Sprintf("%s-%s-%d", m.IOMMU, m.Mode, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Replay runs one program and reports what it showed; trace is told every step.
func Replay(ctx context.Context, t *Target, p *Program, open func(t *Target) (Peer, error),
	trace func(i int, s *Step, diffs []Diff)) (*report.Conform, error) {
	began := time.Now()
	r := &rig{target: t, open: open}
	defer r.close()
	if err := r.grow(1); err != nil {
		return nil, err
	}
	r.runners[0].Trace = trace
	jobs := []job{{name: p.File, prog: p}}
	var done atomic.Int64
	if err := r.run(ctx, jobs, &done); err != nil {
		return nil, err
	}
	m := summary(t, jobs, 1)
	m.NotExpressed, m.Notes = r.lost, r.notes
	doc := report.NewConform()
	doc.Peer, doc.Seed, doc.Modes = strings.TrimSuffix(r.name(), " "+t.PeerMode()), p.Seed, []report.ConformMode{*m}
	doc.Wall.Seconds = time.Since(began).Seconds()
	doc.Wall.ProgramsPerMinute = 60 / max(doc.Wall.Seconds, 1e-9)
	return doc, nil
}
