package hitless

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	smmudriver "github.com/iommulab/iommulab/host/driver/smmuv3"
	"github.com/iommulab/iommulab/host/entry"
)

// smmuEntries is a unit without caches whose driver has made an STE and a CD of each kind.
type smmuEntries struct {
	*emu.Functional
	formats  entry.SMMUv3
	ste, cd  emu.PA // of sid
	stes     [][]uint64
	cds      [][]uint64
	requests []emu.Request
}

func newSMMUEntries(t *testing.T, c smmuv3.Config) *smmuEntries {
	u, err := smmuv3.New(c)
	require.NoError(t, err)
	m := mem.New()
	w := &smmuEntries{Functional: emu.NewFunctional(u, m)}
	w.OnATSInvalidate = func(*emu.Txn) bool { return true }
	frames, err := host.NewFrames(w, 1<<32, 1<<28)
	require.NoError(t, err)
	d, err := smmudriver.New(w, frames, smmudriver.Options{})
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	w.formats = smmuFormats(u, false)
	require.NoError(t, d.Probe(sid, host.DeviceSpec{PASIDs: 32, ATS: true}))
	h := &smmuHost{t: t, d: d, cpu: w}
	s1 := smmuS1(h, 1<<20)
	for _, dom := range []host.Domain{smmuS2(h, 2<<20), smmuNested(false)(h, 3<<20), smmuIdentity(h, 0), s1} {
		require.NoError(t, d.Attach(sid, emu.NoPASID, dom))
		_, raw := d.STEAt(sid)
		w.stes = append(w.stes, raw)
		if dom != s1 {
			require.NoError(t, d.Detach(sid, emu.NoPASID))
		}
	}
	_, raw := d.STEAt(sid + 1)
	require.Nil(t, raw)
	require.NoError(t, d.Attach(sid, 5, s1))
	w.ste, _ = d.STEAt(sid)
	w.cd, raw = d.EntryAt(sid, emu.NoPASID)
	w.cds = append(w.cds, raw)
	w.stes = append(w.stes, []uint64{1, 0, 0, 0, 0, 0, 0, 0}, make([]uint64, 8))
	w.cds = append(w.cds, make([]uint64, 8))
	for _, p := range []emu.PASID{emu.NoPASID, 5} {
		for _, a := range []emu.Access{emu.Read, emu.Write, emu.Read | emu.Priv} {
			for _, typ := range []emu.ReqType{emu.Untranslated, emu.TranslationReq, emu.Translated} {
				w.requests = append(w.requests, emu.Request{Addr: iova, Source: sid, PASID: p, Len: 8, Access: a, Type: typ})
			}
		}
	}
	w.requests = append(w.requests, emu.Request{Addr: 0x7_0000, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read})
	return w
}

// put writes an entry.
func (w *smmuEntries) put(at emu.PA, words []uint64) {
	for i, v := range words {
		w.Store64(at+emu.PA(i*8), v)
	}
}

// ends are the ends of all requests, but for the versions of the entries, which are of all their bits.
func (w *smmuEntries) ends() (list []emu.Result) {
	for _, q := range w.requests {
		var res emu.Result
		w.Translate(&q, &res)
		res.Touched, res.Fault.Dropped, res.Prov.Entry, res.Prov.Fill = 0, false, 0, 0
		list = append(list, res)
	}
	return list
}

func smmuNoCaches() smmuv3.Config {
	c := smmuConfig(false)
	c.HTTU, c.StallModel = spec.HTTUDirty, spec.StallNever
	return c
}

// vary makes an entry of another: some fields take other values.
func vary(r *rand.Rand, raw []uint64, fields []reg.Bits) []uint64 {
	e := append([]uint64(nil), raw...)
	for range r.IntN(4) {
		fields[r.IntN(len(fields))].Set(e, r.Uint64()>>r.IntN(64))
	}
	return e
}

