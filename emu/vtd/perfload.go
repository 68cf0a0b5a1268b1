package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Performance monitoring as words: PERFCAP_REG, the four offsets, PERFEVNTCAP_REG by group, and for
// each counter up to the last limited one its events by group.
const (
	perfFixed = 5 + spec.NumEventGroups
	perfEach  = spec.NumEventGroups
)

// perfWords returns c.Perf as words, none without PMS.
func (c *Config) perfWords() []uint64 {
	if !c.PMS {
		return nil
	}
	p := &c.Perf
	w := []uint64{p.word(p.Events), uint64(p.CfgOff), uint64(p.FrzOff), uint64(p.OvfOff), uint64(p.CntrOff)}
	for _, e := range p.Events {
		w = append(w, uint64(e))
	}
	for _, l := range p.Limited {
		for _, e := range l {
			w = append(w, uint64(e))
		}
	}
	return w
}

// adoptPerf sets PMS and Perf from capability registers and perfWords, as far as this unit can do
// what they say.
func (c *Config) adoptPerf(cap, ecap uint64, w []uint64) {
	c.PMS = false
	if !spec.EcapPMS.On(ecap) || !spec.CapECMDS.On(cap) || len(w) < perfFixed || !spec.PerfcapIOS.On(w[0]) {
		return
	}
	p := PerfConfig{
		Counters: int(spec.PerfcapNCNTR.Of(w[0])), Width: uint8(spec.PerfcapCW.Of(w[0])),
		Filters: uint8(spec.PerfcapFS.Of(w[0])), Stride: minStride << spec.PerfcapCS.Of(w[0]),
		CWE: spec.PerfcapCWE.On(w[0]), GFS: spec.PerfcapGFS.On(w[0]),
		CfgOff: uint32(w[1]), FrzOff: uint32(w[2]), OvfOff: uint32(w[3]), CntrOff: uint32(w[4]),
	}
	for g := range p.Events {
		p.Events[g] = uint32(w[5+g])
	}
	for w = w[perfFixed:]; len(w) >= perfEach; w = w[perfEach:] {
		var l [spec.NumEventGroups]uint32
		for g := range l {
			l[g] = uint32(w[g])
		}
		p.Limited = append(p.Limited, l)
	}
	if field, _ := p.check(); field != "" {
		return
	}
	c.PMS, c.Perf = true, p
}

// perfImage collects the words of perfWords from a register image.
func perfImage(m emu.RegWords) []uint64 {
	get := func(off uint32, size uint8) uint64 { v, _ := m.Get(off, size); return v }
	w := []uint64{
		get(spec.OffPERFCAP, 8), get(spec.OffPERFCFGOFF, 4), get(spec.OffPERFFRZOFF, 4),
		get(spec.OffPERFOVFOFF, 4), get(spec.OffPERFCNTROFF, 4),
	}
	for g := range uint32(spec.NumEventGroups) {
		w = append(w, spec.PerfevntcapES.Of(get(spec.OffPERFEVNTCAP0+8*g, 8)))
	}
	last := len(w)
	for i := range uint32(min(spec.PerfcapNCNTR.Of(w[0]), spec.MaxPerfCounters)) {
		block := uint32(w[1]) + i*spec.PerfBlock
		var l [spec.NumEventGroups]uint64
		can := get(block+spec.OffPERFCNTRCAP, 4) * spec.PerfcapPCCS.Of(w[0])
		for j := range uint32(spec.CntrcapPCC.Of(can) * min(spec.CntrcapEGCNT.Of(can), spec.NumEventGroups)) {
			v := get(block+spec.OffCNTREVCAP0+4*j, 4)
			if g := spec.CntrevcapEGI.Of(v); g < spec.NumEventGroups {
				l[g] = spec.CntrevcapES.Of(v)
			}
		}
		w = append(w, l[:]...)
		if spec.CntrcapPCC.On(can) {
			last = len(w)
		}
	}
	return w[:last]
}
