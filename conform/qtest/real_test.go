package qtest_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/internal/qemutest"
)

func start(t *testing.T, args ...string) *qtest.Process {
	p, err := qtest.Start(qtest.Config{Binary: qemutest.Binary(t, "x86_64"), Machine: &qtest.Q35, RAM: 16 << 20, Args: args})
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func TestQEMU_SaysWhatItIs(t *testing.T) {
	b := qemutest.Binary(t, "x86_64")
	p := start(t)
	require.Equal(t, b.Version, p.Version)
}

func TestQEMU_MemoryIsTheSameBothWays(t *testing.T) {
	p := start(t)
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 7, 4096, 100_000} {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		got := make([]byte, n)
		require.NoError(t, p.WriteAt(0x20_0001, want))
		require.NoError(t, p.LoadRAM(0x20_0001, got))
		require.Equal(t, want, got)
		clear(got)
		require.NoError(t, p.ReadAt(0x20_0001, got))
		require.Equal(t, want, got)

		slices.Reverse(want)
		require.NoError(t, p.StoreRAM(0x30_0001, want))
		require.NoError(t, p.ReadAt(0x30_0001, got))
		require.Equal(t, want, got)
	}
	for _, size := range []uint8{1, 2, 4, 8} {
		v := uint64(0x1122_3344_5566_7788) >> (64 - 8*size)
		require.NoError(t, p.Write(0x40_0000, size, v))
		got, err := p.Read(0x40_0000, size)
		require.NoError(t, err)
		require.Equal(t, v, got)
	}
}

func TestQEMU_LongBatch(t *testing.T) {
	p := start(t)
	var b qtest.Batch
	const n = 10_000
	for i := range uint64(n) {
		b.Write(0x20_0000+8*i, 8, i*i)
	}
	for i := range uint64(n) {
		b.Read(0x20_0000+8*i, 8)
	}
	require.Equal(t, 2*n, b.Len())
	vals, err := p.Do(&b)
	require.NoError(t, err)
	require.Len(t, vals, 2*n)
	for i := range uint64(n) {
		require.Zero(t, vals[i])
		require.Equal(t, i*i, vals[n+i])
	}
}

func TestQEMU_LogTellsOfAccessesThatNothingAnswers(t *testing.T) {
	p := start(t)
	require.NoError(t, p.Log(func([]byte) {}))
	var all bytes.Buffer
	keep := func(line []byte) { all.Write(append(line, '\n')) }
	_, err := p.Read(qtest.Q35.Hole, 4)
	require.NoError(t, err)
	require.NoError(t, p.Log(keep))
	require.Contains(t, all.String(), "Invalid read at addr 0x")
	all.Reset()
	const n = 50_000 // more than is kept at once
	var b qtest.Batch
	for i := range uint64(n) {
		b.Write(qtest.Q35.Hole+i, 1, 0)
	}
	_, err = p.Do(&b)
	require.NoError(t, err)
	require.NoError(t, p.Log(keep))
	require.Equal(t, n, strings.Count(all.String(), "Invalid write at addr 0x"))
	all.Reset()
	_, err = p.Read(qtest.Q35.Hole+8, 4)
	require.NoError(t, err)
	require.NoError(t, p.Log(keep))
	require.Equal(t, 1, strings.Count(all.String(), "\n"), all.String())
}

func TestQEMU_PCIWithoutFirmware(t *testing.T) {
	list := []qtest.PCI{
		{BDF: 0x18, ID: 0x11e8_1234, BAR: 0xe000_0000},
		{BDF: 0x20, ID: 0x000c_1b36, Bus: 3, Window: 0xe010_0000, Size: 0x10_0000},
		{BDF: 0x300, ID: 0x11e8_1234, BAR: 0xe010_0000},
	}
	p := start(t, "-device", "edu,addr=3", "-device", "pcie-root-port,id=rp3,chassis=1,addr=4", "-device", "edu,bus=rp3")
	enumerate := func() {
		var b qtest.Batch
		qtest.Q35.Enumerate(&b, list)
		_, err := p.Do(&b)
		require.NoError(t, err)
		require.NoError(t, p.CheckPCI(&qtest.Q35, list))
		for _, f := range []qtest.PCI{list[0], list[2]} { // edu inverts what is written at 4
			require.NoError(t, p.Write(f.BAR+4, 4, 0x1234_5678))
			v, err := p.Read(f.BAR+4, 4)
			require.NoError(t, err)
			require.EqualValues(t, ^uint32(0x1234_5678), v)
		}
	}
	enumerate()
	at, err := p.Capability(&qtest.Q35, 0x300, 5)
	require.NoError(t, err)
	require.NotZero(t, at)
	require.NoError(t, p.Reset())
	v, err := p.Read(0xe000_0000, 4)
	require.NoError(t, err)
	require.NotEqual(t, uint64(0x0100_00ed), v, "a reset takes the addresses away")
	enumerate()

	err = p.CheckPCI(&qtest.Q35, []qtest.PCI{{BDF: 0x28, ID: 0x11e8_1234}})
	require.ErrorIs(t, err, qtest.ErrProtocol)
	require.ErrorContains(t, err, "00:05.0")
}

