package qtest

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Client speaks the qtest protocol over a connection: one line per command, one line per answer. It is
// used by one goroutine at a time; Close may come from another one.
type Client struct {
	conn  net.Conn
	r     *bufio.Reader
	limit time.Duration
	one   Batch
	vals  []uint64

	mu     sync.Mutex
	err    error // the first one; it stays
	failed func(*Error)
}

// NewClient talks over conn and lets QEMU think for at most limit over what it is given.
func NewClient(conn net.Conn, limit time.Duration) *Client {
	return &Client{conn: conn, r: bufio.NewReaderSize(conn, 1<<16), limit: limit}
}

// atOnce is how many commands may wait for their answers, so that neither side's socket fills up.
const atOnce = 256

// Do carries out the commands of b and returns what they answer, 0 for those that answer nothing. The
// result is valid until the next call.
//
// Errors: an Error; the client is dead then.
func (c *Client) Do(b *Batch) ([]uint64, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	c.vals = c.vals[:0]
	from := 0
	for first := 0; first < b.Len(); first += atOnce {
		last := min(first+atOnce, b.Len())
		to := b.ends[last-1]
		if err := c.send(b.buf[from:to]); err != nil {
			return nil, c.fail(b.command(first), err, "")
		}
		from = to
		for i := first; i < last; i++ {
			text, err := c.answer()
			if err != nil {
				return nil, c.fail(b.command(i), err, text)
			}
			v := uint64(0)
			if text != "" {
				if v, err = strconv.ParseUint(text, 0, 64); err != nil {
					return nil, c.fail(b.command(i), ErrProtocol, text)
				}
			}
			c.vals = append(c.vals, v)
		}
	}
	return c.vals, nil
}

func (c *Client) send(p []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return err
	}
	_, err := c.conn.Write(p)
	return err
}

// answer reads one line, and returns what stands behind its OK, or with an error the line.
func (c *Client) answer() (string, error) {
	raw, err := c.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = ErrProtocol
		}
		return clip(string(raw)), err
	}
	line := strings.TrimSpace(string(raw))
	switch word, rest, _ := strings.Cut(line, " "); word {
	case "OK":
		return rest, nil
	case "ERR", "FAIL":
		return clip(line), ErrRefused
	}
	return clip(line), ErrProtocol
}

// fail makes err the end of the client.
func (c *Client) fail(op string, err error, detail string) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrTimeout
	case errors.Is(err, net.ErrClosed):
		err = ErrClosed
	case errors.Is(err, io.EOF), isReset(err):
		err = ErrDied
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Op: clip(op), Err: err, Detail: detail}
	}
	if c.failed != nil {
		c.failed(e)
	}
	c.err = e
	c.conn.Close()
	return e
}

// Err returns what ended the client, nil if it lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the client. Calls under way and later ones give ErrClosed.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = &Error{Op: "use", Err: ErrClosed}
	}
	return c.conn.Close()
}

// Read reads size bytes (1, 2, 4, 8) at addr.
func (c *Client) Read(addr uint64, size uint8) (uint64, error) {
	c.one.Reset()
	c.one.Read(addr, size)
	return c.single()
}

// Write writes size bytes (1, 2, 4, 8) at addr.
func (c *Client) Write(addr uint64, size uint8, v uint64) error {
	c.one.Reset()
	c.one.Write(addr, size, v)
	_, err := c.single()
	return err
}

// Step lets ns nanoseconds pass.
func (c *Client) Step(ns uint64) error {
	c.one.Reset()
	c.one.Step(ns)
	_, err := c.single()
	return err
}

func (c *Client) single() (uint64, error) {
	v, err := c.Do(&c.one)
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// perLine is how many bytes of memory go in one line of the protocol.
const perLine = 32 << 10

// ReadAt reads len(p) bytes of memory.
func (c *Client) ReadAt(addr uint64, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), perLine)
		text, err := c.line("b64read", addr, n, "")
		if err != nil {
			return err
		}
		if base64.StdEncoding.DecodedLen(len(text)) > n+2 {
			return c.fail("b64read", ErrProtocol, clip(text))
		}
		got, err := base64.StdEncoding.AppendDecode(nil, []byte(text))
		if err != nil || len(got) != n {
			return c.fail("b64read", ErrProtocol, clip(text))
		}
		copy(p, got)
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

// WriteAt writes p to memory.
func (c *Client) WriteAt(addr uint64, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), perLine)
		if _, err := c.line("b64write", addr, n, " "+base64.StdEncoding.EncodeToString(p[:n])); err != nil {
			return err
		}
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

func (c *Client) line(name string, addr uint64, n int, data string) (string, error) {
	if err := c.Err(); err != nil {
		return "", err
	}
	op := name + " 0x" + strconv.FormatUint(addr, 16) + " " + strconv.Itoa(n)
	if err := c.send([]byte(op + data + "\n")); err != nil {
		return "", c.fail(op, err, "")
	}
	text, err := c.answer()
	if err != nil {
		return "", c.fail(op, err, text)
	}
	return text, nil
}

// Fail ends the client because of an answer that its user can make no sense of, and returns the error
// with what QEMU wrote.
func (c *Client) Fail(e *Error) error { return c.fail(e.Op, e, "") }
