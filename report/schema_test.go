package report

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// The documents of the design, with every field and in order.
const replayDocument = `{"schema":"iommulab.replay/1","trace":{"name":"","events":0,"bytes":0,"devices":0,"sha256":""},` +
	`"runs":[{"iommu":"vtd","mode":"scalable-second-stage","scenario":"replace","writer":"hitless","to":"equal","preset":"","seed":1,` +
	`"requests":0,"translated":0,"faulted":0,"wrong":0,"torn_reads":0,"stale":0,"not_applicable":0,"max_stall_cycles":0,` +
	`"rewrites":{"count":0,"nop":0,"hitless":0,"disruptive":0,"stores":0,"invalidations":0,"waits":0,"window_cycles_max":0},` +
	`"latency_sim_ns":{"p50":0,"p90":0,"p99":0,"p999":0,"max":0,"mean":0},` +
	`"iotlb":{"lookups":0,"hits":0,"evictions":0,"invalidated":0},"pasid_cache":{"lookups":0,"hits":0,"evictions":0},` +
	`"walks":{"count":0,"memory_reads":0,"merged":0},"cycles":0,"late":0,"repeated":0}],` +
	`"wall":{"seconds":0,"requests_per_second":0}}`

func TestReplayDocument(t *testing.T) {
	r := NewReplay()
	r.Runs = append(r.Runs, Run{
		IOMMU: "vtd", Mode: "scalable-second-stage", Scenario: "replace", Writer: "hitless", To: "equal", Seed: 1,
	})
	b, err := json.Marshal(r)
	require.NoError(t, err)
	require.Equal(t, replayDocument, string(b))
}

func TestWalkDocument(t *testing.T) {
	b, err := json.Marshal(NewWalk())
	require.NoError(t, err)
	require.Equal(t, `{"schema":"iommulab.walk/1","checked":0,"agree":0,"differ":0,"differences":[],"wall":{"seconds":0,"requests_per_second":0}}`, string(b))
}

func TestEmptyListsAreLists(t *testing.T) {
	b, err := json.Marshal(NewReplay())
	require.NoError(t, err)
	require.Contains(t, string(b), `"runs":[]`)
}

func TestConformDocument(t *testing.T) {
	c := NewConform()
	c.Modes = append(c.Modes, ConformMode{
		IOMMU: "vtd", Mode: "legacy", Differences: []ConformDifference{{Differs: []string{}}},
		Deviations: []ConformDeviation{{}}, Gone: []string{},
	})
	b, err := json.Marshal(c)
	require.NoError(t, err)
	require.Equal(t, `{"schema":"iommulab.conform/1","peer":"","seed":0,"modes":[{"iommu":"vtd","mode":"legacy","programs":0,"legal":0,`+
		`"directed":0,"ended":0,"steps":0,"dmas":0,"dmas_done":0,"differences":[{"program":"","step":0,"differs":[],"steps":0}],`+
		`"deviations":[{"id":"","right":"","programs":0,"steps":0}],"gone":[]}],"wall":{"seconds":0,"programs_per_minute":0}}`, string(b))
}

func TestPlanDocument(t *testing.T) {
	zero := 0
	p := NewPlan()
	p.Steps = []PlanStep{{Op: "store", Offset: &zero, Size: 8, Value: "0x0"}, {Op: "invalidate", What: "all"}, {Op: "wait"}}
	b, err := json.Marshal(p)
	require.NoError(t, err)
	require.Equal(t, `{"schema":"iommulab.plan/1","iommu":"","kind":"","verdict":"","transparent":false,"reason":"","syncs":0,`+
		`"steps":[{"op":"store","offset":0,"size":8,"value":"0x0"},{"op":"invalidate","what":"all"},{"op":"wait"}],"states":[],`+
		`"writer":"","assumes":[]}`, string(b))
}

func TestHitlessDocument(t *testing.T) {
	h := NewHitless()
	h.Cells = append(h.Cells, HitlessCell{})
	b, err := json.Marshal(h)
	require.NoError(t, err)
	require.Equal(t, `{"schema":"iommulab.hitless/1","cells":[{"iommu":"","kind":"","from":"","to":"","writer":"","verdict":"",`+
		`"transparent":false,"states":0,"counterexample":"","claim":"","reason":"","syncs":0}],"wall":{"seconds":0}}`, string(b))
}
