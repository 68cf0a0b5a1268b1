package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Tolerance says how far a metric of two results may be apart.
type Tolerance struct {
	Metric string  // names, separated by dots, that occur side by side in the path of the value; * is any name
	Rel    float64 // fraction of the larger value
	Abs    float64 // in the unit of the metric
}

// ParseTolerance reads "METRIC=5%" (relative) or "METRIC=100" (absolute).
func ParseTolerance(s string) (Tolerance, error) {
	i := strings.LastIndexByte(s, '=')
	if i <= 0 {
		return Tolerance{}, fmt.Errorf("tolerance %q: want METRIC=5%% or METRIC=100", s)
	}
	t := Tolerance{Metric: s[:i]}
	num, rel := strings.CutSuffix(s[i+1:], "%")
	v, err := strconv.ParseFloat(num, 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 0) {
		return Tolerance{}, fmt.Errorf("tolerance %q: %q, want a number that is not negative, or one with %%", s, s[i+1:])
	}
	if rel {
		t.Rel = v / 100
	} else {
		t.Abs = v
	}
	return t, nil
}

// allows reports whether two values that differ are near enough.
func (t *Tolerance) allows(a, b float64) bool {
	return math.Abs(a-b) <= max(t.Abs, t.Rel*max(math.Abs(a), math.Abs(b)))
}

// matchPath reports whether the names of pattern occur side by side in path.
func matchPath(pattern string, path []string) bool {
	want := strings.Split(pattern, ".")
	for i := 0; i+len(want) <= len(path); i++ {
		ok := true
		for j, w := range want {
			if w != "*" && w != path[i+j] {
				ok = false
				break
			}
		}
		if ok {
			return true
		}
	}
	return false
}
