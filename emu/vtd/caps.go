package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// capWord composes CAP_REG.
func (c *Config) capWord() uint64 {
	return spec.CapND.Put(uint64(c.ND)) |
		spec.CapRWBF.PutBool(c.RWBF) |
		spec.CapPLMR.PutBool(c.PLMR) |
		spec.CapPHMR.PutBool(c.PHMR) |
		spec.CapCM.PutBool(c.CM) |
		spec.CapSAGAW.Put(uint64(c.SAGAW)) |
		spec.CapMGAW.Put(uint64(c.MGAW)-1) |
		spec.CapZLR.PutBool(c.ZLR) |
		spec.CapFRO.Put(uint64(c.FaultOffset/16)) |
		spec.CapSSLPS.Put(uint64(c.SSLPS)) |
		spec.CapPSI.PutBool(c.PSI) |
		spec.CapNFR.Put(uint64(c.FaultRecords)-1) |
		spec.CapMAMV.Put(uint64(c.MAMV)) |
		spec.CapDWD.PutBool(c.DWD) |
		spec.CapDRD.PutBool(c.DRD) |
		spec.CapFS1GP.PutBool(c.FS1GP) |
		spec.CapPI.PutBool(c.PI) |
		spec.CapFS5LP.PutBool(c.FS5LP) |
		spec.CapECMDS.PutBool(c.PMS) |
		spec.CapESIRTPS.PutBool(c.ESIRTPS) |
		spec.CapESRTPS.PutBool(c.ESRTPS)
}

// ecapWord composes ECAP_REG.
func (c *Config) ecapWord() uint64 {
	return spec.EcapC.PutBool(c.C) |
		spec.EcapQI.PutBool(c.QI) |
		spec.EcapDT.PutBool(c.DT) |
		spec.EcapPT.PutBool(c.PT) |
		spec.EcapSC.PutBool(c.SC) |
		spec.EcapIRO.Put(uint64(c.IOTLBOffset/16)) |
		spec.EcapERS.PutBool(c.ERS) |
		spec.EcapSRS.PutBool(c.SRS) |
		spec.EcapNWFS.PutBool(c.NWFS) |
		spec.EcapPSS.Put(uint64(c.PSS)) |
		spec.EcapPASID.PutBool(c.PASID) |
		spec.EcapDIT.PutBool(c.DIT) |
		spec.EcapSMTS.PutBool(c.SMTS) |
		spec.EcapSSTS.PutBool(c.SSTS) |
		spec.EcapSSADS.PutBool(c.SSADS) |
		spec.EcapSMPWCS.PutBool(c.SMPWCS) |
		spec.EcapRPS.PutBool(c.RPS) |
		spec.EcapRPRIVS.PutBool(c.RPRIVS) |
		spec.EcapIR.PutBool(c.IR) |
		spec.EcapEIM.PutBool(c.EIM) |
		spec.EcapMHMV.Put(uint64(c.MHMV)) |
		spec.EcapNEST.PutBool(c.NEST) |
		spec.EcapPRS.PutBool(c.PRS) |
		spec.EcapEAFS.PutBool(c.EAFS) |
		spec.EcapPDS.PutBool(c.PDS) |
		spec.EcapFSTS.PutBool(c.FSTS) |
		spec.EcapPMS.PutBool(c.PMS) |
		spec.EcapADMS.PutBool(c.ADMS) |
		spec.EcapPTRS.PutBool(c.PTRS) |
		spec.EcapSMS.PutBool(c.SMS) |
		spec.EcapEIMER.PutBool(c.EIMER) |
		spec.EcapIRREQ.PutBool(c.IRREQ)
}

