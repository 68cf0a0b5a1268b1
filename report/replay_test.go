package report

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBroken_OnlyHitlessRunsAreHeldToIt(t *testing.T) {
	r := Run{Rewrites: Rewrites{Count: 3, Hitless: 3}}
	require.Empty(t, r.Broken())
	r.Stale = 1
	require.Contains(t, r.Broken(), "1 stale")
	r.Rewrites.Disruptive = 1
	require.Empty(t, r.Broken())
}
