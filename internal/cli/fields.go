package cli

import (
	"fmt"
	"io"
	"regexp"
	"slices"
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

// joint is a value that a structure keeps in several fields, in results.
type joint struct {
	Name   string   `json:"name"`
	Pieces []string `json:"pieces"` // names of the fields
	Value  string   `json:"value"`
	Help   string   `json:"help,omitempty"`
}

// structure is a decoded structure, in results.
type structure struct {
	Name    string   `json:"name"`
	Clause  string   `json:"clause"`
	Bytes   int      `json:"bytes"`
	Words   []string `json:"words"` // low word first
	Fields  []field  `json:"fields"`
	Joints  []joint  `json:"joints,omitempty"`
	Others  []string `json:"other_bits,omitempty"` // words with the bits that are set and that no field covers
	Meaning string   `json:"meaning,omitempty"`
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

// decode decodes words by l.
func (a *arch) decode(l *reg.Layout, words []uint64) structure {
	s := structure{Name: l.Name, Clause: l.Clause, Bytes: (int(l.Bits) + 7) / 8}
	for _, w := range words {
		s.Words = append(s.Words, hexWord(w, s.Bytes))
	}
	for _, f := range l.Fields {
		s.Fields = append(s.Fields, makeField(f, words))
	}
	for i := range l.Joints {
		j := &l.Joints[i]
		s.Joints = append(s.Joints, joint{Name: j.Name, Pieces: pieceNames(l, j), Value: hexOf(j.Get(words)), Help: j.Help})
	}
	if a.meaning != nil {
		s.Meaning = a.meaning(l, words)
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
	wide := nameWidth(s.Fields)
	for _, f := range s.Fields {
		bits := fmt.Sprintf("%d:%d", f.Hi, f.Lo)
		if f.Hi == f.Lo {
			bits = strconv.Itoa(int(f.Lo))
		}
		help := f.Help
		if f.Addr != "" {
			help = f.Addr + " " + help
		}
		fmt.Fprintf(&b, "    %-*s %8s = %-18s /* %s */\n", wide, f.Name, bits, f.Value, help)
	}
	for _, j := range s.Joints {
		fmt.Fprintf(&b, "    %-*s %8s = %-18s /* %s, of %s */\n", wide, j.Name, "", j.Value, j.Help, strings.Join(j.Pieces, ", "))
	}
	if s.Meaning != "" {
		fmt.Fprintf(&b, "    /* %s */\n", s.Meaning)
	}
	if s.Others == nil {
		fmt.Fprintf(&b, "    /* all other bits: 0 */\n}\n")
	} else {
		fmt.Fprintf(&b, "    /* other bits set: %s, low word first */\n}\n", strings.Join(s.Others, " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// nameWidth is the width of a column of names.
func nameWidth(fields []field) int {
	wide := 12
	for _, f := range fields {
		wide = max(wide, len(f.Name))
	}
	return wide
}

// hexWord writes a word of a structure of some bytes, with all its digits.
func hexWord(w uint64, bytes int) string { return fmt.Sprintf("0x%0*x", 2*min(bytes, 8), w) }

func hasPiece(j *reg.Joint, f reg.Field) bool {
	return slices.ContainsFunc(j.Pieces, func(p reg.Piece) bool { return p.Bits == f.Bits() })
}

// pieceNames returns the fields that j is made of.
func pieceNames(l *reg.Layout, j *reg.Joint) []string {
	var names []string
	for _, f := range l.Fields {
		if hasPiece(j, f) {
			names = append(names, f.Name)
		}
	}
	return names
}

func pad(s string, n int) string { return strings.Repeat(" ", max(1, n-len(s))) }

// hexOf is how results write a number.
func hexOf(v uint64) string { return fmt.Sprintf("%#x", v) }

// brief writes the fields from bit lo to hi that are not 0 in one line.
func brief(l *reg.Layout, words []uint64, lo, hi uint16) string {
	var parts []string
	var joined []*reg.Joint
	for i := range l.Joints {
		if j := &l.Joints[i]; !slices.ContainsFunc(j.Pieces, func(p reg.Piece) bool { return uint16(p.Bits.Lo()) < lo || uint16(p.Bits.Hi()) > hi }) {
			joined = append(joined, j)
		}
	}
	for _, rf := range l.Fields {
		inJoint := slices.ContainsFunc(joined, func(j *reg.Joint) bool { return hasPiece(j, rf) })
		if rf.Lo < lo || rf.Hi > hi || inJoint || rf.Get(words) == 0 {
			continue
		}
		f := makeField(rf, words)
		if f.Addr != "" {
			f.Value = f.Addr
		}
		parts = append(parts, f.Name+"="+f.Value)
	}
	for _, j := range joined {
		if v := j.Get(words); v != 0 {
			parts = append(parts, j.Name+"="+hexOf(v))
		}
	}
	if r := l.Reserved(words); !zeros(r) {
		parts = append(parts, "and other bits")
	}
	if len(parts) == 0 {
		return "all 0"
	}
	return strings.Join(parts, " ")
}
