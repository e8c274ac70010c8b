package wire

// The host's side of one connection.
//
// Two goroutines at most. One leads: it receives, and starts the requests that it receives, whose
// replies leave from inside Start. When a Start is about to wait (Request.Blocking) the other takes
// the lead: it only receives, answers cancels, and queues requests. When that Start has returned
// its goroutine works off the queue, parks, and the leader starts requests itself again.
//
// Flow. A client may have Welcome.MaxRequests requests and Welcome.MaxBytes bytes of message data
// outstanding, and waits by itself when it has used that up. So the host never stops reading: what
// is over the limit is refused with STATUS_QUOTA_EXCEEDED, and a cancel always comes through. A
// reply that the socket has no room for goes to a queue that a third goroutine empties; only when
// that queue is over MaxBytes, because the client floods and does not read, does the host stop
// reading from this client.

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drvhost/drvhost/nt"

	"golang.org/x/sys/unix"
)

const (
	maxFreeRequests  = 64      // kept for reuse by a connection
	maxFreeLarge     = 4       // of them with a long message
	largeRequest     = 8 << 10 // bytes
	maxBufferReplies = 8       // a descriptor under way counts against the host's limit
	farewellPatience = time.Second
)

// Conn is the host's side of a connection.
type Conn struct {
	srv     *Server
	sock    Socket
	peer    Peer
	opening *Request // stands for Open in inline

	// inline is what the leader has started and not handed off.
	inline atomic.Pointer[Request]
	// clogged says that replies wait in outq.
	clogged atomic.Bool
	// stopping says that the server ends the connection.
	stopping atomic.Bool

	mu       sync.Mutex
	changed  sync.Cond // leading, live, writing, outBytes
	file     File
	name     string
	fileID   uint64
	version  uint16              // of the protocol; set before the file is open
	pending  map[uint64]*Request // those that a cancel can name
	queue    []*Request          // came while a Start was blocked
	free     []*Request
	count    int  // requests not completed
	live     int  // requests not in free
	bytes    int  // of message data of requests not completed
	busy     bool // a goroutine that does not lead is in Start or works off the queue
	leading  bool // a goroutine receives
	parked   bool // a goroutine waits for wake
	closing  bool // nothing is started any more
	gone     bool // the client is: replies are dropped
	dead     bool // for the one that wakes
	asked    bool // by MsgClose
	closeID  uint64
	buffer   *sharedBuffer
	buffered int // buffer replies sent
	outq     [][]byte
	outBytes int
	writing  bool
	byeText  string
	bye      nt.Status
	wake     chan struct{}
	openGone chan struct{} // closed when the client ends during Open
}

func newConn(srv *Server, sock Socket, peer Peer) *Conn {
	c := &Conn{
		srv: srv, sock: sock, peer: peer,
		pending: map[uint64]*Request{}, wake: make(chan struct{}, 1), leading: true,
		openGone: make(chan struct{}),
	}
	c.opening = &Request{conn: c}
	c.changed.L = &c.mu
	return c
}

// serve runs the connection on the calling goroutine, which leads at first.
func (c *Conn) serve(refuse string) {
	buf := c.newBuffer()
	hello, err := c.receiveHello(buf)
	if err != nil {
		if !errors.Is(err, errEnded) {
			c.log("connection of process %d: %v", c.peer.PID, err)
			c.refuse(VersionMax, nt.STATUS_INVALID_PARAMETER, err.Error())
		}
		c.finish(false)
		return
	}
	version := min(hello.VersionMax, VersionMax)
	if version < max(hello.VersionMin, VersionMin) {
		c.refuse(version, nt.STATUS_REVISION_MISMATCH, fmt.Sprintf(
			"the client speaks versions %d to %d of the protocol, the host %d to %d",
			hello.VersionMin, hello.VersionMax, VersionMin, VersionMax))
		c.finish(false)
		return
	}
	if refuse != "" {
		c.refuse(version, nt.STATUS_INSUFFICIENT_RESOURCES, refuse)
		c.finish(false)
		return
	}
	c.version = version
	lead, opened := c.open(hello, version)
	switch {
	case !opened:
		c.finish(false)
	case lead:
		c.run(buf, true)
	default:
		c.run(buf, false)
	}
}

