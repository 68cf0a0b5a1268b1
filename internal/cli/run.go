package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK          = 0   // ran, and what was checked holds
	exitFailed      = 1   // ran, and a check failed or results differ
	exitUsage       = 2   // usage or bad input
	exitInterrupted = 130 // interrupted; what was done is written
)

// errCheck ends a command that ran and whose check failed. What failed has been said.
var errCheck = errors.New("check failed")

// app is one invocation.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	quiet        bool
	progressMode string
	manifestPath string
	jsonPath     string

	manifest manifestData
}

// Run executes one command line and returns the exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errCheck):
		return exitFailed
	case errors.Is(err, context.Canceled):
		talk(stderr, "%s: interrupted\n", cmd.CommandPath())
		return exitInterrupted
	}
	talk(stderr, "%s: %s\n", cmd.CommandPath(), oneLine(err))
	return exitUsage
}

// oneLine keeps an error on one line.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}

// usageError is bad usage: the message is followed by where help is.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%s (see %s --help)", fmt.Sprintf(format, args...), cmd.CommandPath())
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "iommulab",
		Short: "A laboratory for IOMMUs",
		Long: `iommulab shows what running DMA sees while software rewrites the tables and the context
entries under it. It models IOMMUs at register level, loads snapshots of real machines, and
replays recorded or synthetic traces.

stdout is data, stderr is talk. Exit codes: 0 ran, and what was checked holds; 1 ran, and a
check failed or results differ; 2 usage or bad input; 130 interrupted.`,
		Example: "  iommulab replay --mode legacy --writer hitless,naive --to equal --requests 2000 --rewrites 10\n" +
			"  iommulab hitless --iommu vtd --kind context\n" +
			"  iommulab trace gen zipf --accesses 1000 -o zipf.iotrace\n  iommulab trace info zipf.iotrace",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: a.before,
		Args:              noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(cmd, "want a command")
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, "%v", err) })
	f := root.PersistentFlags()
	f.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing on stderr but errors")
	f.StringVar(&a.progressMode, "progress", "auto", "progress on stderr: auto, plain, quiet or json")
	f.StringVar(&a.manifestPath, "manifest", "", "write how the result was made to `FILE` (config, seed, versions, input hashes)")
	complete(root, "progress", progressModes...)
	root.AddCommand(
		a.replayCommand(), a.walkCommand(), a.explainCommand(), a.inspectCommand(), a.decodeCommand(),
		a.planCommand(), a.hitlessCommand(), a.compareCommand(), a.conformCommand(), a.traceCommand(),
	)
	return root
}

// before checks the flags that all commands have.
func (a *app) before(cmd *cobra.Command, _ []string) error {
	if a.progressMode == "" {
		a.progressMode = "auto"
	}
	if err := oneOf(cmd, "--progress", a.progressMode, progressModes); err != nil {
		return err
	}
	return a.manifest.begin(cmd)
}

// jsonFlag gives cmd the flag --json.
func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.jsonPath, "json", "", "write the result as one JSON document to `FILE`, or to stdout if it is -")
}

// oneOf checks a flag with a fixed set of values.
func oneOf(cmd *cobra.Command, name, value string, values []string) error {
	for _, v := range values {
		if v == value {
			return nil
		}
	}
	return usageError(cmd, "%s: %q, want %s", name, value, strings.Join(values, ", "))
}

// complete offers values for a flag in shell completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("cli: " + err.Error()) // the flag was defined a line ago
	}
}

// noArgs is cobra.NoArgs with our words.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, "%q: want a known command or flag", args[0])
	}
	return nil
}

// nArgs checks the number of arguments; names are what they mean.
func nArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usageError(cmd, "%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return usageError(cmd, "%q: want nothing more", args[len(names)])
		}
		return nil
	}
}
