package hitless

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// point is a moment of the host's program: the first done steps are over, and of the stores behind
// them, up to the next fence, those in early are visible already. Bit i of early is step done+i;
// bit 0 is never set, so that equal moments are equal values. In program order early is always 0.
type point struct {
	done  int32
	early uint32
}

// maxEarly is how many steps one fence may be away from the next for a weakly ordered program.
const maxEarly = 32

// over reports whether step i has taken effect.
func (p point) over(i int) bool {
	d := int32(i) - p.done
	return d < 0 || d < maxEarly && p.early>>uint(d)&1 != 0
}

// not reports whether p does not come before q, nor is it q: something has taken effect at p that
// has not at q.
func (p point) not(q point) bool {
	if p.done > q.done {
		// Of what is over at p and behind q.done, q must have all.
		d := uint(p.done - q.done)
		if d >= maxEarly || q.early&(1<<d-1) != 1<<d-1 {
			return true
		}
		return p.early&^(q.early>>d) != 0
	}
	d := uint(q.done - p.done)
	return d < maxEarly && p.early>>d&^q.early != 0
}

// join is the first moment at which all has taken effect that has at p or at q.
func (p point) join(q point) point {
	if p.done < q.done {
		p, q = q, p
	}
	if d := uint(p.done - q.done); d < maxEarly {
		p.early |= q.early >> d
	}
	for p.early&1 != 0 {
		p.done, p.early = p.done+1, p.early>>1
	}
	return p
}

// String writes the point as in "2" or "2 and 4, 5".
func (p point) String() string {
	s := fmt.Sprint(p.done)
	var early []string
	for e := p.early; e != 0; e &= e - 1 {
		early = append(early, fmt.Sprint(int(p.done)+bits.TrailingZeros32(e)+1))
	}
	if len(early) > 0 {
		s += " and " + strings.Join(early, ", ")
	}
	return s
}

// last is the moment after the last of n steps.
func last(n int) point { return point{done: int32(n)} }

// overlap reports whether two stores touch the same memory.
func overlap(a, b *Step) bool {
	return a.Addr < b.Addr+emu.PA(b.Size) && b.Addr < a.Addr+emu.PA(a.Size)
}

// follows reports whether step j, behind i in the program, takes effect behind it in every order:
// whatever the memory model, stores to one place stay in order, and nothing passes a fence or a wait.
func (sc *Scenario) follows(j, i int) bool {
	if !sc.Weak {
		return true
	}
	for k := i + 1; k <= j; k++ {
		if sc.Program[k].Fence {
			return true
		}
	}
	a, b := &sc.Program[i], &sc.Program[j]
	return a.Size == 0 || b.Size == 0 || overlap(a, b)
}

// points returns every moment that a legal order of the program passes through. What comes earlier
// in any order comes earlier in the list; of points as far from the beginning, that of the program's
// order comes first.
//
// Errors: ErrOrders.
func (sc *Scenario) points() ([]point, error) {
	n := len(sc.Program)
	for i := range n {
		if w := sc.window(i); w > maxEarly {
			return nil, fmt.Errorf("%w: %d stores from step %d on without a fence", ErrOrders, w, i+1)
		}
	}
	list := []point{{}}
	level := list
	for len(level) > 0 {
		var next []point
		seen := map[point]bool{}
		for _, p := range level {
			for j := int(p.done); j < n && j < int(p.done)+maxEarly; j++ {
				if p.over(j) {
					continue
				}
				ready := true
				for i := int(p.done); i < j && ready; i++ {
					ready = p.over(i) || !sc.follows(j, i)
				}
				if !ready {
					continue
				}
				q := point{p.done, p.early | 1<<uint(j-int(p.done))}.join(p)
				if !seen[q] {
					seen[q] = true
					next = append(next, q)
				}
			}
		}
		if list = append(list, next...); len(list) > maxPoints {
			return nil, fmt.Errorf("%w: more than %d moments", ErrOrders, maxPoints)
		}
		level = next
	}
	return list, nil
}

// window is how many stores from step i on may pass each other.
func (sc *Scenario) window(i int) int {
	n := 0
	if !sc.Weak {
		return n
	}
	for j := i; j < len(sc.Program) && sc.Program[j].Size != 0 && (j == i || !sc.Program[j].Fence); j++ {
		n++
	}
	return n
}