// adopt sets the capability fields from registers, as far as they are modelled.
func (c *Config) adopt(ver, cap, ecap uint64) {
	c.VersionMajor, c.VersionMinor = uint8(spec.VerMax.Of(ver)), uint8(spec.VerMin.Of(ver))
	c.ND = uint8(min(spec.CapND.Of(cap), 6))
	c.RWBF = spec.CapRWBF.On(cap)
	c.PLMR, c.PHMR = spec.CapPLMR.On(cap), spec.CapPHMR.On(cap)
	c.CM = spec.CapCM.On(cap)
	c.SAGAW = uint8(spec.CapSAGAW.Of(cap) & (spec.SAGAW39 | spec.SAGAW48 | spec.SAGAW57))
	c.MGAW = uint8(spec.CapMGAW.Of(cap) + 1)
	c.ZLR = spec.CapZLR.On(cap)
	c.FaultOffset = uint32(spec.CapFRO.Of(cap) * 16)
	c.SSLPS = uint8(spec.CapSSLPS.Of(cap) & (spec.SSLPS2M | spec.SSLPS1G))
	c.PSI = spec.CapPSI.On(cap)
	c.FaultRecords = int(spec.CapNFR.Of(cap) + 1)
	c.MAMV = uint8(spec.CapMAMV.Of(cap))
	c.DWD, c.DRD = spec.CapDWD.On(cap), spec.CapDRD.On(cap)
	c.FSTS = spec.EcapFSTS.On(ecap) && spec.EcapSMTS.On(ecap)
	c.FS1GP, c.FS5LP = c.FSTS && spec.CapFS1GP.On(cap), c.FSTS && spec.CapFS5LP.On(cap)
	c.ESRTPS = spec.CapESRTPS.On(cap)
	c.PI, c.ESIRTPS = spec.CapPI.On(cap), spec.CapESIRTPS.On(cap)

	c.C, c.QI, c.DT = spec.EcapC.On(ecap), spec.EcapQI.On(ecap), spec.EcapDT.On(ecap)
	c.PT, c.SC = spec.EcapPT.On(ecap), spec.EcapSC.On(ecap)
	c.IOTLBOffset = uint32(spec.EcapIRO.Of(ecap) * 16)
	c.ERS, c.SRS, c.NWFS = spec.EcapERS.On(ecap) && c.VersionMajor < 8, spec.EcapSRS.On(ecap), spec.EcapNWFS.On(ecap)
	c.PSS, c.PASID = uint8(min(spec.EcapPSS.Of(ecap), 19)), spec.EcapPASID.On(ecap)
	c.EAFS = c.FSTS && spec.EcapEAFS.On(ecap)
	c.NEST = c.FSTS && spec.EcapSSTS.On(ecap) && spec.EcapNEST.On(ecap)
	c.DIT = spec.EcapDIT.On(ecap)
	c.SMTS, c.SSTS, c.SSADS = spec.EcapSMTS.On(ecap), spec.EcapSSTS.On(ecap), spec.EcapSSADS.On(ecap)
	c.SMPWCS, c.RPS, c.RPRIVS = spec.EcapSMPWCS.On(ecap), spec.EcapRPS.On(ecap), spec.EcapRPRIVS.On(ecap)
	c.ADMS = spec.EcapADMS.On(ecap)
	c.IR = spec.EcapIR.On(ecap) && c.QI
	c.EIM, c.MHMV = spec.EcapEIM.On(ecap), uint8(spec.EcapMHMV.Of(ecap))
	c.EIMER, c.IRREQ = c.EIM && c.IR && spec.EcapEIMER.On(ecap), c.IR && spec.EcapIRREQ.On(ecap)
	if !c.IR {
		c.EIM, c.MHMV, c.PI, c.ESIRTPS = false, 0, false, false
	}
	if !c.SMTS { // the scalable-mode fields mean nothing then
		c.SSTS, c.SSADS, c.SMPWCS, c.RPS, c.RPRIVS, c.PASID = false, false, false, false, false, false
	}
	c.PRS = spec.EcapPRS.On(ecap) && c.DT && c.SMTS
	c.PDS, c.SMS = spec.EcapPDS.On(ecap) && c.DT && c.SMTS, spec.EcapSMS.On(ecap) && c.PRS
	c.PTRS = spec.EcapPTRS.On(ecap) && c.DT && c.PASID
}

// limits is what translation needs of the capabilities, worked out once.
type limits struct {
	hawMask  uint64          // address bits at and above HAW
	width    [8]uint8        // second-stage input bits by AW code; 0 if unsupported
	maxAW    uint8           // largest supported AW code
	pasidTop uint64          // first PASID value that PSS cannot express
	rsvd     [8][2]uint64    // reserved bits of a second-stage entry by level (0 to 4) and leaf
	fsRsvd   [2][8][2]uint64 // of a first-stage entry, by NXE first
	root     uint64          // reserved bits of a root entry half
	ctx      [2]uint64       // reserved bits of entries, pointer fields apart
	smctx    [2]uint64
	rid      uint64 // what is read of the second word of a scalable context entry: RID_PASID, RID_PRIV
	dir      uint64
	pasid    [4]uint64
	irte     [2][2][2]uint64 // reserved bits of interrupt entries by extended mode and posted format
	pid      [2]uint64       // of the control word of posted-interrupt descriptors by extended mode
	walk     uint64          // bit lg2: a paging-structure cache for that region size exists
	walk2    uint64          // of the second stage of nested translation
}

// structCaps are capability bits that decide whether a field of a structure is reserved: those the
// unit advertises, and after Load those that the snapshot advertised.
func (u *Unit) structCap(b reg.Bits) bool { return b.On(u.adv.ecap | u.ecap) }

