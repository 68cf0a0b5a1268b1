package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdModeIgnored: our unit refuses a table mode that is reserved or that it does not have; the other one
// looks at bit 10 alone, and only if it has scalable mode.
func vtdModeIgnored(c *Case) {
	r, ok := c.transfer()
	if !ok || r.Fault.Code != vtd.FaultTTM {
		return
	}
	root := c.track.vtd().root &^ spec.RtaddrTTM.Mask()
	if c.target.Mode != vtdLegacy {
		root |= c.track.vtd().root & spec.RtaddrTTM.Put(spec.TTMScalable)
	}
	c.vtdShows(c.vtdTheirs(root, asIf{}))
}

// vtdOnes: our unit finds reserved bits in an entry that is all ones; the other one takes it for a read
// that failed.
func vtdOnes(c *Case) {
	r, ok := c.transfer()
	if !ok || c.model.word(r.Fault.At) != ^uint64(0) {
		return
	}
	switch r.Fault.Code {
	case vtd.FaultSSReserved, vtd.FaultSSReservedSM, vtd.FaultFSReserved:
		c.vtdShows(c.vtdTheirs(c.track.vtd().root, asIf{gone: map[emu.PA]bool{r.Fault.At: true}}))
	}
}

// unchecked returns a match for faults with one of these reasons, of structures of so many words: the
// other side takes the structure as if clean had gone over it.
func unchecked(words int, clean func(c *Case, w []uint64), reasons ...uint16) func(*Case) {
	return func(c *Case) {
		r, ok := c.transfer()
		if !ok || !slices.Contains(reasons, r.Fault.Code) || r.Fault.At == 0 {
			return
		}
		c.vtdShows(c.vtdTheirs(c.track.vtd().root, c.cleaned(r.Fault.At, words, clean)))
	}
}

// cleaned is memory in which clean has gone over the words at an address.
func (c *Case) cleaned(at emu.PA, words int, clean func(c *Case, w []uint64)) asIf {
	w := make([]uint64, words)
	for i := range w {
		w[i] = c.model.word(at + emu.PA(8*i))
	}
	clean(c, w)
	q := asIf{words: make(map[emu.PA]uint64)}
	for i := range w {
		q.words[at+emu.PA(8*i)] = w[i]
	}
	return q
}

// within clears the bits of w that no field of a layout covers.
func within(l *reg.Layout, w []uint64) {
	for i, r := range l.Reserved(w) {
		w[i] &^= r
	}
	for i := l.Words(); i < len(w); i++ {
		w[i] = 0
	}
}

// reach points a pointer that is beyond the host's address width to where nothing answers either.
func (c *Case) reach(w *uint64) {
	if *w&vtdBeyond != 0 {
		*w = *w&^spec.SSADDR.Mask()&^vtdBeyond | uint64(c.model.mach.Hole)
	}
}

func cleanDirectory(c *Case, w []uint64) {
	within(&spec.PASIDDirLayout, w)
	c.reach(&w[0])
}

func cleanPASID(c *Case, w []uint64) {
	within(&spec.PASIDLayout, w)
	w[0] &^= spec.PasidSSADE.Mask()
	w[1] &^= spec.PasidPWSNP.Mask() | spec.PasidPGSNP.Mask()
	w[2] &^= spec.PasidSRE.Mask() | spec.PasidERE.Mask() | spec.PasidEAFE.Mask()
	if c.target.Mode == vtdFirst { // a pointer of the stage that there is not counts for nothing
		w[0] &^= spec.PasidSSPTPTR.Mask()
	} else {
		w[2] &^= spec.PasidFSPTPTR.Mask() | spec.PasidFSPM.Mask() | spec.PasidWPE.Mask()
	}
	c.reach(&w[0])
	c.reach(&w[2])
}

func cleanContextFields(_ *Case, w []uint64) {
	w[0] &^= spec.SMCtxDTE.Mask() | spec.SMCtxPASIDE.Mask() | spec.SMCtxPRE.Mask()
	w[1] &^= spec.SMCtxRIDPRIV.Mask() | spec.SMCtxRIDPASID.Mask()
}

func cleanSnoop(_ *Case, w []uint64) { w[0] &^= spec.SSSNP.Mask() }

// vtdPassThroughAW: our unit wants the largest width for pass-through, the other one any.
func vtdPassThroughAW(c *Case) {
	if r, ok := c.transfer(); ok && r.Fault.Step == vtd.StepContext {
		unchecked(2, func(_ *Case, w []uint64) { spec.CtxAW.Set(w, spec.AW48) }, vtd.FaultWidth)(c)
	}
}

// vtdPassThroughWidth: our unit reports an untranslated address beyond the host's width; at the other
// one nothing answers there.
func vtdPassThroughWidth(c *Case) {
	r, ok := c.transfer()
	if ok && r.Fault.Step == vtd.StepPassThrough && (r.Fault.Code == vtd.FaultWidth || r.Fault.Code == vtd.FaultHAW) {
		c.vtdShows(&emu.Result{Status: emu.Blocked, Fault: emu.Fault{Quiet: true}})
	}
}

