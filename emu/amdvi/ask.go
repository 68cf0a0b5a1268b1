package amdvi

import "github.com/iommulab/iommulab/emu"

// The questions a transaction asks. Each leaves t.Act and the state that consumes the answer.

func fetch(t *emu.Txn, pa emu.PA, size uint8, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Addr, a.Size, a.Follow, a.Step = emu.OpFetch, pa, size, false, step
	t.State = next
}

// swap compares the 8 bytes at pa with old and stores val if they are equal.
func swap(t *emu.Txn, pa emu.PA, old, val uint64, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Addr, a.Size, a.Step = emu.OpCAS, pa, 8, step
	a.Data = [4]uint64{old, 0, val, 0}
	t.State = next
}

func probe(t *emu.Txn, c emu.CacheID, k emu.Key, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Cache, a.Key, a.Step = emu.OpProbe, c, k, step
	t.Res.Touched |= c.Set()
	t.State = next
}

// fill expects t.Act.Data to be set.
func fill(t *emu.Txn, c emu.CacheID, k emu.Key, lg2 uint8, attr uint32, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Cache, a.Key, a.Lg2, a.Attr, a.Step = emu.OpFill, c, k, lg2, attr, step
	t.State = next
}

func acquire(t *emu.Txn, s emu.SlotClass, k emu.Key, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Slot, a.Key, a.Step = emu.OpAcquire, s, k, step
	t.State = next
}

func release(t *emu.Txn, s emu.SlotClass, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Slot, a.Step = emu.OpRelease, s, step
	t.State = next
}

func delay(t *emu.Txn, c emu.DelayClass, step emu.Step, next uint16) {
	a := &t.Act
	a.Op, a.Delay, a.N, a.Step = emu.OpDelay, c, 1, step
	t.State = next
}

// invalidate expects t.Act.Sel to be set.
func invalidate(t *emu.Txn, step emu.Step, next uint16) {
	t.Act.Op, t.Act.Step = emu.OpInvalidate, step
	t.State = next
}

func drain(t *emu.Txn, step emu.Step, next uint16) {
	t.Act.Op, t.Act.Step = emu.OpDrain, step
	t.State = next
}

func park(t *emu.Txn, step emu.Step, next uint16) {
	t.Act.Op, t.Act.Step = emu.OpPark, step
	t.State = next
}

func order(t *emu.Txn, step emu.Step, next uint16) {
	t.Act.Op, t.Act.Step = emu.OpOrder, step
	t.State = next
}

func done(t *emu.Txn, step emu.Step) {
	t.Act.Op, t.Act.Step = emu.OpDone, step
	t.State = stEnded
}
