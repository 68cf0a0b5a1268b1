package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/iommulab/iommulab/internal/atomicfile"
	"github.com/iommulab/iommulab/report"
)

// input is a file being read, hashed on the way for the manifest.
type input struct {
	io.Reader
	app    *app
	name   string
	closer io.Closer // may be nil
	hash   hash.Hash
	n      int64
}

// open opens path for reading; "-" is stdin.
func (a *app) open(path string) (*input, error) {
	in := &input{app: a, name: path, hash: sha256.New()}
	var r io.Reader = a.stdin
	if path == "-" {
		in.name = "stdin"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, fileError(path, err)
		}
		r, in.closer = f, f
	}
	in.Reader = io.TeeReader(r, in)
	return in, nil
}

// Write takes what passes the tee.
func (in *input) Write(p []byte) (int, error) {
	in.n += int64(len(p))
	return in.hash.Write(p)
}

// Close reads the rest, so that the hash is that of the whole file, and notes the file. A file that
// cannot be read to its end has no hash; whoever read it has the error.
func (in *input) Close() {
	_, err := io.Copy(io.Discard, in.Reader)
	if in.closer != nil {
		_ = in.closer.Close() // nothing was written
	}
	if err == nil {
		in.app.manifest.input(report.Input{Name: in.name, Bytes: in.n, SHA256: hex.EncodeToString(in.hash.Sum(nil))})
	}
}

// text returns the content of the file, decompressed if its name ends in .zst.
func (in *input) text() (io.Reader, func(), error) {
	if !strings.HasSuffix(in.name, ".zst") {
		return in, func() {}, nil
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, nil, fileError(in.name, err)
	}
	return z, z.Close, nil
}

// fileError names the file once: errors of package os carry the operation and the path.
func fileError(path string, err error) error {
	if pe, ok := err.(*os.PathError); ok {
		err = pe.Err
	}
	return &placeError{place: path, err: err}
}

// placeError is an error with the place in front.
type placeError struct {
	place string
	err   error
}

func (e *placeError) Error() string { return e.place + ": " + e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

// output writes v as JSON where --json says, and calls text to write it for people on stdout unless
// stdout has the JSON.
func (a *app) output(v any, text func(w io.Writer) error) error {
	if a.jsonPath == "-" {
		return report.WriteJSON(a.stdout, v)
	}
	if err := text(a.stdout); err != nil {
		return err
	}
	if a.jsonPath == "" {
		return nil
	}
	return atomicfile.Write(a.jsonPath, func(w io.Writer) error { return report.WriteJSON(w, v) })
}

// save writes a file atomically; "-" is stdout.
func (a *app) save(path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(a.stdout)
	}
	return atomicfile.Write(path, write)
}
