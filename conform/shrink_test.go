package conform_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// The mutants are our machine with one defect each.

// deafPPF never shows that a fault is pending.
type deafPPF struct{ *conform.Model }

func (m deafPPF) ReadReg(off uint32, size uint8) (uint64, error) {
	v, err := m.Model.ReadReg(off, size)
	if off == spec.OffFSTS {
		v &^= spec.FstsPPF.Mask()
	}
	return v, err
}

// writesAsReads checks writes as if they were reads.
type writesAsReads struct{ *conform.Model }

func (m writesAsReads) DMA(d *conform.DMA) (conform.Outcome, error) {
	if !d.Write || len(d.Data) != 8 {
		return m.Model.DMA(d)
	}
	r := *d
	r.Write, r.Data = false, make([]byte, 8)
	o, err := m.Model.DMA(&r)
	if o.OK {
		err = m.Write(m.Result().PA, d.Data)
	}
	return o, err
}

// keepsPages does nothing at page-selective invalidations of the IOTLB.
type keepsPages struct{ *conform.Model }

func (m keepsPages) WriteReg(off uint32, size uint8, v uint64) error {
	if off != spec.OffIQT {
		return m.Model.WriteReg(off, size, v)
	}
	iqa, _ := m.ReadReg(spec.OffIQA, 8)
	step := emu.PA(spec.DescSize128)
	if spec.IqaDW.On(iqa) {
		step = spec.DescSize256
	}
	base, end := emu.PA(iqa&spec.IqaIQA.Mask()), emu.PA(4096<<spec.IqaQS.Of(iqa))
	nothing := binary.LittleEndian.AppendUint64(nil, spec.DescIEC)
	nothing = append(nothing, make([]byte, 8)...)
	for at := base; at < base+end; at += step {
		old := make([]byte, 16)
		if m.Read(at, old) != nil {
			break // no memory there
		}
		w := binary.LittleEndian.Uint64(old)
		if t := spec.DescType(w); (t == spec.DescIOTLB || t == spec.DescPASIDIOTLB && step == spec.DescSize256) && spec.IiG.Of(w) == spec.GranPage {
			if err := m.Write(at, nothing); err != nil {
				return err
			}
			defer m.Write(at, old)
		}
	}
	return m.Model.WriteReg(off, size, v)
}

func TestShrink_FindsInjectedDefects(t *testing.T) {
	for _, target := range conform.Targets("vtd") {
		for _, c := range []struct {
			name   string
			mutant func(*conform.Model) conform.Peer
			within int // programs until it is found
			steps  int // of the shrunken program, at most
			want   string
		}{
			{"a register bit", func(m *conform.Model) conform.Peer { return deafPPF{m} }, 10, 2, "FSTS_REG.PPF"},
			{"a permission check", func(m *conform.Model) conform.Peer { return writesAsReads{m} }, 40, 12, ""},
			{"an invalidation", func(m *conform.Model) conform.Peer { return keepsPages{m} }, 200, 22, ""},
		} {
			t.Run(target.Mode+"/"+c.name, func(t *testing.T) {
				r := conform.NewRunner(target.Strict(), model(t, target, true), c.mutant(model(t, target, true)))
				p := firstDifferent(t, r, target, c.within)
				small, err := conform.Shrink(r, p, conform.ShrinkLimit)
				require.NoError(t, err)
				require.LessOrEqual(t, len(small.Steps), c.steps, "%v", lines(t, small))
				require.Less(t, len(small.Steps), len(p.Steps))
				require.Contains(t, small.About[0], c.want)

				o, err := r.Run(small)
				require.NoError(t, err)
				require.False(t, o.Same())

				again, err := conform.Shrink(r, p, conform.ShrinkLimit)
				require.NoError(t, err)
				require.Equal(t, lines(t, small), lines(t, again), "deterministic")

				// The file says the same as the program.
				back, err := conform.Parse(strings.NewReader(lines(t, small)), "")
				require.NoError(t, err)
				o2, err := r.Run(back)
				require.NoError(t, err)
				require.Equal(t, o.Failed, o2.Failed)
				require.Equal(t, len(o.Diffs), len(o2.Diffs))
			})
		}
	}
}

func firstDifferent(t *testing.T, r *conform.Runner, target *conform.Target, within int) *conform.Program {
	for seed := range uint64(within) {
		p := target.Generate(seed+1, machine)
		o, err := r.Run(p)
		require.NoError(t, err)
		if !o.Same() {
			return p
		}
	}
	require.Fail(t, "the defect was not found")
	return nil
}

func lines(t *testing.T, p *conform.Program) string {
	var b strings.Builder
	require.NoError(t, p.Write(&b))
	return b.String()
}

func TestShrink_LeavesOthersAlone(t *testing.T) {
	target := conform.Targets("vtd")[0]
	r := conform.NewRunner(target.Strict(), model(t, target, true), model(t, target, true))
	p := target.Generate(1, machine)
	q, err := conform.Shrink(r, p, 10)
	require.NoError(t, err)
	require.Same(t, p, q)
}
