package snapshot

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat is what every Error about the content of a file wraps.
var ErrFormat = errors.New("bad snapshot")

// Error says what is wrong in a snapshot file, and where.
type Error struct {
	File   string
	Offset int64  // in the decompressed file; negative where an offset says nothing
	Field  string // as the format names it
	Msg    string // what was found, and what was expected
	Err    error  // the cause, if there is one
}

// Error returns one line: file: offset: field: message.
func (e *Error) Error() string {
	s := e.File
	if e.Offset >= 0 {
		s += fmt.Sprintf(": offset %#x", e.Offset)
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	if e.Msg != "" {
		s += ": " + e.Msg
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// Unwrap gives ErrFormat and the cause.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{ErrFormat, e.Err}
	}
	return []error{ErrFormat}
}
