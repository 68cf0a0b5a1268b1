package traces_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/internal/qemutest"
	"github.com/iommulab/iommulab/traces"
)

// Logs of faults and commands that no recording of a guest has. Those in testdata were made by these tests
// with -write-faults; with a QEMU at hand they look whether it still writes the same.

var writeFaults = flag.Bool("write-faults", false, "write testdata/*-faults")

// rig is a QEMU with an edu device at 00:03.0 that does DMA.
type rig struct {
	*qtest.Process
	t   *testing.T
	m   *qtest.Machine
	s   uint64 // registers of the unit
	log bytes.Buffer
}

const edu = 0x18 // its requester ID

func newRig(t *testing.T, m qtest.Machine, unit, events string, args ...string) *rig {
	b := qemutest.Binary(t, m.System)
	args = append(args, "-device", "edu,addr=3,dma_mask=0xffffffffffffffff", "-d", "guest_errors")
	p, err := qtest.Start(qtest.Config{Binary: b, Machine: &m, RAM: 64 << 20, Events: []string{events}, Args: args})
	qemutest.Need(t, err, m.Type)
	t.Cleanup(func() { p.Close() })
	r := &rig{Process: p, t: t, m: &m, s: m.IOMMUs[unit]}
	var pci qtest.Batch
	m.Enumerate(&pci, []qtest.PCI{{BDF: edu, ID: 0x11e8_1234, BAR: m.BARs}})
	_, err = p.Do(&pci)
	require.NoError(t, err)
	return r
}

func (r *rig) store(off uint64, words ...uint64) {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	require.NoError(r.t, r.StoreRAM(off, b))
}

func (r *rig) write(addr uint64, size uint8, v uint64) { require.NoError(r.t, r.Write(addr, size, v)) }

func (r *rig) read(addr uint64, size uint8) uint64 {
	v, err := r.Read(addr, size)
	require.NoError(r.t, err)
	return v
}

// dma moves 8 bytes between the device and iova.
func (r *rig) dma(iova uint64, write bool) {
	const buffer = 0x40000 // of the device
	from, to, command := iova, uint64(buffer), uint64(1)
	if write {
		from, to, command = buffer, iova, 3
	}
	r.write(r.m.BARs+0x80, 8, from)
	r.write(r.m.BARs+0x88, 8, to)
	r.write(r.m.BARs+0x90, 8, 8)
	r.write(r.m.BARs+0x98, 8, command)
	require.NoError(r.t, r.Step(150_000_000))
}

// outcome imports the log and checks that everything is known and what the marks are.
func (r *rig) outcome(name string, marks []string) {
	require.NoError(r.t, r.Log(func(l []byte) {
		r.log.Write(l)
		r.log.WriteByte('\n')
	}))
	path := filepath.Join("testdata", name, "qemu-trace.log.zst")
	if *writeFaults {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
		require.NoError(r.t, err)
		require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(r.t, os.WriteFile(path, e.EncodeAll(r.log.Bytes(), nil), 0o644))
	}
	tr, rep, err := traces.ImportQEMU(bytes.NewReader(r.log.Bytes()), traces.ImportOptions{})
	require.NoError(r.t, err)
	for event := range rep.Unknown {
		require.False(r.t, strings.HasPrefix(event, "smmu") || strings.HasPrefix(event, "amdvi"), event)
	}
	if r.Version.Major == 11 { // others have other faults
		require.Equal(r.t, marks, tr.Header.Marks)
	}
}

func TestQEMULive_AMDVi(t *testing.T) {
	unit := "amd-iommu,intremap=on"
	if p, err := qemutest.Binary(t, "x86_64").Property("amd-iommu", "dma-remap"); err == nil && p != "" {
		unit += "," + p + "=on"
	}
	r := newRig(t, qtest.Q35, "amd-iommu", "amdvi*", "-device", unit)
	tail := uint64(0)
	command := func(w0, w1 uint64) {
		r.store(0x10000+tail, w0, w1)
		tail += 16
		r.write(r.s+0x2008, 4, tail)
	}
	dte := func(w ...uint64) {
		r.store(0x20000+edu*32, w...)
		command(2<<60|edu, 0)
		command(3<<60|5<<32, 1|0x7fff_ffff_ffff_f000)
	}
	const rw, nowhere = 3 << 61, 0x40_0000_0000
	r.write(r.s, 8, 0x20000|1)
	r.write(r.s+0x08, 8, 0x10000|8<<56)
	r.write(r.s+0x10, 8, 0x18000|8<<56)
	for _, off := range []uint64{0x2000, 0x2008, 0x2010, 0x2018} {
		r.write(r.s+off, 8, 0)
	}
	r.write(r.s+0x18, 8, 1<<12|1<<2|1)
	r.read(r.s+0x30, 8)
	r.read(r.s+0x3ffc, 8) // beyond the window
	r.write(r.s+0x3ffc, 8, 7)
	command(8<<60, 0)

	r.store(0x30000, 0x31000|1|rw|2<<9)
	r.store(0x31000, 0x32000|1|rw|1<<9, 0x20_0000|1|rw)
	r.store(0x32008, 0x10_1000|1|rw, 0x10_2000|1|1<<61, 0, 0x10_4000|1|rw|7<<9, 0x10_4000|1|rw|7<<9)
	dte(3|rw|3<<9|0x30000, 5)
	r.dma(0x1008, false)
	r.dma(0x1008, true)
	r.dma(0x2008, true) // read only
	r.dma(0x4008, false)
	r.dma(0x5008, false) // second half of 8 KiB
	r.dma(0x24_4cb0, false)
	r.dma(0x9000, false)
	r.dma(0x8, false)
	for _, w0 := range []uint64{1, 3 | rw | 7<<9 | 0x30000, 3 | rw | 1<<63, 3 | rw | 3<<9 | nowhere} { // TV=0, Mode=7, reserved bit, no memory
		dte(w0, 5)
		r.dma(0x1008, false)
	}
	command(1<<60|1|0x40000, 0x1234)
	command(1<<60|1|2|nowhere, 0x1234)
	command(4<<60|edu, 0x1000)
	command(4<<60|edu, 0x7fff_ffff_ffff_f001)
	for _, op := range []uint64{5, 6, 7, 0xb} {
		command(op<<60|edu, 0)
	}
	r.write(r.s+0x08, 8, nowhere|8<<56)
	r.write(r.s+0x2008, 4, 0x10)
	r.write(r.s+0x18, 8, 0)
	r.outcome("amdvi-faults", []string{
		"command buffer disabled", "device table entry invalidation", "page fault", "refused", "illegal mode of the device table entry",
		"illegal device table entry", "page table read error", "completion store error", "device IOTLB invalidation",
		"interrupt table invalidation", "prefetch", "page request completion", "unknown command 0xb", "command read error",
	})
}

