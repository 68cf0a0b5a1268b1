package device

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// missing is a table in which the pages of m are mapped read and write, and no others.
func missing(m map[emu.IOVA]bool) func(*emu.Request) emu.Result {
	return func(q *emu.Request) emu.Result {
		perm := emu.RW
		if q.Type == emu.TranslationReq && !m[q.Addr] {
			perm = 0
		}
		return granted(perm, 12)(q)
	}
}

// asked returns the page requests sent so far.
func (r *atsRig) asked() (q []emu.Request) {
	for i := range r.log {
		if r.log[i].Type == emu.PageRequest {
			q = append(q, r.log[i])
		}
	}
	return q
}

func answer(index uint16, p emu.PASID, code uint8) *emu.PRGResponse {
	return &emu.PRGResponse{PASID: p, Index: index, Code: code}
}

func TestPages_AskedForAndUsedOnceTheyAreThere(t *testing.T) {
	r := newATSRig(t, pages(4))
	m := map[emu.IOVA]bool{}
	r.table = missing(m)
	r.dmaPASID(0x5008, emu.Write|emu.Priv, 7)
	r.dmaPASID(0x5010, emu.Read|emu.Priv, 7)
	r.run()
	require.Equal(t, "tP", r.types(), "one request for one page")
	require.Equal(t, emu.Request{
		Addr: 0x5000, Source: atsSource, PASID: 7, Access: emu.Write | emu.Priv, Type: emu.PageRequest, Data: emu.MakePRG(0, true),
	}, r.log[1])
	require.Empty(t, r.ends)
	m[0x5000] = true
	r.PRGResponse(answer(0, 7, emu.PRGSuccess))
	r.run()
	require.Equal(t, "tPtTT", r.types())
	require.Equal(t, []ended{{0x5008, EndOK}, {0x5010, EndOK}}, r.ends)
	require.True(t, r.Idle())
	require.Equal(t, EndpointStats{Translations: 2, PageRequests: 1, Groups: 1, Responses: 1}, r.Stats())
}

func TestPages_RightsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		access emu.Access
		pasid  emu.PASID
		want   emu.Access
	}{
		"read":                    {emu.Read, 1, emu.Read},
		"zero-length read":        {0, 1, emu.Read},
		"write":                   {emu.Write, 1, emu.Write},
		"atomic":                  {emu.Atomic, 1, emu.RW},
		"exec":                    {emu.Exec, 1, emu.Read | emu.Exec},
		"exec, priv":              {emu.Read | emu.Exec | emu.Priv, 1, emu.Read | emu.Exec | emu.Priv},
		"nothing without a PASID": {emu.Read | emu.Exec | emu.Priv, emu.NoPASID, emu.Read},
	} {
		t.Run(name, func(t *testing.T) {
			r := newATSRig(t, pages(1))
			r.table = missing(nil)
			r.dmaPASID(0x5000, c.access, c.pasid)
			r.run()
			require.Equal(t, c.want, r.asked()[0].Access)
		})
	}
}

// A success does not mean that the page is there: where the queue was full hardware says so to have the
// device ask again.
func TestPages_AskedForAgain(t *testing.T) {
	r := newATSRig(t, pages(4))
	r.table = missing(nil)
	r.dma(0x5000, emu.Read)
	for range 3 {
		r.run()
		r.PRGResponse(answer(0, emu.NoPASID, emu.PRGSuccess))
	}
	r.run()
	require.Equal(t, "tPtPtPtP", r.types())
}

func TestPages_GroupsAreWhatWaitedWithOnePASID(t *testing.T) {
	r := newATSRig(t, pages(8), func(c *EndpointConfig) { c.Gather = 1000 })
	m := map[emu.IOVA]bool{}
	r.table = missing(m)
	for i, p := range []emu.PASID{7, 8, 7, 8, 7} {
		r.dmaPASID(emu.IOVA(0x5000+i<<12), emu.Read, p)
	}
	r.dmaPASID(0x7008, emu.Read, 7) // the page of another
	r.run()
	type prg struct {
		addr  emu.IOVA
		pasid emu.PASID
		index uint16
		last  bool
	}
	var got []prg
	for _, q := range r.asked() {
		index, last := q.PRG()
		got = append(got, prg{q.Addr, q.PASID, index, last})
	}
	require.Equal(t, []prg{
		{0x5000, 7, 0, false}, {0x7000, 7, 0, false}, {0x9000, 7, 0, true}, {0x6000, 8, 1, false}, {0x8000, 8, 1, true},
	}, got)
	require.GreaterOrEqual(t, r.now, uint64(1000))
	for a := emu.IOVA(0x5000); a <= 0x9000; a += 0x1000 {
		m[a] = true
	}
	r.PRGResponse(answer(1, 8, emu.PRGSuccess))
	r.run()
	require.ElementsMatch(t, []ended{{0x6000, EndOK}, {0x8000, EndOK}}, r.ends)
	r.PRGResponse(answer(0, 7, emu.PRGSuccess))
	r.run()
	require.Len(t, r.ends, 6)
	require.EqualValues(t, 2, r.Stats().Groups)
}

func TestPages_CreditsBoundWhatIsOutstanding(t *testing.T) {
	r := newATSRig(t, pages(3), func(c *EndpointConfig) { c.Gather = 10 })
	m := map[emu.IOVA]bool{}
	r.table = missing(m)
	for i := range 8 {
		r.dma(emu.IOVA(0x5000+i<<12), emu.Read)
		m[emu.IOVA(0x5000+i<<12)] = false
	}
	r.run()
	require.Len(t, r.asked(), 3)
	for a := range m {
		m[a] = true
	}
	for k, n := range []int{6, 8, 8} {
		_, last := r.asked()[len(r.asked())-1].PRG()
		require.True(t, last)
		r.PRGResponse(answer(0, emu.NoPASID, emu.PRGSuccess))
		r.run()
		require.Len(t, r.asked(), n, "after response %d", k)
	}
	require.Len(t, r.ends, 8)
	require.Equal(t, 3, r.pri.credits)
}