var errEnded = errors.New("the peer closed the connection")

func (c *Conn) newBuffer() []byte { return make([]byte, RequestSize+2*c.srv.cfg.MaxInline) }

// receiveHello waits, not for ever, for the first message.
func (c *Conn) receiveHello(buf []byte) (*Hello, error) {
	if err := c.sock.setRecvTimeout(int(c.srv.cfg.HelloTimeout.Milliseconds())); err != nil {
		return nil, err
	}
	n, e := c.sock.Recv(buf)
	switch {
	case e == syscall.EAGAIN:
		return nil, malformed("no Hello within %v", c.srv.cfg.HelloTimeout)
	case e != 0 || n == 0:
		return nil, errEnded
	}
	t, _, err := ParseHeader(buf, n)
	if err != nil {
		return nil, err
	}
	if t != MsgHello {
		return nil, malformed("the first message has type %d", t)
	}
	if err := c.sock.setRecvTimeout(0); err != nil {
		return nil, err
	}
	return ParseHello(buf[:n])
}

func (c *Conn) refuse(version uint16, status nt.Status, text string) {
	w := Welcome{Version: version, Status: status, HostPID: uint32(c.srv.pid), Text: text}
	c.sock.TrySend(w.Append(nil))
}

// open opens the File and sends the Welcome. lead says that this goroutine still leads.
func (c *Conn) open(hello *Hello, version uint16) (lead, opened bool) {
	cfg := &c.srv.cfg
	req := &OpenRequest{Peer: c.peer, Hello: hello, conn: c, gone: c.openGone}
	c.inline.Store(c.opening)
	file, result, err := cfg.Backend.Open(req)
	c.mu.Lock()
	lead = c.inline.CompareAndSwap(c.opening, nil)
	req.conn = nil
	c.file, c.name, c.fileID = file, hello.Name, result.FileID
	c.mu.Unlock()
	w := Welcome{
		Version: version, Status: result.Status, Information: result.Information,
		FileID: result.FileID, MaxBuffer: uint64(cfg.MaxBuffer), MaxInline: uint32(cfg.MaxInline),
		MaxBytes: uint32(cfg.MaxBytes), MaxRequests: uint32(cfg.MaxRequests),
		HostPID: uint32(c.srv.pid),
	}
	if err != nil {
		w.Text = err.Error()
		if !errors.As(err, &w.Status) {
			w.Status = nt.STATUS_UNSUCCESSFUL
		}
	}
	if file == nil && w.Status.Success() {
		w.Status = nt.STATUS_UNSUCCESSFUL
	}
	c.send(w.Append(nil))
	return lead, file != nil
}

// run leads (or, when lead is false, has just lost the lead) until the connection ends.
func (c *Conn) run(buf []byte, lead bool) {
	for {
		if lead {
			if ended := c.lead(buf); ended {
				return
			}
		}
		if c.drain() {
			c.mu.Lock()
			asked := c.asked
			c.mu.Unlock()
			c.finish(asked)
			return
		}
		<-c.wake
		c.mu.Lock()
		dead := c.dead
		c.mu.Unlock()
		if dead {
			return
		}
		if buf == nil {
			buf = c.newBuffer()
		}
		lead = true
	}
}

// lead receives messages until the lead is lost (false) or the connection has ended (true).
func (c *Conn) lead(buf []byte) bool {
	for {
		if c.clogged.Load() {
			c.waitForClient()
		}
		n, e := c.sock.Recv(buf)
		if e != 0 || n == 0 || c.stopping.Load() {
			return c.end(nil)
		}
		t, id, err := ParseHeader(buf, n)
		if err != nil {
			return c.end(err)
		}
		switch t {
		case MsgRequest:
			lead, err := c.request(buf[:n])
			if err != nil {
				return c.end(err)
			}
			if !lead {
				return false
			}
		case MsgCancel:
			c.cancel(id)
		case MsgClose:
			c.mu.Lock()
			opened := c.file != nil
			c.asked, c.closeID = opened, id
			c.mu.Unlock()
			if !opened {
				err = malformed("a Close before the file is open")
			}
			return c.end(err)
		case MsgBuffer:
			if err := c.passBuffer(id, buf[:n]); err != nil {
				return c.end(err)
			}
		default:
			return c.end(malformed("a message of type %d", t))
		}
	}
}

