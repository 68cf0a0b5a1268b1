package timing

import "github.com/iommulab/iommulab/emu"

// missReg is one miss status register: an owner, and the transactions merged to it in the order of
// their arrival.
type missReg struct {
	Key         emu.Key
	Owner       int32 // flight, or none if the register is free
	First, Last int32 // merged flights
}

// slotPool is the miss status registers of one class, or a counted resource without keys.
type slotPool struct {
	Regs        []missReg
	Free        int32 // registers, or units of a counted resource, not in use
	First, Last int32 // flights waiting for a free one
}

func (s *slotPool) reset(n int, keyed bool) {
	*s = slotPool{Free: int32(n), First: none, Last: none}
	if keyed {
		s.Regs = make([]missReg, n)
		for i := range s.Regs {
			s.Regs[i] = missReg{Owner: none, First: none, Last: none}
		}
	}
}

// push appends flight i to the list first..last.
func (p *port) push(first, last *int32, i int32) {
	p.flights[i].Next = none
	if *last == none {
		*first = i
	} else {
		p.flights[*last].Next = i
	}
	*last = i
}

// pop removes the head of the list first..last, or returns none.
func (p *port) pop(first, last *int32) int32 {
	i := *first
	if i != none {
		*first = p.flights[i].Next
		if *first == none {
			*last = none
		}
	}
	return i
}

// acquire answers an Acquire of flight i. It returns false when the flight has to wait.
func (p *port) acquire(i int32) bool {
	f := &p.flights[i]
	a := &f.Txn.Act
	s := &p.slots[a.Slot]
	f.Txn.Ans = emu.AnsOK
	if s.Regs == nil {
		if s.Free == 0 {
			p.push(&s.First, &s.Last, i)
			f.State = flightWaiting
			return false
		}
		s.Free--
		f.Reg[a.Slot] = 0
		return true
	}
	if f.Reg[a.Slot] == none {
		if got := p.take(i); got == slotMerged {
			p.merged++
			f.State = flightWaiting
			return false
		} else if got == slotNone {
			p.push(&s.First, &s.Last, i)
			f.State = flightWaiting
			return false
		}
	}
	p.walk(a.Slot)
	return true
}

// What take does.
const (
	slotNone   = iota // nothing: all registers are in use
	slotMerged        // the flight waits for the owner of its key
	slotOwned         // it has a register
)

// take gives flight i what its Acquire asks for, if that can be had.
func (p *port) take(i int32) int {
	a := &p.flights[i].Txn.Act
	s := &p.slots[a.Slot]
	free := int16(none)
	for r := range s.Regs {
		reg := &s.Regs[r]
		if reg.Owner == none {
			if free == none {
				free = int16(r)
			}
			continue
		}
		// An owner that an invalidation has marked may carry what was just invalidated.
		if reg.Key == a.Key && !p.flights[reg.Owner].Txn.Marked {
			p.push(&reg.First, &reg.Last, i)
			return slotMerged
		}
	}
	if free == none {
		return slotNone
	}
	s.Regs[free] = missReg{Key: a.Key, Owner: i, First: none, Last: none}
	s.Free--
	p.flights[i].Reg[a.Slot] = free
	return slotOwned
}

// walk counts an owner that begins.
func (p *port) walk(c emu.SlotClass) {
	if c == emu.SlotMiss {
		p.walks++
	}
}

// release gives back what flight i holds of class c. Merged flights go on with val. If val is nil the
// first of them takes the register over and the others go on waiting: if all looked again, whoever comes
// from outside at that moment could overtake them time after time.
func (p *port) release(i int32, c emu.SlotClass, val *[4]uint64) {
	f := &p.flights[i]
	r := f.Reg[c]
	if r == none {
		return
	}
	f.Reg[c] = none
	s := &p.slots[c]
	if s.Regs == nil {
		if w := p.pop(&s.First, &s.Last); w != none {
			p.flights[w].Reg[c] = 0
			p.resume(w, emu.AnsOK)
		} else {
			s.Free++
		}
		return
	}
	reg := &s.Regs[r]
	for w := p.pop(&reg.First, &reg.Last); w != none; w = p.pop(&reg.First, &reg.Last) {
		if val == nil {
			reg.Owner = w
			p.flights[w].Reg[c] = r
			p.walk(c)
			p.resume(w, emu.AnsOK)
			return
		}
		p.flights[w].Txn.In = *val
		p.resume(w, emu.AnsMerged)
	}
	reg.Owner = none
	s.Free++
	p.kick(c)
}

// kick gives free registers of class c to flights that wait for one, first come first served. What they
// look for may be in the cache meanwhile, so they look again, with the register in hand: nobody takes
// it from them until they have.
func (p *port) kick(c emu.SlotClass) {
	s := &p.slots[c]
	for s.Regs != nil && s.Free > 0 && s.First != none {
		w := p.pop(&s.First, &s.Last)
		switch p.take(w) {
		case slotMerged:
			p.merged++
		case slotOwned:
			p.resume(w, emu.AnsRetry)
		}
	}
}

// resume schedules waiting flight i to go on at the present cycle with the given answer.
func (p *port) resume(i int32, ans emu.Answer) {
	f := &p.flights[i]
	f.Txn.Ans = ans
	f.State = flightRunning
	p.m.at(p.m.now, prioHardware, evAnswer, p.id, uint32(i))
}

// slotOf is the miss status class whose fetch ends with a fill of a cache.
var slotOf = [emu.NumCaches]struct {
	class emu.SlotClass
	ok    bool
}{
	emu.CacheEntry: {emu.SlotEntry, true},
	emu.CachePASID: {emu.SlotPASID, true},
	emu.CacheIOTLB: {emu.SlotMiss, true},
}
