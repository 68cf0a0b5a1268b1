package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func text(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

func TestWrite_IsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.json")
	require.NoError(t, Write(path, func(w io.Writer) error { return text(w, "whole\n") }))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "whole\n", string(b))

	broken := errors.New("broken")
	err = Write(path, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return broken })
	require.ErrorIs(t, err, broken)
	require.True(t, strings.HasPrefix(err.Error(), path+": "))
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, b, again)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)

	require.Error(t, Write(filepath.Join(dir, "no", "r.json"), func(io.Writer) error { return nil }))
	require.NoError(t, Write(os.DevNull, func(w io.Writer) error { return text(w, "x") }))
}