// request starts a request, or queues it. lead says that this goroutine still leads.
func (c *Conn) request(m []byte) (lead bool, err error) {
	var h RequestHeader
	if err := h.parse(m, c.version); err != nil {
		return true, err
	}
	cfg := &c.srv.cfg
	charge := h.Charge()
	c.mu.Lock()
	if c.file == nil {
		c.mu.Unlock()
		return true, malformed("a request before the file is open")
	}
	if len(c.pending) != 0 && c.pending[h.ID] != nil {
		c.mu.Unlock()
		return true, malformed("a request with the id %#x of one that is outstanding", h.ID)
	}
	status := c.check(&h)
	if status == nt.STATUS_SUCCESS &&
		(c.count >= cfg.MaxRequests || c.bytes+charge > cfg.MaxBytes) {
		status = nt.STATUS_QUOTA_EXCEEDED
	}
	if status != nt.STATUS_SUCCESS {
		c.mu.Unlock()
		r := ReplyHeader{ID: h.ID, Status: status, IOStatus: status}
		msg := make([]byte, ReplySize)
		r.put(msg)
		c.send(msg)
		return true, nil
	}
	r := c.take()
	c.count++
	c.bytes += charge
	r.ID, r.Major, r.Minor, r.Code, r.Key = h.ID, h.Major, h.Minor, h.Code, h.Key
	r.HasOffset, r.Offset = h.Flags&FlagOffset != 0, h.Offset
	r.StackFlags = h.StackFlags
	r.OutLen, r.charge = int(h.OutLen), charge
	data := m[RequestSize:]
	if c.busy {
		r.stored = append(r.stored[:0], data...)
		data = r.stored
	}
	if h.Flags&FlagInShared != 0 {
		r.In, _ = c.buffer.slice(h.InPlace, h.InLen)
	} else {
		r.In = data[:h.InLen:h.InLen]
		data = data[h.InLen:]
	}
	r.shared, r.place = h.Flags&FlagOutShared != 0, h.OutPlace
	if h.Flags&FlagOutData != 0 {
		if r.shared {
			r.OutData, _ = c.buffer.slice(h.OutPlace, h.OutLen)
		} else {
			r.OutData = data[:h.OutLen:h.OutLen]
		}
	}
	if c.busy {
		r.table = true
		c.pending[r.ID] = r
		c.queue = append(c.queue, r)
		c.mu.Unlock()
		return true, nil
	}
	r.started = true
	c.mu.Unlock()
	c.inline.Store(r)
	c.file.Start(r)
	lead = c.inline.CompareAndSwap(r, nil)
	c.settle(r)
	return lead, nil
}

// check says what is wrong with what a request asks for.
func (c *Conn) check(h *RequestHeader) nt.Status {
	if !userMajor(h.Major, c.version) {
		return nt.STATUS_INVALID_PARAMETER
	}
	if h.Flags&FlagInShared != 0 {
		if _, ok := c.buffer.slice(h.InPlace, h.InLen); !ok {
			return nt.STATUS_INVALID_PARAMETER
		}
	} else if uint64(h.InLen) > uint64(c.srv.cfg.MaxInline) {
		return nt.STATUS_INVALID_BUFFER_SIZE
	}
	if h.Flags&FlagOutShared != 0 {
		if _, ok := c.buffer.slice(h.OutPlace, h.OutLen); !ok {
			return nt.STATUS_INVALID_PARAMETER
		}
	} else if uint64(h.OutLen) > uint64(c.srv.cfg.MaxInline) {
		return nt.STATUS_INVALID_BUFFER_SIZE
	}
	return nt.STATUS_SUCCESS
}

