package traces

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxLine bounds a line of any text format, in bytes.
const maxLine = 1 << 20

// lineReader reads lines and counts them.
type lineReader struct {
	r    *bufio.Reader
	name string
	n    int // of the line returned last, from 1
}

func newLineReader(r io.Reader, name string) *lineReader {
	if name == "" {
		name = nameOf(r)
	}
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), name: name}
}

// next returns the next line without its end, and whether it had one; io.EOF after the last.
func (l *lineReader) next() (line string, whole bool, err error) {
	var long []byte
	for {
		b, err := l.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(long)+len(b) > maxLine {
				l.n++
				return "", false, &Error{File: l.name, Line: l.n, Field: "line", Want: "at most 1 MiB"}
			}
			long = append(long, b...)
			continue
		}
		if long != nil {
			b = append(long, b...)
		}
		switch {
		case err == nil:
			l.n++
			return strings.TrimSuffix(string(b[:len(b)-1]), "\r"), true, nil
		case !errors.Is(err, io.EOF):
			l.n++
			return "", false, &Error{File: l.name, Line: l.n, Field: "line", Err: err}
		case len(b) > 0:
			l.n++
			return string(b), false, nil
		}
		return "", false, io.EOF
	}
}