func TestQEMU_RefusalsNameTheCommand(t *testing.T) {
	p := start(t)
	_, err := p.Read(0, 3)
	require.ErrorIs(t, err, qtest.ErrRefused)
	require.ErrorContains(t, err, "read?3")
	require.Equal(t, err, p.Write(0, 4, 0))
}

func TestQEMU_StartTellsWhatQEMUSays(t *testing.T) {
	b := qemutest.Binary(t, "x86_64")
	_, err := qtest.Start(qtest.Config{Binary: b, Machine: &qtest.Q35, RAM: 16 << 20, Args: []string{"-device", "flux-capacitor"}})
	require.ErrorIs(t, err, qtest.ErrDied)
	require.ErrorContains(t, err, "flux-capacitor")
}

func TestQEMU_TellsWhatItHas(t *testing.T) {
	b := qemutest.Binary(t, "x86_64")
	for name, want := range map[string]bool{"edu": true, "intel-iommu": true, "flux-capacitor": false} {
		has, err := b.HasDevice(name)
		require.NoError(t, err)
		require.Equal(t, want, has, name)
	}
	name, err := b.Property("intel-iommu", "no-such", "aw-bits")
	require.NoError(t, err)
	require.Equal(t, "aw-bits", name)
	name, err = b.Property("intel-iommu", "no-such")
	require.NoError(t, err)
	require.Empty(t, name)
}

func TestQEMU_AMDUnitAnswers(t *testing.T) {
	b := qemutest.Binary(t, "x86_64")
	unit := "amd-iommu,intremap=on"
	if p, err := b.Property("amd-iommu", "dma-remap"); err == nil && p != "" {
		unit += "," + p + "=on"
	}
	p := start(t, "-device", unit)
	base := qtest.Q35.IOMMUs["amd-iommu"]
	efr, err := p.Read(base+0x30, 8)
	require.NoError(t, err)
	require.NotZero(t, efr)
	require.NotEqual(t, ^uint64(0), efr)
	require.NoError(t, p.Write(base+0x08, 8, 0x20_0000|8<<56)) // the command buffer
	v, err := p.Read(base+0x08, 8)
	require.NoError(t, err)
	require.EqualValues(t, uint64(0x20_0000|8<<56), v)
}

func TestQEMU_ArmMachine(t *testing.T) {
	b := qemutest.Binary(t, "aarch64")
	m := qtest.Virt
	m.Type += ",iommu=smmuv3"
	p, err := qtest.Start(qtest.Config{Binary: b, Machine: &m, RAM: 16 << 20, Args: []string{"-device", "edu,addr=3"}})
	qemutest.Need(t, err, "arm")
	defer p.Close()
	list := []qtest.PCI{{BDF: 0x18, ID: 0x11e8_1234, BAR: m.BARs}}
	var batch qtest.Batch
	m.Enumerate(&batch, list)
	_, err = p.Do(&batch)
	require.NoError(t, err)
	require.NoError(t, p.CheckPCI(&m, list))
	require.NoError(t, p.StoreRAM(0x1000, []byte{1, 2, 3, 4}))
	v, err := p.Read(m.RAM+0x1000, 4)
	require.NoError(t, err)
	require.EqualValues(t, 0x0403_0201, v)
	idr0, err := p.Read(m.IOMMUs["smmuv3"], 4)
	require.NoError(t, err)
	require.NotZero(t, idr0&2, "S1P")
	require.NoError(t, p.Log(func([]byte) {}))
	_, err = p.Read(m.Hole, 4)
	require.NoError(t, err)
	lines := 0
	require.NoError(t, p.Log(func([]byte) { lines++ }))
	require.Equal(t, 1, lines)
}