var (
	smmuSTEFields = []reg.Bits{spec.SteV, spec.SteConfig, spec.SteS1Fmt, spec.SteS1CDMax, spec.SteS1DSS, spec.SteS1CIR,
		spec.SteMEV, spec.SteEATS, spec.SteSTRW, spec.SteS1STALLD, spec.StePRIVCFG, spec.SteINSTCFG, spec.SteS2VMID, spec.SteS2T0SZ,
		spec.SteS2SL0, spec.SteS2TG, spec.SteS2PS, spec.SteS2AA64, spec.SteS2ENDI, spec.SteS2AFFD, spec.SteS2HD, spec.SteS2HA, spec.SteS2S, spec.SteS2R}
	smmuCDFields = []reg.Bits{spec.CdV, spec.CdT0SZ, spec.CdTG0, spec.CdEPD0, spec.CdENDI, spec.CdT1SZ, spec.CdTG1, spec.CdEPD1,
		spec.CdIPS, spec.CdAFFD, spec.CdWXN, spec.CdTBI0, spec.CdPAN, spec.CdAA64, spec.CdHD, spec.CdHA, spec.CdS, spec.CdR, spec.CdA, spec.CdASID, spec.CdTTB1}
)

// Bits that a format calls unused change nothing: what a request of any kind ends with is the same.
func TestSMMUFormat_UnusedBitsDoNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	w := newSMMUEntries(t, smmuNoCaches())
	for _, c := range []struct {
		f      *entry.Format
		at     emu.PA
		list   [][]uint64
		fields []reg.Bits
	}{{w.formats.STE(), w.ste, w.stes, smmuSTEFields}, {w.formats.CD(nil), w.cd, w.cds, smmuCDFields}} {
		w.put(w.ste, w.stes[3])
		w.put(w.cd, w.cds[0])
		for range 250 {
			raw := vary(r, c.list[r.IntN(len(c.list))], c.fields)
			mask, again := make([]uint64, 8), make([]uint64, 8)
			c.f.Used(raw, mask)
			w.put(c.at, raw)
			want := w.ends()
			for range 4 {
				x := append([]uint64(nil), raw...)
				for i := range x {
					x[i] ^= r.Uint64() &^ mask[i]
				}
				clear(again)
				c.f.Used(x, again)
				require.Equal(t, mask, again, "what is used depends on what is used")
				require.True(t, c.f.Same(raw, x))
				w.put(c.at, x)
				for i, got := range w.ends() {
					require.Equal(t, want[i], got, "%+v with %#x and %#x", w.requests[i], raw, x)
				}
			}
		}
	}
}

// What a format calls legal, the unit takes; what the unit refuses, the format does too.
func TestSMMUFormat_LegalIsWhatTheUnitTakes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, change := range []func(*smmuv3.Config){
		func(*smmuv3.Config) {}, func(c *smmuv3.Config) { c.HTTU, c.STT, c.ASID16, c.VMID16 = 0, false, false, false },
		func(c *smmuv3.Config) { c.OAS, c.GRAN16K, c.HYP, c.TermModel = 2, false, false, true },
		func(c *smmuv3.Config) {
			c.StallModel, c.StallMax, c.ATS, c.PRI, c.ATSRECERR = spec.StallBoth, 4, false, false, false
		},
		func(c *smmuv3.Config) { c.TTENDIAN, c.CD2L, c.SSIDSIZE = spec.TTEndianLE, false, 8 },
	} {
		config := smmuNoCaches()
		change(&config)
		w := newSMMUEntries(t, config)
		refused := map[bool]int{}
		for _, c := range []struct {
			name   string
			f      *entry.Format
			at     emu.PA
			list   [][]uint64
			fields []reg.Bits
			bad    map[uint16]bool
		}{
			{"STE", w.formats.STE(), w.ste, w.stes[:4], smmuSTEFields, map[uint16]bool{smmuv3.FaultSTEInvalid: false, smmuv3.FaultSTEIllegal: true}},
			{"CD", w.formats.CD(w.stes[3]), w.cd, w.cds[:1], smmuCDFields, map[uint16]bool{smmuv3.FaultCDInvalid: false, smmuv3.FaultCDIllegal: true}},
		} {
			w.put(w.ste, w.stes[3])
			w.put(w.cd, w.cds[0])
			for range 1500 {
				raw := vary(r, c.list[r.IntN(len(c.list))], c.fields)
				w.put(c.at, raw)
				var res emu.Result
				w.Translate(&w.requests[0], &res)
				illegal := res.Status == emu.Blocked && c.bad[res.Fault.Code]
				refused[illegal]++
				if err := c.f.Legal(raw); err == nil {
					require.False(t, illegal, "%s %#x is refused", c.name, raw)
				}
			}
		}
		require.Greater(t, refused[true], 200)
		require.Greater(t, refused[false], 200)
	}
}
