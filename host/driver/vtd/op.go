package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// desc is an invalidation descriptor. The upper half of a 256-bit one is zero for all that the driver
// uses.
type desc [2]uint64

// op is one invalidation, whatever carries it to hardware.
type op struct {
	typ   uint8 // descriptor type
	gran  uint64
	did   uint32
	sid   emu.SourceID
	pasid emu.PASID
	addr  uint64 // of the first byte, aligned to 2^am pages
	am    uint8  // of interrupt entries: 2^am from index on
	index uint16 // of interrupt entries
	ih    bool   // only leaves changed
}

// wholeSpace is an address mask that covers everything.
const wholeSpace = 52

func contextGlobal() op { return op{typ: spec.DescContext, gran: spec.GranGlobal} }

func contextDevice(did uint32, sid emu.SourceID) op {
	return op{typ: spec.DescContext, gran: spec.GranDevice, did: did, sid: sid}
}

func pasidGlobal() op { return op{typ: spec.DescPASIDCache, gran: spec.GranPCGlobal} }

func pasidSelective(did uint32, pasid emu.PASID) op {
	return op{typ: spec.DescPASIDCache, gran: spec.GranPCPASID, did: did, pasid: pasid}
}

func iotlbGlobal() op { return op{typ: spec.DescIOTLB, gran: spec.GranGlobal} }

func iotlbDomain(did uint32) op { return op{typ: spec.DescIOTLB, gran: spec.GranDomain, did: did} }

func iotlbPages(did uint32, addr uint64, am uint8, ih bool) op {
	return op{typ: spec.DescIOTLB, gran: spec.GranPage, did: did, addr: addr, am: am, ih: ih}
}

func iotlbPASID(did uint32, pasid emu.PASID) op {
	return op{typ: spec.DescPASIDIOTLB, gran: spec.GranPASID, did: did, pasid: pasid}
}

func iotlbPASIDPages(did uint32, pasid emu.PASID, addr uint64, am uint8, ih bool) op {
	return op{typ: spec.DescPASIDIOTLB, gran: spec.GranPASIDPage, did: did, pasid: pasid, addr: addr, am: am, ih: ih}
}

func interruptGlobal() op { return op{typ: spec.DescIEC, gran: spec.GranIECGlobal} }

// interruptEntries are 2^am entries from index on.
func interruptEntries(index int, am uint8) op {
	return op{typ: spec.DescIEC, gran: spec.GranIECIndex, index: uint16(index), am: am}
}

// deviceTLB is for the device's own requests if pasid is NoPASID.
func deviceTLB(sid emu.SourceID, pasid emu.PASID, addr uint64, am uint8) op {
	o := op{typ: spec.DescDevTLB, sid: sid, addr: addr, am: am}
	if pasid != emu.NoPASID {
		o.typ, o.pasid = spec.DescPASIDDevTLB, pasid
	}
	return o
}

// stage is where an operation stands in the order of 6.5.3.3. Interrupt entries have no place in it.
func (o *op) stage() int {
	switch o.typ {
	case spec.DescContext:
		return 0
	case spec.DescPASIDCache:
		return 1
	case spec.DescIOTLB, spec.DescPASIDIOTLB:
		return 2
	case spec.DescIEC:
		return 4
	}
	return 3
}

// omit is the knob that leaves the operation out.
func (o *op) omit() entry.Omit {
	return [5]entry.Omit{
		entry.OmitContext, entry.OmitPASID, entry.OmitIOTLB, entry.OmitDeviceTLB, entry.OmitInterrupt,
	}[o.stage()]
}

// encode makes the descriptor (6.5.2).
func (o *op) encode(c *caps) desc {
	w := make([]uint64, 2)
	w[0] = spec.PutDescType(o.typ)
	did, sid, pasid := uint64(o.did), uint64(o.sid), uint64(o.pasid)
	switch o.typ {
	case spec.DescContext:
		spec.CcG.Set(w, o.gran)
		spec.CcDID.Set(w, did)
		spec.CcSID.Set(w, sid)
	case spec.DescPASIDCache:
		spec.PcG.Set(w, o.gran)
		spec.PcDID.Set(w, did)
		spec.PcPASID.Set(w, pasid)
	case spec.DescIOTLB:
		w[0] |= spec.IiDW.PutBool(c.dwd) | spec.IiDR.PutBool(c.drd)
		spec.IiG.Set(w, o.gran)
		spec.IiDID.Set(w, did)
		if o.gran == spec.GranPage {
			spec.IiAM.Set(w, uint64(o.am))
			w[1] |= spec.IiIH.PutBool(o.ih)
			spec.IiADDR.Set(w, o.addr>>12)
		}
	case spec.DescPASIDIOTLB:
		spec.PiG.Set(w, o.gran)
		spec.PiDID.Set(w, did)
		spec.PiPASID.Set(w, pasid)
		if o.gran == spec.GranPASIDPage {
			spec.PiAM.Set(w, uint64(o.am))
			w[1] |= spec.PiIH.PutBool(o.ih)
			spec.PiADDR.Set(w, o.addr>>12)
		}
	case spec.DescIEC:
		spec.IeG.Set(w, o.gran)
		spec.IeIM.Set(w, uint64(o.am))
		spec.IeIIDX.Set(w, uint64(o.index))
	case spec.DescDevTLB:
		spec.DtSID.Set(w, sid)
		addr, s := atsRange(o.addr, o.am)
		spec.DtADDR.Set(w, addr>>12)
		w[1] |= spec.DtS.PutBool(s)
	case spec.DescPASIDDevTLB:
		spec.PdSID.Set(w, sid)
		spec.PdPASID.Set(w, pasid)
		addr, s := atsRange(o.addr, o.am)
		spec.PdADDR.Set(w, addr>>12)
		w[1] |= spec.PdS.PutBool(s)
	}
	return desc(w)
}

// atsRange codes 2^am pages as device-TLB invalidations have it.
func atsRange(addr uint64, am uint8) (uint64, bool) {
	if am >= wholeSpace {
		return spec.AllAddressS, true
	}
	return driver.Coded(addr, am+emu.PageShift)
}

// waitDesc makes a wait descriptor that writes data to status.
func waitDesc(status emu.PA, data uint32) desc {
	w := make([]uint64, 2)
	w[0] = spec.PutDescType(spec.DescWait) | spec.IwSW.Mask()
	spec.IwDATA.Set(w, uint64(data))
	spec.IwSADDR.Set(w, uint64(status)>>2)
	return desc(w)
}

// responseDesc makes the answer to a page request group.
func responseDesc(k driver.GroupKey, r host.PageResponse) desc {
	w := make([]uint64, 2)
	w[0] = spec.PutDescType(spec.DescPageGroup)
	spec.PgRID.Set(w, uint64(k.SID))
	spec.PgRC.Set(w, uint64(r))
	spec.PgPRGI.Set(w, uint64(k.Index))
	if k.PASID != emu.NoPASID {
		w[0] |= spec.PgPP.Mask()
		spec.PgPASID.Set(w, uint64(k.PASID))
	}
	return desc(w)
}

// fenceDesc makes a wait descriptor that only holds back what follows.
func fenceDesc() desc { return desc{spec.PutDescType(spec.DescWait) | spec.IwFN.Mask()} }
