package qtest

import (
	"bufio"
	"encoding/json"
	"net"
	"time"
)

// monitor speaks QMP, QEMU's control protocol, as far as it is needed.
type monitor struct {
	conn    net.Conn
	r       *bufio.Reader
	limit   time.Duration
	version Version
}

// reply is one line of QMP: a greeting, an answer or an event.
type reply struct {
	QMP *struct {
		Version struct{ QEMU Version }
	}
	Return json.RawMessage
	Error  *struct{ Desc string }
	Event  string
}

func (m *monitor) read() (r reply, err error) {
	line, err := m.r.ReadSlice('\n')
	if err != nil {
		return r, err
	}
	if json.Unmarshal(line, &r) != nil {
		return r, &Error{Op: "QMP", Err: ErrProtocol, Detail: clip(string(line))}
	}
	return r, nil
}

// greet reads QEMU's greeting and leaves negotiation.
func (m *monitor) greet() error {
	if err := m.conn.SetDeadline(time.Now().Add(m.limit)); err != nil {
		return err
	}
	r, err := m.read()
	if err != nil {
		return err
	}
	if r.QMP == nil {
		return &Error{Op: "QMP", Err: ErrProtocol, Detail: "no greeting"}
	}
	m.version = r.QMP.Version.QEMU
	return m.execute("qmp_capabilities", "")
}

// execute runs a command without arguments, and returns when it has answered and, if event is not
// empty, when that event has come.
func (m *monitor) execute(command, event string) error {
	if err := m.conn.SetDeadline(time.Now().Add(m.limit)); err != nil {
		return err
	}
	if _, err := m.conn.Write([]byte(`{"execute":"` + command + "\"}\n")); err != nil {
		return err
	}
	answered, came := false, event == ""
	for !answered || !came {
		r, err := m.read()
		switch {
		case err != nil:
			return err
		case r.Error != nil:
			return &Error{Op: command, Err: ErrRefused, Detail: clip(r.Error.Desc)}
		case r.Return != nil:
			answered = true
		case r.Event != "" && r.Event == event:
			came = true
		}
	}
	return nil
}
