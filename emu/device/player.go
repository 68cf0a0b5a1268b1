package device

import (
	"encoding/binary"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// Bus is where a device puts its requests. *timing.Machine is one.
type Bus interface {
	Now() uint64
	AddClient(c timing.Client) int
	Issue(dev, unit int, tag uint32, q *emu.Request) bool
	Timer(dev int, at uint64, arg uint32)
}

// Config configures a Player.
type Config struct {
	Unit        int    // number of the unit the device is behind
	Outstanding int    // requests in flight, at least 1
	Interval    uint64 // least cycles between two issues; 0 for none
}

// retry is after how many cycles a device without requests in flight tries a full unit again.
const retry = 64

// Player is a DMA engine that keeps up to Outstanding requests of its source in flight.
type Player struct {
	cfg    Config
	bus    Bus
	dev    int
	source Source
	done   func(c *timing.Completion)

	flying []emu.Request // by tag
	used   []bool
	free   []uint32

	messages []Message // interrupts that wait, oldest first

	held   emu.Request // taken from the source, its time not yet come or the ingress full
	heldAt uint64
	holds  bool
	armed  bool   // a timer is set
	timer  uint64 // when the earliest comes
	next   uint64 // earliest cycle of the next issue
	count  uint64 // requests completed
}

// NewPlayer attaches a player to bus. done, if not nil, sees every completion. The player starts
// with the first Kick.
func NewPlayer(bus Bus, cfg Config, source Source, done func(c *timing.Completion)) *Player {
	n := max(cfg.Outstanding, 1)
	p := &Player{cfg: cfg, bus: bus, source: source, done: done, flying: make([]emu.Request, n), used: make([]bool, n)}
	for i := n - 1; i >= 0; i-- {
		p.free = append(p.free, uint32(i))
	}
	p.dev = bus.AddClient(p)
	return p
}

// InFlight is the number of requests issued and not completed.
func (p *Player) InFlight() int { return len(p.flying) - len(p.free) }

// Completed is the number of requests completed.
func (p *Player) Completed() uint64 { return p.count }

// Idle reports that nothing is in flight and nothing is held back.
func (p *Player) Idle() bool { return p.InFlight() == 0 && !p.holds && len(p.messages) == 0 }

// Each calls f for every request that has left the source and is not completed. Messages that wait are
// not among them.
func (p *Player) Each(f func(q *emu.Request)) {
	for i := range p.flying {
		if p.used[i] {
			f(&p.flying[i])
		}
	}
	if p.holds {
		f(&p.held)
	}
}

// Kick issues what may be issued at the present cycle. Call it when the source has got something.
func (p *Player) Kick() {
	now := p.bus.Now()
	for len(p.free) > 0 {
		if len(p.messages) > 0 {
			if p.next > now {
				p.arm(p.next)
				return
			}
			q := p.messages[0].Request()
			if !p.issue(now, &q) {
				return
			}
			p.messages = slices.Delete(p.messages, 0, 1)
			continue
		}
		if !p.holds {
			if p.heldAt, p.holds = p.source.Next(&p.held); !p.holds {
				return
			}
		}
		if at := max(p.heldAt, p.next); at > now {
			p.arm(at)
			return
		}
		if !p.issue(now, &p.held) {
			return
		}
		p.holds = false
	}
}

// issue gives q to the unit under a free tag.
func (p *Player) issue(now uint64, q *emu.Request) bool {
	tag := p.free[len(p.free)-1]
	if !p.bus.Issue(p.dev, p.cfg.Unit, tag, q) {
		// The unit is full. Own completions kick; without any, look again later.
		if p.InFlight() == 0 {
			p.arm(now + retry)
		}
		return false
	}
	p.free = p.free[:len(p.free)-1]
	p.flying[tag], p.used[tag] = *q, true
	p.next = now + p.cfg.Interval
	return true
}

func (p *Player) arm(at uint64) {
	if !p.armed || at < p.timer {
		p.armed, p.timer = true, at
		p.bus.Timer(p.dev, at, 0)
	}
}

// Timer implements timing.Client.
func (p *Player) Timer(uint32) {
	p.armed = false
	p.Kick()
}

// Complete implements timing.Client.
func (p *Player) Complete(c *timing.Completion) {
	p.used[c.Tag] = false
	p.free = append(p.free, c.Tag)
	p.count++
	if p.done != nil {
		p.done(c)
	}
	p.Kick()
}

// Save implements timing.Client. A source that is a Queue is saved too; any other has to be put
// back by who restores.
func (p *Player) Save(e *emu.Encoder) {
	e.Section("device.Player", 2)
	e.U64(uint64(len(p.flying)))
	e.Struct(p.flying)
	e.U64(uint64(len(p.free)))
	e.Struct(p.free)
	e.Struct(&p.held)
	for _, b := range []bool{p.holds, p.armed} {
		e.Bool(b)
	}
	for _, v := range []uint64{p.heldAt, p.timer, p.next, p.count, uint64(len(p.messages))} {
		e.U64(v)
	}
	e.Struct(p.messages)
	if q, ok := p.source.(*Queue); ok {
		q.Save(e)
	}
}

// Restore implements timing.Client. The player must have been made with the same configuration.
func (p *Player) Restore(d *emu.Decoder) error {
	d.Section("device.Player", 2)
	if n := d.U64(); n != uint64(len(p.flying)) {
		d.Fail("%d requests outstanding, want %d", n, len(p.flying))
		return d.Err()
	}
	d.Struct(p.flying)
	n := d.U64()
	if n > uint64(len(p.flying)) {
		d.Fail("%d free tags of %d", n, len(p.flying))
		return d.Err()
	}
	p.free = p.free[:n]
	d.Struct(p.free)
	for i := range p.used {
		p.used[i] = true
	}
	for _, tag := range p.free {
		if int(tag) >= len(p.used) {
			d.Fail("tag %d of %d", tag, len(p.used))
			return d.Err()
		}
		p.used[tag] = false
	}
	d.Struct(&p.held)
	p.holds, p.armed = d.Bool(), d.Bool()
	p.heldAt, p.timer, p.next, p.count = d.U64(), d.U64(), d.U64(), d.U64()
	waiting := d.U64()
	if waiting > uint64(d.Left()/binary.Size(Message{})) {
		d.Fail("%d messages wait", waiting)
		return d.Err()
	}
	p.messages = make([]Message, waiting)
	d.Struct(p.messages)
	if q, ok := p.source.(*Queue); ok {
		return q.Restore(d)
	}
	return d.Err()
}
