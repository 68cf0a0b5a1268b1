package traces

import (
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"

	"github.com/iommulab/iommulab/emu"
)

// mapInterval is the time in ns from one Map event to the next while the spaces are set up.
const mapInterval = 20

// Generator streams a synthetic trace. It is a Source; what it holds does not grow with the number of
// events, only with that of the spaces. Equal Specs give equal events.
type Generator struct {
	spec   Spec
	header *Header
	rng    *rand.Rand
	zipf   *rand.Zipf
	stride uint64 // Zipf: from one rank to the next, in chunks

	chunks            uint64 // Map events per space
	spaces            uint64
	paMask            uint64 // of the physical scatter
	paMul             uint64
	setup             uint64   // Map events emitted at the start
	mapped            uint64   // of these, done
	cursor            []uint64 // per space: progress of its pattern
	space             uint64   // whose turn it is
	done              uint64   // accesses emitted
	time              uint64
	draining, drained uint64   // Churn at the end: space, and buffers of it that are unmapped
	queue             [4]Event // of one step, oldest first
	queued            int
	emitted           int
}

var _ Source = (*Generator)(nil)

// Generate returns a stream of the events that spec describes, or a *SpecError.
func Generate(spec Spec) (*Generator, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	g := &Generator{spec: spec, rng: rand.New(rand.NewPCG(spec.Seed, 0x9e3779b97f4a7c15^uint64(spec.Pattern)))}
	g.chunks = spec.Footprint / spec.MapBytes
	g.spaces = uint64(spec.Devices) * uint64(max(spec.PASIDs, 1))
	g.paMask = 1<<bits.Len64(g.chunks*g.spaces-1) - 1
	g.paMul = g.rng.Uint64() | 1
	g.cursor = make([]uint64, g.spaces)
	if spec.Pattern == Zipf {
		g.stride = scatter(g.chunks)
		g.zipf = rand.NewZipf(g.rng, spec.ZipfS, 1, g.chunks-1)
	}
	if spec.Pattern != Churn {
		g.setup = g.chunks * g.spaces
	}
	g.header = &Header{
		Version: Version, Source: "generator: " + spec.Pattern.String(), Clock: "synthetic", Seed: spec.Seed, Synthetic: true,
		Notes: []string{fmt.Sprintf("accesses %d, devices %d, PASIDs %d, footprint %d, map %d, access %d bytes, writes %g, interval %d ns",
			spec.Accesses, spec.Devices, spec.PASIDs, spec.Footprint, spec.MapBytes, spec.AccessBytes, spec.WriteFraction, spec.Interval)},
	}
	for i := range spec.Devices {
		g.header.addDevice(g.sid(uint64(i)))
	}
	return g, nil
}

// Header describes the trace.
func (g *Generator) Header() *Header { return g.header }

// Read implements Source.
func (g *Generator) Read(p []Event) (int, error) {
	for n := range p {
		if g.emitted == g.queued {
			g.queued, g.emitted = 0, 0
			if !g.step() {
				if n > 0 {
					return n, nil
				}
				return 0, io.EOF
			}
		}
		p[n] = g.queue[g.emitted]
		g.emitted++
	}
	return len(p), nil
}

// sid of device i: 32 slots to a bus first, functions and more when those are used up.
func (g *Generator) sid(i uint64) emu.SourceID {
	if uint64(g.spec.FirstSID)+uint64(g.spec.Devices-1)*8 < 1<<16 {
		i *= 8
	}
	return g.spec.FirstSID + emu.SourceID(i)
}

func (g *Generator) spaceOf(i uint64) Space {
	if g.spec.PASIDs == 0 {
		return Space{g.sid(i), emu.NoPASID}
	}
	pasids := uint64(g.spec.PASIDs)
	return Space{g.sid(i / pasids), emu.PASID(i%pasids + 1)} // PASID 0 is what requests without one use
}

// pa returns where a chunk of a space lies: a permutation of all chunks, so that neighbours do not stay
// neighbours. An odd factor modulo a power of two is one; where it leaves the range it is applied again.
func (g *Generator) pa(space, chunk uint64) emu.PA {
	x := space*g.chunks + chunk
	for {
		x = (x*g.paMul + 0x5bd1e995) & g.paMask
		if x < g.chunks*g.spaces {
			return g.spec.PABase + emu.PA(x*g.spec.MapBytes)
		}
	}
}

func (g *Generator) push(kind Kind, space, off, n uint64, perm Perm) {
	s := g.spaceOf(space)
	size := g.spec.MapBytes
	g.queue[g.queued] = Event{
		Time: g.time, Kind: kind, SID: s.SID, PASID: s.PASID, IOVA: g.spec.Base + emu.IOVA(off), Len: n, Perm: perm,
	}
	if kind != Unmap {
		g.queue[g.queued].PA, g.queue[g.queued].HasPA = g.pa(space, off/size)+emu.PA(off%size), true
	}
	g.queued++
}

