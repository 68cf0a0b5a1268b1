package conform_test

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
	amdvi "github.com/iommulab/iommulab/emu/amdvi/spec"
	arm "github.com/iommulab/iommulab/emu/smmuv3/spec"
	vtd "github.com/iommulab/iommulab/emu/vtd/spec"
)

// The mutants are our machine with one defect each.

// defect is a mutant, and how it is found.
type defect struct {
	name   string
	mutant func(*conform.Model) conform.Peer
	within int // programs until it is found
	steps  int // of the shrunken program, at most
	want   string
}

// defects by unit.
var defects = map[string][]defect{
	"vtd": {
		{"a register bit", deaf(vtd.OffFSTS, vtd.FstsPPF.Mask()), 10, 2, "FSTS_REG.PPF"},
		{"a permission check", func(m *conform.Model) conform.Peer { return writesAsReads{m} }, 40, 12, ""},
		{"an invalidation", func(m *conform.Model) conform.Peer { return vtdKeepsPages{m} }, 200, 22, ""},
	},
	"amdvi": {
		{"a register bit", deaf(amdvi.OffStatus, amdvi.StsComWaitInt.Mask()), 10, 5, "STATUS.ComWaitInt"},
		{"a permission check", func(m *conform.Model) conform.Peer { return writesAsReads{m} }, 40, 12, ""},
		{"an invalidation", func(m *conform.Model) conform.Peer { return amdKeepsPages{m} }, 100, 22, ""},
	},
	"smmuv3": {
		{"a register bit", deaf(arm.OffGERROR, arm.GerrCMDQ.Mask()), 100, 6, "GERROR.CMDQ_ERR"},
		{"a permission check", func(m *conform.Model) conform.Peer { return writesAsReads{m} }, 40, 16, ""},
		{"an invalidation", func(m *conform.Model) conform.Peer { return smmuKeepsPages{m} }, 200, 26, ""},
	},
}

// deafTo never shows some bits of a register.
type deafTo struct {
	*conform.Model
	off  uint32
	bits uint64
}

func deaf(off uint32, bits uint64) func(*conform.Model) conform.Peer {
	return func(m *conform.Model) conform.Peer { return deafTo{m, off, bits} }
}

func (m deafTo) ReadReg(off uint32, size uint8) (uint64, error) {
	v, err := m.Model.ReadReg(off, size)
	if off == m.off {
		v &^= m.bits
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

// instead does a register write with other entries in a queue: wrong says which are replaced by one that
// does nothing.
func instead(m *conform.Model, base emu.PA, size, step int, nothing uint64, wrong func(w uint64) bool, do func() error) error {
	b := binary.LittleEndian.AppendUint64(nil, nothing)
	b = append(b, make([]byte, 8)...)
	for at := base; at < base+emu.PA(size); at += emu.PA(step) {
		old := make([]byte, 16)
		if m.Read(at, old) != nil {
			break // no memory there
		}
		if wrong(binary.LittleEndian.Uint64(old)) {
			if err := m.Write(at, b); err != nil {
				return err
			}
			defer m.Write(at, old)
		}
	}
	return do()
}

// vtdKeepsPages does nothing at page-selective invalidations of the IOTLB.
type vtdKeepsPages struct{ *conform.Model }

func (m vtdKeepsPages) WriteReg(off uint32, size uint8, v uint64) error {
	if off != vtd.OffIQT {
		return m.Model.WriteReg(off, size, v)
	}
	iqa, _ := m.ReadReg(vtd.OffIQA, 8)
	step := vtd.DescSize128
	if vtd.IqaDW.On(iqa) {
		step = vtd.DescSize256
	}
	wrong := func(w uint64) bool {
		t := vtd.DescType(w)
		return (t == vtd.DescIOTLB || t == vtd.DescPASIDIOTLB && step == vtd.DescSize256) && vtd.IiG.Of(w) == vtd.GranPage
	}
	return instead(m.Model, emu.PA(iqa&vtd.IqaIQA.Mask()), 4096<<vtd.IqaQS.Of(iqa), step, vtd.DescIEC, wrong, func() error {
		return m.Model.WriteReg(off, size, v)
	})
}

// amdKeepsPages does nothing at INVALIDATE_IOMMU_PAGES.
type amdKeepsPages struct{ *conform.Model }

func (m amdKeepsPages) WriteReg(off uint32, size uint8, v uint64) error {
	if off != amdvi.OffCmdTail {
		return m.Model.WriteReg(off, size, v)
	}
	base, _ := m.ReadReg(amdvi.OffCmdBufBase, 8)
	wrong := func(w uint64) bool { return amdvi.CmdOpcode.Of(w) == amdvi.CmdInvalidatePages }
	return instead(m.Model, emu.PA(base&amdvi.RingBase.Mask()), amdvi.CommandSize<<amdvi.RingLen.Of(base), amdvi.CommandSize,
		amdvi.CmdOpcode.Put(amdvi.CmdInvalidateIntTable), wrong, func() error { return m.Model.WriteReg(off, size, v) })
}

// smmuKeepsPages does nothing at invalidations by address.
type smmuKeepsPages struct{ *conform.Model }

func (m smmuKeepsPages) WriteReg(off uint32, size uint8, v uint64) error {
	if off != arm.OffCMDQProd {
		return m.Model.WriteReg(off, size, v)
	}
	base, _ := m.ReadReg(arm.OffCMDQBase, 8)
	wrong := func(w uint64) bool {
		switch arm.CmdOpcode.Of(w) {
		case arm.CmdTlbiNHVA, arm.CmdTlbiNHVAA, arm.CmdTlbiS2IPA:
			return true
		}
		return false
	}
	return instead(m.Model, emu.PA(base&arm.QBaseAddr.Mask()), arm.CommandSize<<min(arm.QBaseLog2.Of(base), 8), arm.CommandSize,
		arm.CmdSync, wrong, func() error { return m.Model.WriteReg(off, size, v) })
}

// rewords shows words of memory as others.
type rewords struct {
	*conform.Model
	word func(w uint64) uint64
}

func (m rewords) Read(pa emu.PA, b []byte) error {
	err := m.Model.Read(pa, b)
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], m.word(binary.LittleEndian.Uint64(b[i:])))
	}
	return err
}