func TestPages_InvalidEndsTheGroupOnly(t *testing.T) {
	r := newATSRig(t, pages(4))
	r.table = missing(nil)
	r.dma(0x5000, emu.Read)
	r.run()
	r.dma(0x6000, emu.Read)
	r.run()
	r.PRGResponse(answer(0, emu.NoPASID, emu.PRGInvalid))
	require.Equal(t, []ended{{0x5000, EndInvalid}}, r.ends)
	require.False(t, r.PagesStopped())
	r.dma(0x7000, emu.Read)
	r.run()
	require.Len(t, r.asked(), 3)
}

// What waited for the page of one that failed asks for itself.
func TestPages_FollowersOfAFailure(t *testing.T) {
	r := newATSRig(t, pages(4))
	r.table = missing(nil)
	r.dma(0x5000, emu.Read)
	r.dma(0x5008, emu.Read)
	r.run()
	r.PRGResponse(answer(0, emu.NoPASID, emu.PRGInvalid))
	r.run()
	require.Equal(t, "tPtP", r.types())
	r.PRGResponse(answer(0, emu.NoPASID, emu.PRGInvalid))
	require.Equal(t, []ended{{0x5000, EndInvalid}, {0x5008, EndInvalid}}, r.ends)
	require.True(t, r.Idle())
}

func TestPages_FailureStopsTheInterface(t *testing.T) {
	for _, code := range []uint8{emu.PRGFailure, 7} { // other codes count as failure (PCIe 10.4.2)
		r := newATSRig(t, pages(4))
		r.table = missing(nil)
		for i := range 7 { // one group out, one being sent, the rest without credits
			r.room = 0
			if i > 0 {
				r.room = 9
			}
			r.dma(emu.IOVA(0x5000+i<<12), emu.Read)
		}
		r.deliver(0)
		require.Len(t, r.asked(), 1)
		for range 6 {
			r.deliver(0)
		}
		r.PRGResponse(answer(0, emu.NoPASID, code))
		require.True(t, r.PagesStopped())
		r.run()
		for i := range r.groups() {
			r.PRGResponse(answer(uint16(i), emu.NoPASID, emu.PRGSuccess))
			r.run()
		}
		require.Len(t, r.ends, 7)
		for _, e := range r.ends {
			require.Equal(t, EndPageFailure, e.End)
		}
		require.Equal(t, 4, r.pri.credits)
		n := len(r.asked())
		r.dma(0x5000, emu.Read)
		r.run()
		require.Len(t, r.asked(), n)
		require.Equal(t, ended{0x5000, EndPageFailure}, r.ends[7])
		r.StartPages()
		r.dma(0x5000, emu.Read)
		r.run()
		require.Len(t, r.asked(), n+1)
	}
}

func (r *atsRig) groups() []group { return r.pri.groups }

// The unit is full half-way through a group when the interface is stopped.
func TestPages_FailureWhileAGroupIsBeingSent(t *testing.T) {
	r := newATSRig(t, pages(8), func(c *EndpointConfig) { c.Gather = 100 })
	r.table = missing(nil)
	r.dma(0x5000, emu.Read)
	r.run()
	r.dma(0x6000, emu.Read)
	r.dma(0x7000, emu.Read)
	r.dma(0x8000, emu.Read)
	for len(r.flights) > 0 {
		r.deliver(0)
	}
	r.room = 2
	r.atsUnit.timer()
	require.Len(t, r.asked(), 3)
	r.PRGResponse(answer(1, emu.NoPASID, emu.PRGSuccess))
	require.EqualValues(t, 1, r.Stats().Unexpected, "its last has not been sent")
	r.PRGResponse(answer(0, emu.NoPASID, emu.PRGFailure))
	require.Len(t, r.ends, 4)
	require.Equal(t, 8, r.pri.credits)
	r.run()
	require.Len(t, r.asked(), 3)
	require.True(t, r.Idle())
}

func TestPages_UnexpectedResponses(t *testing.T) {
	r := newATSRig(t, pages(4))
	r.table = missing(nil)
	r.dmaPASID(0x5000, emu.Read, 7)
	r.run()
	for _, q := range []*emu.PRGResponse{answer(1, 7, 0), answer(0, 8, 0), answer(0, emu.NoPASID, 0), answer(511, 7, 0)} {
		r.PRGResponse(q)
	}
	require.EqualValues(t, 4, r.Stats().Unexpected)
	require.Empty(t, r.ends)
	require.Zero(t, r.Stats().Responses)
}

// A translation without the right asked for is kept for the rights it has.
func TestPages_UpgradeOfAPageThatIsThere(t *testing.T) {
	r := newATSRig(t, pages(4))
	perm := emu.Read
	r.table = func(q *emu.Request) emu.Result { return granted(perm, 12)(q) }
	r.dma(0x5000, emu.Write)
	r.run()
	r.dma(0x5000, emu.Read)
	require.Equal(t, "tPT", r.types())
	perm = emu.RW
	r.PRGResponse(answer(0, emu.NoPASID, emu.PRGSuccess))
	r.run()
	require.Equal(t, "tPTtT", r.types())
}
