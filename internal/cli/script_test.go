package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform/qtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"iommulab": func() { os.Exit(Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

const recordings = "../../traces/testdata"

// TestScript runs the sessions of testdata/script. Each starts in a folder with the files that the
// examples name: those of a real recording in legacy mode, in sm those of one in scalable mode, in amd
// those of one of AMD-Vi, in smmu those of one of SMMUv3.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		// [qemu] is where QEMU is found. HOME is another one in a session.
		Condition: func(cond string) (bool, error) {
			if cond != "qemu" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return qemuPath() != "", nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv(qtest.Env, qemuPath())
			for from, to := range map[string]string{"vtd-legacy": ".", "vtd-sm-ss": "sm", "amdvi-v1": "amd", "smmuv3-s1": "smmu"} {
				if err := copySnapshot(filepath.Join(recordings, from), filepath.Join(env.WorkDir, to)); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// qemuPath is the QEMU that sessions use, or empty.
func qemuPath() string {
	if b, err := qtest.Find(qtest.Q35.System); err == nil {
		return b.Path
	}
	return ""
}

func copySnapshot(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"core.elf.zst", "regs.json", "oracle.csv.zst", "ftrace.txt.zst", "qemu-trace.log.zst"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
			return err
		}
		if name == "oracle.csv.zst" {
			d, err := zstd.NewReader(nil)
			if err != nil {
				return err
			}
			defer d.Close()
			plain, err := d.DecodeAll(b, nil)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to, "oracle.csv"), plain, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// commands returns all commands of the program.
func commands() []*cobra.Command {
	var all []*cobra.Command
	var add func(c *cobra.Command)
	add = func(c *cobra.Command) {
		all = append(all, c)
		for _, s := range c.Commands() {
			add(s)
		}
	}
	add((&app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}).root())
	return all
}

// TestEveryExampleIsRun checks that each line of each example is a line of some script.
func TestEveryExampleIsRun(t *testing.T) {
	ran := make(map[string]bool)
	files, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "! ")
			ran[strings.TrimPrefix(line, "exec ")] = true
		}
	}
	for _, c := range commands() {
		require.NotEmpty(t, c.Short, c.CommandPath())
		if c.Example == "" {
			require.Contains(t, c.CommandPath(), "completion", "%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			require.True(t, ran[strings.TrimSpace(line)], "example of %s is not run: %s", c.CommandPath(), line)
		}
	}
}
