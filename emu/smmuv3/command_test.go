package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// requireError submits a command and requires that the queue stops at it.
func (r *rig) requireError(w [2]uint64, reason uint64) {
	r.T.Helper()
	at := r.prod
	r.push(w)
	r.push(sync())
	r.ring()
	cons := r.R32(spec.OffCMDQCons)
	require.Equal(r.T, at, cons&spec.QIndex.Mask(), "%x", w)
	require.Equal(r.T, reason, spec.CmdqErr.Of(cons), "%x", w)
	require.Equal(r.T, spec.GerrCMDQ.Mask(), r.active())
}

// repair overwrites the command at which the queue has stopped, and acknowledges the error.
func (r *rig) repair(w [2]uint64) {
	cons := r.R32(spec.OffCMDQCons) & (1<<cmdBits - 1)
	r.Put(r.cmd+emu.PA(cons*spec.CommandSize), w[0], w[1])
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
	require.Equal(r.T, r.prod, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask())
	require.Zero(r.T, r.active())
}

// 4.1.3, 4.4.1: what is illegal, on a unit with everything.
func TestSMMUQuirk45_IllegalCommands(t *testing.T) {
	r := newRig(t).enable()
	reserved := []uint64{0, 0x08, 0x0f, 0x14, 0x17, 0x19, 0x29, 0x42, 0x43, 0x47, 0x80, 0x8f, 0xff,
		spec.CmdCfgiVMSPIDM, spec.CmdTlbiEL3All, spec.CmdTlbiEL3VA, spec.CmdTlbiSEL2All, spec.CmdTlbiSEL2ASID, spec.CmdTlbiSEL2VA,
		spec.CmdTlbiSEL2VAA, spec.CmdTlbiSS12VMAll, spec.CmdTlbiSS2IPA, spec.CmdTlbiSNHAll, spec.CmdDptiAll, spec.CmdDptiPA}
	for _, op := range reserved {
		r.requireError(command(op), spec.CerrorILL)
		r.repair(sync())
	}
	ssec := field{spec.CmdSSec, 1}
	for _, op := range []uint64{spec.CmdPrefetchConfig, spec.CmdPrefetchAddr, spec.CmdCfgiSTE, spec.CmdCfgiSTERange, spec.CmdCfgiCD, spec.CmdCfgiCDAll} {
		r.submit(command(op))
		r.requireError(command(op, ssec), spec.CerrorILL)
		r.repair(sync())
	}
	tg := func(v uint64) field { return field{spec.TlbiTG, v} }
	for _, op := range []uint64{spec.CmdTlbiNHVA, spec.CmdTlbiNHVAA, spec.CmdTlbiEL2VA, spec.CmdTlbiEL2VAA, spec.CmdTlbiS2IPA} {
		for _, f := range [][]field{{tg(1)}, {tg(2)}, {tg(3)}, {tg(2), {spec.TlbiTTL, 1}}} {
			r.requireError(command(op, f...), spec.CerrorILL)
			r.repair(sync())
		}
		for _, f := range [][]field{{tg(1), {spec.TlbiTTL, 3}}, {tg(1), {spec.TlbiNum, 1}}, {tg(3), {spec.TlbiScale, 1}}, {{spec.TlbiTTL, 1}}, {tg(3), {spec.TlbiTTL, 1}}} {
			r.submit(command(op, f...))
		}
	}
	r.requireError(command(spec.CmdSync, field{spec.SyncCS, 3}), spec.CerrorILL)
	r.repair(sync())
	r.requireError(command(spec.CmdAtcInv, field{spec.AtcSize, 53}), spec.CerrorILL)
	r.repair(sync())
	r.requireError(command(spec.CmdPriResp, field{spec.PriResp, 3}), spec.CerrorILL)
	r.repair(sync())
}