func TestQEMULive_SMMUv3(t *testing.T) {
	m := qtest.Virt
	m.Type += ",iommu=smmuv3"
	r := newRig(t, m, "smmuv3", "smmu*")
	prod := uint64(0)
	command := func(w0, w1 uint64) {
		r.store(0x10000+prod*16, w0, w1)
		prod++
		r.write(r.s+0x98, 4, prod)
		if r.read(r.s+0x9c, 4)>>24 != 0 { // an error: go on behind it
			r.write(r.s+0x9c, 4, prod)
			r.write(r.s+0x64, 4, r.read(r.s+0x60, 4))
		}
	}
	const entry = 0x20000 + edu*64
	ste := func(w ...uint64) {
		r.store(entry, w...)
		command(0x03|edu<<32, 1)
	}
	r.dma(m.RAM+0x10_0000, false) // the unit is off
	const page = 3 | 1<<6 | 3<<8 | 1<<10 | 1<<11
	r.store(0x30000, 25|1<<30|1<<31|4<<32|1<<41|1<<45|1<<46|7<<48, m.RAM+0x31000, 0, 0xff)
	r.store(0x31000, m.RAM+0x32000|3)
	r.store(0x32000, m.RAM+0x33000|3, m.RAM+0x20_0000|page&^2)
	r.store(0x33008, m.RAM+0x10_0000|page, m.RAM+0x10_1000|page|1<<7)
	r.write(r.s+0x80, 8, m.RAM+0x20000)
	r.write(r.s+0x88, 4, 6)
	r.write(r.s+0x90, 8, m.RAM+0x10000|8)
	r.write(r.s+0xa0, 8, m.RAM+0x18000|8)
	r.write(r.s+0x1_00a8, 4, 0)
	r.write(r.s+0x50, 4, 7)
	r.write(r.s+0x20, 4, 0xd)
	command(0x04, 31)
	command(0x30, 0)
	r.dma(0x1000, false) // no STE
	ste(1 | 5<<1 | (m.RAM + 0x30000))
	r.dma(0x1008, false)
	r.dma(0x1008, true)
	r.dma(0x2008, true) // read only
	r.dma(0x20_0100, false)
	r.dma(0x5000, false)
	r.dma(1<<45, false)
	command(0x12|7<<48, 0x1000|1)                        // TLBI_NH_VA
	command(0x13, 0x1000|1)                              // NH_VAA
	command(0x11|7<<48, 0)                               // NH_ASID
	command(0x10, 0)                                     // NH_ALL
	command(0x12|7<<48|3<<12|1<<20, 0x4000|1|3<<8|1<<10) // a range
	for _, op := range []uint64{0x05, 0x06, 0x01, 0x40, 0x41, 0x44, 0x45, 0x46, 0x18, 0x22, 0xfe} {
		command(op|edu<<32, 0)
	}
	ste(1 | 4<<1) // bypass
	r.dma(m.RAM+0x10_0000, true)
	ste(1) // abort
	r.dma(m.RAM+0x10_0000, true)
	ste(1|6<<1, 0, 9|25<<32|1<<38|4<<48|1<<51|1<<53, m.RAM+0x31000) // second stage
	r.dma(0x1008, false)
	r.dma(0x6000, false)
	command(0x2a|9<<32, 0x1000|1) // TLBI_S2_IPA
	command(0x28|9<<32, 0)        // S12_VMALL
	ste(1 | 7<<1 | 0x34000)       // nested, CD where nothing is
	r.dma(0x1008, false)
	r.write(r.s+0x88, 4, 2) // four streams
	command(0x04, 31)
	r.dma(0x1008, false)
	r.outcome("smmuv3-faults", []string{
		"STE invalidation", "C_BAD_STE", "F_PERMISSION", "F_TRANSLATION", "CD invalidation", "CMD_PREFETCH_CONFIG", "CMD_ATC_INV", "CMD_PRI_RESP",
		"CMD_RESUME", "CMD_STALL_TERM", "CMD_TLBI_EL3_ALL", "CMD_TLBI_EL2_VA", "command error 1 of INVALID", "GERROR", "abort",
		"no recorded event", "C_BAD_STREAMID",
	})
}
