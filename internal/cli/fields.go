package cli

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/iommulab/iommulab/emu/reg"
)

// field is one field of a decoded structure, in results.
type field struct {
	Name  string `json:"name"`
	Lo    uint16 `json:"lo"`
	Hi    uint16 `json:"hi"`
	Value string `json:"value"`
	Addr  string `json:"address,omitempty"` // of a field that is the upper part of an address
	Help  string `json:"help,omitempty"`
}

// structure is a decoded structure, in results.
type structure struct {
	Name   string   `json:"name"`
	Clause string   `json:"clause"`
	Bytes  int      `json:"bytes"`
	Words  []string `json:"words"` // low word first
	Fields []field  `json:"fields"`
	Others []string `json:"other_bits,omitempty"` // words with the bits that are set and that no field covers
}

// shifted finds how many low bits of an address a field lacks, which its help says as ">> 12".
var shifted = regexp.MustCompile(` >> (\d+)`)

func makeField(f reg.Field, words []uint64) field {
	v := f.Get(words)
	out := field{Name: f.Name, Lo: f.Lo, Hi: f.Hi, Value: hexOf(v), Help: f.Help}
	if m := shifted.FindStringSubmatch(f.Help); m != nil && v != 0 {
		if n, err := strconv.Atoi(m[1]); err == nil && n < 64 {
			out.Addr = hexOf(v << n)
			out.Help = strings.Replace(out.Help, m[0], "", 1)
		}
	}
	return out
}

// decodeStruct decodes words by l.
func decodeStruct(l *reg.Layout, words []uint64) structure {
	s := structure{Name: l.Name, Clause: l.Clause, Bytes: (int(l.Bits) + 7) / 8}
	for _, w := range words {
		s.Words = append(s.Words, fmt.Sprintf("0x%016x", w))
	}
	for _, f := range l.Fields {
		s.Fields = append(s.Fields, makeField(f, words))
	}
	if r := l.Reserved(words); !zeros(r) {
		for _, w := range r {
			s.Others = append(s.Others, fmt.Sprintf("0x%016x", w))
		}
	}
	return s
}

// print writes the structure as pahole does: a line per field with its bits, its value and its meaning.
func (s *structure) print(w io.Writer, title string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s {%s/* %s %s, %d bytes */\n", s.Name, pad(s.Name, 38), title, s.Clause, s.Bytes)
	for _, f := range s.Fields {
		bits := fmt.Sprintf("%d:%d", f.Hi, f.Lo)
		if f.Hi == f.Lo {
			bits = strconv.Itoa(int(f.Lo))
		}
		help := f.Help
		if f.Addr != "" {
			help = f.Addr + " " + help
		}
		fmt.Fprintf(&b, "    %-12s %8s = %-18s /* %s */\n", f.Name, bits, f.Value, help)
	}
	if s.Others == nil {
		fmt.Fprintf(&b, "    /* all other bits: 0 */\n}\n")
	} else {
		fmt.Fprintf(&b, "    /* other bits set: %s, low word first */\n}\n", strings.Join(s.Others, " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func pad(s string, n int) string { return strings.Repeat(" ", max(1, n-len(s))) }

// hexOf is how results write a number.
func hexOf(v uint64) string { return fmt.Sprintf("%#x", v) }

// brief writes the fields from bit lo to hi that are not 0 in one line.
func brief(l *reg.Layout, words []uint64, lo, hi uint16) string {
	var parts []string
	for _, rf := range l.Fields {
		if rf.Lo < lo || rf.Hi > hi || rf.Get(words) == 0 {
			continue
		}
		f := makeField(rf, words)
		if f.Addr != "" {
			f.Value = f.Addr
		}
		parts = append(parts, f.Name+"="+f.Value)
	}
	if r := l.Reserved(words); !zeros(r) {
		parts = append(parts, "and other bits")
	}
	if len(parts) == 0 {
		return "all 0"
	}
	return strings.Join(parts, " ")
}