// What a unit lacks is illegal.
func TestCommandsOfWhatAUnitLacks(t *testing.T) {
	for name, c := range map[string]struct {
		change change
		ops    []uint64
	}{
		"stage 1": {func(c *smmuv3.Config) { c.S1P, c.HYP, c.SSIDSIZE, c.CD2L = false, false, 0, false },
			[]uint64{spec.CmdCfgiCD, spec.CmdCfgiCDAll, spec.CmdTlbiNHAll, spec.CmdTlbiNHASID, spec.CmdTlbiNHVA, spec.CmdTlbiNHVAA, spec.CmdTlbiEL2All}},
		"stage 2": {func(c *smmuv3.Config) { c.S2P, c.HYP, c.XNX, c.FWB = false, false, false, false },
			[]uint64{spec.CmdTlbiS12VMAll, spec.CmdTlbiS2IPA, spec.CmdTlbiEL2ASID, spec.CmdTlbiEL2VA, spec.CmdTlbiEL2VAA}},
		"ATS":    {func(c *smmuv3.Config) { c.ATS, c.PRI = false, false }, []uint64{spec.CmdAtcInv, spec.CmdPriResp}},
		"stalls": {stall(spec.StallNever), []uint64{spec.CmdResume, spec.CmdStallTerm}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.change).enable()
			for _, op := range c.ops {
				r.requireError(command(op), spec.CerrorILL)
				r.repair(sync())
			}
		})
	}
}

func TestSMMUQuirk32_AnErrorLeavesTheReaderAtTheCommand(t *testing.T) {
	r := newRig(t).enable()
	r.submit(sync(), sync())
	r.W32(spec.OffIRQCtrl, 0)
	r.requireError([2]uint64{0}, spec.CerrorILL)
	require.EqualValues(t, 2, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask())
	r.push(sync())
	r.ring() // stopped: a doorbell does nothing
	require.EqualValues(t, 2, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask())
}

func TestSMMUQuirk33_TheErrorStaysInTheRegister(t *testing.T) {
	r := newRig(t).enable()
	r.requireError([2]uint64{0}, spec.CerrorILL)
	r.repair(sync())
	r.submit(sync(), sync())
	require.EqualValues(t, spec.CerrorILL, spec.CmdqErr.Of(r.R32(spec.OffCMDQCons)), "stale, and not disturbed")
	require.Equal(t, r.prod, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask())
}

func TestSMMUQuirk31_AcknowledgementRestartsAndFetchesAnew(t *testing.T) {
	r := newRig(t).enable()
	r.requireError([2]uint64{0}, spec.CerrorILL)
	g := r.R32(spec.OffGERROR)
	// Toggling CMDQEN does not clear it, and it does not toggle twice.
	r.update(false, spec.Cr0CMDQEN)
	r.update(true, spec.Cr0CMDQEN)
	require.Equal(t, g, r.R32(spec.OffGERROR))
	require.Zero(t, r.R32(spec.OffCMDQCons)&spec.QIndex.Mask())
	// A wrong acknowledgement of an error that is not active is ignored.
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERRORN)^spec.GerrEVENTQAbt.Mask())
	require.Equal(t, spec.GerrCMDQ.Mask(), r.active())
	r.repair(sync())
	// The next error toggles the bit back.
	r.requireError([2]uint64{0}, spec.CerrorILL)
	require.Zero(t, r.R32(spec.OffGERROR))
	r.repair(sync())
}

func TestCommandFetchAbort(t *testing.T) {
	r := newRig(t).enable()
	r.push(sync())
	r.push(sync())
	id := r.Mem.AddBusError(r.cmd+16, r.cmd+31, emu.RW)
	r.ring()
	require.EqualValues(t, 1|spec.CerrorABT<<24, r.R32(spec.OffCMDQCons))
	require.True(t, r.Mem.RemoveBusError(id))
	r.repair(sync())
}

