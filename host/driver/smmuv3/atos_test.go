package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
)

// The unit says what accesses meet: the same page and attributes, or the fault that is recorded.
func TestTranslate_SaysWhatAccessesMeet(t *testing.T) {
	r := start(t, func(c *hw.Config) { c.ATOS = true })
	for i, s := range []struct {
		stage  host.Stage
		stages uint64
		reason uint8
	}{{host.StageFirst, spec.AtosS1, spec.ReasonS1}, {host.StageSecond, spec.AtosS2, spec.ReasonIN}} {
		dom := r.stage(s.stage, i)
		require.NoError(t, dom.Map(0x20_0000, page(i)+0x40_0000, 0x20_0000, emu.Read))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		for _, a := range []emu.Access{emu.Read, emu.Write} {
			for _, at := range []emu.IOVA{iova, 0x20_1000, 0x70_0000} {
				got, err := r.d.Translate(dev, emu.NoPASID, at, a, s.stages, true)
				require.NoError(t, err)
				require.Empty(t, r.Faults)
				res := r.Access(dev, emu.NoPASID, at, a)
				if res.Status == emu.OK {
					mask := emu.PA(1)<<res.Lg2 - 1
					require.Equal(t, Translation{PA: res.PA &^ mask, Lg2: res.Lg2, Attr: spec.MemAttr(res.Attr)}, got)
					continue
				}
				require.Len(t, r.Faults, 1)
				require.Equal(t, Translation{Fault: uint8(r.Faults[0].Reason), Reason: s.reason}, got)
				r.Faults = nil
			}
		}
		got, err := r.d.Translate(dev, emu.NoPASID, iova, emu.Read, spec.AtosS12, true)
		require.NoError(t, err)
		require.Equal(t, Translation{Fault: spec.AtosInvStage}, got)
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	}
	_, err := start(t).d.Translate(dev, emu.NoPASID, iova, emu.Read, spec.AtosS1, true)
	require.ErrorIs(t, err, host.ErrUnsupported)
}

func TestTranslation_SizeIsTheLowestBit(t *testing.T) {
	for lg2 := uint8(12); lg2 < 48; lg2++ {
		v := uint64(0xff)<<56 | 3<<8 | 1<<50
		if lg2 > 12 {
			v |= 1<<11 | 1<<(lg2-1)
		}
		require.Equal(t, Translation{PA: 1 << 50, Lg2: lg2, Attr: spec.MakeMemAttr(0xff, 3)}, parOf(v))
	}
}
