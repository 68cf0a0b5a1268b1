package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// command is a command as the buffer has it.
type command [2]uint64

// op is one invalidation.
type op struct {
	code  uint8 // opcode
	id    uint32
	sid   emu.SourceID
	pasid emu.PASID // NoPASID: host addresses (GN=0)
	addr  uint64    // of the first byte, aligned to 2^lg2
	lg2   uint8     // of bytes; 64 is everything
	leaf  bool      // only leaves changed (PDE=0)
	gcr3  bool      // it is there to drop a GCR3 table entry, too
}

func devtab(sid emu.SourceID) op { return op{code: spec.CmdInvalidateDevtab, sid: sid} }

func interruptTable(sid emu.SourceID) op { return op{code: spec.CmdInvalidateIntTable, sid: sid} }

// pages drops translations of a domain, or of one PASID of it.
func pages(id uint32, pasid emu.PASID, addr uint64, lg2 uint8, leaf bool) op {
	return op{code: spec.CmdInvalidatePages, id: id, pasid: pasid, addr: addr, lg2: lg2, leaf: leaf}
}

// allPages drops all of them, and the paging structures.
func allPages(id uint32, pasid emu.PASID) op { return pages(id, pasid, 0, 64, false) }

// deviceIOTLB drops what a device holds.
func deviceIOTLB(sid emu.SourceID, pasid emu.PASID, addr uint64, lg2 uint8) op {
	return op{code: spec.CmdInvalidateIOTLB, sid: sid, pasid: pasid, addr: addr, lg2: lg2}
}

func everything() op { return op{code: spec.CmdInvalidateAll} }

// early reports whether later translations are made from what the command drops.
func (o *op) early() bool {
	return o.code == spec.CmdInvalidateDevtab || o.code == spec.CmdInvalidateIntTable
}

// kept reports whether the operation is to be carried out, all the knobs considered. Without the part that
// is there for a GCR3 table entry it spares that, and the paging structures.
func (o *op) kept(omit entry.Omit) bool {
	switch o.code {
	case spec.CmdInvalidateDevtab:
		return !omit.Has(entry.OmitContext)
	case spec.CmdInvalidateIntTable:
		return !omit.Has(entry.OmitInterrupt)
	case spec.CmdInvalidateIOTLB:
		return !omit.Has(entry.OmitDeviceTLB)
	case spec.CmdInvalidatePages:
		o.leaf = o.leaf || o.gcr3 && omit.Has(entry.OmitPASID)
		return !omit.Has(entry.OmitIOTLB)
	}
	return true
}

// maxPend is how many invalidations a device is given at one time: what it can have queued at least
// (PCIe 10.5.1.2).
const maxPend = 32

// encode makes the command (2.4).
func (o *op) encode() command {
	w := command{spec.CmdOpcode.Put(uint64(o.code))}
	switch o.code {
	case spec.CmdInvalidateDevtab, spec.CmdInvalidateIntTable:
		w[0] |= spec.CmdDeviceID.Put(uint64(o.sid))
	case spec.CmdInvalidatePages:
		w[0] |= spec.IpDomainID.Put(uint64(o.id))
		w[1] = o.span() | spec.IpPDE.PutBool(!o.leaf)
		if o.pasid != emu.NoPASID {
			w[0] |= spec.IpPASID.Put(uint64(o.pasid))
			w[1] |= spec.CmdGN.Mask()
		}
	case spec.CmdInvalidateIOTLB:
		w[0] |= spec.CmdDeviceID.Put(uint64(o.sid)) | spec.ItQueueID.Put(uint64(o.sid)) | spec.ItMaxPend.Put(maxPend)
		w[1] = o.span()
		if o.pasid != emu.NoPASID {
			w[0] |= spec.PutIotlbPASID(uint64(o.pasid))
			w[1] |= spec.CmdGN.Mask()
		}
	}
	return w
}

// span codes the range. Beyond 2^52 bytes all addresses are meant, as with Linux 7.3.
func (o *op) span() uint64 {
	if o.lg2 > 52 {
		return spec.AllPages | spec.CmdS.Mask()
	}
	addr, s := driver.Coded(o.addr, o.lg2)
	return addr | spec.CmdS.PutBool(s)
}

// waitCommand makes a COMPLETION_WAIT that stores data at status.
func waitCommand(status emu.PA, data uint64) command {
	return command{spec.CmdOpcode.Put(spec.CmdCompletionWait) | spec.CwS.Mask() | uint64(status)&spec.CwAddr.Mask(), data}
}

// fenceCommand makes a COMPLETION_WAIT that only holds back what follows.
func fenceCommand() command {
	return command{spec.CmdOpcode.Put(spec.CmdCompletionWait) | spec.CwF.Mask()}
}

// interruptCommand makes a COMPLETION_WAIT that interrupts.
func interruptCommand() command {
	return command{spec.CmdOpcode.Put(spec.CmdCompletionWait) | spec.CwI.Mask()}
}

// idleCommand makes a COMPLETION_WAIT that does nothing.
func idleCommand() command { return command{spec.CmdOpcode.Put(spec.CmdCompletionWait)} }

// The answers to page requests: PCIe has F for a failure.
var responses = map[host.PageResponse]uint64{
	host.PageSuccess: spec.PPRSuccess, host.PageInvalid: spec.PPRInvalid, host.PageFailure: spec.PPRFailure,
}

// responseCommand makes the answer to a page request group.
func responseCommand(k driver.GroupKey, r host.PageResponse) command {
	w := make([]uint64, 2)
	w[0] = spec.CmdOpcode.Put(spec.CmdCompletePPR) | spec.CmdDeviceID.Put(uint64(k.SID))
	if k.PASID != emu.NoPASID {
		w[0] |= spec.CpPASID.Put(uint64(k.PASID))
		w[1] |= spec.CpGN.Mask()
	}
	spec.CpPRG.Set(w, uint64(k.Index))
	spec.CpStatus.Set(w, responses[r])
	return command(w)
}
