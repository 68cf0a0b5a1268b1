package lab

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host/entry"
)

// Why a mistake may do no harm. A plan is hitless by the obligations below, and a mistake that leaves them as
// they are does none: the test holds that against what is found, in both directions. Each such mistake falls
// into the first of these classes that fits.
const (
	// Stores that fill what hardware does not look at yet, or clean up what it does not look at any more,
	// next to each other: by obligation 1 nobody sees a difference.
	unseen = "stores of what hardware does not look at, in another order"
	// A run is what lies between two stores; memory stays as it is. Who is under way when an invalidation of
	// it takes effect is marked: it fills nothing any more, and ends before the last wait of the run does.
	// Who begins later finds nothing of what was dropped. So waits within the run change nothing.
	oneRun = "waits within a run, but for the last one"
	// Within a run, translations are dropped behind the entry from which requests make them (obligation 3).
	// Translations of an id that no cached entry has any more are not made again, and for two
	// invalidations that are both of entries, or both of translations, the order is nobody's concern.
	anyOrder = "order of invalidations within a run, where no translation could be made again"
	// What caches hold at all of the command's kind is dropped by others of the same run; or they hold
	// nothing of it. Who is under way is held up by those others as well.
	othersDrop = "others drop all that the command would"
	// Between two stores somebody has to be waited for who has read a part of the entry (obligation 2): each
	// invalidation marks him, since he has not settled his id. The copies that are dropped only later then are
	// whole ones of a declared content, which requests may see until the end.
	anotherHolds = "another invalidation holds readers back, and what is dropped later is whole"
)

// obligations are what makes a plan hitless:
//
//  1. The entry goes through the declared contents in their order, and ends with the new one.
//  2. Where there is a wait between two stores to different units, one of which changes what hardware sees, while
//     hardware that sees the one looks at what the other changes, an invalidation behind the first has taken
//     effect before it: readers who have read a part of the entry are held up. Where caches keep by device what
//     lies below the entry, it is the invalidation of the entry, whatever the units.
//  3. Every content that caches may hold of the entry is dropped behind the store that replaced it, with
//     what is cached by device below it in this order; and behind that what was translated by it, unless the
//     new content leads to the same. If the new content blocks, nobody gets at what lies below the
//     entry once that is dropped. All this is waited for.
type obligations struct {
	r *run
	// For each content that is given up:
	gone    [][]uint64
	entries [][]string       // the commands that drop the entry, and
	made    [][]hitless.Copy // what caches can hold that was translated by it
	present bool             // so is the new content
	below   bool             // caches keep by device what lies below the contents
}

// obligations reads them from the plan, and from what caches can hold while it is carried out.
func (p planned) obligations(r *run) (*obligations, error) {
	o := &obligations{r: r, present: r.f.Present(p.to.Raw)}
	for _, a := range r.report.States {
		for _, b := range r.report.States {
			if r.f.Below == nil {
				continue
			}
			if c := r.f.Below(a, b); c != nil && !r.f.Same(c, a) && !r.f.Same(c, b) {
				o.below = true
			}
		}
	}
	var held []hitless.Copy
	err := r.told(func(_ *hitless.Scenario, rep *hitless.Report) {
		held = slices.AppendSeq(held, func(yield func(hitless.Copy) bool) {
			for _, c := range rep.Held {
				if !slices.ContainsFunc(rep.HeldNew, func(n hitless.Copy) bool { return c.Cache == n.Cache && c.Key == n.Key && c.Val == n.Val }) && !yield(c) {
					return
				}
			}
		})
	})
	if err != nil {
		return nil, err
	}
	plan, err := r.f.Plan(p.from.Raw, p.to.Raw, entry.Means{})
	if err == nil && plan.Verdict == entry.VerdictDisruptive {
		plan, err = r.f.Plan(p.from.Raw, p.to.Raw, r.o.Means)
	}
	if err != nil {
		return nil, err
	}
	d := r.k.drops(r.o)
	texts := func(list []Command) (t []string) {
		for _, c := range list {
			t = append(t, c.Text)
		}
		return t
	}
	if old := p.from.Raw; !r.f.Present(old) && (r.f.Present(p.to.Raw) || !r.f.Handshake) {
		o.entries, o.made, o.gone = append(o.entries, texts(d.install(p.to.Raw))), append(o.made, nil), append(o.gone, old)
	}
	for _, s := range plan.Steps {
		for _, c := range append(slices.Clip(s.Entries), s.Made...) {
			o.entries = append(o.entries, texts(d.entry([][]uint64{c})))
			var made []hitless.Copy
			if s.Op == entry.OpSyncAll && slices.ContainsFunc(s.Made, func(m []uint64) bool { return slices.Equal(m, c) }) {
				made = r.droppedBy(held, d.made([][]uint64{c}))
			}
			o.made = append(o.made, made)
			o.gone = append(o.gone, c)
		}
	}
	return o, nil
}

