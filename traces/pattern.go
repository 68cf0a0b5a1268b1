package traces

import "strings"

// pattern is the compiled form of a line's text. Literals match themselves; %x takes a hexadecimal number
// with or without 0x, %d a decimal one with an optional sign, %w everything up to the literal behind it,
// and %* the rest of the line.
type pattern []token

type token struct {
	verb byte // 0 = literal
	text string
}

// fields are what a pattern took out of a line: numbers and words, each in order.
type fields struct {
	n  [10]uint64
	s  [8]string
	nn int
	ns int
}

func compile(format string) pattern {
	var p pattern
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			return append(p, token{text: format})
		}
		if i > 0 {
			p = append(p, token{text: format[:i]})
		}
		p = append(p, token{verb: format[i+1]})
		format = format[i+2:]
	}
	return p
}

// match takes line apart. Blanks at its end do not matter.
func (p pattern) match(line string, f *fields) bool {
	line = strings.TrimRight(line, " \t")
	f.nn, f.ns = 0, 0
	for i, t := range p {
		switch t.verb {
		case 0:
			text := t.text
			if i == len(p)-1 {
				text = strings.TrimRight(text, " ")
			}
			rest, ok := strings.CutPrefix(line, text)
			// A literal that ends in a blank before the last, empty, value has lost it to the trimming.
			if !ok && i == len(p)-2 && line == strings.TrimRight(text, " ") {
				rest, ok = "", true
			}
			if !ok {
				return false
			}
			line = rest
		case 'x', 'd':
			v, rest, ok := cutNumber(line, t.verb)
			if !ok {
				return false
			}
			f.n[f.nn], line = v, rest
			f.nn++
		case 'w':
			end := len(line)
			if i+1 < len(p) {
				if end = strings.Index(line, p[i+1].text); end < 0 {
					return false
				}
			}
			f.s[f.ns], line = line[:end], line[end:]
			f.ns++
		case '*':
			f.s[f.ns], line = line, ""
			f.ns++
		}
	}
	return line == ""
}

// cutNumber takes a number off the front of s. A negative decimal comes out in two's complement.
func cutNumber(s string, verb byte) (v uint64, rest string, ok bool) {
	base, neg := uint64(10), false
	if verb == 'x' {
		base = 16
		if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
			s = s[2:]
		}
	} else if s != "" && s[0] == '-' {
		neg, s = true, s[1:]
	}
	i := 0
	for ; i < len(s); i++ {
		d := digit(s[i])
		if d >= base {
			break
		}
		if v > (^uint64(0)-d)/base {
			return 0, "", false
		}
		v = v*base + d
	}
	if neg {
		v = -v
	}
	return v, s[i:], i > 0
}

func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c >= 'a' && c <= 'f':
		return uint64(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return uint64(c-'A') + 10
	}
	return 99
}

// numbers reads the inside of an array such as 0x1000,0x2000.
func numbers(s string, verb byte) ([]uint64, bool) {
	var out []uint64
	for s = strings.TrimSpace(s); s != ""; {
		v, rest, ok := cutNumber(s, verb)
		if !ok {
			return nil, false
		}
		out = append(out, v)
		if rest != "" && (rest[0] != ',' || len(rest) == 1) {
			return nil, false
		}
		s = strings.TrimPrefix(rest, ",")
	}
	return out, true
}
