package vtd_test

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func TestInterruptEntryIsReadInOnePiece(t *testing.T) {
	r := newRig(t)
	r.putIRTE(r.remapping(false), 5, irte(0x41))
	s := r.Begin(write4(sid, handle(5), 0))
	s.End()
	sizes, _ := fetched(s)
	require.Equal(t, []uint8{16}, sizes)
}

// Two stores of 8 bytes can be seen half done, in whatever order they are; one of 16 cannot.
func TestTornInterruptEntry(t *testing.T) {
	old := irte(0x41, with(spec.IrteSVT, 1), with(spec.IrteSID, uint64(sid)))
	new := irte(0x42, with(spec.IrteSVT, 1), with(spec.IrteSID, uint64(hiSID)))
	half := map[string][2]uint64{"low": {new[0], old[1]}, "high": {old[0], new[1]}}
	for _, first := range []string{"low", "high"} {
		r := newRig(t)
		table := r.remapping(false)
		r.putIRTE(table, 5, half[first])
		// The new vector for the old source, or the old vector for the new one.
		res := [2]emu.Result{r.irq(sid, handle(5), 0), r.irq(hiSID, handle(5), 0)}
		if first == "low" {
			r.interrupts(res[0], 0xfee0_2000, 0x4042)
			r.RequireFault(res[1], vtd.FaultIRTESource)
		} else {
			r.RequireFault(res[0], vtd.FaultIRTESource)
			r.interrupts(res[1], 0xfee0_2000, 0x4041)
		}
	}
	var seen [2]uint64
	r := newRig(t)
	r.u.Observe(emutest.Observer(func(kind emu.StructKind, _ emu.PA, words []uint64) {
		require.Equal(t, emu.StructInterrupt, kind)
		seen = [2]uint64(words)
	}))
	r.putIRTE(r.remapping(false), 5, new)
	r.interrupts(r.irq(hiSID, handle(5), 0), 0xfee0_2000, 0x4042)
	require.Equal(t, new, seen)
}

func TestWhichInvalidationsConcernAnInterruptInFlight(t *testing.T) {
	r := newRig(t)
	r.putIRTE(r.remapping(false), 5, irte(0x41))
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	irq := r.Begin(write4(sid, handle(5), 0))
	irq.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch })
	compatible := r.Begin(write4(sid, 0xfee0_0000, 0))
	r.command(spec.GcmdCFI, true)
	compatible.Until(func(a *emu.Act) bool { return a.Op == emu.OpOrder })
	r.legacy()
	access := r.Begin(dma(emu.Read))
	access.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch })
	indices := func(first, last uint64) emu.Selector {
		return emu.Selector{Caches: emu.CacheInterrupt.Set(), Match: emu.MatchAddress, First: first, Last: last}
	}
	for name, c := range map[string]struct {
		s                       emu.Selector
		irq, compatible, access bool
	}{
		"everything":        {emu.Selector{}, true, true, true},
		"all entries":       {emu.Selector{Caches: emu.CacheInterrupt.Set()}, true, true, false},
		"its entry":         {indices(5, 5), true, true, false},
		"its block":         {indices(4, 7), true, true, false},
		"entries below":     {indices(0, 4), false, true, false},
		"entries above":     {indices(6, 7), false, true, false},
		"translations":      {emu.Selector{Caches: emu.CacheIOTLB.Set()}, false, false, true},
		"device entries":    {emu.Selector{Caches: emu.CacheEntry.Set(), Match: emu.MatchSource, Source: sid}, false, false, true},
		"a domain":          {emu.Selector{Caches: emu.CacheIOTLB.Set(), Match: emu.MatchDomain, Domain: 5}, false, false, true},
		"all but those":     {emu.Selector{Caches: emu.AllCaches &^ emu.CacheInterrupt.Set()}, false, false, true},
		"interrupts of IRE": {emu.Selector{Caches: emu.CacheInterrupt.Set(), Match: emu.MatchClass, Classes: 1 << vtd.ClassInterrupt}, true, true, false},
	} {
		require.Equal(t, []bool{c.irq, c.compatible, c.access},
			[]bool{irq.Txn.Matches(&c.s), compatible.Txn.Matches(&c.s), access.Txn.Matches(&c.s)}, name)
	}
}

// IRES changes when the interrupts in flight have ended, and no entry is lost over it.
func TestInterruptRemappingIsSwitchedBehindInterruptsInFlight(t *testing.T) {
	for _, on := range []bool{true, false} {
		r := newRig(t)
		table := r.remapping(false)
		r.putIRTE(table, 5, irte(0x41))
		r.irq(sid, handle(5), 0)
		r.putIRTE(table, 5, irte(0x42))
		r.command(spec.GcmdIRE, !on)
		r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdIRE.PutBool(on))
		s := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpInvalidate })
		r.u.Cache(emu.CacheInterrupt).Invalidate(&s.Txn.Act.Sel)
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpDrain })
		require.Equal(t, !on, spec.GstsIRES.On(r.R32(spec.OffGSTS)), "not before the drain")
		s.Next()
		require.Equal(t, on, spec.GstsIRES.On(r.R32(spec.OffGSTS)))
		r.command(spec.GcmdIRE, true)
		require.EqualValues(t, 0x4041, r.irq(sid, handle(5), 0).Data, "the entry is still cached")
	}
}

