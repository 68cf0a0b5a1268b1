package timing

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// statusTimes records when engines store their status.
func (b *bench) statusTimes() *[2]uint64 {
	at := new([2]uint64)
	b.Memory().(*mem.Memory).Watch(toyStatus, toyStatus+15, func(pa emu.PA, _ uint8) { at[(pa-toyStatus)/8] = b.Now() })
	return at
}

// bell rings the doorbell of engine e as if a register write arrived at cycle at.
func (b *bench) bell(at uint64, e uint32, page uint64) {
	b.RunUntil(at)
	p := b.ports[0]
	p.wake(p.unit.WriteReg(e*24, 8, page))
}

// completion returns that of a tag.
func (c *client) completion(tag uint32) *Completion {
	for i := range c.done {
		if c.done[i].Tag == tag {
			return &c.done[i]
		}
	}
	return nil
}

// A drain waits for what was marked when it was asked; a later invalidation does not prolong it,
// neither by what it marks nor by the data it waits for.
func TestDrain_IsNotProlongedByALaterInvalidation(t *testing.T) {
	p := params()
	p.Mem = 2000
	walk := p.Link + p.Lookup + p.Probe + p.Mem // issue to the fetched entry

	b := newBench(p, tlb)
	at := b.statusTimes()
	b.request(0, 1)
	b.bell(600, 0, 1) // marks request 0
	b.RunUntil(1000)
	b.request(1, 2)
	b.bell(1500, 1, 2) // marks request 1
	b.drain()
	require.Equal(t, walk+p.Fill+p.Data+p.Mem, at[0])
	require.Equal(t, 1000+walk+p.Fill+p.Data+p.Mem, at[1])

	// The marked request has no data, the later invalidation waits for much.
	p.Data = 50_000
	b = newBench(p, tlb)
	b.Memory().Store(toyTable+8, 8, &[4]uint64{})
	b.request(9, 9)
	b.drain() // page 9 is cached
	start := b.Now()
	at = b.statusTimes()
	b.request(0, 1)
	b.bell(start+600, 0, 1)
	visible := start - p.Link // of request 9: the first drain has to wait for that
	b.request(1, 9)           // a hit behind the first invalidation
	b.bell(start+1500, 1, 2)
	b.drain()
	require.Less(t, visible, start+walk)
	require.Equal(t, start+walk+p.Mem, at[0])
	require.Equal(t, b.c.completion(1).Done-p.Link+p.Mem, at[1])
}

// A request that is marked by one invalidation holds up the drains of later ones too.
func TestDrain_WaitsForWhatAnEarlierInvalidationMarked(t *testing.T) {
	p := params()
	p.Mem = 2000
	b := newBench(p, tlb)
	at := b.statusTimes()
	b.request(0, 1)
	b.bell(600, 0, 1)
	b.bell(1500, 1, 1)
	b.drain()
	visible := b.c.done[0].Done - p.Link
	require.Equal(t, [2]uint64{visible + p.Mem, visible + p.MemInterval + p.Mem}, *at)
}

// What a later invalidation marked may end first: it is not what the drain counts.
func TestDrain_DoesNotCountWhatALaterInvalidationMarked(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	b.u.late = 3000
	at := b.statusTimes()
	b.request(0, 1)
	b.request(1, 1) // merged, and late
	b.bell(200, 0, 1)
	b.RunUntil(400)
	b.request(2, 2)
	b.bell(550, 1, 2) // marks request 2 only
	b.drain()
	require.Less(t, b.c.completion(2).Done, b.c.completion(1).Done)
	require.Equal(t, b.c.completion(1).Done-p.Link+p.Mem, at[0])
}

// A marked request may end before the drain is asked: its data counts nevertheless.
func TestDrain_WaitsForDataOfAMarkedRequestThatHasEnded(t *testing.T) {
	p := params()
	p.Data = 50_000
	b := newBench(p, tlb)
	b.u.gap = 1000
	at := b.statusTimes()
	b.request(0, 1)
	b.bell(200, 0, 1) // the walk ends at 327, the drain begins at 1223
	b.drain()
	require.Equal(t, b.c.done[0].Done-p.Link+p.Mem, at[0])
}

// DMA that was translated by a hit just before the invalidation has ended as a transaction, but its
// data is still on the way.
func TestDrain_WaitsForDataOfAHitBeforeTheInvalidation(t *testing.T) {
	p := params()
	p.Data = 50_000
	b := newBench(p, tlb)
	b.request(0, 1)
	b.drain()
	start := b.Now()
	at := b.statusTimes()
	b.request(1, 1)
	b.bell(start+p.Link+p.Lookup+1, 0, 1)
	b.drain()
	require.Equal(t, start+p.Link+p.Lookup, b.c.done[1].Read)
	require.EqualValues(t, 1, b.UnitStats(0).Walks, "a hit")
	require.Equal(t, b.c.done[1].Done-p.Link+p.Mem, at[0])
}

// Who waits for the fetch of another will use what that one has read.
func TestInvalidate_MarksAMergedWaiter(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	b.u.late = 3000 // the waiter ends long after the owner and would fill the cache itself
	at := b.statusTimes()
	b.request(0, 1)
	b.request(1, 1)
	b.bell(200, 0, 1)
	b.drain()
	require.EqualValues(t, 1, b.UnitStats(0).Merged)
	owner, waiter := b.c.completion(0), b.c.completion(1)
	require.Greater(t, waiter.Done, owner.Done+2000)
	require.Equal(t, waiter.Done-p.Link+p.Mem, at[0], "the drain waits for the waiter")
	b.request(2, 1)
	b.drain()
	require.EqualValues(t, 2, b.UnitStats(0).Walks, "nobody filled the cache")
}

