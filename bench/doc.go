// Package bench has no code: its benchmarks hold the speed of the executors against the least that
// the same work can cost in Go, in the same run. docs/performance.md states the ratios.
//
//	go test -run '^$' -bench . -benchmem ./bench
package bench
