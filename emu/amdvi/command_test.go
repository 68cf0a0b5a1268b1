package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

func TestIllegalCommands(t *testing.T) {
	noIOTLB := func(c *amdvi.Config) {
		c.IotlbSup, c.InvIotlbTypeSup = false, false
		noPPR(c)
	}
	noGT := func(c *amdvi.Config) {
		c.GTSup, c.GIoSup, c.GCR3TRPModeSup, c.GATS, c.GLXSup = false, false, false, 0, 0
	}
	plain := func(*amdvi.Config) {}
	for _, c := range []struct {
		name   string
		w      [2]uint64
		change func(*amdvi.Config)
	}{
		{"opcode 0", [2]uint64{}, plain},
		{"opcode 9", [2]uint64{op(9)}, plain},
		{"opcode Fh", [2]uint64{op(15)}, plain},
		{"COMPLETE_PPR without PPRSup", [2]uint64{op(spec.CmdCompletePPR)}, noPPR},
		{"COMPLETION_WAIT bit 59", [2]uint64{op(spec.CmdCompletionWait) | 1<<59}, plain},
		{"INVALIDATE_DEVTAB_ENTRY bit 16", [2]uint64{op(spec.CmdInvalidateDevtab) | 1<<16}, plain},
		{"INVALIDATE_DEVTAB_ENTRY word 1", [2]uint64{op(spec.CmdInvalidateDevtab), 1}, plain},
		{"INVALIDATE_IOMMU_PAGES bit 20", invPages(1, 0), func(*amdvi.Config) {}},
		{"INVALIDATE_IOMMU_PAGES GN without GTSup", invGuest(1, 0, 0), noGT},
		{"INVALIDATE_IOTLB_PAGES without IotlbSup", [2]uint64{op(spec.CmdInvalidateIOTLB)}, noIOTLB},
		{"INVALIDATE_IOTLB_PAGES type", [2]uint64{op(spec.CmdInvalidateIOTLB), 1 << 4}, func(c *amdvi.Config) { c.InvIotlbTypeSup = false }},
		{"PREFETCH without PreFSup", [2]uint64{op(spec.CmdPrefetchPages)}, func(c *amdvi.Config) { c.PreFSup = false }},
		{"INVALIDATE_IOMMU_ALL without IASup", invAll(), func(c *amdvi.Config) { c.IASup = false }},
		{"INVALIDATE_IOMMU_ALL with operand", [2]uint64{op(spec.CmdInvalidateAll) | 1}, plain},
	} {
		if c.name == "INVALIDATE_IOMMU_PAGES bit 20" {
			c.w[0] |= 1 << 20
		}
		r := newRig(t, c.change).enable()
		status := r.Page()
		r.submit(wait(status, 1), c.w, wait(status, 2))
		require.EqualValues(t, 1, r.Get(status), c.name)
		require.False(t, r.status(spec.StsCmdBufRun), c.name)
		require.EqualValues(t, 16, r.head(), "%s: the head is at the command", c.name)
		require.Equal(t, [2]uint64{uint64(spec.EventIllegalCommand) << 60, uint64(r.cmd) + 16}, r.event(), c.name)
	}
}

func TestAMDQuirk24_RestartAfterAnIllegalCommand(t *testing.T) {
	r := newRig(t).enable()
	status := r.Page()
	r.submit([2]uint64{}, wait(status, 2))
	r.event()
	r.push(wait(status, 3))
	r.ring() // a tail alone does nothing
	require.Zero(t, r.Get(status))
	r.control(true, spec.CtlCmdBufEn) // nor does setting what is set
	require.Zero(t, r.Get(status))
	w := wait(status+8, 1)
	r.Put(r.cmd, w[0], w[1]) // repaired in place
	r.control(false, spec.CtlCmdBufEn)
	r.control(true, spec.CtlCmdBufEn)
	require.True(t, r.status(spec.StsCmdBufRun))
	require.EqualValues(t, 1, r.Get(status+8))
	require.EqualValues(t, 3, r.Get(status))
	require.Equal(t, r.tail, r.head())
}