// take gives an empty request, held for Start and for Complete. c.mu is held.
func (c *Conn) take() *Request {
	c.live++
	var r *Request
	if n := len(c.free); n > 0 {
		r = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		r = &Request{conn: c}
	}
	r.refs.Store(2)
	return r
}

// settle follows Start: what has not completed can be cancelled from now on.
func (c *Conn) settle(r *Request) {
	c.mu.Lock()
	late := c.expose(r)
	if r.refs.Add(-1) == 0 {
		c.recycle(r)
	}
	c.mu.Unlock()
	c.cancelLate(r, late)
}

// expose makes r visible to cancels, which says that one came too early. c.mu is held.
func (c *Conn) expose(r *Request) (late bool) {
	if r.complete || r.visible {
		return false
	}
	r.visible = true
	if !r.table {
		r.table = true
		c.pending[r.ID] = r
	}
	if r.cancelled {
		r.refs.Add(1)
	}
	return r.cancelled
}

// cancelLate delivers a cancel that came before r was visible. It has a goroutine of its own since
// the caller may be inside Start, with the File's locks held.
func (c *Conn) cancelLate(r *Request, late bool) {
	if late {
		go func() {
			c.file.Cancel(r)
			c.drop(r)
		}()
	}
}

// handOff gives the lead to another goroutine if r, or Open, is what the leader has started.
func (c *Conn) handOff(r *Request) {
	c.mu.Lock()
	if c.inline.CompareAndSwap(r, nil) {
		c.busy = true
		if c.parked {
			c.parked = false
			c.wake <- struct{}{}
		} else {
			go c.run(c.newBuffer(), true)
		}
	}
	late := false
	if r.started {
		late = c.expose(r)
	}
	c.mu.Unlock()
	c.cancelLate(r, late)
}

// drain starts what was queued while this goroutine was in Start. It says true when the connection
// is closing, and else has parked.
func (c *Conn) drain() (closing bool) {
	for {
		c.mu.Lock()
		if c.closing {
			c.mu.Unlock()
			return true
		}
		if len(c.queue) == 0 {
			c.busy, c.parked = false, true
			c.mu.Unlock()
			return false
		}
		r := c.queue[0]
		c.queue[0] = nil
		if c.queue = c.queue[1:]; len(c.queue) == 0 {
			c.queue = nil
		}
		r.started = true
		c.mu.Unlock()
		c.file.Start(r)
		c.settle(r)
	}
}

// cancel cancels the request with this id. One that is not outstanding has just completed, or never
// was: nothing happens.
func (c *Conn) cancel(id uint64) {
	c.mu.Lock()
	r := c.pending[id]
	switch {
	case r == nil:
		c.mu.Unlock()
	case !r.started:
		for i, q := range c.queue {
			if q == r {
				c.queue = append(c.queue[:i], c.queue[i+1:]...)
				break
			}
		}
		c.mu.Unlock()
		c.unstarted(r)
	case !r.visible:
		r.cancelled = true
		c.mu.Unlock()
	default:
		r.refs.Add(1)
		c.mu.Unlock()
		c.file.Cancel(r)
		c.drop(r)
	}
}

// unstarted completes a request that has been taken off the queue.
func (c *Conn) unstarted(r *Request) {
	r.Complete(nt.STATUS_CANCELLED, nt.STATUS_CANCELLED, 0, 0)
	c.drop(r)
}

// completed sends the reply of r.
func (c *Conn) completed(r *Request) {
	c.mu.Lock()
	if r.complete {
		c.mu.Unlock()
		panic("wire: a request was completed twice")
	}
	r.complete = true
	if r.table { // before the reply, which frees the id
		r.table = false
		delete(c.pending, r.ID)
	}
	c.count--
	c.bytes -= r.charge
	gone := c.gone
	c.mu.Unlock()
	if !gone && !c.trySend(r.reply) {
		c.enqueue(r.reply)
		r.reply, r.out = nil, nil
	}
	c.drop(r)
}

// drop gives up one hold on r; the last one makes it free.
func (c *Conn) drop(r *Request) {
	if r.refs.Add(-1) == 0 {
		c.mu.Lock()
		c.recycle(r)
		c.mu.Unlock()
	}
}

