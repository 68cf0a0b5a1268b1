package conform

import (
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdOfFirst reports whether a fault is one that our unit finds in a first-stage entry while others on the
// way may lack a right.
func vtdOfFirst(code uint16) bool {
	switch code {
	case vtd.FaultFSRead, vtd.FaultFSAbsent, vtd.FaultFSReserved, vtd.FaultFSNoncoherent, vtd.FaultUser:
		return true
	}
	return false
}

// pasid0 returns where the entry of PASID 0 of the requester is in q.
func (c *Case) pasid0(q asIf) emu.PA {
	return vtdPASID0(func(pa emu.PA) uint64 { return c.read(q, pa) }, c.track.vtd().root, c.source())
}

// dir0 returns where the first entry of the PASID directory of the requester is in q.
func (c *Case) dir0(q asIf) emu.PA {
	return vtdDir0(func(pa emu.PA) uint64 { return c.read(q, pa) }, c.track.vtd().root, c.source())
}

// firstRights goes through the first-stage entries of the access, from the top to the one at last, and
// returns the fault of the first one that lacks a right, and the entries above it: present, U/S, R/W, in
// this order, is how QEMU looks at each.
func (c *Case) firstRights(q asIf, last emu.PA) (code uint16, above []emu.PA, ok bool) {
	if c.target.Mode != vtdFirst || last == 0 {
		return 0, nil, false
	}
	table := emu.PA(c.read(q, c.pasid0(q)+16) & spec.PasidFSPTPTR.Mask())
	for level := 3; level >= 0; level-- {
		at := table + emu.PA(uint64(c.step.Addr)>>shift(level)&511*8)
		e := c.read(q, at)
		switch {
		case !spec.FSP.On(e) || q.gone[at] || !c.answers(at):
			return 0, nil, false
		case !spec.FSUS.On(e):
			return vtd.FaultUser, above, true
		case c.step.Write && !spec.FSRW.On(e):
			return vtd.FaultWriteSM, above, true
		case at == last:
			return 0, nil, false
		}
		above = append(above, at)
		table = emu.PA(e & spec.FSADDR.Mask())
	}
	return 0, nil, false
}

// vtdFirstOrder: our unit has found a first-stage entry absent or wrong; the other one a right missing
// in an entry on the way, or in the same one.
func vtdFirstOrder(c *Case) {
	r, ok := c.transfer()
	if !ok || !vtdOfFirst(r.Fault.Code) || r.Fault.Code == vtd.FaultFSNoncoherent {
		return
	}
	if code, _, ok := c.firstRights(asIf{}, r.Fault.At); ok {
		early := *r
		early.Fault.Code = code
		c.vtdShows(&early)
	}
}

// flagsOf asks what our unit would do if its walks were coherent, and returns how memory would look
// behind it by the rules of the other side: entries on which a right is missing stop the walk, and for
// a write the leaf is left as it is if it has one of both flags.
func (c *Case) flagsOf() (r *emu.Result, words map[emu.PA]uint64, dirtyLost bool) {
	at := c.pasid0(asIf{})
	q := asIf{variant: vtdCoherent, words: map[emu.PA]uint64{at + 8: c.model.word(at+8) | spec.PasidPWSNP.Mask()}}
	r, wrote := c.vtdAsIf(c.track.vtd().root, q)
	code, above, early := c.firstRights(q, r.Fault.At)
	words = make(map[emu.PA]uint64)
	for pa, w := range wrote {
		old, flags := c.model.word(pa), spec.FSA.Mask()
		if c.step.Write && (pa == r.Prov.Leaf || pa == r.Fault.At) {
			flags |= spec.FSD.Mask()
		}
		if old&flags != 0 {
			dirtyLost = true
			w = old
		}
		words[pa] = w
	}
	if early {
		e := *r
		e.Fault.Code = code
		maps.DeleteFunc(words, func(pa emu.PA, _ uint64) bool { return !slices.Contains(above, pa) })
		r = &e
	}
	return r, words, dirtyLost
}

// vtdFlags: our unit must not set flags, for its walks are not coherent; the other one does. The
// differences go to one of two deviations.
func vtdFlags(lost bool) func(*Case) {
	return func(c *Case) {
		r, ok := c.transfer()
		if !ok || r.Fault.Code != vtd.FaultFSNoncoherent {
			return
		}
		other, words, dirtyLost := c.flagsOf()
		if dirtyLost != lost {
			return
		}
		for pa, want := range words {
			if have, err := word(c.peers[theirs], pa); err != nil || have != want {
				return
			}
		}
		c.vtdShows(other)
		for pa := range words {
			c.back = append(c.back, pa)
		}
	}
}

// vtdCanonicalAW: the address is canonical, but not for the second-stage width in AW.
func vtdCanonicalAW(c *Case) {
	if _, ok := c.transfer(); !ok {
		return
	}
	at := c.pasid0(asIf{})
	width := min(30+9*uint(spec.PasidAW.Of(c.model.word(at))), 48)
	s := 64 - width
	if emu.IOVA(int64(c.step.Addr<<s)>>s) != c.step.Addr {
		c.vtdShows(&emu.Result{Status: emu.Blocked, Fault: emu.Fault{Code: vtd.FaultCanonical, Quiet: c.vtdFPD()}})
	}
}
