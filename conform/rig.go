package conform

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/sync"
)

// rig is the machines of a target: as many pairs as run at one time.
type rig struct {
	target  *Target
	open    func(t *Target) (Peer, error)
	peers   []Peer
	runners []*Runner
	lost    []string // capabilities of the other unit that ours does not have
	notes   []string
}

// grow opens pairs until there are n. The first one says what the other unit can do.
func (r *rig) grow(n int) error {
	for len(r.runners) < n {
		p, err := r.open(r.target)
		if err != nil {
			return err
		}
		r.peers = append(r.peers, p)
		run, lost, err := Pair(r.target, p)
		if err != nil {
			return err
		}
		r.lost, r.notes = lost, nil
		if id, err := r.target.ReadIdentity(p); err == nil && id != r.target.Words {
			r.notes = []string{fmt.Sprintf("its identity registers are %#x, the known deviations are those of a unit with %#x", id, r.target.Words)}
		}
		r.runners = append(r.runners, run)
	}
	return nil
}

// Pair returns a runner for a peer and a model of ours with the capabilities of the peer, and what of
// them ours does not have.
func Pair(t *Target, p Peer) (*Runner, []string, error) {
	id, err := t.ReadIdentity(p)
	if err != nil {
		return nil, nil, err
	}
	m, lost, err := t.Model(id, p.Machine(), true)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: a unit of ours with its capabilities: %w", p.Name(), err)
	}
	if err := t.suits(id, p); err != nil {
		return nil, nil, err
	}
	return NewRunner(t, m, p), lost, nil
}

func (r *rig) name() string {
	if len(r.peers) == 0 {
		return ""
	}
	return r.peers[0].Name()
}

func (r *rig) close() {
	for _, p := range r.peers {
		_ = p.Close() // nothing is asked of it any more
	}
}

// run does the jobs, each on the next pair that is free. The results do not depend on which one that
// is: every program begins with a reset.
func (r *rig) run(ctx context.Context, jobs []job, done *atomic.Int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var w sync.WaitGroup
	for _, run := range r.runners {
		w.Add(1)
		go func() {
			defer w.Done()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) {
					return
				}
				if err := r.do(run, &jobs[i]); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		}()
	}
	// A peer that is waited for does not see that the context has ended: closing it ends the wait.
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			r.close()
		}
	})
	w.Wait()
	stop()
	return context.Cause(ctx)
}

func (r *rig) do(run *Runner, j *job) error {
	if j.prog == nil {
		j.prog = r.target.Generate(j.seed, run.theirs.Machine())
	}
	out, err := run.Run(j.prog)
	if err != nil {
		return fmt.Errorf("%s %s, program %s: %w", r.target.IOMMU, r.target.Mode, j.name, err)
	}
	j.out = out
	return nil
}
