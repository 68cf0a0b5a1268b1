package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// The GCR3 table, 2.2.6: from a PASID to the guest table. Its last entry is cached; looking for it is
// part of a page walk.

// gcr3Begin finds the guest table of the PASID.
func (u *Unit) gcr3Begin(t *emu.Txn) {
	if u.cache.PASID == nil {
		u.gcr3Top(t)
		return
	}
	t.Probe(emu.CachePASID, gcr3Key(t.Req.Source, emu.PASID(pasidOf(t))), StepGCR3Cache, stGCR3Probed)
}

func (u *Unit) gcr3Probed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.gcr3Top(t)
		return
	}
	version := t.In[2]
	if t.In[1] == gcr3Table(t) {
		version = t.Ver // what the DTE in force leads to
	}
	u.gcr3Found(t, t.In[0], version)
}

// gcr3Table is the GCR3 table of the DTE in force, and its levels.
func gcr3Table(t *emu.Txn) uint64 {
	e := (*spec.DTE)(t.Entry[:4])
	return e.GCR3Root() | uint64(e.GLX())
}

// gcr3Found goes on with the GCR3 table entry, found under the version of a DTE.
func (u *Unit) gcr3Found(t *emu.Txn, slot, version uint64) {
	t.Aux[2] = version
	if t.Req.PASID != emu.NoPASID {
		t.Aux[2] = GCR3Version(slot)
	}
	u.guestTop(t, slot&spec.Gcr3Addr.Mask())
}

// gcr3Top starts at the table of the DTE in force.
func (u *Unit) gcr3Top(t *emu.Txn) {
	e := (*spec.DTE)(t.Entry[:4])
	u.gcr3Fetch(t, e.GCR3Root(), uint64(e.GLX()))
}

// gcr3Fetch reads the entry of a level. The tables are at system physical addresses, or, with
// GCR3TRPMode, at guest physical ones.
func (u *Unit) gcr3Fetch(t *emu.Txn, table, level uint64) {
	t.Aux[0] = t.Aux[0]&^auxGLX.Mask() | auxGLX.Put(level)
	at := table + pasidOf(t)>>(9*level)&511*8
	if u.control(spec.CtlGCR3TRPMode) {
		u.resolve(t, at, emu.Read, retGCR3)
		return
	}
	t.Frame[1].Table = emu.PA(at)
	t.Fetch(emu.PA(at), 8, StepGCR3, stGCR3)
}

// gcr3Entry checks the entry.
func (u *Unit) gcr3Entry(t *emu.Txn) {
	e, at := t.In[0], t.Frame[1].Table
	level := auxGLX.Of(t.Aux[0])
	switch {
	case t.Ans == emu.AnsError:
		u.fault(t, FaultGCR3Read, StepGCR3, at)
		return
	case level == 0 && u.obs != nil:
		u.obs.Assembled(t, emu.StructPASID, at, t.In[:1])
	}
	switch {
	case !spec.Gcr3V.On(e):
		u.fault(t, FaultGCR3, StepGCR3, at)
	case e&^(spec.Gcr3V.Mask()|spec.Gcr3Addr.Mask()) != 0:
		u.fault(t, FaultGCR3Reserved, StepGCR3, at)
	case level != 0:
		u.gcr3Fetch(t, e&spec.Gcr3Addr.Mask(), level-1)
	case u.cache.PASID == nil:
		u.gcr3Found(t, e, t.Ver)
	default:
		t.Frame[0].Entry = e
		t.Act.Data = [4]uint64{e, gcr3Table(t), t.Ver}
		key := gcr3Key(t.Req.Source, emu.PASID(pasidOf(t)))
		t.Fill(emu.CachePASID, key, 0, t.Tag.Domain(), StepGCR3Fill, stGCR3Filled)
	}
}

func (u *Unit) gcr3Filled(t *emu.Txn) { u.gcr3Found(t, t.Frame[0].Entry, t.Ver) }