func TestCommandHardwareErrors(t *testing.T) {
	// The fetch.
	r := newRig(t).enable()
	r.BusError(r.cmd+16, 16)
	status := r.Page()
	r.push(wait(status, 1))
	r.tail += 16
	r.ring()
	require.EqualValues(t, 1, r.Get(status))
	want := [2]uint64{uint64(spec.EventCommandHW)<<60 | 1<<57, uint64(r.cmd) + 16}
	require.Equal(t, want, r.event())
	require.EqualValues(t, 16, r.head())
	require.False(t, r.status(spec.StsCmdBufRun))
	require.Equal(t, want[0], r.R64(spec.OffHWEventUpper))

	// The store of a COMPLETION_WAIT.
	r = newRig(t).enable()
	status = r.Page()
	r.BusError(status, 8)
	r.submit(wait(status, 1), wait(status+8, 2))
	require.Equal(t, [2]uint64{uint64(spec.EventCommandHW)<<60 | 1<<57, uint64(status)}, r.event())
	require.Zero(t, r.head())
	require.Zero(t, r.Get(status+8))
}

func TestAMDQuirk21_HeadMovesBeforeCompletion(t *testing.T) {
	r := newRig(t).enable()
	status := r.Page()
	r.push(wait(status, 1))
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	s := r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
	require.Equal(t, r.tail, r.head())
	require.Zero(t, r.Get(status))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpStore })
	require.EqualValues(t, 8, s.Txn.Act.Size)
	require.EqualValues(t, 1, r.Get(status))
	s.End()
	for _, a := range s.Acts {
		if a.Op == emu.OpFetch {
			require.EqualValues(t, spec.CommandSize, a.Size)
		}
	}
}

func TestCompletionWaitForms(t *testing.T) {
	r := newRig(t).enable()
	status := r.Page()
	bare := [2]uint64{op(spec.CmdCompletionWait) | spec.CwF.Mask(), 7}
	r.submit(bare, wait(status, ^uint64(0)))
	require.Equal(t, ^uint64(0), r.Get(status), "8 bytes")
	require.Empty(t, r.events())
	require.False(t, r.status(spec.StsComWaitInt))
}

func comWaitInt() [2]uint64 { return [2]uint64{op(spec.CmdCompletionWait) | spec.CwI.Mask()} }

func TestAMDQuirk22_StatusIsSetWhateverTheEnables(t *testing.T) {
	r := newRig(t).enable()
	r.messages()
	r.control(false, spec.CtlComWaitIntEn, spec.CtlEventIntEn)
	r.submit(comWaitInt())
	r.attach(dev, 3)
	r.Access(dev, iova, emu.Read)
	require.True(t, r.status(spec.StsComWaitInt) && r.status(spec.StsEventLogInt))
	require.Empty(t, r.MSI, "the enables gate the message")
	// Enabled while the condition stands: one message each.
	r.control(true, spec.CtlComWaitIntEn)
	require.Equal(t, []uint32{msiData}, r.MSI)
	r.control(true, spec.CtlEventIntEn)
	require.Equal(t, []uint32{msiData, msiData}, r.MSI)
	// What is not cleared silences further ones.
	r.submit(comWaitInt())
	r.Access(dev, iova, emu.Read)
	require.Len(t, r.MSI, 2)
	r.W64(spec.OffStatus, spec.StsComWaitInt.Mask())
	require.True(t, r.status(spec.StsEventLogInt), "writing 0 does nothing")
	r.submit(comWaitInt())
	require.Len(t, r.MSI, 3)
}

