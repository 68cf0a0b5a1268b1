package traces

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNoIndex is wrapped by the error that a Reader returns after the last block of a native file whose
// trailing index is missing. Every event before it was delivered; the recording was cut off between
// two blocks.
var ErrNoIndex = errors.New("no index at the end: the recording was cut off")

// Error says where in a file something is not as it has to be. Either Line (from 1; text formats) or
// Offset (bytes from the start; binary formats) is the place.
type Error struct {
	File   string // name, if known
	Line   int    // 0 = Offset is the place
	Offset int64
	Field  string // what was being read
	Want   string // what was expected there
	Got    any    // what was found, if that helps
	Err    error  // cause, if any
}

// Error returns one line: the place, the field, what was expected and what was found.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		b.WriteString(": ")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	} else {
		fmt.Fprintf(&b, "offset %#x: ", e.Offset)
	}
	b.WriteString(e.Field)
	if e.Want != "" {
		b.WriteString(": want ")
		b.WriteString(e.Want)
	}
	if e.Got != nil {
		if s, ok := e.Got.(string); ok {
			fmt.Fprintf(&b, ", got %q", clip(s))
		} else {
			fmt.Fprintf(&b, ", got %v", e.Got)
		}
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(strings.ReplaceAll(e.Err.Error(), "\n", " "))
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// clip keeps quoted input short enough for one line of a terminal.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

// nameOf returns the name of a file, for errors.
func nameOf(r any) string {
	if f, ok := r.(interface{ Name() string }); ok {
		return f.Name()
	}
	return ""
}

// short turns the two ends of input that io.ReadFull knows into one cause: the file is cut off.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
