package conform_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
)

const header = "iommulab.conform/1\niommu vtd\nmode legacy\nram 0x100000 0x700000\ndevice 0 0x0018\n"

func parse(s string) (*conform.Program, error) { return conform.Parse(strings.NewReader(s), "p") }

func TestParse(t *testing.T) {
	p, err := parse("iommulab.conform/1\n# what it\n# is about\niommu vtd\nmode legacy\nseed 0x2a\nram 0x100000 0x1000\n" +
		"device 0 0x0018\ndevice 1 161\nshows a b\n\n## first\n# dropped\nmem 0x100000 0x1 0x2*3 16*2+0x10 # words\n" +
		"write4 0x18 0x40000000\nwrite8 0x20 1 # root\n\n\n## second\nread4 0x1c\nread8 0x80\ndma 0 r 0x1000\n" +
		"dma 1 w 0x1008 tag 255 pasid 0x5\nmsi 1 0xfee01004 0x41\nclock 1000\n")
	require.NoError(t, err)
	none := emu.NoPASID
	want := &conform.Program{
		About: []string{"what it", "is about"}, IOMMU: "vtd", Mode: "legacy", Seed: 42, RAM: 0x100000, Size: 0x1000,
		Devices: []emu.SourceID{0x18, 0xa1}, Shows: []string{"a", "b"},
		Steps: []conform.Step{
			{Op: conform.MemWrite, PA: 0x100000, Runs: []conform.Run{{1, 0, 1}, {2, 0, 3}, {16, 16, 2}}, PASID: none, Title: "first", Note: "words"},
			{Op: conform.RegWrite, Size: 4, Off: 0x18, Value: 0x40000000, PASID: none},
			{Op: conform.RegWrite, Size: 8, Off: 0x20, Value: 1, PASID: none, Note: "root"},
			{Op: conform.RegRead, Size: 4, Off: 0x1c, PASID: none, Title: "second"},
			{Op: conform.RegRead, Size: 8, Off: 0x80, PASID: none},
			{Op: conform.Transfer, Addr: 0x1000, PASID: none},
			{Op: conform.Transfer, Device: 1, Write: true, Addr: 0x1008, Value: 255, PASID: 5},
			{Op: conform.Interrupt, Device: 1, Write: true, Addr: 0xfee01004, Value: 0x41, PASID: none},
			{Op: conform.Clock, Value: 1000, PASID: none},
		},
	}
	require.Equal(t, want, p)
	require.Equal(t, 6, p.Steps[0].Words())

	again, err := parse(lines(t, p))
	require.NoError(t, err)
	require.Equal(t, want, again)
}