func TestSMMUQuirk34_TheWrapFlagIsAboveTheIndex(t *testing.T) {
	for _, bits := range []uint64{0, 1, 3} {
		r := newRig(t).queues()
		r.update(false, spec.Cr0CMDQEN)
		r.W64(spec.OffCMDQBase, uint64(r.cmd)|bits)
		r.W32(spec.OffCMDQProd, 0)
		r.W32(spec.OffCMDQCons, 0)
		r.update(true, spec.Cr0CMDQEN)
		n := uint64(1) << bits
		for i := range 2 * n {
			r.Put(r.cmd+emu.PA(i%n*16), sync()[0], 0)
		}
		for _, prod := range []uint64{n, 0, n} { // full, twice around
			r.W32(spec.OffCMDQProd, prod|^uint64(2*n-1)&spec.QIndex.Mask()) // bits above do not count
			require.Equal(t, prod, r.R32(spec.OffCMDQProd))
			require.Equal(t, prod, r.R32(spec.OffCMDQCons), "queue of %d", n)
		}
	}
}

func TestLargestQueueIsThatOfTheUnit(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.CMDQS = 2 }).queues()
	r.update(false, spec.Cr0CMDQEN)
	r.W64(spec.OffCMDQBase, uint64(r.cmd)|31)
	require.EqualValues(t, 31, r.R64(spec.OffCMDQBase)&0x1f, "read back as written")
	for i := range emu.PA(4) {
		r.Put(r.cmd+i*16, sync()[0], 0)
	}
	r.W32(spec.OffCMDQProd, 0)
	r.W32(spec.OffCMDQCons, 0)
	r.update(true, spec.Cr0CMDQEN)
	r.W32(spec.OffCMDQProd, 7)
	require.EqualValues(t, 7, r.R32(spec.OffCMDQCons))
}

// tlbState fills the IOTLB with translations of every kind, and says which are still there.
type tlbState struct {
	*rig
	queries map[string]emu.Request
}

func newTLBState(t *testing.T) *tlbState {
	r := newRig(t).enable()
	s := &tlbState{rig: r, queries: map[string]emu.Request{}}
	sid := emu.SourceID(0x100)
	var root emu.PA
	more := func(name string, addr uint64, bits uint64) {
		r.mapPage(root, addr, 0x5000, bits)
		s.queries[name] = emutest.DMA(sid, emu.NoPASID, addr, emu.Read)
	}
	add := func(name string, addr uint64, bits uint64, ste []field, cd []field) {
		sid++
		_, root = r.attach(sid, cd...)
		r.set(r.ste(sid), ste...)
		more(name, addr, bits)
	}
	id := func(v, a uint64) ([]field, []field) {
		return []field{{spec.SteS2VMID, v}}, []field{{spec.CdASID, a}}
	}
	ste, cd := id(vmid, asid)
	add("asid", iova, s1RW, ste, cd)
	more("asid next page", iova+0x1000, s1RW)
	more("global", iova+0x2000, page|user)
	ste, cd = id(vmid, asid+1)
	add("other asid", iova, s1RW, ste, cd)
	ste, cd = id(vmid+1, asid)
	add("other vmid", iova, s1RW, ste, cd)
	add("el2", iova, s1RW, []field{{spec.SteSTRW, spec.STRWEL2}}, nil)
	sid++
	root = r.attach2(sid)
	r.mapPage(root, iova, 0x5000, s2RW)
	s.queries["s2"] = emutest.DMA(sid, emu.NoPASID, iova, emu.Read)
	sid++
	root = r.attach2(sid, field{spec.SteS2VMID, vmid + 1})
	r.mapPage(root, iova, 0x5000, s2RW)
	s.queries["s2 other vmid"] = emutest.DMA(sid, emu.NoPASID, iova, emu.Read)
	return s
}

