package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/emu/timing"
)

// stallRig is a rig whose dev stalls on faults of stage 1, with the ends of transactions that were held.
type stallRig struct {
	*rig
	cd, root emu.PA
	ends     map[uint32]emu.Result
}

func newStalls(t *testing.T, change ...change) *stallRig {
	r := &stallRig{rig: newRig(t, change...).enable(), ends: map[uint32]emu.Result{}}
	r.cd, r.root = r.attach(dev, field{spec.CdS, 1}, field{spec.CdR, 0})
	r.F.OnEnd = func(id uint32, res *emu.Result) { r.ends[id] = *res }
	return r
}

// stalled requires that q is held, and returns its name and its STAG.
func (r *stallRig) stalled(q emu.Request) (id uint32, stag uint64) {
	r.T.Helper()
	res := r.Do(q)
	require.Equal(r.T, emu.Pending, res.Status, "fault %#x", res.Fault.Code)
	e := r.event()
	require.True(r.T, spec.EvtStall.On(e[1]))
	return res.Data, spec.EvtSTAG.Of(e[1])
}

func resume(s emu.SourceID, stag, ac, ab uint64) [2]uint64 {
	return command(spec.CmdResume, field{spec.CmdSID, uint64(s)}, field{spec.ResumeSTAG, stag}, field{spec.ResumeAc, ac}, field{spec.ResumeAb, ab})
}

func TestSMMUQuirk25_StallsAreRecordedWhateverRSays(t *testing.T) {
	r := newStalls(t)
	res := r.Do(dma(emu.Write))
	require.Equal(t, emu.Pending, res.Status)
	e := r.event()
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTranslation, spec.EvtStall.Mask() | spec.EvtClass.Put(spec.ClassIN), iova}, e)
	// Faults of another kind terminate.
	r.Put(r.root, 0)
	r.BusError(r.root, 8)
	r.requireEvent(dma(emu.Write), smmuv3.FaultS1Fetch)
}

func TestSMMUQuirk26_Resume(t *testing.T) {
	r := newStalls(t)
	id, stag := r.stalled(dma(emu.Write))
	r.submit(resume(other, stag, 1, 0), resume(dev, stag+1, 1, 0), resume(dev, 0xffff, 1, 0), sync())
	require.Empty(t, r.ends, "a wrong stream or STAG is nothing")
	at := r.mapPage(r.root, iova, 0x5000, s1RW)
	r.submit(resume(dev, stag, 1, 0))
	r.RequireOK(r.ends[id], 0x5000)

	r.Put(at, 0)
	r.submit(command(spec.CmdTlbiNSNHAll), sync())
	for _, c := range []struct{ ab uint64 }{{1}, {0}} {
		clear(r.ends)
		id, stag = r.stalled(dma(emu.Read))
		r.submit(resume(dev, stag, 0, c.ab))
		end := r.ends[id]
		r.RequireFault(end, smmuv3.FaultS1Translation)
		require.Equal(t, c.ab == 0, end.Fault.RAZ, "Ab=0: reads zero, writes ignored")
	}
	r = newStalls(t, func(c *smmuv3.Config) { c.TermModel = true })
	id, stag = r.stalled(dma(emu.Read))
	r.submit(resume(dev, stag, 0, 0))
	require.False(t, r.ends[id].Fault.RAZ, "TERM_MODEL=1: abort")
	// Without stalls there is no such command (TestCommandsOfWhatAUnitLacks).
}

// A retry can stall again, under another STAG or the same.
func TestRetryThatFaultsStallsAgain(t *testing.T) {
	r := newStalls(t)
	id, stag := r.stalled(dma(emu.Write))
	r.submit(resume(dev, stag, 1, 0))
	require.Empty(t, r.ends)
	e := r.event()
	require.True(t, spec.EvtStall.On(e[1]))
	r.submit(resume(dev, spec.EvtSTAG.Of(e[1]), 0, 1))
	r.RequireFault(r.ends[id], smmuv3.FaultS1Translation)
}

