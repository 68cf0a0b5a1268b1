package smmuv3

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// The fuzz targets hand the driver what another system, a device or a guest may have left in memory. Nothing
// may panic, and nothing may go on for ever.

// damage changes words of structures of memory: of ten bytes, two name a structure and a word of it, the rest
// is the change.
func damage(cpu host.CPU, at []emu.PA, words []int, b []byte) {
	for ; len(b) >= 10; b = b[10:] {
		i := int(b[0]) % len(at)
		pa := at[i] + emu.PA(int(b[1])%words[i]*8)
		cpu.Store64(pa, cpu.Load64(pa)^binary.LittleEndian.Uint64(b[2:]))
	}
}

func FuzzTakeOver(f *testing.F) {
	flip := func(list ...[3]uint64) (b []byte) {
		for _, x := range list {
			b = binary.LittleEndian.AppendUint64(append(b, byte(x[0]), byte(x[1])), x[2])
		}
		return b
	}
	f.Add(uint8(0), flip())
	f.Add(uint8(1), flip([3]uint64{1, 0, spec.SteS1CDMax.Put(31)}, [3]uint64{3, 0, ^uint64(0)}))
	f.Add(uint8(0), flip([3]uint64{0, uint64(dev >> splitBits), 0x1f}))
	f.Add(uint8(0), flip([3]uint64{0, 0, ^uint64(0)}, [3]uint64{0, 1, 0x10_0000 | splitBits + 1}))
	f.Add(uint8(2), flip([3]uint64{1, 0, spec.SteConfig.Put(3)}, [3]uint64{2, 1, 1}, [3]uint64{1, 2, 7 << 48}))
	f.Add(uint8(1), flip([3]uint64{4, 8, 1}, [3]uint64{4, 9, 0xfff0}, [3]uint64{1, 1, 3}, [3]uint64{3, 1, 0x8000_0001}))
	f.Add(uint8(3), flip([3]uint64{2, 0, spec.SteS1Fmt.Put(3)}, [3]uint64{2, 0, 1}, [3]uint64{0, 6, 1}))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		r, one, two := machine(t), dev, dev+1
		if kind&2 != 0 {
			r, one, two = machine(t, linear), 5, 6
		}
		r.up(Options{})
		pasids := uint32(64)
		if kind&1 != 0 {
			pasids = 1000
		}
		require.NoError(t, r.d.Probe(one, host.DeviceSpec{PASIDs: pasids, ATS: kind&4 != 0}))
		first, second := r.stage(host.StageFirst, 0), r.stage(host.StageSecond, 1)
		require.NoError(t, r.d.Attach(one, emu.NoPASID, first))
		require.NoError(t, r.d.Attach(one, 9, r.stage(host.StageFirst, 2)))
		require.NoError(t, r.d.Attach(two, emu.NoPASID, second))
		a, _ := r.d.STEAt(one)
		c, _ := r.d.STEAt(two)
		cd, _ := r.d.EntryAt(one, 9)
		root, _ := first.Tables().Root()
		table := r.d.c.Devices[one].Arch.(*stream).table.base
		damage(r.CPU, []emu.PA{r.d.streams.base, a, c, table, cd, root}, []int{64, 8, 8, 64, 8, 256}, b[:min(len(b), 4096)])

		b2, err := New(r.CPU, r.Frames, Options{TakeOver: true})
		if err != nil {
			require.ErrorIs(t, err, driver.ErrTakeOver)
			return
		}
		require.NoError(t, b2.Enable())
		for _, sid := range b2.Inherited() {
			if err := b2.Probe(sid, host.DeviceSpec{PASIDs: pasids}); err != nil {
				continue
			}
			dom, err := b2.NewDomain(host.DomainSpec{Stage: host.StageAny})
			require.NoError(t, err)
			_, _ = b2.Replace(sid, emu.NoPASID, dom, entry.Hitless)
			_, _ = b2.Replace(sid, 9, dom, entry.Hitless)
		}
		require.NoError(t, b2.Finish())
		require.Empty(t, b2.Inherited())
		b2.Lent()
	})
}

// Records of a queue may be anything: a device names PASIDs and addresses, and the unit's version may be newer.
func FuzzRecords(f *testing.F) {
	words := func(w ...uint64) (b []byte) {
		for _, v := range w {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		return b
	}
	f.Add(words(spec.EvTranslation|uint64(dev)<<32, 1<<63, 0x1234, 0))
	f.Add(words(spec.EvTranslation|uint64(dev)<<32|0xfffff<<12|1<<11, 1<<31|7, ^uint64(0), 0))
	f.Add(words(0xff, ^uint64(0), ^uint64(0), ^uint64(0), 0, 0, 0, 0))
	f.Add(words(uint64(dev)|1<<63, 0xfff_f000|3, ^uint64(0), ^uint64(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := start(t, stalls)
		require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true, PRI: true}))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.stage(host.StageFirst, 0)))
		var w [4]uint64
		for b = b[:min(len(b), 4096)]; len(b) >= 32; b = b[32:] {
			for i := range w {
				w[i] = binary.LittleEndian.Uint64(b[i*8:])
			}
			switch w[3] >> 62 {
			case 0:
				r.d.takeEvent(w[:])
			case 1:
				r.d.takePage(w[:2])
			default:
				dom, err := r.d.NewDomain(host.DomainSpec{Stage: host.StageSecond})
				require.NoError(t, err)
				_ = r.d.GuestCommand(dom, dev, [2]uint64(w[:2]))
				require.NoError(t, dom.Free())
			}
		}
		r.d.c.Serve()
		// The queues work on.
		r.Reaches(dev, emu.NoPASID, iova, page(0))
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		r.Blocked(dev, emu.NoPASID, iova)
	})
}
