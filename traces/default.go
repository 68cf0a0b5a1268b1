package traces

import (
	"bytes"
	_ "embed" // the trace
)

//go:embed testdata/default.iotrace
var defaultTrace []byte

// DefaultName is the name of the embedded trace.
const DefaultName = "default.iotrace"

// Default returns a Reader of the embedded trace: DMA of several devices of a Linux guest under load, with
// its mappings. testdata/README.md tells where it comes from.
func Default() (*Reader, error) {
	r, err := NewReader(bytes.NewReader(defaultTrace))
	if r != nil {
		r.name = DefaultName
	}
	return r, err
}

// DefaultBytes returns the file that Default reads. The caller does not change it.
func DefaultBytes() []byte { return defaultTrace }