// gone runs commands on a full IOTLB and returns whose translations they dropped.
func (s *tlbState) gone(list ...[2]uint64) map[string]bool {
	for _, q := range s.queries {
		s.RequireOK(s.Do(q), 0x5000)
	}
	s.submit(append(list, sync())...)
	gone := map[string]bool{}
	for name, q := range s.queries {
		before := emutest.Stats(s.u)[emu.CacheIOTLB].Fills
		s.Do(q)
		if emutest.Stats(s.u)[emu.CacheIOTLB].Fills != before {
			gone[name] = true
		}
	}
	return gone
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// 4.4: what each command drops, and nothing else.
func TestSMMUQuirk42_ScopeOfTLBInvalidations(t *testing.T) {
	s := newTLBState(t)
	vm := field{spec.CmdVMID, vmid}
	as := field{spec.CmdASID, asid}
	at := func(a uint64) field { return field{spec.CmdAddr, a >> 12} }
	for _, c := range []struct {
		name string
		w    [2]uint64
		want map[string]bool
	}{
		{"NH_ALL", command(spec.CmdTlbiNHAll, vm), set("asid", "asid next page", "global", "other asid")},
		{"NH_ASID spares global", command(spec.CmdTlbiNHASID, vm, as), set("asid", "asid next page")},
		{"NH_VA", command(spec.CmdTlbiNHVA, vm, as, at(iova)), set("asid")},
		{"NH_VA hits global whatever the ASID", command(spec.CmdTlbiNHVA, vm, field{spec.CmdASID, 0x99}, at(iova+0x2000)), set("global")},
		{"NH_VAA", command(spec.CmdTlbiNHVAA, vm, at(iova)), set("asid", "other asid")},
		{"NH_VAA range", command(spec.CmdTlbiNHVAA, vm, at(iova), field{spec.TlbiTG, 1}, field{spec.TlbiNum, 2}), set("asid", "other asid", "asid next page", "global")},
		{"NH_VA range of two", command(spec.CmdTlbiNHVA, vm, as, at(iova), field{spec.TlbiTG, 1}, field{spec.TlbiScale, 1}), set("asid", "asid next page")},
		{"TG=0 is no range", command(spec.CmdTlbiNHVA, vm, as, at(iova), field{spec.TlbiNum, 31}, field{spec.TlbiScale, 3}), set("asid")},
		{"EL2_ALL", command(spec.CmdTlbiEL2All), set("el2")},
		{"EL2_VA", command(spec.CmdTlbiEL2VA, as, at(iova)), set("el2")},
		{"EL2_VA of another page", command(spec.CmdTlbiEL2VA, as, at(iova+0x1000)), set()},
		{"EL2_VAA", command(spec.CmdTlbiEL2VAA, at(iova)), set("el2")},
		{"EL2_ASID: EL2 has none", command(spec.CmdTlbiEL2ASID, as), set()},
		{"S12_VMALL", command(spec.CmdTlbiS12VMAll, vm), set("asid", "asid next page", "global", "other asid", "s2")},
		{"S2_IPA", command(spec.CmdTlbiS2IPA, vm, at(iova)), set("s2")},
		{"S2_IPA of another page", command(spec.CmdTlbiS2IPA, vm, at(iova+0x1000)), set()},
		{"NSNH_ALL", command(spec.CmdTlbiNSNHAll), set("asid", "asid next page", "global", "other asid", "other vmid", "s2", "s2 other vmid")},
		{"CFGI drops no translations", cfgiAll(), set()},
	} {
		require.Equal(t, c.want, s.gone(c.w), c.name)
	}
	// CR0.VMW: low bits of the VMID do not count.
	s.W32(spec.OffCR0, s.R32(spec.OffCR0)|1<<6)
	require.Equal(t, set("asid", "asid next page", "global", "other asid"), s.gone(command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid ^ 1})))
	s.W32(spec.OffCR0, s.R32(spec.OffCR0)&^(7<<6)|4<<6)
	require.Equal(t, set("asid", "asid next page", "global", "other asid", "other vmid", "s2", "s2 other vmid"),
		s.gone(command(spec.CmdTlbiS12VMAll, field{spec.CmdVMID, 0})))
	s.W32(spec.OffCR0, s.R32(spec.OffCR0)&^(7<<6)|5<<6)
	require.Equal(t, set("s2"), s.gone(command(spec.CmdTlbiS2IPA, vm, at(iova))), "reserved values count as 0")
}