// What is sent after the wait descriptor of an interrupt-entry invalidation never uses the old entry,
// in whatever order everything ran.
func TestNoOldInterruptEntryIsUsedAfterTheWait(t *testing.T) {
	for seed := range uint64(200) {
		r := newRig(t)
		table := r.remapping(false)
		r.putIRTE(table, 5, irte(0x41))
		r.queue(false)
		r.Crew(seed).NothingOld(r.rewrite(emutest.Rewrite{
			Request: write4(sid, handle(5), 0), Old: 0x4041, New: 0x4042, Turns: 30,
			Change: func() { r.putIRTE(table, 5, irte(0x42)); r.push(iec(true, 5, 0), 0) },
		}))
	}
}

// Interrupts of a real system: the entries were written by Linux, and the messages that came of them
// are what another model logged.
func TestInterruptsOfACapture(t *testing.T) {
	for _, name := range []string{"vtd-legacy", "vtd-sm-ss"} {
		u, m := loadCapture(t, name)
		f := emu.NewFunctional(u, m)
		irta := u.ReadReg(spec.OffIRTA, 8)
		table := emu.PA(irta & spec.IrtaIRTA.Mask())
		log, err := zstd.NewReader(emutest.Testdata(t, name, "qemu-trace.log.zst"))
		require.NoError(t, err)
		defer log.Close()
		var hi, lo, addr, to uint64
		var index int
		var data, sent uint32
		checked := map[int]bool{}
		known := false
		for s := bufio.NewScanner(log); s.Scan(); {
			_, line, _ := strings.Cut(s.Text(), " ")
			switch {
			case scan(line, "vtd_ir_remap_msi_req addr 0x%x data 0x%x", &addr, &data):
				known = false
			case scan(line, "vtd_ir_irte_get index %d low 0x%x high 0x%x", &index, &hi, &lo): // high word first
				known = true
			case scan(line, "vtd_ir_remap_msi (addr 0x%x, data 0x%x) -> (addr 0x%x, data 0x%x)", &addr, &data, &to, &sent) && known:
				at := table + emu.PA(index)*16
				require.True(t, m.Store(at, 16, &[4]uint64{lo, hi}))
				u.Cache(emu.CacheInterrupt).Reset()
				var res emu.Result
				q := write4(emu.SourceID(hi&0xffff), addr, data)
				f.Translate(&q, &res)
				require.Equal(t, emu.Interrupt, res.Status, "%s: fault %#x", line, res.Fault.Code)
				require.Equal(t, to, uint64(res.PA), line)
				require.Equal(t, sent, res.Data, line)
				q.Source ^= 8 // another device
				f.Translate(&q, &res)
				require.Equal(t, emu.Blocked, res.Status, line)
				require.EqualValues(t, vtd.FaultIRTESource, res.Fault.Code, line)
				checked[index] = true
			}
		}
		require.Greater(t, len(checked), 10, "entries of which the log has an interrupt")
	}
}

func scan(line, format string, v ...any) bool {
	n, _ := fmt.Sscanf(line, format, v...)
	return n == len(v)
}

// Every present entry of the captures is in order.
func TestInterruptTableOfACapture(t *testing.T) {
	u, m := loadCapture(t, "vtd-sm-ss")
	f := emu.NewFunctional(u, m)
	table := emu.PA(u.ReadReg(spec.OffIRTA, 8) & spec.IrtaIRTA.Mask())
	present := 0
	for i := range uint64(spec.MaxIRTEs) {
		lo, _ := m.Load64(table + emu.PA(i)*16)
		hi, _ := m.Load64(table + emu.PA(i)*16 + 8)
		var res emu.Result
		q := write4(emu.SourceID(hi&0xffff), handle(i), 0)
		f.Translate(&q, &res)
		if lo&1 == 0 {
			require.EqualValues(t, vtd.FaultIRTEAbsent, res.Fault.Code)
			continue
		}
		present++
		require.Equal(t, emu.Interrupt, res.Status, "entry %d: %#x", i, res.Fault.Code)
		require.EqualValues(t, 0x4000|lo>>16&0xff, res.Data)
		require.EqualValues(t, 0xfee0_0000|lo>>40&0xff<<12|lo&8, res.PA)
	}
	require.Equal(t, 31, present)
}