func TestAMDQuirk23_StatusClearedBeforeTheLogIsRead(t *testing.T) {
	r := newRig(t).enable()
	r.messages()
	r.attach(dev, 3)
	r.Access(dev, iova, emu.Read)
	require.Len(t, r.MSI, 1)
	r.W32(spec.OffStatus, spec.StsEventLogInt.Mask()) // a driver clears,
	r.Access(dev, iova, emu.Write)                    // a new event comes,
	require.Len(t, r.MSI, 2)
	require.Len(t, r.events(), 2) // and the driver reads both
	require.True(t, r.status(spec.StsEventLogInt), "and sees on rereading that there was more")
}

func TestMessagesAreSentAsProgrammed(t *testing.T) {
	r := newRig(t).enable()
	var to []emu.PA
	r.F.OnMSI = func(pa emu.PA, data uint32) { to, r.MSI = append(to, pa), append(r.MSI, data) }
	r.control(true, spec.CtlComWaitIntEn)
	again := func() {
		r.W64(spec.OffStatus, spec.StsComWaitInt.Mask())
		r.submit(comWaitInt())
	}
	again()
	require.Empty(t, to, "MSI is off")
	r.configureMSI(0x12_fee0_3000, 0x55, true)
	again()
	require.Equal(t, []emu.PA{0x12_fee0_3000}, to)
	require.Equal(t, []uint32{0x55}, r.MSI)
	r.control(true, spec.CtlIntCapXTEn)
	r.W64(spec.OffXTIntControl, 0x12<<56|1<<40|0x77<<32|0x345678<<8|1<<2)
	again()
	require.Equal(t, emu.PA(0x12_3456_00)<<32|0xfee7_8004, to[1])
	require.Equal(t, uint32(0x177), r.MSI[1])
	r.control(false, spec.CtlIntCapXTEn)
	r.configureMSI(0, 0, false)
	again()
	require.Len(t, to, 2)
}

func TestDeviceIOTLBInvalidation(t *testing.T) {
	r := newRig(t).enable()
	var got []emu.Act
	answer := true
	r.F.OnATSInvalidate = func(t *emu.Txn) bool { got = append(got, t.Act); return answer }
	status := r.Page()
	inv := func(w0, w1 uint64) [2]uint64 { return [2]uint64{op(spec.CmdInvalidateIOTLB) | w0, w1} }
	r.submit(inv(uint64(dev)|0x20<<24|uint64(dev)<<32, 0x1234_5000),
		inv(uint64(dev)|spec.PutIotlbPASID(0xab4cd), spec.AllPages|invS|invGN), wait(status, 1))
	require.Len(t, got, 2)
	require.EqualValues(t, dev, got[0].Key.Addr)
	require.Equal(t, emu.NoPASID, got[0].Key.Tag.PASID())
	require.EqualValues(t, 0x1234_5000, got[0].Data[0])
	require.Equal(t, emu.PASID(0xab4cd), got[1].Key.Tag.PASID())
	require.EqualValues(t, uint64(spec.AllPages)|1<<11, got[1].Data[0])
	require.EqualValues(t, 1, r.Get(status))

	answer = false
	r.submit(inv(uint64(dev), 0), wait(status, 2))
	require.Empty(t, r.events(), "no time-out is set")
	require.EqualValues(t, 2, r.Get(status))
	r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlInvTimeOut.Put(4))
	at := uint64(r.cmd) + r.tail
	r.submit(inv(uint64(dev), 0), wait(status, 3))
	require.Equal(t, [2]uint64{uint64(spec.EventIOTLBTimeout)<<60 | uint64(dev), at}, r.event())
	require.EqualValues(t, 3, r.Get(status), "the command counts as done")
}

func invIOTLB(s emu.SourceID, queue, maxPend uint64) [2]uint64 {
	return [2]uint64{op(spec.CmdInvalidateIOTLB) | uint64(s) | spec.ItQueueID.Put(queue) | spec.ItMaxPend.Put(maxPend)}
}

// sends runs the command engine until it parks or ends, and returns the ITags of the requests it sent.
func sends(s *emutest.Stepper) (tags []uint8) {
	for s.Next() && s.Txn.Act.Op != emu.OpPark {
		if s.Txn.Act.Op == emu.OpSend {
			tags = append(tags, uint8(s.Txn.Act.N))
		}
	}
	return tags
}

