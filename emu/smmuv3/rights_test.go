package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// allowed tries all kinds of access and returns those that pass: r, w, x unprivileged, R, W, X privileged.
func (r *rig) allowed(fault uint16) (s string) {
	for _, a := range []struct {
		c byte
		a emu.Access
	}{
		{'r', emu.Read}, {'w', emu.Write}, {'x', emu.Read | emu.Exec},
		{'R', emu.Read | emu.Priv}, {'W', emu.Write | emu.Priv}, {'X', emu.Read | emu.Exec | emu.Priv},
	} {
		res := r.Do(dma(a.a))
		if res.Status == emu.OK {
			s += string(a.c)
			continue
		}
		r.RequireFault(res, fault)
		e := r.event()
		require.Equal(r.T, a.a&emu.Priv != 0, spec.EvtPnU.On(e[1]))
		require.Equal(r.T, a.a&emu.Exec != 0, spec.EvtInD.On(e[1]))
		require.Equal(r.T, a.a&emu.Write == 0, spec.EvtRnW.On(e[1]))
	}
	return s
}

const (
	pxn = uint64(1) << 53
	uxn = uint64(1) << 54
)

// DDI 0487 D8.4: rights of stage 1.
func TestStage1Rights(t *testing.T) {
	for _, c := range []struct {
		name   string
		leaf   uint64
		table  uint64
		fields []field
		want   string
	}{
		{"AP 00", ng, 0, nil, "xRWX"},
		{"AP 01", ng | user, 0, nil, "rwxRW"},
		{"AP 10", ng | ro, 0, nil, "xRX"},
		{"AP 11", ng | user | ro, 0, nil, "rxRX"},
		{"UXN", ng | user | ro | uxn, 0, nil, "rRX"},
		{"PXN", ng | user | ro | pxn, 0, nil, "rxR"},
		{"APTable no user", ng | user, 1 << 61, nil, "xRWX"},
		{"APTable read-only", ng | user, 1 << 62, nil, "rxRX"},
		{"UXNTable", ng | user | ro, 1 << 60, nil, "rRX"},
		{"PXNTable", ng | user | ro, 1 << 59, nil, "rxR"},
		{"HAD", ng | user, 7 << 60, []field{{spec.CdHAD0, 1}}, "rwxRW"},
		{"WXN", ng | user, 0, []field{{spec.CdWXN, 1}}, "rwRW"},
		{"WXN, privileged", ng, 0, []field{{spec.CdWXN, 1}}, "xRW"},
		{"WXN, read-only", ng | user | ro, 0, []field{{spec.CdWXN, 1}}, "rxRX"},
		{"PAN", ng | user | ro, 0, []field{{spec.CdPAN, 1}}, "rxX"},
		{"PAN, privileged page", ng | uxn, 0, []field{{spec.CdPAN, 1}}, "RWX"},
		{"PAN, execute-only", ng, 0, []field{{spec.CdPAN, 1}}, "xRWX"},
		{"EPAN, execute-only", ng, 0, []field{{spec.CdPAN, 1}, {spec.CdEPAN, 1}}, "xX"},
		{"DBM without HD", ng | user | ro | dbm, 0, []field{{spec.CdHA, 1}}, "rxRX"},
		{"DBM", ng | user | ro | dbm, 0, []field{{spec.CdHA, 1}, {spec.CdHD, 1}}, "rwxRW"},
		{"DBM, HD alone", ng | user | ro | dbm, 0, []field{{spec.CdHD, 1}}, "rxRX"},
		{"DBM below read-only", ng | user | ro | dbm, 1 << 62, []field{{spec.CdHA, 1}, {spec.CdHD, 1}}, "rxRX"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, caches := range []change{func(*smmuv3.Config) {}, noCaches} {
				r := newRig(t, caches, func(c *smmuv3.Config) { c.EPAN = true }).enable()
				_, root := r.attach(dev, c.fields...)
				r.mapPage(root, iova, 0x5000, page|c.leaf)
				up := r.descriptor(spec.Granule4K, root, 3, iova, 2)
				r.Put(up, r.Get(up)|c.table)
				require.Equal(t, c.want, r.allowed(smmuv3.FaultS1Permission))
				require.Equal(t, c.want, r.allowed(smmuv3.FaultS1Permission), "from the caches")
			}
		})
	}
}

func TestSMMUQuirk57_WhatUnprivilegedAccessesWritePrivilegedOnesDoNotExecute(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, page|ng|user)
	require.Equal(t, "rwxRW", r.allowed(smmuv3.FaultS1Permission))
}

