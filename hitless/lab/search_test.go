package lab

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/hitless/search"
	"github.com/iommulab/iommulab/host/entry"
)

func TestTry(t *testing.T) {
	k := find(t, os.Getenv("I"), os.Getenv("K"))
	forms := k.Forms[:k.Core]
	var sum, max int
	for _, w := range entry.Writers() {
		for _, from := range forms {
			for _, to := range forms {
				r, err := k.start(MatrixOptions(), w, from.Raw, to.Raw, 0)
				require.NoError(t, err)
				sc := &hitless.Scenario{Unit: r.b.unit, Memory: r.b.mem, Program: r.steps, Request: r.b.requests[0], Weak: k.Weak}
				now := time.Now()
				got, err := search.Explore(sc, search.Bounds{InFlight: 2, States: 5e6})
				if err != nil {
					fmt.Println("!!!", w.Name(), from.Name, to.Name, err, time.Since(now))
					continue
				}
				sum += got.States
				if got.States > max {
					max = got.States
					fmt.Println(w.Name(), from.Name, to.Name, got.States, time.Since(now))
				}
				rep, err := hitless.Explore(sc)
				require.NoError(t, err)
				for _, d := range search.Missing(got, rep) {
					fmt.Println("UNSOUND", w.Name(), from.Name, to.Name, d.What)
					for _, l := range d.Path { fmt.Println("      ", l) }
				}
				for _, d := range search.Missing(rep, got) {
					fmt.Println("beyond", w.Name(), from.Name, to.Name, d.What)
					if os.Getenv("P") != "" {
					for _, l := range d.Path { fmt.Println("      ", l) }
					}
				}
				a, b := &Result{Report: r.report, Found: Hitless}, &Result{Report: r.report, Found: Hitless}
				r.judge(a, sc, got)
				r.judge(b, sc, rep)
				if a.Found != b.Found {
					fmt.Println("VERDICT", w.Name(), from.Name, to.Name, a.Found, b.Found)
				}
			}
		}
	}
	fmt.Println(sum, max)
}
