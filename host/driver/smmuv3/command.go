package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// command is an entry of the command queue (4.1).
type command [2]uint64

func newCommand(op uint64) command { return command{spec.CmdOpcode.Put(op)} }

func (c command) op() uint64 { return spec.CmdOpcode.Of(c[0]) }

// cfgiSTE drops an STE and what is cached of its CDs; with l1 the level 1 descriptor too.
func cfgiSTE(sid emu.SourceID, l1 bool) command {
	c := newCommand(spec.CmdCfgiSTE)
	spec.CmdSID.Set(c[:], uint64(sid))
	c[1] |= spec.CmdLeaf.PutBool(!l1)
	return c
}

// cfgiAll drops everything of stream table and CD tables.
func cfgiAll() command {
	c := newCommand(spec.CmdCfgiSTERange)
	spec.CfgiRange.Set(c[:], spec.CfgiRangeAll)
	return c
}

// cfgiCD drops one CD; with l1 the level 1 descriptor too.
func cfgiCD(sid emu.SourceID, slot emu.PASID, l1 bool) command {
	c := newCommand(spec.CmdCfgiCD)
	spec.CmdSID.Set(c[:], uint64(sid))
	spec.CmdSSID.Set(c[:], uint64(slot))
	c[1] |= spec.CmdLeaf.PutBool(!l1)
	return c
}

// tlbiVMID drops stage 1 of a VMID, with what stage 2 has made of it; tlbiBoth drops both stages.
func tlbiVMID(vmid uint32) command { return tagged(spec.CmdTlbiNHAll, vmid, 0) }
func tlbiBoth(vmid uint32) command { return tagged(spec.CmdTlbiS12VMAll, vmid, 0) }

// tlbiASID drops an ASID. Tables of devices have no global entries.
func tlbiASID(vmid, asid uint32) command { return tagged(spec.CmdTlbiNHASID, vmid, asid) }

func tagged(op uint64, vmid, asid uint32) command {
	c := newCommand(op)
	spec.CmdVMID.Set(c[:], uint64(vmid))
	spec.CmdASID.Set(c[:], uint64(asid))
	return c
}

// atcInv drops 2^lg2 bytes at addr from the TLB of a device: those of requests without PASID if pasid is
// NoPASID (and all others: the message has no PASID, 4.5.1).
func atcInv(sid emu.SourceID, pasid emu.PASID, addr emu.IOVA, lg2 uint8) command {
	c := newCommand(spec.CmdAtcInv)
	spec.CmdSID.Set(c[:], uint64(sid))
	if pasid != emu.NoPASID {
		c[0] |= spec.CmdSSV.Mask()
		spec.CmdSSID.Set(c[:], uint64(pasid))
	}
	if lg2 >= 64 {
		spec.AtcSize.Set(c[:], spec.AtcSizeAll)
		return c
	}
	spec.AtcSize.Set(c[:], uint64(lg2-emu.PageShift))
	c[1] |= uint64(addr) &^ (1<<lg2 - 1)
	return c
}

// resume lets a stalled transaction try again, or aborts it.
func resume(sid emu.SourceID, stag uint16, again bool) command {
	c := newCommand(spec.CmdResume)
	spec.CmdSID.Set(c[:], uint64(sid))
	spec.ResumeSTAG.Set(c[:], uint64(stag))
	if again {
		c[0] |= spec.ResumeAc.Mask()
	} else {
		c[0] |= spec.ResumeAb.Mask()
	}
	return c
}

// stallTerm aborts all stalled transactions of a stream.
func stallTerm(sid emu.SourceID) command {
	c := newCommand(spec.CmdStallTerm)
	spec.CmdSID.Set(c[:], uint64(sid))
	return c
}

// priResp answers a page request group.
func priResp(k driver.GroupKey, r host.PageResponse) command {
	c := newCommand(spec.CmdPriResp)
	spec.CmdSID.Set(c[:], uint64(k.SID))
	if k.PASID != emu.NoPASID {
		c[0] |= spec.CmdSSV.Mask()
		spec.CmdSSID.Set(c[:], uint64(k.PASID))
	}
	spec.PriPRGIndex.Set(c[:], uint64(k.Index))
	code := uint64(spec.PriFailure)
	switch r {
	case host.PageSuccess:
		code = spec.PriSuccess
	case host.PageInvalid:
		code = spec.PriInvalid
	}
	spec.PriResp.Set(c[:], code)
	return c
}

// barrier is a CMD_SYNC that signals nothing: what follows waits for what comes before.
func barrier() command { return newCommand(spec.CmdSync) }

// message is a CMD_SYNC that writes 0 to the word at pa.
func message(pa emu.PA) command {
	c := newCommand(spec.CmdSync)
	spec.SyncCS.Set(c[:], spec.SyncIRQ)
	spec.SyncMSH.Set(c[:], spec.ShInner)
	spec.SyncMSIAttr.Set(c[:], msiWriteBack)
	c[1] |= uint64(pa)
	return c
}

// interrupt is a CMD_SYNC that sends a message to an interrupt controller.
func interrupt(addr emu.PA, data uint32) command {
	c := newCommand(spec.CmdSync)
	spec.SyncCS.Set(c[:], spec.SyncIRQ)
	spec.SyncMSIAttr.Set(c[:], msiDevice)
	spec.SyncMSIData.Set(c[:], uint64(data))
	c[1] |= uint64(addr)
	return c
}

// msiWriteBack is the memory type of messages that processors find in their caches.
const msiWriteBack = 0xf

// stage is where a command stands in the order of 4.4 and 3.21: structures, then translations, then the
// TLBs of devices. Those of one stage have no order. Others have no place in it.
func (c command) stage() int {
	switch op := c.op(); {
	case op >= spec.CmdCfgiSTE && op <= spec.CmdCfgiCDAll:
		return 0
	case op >= spec.CmdTlbiNHAll && op <= spec.CmdTlbiNSNHAll:
		return 1
	case op == spec.CmdAtcInv:
		return 2
	}
	return 3
}

// omit is the knob that leaves the command out.
func (c command) omit() entry.Omit {
	switch op := c.op(); {
	case op == spec.CmdCfgiSTE, op == spec.CmdCfgiSTERange:
		return entry.OmitContext
	case op == spec.CmdCfgiCD, op == spec.CmdCfgiCDAll:
		return entry.OmitPASID
	case c.stage() == 1:
		return entry.OmitIOTLB
	case c.stage() == 2:
		return entry.OmitDeviceTLB
	}
	return 0
}
