package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// put writes a command at the tail, without telling the unit.
func (g *smmuGen) put(op, lo, hi uint64, format string, a ...any) {
	q := &g.cmds
	at := q.base + emu.PA(q.index&(1<<q.lg2-1)*spec.CommandSize)
	g.store(at, []uint64{op | lo, hi}, format, a...)
	q.index = (q.index + 1) & (2<<q.lg2 - 1)
}

// ring tells the unit of what was put.
func (g *smmuGen) ring() {
	if g.chance(60) {
		g.put(spec.CmdSync, spec.SyncCS.Put(g.r.Uint64N(3)), 0, "sync")
	}
	g.write(spec.OffCMDQProd, 4, g.cmds.index, "CMDQ_PROD")
	if g.chance(30) {
		g.read(spec.OffCMDQCons, 4, "CMDQ_CONS")
	}
}

// flushAll makes the unit forget everything.
func (g *smmuGen) flushAll() {
	g.put(spec.CmdCfgiSTERange, 0, spec.CfgiRangeAll, "forget all structures")
	g.put(spec.CmdTlbiNSNHAll, 0, 0, "forget all translations")
	g.ring()
}

// flushSTE makes the unit forget the STE of a device and what was reached through it.
func (g *smmuGen) flushSTE(d *smmuDevice) {
	sid := spec.CmdSID.Put(uint64(d.sid))
	switch g.r.IntN(5) {
	case 0:
		g.put(spec.CmdCfgiSTERange, 0, spec.CfgiRangeAll, "forget all structures")
	case 1:
		g.put(spec.CmdCfgiSTERange, sid, 3, "forget 16 STEs")
	default:
		g.put(spec.CmdCfgiSTE, sid, truth(!g.streams.grown && g.chance(50)), "forget the STE of device %d", d.index)
	}
	g.streams.grown = false
	g.ring()
}

// flushCD makes the unit forget the CD of a space, for all devices that have it.
func (g *smmuGen) flushCD(s *smmuSpace) {
	for _, d := range g.devs {
		if d.space != s {
			continue
		}
		sid := spec.CmdSID.Put(uint64(d.sid))
		switch g.r.IntN(3) {
		case 0:
			g.put(spec.CmdCfgiCDAll, sid, 0, "forget the CDs of device %d", d.index)
		case 1:
			g.put(spec.CmdCfgiSTE, sid, 1, "forget the STE of device %d", d.index)
		default:
			g.put(spec.CmdCfgiCD, sid, truth(g.chance(50)), "forget the CD of device %d", d.index)
		}
	}
	g.flushSpace(s)
}

// tags are VMID and ASID of a space as commands have them.
func (s *smmuSpace) tags(g *smmuGen) (vmid, asid uint64) {
	if g.mode != smmuS1 {
		vmid = spec.CmdVMID.Put(s.vmid)
	}
	return vmid, spec.CmdASID.Put(s.asid)
}

// flushSpace makes the unit forget all translations of a space.
func (g *smmuGen) flushSpace(s *smmuSpace) {
	vmid, asid := s.tags(g)
	n := g.r.IntN(3)
	if g.mode == smmuS1 {
		n = g.r.IntN(2) * 2
	}
	switch {
	case n == 0:
		g.put(spec.CmdTlbiNSNHAll, 0, 0, "forget all translations")
	case n == 1:
		g.put(spec.CmdTlbiS12VMAll, vmid, 0, "forget VMID %d", s.vmid)
	default:
		if g.mode == smmuS2 {
			g.put(spec.CmdTlbiS12VMAll, vmid, 0, "forget VMID %d", s.vmid)
		} else {
			g.put(spec.CmdTlbiNHAll, vmid, 0, "forget stage 1 of VMID %d", vmid>>32)
			if g.chance(30) {
				g.put(spec.CmdTlbiNHASID, vmid|asid, 0, "forget ASID %d", s.asid)
			}
		}
	}
	g.ring()
}

// flushTables makes the unit forget what it has from tables of a space. Of stage 2 there is more than
// translations that depends on it: see deviation tables-of-cds.
func (g *smmuGen) flushTables(s *smmuSpace, t *smmuTables) {
	if t.s2 && g.mode == smmuNested {
		g.flushAll()
		return
	}
	g.flushSpace(s)
}

// flushPages makes the unit forget a page, or a range that has it.
func (g *smmuGen) flushPages(s *smmuSpace, t *smmuTables, at emu.IOVA, lg2 uint8, leaf bool) {
	if s.tbi || g.chance(15) {
		g.flushSpace(s)
		return
	}
	vmid, asid := s.tags(g)
	lo, hi := uint64(0), uint64(at)&^0xfff|truth(leaf && g.chance(70))
	// Leaves that the Contiguous bit joins, and parts of a block that stage 2 has in pieces, may be cached each
	// by itself.
	all := t.leaves(lg2) > 1 || g.mode == smmuNested && lg2 > uint8(t.gran)
	if all || g.chance(40) {
		tg, _ := t.gran.TLBI()
		scale := uint64(0)
		num := uint64(1 + g.r.IntN(20))
		for num<<scale<<t.gran < 1<<lg2 {
			scale++
		}
		lo, hi = spec.TlbiNum.Put(num-1)|spec.TlbiScale.Put(scale), hi|spec.TlbiTG.Put(tg)
		if leaf && !all && g.chance(30) {
			hi |= spec.TlbiTTL.Put(uint64(spec.LevelTop-1-t.level(lg2))) | 1
		}
		for hi&spec.TlbiTTL.Mask() == 0 && lo&(spec.TlbiNum.Mask()|spec.TlbiScale.Mask()) == 0 {
			lo |= spec.TlbiNum.Put(1)
		}
	}
	switch {
	case t.s2:
		g.put(spec.CmdTlbiS2IPA, lo|vmid, hi, "forget %#x of VMID %d", uint64(at), s.vmid)
		if g.mode == smmuNested {
			g.put(spec.CmdTlbiNHAll, vmid, 0, "forget stage 1 of VMID %d", s.vmid)
		}
	case g.chance(50):
		g.put(spec.CmdTlbiNHVAA, lo|vmid, hi, "forget %#x of all ASIDs", uint64(at))
	default:
		g.put(spec.CmdTlbiNHVA, lo|vmid|asid, hi, "forget %#x of ASID %d", uint64(at), s.asid)
	}
	g.ring()
}
