package lab

import (
	"context"
	"runtime"
	"sync"

	"github.com/iommulab/iommulab/host/entry"
)

// Cell is one rewrite of the matrix.
type Cell struct {
	Kind     *Kind
	From, To Form
	Writer   entry.Writer
	Result   *Result // after Run
	Syncs    int
}

// MatrixOptions are what rewrites of the matrix may use: other entries share the ids, one id is free. Units can
// hold requests.
func MatrixOptions() *Options { return &Options{Stall: true, Means: entry.Means{Temp: matrixTemp}} }

// matrixTemp is an id that no form has, of 8 bits.
const matrixTemp = 0x77

// Cells returns the rewrites between all ordered pairs of forms of each kind by each writer: of the forms that
// stand for others, or of all of them.
func Cells(kinds []*Kind, writers []entry.Writer, all bool) (list []*Cell) {
	for _, k := range kinds {
		forms := k.Forms
		if !all {
			forms = forms[:k.Core]
		}
		for _, w := range writers {
			for _, from := range forms {
				for _, to := range forms {
					list = append(list, &Cell{Kind: k, From: from, To: to, Writer: w})
				}
			}
		}
	}
	return list
}

// Run explores a cell.
func (c *Cell) Run() error {
	o := MatrixOptions()
	p, err := c.Kind.Plan(o, c.Writer, c.From.Raw, c.To.Raw)
	if err != nil {
		return err
	}
	c.Syncs = p.Syncs
	c.Result, err = c.Kind.Explore(o, c.Writer, c.From.Raw, c.To.Raw)
	return err
}

// RunAll explores cells, jobs of them at a time (0: as many as there are processors), and calls each with the
// number of those that have ended. What is found does not depend on jobs. When ctx ends, or a cell fails, no
// further cell is begun; those without a Result were not explored.
func RunAll(ctx context.Context, cells []*Cell, jobs int, each func(done int)) error {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next, ended := make(chan *Cell), make(chan error)
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for c := range next {
				ended <- c.Run()
			}
		})
	}
	go func() {
		defer func() {
			close(next)
			workers.Wait()
			close(ended)
		}()
		for _, c := range cells {
			select {
			case next <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	done := 0
	for err := range ended {
		if err != nil {
			cancel(err)
		}
		done++
		each(done)
	}
	return context.Cause(ctx)
}
