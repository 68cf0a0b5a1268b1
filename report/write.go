package report

import (
	"encoding/json"
	"io"
)

// WriteJSON writes v as one indented document with a newline at its end.
func WriteJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