func TestCompletionWaitWaitsForDevices(t *testing.T) {
	r := newRig(t).enable()
	status := r.Page()
	for _, w := range [][2]uint64{invIOTLB(dev, 1, 0), invIOTLB(other, 2, 0), wait(status, 1)} {
		r.push(w)
	}
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	s := r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	tags := sends(s)
	require.Equal(t, []uint8{0, 1}, tags)
	require.Equal(t, r.tail, r.head())
	require.Zero(t, r.u.ATSEnded(other, 0, true), "not the device that was asked")
	require.Equal(t, amdvi.EngineCommand.Set(), r.u.ATSEnded(dev, 0, true))
	require.Empty(t, sends(s))
	require.Equal(t, emu.OpPark, s.Txn.Act.Op, "the other one has not answered")
	require.Zero(t, r.Get(status))
	require.Equal(t, amdvi.EngineCommand.Set(), r.u.ATSEnded(other, 1, true))
	s.End()
	require.EqualValues(t, 1, r.Get(status))
	require.Zero(t, r.u.ATSEnded(other, 1, true), "no such request")
	require.Zero(t, r.u.UnexpectedATSCompletion(other))
}

func TestMaxPendBoundsTheRequestsOfAQueue(t *testing.T) {
	r := newRig(t).enable()
	for range 3 {
		r.push(invIOTLB(dev, 1, 2))
	}
	r.push(invIOTLB(other, 2, 2))
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	s := r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	require.Equal(t, []uint8{0, 1}, sends(s))
	r.u.ATSEnded(dev, 1, true)
	require.Equal(t, []uint8{1, 2}, sends(s), "the third, and that of the other queue")

	// Without a bound there are as many as there are tags.
	r = newRig(t).enable()
	for range 40 {
		r.push(invIOTLB(dev, 1, 0))
	}
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	s = r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	require.Len(t, sends(s), emu.MaxITags)
	require.Equal(t, emu.OpPark, s.Txn.Act.Op)
}

func TestTimeoutIsLoggedBeforeTheWaitCompletes(t *testing.T) {
	r := newRig(t).enable()
	r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlInvTimeOut.Put(4))
	status := r.Page()
	r.push(invIOTLB(dev, 1, 0))
	r.push(wait(status, 1))
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	s := r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	sends(s)
	require.Equal(t, amdvi.EngineTimeout.Set(), r.u.ATSEnded(dev, 0, false))
	require.Zero(t, r.u.ATSEnded(dev, 0, true), "too late")
	sends(s)
	require.Equal(t, emu.OpPark, s.Txn.Act.Op)
	log := r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineTimeout, PASID: emu.NoPASID})
	log.End()
	require.Equal(t, amdvi.EngineCommand.Set(), log.Txn.Wake)
	require.Equal(t, [2]uint64{uint64(spec.EventIOTLBTimeout)<<60 | uint64(dev), uint64(r.cmd)}, r.event())
	s.End()
	require.EqualValues(t, 1, r.Get(status))
}