// vtdOtherHalf: the half of the root entry that the request does not use has bits set that are
// reserved.
func vtdOtherHalf(c *Case) {
	if _, ok := c.transfer(); !ok {
		return
	}
	at := emu.PA(c.track.vtd().root&spec.RtaddrRTA.Mask()) + emu.PA(c.source()>>8)*16
	half := emu.PA(c.source() >> 7 & 1)
	if rsvd := uint64(0xffe | vtdBeyond); c.model.word(at+8*half)&1 != 0 && c.model.word(at+8*(1-half))&rsvd != 0 {
		c.vtdShows(&emu.Result{Status: emu.Blocked, Fault: emu.Fault{Code: vtd.FaultRootReservedSM}})
	}
}

// vtdPassThroughPointer: a pass-through context entry has a pointer beyond the host's width, which counts
// for nothing.
func vtdPassThroughPointer(c *Case) {
	r, ok := c.transfer()
	if !ok || r.Lg2 < 64 && r.Fault.Step != vtd.StepPassThrough {
		return
	}
	lo := c.model.word(vtdContext(c.model.word, c.track.vtd().root, c.source()))
	if spec.CtxTT.Of(lo) == spec.TTPassThrough && lo&vtdBeyond != 0 {
		c.vtdShows(&emu.Result{Status: emu.Blocked, Fault: emu.Fault{Code: vtd.FaultContextReserved, Quiet: false}})
	}
}

// vtdAbsentInUse: our unit finds a PASID entry with P=0; the other one, which has the context entry in its
// cache, takes it as if it was present.
func vtdAbsentInUse(c *Case) {
	if other, ok := c.asIfPresent(); ok && other.Fault.Code != vtd.FaultPASIDInvalid {
		c.vtdShows(other)
	}
}

// vtdTypeBeforePresent: a PASID entry with P=0 and a type or a width that there is not.
func vtdTypeBeforePresent(c *Case) {
	if other, ok := c.asIfPresent(); ok && other.Fault.Code == vtd.FaultPASIDInvalid {
		c.vtdShows(other)
	}
}

// asIfPresent returns what the other side would make of an access for which our unit has found the PASID
// entry absent, if it was present.
func (c *Case) asIfPresent() (*emu.Result, bool) {
	r, ok := c.transfer()
	if !ok || r.Fault.Code != vtd.FaultPASIDAbsent {
		return nil, false
	}
	q := c.cleaned(r.Fault.At, 8, func(c *Case, w []uint64) {
		cleanPASID(c, w)
		w[0] |= spec.PasidP.Mask()
		if spec.PasidPGTT.Of(w[0]) == spec.PGTTPassThrough { // it is not passed through: the unit's one stage is walked
			stage := uint64(spec.PGTTSecond)
			if c.target.Mode == vtdFirst {
				stage = spec.PGTTFirst
			}
			spec.PasidPGTT.Set(w, stage)
		}
	})
	return c.vtdTheirs(c.track.vtd().root, q), true
}

// vtdPassThroughStays: the PASID entry of the device has been pass-through and is no more, and the
// context-cache has not been invalidated since.
func vtdPassThroughStays(c *Case) {
	_, ok := c.transfer()
	e := c.model.word(c.pasid0(asIf{}))
	if !ok || !c.track.vtd().passed[c.step.Device] || spec.PasidP.On(e) && spec.PasidPGTT.Of(e) == spec.PGTTPassThrough {
		return
	}
	r := &emu.Result{Status: emu.OK, PA: emu.PA(c.step.Addr)}
	if c.step.Addr&vtdBeyond != 0 {
		r = &emu.Result{Status: emu.Blocked, Fault: emu.Fault{Quiet: true}}
	}
	c.vtdShows(r)
}

// vtdWholePage: the page that the access meets reaches into the interrupt range, the access does not.
func vtdWholePage(c *Case) {
	r, ok := c.transfer()
	if !ok || r.Status != emu.OK || r.Lg2 >= 64 {
		return
	}
	first := uint64(r.PA) &^ (1<<r.Lg2 - 1)
	last := first | (1<<r.Lg2 - 1)
	if first>>20 > interruptRange || last>>20 < interruptRange {
		return
	}
	code := uint16(vtd.FaultOutputRange)
	if c.target.Mode != vtdLegacy {
		code = vtd.FaultOutputRangeSM
	}
	c.vtdShows(&emu.Result{Status: emu.Blocked, Fault: emu.Fault{Code: code, Quiet: c.vtdFPD()}})
}

// vtdFPD reports whether the entries of the requester, which are valid, keep faults from being reported.
func (c *Case) vtdFPD() bool {
	context := c.model.word(vtdContext(c.model.word, c.track.vtd().root, c.source()))
	if c.target.Mode == vtdLegacy || spec.CtxFPD.On(context) {
		return spec.CtxFPD.On(context)
	}
	return spec.PDirFPD.On(c.model.word(c.dir0(asIf{}))) || spec.PasidFPD.On(c.model.word(c.pasid0(asIf{})))
}
