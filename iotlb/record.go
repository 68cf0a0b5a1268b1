package iotlb

import "math/bits"

// node is the record of all entries of one owner (class, domain, PASID) and size. Index 0 is none.
type node struct {
	key    word
	group  uint32
	refs   uint32 // occupied places that name it
	next   uint32 // in its hash chain, or among the free
	gprev  uint32 // in the list of its group
	gnext  uint32
	linked bool // in its hash chain
}

// group is the record of all nodes of one class, domain and size. It is alive if its generation is
// that of its class; group 0 never is, and takes the nodes that were dropped one by one.
type group struct {
	key    word
	gen    uint32
	live   uint32 // live entries
	next   uint32 // in its hash chain, or among the free
	first  uint32 // list of nodes
	class  uint8
	lg2    uint8
	linked bool // in its hash chain
}

// records finds nodes by owner and size, and groups by domain. Dead ones leave their chains when
// somebody walks by, so that no chain holds more than one dead record of a key.
type records struct {
	nodes     []node
	groups    []group
	nodeHead  []uint32
	groupHead []uint32
	freeNode  uint32
	freeGroup uint32
	memo      uint32 // node of the last attach
	hashShift uint8
}

func (r *records) init(entries int) {
	lg := max(4, bits.Len(uint(entries-1)))
	r.nodes = make([]node, entries+2) // none, one per entry, one more during a replacement
	r.groups = make([]group, entries+2)
	r.nodeHead = make([]uint32, 1<<lg)
	r.groupHead = make([]uint32, 1<<lg)
	r.hashShift = uint8(64 - lg)
}

func (c *Cache) resetRecords() {
	clear(c.nodeHead)
	clear(c.groupHead)
	for i := range c.nodes {
		c.nodes[i] = node{next: uint32(i + 1)}
		c.groups[i] = group{next: uint32(i + 1)}
	}
	last := len(c.nodes) - 1
	c.nodes[last].next, c.groups[last].next = 0, 0
	c.nodes[0], c.groups[0] = node{}, group{}
	c.freeNode, c.freeGroup, c.memo = 1, 1, 0
}

func (r *records) nodeChain(w word) *uint32 {
	return &r.nodeHead[uint64(w)*mulTag>>r.hashShift]
}

func (r *records) groupChain(domain uint32) *uint32 {
	return &r.groupHead[uint64(domain)*mulTag>>r.hashShift]
}

func (c *Cache) alive(n uint32) bool {
	g := &c.groups[c.nodes[n].group]
	return g.gen == c.gens[g.class&(numClasses-1)]
}

func (c *Cache) groupAlive(g *group) bool { return g.gen == c.gens[g.class&(numClasses-1)] }

// count adds d live entries of a class and size.
func (c *Cache) count(class, lg2 uint8, d uint32) {
	class, lg2 = class&(numClasses-1), lg2&63
	n := c.live[class][lg2] + d
	c.live[class][lg2] = n
	if n != 0 {
		if c.sizes[class]>>lg2&1 == 0 {
			c.resize(class, c.sizes[class]|1<<lg2)
		}
		return
	}
	c.resize(class, c.sizes[class]&^(1<<lg2))
}

// resize sets the sizes that a class has.
func (c *Cache) resize(class uint8, sizes uint64) {
	c.sizes[class] = sizes
	c.classes &^= 1 << class
	if sizes != 0 {
		c.classes |= 1 << class
		lg2 := uint(bits.TrailingZeros64(sizes))
		c.smallest[class] = size{makeWord(0, lg2), uint8(lg2)}
	}
}

// lookupNode returns the live node of an owner and size, or 0.
func (c *Cache) lookupNode(w word) uint32 {
	for p := c.nodeChain(w); *p != 0; {
		id := *p
		n := &c.nodes[id]
		switch {
		case !c.alive(id):
			*p, n.linked = n.next, false
			continue
		case n.key == w:
			return id
		}
		p = &n.next
	}
	return 0
}

