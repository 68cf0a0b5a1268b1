package timing

import "iter"

// RunCPUs runs one program on each processor, as coroutines: the processor with the smallest
// (time, number) goes on next, so the interleaving is a function of the programs and the costs
// alone. It returns when all programs have ended. A single program needs no RunCPUs: it is a plain
// function that calls its CPU.
func (m *Machine) RunCPUs(programs map[*CPU]func(*CPU)) {
	m.multi = true
	defer func() { m.multi = false }()
	type routine struct {
		next func() (struct{}, bool)
		stop func()
	}
	run := make([]routine, len(m.cpus))
	for i, c := range m.cpus {
		prog := programs[c]
		c.running = prog != nil
		if !c.running {
			continue
		}
		next, stop := iter.Pull(func(yield func(struct{}) bool) {
			c.yield = yield
			prog(c)
		})
		run[i] = routine{next, stop}
		defer stop()
	}
	for {
		var c *CPU
		for _, o := range m.cpus {
			if o.running && (c == nil || o.now < c.now) {
				c = o
			}
		}
		if c == nil {
			return
		}
		if _, more := run[c.id].next(); !more {
			c.running = false
			c.yield = nil
		}
	}
}

// earlier reports whether a running processor other than c has to act before it.
func (m *Machine) earlier(c *CPU) bool {
	for _, o := range m.cpus {
		if o != c && o.running && (o.now < c.now || o.now == c.now && o.id < c.id) {
			return true
		}
	}
	return false
}
