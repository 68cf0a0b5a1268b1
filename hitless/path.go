package hitless

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// path is what happened on a way: a chain of lines, the last one first, so that ways share what they have in
// common. It is written out only for those who read it.
type path struct {
	before *path
	lines  int // with this one
	at     point
	op     emu.Op
	cache  emu.CacheID
	size   uint8
	step   emu.Step
	addr   emu.PA
	val    [4]uint64
	words  int    // of val that are told
	what   string // instead of val, if it is set
}

// len returns the number of lines.
func (p *path) len() int {
	if p == nil {
		return 0
	}
	return p.lines
}

// note adds a line about the last question of a walk; what, if it is set, is told instead of words of val.
func (w *walk) note(val [4]uint64, words int, what string) {
	a := &w.t.Act
	w.path = &path{
		before: w.path, lines: w.path.len() + 1, at: w.at, op: a.Op, cache: a.Cache, size: a.Size, step: a.Step, addr: a.Addr,
		val: val, words: words, what: what,
	}
}

// text is one line.
func (p *path) text(x *explorer) string {
	what, name := p.what, x.name(p.step)
	if what == "" {
		what = hex(p.val[:p.words])
	}
	text := ""
	switch p.op {
	case emu.OpFetch:
		text = fmt.Sprintf("fetch %#x/%d = %s", uint64(p.addr), p.size, what)
	case emu.OpAtomicOr:
		text = fmt.Sprintf("set bits in %#x/%d = %s", uint64(p.addr), p.size, what)
	case emu.OpHold:
		text = "is held until software lets it go"
	case emu.OpFill:
		text = fmt.Sprintf("fills cache %d only now", p.cache)
	case emu.OpOverlap:
		text = fmt.Sprintf("cache %d holds a larger one, too: %s", p.cache, what)
		if p.cache == emu.CacheWalk || p.cache == emu.CacheWalk2 {
			text = fmt.Sprintf("cache %d holds a table of it, too: %s", p.cache, what)
		}
	case emu.OpProbe:
		text = fmt.Sprintf("cache %d holds %s", p.cache, what)
	default:
		text = fmt.Sprintf("mark %#x: %s", uint64(p.addr), what)
	}
	return fmt.Sprintf("after step %v: %s (%s)", p.at, text, name)
}

// tell writes a path out, the first line first.
func (x *explorer) tell(p *path) []string {
	list := make([]string, p.len())
	for ; p != nil; p = p.before {
		list[p.lines-1] = p.text(x)
	}
	return list
}
