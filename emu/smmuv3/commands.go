package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// command says how one opcode is treated, 4.1.1. An invalidation is a list of selectors, others begin with
// a question of their own; with neither the opcode is illegal.
type command struct {
	sel   func(u *Unit, s *emu.Selector, w *[8]uint64, i int) bool // the i-th selector, false after the last
	begin func(u *Unit, t *emu.Txn)
	legal func(u *Unit, w *[8]uint64) bool // nil: always
	ssec  bool                             // SSec must be 0
}

// setCommands makes the table of the commands that this unit has.
func (u *Unit) setCommands() {
	c := &u.cfg
	prefetches := cmdSkip
	if c.Prefetch {
		prefetches = cmdPrefetch
	}
	u.cmd = [spec.NumCmdOpcodes]command{}
	for _, e := range []struct {
		op   int
		have bool
		command
	}{
		{spec.CmdPrefetchConfig, true, command{begin: prefetches, ssec: true}},
		{spec.CmdPrefetchAddr, true, command{begin: prefetches, ssec: true}},
		{spec.CmdCfgiSTE, true, command{sel: selSTE, ssec: true}},
		{spec.CmdCfgiSTERange, true, command{sel: selSTERange, ssec: true}},
		{spec.CmdCfgiCD, c.S1P, command{sel: selCD, ssec: true}},
		{spec.CmdCfgiCDAll, c.S1P, command{sel: selCDAll, ssec: true}},
		{spec.CmdTlbiNHAll, c.S1P, command{sel: selNHAll}},
		{spec.CmdTlbiNHASID, c.S1P, command{sel: selNHASID}},
		{spec.CmdTlbiNHVA, c.S1P, command{sel: pieces(selNHVA), legal: legalRange}},
		{spec.CmdTlbiNHVAA, c.S1P, command{sel: pieces(selNHVAA), legal: legalRange}},
		{spec.CmdTlbiEL2All, c.HYP, command{sel: selEL2All}},
		{spec.CmdTlbiEL2ASID, c.HYP, command{sel: selEL2ASID}},
		{spec.CmdTlbiEL2VA, c.HYP, command{sel: pieces(selEL2VA), legal: legalRange}},
		{spec.CmdTlbiEL2VAA, c.HYP, command{sel: pieces(selEL2VAA), legal: legalRange}},
		{spec.CmdTlbiS12VMAll, c.S2P, command{sel: selS12All}},
		{spec.CmdTlbiS2IPA, c.S2P, command{sel: selS2IPA, legal: legalRange}},
		{spec.CmdTlbiNSNHAll, true, command{sel: selNSNHAll}},
		{spec.CmdAtcInv, c.ATS, command{begin: cmdATCInv, legal: legalATC}},
		{spec.CmdPriResp, c.PRI, command{begin: cmdPRIResp, legal: legalPRI}},
		{spec.CmdResume, c.StallModel != spec.StallNever, command{begin: cmdResume, ssec: true}},
		{spec.CmdStallTerm, c.StallModel != spec.StallNever, command{begin: cmdStallTerm, ssec: true}},
		{spec.CmdSync, true, command{begin: cmdSync, legal: legalSync}},
	} {
		if e.have {
			u.cmd[e.op] = e.command
		}
	}
}

func legalSync(_ *Unit, w *[8]uint64) bool { return spec.SyncCS.Of(w[0]) <= spec.SyncSEV }

func legalATC(_ *Unit, w *[8]uint64) bool { return spec.AtcSize.Of(w[1]) <= spec.AtcSizeAll }

func legalPRI(_ *Unit, w *[8]uint64) bool { return spec.PriResp.Of(w[1]) <= spec.PriSuccess }
