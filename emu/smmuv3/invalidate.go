package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// What commands invalidate, 4.3 and 4.4. Each selector also marks the transactions in flight that may have
// used what it drops.

const (
	structCaches = 1<<emu.CacheEntry | 1<<emu.CachePASID
	leafCaches   = 1<<emu.CacheIOTLB | 1<<emu.CacheStage2
	tlbCaches    = leafCaches | 1<<emu.CacheWalk | 1<<emu.CacheWalk2
)

const (
	el1Classes = 1<<ClassEL1 | 1<<ClassEL1Global
	e2hClasses = 1<<ClassE2H | 1<<ClassE2HGlobal
	el2Classes = e2hClasses | 1<<ClassEL2
)

func cmdSource(w *[8]uint64) emu.SourceID { return emu.SourceID(spec.CmdSID.Of(w[0])) }

// selStructs selects cached structures of some classes of a block of streams.
func selStructs(s *emu.Selector, classes uint32, first, mask emu.SourceID) {
	s.Caches, s.Match, s.Classes = structCaches, emu.MatchSource|emu.MatchClass, classes
	s.Source, s.SourceMask = first, mask
}

// selSTE is CFGI_STE, 4.3.1: the STE and all that was reached through it, and with Leaf=0 the L1STD. Streams
// that used the STE as a neighbour's may be in flight.
func selSTE(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	switch {
	case i == 0:
		selStructs(s, 1<<ClassSTE|1<<ClassCD|1<<ClassL1CD, cmdSource(w), 0)
		return true
	case i == 1 && !spec.CmdLeaf.On(w[1]):
		selStructs(s, 1<<ClassL1STD, cmdSource(w), emu.SourceID(ones(u.streams.split)))
		return true
	case i == 1 || i == 2 && !spec.CmdLeaf.On(w[1]):
		return u.selNeighbours(s, cmdSource(w), 0)
	}
	return false
}

// selSTERange is CFGI_STE_RANGE, 4.3.2: a block of StreamIDs, or everything.
func selSTERange(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	n := spec.CfgiRange.Of(w[1])
	block := emu.SourceID(ones(uint8(n + 1)))
	switch {
	case i == 0 && n == spec.CfgiRangeAll:
		s.Caches = structCaches
	case i == 0:
		selStructs(s, 1<<ClassSTE|1<<ClassCD|1<<ClassL1CD, cmdSource(w), block)
	case i == 1 && n != spec.CfgiRangeAll:
		selStructs(s, 1<<ClassL1STD, cmdSource(w), block|emu.SourceID(ones(u.streams.split)))
	case i == 2 && n != spec.CfgiRangeAll:
		return u.selNeighbours(s, cmdSource(w), block)
	default:
		return false
	}
	return true
}

// selCD is CFGI_CD, 4.3.3: one CD, and with Leaf=0 the L1CD above it. The command does not tell how the
// table is split: the L1CDs of the stream go.
func selCD(_ *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	switch {
	case i == 0:
		selStructs(s, 1<<ClassCD, cmdSource(w), 0)
		s.Match |= emu.MatchPASID
		s.PASID = emu.PASID(spec.CmdSSID.Of(w[0]))
	case i == 1 && !spec.CmdLeaf.On(w[1]):
		selStructs(s, 1<<ClassL1CD, cmdSource(w), 0)
	default:
		return false
	}
	s.Caches = emu.CachePASID.Set()
	return true
}

// selCDAll is CFGI_CD_ALL, 4.3.4.
func selCDAll(_ *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	selStructs(s, 1<<ClassCD|1<<ClassL1CD, cmdSource(w), 0)
	s.Caches = emu.CachePASID.Set()
	return i == 0
}

// selVMID selects translations of some classes of the i-th VMID that a command names: with CR0.VMW the low
// bits do not count (6.3.9). Without stage 2 there are no VMIDs.
func (u *Unit) selVMID(s *emu.Selector, w *[8]uint64, classes uint32, caches emu.CacheSet, i int) bool {
	vmid, bits := spec.CmdVMID.Of(w[0]), spec.Cr0VMW.Of(u.ack)
	if bits > spec.MaxVMW {
		bits = 0
	}
	switch {
	case !u.cfg.S2P:
		vmid, bits = 0, 0
	case !u.cfg.VMID16:
		vmid &= 0xff
	}
	s.Caches, s.Match, s.Classes = caches, emu.MatchDomain|emu.MatchClass, classes
	s.Domain = uint32(vmid&^ones(uint8(bits))) | uint32(i)
	return i < 1<<bits
}

// asid returns the ASID of a command.
func (u *Unit) asid(w *[8]uint64) emu.PASID {
	a := emu.PASID(spec.CmdASID.Of(w[0]))
	if !u.cfg.ASID16 {
		a &= 0xff
	}
	return a
}

// reached are the caches that an invalidation by address reaches.
func reached(w *[8]uint64) emu.CacheSet {
	if spec.CmdLeaf.On(w[1]) {
		return leafCaches
	}
	return tlbCaches
}

