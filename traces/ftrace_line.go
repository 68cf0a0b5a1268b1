package traces

import "strings"

// ftraceLine is a line of ftrace, trace-cmd report or perf script, taken apart.
type ftraceLine struct {
	task  uint64 // process ID; for the idle task, which every CPU has, one of its own per CPU
	time  uint64 // ns
	event string // without the name of its system
	text  string
}

// parseFtraceLine takes a line apart. The forms are
//
//	          task-123     [000] d..2.    12.345678: event: text      (ftrace; flags and " (tgid)" may be missing)
//	          task-123     [000]    12.345678: event:     text        (trace-cmd report)
//	task   123 [000]    12.345678: system:event: text                 (perf script; " 123/124 " with -F pid,tid)
//
// A task name may hold blanks, dashes and brackets, so every '[' that could start the CPU is tried, and
// the process ID is read from there to the left.
func parseFtraceLine(line string, l *ftraceLine) bool {
	for from := 0; ; {
		i := strings.IndexByte(line[from:], '[')
		if i < 0 {
			return false
		}
		i += from
		if parseFtraceAt(line, i, l) {
			return true
		}
		from = i + 1
	}
}

func parseFtraceAt(line string, bracket int, l *ftraceLine) bool {
	cpu, rest, ok := cutNumber(line[bracket+1:], 'd')
	if !ok || !strings.HasPrefix(rest, "] ") {
		return false
	}
	pid, ok := pidBefore(line[:bracket])
	if !ok {
		return false
	}
	head, rest, ok := strings.Cut(rest[2:], ": ")
	if !ok {
		return false
	}
	// Flags, if any, and the time.
	words := strings.Fields(head)
	if len(words) == 0 || len(words) > 2 {
		return false
	}
	if l.time, ok = parseSeconds(words[len(words)-1]); !ok {
		return false
	}
	rest = strings.TrimLeft(rest, " ")
	event, text, _ := strings.Cut(rest, " ")
	event, ok = strings.CutSuffix(event, ":")
	if !ok {
		return false
	}
	if colon := strings.LastIndexByte(event, ':'); colon >= 0 {
		event = event[colon+1:]
	}
	l.task, l.event, l.text = pid, event, strings.TrimLeft(text, " ")
	if pid == 0 {
		l.task = 1<<32 + cpu
	}
	return true
}

// pidBefore reads the process ID at the end of s, over an optional thread group in parentheses.
func pidBefore(s string) (uint64, bool) {
	s = strings.TrimRight(s, " ")
	if strings.HasSuffix(s, ")") {
		open := strings.LastIndexByte(s, '(')
		if open < 0 {
			return 0, false
		}
		s = strings.TrimRight(s[:open], " ")
	}
	i := len(s)
	for i > 0 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	if i == len(s) || i == 0 || (s[i-1] != '-' && s[i-1] != ' ' && s[i-1] != '/') {
		return 0, false
	}
	pid, _, ok := cutNumber(s[i:], 'd')
	return pid, ok && pid < 1<<32
}
