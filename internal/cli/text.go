package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// grid is a text of aligned columns. It is collected in memory and written at once, so that there is
// one place where writing can fail.
type grid struct {
	b strings.Builder
	t *tabwriter.Writer
}

// newGrid returns a grid with columns aligned to the left, or to the right with tabwriter.AlignRight.
func newGrid(flags uint) *grid {
	g := &grid{}
	g.t = tabwriter.NewWriter(&g.b, 0, 8, 2, ' ', flags)
	return g
}

// row adds a line; cells are separated by tabs.
func (g *grid) row(format string, args ...any) {
	_, _ = fmt.Fprintf(g.t, format+"\n", args...) // a Builder takes everything
}

// writeTo writes the grid.
func (g *grid) writeTo(w io.Writer) error {
	if err := g.t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, g.b.String())
	return err
}

// talk writes to stderr, whose failure there is nobody to tell.
func talk(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}
