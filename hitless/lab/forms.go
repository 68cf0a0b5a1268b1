package lab

import (
	"github.com/iommulab/iommulab/emu"
	amdvi "github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	smmuv3 "github.com/iommulab/iommulab/emu/smmuv3/spec"
	vtd "github.com/iommulab/iommulab/emu/vtd/spec"
)

// Tables that forms point to. What is at them the bench makes, by how they are pointed to.
const (
	host1, host2, host3, host4 = 0x0800_0000, 0x0810_0000, 0x0820_0000, 0x0830_0000
	guest1, guest2, guest3     = 0x0c00_0000, 0x0c10_0000, 0x0c20_0000
	below1, below2             = 0x0e00_0000, 0x0e10_0000
	id1, id2, id3, id4, idPass = 0x11, 0x12, 0x13, 0x14, 0x2
)

// field is a field of a form and its value.
type field struct {
	bits  reg.Bits
	value uint64
}

// form makes a content of fields over another one.
func form(name string, words int, base []uint64, fields ...field) Form {
	raw := make([]uint64, words)
	copy(raw, base)
	for _, f := range fields {
		f.bits.Set(raw, f.value)
	}
	return Form{name, raw}
}

func vtdRootForms() []Form {
	return []Form{
		form("blocked", 2, nil),
		form("table 1", 2, nil, field{vtd.RootP, 1}, field{vtd.RootCTP, below1 >> 12}),
		form("table 2", 2, nil, field{vtd.RootP, 1}, field{vtd.RootCTP, below2 >> 12}),
	}
}

func vtdContextForms() []Form {
	table := func(name string, root, id, aw, tt uint64) Form {
		return form(name, 2, nil, field{vtd.CtxP, 1}, field{vtd.CtxSSPTPTR, root >> 12}, field{vtd.CtxDID, id}, field{vtd.CtxAW, aw}, field{vtd.CtxTT, tt})
	}
	return []Form{
		form("blocked", 2, nil),
		table("pass-through", 0, idPass, vtd.AW57, vtd.TTPassThrough),
		table("table 1, id 1", host1, id1, vtd.AW48, vtd.TTUntranslated),
		table("table 2, id 2", host2, id2, vtd.AW48, vtd.TTUntranslated),
		table("table 2, id 1", host2, id1, vtd.AW48, vtd.TTUntranslated),
		table("57 bits, id 3", host3, id3, vtd.AW57, vtd.TTUntranslated),
		table("table 1, id 1, ATS", host1, id1, vtd.AW48, vtd.TTAll),
		form("blocked, no records", 2, nil, field{vtd.CtxFPD, 1}),
	}
}

func vtdSMContextForms() []Form {
	dir := func(name string, root uint64, fields ...field) Form {
		base := form("", 4, nil, field{vtd.SMCtxP, 1}, field{vtd.SMCtxPASIDDIRPTR, root >> 12})
		return form(name, 4, base.Raw, fields...)
	}
	return []Form{
		form("blocked", 4, nil),
		dir("directory 1", below1),
		dir("directory 2", below2),
		dir("directory 2, longer", below2, field{vtd.SMCtxPDTS, 1}),
		dir("directory 1, RID_PASID 1", below1, field{vtd.SMCtxRIDPASID, 1}),
		dir("directory 1, ATS", below1, field{vtd.SMCtxDTE, 1}),
		dir("directory 1, PASIDs", below1, field{vtd.SMCtxPASIDE, 1}),
	}
}

func vtdPASIDDirForms() []Form {
	return []Form{
		form("blocked", 1, nil),
		form("table 1", 1, nil, field{vtd.PDirP, 1}, field{vtd.PDirSMPTBLPTR, below1 >> 12}),
		form("table 2", 1, nil, field{vtd.PDirP, 1}, field{vtd.PDirSMPTBLPTR, below2 >> 12}),
		form("blocked, no records", 1, nil, field{vtd.PDirFPD, 1}),
	}
}

