package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func doc(t *testing.T, s string) *Document {
	t.Helper()
	d, err := ReadDocument(strings.NewReader(s), "x.json")
	require.NoError(t, err)
	return d
}

func TestCompareIgnoresWallAndNothingElse(t *testing.T) {
	a := doc(t, `{"schema":"iommulab.walk/1","checked":3,"wall":{"seconds":1.5}}`)
	c, err := Compare(a, doc(t, `{"schema":"iommulab.walk/1","checked":3,"wall":{"seconds":9}}`), nil, nil)
	require.NoError(t, err)
	require.True(t, c.Same())
	c, err = Compare(a, doc(t, `{"schema":"iommulab.walk/1","checked":4,"extra":null}`), nil, nil)
	require.NoError(t, err)
	require.Equal(t, []Difference{{"checked", "3", "4"}, {"extra", "-", "null"}}, c.Differences)
}

func TestCompareMatchesCellsByWhatTheyAre(t *testing.T) {
	a := doc(t, `{"schema":"iommulab.replay/1","runs":[
		{"iommu":"p","writer":"naive","cycles":10,"latency_sim_ns":{"p50":100.0}},{"iommu":"p","writer":"linux","cycles":20}]}`)
	b := doc(t, `{"schema":"iommulab.replay/1","runs":[
		{"iommu":"p","writer":"linux","cycles":21},{"iommu":"p","writer":"naive","cycles":10,"latency_sim_ns":{"p50":104}},{"iommu":"q","cycles":1}]}`)
	c, err := Compare(a, b, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []Difference{
		{"runs[p/naive].latency_sim_ns.p50", "100.0", "104"},
		{"runs[p/linux].cycles", "20", "21"},
		{"runs[q]", "-", `{"cycles":1,"iommu":"q"}`},
	}, c.Differences)

	tol := []Tolerance{{Metric: "latency_sim_ns.*", Rel: 0.05}, {Metric: "cycles", Abs: 1}}
	c, err = Compare(a, b, tol, nil)
	require.NoError(t, err)
	require.Len(t, c.Differences, 1)
	require.Equal(t, 2, c.Tolerated)
	// The last tolerance that matches counts.
	c, err = Compare(a, b, append(tol, Tolerance{Metric: "runs.cycles"}), []string{"latency_sim_ns"})
	require.NoError(t, err)
	require.Len(t, c.Differences, 2)
	require.Equal(t, "runs[p/linux].cycles", c.Differences[0].Path)
}

func TestCompareOfEqualNumbers(t *testing.T) {
	for _, p := range [][3]string{
		{"1.0", "1", "same"}, {"1e3", "1000", "same"}, {"18446744073709551615", "18446744073709551614", "differ"},
		{"1", `"1"`, "differ"}, {"[]", "{}", "differ"}, {"null", "false", "differ"}, {"[1]", "[1,2]", "differ"}, {"[[1]]", "[[1]]", "same"},
	} {
		c, err := Compare(doc(t, `{"schema":"iommulab.x/1","v":`+p[0]+`}`), doc(t, `{"schema":"iommulab.x/1","v":`+p[1]+`}`), nil, nil)
		require.NoError(t, err)
		require.Equal(t, p[2] == "same", c.Same(), "%s and %s", p[0], p[1])
	}
}

func TestUnusableDocuments(t *testing.T) {
	for in, want := range map[string]string{
		``:                 `x.json: offset 0x0: want a JSON object: EOF`,
		`[]`:               `x.json: offset 0x2: want a JSON object: json: cannot unmarshal array into Go value of type map[string]interface {}`,
		`{} {}`:            `x.json: offset 0x4: want the end of the file after one object`,
		`{"schema":"foo"}`: `x.json: offset 0x10: schema: want one that begins with iommulab.`,
		`{}`:               `x.json: offset 0x2: schema: want one that begins with iommulab.`,
	} {
		_, err := ReadDocument(strings.NewReader(in), "x.json")
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, ErrNotResult)
	}
	_, err := Compare(doc(t, `{"schema":"iommulab.a/1"}`), doc(t, `{"schema":"iommulab.b/1"}`), nil, nil)
	require.EqualError(t, err, `x.json: offset 0x0: schema: "iommulab.b/1", want "iommulab.a/1" as in x.json`)
}

func TestParseTolerance(t *testing.T) {
	got, err := ParseTolerance("latency_sim_ns.p99=5%")
	require.NoError(t, err)
	require.Equal(t, Tolerance{Metric: "latency_sim_ns.p99", Rel: 0.05}, got)
	got, err = ParseTolerance("cycles=100")
	require.NoError(t, err)
	require.Equal(t, Tolerance{Metric: "cycles", Abs: 100}, got)
	for _, bad := range []string{"", "x", "=5", "x=", "x=-1", "x=NaN", "x=inf", "x=5%%"} {
		_, err := ParseTolerance(bad)
		require.ErrorContains(t, err, "tolerance", bad)
	}
}

func FuzzCompare(f *testing.F) {
	f.Add(`{"schema":"iommulab.a/1","runs":[{"iommu":"p","v":[1,2.5,null]}]}`, `{"schema":"iommulab.a/1","runs":[{"iommu":"p","v":{"x":1}}]}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := ReadDocument(strings.NewReader(a), "a")
		if err != nil {
			return
		}
		c, err := Compare(x, x, nil, nil)
		require.NoError(t, err)
		require.True(t, c.Same())
		y, err := ReadDocument(strings.NewReader(b), "b")
		if err != nil || x.Schema != y.Schema {
			return
		}
		p, err := Compare(x, y, nil, nil)
		require.NoError(t, err)
		q, err := Compare(y, x, nil, nil)
		require.NoError(t, err)
		require.Equal(t, p.Same(), q.Same())
	})
}
