package emutest

import (
	"math/bits"
	"math/rand/v2"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// Crew runs several transactions and one engine in a random order, with the rules that every executor
// follows: an invalidation marks what it concerns, a marked transaction fills nothing, a drain waits for
// the marked ones.
type Crew struct {
	Rng    *rand.Rand
	Active []*emu.Txn
	Engine *emu.Txn
	rig    *Rig
}

// Crew returns one without transactions.
func (r *Rig) Crew(seed uint64) *Crew { return &Crew{rig: r, Rng: rand.New(rand.NewPCG(seed, 1))} }

// Start begins a request.
func (c *Crew) Start(q emu.Request) *emu.Txn {
	t := new(emu.Txn)
	c.rig.Unit.Start(t, &q)
	c.Active = append(c.Active, t)
	return t
}

// StartEngine begins the job of the one engine that w wakes.
func (c *Crew) StartEngine(w emu.Wake) *emu.Txn {
	require.Equal(c.rig.T, 1, bits.OnesCount8(uint8(w)), "engines woken: %#x", w)
	c.Engine = new(emu.Txn)
	job := emu.Engine(bits.TrailingZeros8(uint8(w)))
	c.rig.Unit.Start(c.Engine, &emu.Request{Type: emu.Job, Job: job, PASID: emu.NoPASID})
	return c.Engine
}

// Step lets t ask a question, answers it and reports whether t has ended.
func (c *Crew) Step(t *emu.Txn) (ended bool) {
	c.rig.step(t)
	if t.Act.Op == emu.OpInvalidate {
		for _, o := range c.Active {
			o.Marked = o.Marked || o != t && o.Matches(&t.Act.Sel)
		}
	}
	return t.Act.Op == emu.OpDone
}

// Blocked reports whether the engine waits for marked transactions.
func (c *Crew) Blocked() bool {
	if c.Engine.Act.Op != emu.OpDrain {
		return false
	}
	for _, o := range c.Active {
		if o.Marked {
			return true
		}
	}
	return false
}

// Turn lets one randomly chosen transaction take one step; ended is told of those that end.
func (c *Crew) Turn(ended func(*emu.Txn)) {
	if i := c.Rng.IntN(len(c.Active) + 1); i < len(c.Active) {
		if t := c.Active[i]; c.Step(t) {
			c.Active = append(c.Active[:i], c.Active[i+1:]...)
			ended(t)
		}
		return
	}
	if c.Engine != nil && !c.Blocked() && c.Step(c.Engine) {
		c.Engine = nil
	}
}

// RunEngine lets the engine go on until it has ended or waits for marked transactions.
func (c *Crew) RunEngine() {
	for c.Engine != nil && !c.Blocked() {
		if c.Step(c.Engine) {
			c.Engine = nil
		}
	}
}

// Rewrite is a change of tables while requests run.
type Rewrite struct {
	Request  emu.Request
	Old, New emu.PA          // where it is translated to before and after; the payload of an interrupt
	Turns    int             // steps of the requests before the change, at most
	Change   func()          // changes the tables and queues what they need invalidated, and a wait
	Bell     func() emu.Wake // tells the unit of what is queued
	Complete func() bool     // the wait has signalled
}

// NothingOld lets requests run, makes the change a random number of steps later, and requires that what
// starts after the wait sees the new translation and all else that or the old one.
func (c *Crew) NothingOld(w Rewrite) {
	t := c.rig.T
	either := func(x *emu.Txn) {
		require.NotEqual(t, emu.Blocked, x.Res.Status, "%#x", x.Res.Fault.Code)
		require.Contains(t, []emu.PA{w.Old, w.New}, outcome(x))
	}
	for range 6 {
		c.Start(w.Request)
	}
	for range c.Rng.IntN(w.Turns) {
		c.Turn(either)
	}
	w.Change()
	c.StartEngine(w.Bell())
	for !w.Complete() {
		if c.Rng.IntN(20) == 0 && len(c.Active) < 8 {
			c.Start(w.Request)
		}
		c.Turn(either)
	}
	for range 6 {
		late := c.Start(w.Request)
		for late.Act.Op != emu.OpDone {
			c.Turn(func(x *emu.Txn) {
				if x == late {
					require.Equal(t, w.New, outcome(x))
				}
			})
		}
	}
}

// outcome is where a request was translated to, or what an interrupt became.
func outcome(t *emu.Txn) emu.PA {
	if t.Res.Status == emu.Interrupt {
		return emu.PA(t.Res.Data)
	}
	return t.Res.PA
}
