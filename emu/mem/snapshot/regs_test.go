package snapshot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func TestReadRegs(t *testing.T) {
	r, err := ReadRegs(strings.NewReader(`{
		"iommu": "x", "config": "c", "mmio_base": "0xfed90000", "ram_base": 4096, "ram_size": 268435456,
		"pci": [{"bus": 0}], "snapshot": 4, "qemu": {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": "p"}, "host_time": 1.5,
		"regs64": {"0x0080": "0x4000000045eea000", "0x0008": 7},
		"regs32": {"0x00084": "0x40000000", "0x00080": "0x45eea000", "0x00020": "0x0000000d"}}`), "r.json")
	require.NoError(t, err)
	require.Equal(t, &Regs{
		IOMMU: "x", Config: "c", MMIOBase: 0xfed90000, RAMBase: 4096, RAMSize: 1 << 28, Snapshot: 4, Recorder: "QEMU 11.1.3",
		Image: emu.RegImage{
			{Off: 8, Size: 8, Value: 7}, {Off: 0x20, Size: 4, Value: 13}, {Off: 0x80, Size: 8, Value: 0x4000000045eea000},
		},
	}, r)
}

func TestBadRegsNameTheField(t *testing.T) {
	for in, want := range map[string]string{
		``:                                   `r: offset 0x0: unexpected EOF`,
		`[]`:                                 `r: offset 0x1: [, want an object`,
		`{"iommu": 3}`:                       `r: offset 0xb: iommu: 3, want a string`,
		`{"iommu": "x"}`:                     `r: regs64: no registers, want at least one in regs64 or regs32`,
		`{"regs64": {"0": 1}}`:               `r: iommu: missing, want the kind of unit`,
		`{"regs64": []}`:                     `r: offset 0xc: regs64: [, want an object`,
		`{"regs64": {"zz": 1}}`:              `r: offset 0x10: regs64["zz"]: want an offset of 32 bits as "0x10"`,
		`{"regs64": {"0x4": 1}}`:             `r: offset 0x11: regs64["0x4"]: want an offset that is a multiple of 8`,
		`{"regs64": {"0x8": "q"}}`:           `r: offset 0x16: regs64["0x8"]: "q", want a number of 64 bits as "0x10"`,
		`{"qemu": 3}`:                        `r: offset 0xa: qemu: want what QMP query-version returns`,
		`{"regs64": {"0x8": 1.5}}`:           `r: offset 0x16: regs64["0x8"]: "1.5", want a number of 64 bits as "0x10"`,
		`{"regs64": {"0x8": null}}`:          `r: offset 0x17: regs64["0x8"]: <nil>, want a number or a string as "0x10"`,
		`{"regs32": {"0x8": "0x100000000"}}`: `r: offset 0x20: regs32["0x8"]: 0x100000000, want a value of 32 bits`,
		`{"iommu": "x", "regs64": {"0x8": 1, "0x0008": 1}}`:         `r: regs64[0x8]: 0x1, want what regs64[0x8] = 0x1 says`,
		`{"iommu": "x", "regs64": {"0x8": 1}, "regs32": {"12": 1}}`: `r: regs32[0xc]: 0x1, want what regs64[0x8] = 0x1 says`,
		`{"iommu": "x", "iommu": "y"}`:                              `r: offset 0x16: iommu: appears twice, want it once`,
		`{"iommu": "x", "regs64": {"0x8": 1}} 1`:                    `r: offset 0x26: more than one value, want one object`,
		`{"iommu": "x", "pci": }`:                                   `r: offset 0x15: pci: invalid character '}' looking for beginning of value`,
		`{"iommu": "x", "regs64": {"0x8": 1`:                        `r: offset 0x22: regs64: unexpected EOF`,
	} {
		_, err := ReadRegs(strings.NewReader(in), "r")
		require.EqualError(t, err, want, in)
		require.ErrorIs(t, err, ErrFormat)
	}
	_, err := ReadRegs(strings.NewReader(strings.Repeat(" ", maxRegs+1)), "r")
	require.ErrorContains(t, err, "want a register file")
}

func FuzzReadRegs(f *testing.F) {
	f.Add(`{"iommu": "x", "regs64": {"0x8": "0x1", "0x10": 2}, "regs32": {"0xc": 0, "0x18": 1}, "pci": [1, {}]}`)
	f.Add(`{"iommu": "x", "regs64": {"0x8": 1}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ReadRegs(strings.NewReader(s), "r")
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		end := uint64(0)
		for _, v := range r.Image {
			require.GreaterOrEqual(t, uint64(v.Off), end)
			end = uint64(v.Off) + uint64(v.Size)
		}
	})
}
