package reverse

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
)

// SMMUv3 returns a unit of SMMUv3 that reads STEs and CDs from the last word to the first, if it reads them
// by words: the architecture fixes no order (3.21.1).
func SMMUv3(u emu.Unit) emu.Unit { return descendingWords{u} }

// descendingWords keeps what it has read so far in those parts of a question that a fetch leaves free.
type descendingWords struct{ emu.Unit }

// word is where word i is kept.
func (u descendingWords) word(a *emu.Act, i emu.PA) *uint64 {
	switch i {
	case 4:
		return &a.Sel.First
	case 5:
		return &a.Sel.Last
	case 6:
		return &a.Key.Addr
	case 7:
		return (*uint64)(&a.Key.Tag)
	}
	return &a.Data[i]
}

// part reports whether the transaction asks for a word of an STE or a CD.
func (u descendingWords) part(t *emu.Txn) bool {
	a := &t.Act
	return a.Op == emu.OpFetch && a.Size == 8 && (a.Step == smmuv3.StepSTE || a.Step == smmuv3.StepCD)
}

// next lets the unit ask. If that is for the first word of an entry, the last one is asked for instead.
func (u descendingWords) next(t *emu.Txn) {
	u.Unit.Step(t)
	if u.part(t) {
		t.Act.Addr += 56
		t.Act.Data, t.Act.Sel, t.Act.Key = [4]uint64{}, emu.Selector{}, emu.Key{}
	}
}

func (u descendingWords) Step(t *emu.Txn) {
	if !u.part(t) || t.Ans == emu.AnsError {
		u.next(t)
		return
	}
	i := t.Act.Addr % 64 / 8
	*u.word(&t.Act, i) = t.In[0]
	if i > 0 {
		t.Act.Addr -= 8
		return
	}
	var words [8]uint64
	for i := range words {
		words[i] = *u.word(&t.Act, emu.PA(i))
	}
	t.Act.Data, t.Act.Sel, t.Act.Key = [4]uint64{}, emu.Selector{}, emu.Key{}
	for i, w := range words {
		t.In, t.Ans = [4]uint64{w}, emu.AnsOK
		if i < len(words)-1 {
			u.Unit.Step(t)
		} else {
			u.next(t)
		}
	}
}
