package clock

// Event is something that happens at a time. It is plain data: Kind says what, A and B say to
// whom, and the queue's owner knows what these mean.
type Event struct {
	Time uint64
	A    uint32
	B    uint32
	Prio uint8 // among events of one time, lower ones come first
	Kind uint8
}