// recycle makes r free. c.mu is held.
func (c *Conn) recycle(r *Request) {
	r.In, r.OutData, r.out = nil, nil, nil
	r.table, r.complete, r.started, r.visible, r.cancelled = false, false, false, false, false
	r.stored = r.stored[:0]
	c.live--
	if len(c.free) >= maxFreeLarge && cap(r.reply)+cap(r.stored) > largeRequest {
		r.reply, r.stored = nil, nil
	}
	if len(c.free) < maxFreeRequests {
		c.free = append(c.free, r)
	}
	if c.closing && c.live == 0 {
		c.changed.Broadcast()
	}
}

// send sends a message, now or by the queue.
func (c *Conn) send(m []byte) {
	if !c.trySend(m) {
		c.enqueue(m)
	}
}

// trySend says false when the message has to wait. When the client is gone it says true: whoever
// receives will notice.
func (c *Conn) trySend(m []byte) bool {
	if c.clogged.Load() {
		return false
	}
	return !isFull(c.sock.TrySend(m))
}

// isFull says that a send may succeed later.
func isFull(e syscall.Errno) bool {
	return e == syscall.EAGAIN || e == syscall.ENOBUFS || e == syscall.ENOMEM
}

// enqueue leaves a message to the writer.
func (c *Conn) enqueue(m []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.outq = append(c.outq, m)
	c.outBytes += len(m)
	c.clogged.Store(true)
	if !c.writing {
		c.writing = true
		go c.write()
	}
}

// write sends what is queued as the client reads.
func (c *Conn) write() {
	for {
		if !c.sock.WaitWritable(-1) {
			time.Sleep(time.Millisecond)
		}
		c.mu.Lock()
		if c.gone || len(c.outq) == 0 {
			c.endWrite()
			c.mu.Unlock()
			return
		}
		m := c.outq[0]
		c.mu.Unlock()
		e := c.sock.TrySend(m)
		if isFull(e) {
			if e != syscall.EAGAIN {
				time.Sleep(time.Millisecond)
			}
			continue
		}
		c.mu.Lock()
		if e != 0 {
			c.endWrite()
			c.mu.Unlock()
			return
		}
		c.outq[0] = nil
		c.outq = c.outq[1:]
		c.outBytes -= len(m)
		c.changed.Broadcast()
		c.mu.Unlock()
	}
}

// endWrite ends the writer; c.mu is held.
func (c *Conn) endWrite() {
	c.outq, c.outBytes, c.writing = nil, 0, false
	c.clogged.Store(false)
	c.changed.Broadcast()
}

// waitForClient stops reading while the client has too many replies to read.
func (c *Conn) waitForClient() {
	c.mu.Lock()
	for c.outBytes > c.srv.cfg.MaxBytes && !c.gone && !c.stopping.Load() {
		c.changed.Wait()
	}
	c.mu.Unlock()
}