func TestSMMUQuirk27_StallRecordsAreNeverLost(t *testing.T) {
	const stags = 4
	r := newStalls(t, func(c *smmuv3.Config) { c.StallMax = stags })
	r.bind(other, field{spec.SteV, 0})
	for range 1 << eventBits { // fill the queue
		r.Access(other, iova, emu.Read)
	}
	res := r.Do(dma(emu.Write))
	require.Equal(t, emu.Pending, res.Status)
	require.EqualValues(t, 1<<eventBits, r.R32(spec.OffEVENTQProd), "no overflow")
	// Meanwhile its page appears. Once there is room it is translated anew.
	at := r.mapPage(r.root, iova, 0x5000, s1RW)
	require.Len(t, r.drain(), 1<<eventBits)
	r.RequireOK(r.ends[res.Data], 0x5000)
	require.Empty(t, r.drain())

	// No more stalls than STAGs: the others wait for a free one.
	r.Put(at, 0)
	r.submit(command(spec.CmdTlbiNSNHAll), sync())
	clear(r.ends)
	for range stags + 2 {
		require.Equal(t, emu.Pending, r.Do(dma(emu.Write)).Status)
	}
	seen := map[uint64]bool{}
	l := r.drain()
	require.Len(t, l, stags)
	for _, e := range l {
		seen[spec.EvtSTAG.Of(e[1])] = true
	}
	require.Len(t, seen, stags)
	r.submit(resume(dev, 2, 0, 1))
	require.Len(t, r.ends, 1)
	e := r.event()
	require.EqualValues(t, 2, spec.EvtSTAG.Of(e[1]), "one of those that waited")
	r.submit(command(spec.CmdStallTerm, field{spec.CmdSID, uint64(other)}), sync())
	require.Len(t, r.ends, 1)
	r.submit(command(spec.CmdStallTerm, field{spec.CmdSID, uint64(dev)}), sync())
	require.Len(t, r.ends, stags+2, "waiting ones too")
	for _, end := range r.ends {
		r.RequireFault(end, smmuv3.FaultS1Translation)
		require.False(t, end.Fault.RAZ)
	}
	require.Empty(t, r.drain())
}

// The queue becomes writable in other ways as well.
func TestStallsWaitForTheQueue(t *testing.T) {
	r := newStalls(t)
	r.update(false, spec.Cr0EVENTQEN)
	require.Equal(t, emu.Pending, r.Do(dma(emu.Read)).Status)
	r.update(true, spec.Cr0EVENTQEN)
	r.submit(resume(dev, spec.EvtSTAG.Of(r.event()[1]), 0, 1))
	require.Len(t, r.ends, 1)
	clear(r.ends)
	id := r.Mem.AddBusError(r.events+32, r.events+63, emu.RW)
	require.Equal(t, emu.Pending, r.Do(dma(emu.Read)).Status)
	require.Equal(t, spec.GerrEVENTQAbt.Mask(), r.active())
	require.True(t, r.Mem.RemoveBusError(id))
	r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
	r.submit(resume(dev, spec.EvtSTAG.Of(r.event()[1]), 0, 1))
	require.Len(t, r.ends, 1)
}

// Who gives up a STAG because the queue takes no record wakes nobody: the next one would do the same, for ever.
func TestStallsRestWhileTheQueueIsOff(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev, field{spec.CdS, 1})
	r.update(false, spec.Cr0EVENTQEN)
	m := r.Timed(64)
	m.Issue(5, dma(emu.Write))
	m.Settle()
	require.Empty(t, m.Status)
	r.mapPage(root, iova, 0x5000, s1RW)
	m.CPU.WriteReg(0, spec.OffCR0, 4, uint64(r.R32(spec.OffCR0))|spec.Cr0EVENTQEN.Mask())
	m.Settle()
	require.Equal(t, map[emu.Status]int{emu.OK: 5}, m.Status)
}

func TestSMMUENTerminatesStalls(t *testing.T) {
	r := newStalls(t, func(c *smmuv3.Config) { c.StallMax = 2 })
	for range 3 {
		r.Do(dma(emu.Read))
	}
	r.update(false, spec.Cr0SMMUEN)
	require.Len(t, r.ends, 3)
	for _, end := range r.ends {
		r.RequireFault(end, smmuv3.FaultS1Translation)
	}
	clear(r.ends)
	require.Len(t, r.drain(), 2)
	r.update(true, spec.Cr0SMMUEN)
	for range 2 { // the STAGs are free
		r.stalled(dma(emu.Read))
	}
}

func TestStallsOfStage2(t *testing.T) {
	r := newStalls(t)
	root := r.attach2(dev, field{spec.SteS2S, 1}, field{spec.SteS2R, 0})
	r.submit(cfgiAll(), sync())
	res := r.Do(dma(emu.Write))
	require.Equal(t, emu.Pending, res.Status)
	e := r.event()
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvTranslation, spec.EvtStall.Mask() | spec.EvtS2.Mask() | spec.EvtClass.Put(spec.ClassIN), iova, iova}, e)
	r.mapPage(root, iova, 0x5000, s2RW)
	r.submit(resume(dev, 0, 1, 0))
	r.RequireOK(r.ends[res.Data], 0x5000)
}

