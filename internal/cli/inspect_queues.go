package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// queue is a ring in memory: of commands that hardware takes out, or of records that software does.
type queue struct {
	name       string
	at         emu.PA
	entries    int
	bytes      int  // of an entry
	head, tail int  // indices: taken out next, put in next
	full       bool // if they are equal
	on         bool
	note       string // what is wrong with it
	layout     func(words []uint64) *reg.Layout
}

type queueValue struct {
	Name    string           `json:"name"`
	At      string           `json:"at"`
	Entries int              `json:"entries"`
	Bytes   int              `json:"entry_bytes"`
	Head    int              `json:"head"`
	Tail    int              `json:"tail"`
	On      bool             `json:"on"`
	Note    string           `json:"note,omitempty"`
	Items   []queueItemValue `json:"items,omitempty"`
}

type queueItemValue struct {
	Index   int    `json:"index"`
	At      string `json:"at"`
	Pending bool   `json:"pending"`        // false: was taken out
	Note    string `json:"note,omitempty"` // instead of the content
	structure
}

// queues shows the queues: what is pending, and before it the last entries that were taken out.
func (x *inspection) queues(ctx context.Context, s *snap, last int) error {
	return s.arch.queues(s, func(q *queue) error {
		v := queueValue{
			Name: q.name, At: hexOf(uint64(q.at)), Entries: q.entries, Bytes: q.bytes, Head: q.head, Tail: q.tail, On: q.on, Note: q.note,
		}
		if q.head >= q.entries || q.tail >= q.entries {
			v.Note = "head or tail is beyond the queue"
			x.Queues = append(x.Queues, v)
			return nil
		}
		pending := (q.tail - q.head + q.entries) % q.entries
		if q.full && pending == 0 {
			pending = q.entries
		}
		last := min(last, q.entries-pending)
		for i := -last; i < pending; i++ {
			index := (q.head + i + q.entries) % q.entries
			at := q.at + emu.PA(index*q.bytes)
			item := queueItemValue{Index: index, At: hexOf(uint64(at)), Pending: i >= 0}
			switch {
			case !s.core.Covers(at) && !item.Pending:
				continue
			case !s.core.Covers(at):
				item.Note = "not in the snapshot"
			default:
				words := s.read(q.name, at, (q.bytes+7)/8)
				if !item.Pending && zeros(words) { // never used
					continue
				}
				item.structure = s.arch.decode(q.layout(words), words)
			}
			v.Items = append(v.Items, item)
		}
		x.Queues = append(x.Queues, v)
		return ctx.Err()
	})
}

func (x *inspection) printQueues(b *strings.Builder, title string) error {
	for i := range x.Queues {
		q := &x.Queues[i]
		state := "off"
		if q.On {
			state = "on"
		}
		fmt.Fprintf(b, "%s at %s, %d entries of %d bytes, %s, head %d, tail %d\n", q.Name, q.At, q.Entries, q.Bytes, state, q.Head, q.Tail)
		if q.Note != "" {
			fmt.Fprintf(b, "  %s\n", q.Note)
		}
		for j := range q.Items {
			e := &q.Items[j]
			state := "was taken out"
			if e.Pending {
				state = "is pending"
			}
			fmt.Fprintf(b, "%s: entry %d at %s %s", q.Name, e.Index, e.At, state)
			if e.Note != "" {
				fmt.Fprintf(b, ", %s\n", e.Note)
				continue
			}
			b.WriteByte('\n')
			if err := e.print(b, title); err != nil {
				return err
			}
		}
	}
	return nil
}
