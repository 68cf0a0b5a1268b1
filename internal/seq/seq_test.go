package seq

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/sync"
)

func TestLoad_NeverSeesHalfAValue(t *testing.T) {
	var v Value[[8]uint64]
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := v.Load()
				for _, w := range got {
					if w != got[0] {
						t.Errorf("torn: %v", got)
						return
					}
				}
			}
		}()
	}
	for i := range uint64(20_000) {
		v.Store([8]uint64{i, i, i, i, i, i, i, i})
		if i%1000 == 0 {
			runtime.Gosched()
		}
	}
	close(stop)
	wg.Wait()
	require.Equal(t, uint64(19_999), v.Load()[3])
}

// The wait reasons in gVisor's sync are numbers of one Go release: with another they still build,
// and lie. This shows when the pinned version does not fit the toolchain any more.
func TestGate_ParksUnderItsOwnName(t *testing.T) {
	var g sync.Gate
	require.True(t, g.Enter())
	closed := make(chan struct{})
	go func() { g.Close(); close(closed) }()
	defer func() { g.Leave(); <-closed }()
	require.Eventually(t, func() bool {
		buf := make([]byte, 1<<16)
		return strings.Contains(string(buf[:runtime.Stack(buf, true)]), "[semacquire]")
	}, 5*time.Second, time.Millisecond)
}
