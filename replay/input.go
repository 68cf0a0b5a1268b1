package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"

	"github.com/iommulab/iommulab/traces"
)

// DefaultInput is the embedded trace of a real system.
func DefaultInput() Input {
	sum := sha256.Sum256(traces.DefaultBytes())
	return Input{
		Name:   traces.DefaultName,
		SHA256: hex.EncodeToString(sum[:]),
		Open: func() (traces.Source, io.Closer, error) {
			r, err := traces.Default()
			return r, io.NopCloser(nil), err
		},
	}
}

// FileInput is a trace file in any of the formats of package traces.
func FileInput(path string) (Input, error) {
	f, err := os.Open(path)
	if err != nil {
		return Input{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Input{}, err
	}
	return Input{
		Name:   path,
		SHA256: hex.EncodeToString(h.Sum(nil)),
		Open: func() (traces.Source, io.Closer, error) {
			f, err := traces.Open(path)
			if err != nil {
				return nil, nil, err
			}
			return f, f, nil
		},
	}, nil
}

// GeneratedInput is a synthetic trace: open makes its source anew each time.
func GeneratedInput(name string, open func() (traces.Source, error)) Input {
	return Input{
		Name: name,
		Open: func() (traces.Source, io.Closer, error) {
			s, err := open()
			return s, io.NopCloser(nil), err
		},
	}
}
