package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/sync"

	"github.com/iommulab/iommulab/report"
)

// Run replays the trace through every cell and returns the comparison. If ctx ends early, what was
// done by then is in it, it and the runs that had not ended are marked incomplete, and the context's
// cause is returned with it.
func Run(ctx context.Context, opt Options) (*report.Replay, error) {
	if err := opt.fill(); err != nil {
		return nil, err
	}
	cells, err := opt.cells()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	doc := report.NewReplay()
	if doc.Trace, opt.accesses, err = describe(&opt.Input); err != nil {
		return nil, err
	}
	if opt.accesses == 0 {
		doc.Notes = append(doc.Notes, "the trace has no accesses: only its maps and unmaps were replayed, and no entry was rewritten")
	}
	runs, err := runCells(ctx, &opt, cells)
	var requests uint64
	doc.Incomplete = slices.Contains(runs, nil)
	for _, r := range runs {
		if r != nil {
			doc.Runs = append(doc.Runs, *r)
			requests += r.Requests
			doc.Incomplete = doc.Incomplete || r.Incomplete
		}
	}
	doc.Wall.Seconds = time.Since(began).Seconds()
	doc.Wall.RequestsPerSecond = float64(requests) / max(doc.Wall.Seconds, 1e-9)
	return doc, err
}

// runCells runs every cell, opt.Jobs at one time, and returns what they reported in the order of
// cells.
func runCells(ctx context.Context, opt *Options, cells []cellSpec) ([]*report.Run, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := newBoard(cells, opt.Requests)
	runs := make([]*report.Run, len(cells))
	errs := make([]error, len(cells))

	// The gate closes when the run is cancelled: no further cell begins, and closing waits for those
	// that have.
	var gate sync.Gate
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(opt.Jobs, len(cells)) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := range next {
				if !gate.Enter() {
					continue
				}
				if runs[i], errs[i] = runCell(ctx, opt, cells[i], b, i); errs[i] != nil {
					cancel(errs[i])
				}
				gate.Leave()
			}
		}()
	}
	stop := context.AfterFunc(ctx, gate.Close)
	finished := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Add(1)
	go func() {
		defer watcher.Done()
		b.watch(opt.Progress, finished)
	}()
	for i := range cells {
		next <- i
	}
	close(next)
	workers.Wait()
	stop()
	close(finished)
	watcher.Wait()

	for i, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			s := cells[i]
			return runs, fmt.Errorf("%s %s %s %s: %w", s.arch.name, s.mode.name, s.writer.Name(), s.to, err)
		}
	}
	return runs, context.Cause(ctx)
}

func runCell(ctx context.Context, opt *Options, s cellSpec, b *board, i int) (*report.Run, error) {
	c, err := newCell(ctx, opt, s)
	if err != nil {
		return nil, err
	}
	c.publish = func(m moving) { b.lines[i].slot.Store(m) }
	err = c.run()
	r := c.result()
	switch {
	case err == nil:
		c.tell(true)
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		r.Incomplete = true // what was done by then
	default:
		return nil, err
	}
	return r, nil
}

// tell publishes the state of the cell.
func (c *cell) tell(done bool) {
	c.publish(moving{Requests: c.count.Requests, Rewrites: c.count.Rewrites.Count, SimCycles: c.cpu.Now(), Done: done})
}

// watchInterval is how often progress is looked at.
const watchInterval = 100 * time.Millisecond

// watch hands snapshots of the board to f until finished is closed.
func (b *board) watch(f func([]Progress), finished <-chan struct{}) {
	if f == nil {
		return
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f(b.snapshot())
		case <-finished:
			f(b.snapshot())
			return
		}
	}
}
