package reverse

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
)

// SMMUv3 returns a unit of SMMUv3 that reads STEs and CDs from the last word to the first.
func SMMUv3(u emu.Unit) emu.Unit { return descendingWords{u} }

// descendingWords reads the words of an STE or a CD in the reverse order: the architecture fixes none
// (3.21.1). What it has read so far is in the scratch of walks, none of which has begun.
type descendingWords struct{ emu.Unit }

// word is where a word that was read is kept.
func (u descendingWords) word(t *emu.Txn, i emu.PA) (lo *uint64, hi *emu.PA) {
	f := &t.Frame[i/4]
	switch i % 4 {
	case 0:
		return &f.In, nil
	case 1:
		return &f.Entry, nil
	case 2:
		return nil, &f.Table
	}
	return nil, &f.At
}

// part reports whether the transaction asks for a word of an STE or a CD.
func (u descendingWords) part(t *emu.Txn) bool {
	a := &t.Act
	return a.Op == emu.OpFetch && a.Size == 8 && (a.Step == smmuv3.StepSTE || a.Step == smmuv3.StepCD)
}

func (u descendingWords) Step(t *emu.Txn) {
	if !u.part(t) {
		u.Unit.Step(t)
		if u.part(t) && t.Frame == [2]emu.Frame{} {
			t.Act.Addr += 56
		}
		return
	}
	i := t.Act.Addr % 64 / 8
	if lo, hi := u.word(t, i); lo != nil {
		*lo = t.In[0]
	} else {
		*hi = emu.PA(t.In[0])
	}
	if i > 0 {
		t.Act.Addr -= 8
		return
	}
	var words [8]uint64
	for i := range words {
		if lo, hi := u.word(t, emu.PA(i)); lo != nil {
			words[i] = *lo
		} else {
			words[i] = uint64(*hi)
		}
	}
	t.Frame = [2]emu.Frame{}
	for _, w := range words {
		t.In, t.Ans = [4]uint64{w}, emu.AnsOK
		u.Unit.Step(t)
	}
}