func vtdPASIDForms() []Form {
	typed := func(name string, pgtt, id uint64, fields ...field) Form {
		base := form("", 8, nil, field{vtd.PasidP, 1}, field{vtd.PasidPGTT, pgtt}, field{vtd.PasidDID, id}, field{vtd.PasidAW, vtd.AW48}, field{vtd.PasidPWSNP, 1})
		return form(name, 8, base.Raw, fields...)
	}
	ss := func(root uint64) field { return field{vtd.PasidSSPTPTR, root >> 12} }
	fs := func(root uint64) field { return field{vtd.PasidFSPTPTR, root >> 12} }
	return []Form{
		form("blocked", 8, nil),
		typed("pass-through", vtd.PGTTPassThrough, idPass),
		typed("second 1, id 1", vtd.PGTTSecond, id1, ss(host1)),
		typed("second 2, id 2", vtd.PGTTSecond, id2, ss(host2)),
		typed("first 1, id 3", vtd.PGTTFirst, id3, fs(guest1)),
		typed("first 2, id 4", vtd.PGTTFirst, id4, fs(guest2)),
		typed("first 2, id 3", vtd.PGTTFirst, id3, fs(guest2)),
		typed("nested 1 on 1, id 3", vtd.PGTTNested, id3, fs(guest1), ss(host1)),
		typed("second 2, id 1", vtd.PGTTSecond, id1, ss(host2)),
		typed("second 1, id 1, dirty", vtd.PGTTSecond, id1, ss(host1), field{vtd.PasidSSADE, 1}),
		typed("second 1, id 1, snooped", vtd.PGTTSecond, id1, ss(host1), field{vtd.PasidPGSNP, 1}),
		typed("second of 57 bits, id 2", vtd.PGTTSecond, id2, ss(host3), field{vtd.PasidAW, vtd.AW57}),
		typed("first of 5 levels, id 4", vtd.PGTTFirst, id4, fs(guest3), field{vtd.PasidFSPM, vtd.FSPM5}),
		typed("nested 2 on 1, id 4", vtd.PGTTNested, id4, fs(guest2), ss(host1)),
		typed("nested 2 on 1, id 3", vtd.PGTTNested, id3, fs(guest2), ss(host1)),
		typed("first 1, id 3, SRE", vtd.PGTTFirst, id3, fs(guest1), field{vtd.PasidSRE, 1}),
		typed("nested 2 on 2, id 4", vtd.PGTTNested, id4, fs(guest2), ss(host2)),
	}
}

func amdviForms() []Form {
	dte := func(name string, id uint64, fields ...field) Form {
		base := form("", 4, nil, field{amdvi.DteV, 1}, field{amdvi.DteTV, 1}, field{amdvi.DteIR, 1}, field{amdvi.DteIW, 1}, field{amdvi.DteDomainID, id})
		return form(name, 4, base.Raw, fields...)
	}
	v1 := func(root, mode uint64) []field {
		return []field{{amdvi.DteHostRoot, root >> 12}, {amdvi.DteMode, mode}}
	}
	v2 := amdviV2
	interrupts := []field{{amdvi.DteIV, 1}, {amdvi.DteIntCtl, amdvi.IntCtlRemap}, {amdvi.DteIRTRoot, host1 >> 6}}
	nested := func(guest, host uint64) []field { return append(v2(guest, 4), v1(host, 4)...) }
	return []Form{
		form("blocked", 4, nil, field{amdvi.DteV, 1}),
		dte("pass-through", idPass),
		dte("v1 table 1, id 1", id1, v1(host1, 3)...),
		dte("v1 table 2, id 2", id2, v1(host2, 3)...),
		dte("v1 table 2, id 1", id1, v1(host2, 3)...),
		dte("v1 mode 4, id 2", id2, v1(host3, 4)...),
		dte("v2 table 1, id 3", id3, v2(guest1, 4)...),
		dte("v2 table 2, id 4", id4, v2(guest2, 4)...),
		dte("v2 table 2, id 3", id3, v2(guest2, 4)...),
		dte("v2 of 5 levels, id 4", id4, v2(guest3, 5)...),
		dte("nested 1 on 1, id 3", id3, nested(guest1, host4)...),
		dte("nested 2 on 1, id 4", id4, nested(guest2, host4)...),
		dte("v1 table 1, id 1, dirty", id1, append(v1(host1, 3), field{amdvi.DteHAD, amdvi.HADAD})...),
		dte("v1 mode 5, id 2", id2, v1(host3+0x1000, 5)...),
		dte("v1 mode 6, id 2", id2, v1(host3+0x2000, 6)...),
		dte("v1 table 1, id 1, read-only", id1, append(v1(host1, 3), field{amdvi.DteIW, 0})...),
		dte("nested 2 on 2, id 4", id4, nested(guest2, host3+0x3000)...),
		dte("v2 table 1, id 3, GIoV=0", id3, append(v2(guest1, 4), field{amdvi.DteGIoV, 0})...),
		form("untranslated (V=0)", 4, nil),
		dte("no rights", id1, field{amdvi.DteIR, 0}, field{amdvi.DteIW, 0}),
		dte("v1 table 1, id 1, interrupts remapped", id1, append(v1(host1, 3), interrupts...)...),
		form("blocked, interrupts remapped", 4, nil, append([]field{{amdvi.DteV, 1}}, interrupts...)...),
	}
}

