package timing

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// weakCPU is a processor of weak order on a machine that notes in which order words become visible.
type weakCPU struct {
	*CPU
	m     *Machine
	order []emu.PA
}

func newWeakCPU(seed uint64, order StoreOrder) *weakCPU {
	p := params()
	p.Host.Order, p.Host.DrainSpread, p.Host.Buffer = order, 1000, 16
	memory := mem.New()
	w := &weakCPU{m: New(p, memory)}
	w.CPU = w.m.AddCPU(seed)
	memory.Watch(0x8000, 0x8fff, func(pa emu.PA, _ uint8) { w.order = append(w.order, pa) })
	return w
}

// burst stores eight words and waits until they are visible.
func (w *weakCPU) burst() []emu.PA {
	w.order = nil
	for i := range 8 {
		w.Store64(0x8000+emu.PA(i*8), 1)
	}
	w.Fence()
	return w.order
}

func TestStoreOrder_IsAFunctionOfTheSeed(t *testing.T) {
	inOrder := newWeakCPU(1, TotalOrder).burst()
	require.IsIncreasing(t, inOrder)
	a, b, c := newWeakCPU(1, WeakOrder).burst(), newWeakCPU(1, WeakOrder).burst(), newWeakCPU(2, WeakOrder).burst()
	require.Equal(t, a, b)
	require.NotEqual(t, a, c)
	require.ElementsMatch(t, inOrder, a)
	require.ElementsMatch(t, inOrder, c)
}

// Every order of three stores comes about, and each store is first and last about as often as the others.
func TestStoreOrder_EveryOrderComesAbout(t *testing.T) {
	w := newWeakCPU(7, WeakOrder)
	seen := map[string]int{}
	for range 600 {
		w.order = nil
		for i := range 3 {
			w.Store64(0x8000+emu.PA(i*8), 1)
		}
		w.Fence()
		seen[fmt.Sprint(w.order)]++
	}
	require.Len(t, seen, 6)
	for order, n := range seen {
		require.InDelta(t, 100, n, 50, order)
	}
}

// What orders stores on the weak machine: a fence, a locked operation, a register access, a page that is
// cleared, a line that is written back.
func TestStoreOrder_WhatOrders(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *weakCPU)
		want bool
	}{
		{"nothing", func(*weakCPU) {}, false},
		{"a load", func(w *weakCPU) { w.Load64(0x8000) }, false},
		{"time", func(w *weakCPU) { w.Compute(1) }, false},
		{"fence", func(w *weakCPU) { w.Fence() }, true},
		{"locked operation", func(w *weakCPU) { w.CAS64(0x9000, 0, 1) }, true},
		{"register write", func(w *weakCPU) { w.WriteReg(0, 8, 8, 1) }, true},
		{"register read", func(w *weakCPU) { w.ReadReg(0, 8, 8) }, true},
		{"zero", func(w *weakCPU) { w.Zero(0x9000, 64) }, true},
		{"flush", func(w *weakCPU) { w.Flush(0x8000, 64) }, true},
	} {
		passed := 0
		for seed := range uint64(30) {
			w := newWeakCPU(seed, WeakOrder)
			w.m.AddUnit(newToy(tlb), 4)
			w.Store64(0x8000, 1)
			c.do(w)
			w.Store64(0x8008, 1)
			w.Fence()
			if w.order[0] == 0x8008 {
				passed++
			}
		}
		require.Equal(t, c.want, passed == 0, c.name)
	}
}

// Whoever rings the doorbell finds the unit reading what was stored before.
func TestStoreOrder_ADoorbellStaysBehindStores(t *testing.T) {
	for seed := range uint64(20) {
		p := params()
		p.Host.Order, p.Host.DrainSpread = WeakOrder, 5000
		b := newBench(p, tlb)
		c := b.AddCPU(seed)
		var v, w [4]uint64
		b.u.written = func() { b.Memory().Load(0x5000, 8, &v); b.Memory().Load(0x5008, 8, &w) }
		c.Store64(0x5000, 7)
		c.Store64(0x5008, 8)
		c.WriteReg(0, 8, 8, 1)
		b.drain()
		require.Equal(t, [2]uint64{7, 8}, [2]uint64{v[0], w[0]})
	}
}

// A processor reads its own last store, also if an earlier one to the same place becomes visible in the
// same cycle and lies behind it in the buffer.
func TestStoreOrder_OwnStoresAreReadYoungestFirst(t *testing.T) {
	for _, order := range []StoreOrder{TotalOrder, WeakOrder} {
		p := params()
		p.Host.Order, p.Host.DrainSpread, p.Host.Buffer = order, 1000, 4
		p.Host.Store, p.Host.Gap, p.Host.Load = 0, 0, 0
		m := mem.New()
		c := New(p, m).AddCPU(5)
		for i := range uint64(400) {
			c.Store64(0x8000+emu.PA(i%3*8), i)
			require.Equal(t, i, c.Load64(0x8000+emu.PA(i%3*8)), order)
			if i%7 == 0 {
				c.Compute(i % 90)
			}
			require.Equal(t, i, c.Load64(0x8000+emu.PA(i%3*8)), order)
		}
		c.Fence()
		for i := uint64(397); i < 400; i++ {
			v, _ := m.Load64(0x8000 + emu.PA(i%3*8))
			require.Equal(t, i, v, order)
		}
	}
}

// A checkpoint in the middle of a burst goes on in the same order.
func TestStoreOrder_Checkpoint(t *testing.T) {
	want := newWeakCPU(3, WeakOrder).burst()
	for cut := range 8 {
		a := newWeakCPU(3, WeakOrder)
		for i := range cut {
			a.Store64(0x8000+emu.PA(i*8), 1)
		}
		var e emu.Encoder
		a.m.Save(&e)
		r := newWeakCPU(9, WeakOrder)
		require.NoError(t, r.m.Restore(emu.NewDecoder(e.Bytes())))
		r.order = nil
		for i := cut; i < 8; i++ {
			r.Store64(0x8000+emu.PA(i*8), 1)
		}
		r.Fence()
		require.Equal(t, want, append(a.order, r.order...), "after %d stores", cut)
	}
}

func TestStoreOrder_Text(t *testing.T) {
	for _, o := range []StoreOrder{TotalOrder, WeakOrder} {
		text, err := o.MarshalText()
		require.NoError(t, err)
		var back StoreOrder
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, o, back)
	}
	var o StoreOrder
	require.ErrorContains(t, o.UnmarshalText([]byte("none")), `"none": want one of total, weak`)
}
