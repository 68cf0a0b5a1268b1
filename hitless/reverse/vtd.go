package reverse

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
)

// VTD returns a unit of VT-d that reads PASID-table entries from the last part to the first.
func VTD(u emu.Unit) emu.Unit { return descendingPASID{u} }

// descendingPASID is a unit that reads the four parts of a PASID entry in the reverse order. The
// architecture fixes none for an entry that is present all the time; one that becomes present is
// read in full only after P was seen (6.5.3.3), which this unit does not do. What it has read so far
// is in the scratch of a walk, which has not begun yet.
type descendingPASID struct{ emu.Unit }

func (u descendingPASID) Step(t *emu.Txn) {
	if a := &t.Act; a.Op != emu.OpFetch || a.Step != vtd.StepPASIDEntry {
		u.Unit.Step(t)
		if a.Op == emu.OpFetch && a.Step == vtd.StepPASIDEntry {
			a.Addr += 48
		}
		return
	}
	slot := func(part emu.PA) (lo *uint64, hi *emu.PA) {
		f := &t.Frame[part/2]
		if part%2 == 0 {
			return &f.In, &f.Table
		}
		return &f.Entry, &f.At
	}
	part := t.Act.Addr % 64 / 16
	lo, hi := slot(part)
	*lo, *hi = t.In[0], emu.PA(t.In[1])
	if part > 0 {
		t.Act.Addr -= 16
		return
	}
	var parts [4][2]uint64
	for i := range parts {
		lo, hi := slot(emu.PA(i))
		parts[i] = [2]uint64{*lo, uint64(*hi)}
	}
	t.Frame = [2]emu.Frame{}
	for _, p := range parts {
		t.In, t.Ans = [4]uint64{p[0], p[1]}, emu.AnsOK
		u.Unit.Step(t)
	}
}