// attach returns the node of an owner and size with one reference more, and counts an entry.
func (c *Cache) attach(w word) uint32 {
	id := c.memo
	if c.nodes[id].key != w || !c.alive(id) {
		if id = c.lookupNode(w); id == 0 {
			id = c.newNode(w)
		}
		c.memo = id
	}
	n := &c.nodes[id]
	n.refs++
	g := &c.groups[n.group]
	g.live++
	c.count(g.class, g.lg2, 1)
	return id
}

func (c *Cache) newNode(w word) uint32 {
	gid := c.groupOf(w)
	id := c.freeNode
	n := &c.nodes[id]
	c.freeNode = n.next
	head := c.nodeChain(w)
	g := &c.groups[gid]
	*n = node{key: w, group: gid, next: *head, gnext: g.first, linked: true}
	*head = id
	if g.first != 0 {
		c.nodes[g.first].gprev = id
	}
	g.first = id
	return id
}

// groupOf returns the live group of an owner and size, a new one if there is none.
func (c *Cache) groupOf(w word) uint32 {
	head := c.groupChain(w.domain())
	for p := head; *p != 0; {
		id := *p
		g := &c.groups[id]
		switch {
		case !c.groupAlive(g):
			*p, g.linked = g.next, false
			continue
		case g.key == w.group():
			return id
		}
		p = &g.next
	}
	id := c.freeGroup
	g := &c.groups[id]
	c.freeGroup = g.next
	cl := uint8(w.class())
	*g = group{key: w.group(), gen: c.gens[cl], next: *head, class: cl, lg2: uint8(w.lg2()), linked: true}
	*head = id
	return id
}

// release takes one reference from a node and reports whether the entry that held it was alive.
func (c *Cache) release(id uint32) bool {
	n := &c.nodes[id]
	g := &c.groups[n.group]
	alive := c.groupAlive(g)
	if alive {
		g.live--
		c.count(g.class, g.lg2, ^uint32(0))
	} else {
		c.dead--
	}
	if n.refs--; n.refs == 0 {
		c.unlinkNode(id)
		c.leaveGroup(id)
		*n = node{next: c.freeNode}
		c.freeNode = id
	}
	return alive
}

// dropNode kills the entries of a node.
func (c *Cache) dropNode(id uint32) {
	n := &c.nodes[id]
	g := &c.groups[n.group]
	g.live -= n.refs
	c.count(g.class, g.lg2, -n.refs)
	c.dead += int(n.refs)
	c.stats.Invalidated += uint64(n.refs)
	c.leaveGroup(id)
}

// dropGroup kills the entries of a group. Its nodes go when their last entry's place is reused.
func (c *Cache) dropGroup(id uint32) {
	g := &c.groups[id]
	c.count(g.class, g.lg2, -g.live)
	c.dead += int(g.live)
	c.stats.Invalidated += uint64(g.live)
	g.live, g.gen = 0, 0
	c.unlinkGroup(id)
}

func (c *Cache) unlinkNode(id uint32) {
	n := &c.nodes[id]
	if !n.linked {
		return
	}
	p := c.nodeChain(n.key)
	for *p != id {
		p = &c.nodes[*p].next
	}
	*p, n.linked = n.next, false
}

func (c *Cache) unlinkGroup(id uint32) {
	g := &c.groups[id]
	if !g.linked {
		return
	}
	p := c.groupChain(g.key.domain())
	for *p != id {
		p = &c.groups[*p].next
	}
	*p, g.linked = g.next, false
}

// leaveGroup moves a node to group 0 and frees its group if that was the last one.
func (c *Cache) leaveGroup(id uint32) {
	n := &c.nodes[id]
	if n.group == 0 {
		return
	}
	g := &c.groups[n.group]
	if n.gprev != 0 {
		c.nodes[n.gprev].gnext = n.gnext
	} else {
		g.first = n.gnext
	}
	if n.gnext != 0 {
		c.nodes[n.gnext].gprev = n.gprev
	}
	if g.first == 0 {
		c.unlinkGroup(n.group)
		*g = group{next: c.freeGroup}
		c.freeGroup = n.group
	}
	n.group, n.gprev, n.gnext = 0, 0, 0
}
