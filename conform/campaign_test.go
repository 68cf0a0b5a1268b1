package conform_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/report"
)

// mutants is a campaign against a machine of ours with a defect.
func mutants(t *testing.T, jobs int) conform.Options {
	return conform.Options{
		Targets: []*conform.Target{conform.Targets("vtd")[1].Strict()}, Programs: 40, Seed: 3, Jobs: jobs,
		Open: func(target *conform.Target) (conform.Peer, error) { return writesAsReads{model(t, target, true)}, nil },
		Keep: func(p *conform.Program, name string) (string, error) { return name + "\n" + lines(t, p), nil },
	}
}

func TestCampaign_DoesNotDependOnJobs(t *testing.T) {
	one, err := conform.Campaign(context.Background(), mutants(t, 1))
	require.NoError(t, err)
	m := &one.Modes[0]
	require.Equal(t, 40, m.Programs)
	require.NotEmpty(t, m.Differences)
	require.False(t, one.Holds())
	require.Positive(t, m.Differences[0].Steps)
	require.Contains(t, m.Differences[0].File, "vtd-scalable-second-stage-1\niommulab.conform/1")

	three, err := conform.Campaign(context.Background(), mutants(t, 3))
	require.NoError(t, err)
	one.Wall, three.Wall = report.ConformWall{}, report.ConformWall{}
	require.Equal(t, one, three)
}

func TestCampaign_CancelledKeepsWhatWasDone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := mutants(t, 2)
	o.Programs = 1 << 20
	var told atomic.Int64
	o.Progress = func(done int) {
		if told.Store(int64(done)); done > 10 {
			cancel()
		}
	}
	began := time.Now()
	doc, err := conform.Campaign(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(began), 20*time.Second)
	require.True(t, doc.Incomplete)
	require.GreaterOrEqual(t, doc.Modes[0].Programs, 10)
	require.Positive(t, told.Load())
}

// failing is a peer that breaks after some accesses.
type failing struct {
	*conform.Model
	left *atomic.Int64
}

var errUnplugged = errors.New("unplugged")

func (f failing) DMA(d *conform.DMA) (conform.Outcome, error) {
	if f.left.Add(-1) < 0 {
		return conform.Outcome{}, errUnplugged
	}
	return f.Model.DMA(d)
}

func TestCampaign_AFailingPeerIsAnError(t *testing.T) {
	o := mutants(t, 2)
	var left atomic.Int64
	left.Store(20)
	o.Open = func(target *conform.Target) (conform.Peer, error) { return failing{model(t, target, true), &left}, nil }
	_, err := conform.Campaign(context.Background(), o)
	require.ErrorIs(t, err, errUnplugged)
	require.ErrorContains(t, err, "vtd scalable-second-stage, program seed 0x")

	o.Open = func(*conform.Target) (conform.Peer, error) { return nil, errUnplugged }
	_, err = conform.Campaign(context.Background(), o)
	require.ErrorIs(t, err, errUnplugged)
}

func TestRunner_RefusesWhatTheMachineLacks(t *testing.T) {
	target := conform.Targets("vtd")[0]
	r := conform.NewRunner(target, model(t, target, true), model(t, target, true))
	for want, change := range map[string]func(p *conform.Program){
		"the program is for vtd other, want vtd legacy":                                      func(p *conform.Program) { p.Mode = "other" },
		"the program uses memory 0x100000 to 0x900000, the machine has 0x100000 to 0x800000": func(p *conform.Program) { p.Size = 8 << 20 },
		"the program has 4 devices, the machine 3":                                           func(p *conform.Program) { p.Devices = append(p.Devices, 9) },
		"device 1 of the program is 0x00a2, of the machine 0x00a1":                           func(p *conform.Program) { p.Devices[1] = 0xa2 },
	} {
		p := target.Generate(1, machineOf(target))
		change(p)
		_, err := r.Run(p)
		require.EqualError(t, err, want)
	}
}
