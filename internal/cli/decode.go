package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// decodeResult is the document of decode.
type decodeResult struct {
	Schema string `json:"schema"`
	IOMMU  string `json:"iommu"`
	Kind   string `json:"kind"`
	structure
}

func (a *app) decodeCommand() *cobra.Command {
	var iommu, kind string
	cmd := &cobra.Command{
		Use:   "decode --iommu NAME --kind KIND HEX...",
		Short: "Print one raw entry field by field",
		Long: `decode prints the fields of one structure, given as its bytes in the order in which they lie in
memory: hexadecimal digits, lowest address first. Blanks, colons and underscores between bytes do
not matter; several arguments are one structure; - reads stdin.

` + kindsHelp(),
		Example: "  iommulab decode --iommu vtd --kind context 01203903000000000201000000000000\n" +
			"  iommulab decode --iommu vtd --kind ss-pte --json - 83b0ca0400000000\n" +
			"  iommulab decode --iommu amdvi --kind dte 03867603000000600200000000000000 01000000000000000000000000000000",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "HEX is missing")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, "--iommu", iommu, archNames()); err != nil {
				return err
			}
			ar, _ := findArch(iommu)
			k, ok := ar.kind(kind)
			if !ok {
				return usageError(cmd, "--kind: %q, want %s", kind, known(ar.kindNames()))
			}
			return a.finish(a.decode(ar, k, args), false)
		},
	}
	cmd.Flags().StringVar(&iommu, "iommu", "vtd", "architecture: "+known(archNames()))
	cmd.Flags().StringVar(&kind, "kind", "", "structure")
	complete(cmd, "iommu", archNames()...)
	complete(cmd, "kind", allKinds()...)
	a.jsonFlag(cmd)
	return cmd
}

// maxHex bounds what decode reads from stdin: far more than any structure.
const maxHex = 1 << 16

func (a *app) decode(ar *arch, k *structKind, args []string) error {
	text := strings.Join(args, " ")
	place := "HEX"
	if text == "-" {
		in, err := a.open("-")
		if err != nil {
			return err
		}
		defer in.Close()
		b, err := io.ReadAll(io.LimitReader(in, maxHex))
		if err != nil {
			return fileError("stdin", err)
		}
		text, place = string(b), "stdin"
	}
	raw, err := parseBytes(place, text)
	if err != nil {
		return err
	}
	ok := false
	for _, n := range k.bytes {
		ok = ok || n == len(raw)
	}
	if !ok {
		return fmt.Errorf("%s: %d bytes, want %s (%s %s)", place, len(raw), sizes(k.bytes), ar.title, k.name)
	}
	words := make([]uint64, (len(raw)+7)/8)
	for i, b := range raw {
		words[i/8] |= uint64(b) << (8 * (i % 8))
	}
	r := decodeResult{"iommulab.decode/1", ar.name, k.name, ar.decode(k.layout(words), words)}
	return a.output(r, func(w io.Writer) error { return r.print(w, ar.title) })
}

func sizes(n []int) string {
	var s []string
	for _, v := range n {
		s = append(s, fmt.Sprint(v))
	}
	return strings.Join(s, " or ")
}

// parseBytes reads pairs of hexadecimal digits.
func parseBytes(place, text string) ([]byte, error) {
	var out []byte
	var high byte
	half := false
	for i := range len(text) {
		c := text[i]
		switch c {
		case ' ', '\t', '\n', '\r', ':', '_':
			if half {
				return nil, fmt.Errorf("%s: character %d: %q, want the second digit of a byte", place, i+1, c)
			}
			continue
		}
		d, ok := hexDigit(c)
		switch {
		case !ok && (c == 'x' || c == 'X') && half && high == 0:
			return nil, fmt.Errorf("%s: character %d: %q, want bytes as they lie in memory, without 0x", place, i+1, c)
		case !ok:
			return nil, fmt.Errorf("%s: character %d: %q, want a hexadecimal digit", place, i+1, c)
		case half:
			out = append(out, high<<4|d)
		default:
			high = d
		}
		half = !half
	}
	if half {
		return nil, fmt.Errorf("%s: character %d: the end, want the second digit of a byte", place, len(text)+1)
	}
	return out, nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
