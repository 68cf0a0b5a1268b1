package timing

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/clock"
)

// Kinds of events.
const (
	evAnswer   uint8 = iota // A unit, B flight: the time of the answer has come
	evRead                  // A unit, B flight: tag read
	evReturn                // A unit, B flight: the response reaches the requester
	evWake                  // A unit, B engine: has work
	evStore                 // A processor, B buffer slot: a store becomes visible
	evRegister              // A processor, B buffer slot: a posted register write arrives
	evMSI                   // A message: arrives at its processor
	evTimer                 // A client, B argument
	evMessage               // A slot of messages: reaches its device
	evATSEnd                // A unit, B request: the end of an ATS invalidation request, see atsEnds
)

// Order within one cycle: what processors did comes before what hardware does in it.
const (
	prioProcessor uint8 = iota
	prioHardware
	prioDevice
)

// Machine is a computer: memory, units, processors and devices on one clock. It is not safe for
// concurrent use; several machines may run at the same time.
type Machine struct {
	Params Params
	now    uint64
	limit  uint64 // nothing may be done after this time before the processor acts again
	wheel  clock.Wheel
	mem    emu.Memory
	ports  []*port
	cpus   []*CPU
	client []Client
	msi    []msi
	lines  []line
	multi  bool

	messages []message // on their way to devices

	// One at a time: in the machine, so that they are not allocated for each call.
	completion   Completion
	invalidation emu.ATSInvalidation
	response     emu.PRGResponse

	// Trace, if set, sees every question after it was answered. unit is the number of the unit.
	Trace func(now uint64, unit int, t *emu.Txn)
}

// New returns a machine on memory m without processors, units and devices.
func New(p Params, m emu.Memory) *Machine {
	return &Machine{Params: p, mem: m, limit: ^uint64(0)}
}

// Now returns the machine's time in cycles.
func (m *Machine) Now() uint64 { return m.now }

// Memory returns the memory bus.
func (m *Machine) Memory() emu.Memory { return m.mem }

// AddUnit attaches u and returns its number. At most flights requests are in it at one time.
func (m *Machine) AddUnit(u emu.Unit, flights int) int {
	m.ports = append(m.ports, newPort(m, uint32(len(m.ports)), u, flights))
	return len(m.ports) - 1
}

// Unit returns unit number i, for tools.
func (m *Machine) Unit(i int) emu.Unit { return m.ports[i].unit }

// Processor returns processor number i.
func (m *Machine) Processor(i int) *CPU { return m.cpus[i] }

// Interrupts is the number of interrupt messages that host code has registered. A machine that a
// checkpoint is restored into needs as many, registered in the same order.
func (m *Machine) Interrupts() int { return len(m.msi) }

// AddClient attaches a device and returns its number.
func (m *Machine) AddClient(c Client) int {
	m.client = append(m.client, c)
	return len(m.client) - 1
}

// Issue sends q of client dev to a unit at the present cycle. tag comes back in the completion. It
// returns false if the unit's ingress is full; the client tries again after its next completion.
func (m *Machine) Issue(dev int, unit int, tag uint32, q *emu.Request) bool {
	return m.ports[unit].issue(uint32(dev), tag, q)
}

// Timer calls client dev back at a cycle not before the present one.
func (m *Machine) Timer(dev int, at uint64, arg uint32) {
	m.at(max(at, m.now), prioDevice, evTimer, uint32(dev), arg)
}

func (m *Machine) at(t uint64, prio, kind uint8, a, b uint32) {
	m.wheel.Push(clock.Event{Time: t, Prio: prio, Kind: kind, A: a, B: b})
}

// inline advances the clock to t if nothing comes before, so that work can go on without an event.
func (m *Machine) inline(t uint64) bool {
	if t > m.limit {
		return false
	}
	if next, ok := m.wheel.NextTime(); ok && next <= t {
		return false
	}
	m.now = t
	return true
}

// RunUntil handles all events up to and including cycle t and leaves the clock there.
func (m *Machine) RunUntil(t uint64) {
	m.limit = t
	for {
		next, ok := m.wheel.NextTime()
		if !ok || next > t {
			break
		}
		m.step()
	}
	m.now = max(m.now, t)
	m.limit = m.now
	m.wheel.Advance(m.now)
}

// Step handles the next event and reports whether there was one.
func (m *Machine) Step() bool {
	m.limit = ^uint64(0)
	return m.step()
}

// Idle reports whether no event is pending.
func (m *Machine) Idle() bool { return m.wheel.Len() == 0 }

func (m *Machine) step() bool {
	var e clock.Event
	if !m.wheel.Pop(&e) {
		return false
	}
	m.now = e.Time
	switch e.Kind {
	case evAnswer:
		m.ports[e.A].answerAndAdvance(int32(e.B))
	case evRead:
		m.ports[e.A].read(int32(e.B))
	case evReturn:
		m.ports[e.A].deliver(int32(e.B))
	case evWake:
		m.ports[e.A].turn(int32(e.B))
	case evStore:
		m.cpus[e.A].visible(e.B)
	case evRegister:
		m.cpus[e.A].registerArrives(e.B)
	case evMSI:
		m.interrupt(e.A)
	case evTimer:
		m.client[e.A].Timer(e.B)
	case evMessage:
		m.arrived(e.A)
	case evATSEnd:
		m.ports[e.A].atsEnded(e.B)
	default:
		panic(fmt.Sprintf("timing: event kind %d has no handler", e.Kind))
	}
	return true
}
