package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// CompareSchema names the document of a comparison.
const CompareSchema = "iommulab.compare/1"

// Comparison is the result of Compare.
type Comparison struct {
	Schema      string       `json:"schema"`
	Of          string       `json:"of"`        // schema of both documents
	Values      int          `json:"values"`    // compared
	Tolerated   int          `json:"tolerated"` // differ, within a tolerance
	Differences []Difference `json:"differences"`
}

// Same reports whether nothing differs beyond the tolerances.
func (c *Comparison) Same() bool { return len(c.Differences) == 0 }

// Difference is one value that is not the same. A side that lacks it is "-".
type Difference struct {
	Path string `json:"path"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// ErrNotResult is what an error about a file that cannot be compared wraps.
var ErrNotResult = errors.New("not a result file")

// DocumentError says why a file cannot be compared.
type DocumentError struct {
	File   string
	Offset int64
	Msg    string
	Err    error // the cause, if there is one
}

// Error returns one line.
func (e *DocumentError) Error() string {
	s := fmt.Sprintf("%s: offset %#x: %s", e.File, e.Offset, e.Msg)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives ErrNotResult and the cause.
func (e *DocumentError) Unwrap() []error {
	if e.Err != nil {
		return []error{ErrNotResult, e.Err}
	}
	return []error{ErrNotResult}
}

// wallKey is the object that holds what the real machine did. It is never compared.
const wallKey = "wall"

// Document is a result read back without knowledge of its fields.
type Document struct {
	Name   string
	Schema string
	root   map[string]any
}

// ReadDocument reads a result. name is the file's name in errors.
func ReadDocument(r io.Reader, name string) (*Document, error) {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	bad := func(what string, err error) error {
		return &DocumentError{File: name, Offset: dec.InputOffset(), Msg: what, Err: err}
	}
	d := &Document{Name: name}
	if err := dec.Decode(&d.root); err != nil {
		return nil, bad("want a JSON object", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("want the end of the file after one object", nil)
	}
	d.Schema, _ = d.root["schema"].(string)
	if !strings.HasPrefix(d.Schema, "iommulab.") {
		return nil, bad("schema: want one that begins with iommulab.", nil)
	}
	return d, nil
}

// Compare compares two results value by value. Objects under wall are left out, as is everything
// that a path in ignore matches; the last tolerance that matches a number counts. Cells of a result are
// matched by what they are (unit, mode, writer, ...), not by their place.
func Compare(a, b *Document, tolerances []Tolerance, ignore []string) (*Comparison, error) {
	if a.Schema != b.Schema {
		return nil, &DocumentError{File: b.Name, Msg: fmt.Sprintf("schema: %q, want %q as in %s", b.Schema, a.Schema, a.Name)}
	}
	c := comparer{out: &Comparison{Schema: CompareSchema, Of: a.Schema, Differences: []Difference{}}, tolerances: tolerances, ignore: ignore}
	c.value(nil, "", a.root, b.root)
	return c.out, nil
}

type comparer struct {
	out        *Comparison
	tolerances []Tolerance
	ignore     []string
}

// missing stands for a value that one side does not have.
type missing struct{}

// value compares two values. names is the path without places in lists; shown is the path for people.
func (c *comparer) value(names []string, shown string, a, b any) {
	for _, p := range c.ignore {
		if matchPath(p, names) {
			return
		}
	}
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			c.object(names, shown, x, y)
			return
		}
	case []any:
		if y, ok := b.([]any); ok {
			c.list(names, shown, x, y)
			return
		}
	}
	c.out.Values++
	if equal(a, b) {
		return
	}
	if c.tolerated(names, a, b) {
		c.out.Tolerated++
		return
	}
	c.out.Differences = append(c.out.Differences, Difference{shown, show(a), show(b)})
}

func (c *comparer) object(names []string, shown string, a, b map[string]any) {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		if k == wallKey {
			continue
		}
		at := k
		if shown != "" {
			at = shown + "." + k
		}
		c.value(append(slices.Clip(names), k), at, get(a, k), get(b, k))
	}
}

func get(m map[string]any, k string) any {
	if v, ok := m[k]; ok {
		return v
	}
	return missing{}
}

func (c *comparer) list(names []string, shown string, a, b []any) {
	if ka, kb := identities(a), identities(b); ka != nil && kb != nil {
		for i, k := range ka {
			y := any(missing{})
			if j := slices.Index(kb, k); j >= 0 {
				y = b[j]
			}
			c.value(names, shown+"["+k+"]", a[i], y)
		}
		for j, k := range kb {
			if !slices.Contains(ka, k) {
				c.value(names, shown+"["+k+"]", missing{}, b[j])
			}
		}
		return
	}
	for i := range max(len(a), len(b)) {
		x, y := any(missing{}), any(missing{})
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		c.value(names, fmt.Sprintf("%s[%d]", shown, i), x, y)
	}
}

// identityKeys are the members that say which cell of a result an object is.
var identityKeys = []string{"iommu", "mode", "kind", "scenario", "from", "to", "writer", "policy", "preset", "seed", "name"}

// identities returns what each object of a list is, or nil if the list has other values or two
// objects are the same.
func identities(list []any) []string {
	ids := make([]string, len(list))
	for i, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		var parts []string
		for _, k := range identityKeys {
			if x, ok := m[k]; ok {
				parts = append(parts, show(x))
			}
		}
		ids[i] = strings.Join(parts, "/")
		if ids[i] == "" || slices.Contains(ids[:i], ids[i]) {
			return nil
		}
	}
	return ids
}

func equal(a, b any) bool {
	if x, ok := a.(json.Number); ok {
		if y, ok := b.(json.Number); ok {
			if x == y {
				return true
			}
			xi, errX := x.Int64()
			yi, errY := y.Int64()
			if errX == nil && errY == nil {
				return xi == yi
			}
			xf, errX := x.Float64()
			yf, errY := y.Float64()
			// Integers beyond 63 bits would lose digits: they are the same only if written the same.
			return errX == nil && errY == nil && xf == yf && strings.ContainsAny(string(x)+string(y), ".eE")
		}
	}
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func (c *comparer) tolerated(names []string, a, b any) bool {
	x, okX := a.(json.Number)
	y, okY := b.(json.Number)
	if !okX || !okY {
		return false
	}
	xf, errX := x.Float64()
	yf, errY := y.Float64()
	for i := len(c.tolerances) - 1; i >= 0; i-- {
		if t := &c.tolerances[i]; matchPath(t.Metric, names) {
			return errX == nil && errY == nil && t.allows(xf, yf)
		}
	}
	return false
}

// show writes a value in one line.
func show(v any) string {
	switch v := v.(type) {
	case missing:
		return "-"
	case string:
		return v
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const limit = 80
	if len(b) > limit {
		return string(b[:limit]) + "..."
	}
	return string(b)
}
