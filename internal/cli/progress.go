package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressModes are the values of --progress. auto is a line that renews itself on a terminal and
// nothing elsewhere; plain is a line now and then; json is one object per line.
var progressModes = []string{"auto", "plain", "quiet", "json"}

// progress tells on stderr how far a command is.
type progress struct {
	w     io.Writer
	mode  string // "line", "plain", "json", or empty for nothing
	what  string
	total uint64
	start time.Time
	next  time.Time
	every time.Duration
	wrote bool
}

// progress returns the progress of a job of total steps; 0 is not known beforehand.
func (a *app) progress(what string, total uint64) *progress {
	p := &progress{w: a.stderr, what: what, total: total, start: time.Now(), every: 10 * time.Second}
	switch {
	case a.quiet || a.progressMode == "quiet":
	case a.progressMode == "auto":
		if f, ok := a.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			p.mode, p.every = "line", 200*time.Millisecond
		}
	case a.progressMode == "json":
		p.mode, p.every = "json", time.Second
	default:
		p.mode = "plain"
	}
	p.next = p.start.Add(p.every)
	return p
}

// at says that done steps are behind. It is cheap enough to be called every thousand steps.
func (p *progress) at(done uint64) {
	if p.mode == "" {
		return
	}
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(p.every)
		p.write(done, now, false)
	}
}

// end says that the job is over.
func (p *progress) end(done uint64) {
	if p.mode == "json" || p.wrote {
		p.write(done, time.Now(), true)
	}
}

func (p *progress) write(done uint64, now time.Time, end bool) {
	p.wrote = true
	elapsed := now.Sub(p.start).Seconds()
	if p.mode == "json" {
		b, err := json.Marshal(struct {
			Type    string  `json:"type"`
			What    string  `json:"what"`
			Done    uint64  `json:"done"`
			Total   uint64  `json:"total,omitempty"`
			End     bool    `json:"end,omitempty"`
			Seconds float64 `json:"wall_seconds"`
		}{"progress", p.what, done, p.total, end, elapsed})
		if err == nil {
			talk(p.w, "%s\n", b)
		}
		return
	}
	s := fmt.Sprintf("%s: %d", p.what, done)
	if p.total > 0 {
		s += fmt.Sprintf(" of %d (%d %%)", p.total, done*100/p.total)
	}
	if elapsed > 0 {
		s += fmt.Sprintf(", %.0f/s", float64(done)/elapsed)
	}
	if p.total > done && done > 0 {
		s += fmt.Sprintf(", %.0f s left", elapsed*float64(p.total-done)/float64(done))
	}
	switch {
	case p.mode == "plain":
		talk(p.w, "%s\n", s)
	case end:
		talk(p.w, "\r\x1b[K")
	default:
		talk(p.w, "\r\x1b[K%s", s)
	}
}

// say writes a line of talk on stderr.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		talk(a.stderr, format+"\n", args...)
	}
}