// replaced returns the last store before which the entry translates as c, or -1: it never did.
func (o *obligations) replaced(steps []hitless.Step, c []uint64) int {
	at := -1
	now := slices.Clone(o.r.report.States[0])
	for i := range steps {
		if isStore(&steps[i]) && o.r.f.Same(now, c) {
			at = i
		}
		o.r.apply(now, &steps[i])
	}
	return at
}

// apply makes a store to raw.
func (r *run) apply(raw []uint64, s *hitless.Step) {
	for w := range int(s.Size) / 8 {
		if s.Addr >= r.b.at+emu.PA(len(raw)*8) {
			continue // a further entry of a row
		}
		raw[int(s.Addr-r.b.at)/8+w] = s.Data[w]
	}
}

// contents returns what the entry holds, as requests see it, one after the other.
func (o *obligations) contents(steps []hitless.Step) (list [][]uint64) {
	now := slices.Clone(o.r.report.States[0])
	list = append(list, slices.Clone(now))
	for i := range steps {
		o.r.apply(now, &steps[i])
		if !o.same(now, list[len(list)-1]) {
			list = append(list, slices.Clone(now))
		}
	}
	return list
}

// attributes are fields that say how hardware reads tables and CDs, and how it merges events: no request ends
// otherwise for them.
var attributes = map[string][]reg.Bits{
	"ste": {spec.SteS1CIR, spec.SteS1COR, spec.SteS1CSH, spec.SteMEV, spec.SteS2IR0, spec.SteS2OR0, spec.SteS2SH0},
	"cd":  {spec.CdIR0, spec.CdOR0, spec.CdSH0},
}

// seen returns raw without its attributes.
func (o *obligations) seen(raw []uint64) []uint64 {
	raw = slices.Clone(raw)
	for _, b := range attributes[o.r.k.Name] {
		b.Set(raw, 0)
	}
	return raw
}

// same reports whether requests end alike under two contents.
func (o *obligations) same(a, b []uint64) bool { return o.r.f.Same(o.seen(a), o.seen(b)) }

// broken says which obligation a program breaks, or "".
func (o *obligations) broken(steps []hitless.Step) string {
	if !slices.EqualFunc(o.contents(steps), o.contents(o.r.steps), o.same) {
		return "1"
	}
	for pair := range o.separated(o.r.steps) {
		if !o.separated(steps)[pair] {
			return fmt.Sprintf("2: %s and %s", pair[0], pair[1])
		}
	}
	if text := o.left(steps); text != "" {
		return "3: " + text
	}
	for i := range o.entries {
		behind := o.replaced(steps, o.gone[i])
		last, reached := behind, behind
		for n, text := range o.entries[i] {
			last = dropped(steps, text, last)
			if last < 0 {
				return "3: " + text
			}
			if n == 0 || o.present {
				reached = last
			}
		}
		for j := range o.made[i] {
			if !droppedBehind(steps, reached, &o.made[i][j]) {
				return fmt.Sprintf("3: cache %d, %v", o.made[i][j].Cache, o.made[i][j].Key)
			}
		}
	}
	return ""
}

// left returns a command that drops the entry and is missing behind a store that replaces a content: no copy must
// be left, not even of one that requests do not tell from the new one.
func (o *obligations) left(steps []hitless.Step) string {
	states := o.r.report.States
	now, drops := slices.Clone(states[0]), o.r.k.drops(o.r.o)
	for i := range steps {
		before := slices.Clone(now)
		o.r.apply(now, &steps[i])
		if o.r.f.Same(before, now) || !o.r.f.Present(before) || o.r.f.Same(before, states[len(states)-1]) {
			continue
		}
		for _, c := range drops.entry([][]uint64{before}) {
			if dropped(steps, c.Text, i) < 0 {
				return c.Text
			}
		}
	}
	return ""
}

// separated returns the pairs of stores that obligation 2 is about. A store that changes what hardware
// sees is named by its number among those, any other one by itself.
func (o *obligations) separated(steps []hitless.Step) map[[2]string]bool {
	now, turns, names := slices.Clone(o.r.report.States[0]), 0, make([]string, len(steps))
	befores, afters := make([][]uint64, len(steps)), make([][]uint64, len(steps))
	for i := range steps {
		if !isStore(&steps[i]) {
			continue
		}
		before := slices.Clone(now)
		o.r.apply(now, &steps[i])
		befores[i], afters[i] = o.seen(before), o.seen(now)
		switch {
		case !o.same(before, now):
			turns++
			names[i] = fmt.Sprint("turn ", turns)
		case !slices.Equal(o.seen(before), o.seen(now)):
			names[i] = key(&steps[i])
		}
	}
	seen := func(name string) bool { return strings.HasPrefix(name, "turn") }
	// meets reports whether hardware that has read a part of the entry as store i found it, and the rest as store
	// j leaves it, looks at what the one of them changes that nobody sees.
	meets := func(i, j int) bool {
		raw, at := befores[i], j
		if !seen(names[i]) {
			raw, at = afters[j], i
		}
		used := make([]uint64, len(raw))
		o.r.f.Used(raw, used)
		for w := range used {
			if used[w]&(befores[at][w]^afters[at][w]) != 0 {
				return true
			}
		}
		return seen(names[i]) && seen(names[j])
	}
	out := map[[2]string]bool{}
	for i := range steps {
		if names[i] == "" {
			continue
		}
		drop, waited := false, false
		for j := i + 1; j < len(steps); j++ {
			switch s := &steps[j]; {
			case isDrop(s):
				drop = drop || !o.below || o.ofEntry(s.Label)
			case isWait(s):
				waited = waited || drop
			case waited && names[j] != "" && (o.below && seen(names[i]) && seen(names[j]) ||
				(seen(names[i]) || seen(names[j])) && !o.r.f.Whole && o.unit(&steps[i]) != o.unit(s) && meets(i, j)):
				out[[2]string{names[i], names[j]}] = true
			}
		}
	}
	return out
}

