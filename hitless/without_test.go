package hitless

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// without returns a program without one of its invalidations, counted over all selectors of all waits; left is
// nil if it has not so many.
func without(program []Step, n int) (p []Step, left *emu.Selector) {
	for _, s := range program {
		if s.Invalidate != nil {
			list := slices.Clone(s.Invalidate)
			if n >= 0 && n < len(list) {
				left = &s.Invalidate[n]
				list = slices.Delete(list, n, n+1)
			}
			n -= len(s.Invalidate)
			if len(list) == 0 {
				continue
			}
			s.Invalidate = list
		}
		p = append(p, s)
	}
	return p, left
}