// A request whose domain is not known yet may turn out to be of any.
func TestInvalidate_MarksWhoseDomainIsUnknown(t *testing.T) {
	for _, unknown := range []bool{true, false} {
		p := params()
		b := newBench(p, tlb)
		b.u.unknown, b.u.domain = unknown, 7 // requests that know are of domain 0
		at := b.statusTimes()
		b.request(0, 1)
		b.bell(200, 0, 1)
		b.drain()
		b.request(1, 1)
		b.drain()
		if unknown {
			require.EqualValues(t, 2, b.UnitStats(0).Walks, "its fill was dropped")
			require.Equal(t, b.c.done[0].Done-p.Link+p.Mem, at[0])
		} else {
			require.EqualValues(t, 1, b.UnitStats(0).Walks)
			require.Less(t, at[0], b.c.done[0].Done-p.Link)
		}
	}
}

// endpoint answers ATS invalidations of one requester, or is silent.
type endpoint struct {
	counter
	source emu.SourceID
	answer ATSAnswer
	asked  []uint64
	now    func() uint64
}

func (e *endpoint) Requester() emu.SourceID { return e.source }
func (e *endpoint) InvalidateATS(int, *emu.ATSInvalidation) ATSAnswer {
	e.asked = append(e.asked, e.now())
	return e.answer
}

func TestATSInvalidation_AsksTheRequesterOnly(t *testing.T) {
	p := params()
	for _, c := range []struct {
		name   string
		source emu.SourceID
		asked  [3]int
		ended  uint64
		cost   uint64
	}{
		{"answers", 0x20, [3]int{0, 1, 0}, toyCompleted, p.ATSRound},
		{"is silent", 0x30, [3]int{0, 0, 1}, toyTimedOut, p.ATSTimeout},
		{"is not there", 0x40, [3]int{}, toyTimedOut, p.ATSTimeout},
	} {
		b := newBench(p, tlb)
		var ends [3]*endpoint
		for i := range ends {
			ends[i] = &endpoint{source: emu.SourceID(0x10 * (i + 1)), answer: ATSCompleted, now: b.Now}
			if i == 2 {
				ends[i].answer = ATSIgnored
			}
			b.AddClient(ends[i])
		}
		b.u.ats = c.source
		at := b.statusTimes()
		b.bell(0, 0, 5)
		b.drain()
		require.Equal(t, p.Invalidate+c.cost+p.Mem, at[0], c.name)
		require.EqualValues(t, 5|c.ended<<32, b.cpu.Load64(toyStatus), c.name)
		for i, e := range ends {
			require.Len(t, e.asked, c.asked[i], c.name)
			for _, at := range e.asked {
				require.Equal(t, p.Invalidate+p.Link, at, "%s: a link away", c.name)
			}
		}
	}
}

// A device that has to wait for its own requests answers later, at the earliest after the round trip.
func TestATSInvalidation_PendingIsCompletedLater(t *testing.T) {
	p := params()
	for _, c := range []struct {
		after uint64 // cycles from arrival at the device to its completion
		ended uint64
		cost  uint64
		stray int
	}{
		{0, toyCompleted, p.ATSRound, 0},
		{p.ATSRound, toyCompleted, p.Link + p.ATSRound + p.Link, 0},
		{p.ATSTimeout, toyTimedOut, p.ATSTimeout, 1},
	} {
		b := newBench(p, tlb)
		e := &endpoint{source: 0x20, answer: ATSPending, now: b.Now}
		b.AddClient(e)
		b.u.ats = 0x20
		at := b.statusTimes()
		b.bell(0, 0, 5)
		b.RunUntil(p.Invalidate + p.Link + c.after)
		require.Len(t, e.asked, 1)
		b.CompleteATS(0, 0)
		b.drain()
		require.Equal(t, p.Invalidate+c.cost+p.Mem, at[0], "after %d", c.after)
		require.EqualValues(t, 5|c.ended<<32, b.cpu.Load64(toyStatus))
		require.Len(t, b.u.stray, c.stray, "a completion after the time-out is one that nobody waits for")
	}
}

// A drain of page requests waits for those that are on their way to the unit, and for nothing else.
func TestDrain_ByTypeWaitsForWhatIsOnTheLink(t *testing.T) {
	p := params()
	for _, typ := range []emu.ReqType{emu.PageRequest, emu.Untranslated} {
		b := newBench(p, tlb)
		b.u.pages = true
		at := b.statusTimes()
		b.Issue(b.dev, 0, 0, &emu.Request{Addr: 0x1000, PASID: emu.NoPASID, Type: typ, Access: emu.Read})
		b.bell(1, 0, 5)
		b.drain()
		if end := b.c.done[0].Done - p.Link; typ == emu.PageRequest {
			require.Equal(t, end+p.Mem, at[0])
		} else {
			require.Equal(t, 1+p.Mem, at[0])
		}
		require.Zero(t, b.UnitStats(0).Invalidations, "nothing is invalidated")
		require.Zero(t, b.ports[0].marked)
	}
}
