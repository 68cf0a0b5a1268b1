package traces

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
)

// File is an open trace file.
type File struct {
	Source
	f *os.File
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Open opens a trace file in any format that has a Source: native, CSV or Parquet. The content decides, not
// the name. Logs of other programs are not traces yet: see ImportQEMU and ImportFtrace.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	src, err := open(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{src, f}, nil
}

func open(f *os.File) (Source, error) {
	var head [16]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && n == 0 {
		return nil, &Error{File: f.Name(), Field: "trace", Want: "an .iotrace, CSV or Parquet file", Err: short(err)}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, &Error{File: f.Name(), Field: "trace", Err: err}
	}
	switch {
	case n >= 4 && binary.LittleEndian.Uint32(head[:]) == magicHeader:
		return NewReader(f)
	case bytes.HasPrefix(head[:], []byte("PAR1")):
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return NewParquetReader(f, info.Size())
	case head[0] == '#' || bytes.HasPrefix(head[:], []byte(csvColumns[:8])):
		return NewCSVReader(f)
	}
	return nil, &Error{File: f.Name(), Field: "trace", Want: "an .iotrace, CSV or Parquet file", Got: string(head[:n])}
}