// amdviV2 are the fields of a device table entry with a GCR3 table at root, and guest tables of so many levels.
func amdviV2(root, levels uint64) []field {
	return []field{
		{amdvi.DteGV, 1}, {amdvi.DteGIoV, 1}, {amdvi.DteGCR3Lo, root >> 12 & 7}, {amdvi.DteGCR3Mid, root >> 15 & 0xffff},
		{amdvi.DteGCR3Hi, root >> 31}, {amdvi.DteGuestPagingMode, levels - 4},
	}
}

func amdviGCR3Forms() []Form {
	return []Form{
		form("blocked", 1, nil),
		form("table 1", 1, nil, field{amdvi.Gcr3V, 1}, field{amdvi.Gcr3Addr, guest1 >> 12}),
		form("table 2", 1, nil, field{amdvi.Gcr3V, 1}, field{amdvi.Gcr3Addr, guest2 >> 12}),
	}
}

func smmuv3STEForms() []Form {
	ste := func(name string, config uint64, fields ...[]field) Form {
		base := form("", 8, nil, field{smmuv3.SteV, 1}, field{smmuv3.SteConfig, config})
		for _, f := range fields {
			base = form("", 8, base.Raw, f...)
		}
		return Form{name, base.Raw}
	}
	s1 := func(cds uint64) []field {
		return []field{{smmuv3.SteS1Context, cds >> 6}, {smmuv3.SteS1CIR, 1}, {smmuv3.SteS1COR, 1}, {smmuv3.SteS1CSH, smmuv3.ShInner}}
	}
	dss := func(cds, dss uint64) []field {
		return append(s1(cds), field{smmuv3.SteS1CDMax, 1}, field{smmuv3.SteS1DSS, dss})
	}
	s2 := func(root, vmid uint64) []field {
		sl0, _ := smmuv3.S2SL0(smmuv3.Granule4K, 2)
		return []field{
			{smmuv3.SteS2VMID, vmid}, {smmuv3.SteS2T0SZ, 64 - 39}, {smmuv3.SteS2SL0, sl0}, {smmuv3.SteS2PS, 5}, {smmuv3.SteS2AA64, 1},
			{smmuv3.SteS2R, 1}, {smmuv3.SteS2IR0, 1}, {smmuv3.SteS2OR0, 1}, {smmuv3.SteS2SH0, smmuv3.ShInner}, {smmuv3.SteS2TTB, root >> 4},
		}
	}
	toggle := func(b reg.Bits, v uint64) []field { return []field{{b, v}} }
	return []Form{
		ste("abort", smmuv3.ConfigAbort),
		ste("bypass", smmuv3.ConfigBypass),
		ste("stage 1, CDs 1", smmuv3.ConfigS1, s1(guest1)),
		ste("stage 1, CDs 2", smmuv3.ConfigS1, s1(guest2)),
		ste("stage 2 table 1, VMID 1", smmuv3.ConfigS2, s2(host1, id1)),
		ste("stage 2 table 2, VMID 2", smmuv3.ConfigS2, s2(host2, id2)),
		ste("nested 1 on 1, VMID 1", smmuv3.ConfigNested, s1(guest1), s2(host1, id1)),
		ste("stage 1, CDs 1, MEV", smmuv3.ConfigS1, s1(guest1), toggle(smmuv3.SteMEV, 1)),
		ste("stage 2 table 2, VMID 1", smmuv3.ConfigS2, s2(host2, id1)),
		ste("stage 1, S1DSS terminate", smmuv3.ConfigS1, dss(guest3, smmuv3.DSSTerminate)),
		ste("stage 1, S1DSS bypass", smmuv3.ConfigS1, dss(guest3, smmuv3.DSSBypass)),
		ste("stage 1, S1DSS SSID 0", smmuv3.ConfigS1, dss(guest3, smmuv3.DSSSSID0)),
		ste("nested 2 on 1, VMID 1", smmuv3.ConfigNested, s1(guest2), s2(host1, id1)),
		ste("nested 1 on 2, VMID 2", smmuv3.ConfigNested, s1(guest1), s2(host2, id2)),
		ste("stage 1, CDs 1, ATS", smmuv3.ConfigS1, s1(guest1), toggle(smmuv3.SteEATS, smmuv3.EATSFull)),
		form("invalid (V=0)", 8, nil),
		ste("stage 1, CDs 2, EL2", smmuv3.ConfigS1, s1(guest2), toggle(smmuv3.SteSTRW, smmuv3.STRWEL2)),
	}
}