func (u *Unit) setLimits() {
	c, l := &u.cfg, &u.lim
	l.hawMask = ^uint64(0) << c.HAW
	l.width = [8]uint8{}
	l.maxAW = 0
	for aw := uint8(spec.AW39); aw <= spec.AW57; aw++ {
		if c.SAGAW>>aw&1 != 0 {
			l.width[aw] = min(c.MGAW, 30+9*aw)
			l.maxAW = aw
		}
	}
	l.pasidTop = 2 << c.PSS
	if !c.PASID {
		l.pasidTop = uint64(emu.MaxPASID) + 1
	}

	did := ^(uint64(1)<<(4+2*c.ND) - 1)
	l.root = spec.RootLayout.Reserved([]uint64{^uint64(0)})[0] | l.hawMask
	r := spec.ContextLayout.Reserved([]uint64{^uint64(0), ^uint64(0)})
	l.ctx = [2]uint64{r[0], r[1] | spec.CtxDID.Put(did)}
	r = spec.SMContextLayout.Reserved([]uint64{^uint64(0), ^uint64(0)})
	l.smctx = [2]uint64{r[0] | l.hawMask, r[1]}
	l.rid = spec.SMCtxRIDPRIV.PutBool(c.RPRIVS)
	if c.RPS {
		l.rid |= spec.SMCtxRIDPASID.Mask()
	}
	for _, f := range []struct{ cap, field reg.Bits }{
		{spec.EcapDT, spec.SMCtxDTE}, {spec.EcapPASID, spec.SMCtxPASIDE}, {spec.EcapPRS, spec.SMCtxPRE},
		{spec.EcapPTRS, spec.SMCtxEPTR}, {spec.EcapRPS, spec.SMCtxRIDPASID}, {spec.EcapRPRIVS, spec.SMCtxRIDPRIV},
	} {
		if !u.structCap(f.cap) {
			l.smctx[f.field.Word()] |= f.field.Mask()
		}
	}
	l.dir = spec.PASIDDirLayout.Reserved([]uint64{^uint64(0)})[0] | l.hawMask
	r = spec.PASIDLayout.Reserved([]uint64{^uint64(0), ^uint64(0), ^uint64(0)})
	copy(l.pasid[:], r[:3])
	l.pasid[1] |= spec.PasidDID.Put(did)
	if !u.structCap(spec.EcapFSTS) {
		l.pasid[2] |= spec.PasidFSPTPTR.Mask() | spec.PasidFSPM.Mask() | spec.PasidWPE.Mask()
	}
	if !u.structCap(spec.EcapSSTS) {
		l.pasid[0] |= spec.PasidSSPTPTR.Mask() | spec.PasidSSADE.Mask() // not AW: Linux sets it for the first stage
	}
	if !u.structCap(spec.EcapSSADS) {
		l.pasid[0] |= spec.PasidSSADE.Mask()
	}
	if !u.structCap(spec.EcapSMPWCS) {
		l.pasid[1] |= spec.PasidPWSNP.Mask()
	}
	if !u.structCap(spec.EcapSC) {
		l.pasid[1] |= spec.PasidPGSNP.Mask()
	}
	if !u.structCap(spec.EcapSRS) {
		l.pasid[2] |= spec.PasidSRE.Mask()
	}
	if !u.structCap(spec.EcapERS) {
		l.pasid[2] |= spec.PasidERE.Mask()
	}
	if !u.structCap(spec.EcapEAFS) {
		l.pasid[2] |= spec.PasidEAFE.Mask()
	}

	u.setInterruptLimits()
	for level := range 5 {
		l.rsvd[level] = u.ssReserved(level)
		for nxe := range l.fsRsvd {
			l.fsRsvd[nxe][level] = u.fsReserved(level, nxe != 0)
		}
	}
	l.walk, l.walk2 = iotlb.Regions(c.Walk), iotlb.Regions(c.Walk2)
}

// ssReserved returns the reserved bits of second-stage entries at a level, 9.8: of those that point to
// a table and of leaves.
func (u *Unit) ssReserved(level int) [2]uint64 {
	addr := u.lim.hawMask & spec.SSADDR.Mask()
	table := addr | spec.SSTM.Mask() | spec.SSSNP.Mask()
	leaf := addr | spec.SSTM.Mask()
	if !u.cfg.SC {
		leaf |= spec.SSSNP.Mask()
	}
	switch level {
	case 0:
	case 1, 2:
		leaf |= reg.Ones(entryLg2(int8(level))) & spec.SSADDR.Mask()
		if u.cfg.SSLPS>>(level-1)&1 == 0 {
			leaf |= spec.SSPS.Mask()
		}
	default:
		table |= spec.SSPS.Mask()
	}
	return [2]uint64{table, leaf}
}

// fsReserved returns the reserved bits of first-stage entries at a level, 9.7, as ssReserved does. PAT
// takes the place of PS in the smallest leaves and the lowest address bit in large ones. Without NXE, XD
// is reserved, unless execute requests are not supported at all.
func (u *Unit) fsReserved(level int, nxe bool) [2]uint64 {
	table := u.lim.hawMask&spec.FSADDR.Mask() | spec.FSXD.PutBool(u.cfg.ERS && !nxe)
	leaf := table
	switch level {
	case 0:
	case 1, 2:
		leaf |= reg.Ones(entryLg2(int8(level))) & spec.FSADDR.Mask() &^ spec.FSPAT.Mask()
		if level == 2 && !u.cfg.FS1GP {
			leaf |= spec.FSPS.Mask()
		}
	default:
		table |= spec.FSPS.Mask()
	}
	return [2]uint64{table, leaf}
}