func TestParse_ErrorsNameLineAndField(t *testing.T) {
	for text, want := range map[string]string{
		"":                                         `p: line 1: iommu: want the header to have it`,
		"iommulab.conform/2\n":                     `p: line 1: version: want iommulab.conform/1, got "iommulab.conform/2"`,
		header + "jump 1\n":                        `p: line 6: step: want clock, dma, mem, msi, read4, read8, write4, write8, got "jump"`,
		header + "mem 0x100001":                    `p: line 6: mem: want an address and words, got "0x100001"`,
		header + "mem 0x100001 1":                  `p: line 6: address: want a multiple of 8, got "0x100001"`,
		header + "mem 0xff000 1":                   `p: line 6: address: want inside the ram of the header, 0x700000 bytes at 0x100000, got "0xff000"`,
		header + "mem 0x7ffff8 1 2":                `p: line 6: address: want inside the ram of the header, 0x700000 bytes at 0x100000, got "0x7ffff8"`,
		header + "mem 0x100000 x":                  `p: line 6: word: want a number of at most 64 bits, got "x"`,
		header + "mem 0x100000 1*0":                `p: line 6: count: want 1 to 65536, got "0"`,
		header + "mem 0x100000 1*65536 1":          `p: line 6: words: want at most 65536 in a step and 1048576 in a program, got "1"`,
		header + "mem 0x100000 1*2+y":              `p: line 6: difference: want a number of at most 64 bits, got "y"`,
		header + "write4 0x1a 1":                   `p: line 6: offset: want a multiple of 4, got "0x1a"`,
		header + "write4 0x18 0x100000000":         `p: line 6: value: want a number of at most 32 bits, got "0x100000000"`,
		header + "read8 0x14":                      `p: line 6: offset: want a multiple of 8, got "0x14"`,
		header + "dma 1 r 0x0":                     `p: line 6: device: want one of the 1 of the header, got "1"`,
		header + "dma 0 x 0x0":                     `p: line 6: direction: want r or w, got "x"`,
		header + "dma 0 r 0x4":                     `p: line 6: address: want a multiple of 8 outside of the interrupt range, got "0x4"`,
		header + "dma 0 r 0xfee00000":              `p: line 6: address: want a multiple of 8 outside of the interrupt range, got "0xfee00000"`,
		header + "dma 0 w 0x0":                     `p: line 6: dma: want tag and its number`,
		header + "dma 0 w 0x0 tag 256":             `p: line 6: tag: want a number below 256, got "256"`,
		header + "dma 0 r 0x0 pasid":               `p: line 6: dma: want pasid and its number, or the end of the line, got "pasid"`,
		header + "dma 0 r 0x0 pasid 0x100000":      `p: line 6: pasid: want a number of at most 20 bits, got "0x100000"`,
		header + "msi 0 0xfed00000 1":              `p: line 6: address: want a multiple of 4 in the interrupt range, got "0xfed00000"`,
		header + "msi 0 0xfee00000 0x10000":        `p: line 6: data: want a number of at most 16 bits, got "0x10000"`,
		header + "clock 1_0":                       `p: line 6: nanoseconds: want a number of at most 40 bits, got "1_0"`,
		header + "mode legacy":                     `p: line 6: mode: want it once`,
		header + "clock 1\nseed 1":                 `p: line 7: seed: want the header before the first step`,
		header + "device 2 1":                      `p: line 6: device index: want 1, got "2"`,
		header + "seed 1 2":                        `p: line 6: seed: want a number, got "1 2"`,
		"iommulab.conform/1\nram 0x1 0x1000\n":     `p: line 2: ram: want whole pages, one at least, got "0x1 0x1000"`,
		"iommulab.conform/1\nram 0x1000 0\n":       `p: line 2: ram: want whole pages, one at least, got "0x1000 0"`,
		header + strings.Repeat("x", 1<<16) + "\n": `p: line 6: line: want at most 65536 bytes`,
	} {
		_, err := parse(text)
		require.EqualError(t, err, want)
		var e *conform.Error
		require.ErrorAs(t, err, &e)
	}
	_, err := parse(header + strings.Repeat("clock 1\n", conform.MaxSteps+1))
	require.EqualError(t, err, fmt.Sprintf("p: line %d: step: want at most 65536 steps", conform.MaxSteps+6))
}

func TestParse_ReadsWhatGeneratorsWrite(t *testing.T) {
	for _, target := range conform.Targets("") {
		for seed := range uint64(30) {
			p := target.Generate(seed+1, machineOf(target))
			q, err := parse(lines(t, p))
			require.NoError(t, err)
			q.Legal = p.Legal
			require.Equal(t, p, q)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(header + "mem 0x100000 0x1 0x2*3+0x10 # note\nwrite4 0x18 1\nread8 0x80\ndma 0 w 0x1000 tag 3\nclock 1\n")
	f.Add(header + "## title\nmsi 0 0xfee00000 0x41\ndma 0 r 0x8 pasid 1\nseed 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parse(text)
		if err != nil {
			return
		}
		q, err := parse(lines(t, p))
		require.NoError(t, err)
		require.Equal(t, lines(t, p), lines(t, q))
	})
}