func (g *Generator) dma(space, off, n uint64, write bool) {
	kind, perm := Read, PermR
	if write {
		kind, perm = Write, PermW
	}
	g.push(kind, space, off, n, perm)
	g.done++
}

// step queues the next few events, or reports the end.
func (g *Generator) step() bool {
	if g.mapped < g.setup {
		g.push(Map, g.mapped/g.chunks, g.mapped%g.chunks*g.spec.MapBytes, g.spec.MapBytes, PermRW)
		g.mapped++
		g.time += mapInterval
		return true
	}
	if g.done >= g.spec.Accesses {
		return g.spec.Pattern == Churn && g.drain()
	}
	steps[g.spec.Pattern](g, g.space)
	g.time += g.spec.Interval
	g.turn()
	return true
}

// turn passes to the next space. A burst is one turn.
func (g *Generator) turn() {
	if g.spec.Pattern == Bursts {
		if g.cursor[g.space]%uint64(g.spec.Burst) != 0 {
			return
		}
		g.time += g.spec.BurstGap
	}
	if g.space++; g.space == g.spaces {
		g.space = 0
	}
}

var steps = [numPatterns]func(*Generator, uint64){
	Sequential: (*Generator).sequential,
	Ring:       (*Generator).ring,
	Random:     func(g *Generator, space uint64) { g.inChunk(space, g.rng.Uint64N(g.chunks)) },
	Zipf:       func(g *Generator, space uint64) { g.inChunk(space, g.zipf.Uint64()*g.stride%g.chunks) },
	Bursts:     (*Generator).sequential,
	Churn:      (*Generator).churn,
}

func (g *Generator) write() bool { return g.rng.Float64() < g.spec.WriteFraction }

// inChunk accesses a random aligned place in a chunk.
func (g *Generator) inChunk(space, chunk uint64) {
	n := g.spec.AccessBytes
	off := g.rng.Uint64N(g.spec.MapBytes/n) * n
	g.dma(space, chunk*g.spec.MapBytes+off, n, g.write())
}

// scatter returns a factor prime to n, about 0.618 n, that spreads popular pages over a space of n.
func scatter(n uint64) uint64 {
	f := n*618/1000 | 1
	for gcd(f, n) != 1 {
		f += 2
	}
	return f
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (g *Generator) sequential(space uint64) {
	n := g.spec.AccessBytes
	perMap := g.spec.MapBytes / n // accesses do not cross the end of a chunk
	at := g.cursor[space]
	g.cursor[space]++
	at %= perMap * g.chunks
	g.dma(space, at/perMap*g.spec.MapBytes+at%perMap*n, n, g.write())
}

// ring: the first chunk holds descriptors of 16 bytes, the others are one buffer each.
func (g *Generator) ring(space uint64) {
	const descriptor = 16
	buffers := g.chunks - 1
	at := g.cursor[space]
	g.cursor[space]++
	slot := at % (g.spec.MapBytes / descriptor) * descriptor
	buf := (1 + at%buffers) * g.spec.MapBytes
	g.dma(space, slot, descriptor, false)
	if g.done < g.spec.Accesses {
		g.dma(space, buf, g.spec.AccessBytes, g.write())
	}
	if g.done < g.spec.Accesses {
		g.dma(space, slot, descriptor, true)
	}
}

// churn maps a buffer, uses it, and unmaps the one that is Outstanding older.
func (g *Generator) churn(space uint64) {
	at := g.cursor[space]
	g.cursor[space]++
	if at >= uint64(g.spec.Outstanding) {
		g.push(Unmap, space, (at-uint64(g.spec.Outstanding))%g.chunks*g.spec.MapBytes, g.spec.MapBytes, 0)
	}
	write := g.write()
	perm := PermR
	if write {
		perm = PermW
	}
	off := at % g.chunks * g.spec.MapBytes
	g.push(Map, space, off, g.spec.MapBytes, perm)
	g.dma(space, off, g.spec.AccessBytes, write)
}

// drain unmaps what churn has left.
func (g *Generator) drain() bool {
	out := uint64(g.spec.Outstanding)
	for ; g.draining < g.spaces; g.draining++ {
		at := g.cursor[g.draining]
		live := min(at, out)
		if g.drained < live {
			g.push(Unmap, g.draining, (at-live+g.drained)%g.chunks*g.spec.MapBytes, g.spec.MapBytes, 0)
			g.drained++
			g.time += mapInterval
			return true
		}
		g.drained = 0
	}
	return false
}