// 5.2, 5.4: S1STALLD forbids stalls of stage 1; the model of the unit may force or forbid them.
func TestSMMUQuirk15_StallModels(t *testing.T) {
	r := newStalls(t)
	r.set(r.ste(dev), field{spec.SteS1STALLD, 1})
	r.requireEvent(dma(emu.Read), smmuv3.FaultCDIllegal)
	for _, model := range []uint8{spec.StallNever, spec.StallAlways} {
		requireSTE(t, steCase{name: "S1STALLD", fields: []field{{spec.SteS1STALLD, 1}, {spec.SteS2S, 1}}, change: stall(model), illegal: true}, spec.ConfigS1)
	}
	requireSTE(t, steCase{name: "always, S2S=0", change: stall(spec.StallAlways), illegal: true}, spec.ConfigS2)
	requireSTE(t, steCase{name: "always, S2S=1", fields: []field{{spec.SteS2S, 1}}, change: stall(spec.StallAlways)}, spec.ConfigS2)
	requireSTE(t, steCase{name: "S2S", fields: []field{{spec.SteS2S, 1}}}, spec.ConfigS2)
	for _, c := range []struct {
		model uint8
		s     uint64
		bad   bool
	}{{spec.StallNever, 1, true}, {spec.StallNever, 0, false}, {spec.StallAlways, 0, true}, {spec.StallAlways, 1, false}} {
		r := newRig(t, stall(c.model)).enable()
		r.attach(dev, field{spec.CdS, c.s})
		res := r.Do(dma(emu.Read))
		require.Equal(t, c.bad, res.Fault.Code == smmuv3.FaultCDIllegal, "%+v", c)
	}
}

// Software may be so quick that its RESUME comes in the interrupt of the event.
func TestResumeInTheInterruptHandler(t *testing.T) {
	r := newStalls(t)
	addr, data := r.F.OnIRQ(func() {
		for _, e := range r.drain() {
			r.mapPage(r.root, e[2], 0x5000, s1RW)
			r.submit(resume(dev, spec.EvtSTAG.Of(e[1]), 1, 0))
		}
	})
	r.W64(spec.OffEVENTQIRQCfg0, uint64(addr))
	r.W32(spec.OffEVENTQIRQCfg1, uint64(data))
	r.W32(spec.OffIRQCtrl, spec.IrqEVENTQ.Mask())
	for i := range uint64(3) {
		r.RequireOK(r.Access(dev, iova+i<<12, emu.Write), 0x5000)
	}
	require.Empty(t, r.ends, "Translate has answered them")
}

// On the timed machine a page fault handler maps what stalls; SYNC does not wait for what is stalled.
func TestTimedStalls(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev, field{spec.CdS, 1})
	m := r.Timed(64)
	served := 0
	addr, data := m.CPU.OnIRQ(func() {
		cons := m.CPU.ReadReg(0, spec.OffEVENTQCons, 4)
		for prod := m.CPU.ReadReg(0, spec.OffEVENTQProd, 4); cons != prod; cons++ {
			at := r.events + emu.PA(cons&(1<<eventBits-1)*32)
			stag := spec.EvtSTAG.Of(m.CPU.Load64(at + 8))
			r.mapPage(root, m.CPU.Load64(at+16), 0x5000, s1RW)
			r.push(resume(dev, stag, 1, 0))
			served++
		}
		m.CPU.WriteReg(0, spec.OffEVENTQCons, 4, cons)
		m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	})
	r.push(tlbiVA(spec.CmdTlbiNHVA, iova))
	r.push(sync())
	m.Issue(5, dma(emu.Write))
	m.Settle() // all are stalled
	require.Empty(t, m.Status)
	m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	require.True(t, m.CPU.Poll(func() bool { return r.R32(spec.OffCMDQCons) == r.prod }, 1_000_000))

	// A checkpoint has them in it.
	var e emu.Encoder
	m.Machine.Save(&e)
	require.NoError(t, m.Machine.Restore(emu.NewDecoder(e.Bytes())))

	r.W64(spec.OffEVENTQIRQCfg0, uint64(addr))
	r.W32(spec.OffEVENTQIRQCfg1, uint64(data))
	m.CPU.WriteReg(0, spec.OffIRQCtrl, 4, spec.IrqEVENTQ.Mask())
	require.Len(t, r.drainTimed(m.CPU), 5)
	for i := range uint64(5) {
		r.mapPage(root, iova, 0x5000, s1RW)
		r.push(resume(dev, i, 1, 0))
	}
	m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	m.Settle()
	require.Equal(t, map[emu.Status]int{emu.OK: 5}, m.Status)
	q := dma(emu.Read)
	q.Addr += 0x1000
	m.Issue(1, q)
	require.True(t, m.CPU.Poll(func() bool { return m.Status[emu.OK] == 6 }, 10_000_000))
	require.Equal(t, 1, served)
}

// drainTimed is drain by a processor of the timed machine.
func (r *rig) drainTimed(c *timing.CPU) (list []spec.Event) {
	list = r.drain()
	c.WriteReg(0, spec.OffEVENTQCons, 4, r.R32(spec.OffEVENTQProd))
	return list
}

func TestSaveRestoreOfStalls(t *testing.T) {
	r := newStalls(t)
	_, stag := r.stalled(dma(emu.Write))
	b := emutest.Save(r.u)
	u, err := smmuv3.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	require.Zero(t, stag)
}