func selNHAll(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	return u.selVMID(s, w, el1Classes, tlbCaches, i)
}

// selNHASID spares global translations.
func selNHASID(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	more := u.selVMID(s, w, 1<<ClassEL1, tlbCaches, i)
	s.Match, s.PASID = s.Match|emu.MatchPASID, u.asid(w)
	return more
}

// selNHVA takes two selectors for each VMID: global translations match whatever the ASID.
func selNHVA(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	more := u.selVMID(s, w, 1<<ClassEL1Global, reached(w), i/2)
	if i%2 == 0 {
		s.Classes = 1 << ClassEL1
		s.Match, s.PASID = s.Match|emu.MatchPASID, u.asid(w)
	}
	u.selRange(s, w, spec.CmdAddr.Mask(), true)
	return more
}

func selNHVAA(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	more := u.selVMID(s, w, el1Classes, reached(w), i)
	u.selRange(s, w, spec.CmdAddr.Mask(), true)
	return more
}

func selEL2All(_ *Unit, s *emu.Selector, _ *[8]uint64, i int) bool {
	s.Caches, s.Match, s.Classes = tlbCaches, emu.MatchClass, el2Classes
	return i == 0
}

func selEL2ASID(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	s.Caches, s.Match, s.Classes = tlbCaches, emu.MatchClass|emu.MatchPASID, 1<<ClassE2H
	s.PASID = u.asid(w)
	return i == 0
}

// selEL2VA concerns EL2-E2H translations of the ASID and global ones, or those of EL2, which have no ASID.
func selEL2VA(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	s.Caches, s.Match, s.Classes = reached(w), emu.MatchClass, 1<<ClassE2HGlobal|1<<ClassEL2
	if i == 0 {
		s.Classes = 1 << ClassE2H
		s.Match, s.PASID = s.Match|emu.MatchPASID, u.asid(w)
	}
	u.selRange(s, w, spec.CmdAddr.Mask(), true)
	return i < 2
}

func selEL2VAA(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	s.Caches, s.Match, s.Classes = reached(w), emu.MatchClass, el2Classes
	u.selRange(s, w, spec.CmdAddr.Mask(), true)
	return i == 0
}

func selS12All(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	return u.selVMID(s, w, el1Classes|1<<ClassS2, tlbCaches, i)
}

// selS2IPA reaches translations of stage 2 by itself. What both stages made together has no intermediate
// address; it goes by NH_ALL, which software has to send too (4.4.3).
func selS2IPA(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool {
	more := u.selVMID(s, w, 1<<ClassS2, reached(w), i)
	u.selRange(s, w, spec.CmdIPA.Mask(), false)
	return more
}

func selNSNHAll(_ *Unit, s *emu.Selector, _ *[8]uint64, i int) bool {
	s.Caches, s.Match, s.Classes = tlbCaches, emu.MatchClass, el1Classes|1<<ClassS2
	return i == 0
}

// rangeOf returns the fields of a range, 4.4.1: its unit, or 0 for a single address, and how many units.
func (u *Unit) rangeOf(w *[8]uint64) (unit, n uint64) {
	g := spec.GranuleTLBI(spec.TlbiTG.Of(w[1]))
	if !u.cfg.RIL || g == 0 {
		return 0, 0
	}
	scale := spec.TlbiScale.Of(w[0])
	if !u.cfg.DS {
		scale &= 0x1f
	}
	return 1 << (min(scale, spec.MaxTlbiScale) + uint64(g)), spec.TlbiNum.Of(w[0]) + 1
}

// legalRange reports whether the range of a command is one: a granule with NUM, SCALE and TTL all 0 is
// reserved (4.4.1).
func legalRange(u *Unit, w *[8]uint64) bool {
	unit, n := u.rangeOf(w)
	g := spec.GranuleTLBI(spec.TlbiTG.Of(w[1]))
	return unit == 0 || n != 1 || unit != 1<<g || u.ttl(w) != 0
}

// selRange restricts s to the addresses of a command. mask are those of its address field; those of
// virtual addresses are extended as translations see them. With TG it is a range, of entries of some kinds
// only; one with an address that does not fit is taken as empty.
func (u *Unit) selRange(s *emu.Selector, w *[8]uint64, mask uint64, va bool) {
	first := w[1] & mask
	if va {
		first = uint64(int64(first<<8) >> 8)
	}
	unit, n := u.rangeOf(w)
	s.Match |= emu.MatchAddress
	s.First, s.Last = first, first
	if unit == 0 {
		return
	}
	u.selKinds(s, w)
	if !u.aligned(w) {
		s.First, s.Last = ^uint64(0), 0
		return
	}
	if size := unit * n; size/n == unit && size-1 <= ^first {
		s.Last = first + size - 1
	} else { // no wrap past the end of the address space
		s.Last = ^uint64(0)
	}
}
