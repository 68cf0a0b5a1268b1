package lab

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/entry"
)

// The operations of a Step.
const (
	OpStore      = "store"
	OpInvalidate = "invalidate"
	OpWait       = "wait"
)

// Step is one thing that software does.
type Step struct {
	Op     string
	Offset int       // of a store, bytes from the start of the entry
	Size   int       // 8 or 16
	Value  [2]uint64 // low word first
	Fence  bool      // earlier stores must be visible before this one
	Swap   bool      // a compare-and-swap: hardware may change flags of the entry at the same time
	What   string    // of an invalidation: the command
	Why    string
	State  []uint64 // what the entry holds afterwards
}

// Plan is what a writer does, on paper.
type Plan struct {
	entry.Report
	Steps []Step
	Syncs int // groups of invalidations that are waited for, of the rewrite itself
	// Transparent: neither end blocks requests.
	Transparent bool
}

// Plan lays out how w makes new of old.
//
// Errors: entry.ErrSize, entry.ErrIllegal.
func (k *Kind) Plan(o *Options, w entry.Writer, old, new []uint64) (*Plan, error) {
	for _, c := range []struct {
		name string
		raw  []uint64
	}{{"from", old}, {"to", new}} {
		if err := k.Check(o, c.raw); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	o = k.prepare(o, old, new)
	f := k.Format(o)
	t := &tape{f: f, words: k.row(o, old), drops: k.drops(o), old: old, new: new}
	rep, err := w.Write(k.target(o, t, t, 0), new)
	if err != nil {
		return nil, err
	}
	return &Plan{rep, t.steps, t.syncs, f.Present(old) && f.Present(new)}, nil
}

// target is an entry for a writer.
func (k *Kind) target(o *Options, cpu entry.CPU, inv entry.Invalidator, at emu.PA) *entry.Target {
	t := &entry.Target{CPU: cpu, Format: k.Format(o), At: at, Inv: inv, Means: func(_, _ []uint64) entry.Means { return o.Means }}
	if k.pte != nil {
		t.Copies = o.PTE.copies(at)
	}
	return t
}

// tape is an entry at address 0 and a unit without one: it takes down what is done to them.
type tape struct {
	f        *entry.Format
	words    []uint64
	old, new []uint64
	drops    drops
	steps    []Step
	fence    bool
	syncs    int
	cost     entry.Cost
}

func (t *tape) step(s Step) {
	s.State = slices.Clone(t.words)
	t.steps = append(t.steps, s)
}

// Load64 reads a word of the entry.
func (t *tape) Load64(pa emu.PA) uint64 { return t.words[pa/8] }

// Store64 is a step.
func (t *tape) Store64(pa emu.PA, v uint64) { t.store(pa, v) }

// Store128 is a step.
func (t *tape) Store128(pa emu.PA, lo, hi uint64) { t.store(pa, lo, hi) }

// CAS64 always succeeds: no hardware marks the entry.
func (t *tape) CAS64(pa emu.PA, _, v uint64) bool {
	t.store(pa, v)
	t.steps[len(t.steps)-1].Swap = true
	return true
}

// CAS128 always succeeds: nobody else is there.
func (t *tape) CAS128(pa emu.PA, _, v [2]uint64) bool {
	t.store(pa, v[0], v[1])
	return true
}

func (t *tape) store(pa emu.PA, words ...uint64) {
	before := slices.Clone(t.words)
	copy(t.words[pa/8:], words)
	s := Step{Op: OpStore, Offset: int(pa), Size: 8 * len(words), Fence: t.fence && len(t.steps) > 0, Why: t.why(before)}
	if n := int(pa) / 8; n >= t.f.Words {
		s.Why = fmt.Sprintf("the same for entry %d of the row", n)
	}
	copy(s.Value[:], words)
	t.fence = false
	t.step(s)
}

// Fence holds the next store back.
func (t *tape) Fence() { t.fence = true }

// Flush does nothing.
func (t *tape) Flush(emu.PA, int) {}

// Now is 0.
func (t *tape) Now() uint64 { return 0 }

// Cost counts.
func (t *tape) Cost() entry.Cost { return t.cost }

// SyncEntry is a group of invalidations and a wait.
func (t *tape) SyncEntry(entries [][]uint64) error {
	t.syncs++
	t.group(entry.OneWait, "no reader may combine what it read before with what it reads from here on", t.drops.entry(entries))
	return nil
}

// SyncAll is groups of invalidations, each waited for before the next.
func (t *tape) SyncAll(entries, made [][]uint64, how entry.Batching) error {
	t.syncs++
	t.group(how, "no cached copy of the entry and no reader has an older content", t.drops.entry(entries))
	t.group(how, "nothing is left that was translated by an older content", t.drops.made(made))
	t.group(how, "nor in the device, which may have asked until a moment ago", t.drops.device())
	return nil
}

// Install drops what was cached of the blocking form.
func (t *tape) Install(new []uint64, how entry.Batching) error {
	t.group(how, "the form that blocked may be cached", t.drops.install(new))
	return nil
}

func (t *tape) group(how entry.Batching, why string, list []Command) {
	for i, c := range list {
		t.step(Step{Op: OpInvalidate, What: c.Text, Why: why})
		t.cost.Invalidations++
		if i == len(list)-1 || how == entry.WaitEach {
			t.step(Step{Op: OpWait})
			t.cost.Waits++
		}
	}
	t.fence = false
}

// why says what a store is good for.
func (t *tape) why(before []uint64) string {
	f, now := t.f, t.words
	diff := make([]uint64, len(now))
	for i := range diff {
		diff[i] = before[i] ^ now[i]
	}
	fields := strings.Join(f.Fields(diff[:f.Words]), ", ")
	was, is := f.Present(before), f.Present(now)
	switch {
	case fields == "":
		return "changes nothing"
	case was && !is:
		return "blocks: from here on requests fault (" + fields + ")"
	case !was && is:
		return "makes the entry present (" + fields + ")"
	case !is:
		return "fills " + fields + " while the entry blocks"
	case f.Same(before, now) && t.done():
		return "cleans up " + fields + ", which hardware does not look at"
	case f.Same(before, now):
		return "fills " + fields + ", which hardware does not look at yet"
	case f.Same(now, t.new):
		return "switches " + fields + ": from here on the content is the new one"
	}
	return "changes " + fields
}

// done reports whether hardware does what the new content says.
func (t *tape) done() bool { return t.f.Same(t.words, t.new) }

// Hex writes an entry as its bytes lie in memory.
func Hex(raw []uint64) string {
	b := make([]byte, 0, len(raw)*8)
	for _, w := range raw {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return hex.EncodeToString(b)
}
