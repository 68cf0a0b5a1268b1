package emu

// Held transactions: those that asked OpHold. One may be let go while Translate is still running, by a
// handler of an interrupt, or by host code long after.

// heldTxn is a transaction with a place of its own.
type heldTxn struct {
	txn   Txn
	state heldState
	watch bool // Translate waits for it
}

type heldState uint8

const (
	heldFree heldState = iota
	heldIdle
	heldReady // resumed
	heldRuns
	heldEnded // and Translate has to take the result
)

// hold takes the translation in progress over and answers r, with its end if that comes at once.
func (f *Functional) hold(r *Result) {
	id := f.freeHeld()
	h := f.held[id]
	h.txn, h.state, h.watch = f.txn, heldIdle, true
	w := h.txn.Wake
	h.txn.Wake, f.txn.Wake = 0, 0
	f.Wake(w)
	h.watch = false
	r.copy(&h.txn.Res)
	if h.state == heldEnded {
		h.state = heldFree
		return
	}
	r.Status, r.Data = Pending, uint32(id)
}

func (f *Functional) freeHeld() int {
	for i, h := range f.held {
		if h.state == heldFree {
			return i
		}
	}
	f.held = append(f.held, new(heldTxn))
	return len(f.held) - 1
}

// resume lets the held transactions that a concerns go on once the engines are done.
func (f *Functional) resume(a *Act) {
	for _, h := range f.held {
		if h.state == heldIdle && a.Sel.Resumes(&h.txn.Act.Key) {
			h.txn.In, h.txn.Ans, h.state = a.Data, AnsOK, heldReady
		}
	}
}

// runHeld runs what was resumed.
func (f *Functional) runHeld() {
	for i := 0; i < len(f.held); i++ { // it grows
		if h := f.held[i]; h.state == heldReady {
			h.state = heldRuns
			f.run(&h.txn)
			f.endHeld(uint32(i), h)
		}
	}
}

func (f *Functional) endHeld(id uint32, h *heldTxn) {
	w := h.txn.Wake
	h.txn.Wake = 0
	if h.txn.Act.Op == OpHold {
		h.state = heldIdle
		f.Wake(w)
		return
	}
	h.state = heldEnded
	f.Wake(w)
	if r := &h.txn.Res; r.Status == Interrupt {
		f.deliver(r.PA, r.Data)
	}
	if h.watch {
		return
	}
	if f.OnEnd != nil {
		f.OnEnd(id, &h.txn.Res)
	}
	h.state = heldFree
}
