package replay

import (
	"runtime"
	"time"
)

// heapPeak runs f and returns the largest heap seen on the way, in bytes.
func heapPeak(f func()) float64 {
	runtime.GC()
	stop, peak := make(chan struct{}), make(chan float64)
	go func() {
		most := uint64(0)
		for {
			select {
			case <-stop:
				peak <- float64(most)
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	f()
	close(stop)
	return <-peak
}
