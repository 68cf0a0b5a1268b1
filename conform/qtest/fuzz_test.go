package qtest

import (
	"bufio"
	"errors"
	"net"
	"testing"
	"time"
)

// said returns a connection on which somebody says text, whatever he is told, and hangs up.
func said(t *testing.T, text []byte) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = bufio.NewReader(theirs).ReadSlice('\n') // the first command
		_, _ = theirs.Write(text)
		theirs.Close()
	}()
	t.Cleanup(func() { ours.Close() })
	return ours
}

// Whatever comes instead of an answer: an Error, or as many values as there were commands.
func FuzzClient(f *testing.F) {
	f.Add([]byte("OK 0x12\nOK\n"))
	f.Add([]byte("OK 0x12\nFAIL no\n"))
	f.Add([]byte("OK 99999999999999999999999\nIRQ raise 1\n"))
	f.Add([]byte("OK"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := NewClient(said(t, text), time.Second)
		var b Batch
		b.Read(1, 4)
		b.Write(2, 4, 3)
		v, err := c.Do(&b)
		var e *Error
		switch {
		case err == nil && len(v) != 2:
			t.Fatalf("%d values", len(v))
		case err != nil && !errors.As(err, &e):
			t.Fatalf("%T", err)
		case err != nil && c.Err() != err:
			t.Fatalf("not kept: %v, %v", c.Err(), err)
		}
	})
}

func FuzzReadAt(f *testing.F) {
	f.Add([]byte("OK AQIDBA==\n"))
	f.Add([]byte("OK AQIDBAAAAAAAAAAA\n"))
	f.Add([]byte("OK =\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := NewClient(said(t, text), time.Second)
		if err := c.ReadAt(0, make([]byte, 4)); (err == nil) != (c.Err() == nil) {
			t.Fatal(err, c.Err())
		}
	})
}

func FuzzMonitor(f *testing.F) {
	f.Add([]byte(`{"return": {}}` + "\n" + `{"event": "RESET"}` + "\n"))
	f.Add([]byte(`{"error": {"desc": "no"}}` + "\n"))
	f.Add([]byte(`{"event": "RESET", "return": null}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		conn := said(t, text)
		m := &monitor{conn: conn, r: bufio.NewReader(conn), limit: time.Second}
		_ = m.execute("system_reset", "RESET")
	})
}
