package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// startFaults lets the unit report faults by an interrupt (11.4.7.2).
func (d *Driver) startFaults() {
	addr, data := d.k.CPU.OnIRQ(d.takeFaults)
	d.signal(spec.OffFECTL, addr, data)
}

// takeFaults empties the recording registers: from FRI on, until one holds nothing or all have been
// looked at once, for devices may fault faster than a processor reads; then it takes back the
// overflow, which stops recording as long as it stands (7.2.1). The interrupt may come while it runs:
// two readers of one record would lose it.
func (d *Driver) takeFaults() {
	if d.inFaults {
		return
	}
	d.inFaults, d.faultsLeft = true, false
	defer func() { d.inFaults = false }()
	fsts := d.k.Read(spec.OffFSTS, 4)
	if spec.FstsPFO.On(fsts) {
		d.k.Count.LostFaults++
	}
	if !spec.FstsPPF.On(fsts) {
		if spec.FstsPFO.On(fsts) {
			d.k.Write(spec.OffFSTS, 4, spec.FstsPFO.Mask())
		}
		return
	}
	first := int(spec.FstsFRI.Of(fsts))
	for n := range d.caps.faults {
		i := (first + n) % d.caps.faults
		at := d.caps.fro + uint32(i)*spec.FRCDSize
		high := d.k.Read(at+spec.FRCDStatus, 4)
		rec := [2]uint64{0, high << 32}
		if !spec.FrF.On(rec[1]) {
			d.k.Write(spec.OffFSTS, 4, spec.FstsPFO.Mask()|spec.FstsPPF.Mask())
			return
		}
		rec[1] |= d.k.Read(at+8, 4)
		rec[0] = d.k.Read(at, 8)
		d.k.Write(at+spec.FRCDStatus, 4, spec.FrF.Mask()>>32)
		d.k.Count.Faults++
		if d.k.OnFault != nil {
			d.k.OnFault(faultRecord(rec))
		}
	}
	d.k.Write(spec.OffFSTS, 4, spec.FstsPFO.Mask()|spec.FstsPPF.Mask())
	// As long as a record stands the unit does not interrupt again.
	d.faultsLeft = spec.FstsPPF.On(d.k.Read(spec.OffFSTS, 4))
}

// Rest takes what an interrupt has left. Operations do it where they do not hold anybody up.
func (d arch) Rest() {
	if d.faultsLeft {
		d.takeFaults()
	}
}

// The fault reasons of interrupt requests (5.1.4.1).
const (
	firstIRQFault = 0x20
	lastIRQFault  = 0x28
)

// faultRecord says what a record means (11.4.7.6).
func faultRecord(rec [2]uint64) host.FaultRecord {
	w := rec[:]
	f := host.FaultRecord{
		Reason: uint16(spec.FrFR.Get(w)),
		Source: emu.SourceID(spec.FrSID.Get(w)),
		PASID:  emu.NoPASID,
		Addr:   emu.IOVA(spec.FrFI.Get(w) << 12),
	}
	if f.Reason >= firstIRQFault && f.Reason <= lastIRQFault {
		f.Addr, f.Interrupt, f.Index = 0, true, uint16(spec.FrIndex.Get(w))
		return f
	}
	if spec.FrPP.Get(w) != 0 {
		f.PASID = emu.PASID(spec.FrPV.Get(w))
	}
	switch spec.FrT2.Get(w)<<1 | spec.FrT1.Get(w) {
	case 0:
		f.Access = emu.Write
	case 1:
		f.Access = emu.Read
	case 2:
		f.Type = emu.PageRequest
		return f
	case 3:
		f.Access = emu.RW | emu.Atomic
	}
	if spec.FrEXE.Get(w) != 0 {
		f.Access |= emu.Exec
	}
	if spec.FrPRIV.Get(w) != 0 {
		f.Access |= emu.Priv
	}
	f.Type = emu.ReqType(spec.FrAT.Get(w))
	return f
}