// DDI 0487 D8.4: rights of stage 2.
func TestSMMUQuirk56_Stage2Rights(t *testing.T) {
	for _, c := range []struct {
		leaf uint64
		xnx  bool
		want string
	}{
		{0 << 6, true, "xX"}, {1 << 6, true, "rxRX"}, {2 << 6, true, "wxWX"}, {3 << 6, true, "rwxRWX"},
		{3<<6 | 1<<53, true, "rwxRW"}, {3<<6 | 2<<53, true, "rwRW"}, {3<<6 | 3<<53, true, "rwRWX"},
		{3<<6 | 1<<53, false, "rwxRWX"}, {3<<6 | 2<<53, false, "rwRW"}, {3<<6 | 3<<53, false, "rwRW"},
	} {
		r := newRig(t, func(f *smmuv3.Config) { f.XNX = c.xnx }).enable()
		r.mapPage(r.attach2(dev), iova, 0x5000, page|c.leaf)
		require.Equal(t, c.want, r.allowed(smmuv3.FaultS2Permission), "%+v", c)
		require.Equal(t, c.want, r.allowed(smmuv3.FaultS2Permission), "%+v from the caches", c)
	}
}

func TestE0PDKeepsUnprivilegedAccessesOut(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.E0PD = true }).enable()
	_, root := r.attach(dev, field{spec.CdE0PD0, 1})
	r.mapPage(root, iova, 0x5000, s1RW)
	r.requireEvent(dma(emu.Read), smmuv3.FaultE0PD)
	r.RequireOK(r.Do(dma(emu.Read|emu.Priv)), 0x5000)
	r.requireEvent(dma(emu.Write), smmuv3.FaultE0PD)
}

func TestSMMUQuirk24_AttributesOfTheEvent(t *testing.T) {
	for _, c := range []struct {
		priv, inst uint64
		a          emu.Access
		pnu, ind   bool
	}{
		{0, 0, emu.Read | emu.Exec | emu.Priv, true, true}, {1, 1, emu.Read, false, false},
		{spec.PrivPriv, 0, emu.Read, true, false}, {spec.PrivUser, 0, emu.Read | emu.Priv, false, false},
		{0, spec.InstInst, emu.Read, false, true}, {0, spec.InstInst, emu.Write, false, false},
		{0, 0, emu.Write | emu.Exec, false, false}, {0, spec.InstData, emu.Read | emu.Exec, false, false},
	} {
		r := newRig(t).enable()
		r.attach(dev)
		r.set(r.ste(dev), field{spec.StePRIVCFG, c.priv}, field{spec.SteINSTCFG, c.inst})
		e := r.requireEvent(dma(c.a), smmuv3.FaultS1Translation)
		require.Equal(t, c.pnu, spec.EvtPnU.On(e[1]), "%+v", c)
		require.Equal(t, c.ind, spec.EvtInD.On(e[1]), "%+v", c)
	}
	r := newRig(t, func(c *smmuv3.Config) { c.AttrPermsOvr = false }).enable()
	r.attach(dev)
	r.set(r.ste(dev), field{spec.StePRIVCFG, spec.PrivPriv})
	require.False(t, spec.EvtPnU.On(r.requireEvent(dma(emu.Read), smmuv3.FaultS1Translation)[1]))
}

// 5.5: what A and R make of a fault.
func TestTerminationAndRecording(t *testing.T) {
	for _, c := range []struct {
		a, r        uint64
		record, raz bool
	}{{0, 0, false, true}, {0, 1, true, true}, {1, 0, false, false}, {1, 1, true, false}} {
		r := newRig(t).enable()
		r.attach(dev, field{spec.CdA, c.a}, field{spec.CdR, c.r})
		res := r.Do(dma(emu.Read))
		r.RequireFault(res, smmuv3.FaultS1Translation)
		require.Equal(t, c.raz, res.Fault.RAZ)
		require.Equal(t, !c.record, res.Fault.Quiet)
		require.Equal(t, c.record, len(r.drain()) == 1)
	}
	for _, on := range []uint64{0, 1} {
		r := newRig(t).enable()
		r.attach2(dev, field{spec.SteS2R, on})
		res := r.Do(dma(emu.Read))
		r.RequireFault(res, smmuv3.FaultS2Translation)
		require.False(t, res.Fault.RAZ)
		require.EqualValues(t, on, len(r.drain()))
	}
}