func TestE2HInvalidations(t *testing.T) {
	r := newRig(t).queues()
	r.W32(spec.OffCR2, spec.Cr2E2H.Mask())
	r.update(true, spec.Cr0SMMUEN)
	_, root := r.attach(dev)
	r.set(r.ste(dev), field{spec.SteSTRW, spec.STRWEL2})
	r.mapPage(root, iova, 0x5000, s1RW)
	r.mapPage(root, iova+0x1000, 0x6000, page|user)
	s := &tlbState{rig: r, queries: map[string]emu.Request{}}
	s.queries["asid"] = dma(emu.Read)
	_ = s.gone()
	as, at := field{spec.CmdASID, asid}, func(a uint64) field { return field{spec.CmdAddr, a >> 12} }
	require.Equal(t, set("asid"), s.gone(command(spec.CmdTlbiEL2ASID, as)))
	require.Equal(t, set("asid"), s.gone(command(spec.CmdTlbiEL2VA, as, at(iova))))
	require.Equal(t, set(), s.gone(command(spec.CmdTlbiEL2VA, field{spec.CmdASID, 9}, at(iova))))
	require.Equal(t, set("asid"), s.gone(command(spec.CmdTlbiEL2VAA, at(iova))))
	s.queries = map[string]emu.Request{"global": emutest.DMA(dev, emu.NoPASID, iova+0x1000, emu.Read)}
	for _, q := range s.queries {
		s.RequireOK(s.Do(q), 0x6000)
	}
}

// A table that was unlinked is forgotten with Leaf=0 only.
func TestLeafSparesTables(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	next := r.Page()
	r.Put(next+emu.PA(iova>>12&511*8), 0x6000|s1RW)
	r.Put(r.descriptor(spec.Granule4K, root, 3, iova, 1), uint64(next)|table)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova, field{spec.CmdLeaf, 1}), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x6000)
}

func TestSMMUQuirk43_S2IPASparesWhatBothStagesMade(t *testing.T) {
	n := newNested(t)
	n.leaf(iova, 0x77_0000, s1RW)
	at := n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	n.Put(at, 0xaa_0000|s2RW)
	ipa := command(spec.CmdTlbiS2IPA, field{spec.CmdVMID, vmid}, field{spec.CmdIPA, 0x77_0000 >> 12})
	n.submit(ipa, sync())
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	n.submit(command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid}), sync())
	n.RequireOK(n.Do(dma(emu.Read)), 0xaa_0000)
	// NH_ALL alone does not drop what stage 2 keeps by itself.
	n.Put(at, 0xbb_0000|s2RW)
	n.submit(command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid}), sync())
	n.RequireOK(n.Do(dma(emu.Read)), 0xaa_0000)
	n.submit(ipa, command(spec.CmdTlbiNHAll, field{spec.CmdVMID, vmid}), sync())
	n.RequireOK(n.Do(dma(emu.Read)), 0xbb_0000)
}

func TestSMMUQuirk44_Stage1AloneIsTaggedWithTheVMID(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	// The same ASID under another VMID does not hit.
	other2 := r.Page()
	r.mapPage(other2, iova, 0x6000, s1RW)
	w := words(cdFields(other2)...)
	cd2 := r.Page()
	r.Put(cd2, w[:]...)
	r.bind(other, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(cd2) >> 6}, field{spec.SteS2VMID, vmid + 1})
	r.RequireOK(r.Access(other, iova, emu.Read), 0x6000)
	require.NotZero(t, cd)
	// Under the same VMID it does: software has to keep ASIDs apart.
	r.set(r.ste(other), field{spec.SteS2VMID, vmid})
	r.submit(cfgiSTE(other, 1), sync())
	res := r.Access(other, iova, emu.Read)
	r.RequireOK(res, 0x5000)
	require.NotEqual(t, res.Prov.Entry, res.Prov.Fill, "and provenance tells")
}

func TestGlobalTranslationsAreSharedByASIDs(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, page|user)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	_, root = r.attach(other, field{spec.CdASID, asid + 1})
	r.mapPage(root, iova, 0x6000, page|user)
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000)
	r.submit(command(spec.CmdTlbiNHASID, field{spec.CmdVMID, vmid}, field{spec.CmdASID, asid + 1}), sync())
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	r.RequireOK(r.Access(other, iova, emu.Read), 0x6000)
}