// ofEntry reports whether a command drops the entry.
func (o *obligations) ofEntry(text string) bool {
	return slices.ContainsFunc(o.entries, func(list []string) bool { return slices.Contains(list, text) })
}

// unit is which atomic unit of the entry a store is to.
func (o *obligations) unit(s *hitless.Step) int { return int(s.Addr-o.r.b.at) / o.r.f.Unit }

// key names a store.
func key(s *hitless.Step) string { return fmt.Sprint(s.Addr, s.Size, s.Data) }

// dropped returns the first invalidation called text behind step i that is waited for, or -1.
func dropped(steps []hitless.Step, text string, i int) int {
	for at := i + 1; at < len(steps); at++ {
		if isDrop(&steps[at]) && steps[at].Label == text && slices.ContainsFunc(steps[at:], func(s hitless.Step) bool { return isWait(&s) }) {
			return at
		}
	}
	return -1
}

// droppedBehind reports whether something behind step i that is waited for drops a copy.
func droppedBehind(steps []hitless.Step, i int, c *hitless.Copy) bool {
	for at := i + 1; at < len(steps); at++ {
		if isDrop(&steps[at]) && slices.ContainsFunc(steps[at].Invalidate, func(s emu.Selector) bool { return c.DroppedBy(&s) }) {
			return slices.ContainsFunc(steps[at:], func(s hitless.Step) bool { return isWait(&s) })
		}
	}
	return false
}

// droppedBy returns those of list that some of the commands drop.
func (r *run) droppedBy(list []hitless.Copy, commands []Command) (out []hitless.Copy) {
	for _, c := range list {
		for _, s := range r.steps {
			if slices.ContainsFunc(commands, func(c Command) bool { return c.Text == s.Label }) &&
				slices.ContainsFunc(s.Invalidate, func(s emu.Selector) bool { return c.DroppedBy(&s) }) {
				out = append(out, c)
				break
			}
		}
	}
	return out
}

// survivor is a mistake that does no harm.
type survivor struct{ name, class string }

// mutate makes every mistake in the plan. What is found has to be what the obligations say.
func (p planned) mutate() (n int, out []survivor, err error) {
	r, err := p.k.start(MatrixOptions(), entry.Hitless, p.from.Raw, p.to.Raw, 0)
	if err != nil {
		return 0, nil, err
	}
	o, err := p.obligations(r)
	if err != nil {
		return 0, nil, err
	}
	if b := o.broken(r.steps); b != "" {
		return 0, nil, fmt.Errorf("the plan itself breaks obligation %s", b)
	}
	for _, m := range mutants(r.steps) {
		n++
		ok, err := r.survives(&m)
		if err != nil {
			return n, out, err
		}
		broken := ""
		for _, w := range m.ways {
			broken = cmp.Or(broken, o.broken(w))
		}
		switch {
		case ok && broken != "":
			return n, out, fmt.Errorf("%s: does no harm, though it breaks obligation %s", m.name, broken)
		case !ok && broken == "":
			return n, out, fmt.Errorf("%s: does harm, though it breaks no obligation", m.name)
		case ok:
			out = append(out, survivor{m.name, m.class()})
		}
	}
	return n, out, nil
}

// class says why a mistake does no harm.
func (m *mutant) class() string {
	whole, got := runs(m.whole), runs(m.ways[0])
	sorted := func(list [][]string) (out [][]string) {
		for _, l := range list {
			out = append(out, slices.Sorted(slices.Values(l)))
		}
		return out
	}
	switch {
	case !slices.Equal(stores(m.whole), stores(m.ways[0])):
		return unseen
	case reflect.DeepEqual(whole, got):
		return oneRun
	case reflect.DeepEqual(sorted(whole), sorted(got)):
		return anyOrder
	case m.j < 0:
		return othersDrop
	}
	return anotherHolds
}

// runs returns what is invalidated between each two stores.
func runs(steps []hitless.Step) (list [][]string) {
	list = append(list, nil)
	for i := range steps {
		switch s := &steps[i]; {
		case isStore(s):
			list = append(list, nil)
		case isDrop(s):
			list[len(list)-1] = append(list[len(list)-1], s.Label)
		}
	}
	return list
}

func stores(steps []hitless.Step) (list []string) {
	for i := range steps {
		if isStore(&steps[i]) {
			list = append(list, key(&steps[i]))
		}
	}
	return list
}