func smmuv3CDForms() []Form {
	cd := func(name string, asid, table uint64, fields ...field) Form {
		return form(name, 8, smmuCDWords(asid, emu.PA(table)), fields...)
	}
	return []Form{
		form("cleared", 8, nil),
		cd("table 1, ASID 1", id1, guest1),
		cd("table 2, ASID 2", id2, guest2),
		cd("table 2, ASID 1", id1, guest2),
		cd("like SVA: 48 bits, ASID 3", id3, guest3, field{smmuv3.CdT0SZ, 16}, field{smmuv3.CdASET, 0}),
		cd("ASID 1, EPD0 (of a process that died)", id1, guest1, field{smmuv3.CdEPD0, 1}, field{smmuv3.CdR, 0}),
		cd("table 1, ASID 2", id2, guest1),
		cd("table 1, ASID 1, stall", id1, guest1, field{smmuv3.CdS, 1}),
		cd("table 1, ASID 1, other MAIR", id1, guest1, field{smmuv3.CdMAIR0, 0x44ff}),
	}
}

func smmuv3L1STDForms() []Form {
	span := uint64(smmuSplit + 1)
	return []Form{
		form("invalid", 1, nil),
		form("table 1", 1, nil, field{smmuv3.L1stdSpan, span}, field{smmuv3.L1stdL2Ptr, below1 >> 6}),
		form("table 2", 1, nil, field{smmuv3.L1stdSpan, span}, field{smmuv3.L1stdL2Ptr, below2 >> 6}),
	}
}

func smmuv3L1CDForms() []Form {
	return []Form{
		form("invalid", 1, nil),
		form("table 1", 1, nil, field{smmuv3.L1cdV, 1}, field{smmuv3.L1cdL2Ptr, below1 >> 12}),
		form("table 2", 1, nil, field{smmuv3.L1cdV, 1}, field{smmuv3.L1cdL2Ptr, below2 >> 12}),
	}
}
