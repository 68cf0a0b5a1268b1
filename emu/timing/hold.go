package timing

import "github.com/iommulab/iommulab/emu"

// hold keeps flight i until software lets it go: it has no slots meanwhile, invalidations do not concern
// it, and nobody waits for it.
func (p *port) hold(i int32) {
	f := &p.flights[i]
	p.giveBack(i)
	f.State = flightHeld
	if f.Txn.Marked {
		f.Txn.Marked = false
		p.marked--
		p.drained(f.Epoch, p.m.now)
	}
}

// letGo resumes the held flights that a concerns.
func (p *port) letGo(a *emu.Act) {
	for j := int32(numEngines); j < p.used; j++ {
		f := &p.flights[j]
		if f.State == flightHeld && a.Sel.Resumes(&f.Txn.Act.Key) {
			f.Txn.In = a.Data
			p.resume(j, emu.AnsOK)
		}
	}
}

// giveBack releases the slots of flight i, and lets those go on that may find that they need none.
func (p *port) giveBack(i int32) {
	for c := range p.flights[i].Reg {
		p.release(i, emu.SlotClass(c), nil)
	}
	for c := range p.slots {
		p.kick(emu.SlotClass(c))
	}
}