// passBuffer makes the shared buffer if there is none, and sends it.
func (c *Conn) passBuffer(id uint64, m []byte) error {
	size, err := parseBuffer(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	opened, b := c.file != nil, c.buffer
	if b != nil {
		c.buffered++
	}
	n := c.buffered
	c.mu.Unlock()
	if !opened {
		return malformed("a buffer request before the file is open")
	}
	if n > maxBufferReplies {
		return malformed("%d requests for the shared buffer", n)
	}
	status := nt.STATUS_SUCCESS
	if b == nil {
		most := uint64(c.srv.cfg.MaxBuffer)
		if size == 0 || size > most {
			status = nt.STATUS_INVALID_PARAMETER
		} else if b, err = newSharedBuffer(size); err != nil {
			c.log("shared buffer for process %d: %v", c.peer.PID, err)
			status = nt.STATUS_INSUFFICIENT_RESOURCES
		} else {
			c.mu.Lock()
			c.buffer = b
			c.mu.Unlock()
		}
	}
	if status != nt.STATUS_SUCCESS {
		c.send(appendBufferReply(nil, id, status, 0))
		return nil
	}
	reply := appendBufferReply(nil, id, status, uint64(len(b.mem)))
	for {
		e := c.sock.trySendFD(reply, b.fd)
		if !isFull(e) {
			if e != 0 && e != syscall.EPIPE && e != syscall.ECONNRESET {
				return e
			}
			return nil
		}
		if e != syscall.EAGAIN {
			time.Sleep(time.Millisecond)
		}
		c.sock.WaitWritable(-1)
	}
}

// end is the leader's last act: because the client has closed, asked for it, or (err) sent what is
// no message. It gives the value that lead returns.
func (c *Conn) end(err error) bool {
	if err != nil {
		c.log("connection of process %d: %v", c.peer.PID, err)
		c.sock.TrySend(appendGoodbye(nil, nt.STATUS_INVALID_PARAMETER, err.Error()))
	}
	c.mu.Lock()
	c.closing, c.leading = true, false
	c.gone = !c.asked && !c.stopping.Load()
	busy, asked, stopping := c.busy, c.asked, c.stopping.Load()
	queue := c.queue
	c.queue = nil
	var started []*Request
	if busy || !asked {
		for _, r := range c.pending {
			switch {
			case !r.started:
			case !r.visible:
				r.cancelled = true
			default:
				r.refs.Add(1)
				started = append(started, r)
			}
		}
	}
	if c.file == nil {
		close(c.openGone)
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if !asked && !stopping {
		c.sock.Shutdown() // a writer that waits for a client who does not read
	}
	for _, r := range queue {
		c.unstarted(r)
	}
	for _, r := range started {
		c.file.Cancel(r)
		c.drop(r)
	}
	if !busy {
		c.finish(asked)
	}
	return true
}

// finish closes the File and the connection, when nothing is being started any more.
func (c *Conn) finish(asked bool) {
	c.mu.Lock()
	c.closing = true
	if !c.busy {
		c.leading = false // that was the caller
	}
	file := c.file
	c.mu.Unlock()
	if file != nil {
		reason := CloseGone
		if asked {
			reason = CloseAsked
		}
		file.Close(reason)
	}
	c.mu.Lock()
	for c.live > 0 {
		c.changed.Wait()
	}
	text, bye, stopping := c.byeText, c.bye, c.stopping.Load()
	c.mu.Unlock()
	if asked {
		m := make([]byte, ReplySize)
		r := ReplyHeader{ID: c.closeID}
		r.put(m)
		c.send(m)
	}
	if stopping {
		c.send(appendGoodbye(nil, bye, text))
		defer time.AfterFunc(farewellPatience, c.giveUp).Stop()
	} else if !asked {
		c.sock.Shutdown() // another goroutine may lead
	}
	c.mu.Lock()
	for c.writing || c.leading {
		c.changed.Wait()
	}
	c.dead = true
	if c.parked {
		c.parked = false
		c.wake <- struct{}{}
	}
	c.mu.Unlock()
	c.srv.remove(c)
	c.drainSocket()
	c.sock.Close()
	if c.buffer != nil {
		c.buffer.close()
	}
}

// drainSocket throws away what the client has sent and nobody will read: a close with messages left
// would destroy what we have sent to it (ECONNRESET).
func (c *Conn) drainSocket() {
	var b [1]byte
	for range 1024 {
		if n, e := c.sock.TryRecv(b[:]); e != 0 || n == 0 {
			return
		}
	}
}

// stop makes the connection end: nothing more is received, what is pending is cancelled, and the
// client gets a goodbye.
func (c *Conn) stop(status nt.Status, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.stopping.Load() {
		return
	}
	c.bye, c.byeText = status, text
	c.stopping.Store(true)
	c.changed.Broadcast()
	if c.closing {
		c.sock.Shutdown()
	} else {
		_ = unix.Shutdown(int(c.sock), unix.SHUT_RD)
	}
}

// giveUp ends a connection whose client does not read the last messages.
func (c *Conn) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dead {
		c.sock.Shutdown()
	}
}

func (c *Conn) log(format string, args ...any) {
	if f := c.srv.cfg.Logf; f != nil {
		f(format, args...)
	}
}