// What an invalidation drops: pages 4000h to 7fffh of two domains and of a PASID, looked for by fetches.
func TestAMDQuirk18_RangesOfInvalidations(t *testing.T) {
	for _, c := range []struct {
		w1    uint64
		stays []uint64 // pages
	}{
		{0x5000, []uint64{4, 6, 7}},
		{0x4000 | invS, []uint64{6, 7}},        // 8 KiB at 4000h
		{0x6000 | invS, []uint64{4, 5}},        // 8 KiB at 6000h
		{0x5000 | invS, nil},                   // bit 12 set, bit 13 clear: 16 KiB
		{0x1000 | invS, []uint64{4, 5, 6, 7}},  // 16 KiB at 0
		{0x3000 | invS, nil},                   // 32 KiB at 0
		{0x10000 | invS, []uint64{4, 5, 6, 7}}, // 8 KiB elsewhere
		{spec.AllPages | invS, nil},
		{1<<63 | spec.AllPages | invS, nil},
		{spec.AllPages, []uint64{4, 5, 6, 7}}, // one page, far away
	} {
		r := newRig(t).enable()
		top := r.attach(dev, 3)
		r.attach(other, 3, field{spec.DteDomainID, 8}, field{spec.DteHostRoot, uint64(top) >> 12})
		for p := uint64(4); p < 8; p++ {
			r.mapPage(top, p<<12, p<<12, pRW)
			r.Access(dev, p<<12, emu.Read)
			r.Access(other, p<<12, emu.Read)
		}
		r.submit(invPages(did, c.w1))
		var left []uint64
		for p := uint64(4); p < 8; p++ {
			q := dma(emu.Read)
			q.Addr = emu.IOVA(p << 12)
			var res emu.Result
			if r.u.Lookup(&q, &res) {
				left = append(left, p)
			}
			q.Source = other
			require.True(t, r.u.Lookup(&q, &res), "another domain")
		}
		require.Equal(t, c.stays, left, "%#x", c.w1)
	}
}

func TestInvalidateAllDropsEverything(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	r.submit(invAll())
	s := r.Begin(dma(emu.Read))
	s.End()
	sizes, _ := fetched(s)
	require.Equal(t, []uint8{32, 8, 8, 8}, sizes)
}

func TestPrefetchIsAHint(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	q := dma(emu.Read)
	var res emu.Result
	r.submit([2]uint64{op(spec.CmdPrefetchPages) | uint64(dev), iova})
	require.True(t, r.u.Lookup(&q, &res))
	r.submit([2]uint64{op(spec.CmdPrefetchPages) | uint64(dev), iova | 1<<4}) // Inval
	require.False(t, r.u.Lookup(&q, &res))
	r.submit([2]uint64{op(spec.CmdPrefetchPages) | uint64(dev), iova | 1<<4 | invGN})
	require.Empty(t, r.events())
}

func TestAMDQuirk46_RingsCanBeRestartedWhileTranslationGoesOn(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	status := r.Page()
	r.submit(wait(status, 1), wait(status, 2))
	s := r.Begin(dma(emu.Read)) // in flight meanwhile
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch })
	r.control(false, spec.CtlCmdBufEn, spec.CtlEventLogEn)
	require.False(t, r.status(spec.StsCmdBufRun))
	for _, off := range []uint32{spec.OffCmdHead, spec.OffCmdTail, spec.OffEventHead, spec.OffEventTail} {
		r.W32(off, 0)
	}
	r.tail = 0
	r.control(true, spec.CtlCmdBufEn, spec.CtlEventLogEn)
	r.submit(invAll(), wait(status, 3))
	require.EqualValues(t, 3, r.Get(status))
	require.EqualValues(t, 32, r.head())
	r.RequireOK(s.End(), 0x5000)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
}

// A command that is being executed when the buffer is turned off is finished; the next is not begun,
// and the head that software sets stays.
func TestCommandBufferStopsBehindTheCommandInExecution(t *testing.T) {
	r := newRig(t).enable()
	status := r.Page()
	r.push(wait(status, 1))
	r.push(wait(status+8, 2))
	r.u.WriteReg(spec.OffCmdTail, 4, r.tail)
	s := r.Begin(emu.Request{Type: emu.Job, Job: amdvi.EngineCommand, PASID: emu.NoPASID})
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch })
	r.u.WriteReg(spec.OffControl, 8, r.R64(spec.OffControl)&^spec.CtlCmdBufEn.Mask())
	require.True(t, r.status(spec.StsCmdBufRun), "until the engine has stopped")
	r.u.WriteReg(spec.OffCmdHead, 4, 0x40)
	s.End()
	require.False(t, r.status(spec.StsCmdBufRun))
	require.EqualValues(t, 1, r.Get(status))
	require.Zero(t, r.Get(status+8))
	require.EqualValues(t, 0x40, r.head())
}