func TestRangesOfStreams(t *testing.T) {
	r := newRig(t).enable()
	bypass := field{spec.SteConfig, spec.ConfigBypass}
	for _, s := range []emu.SourceID{0x100, 0x107, 0x108} {
		r.bind(s, bypass)
		r.RequireOK(r.Access(s, iova, emu.Read), iova)
		r.set(r.ste(s), field{spec.SteConfig, spec.ConfigAbort})
	}
	r.submit(command(spec.CmdCfgiSTERange, field{spec.CmdSID, 0x105}, field{spec.CfgiRange, 2}), sync())
	r.requireSilent(emutest.DMA(0x100, emu.NoPASID, iova, emu.Read), smmuv3.FaultConfig)
	r.requireSilent(emutest.DMA(0x107, emu.NoPASID, iova, emu.Read), smmuv3.FaultConfig)
	r.RequireOK(r.Access(0x108, iova, emu.Read), iova)
	r.submit(cfgiAll(), sync())
	r.requireSilent(emutest.DMA(0x108, emu.NoPASID, iova, emu.Read), smmuv3.FaultConfig)
}

func TestSMMUQuirk50_PrefetchHasNoEffect(t *testing.T) {
	r := newRig(t).enable()
	r.submit(command(spec.CmdPrefetchConfig, field{spec.CmdSID, 1 << 31}), command(spec.CmdPrefetchAddr, field{spec.CmdSID, uint64(dev)}, field{spec.PfSize, 31}), sync())
	require.Empty(t, r.drain())
	r.update(false, spec.Cr0SMMUEN)
	r.submit(command(spec.CmdPrefetchConfig), sync())
}

func TestSMMUQuirk48_SyncSignals(t *testing.T) {
	r := newRig(t).enable()
	at := r.Page()
	signal := func(cs, addr uint64) [2]uint64 {
		return command(spec.CmdSync, field{spec.SyncCS, cs}, field{spec.SyncMSIData, 0xdead_beef}, field{spec.SyncMSIAddr, addr >> 2})
	}
	r.Put(at, ^uint64(0), ^uint64(0))
	r.submit(signal(spec.SyncIRQ, uint64(at)+4))
	require.Equal(t, uint64(0xdead_beef_ffff_ffff), r.Get(at), "4 bytes are written")
	r.submit(signal(spec.SyncNone, uint64(at)+8), signal(spec.SyncSEV, uint64(at)+8), signal(spec.SyncIRQ, 0))
	require.Equal(t, ^uint64(0), r.Get(at+8))
	require.Empty(t, r.MSI)
	r.submit(signal(spec.SyncIRQ, 0xfee0_1000))
	require.Equal(t, []uint32{0xdead_beef}, r.MSI)
	// Onto the queue's own entry, which is free by then: a driver polls there.
	slot := r.cmd + emu.PA(r.prod*spec.CommandSize)
	r.submit(signal(spec.SyncIRQ, uint64(slot)))
	require.EqualValues(t, 0xdead_beef, uint32(r.Get(slot)))
	// A message that fails is a global error, and stops nothing.
	r.BusError(at, 8)
	r.push(signal(spec.SyncIRQ, uint64(at)))
	r.ring()
	require.Equal(t, spec.GerrMSICMDQ.Mask(), r.active())
	require.Equal(t, r.prod, r.R32(spec.OffCMDQCons))
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
	r.submit(sync())
}

func TestSyncSignalComesAfterTheReaderHasMoved(t *testing.T) {
	r := newRig(t).enable()
	at := r.Page()
	seen := uint64(99)
	r.Mem.Watch(at, at+3, func(emu.PA, uint8) { seen = r.R32(spec.OffCMDQCons) })
	r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}, field{spec.SyncMSIAddr, uint64(at) >> 2}))
	require.EqualValues(t, 1, seen)
}
