package service

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
)

const patience = 30 * time.Second

// noSide is a host in which nothing happens, but that loads take as long as a test wants.
type noSide struct {
	load func(service string) error
	ends sync.WaitGroup
}

func (s *noSide) Load(service, _ string, _ []byte) error {
	if s.load == nil {
		return nil
	}
	return s.load(service)
}
func (s *noSide) Unload(string) error       { return nil }
func (s *noSide) Mark(string) (bool, error) { return true, nil }
func (s *noSide) Keep(string) error         { return nil }
func (s *noSide) End() error                { s.ends.Done(); return nil }
func (s *noSide) Follow(conn net.Conn)      { _ = conn.Close() }

// managed is a host's Control with a manager's end of a connection.
type managed struct {
	*Control
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	next uint64
}

func newManaged(t *testing.T, side *noSide) *managed {
	c := &Control{side: side, services: map[string]*hosted{}, conns: map[*controlConn]struct{}{}}
	m := &managed{Control: c, t: t}
	m.connect()
	return m
}

func (m *managed) connect() {
	host, manager := net.Pipe()
	m.conn, m.in = manager, bufio.NewReader(manager)
	m.t.Cleanup(func() { _ = manager.Close() })
	before := len(m.conns)
	go m.serve(&controlConn{Conn: host})
	require.Eventually(m.t, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.conns) > before
	}, patience, time.Millisecond)
}

func (m *managed) send(r hostRequest) {
	b, err := json.Marshal(&r)
	require.NoError(m.t, err)
	_, err = m.conn.Write(append(b, '\n'))
	require.NoError(m.t, err)
}

func (m *managed) receive() (r hostReply) {
	m.t.Helper()
	require.NoError(m.t, m.conn.SetReadDeadline(time.Now().Add(patience)))
	line, err := m.in.ReadBytes('\n')
	require.NoError(m.t, err)
	require.NoError(m.t, json.Unmarshal(line, &r))
	return r
}

// answers has the manager say that it answers.
func (m *managed) answers() {
	m.next++
	m.send(hostRequest{ID: m.next, Do: "hello", Answers: true})
	assert.Equal(m.t, m.next, m.receive().ID)
}

// later runs an up-call and gives its status.
func later(f func() nt.Status) chan nt.Status {
	ch := make(chan nt.Status, 1)
	go func() { ch <- f() }()
	return ch
}

func (m *managed) within(ch chan nt.Status) nt.Status {
	m.t.Helper()
	select {
	case status := <-ch:
		return status
	case <-time.After(patience):
		m.t.Fatal("no status")
		return 0
	}
}

func TestAnUpCallIsAnswered(t *testing.T) {
	m := newManaged(t, &noSide{})
	m.answers()
	for _, c := range []struct {
		fact   string
		answer hostRequest
		want   nt.Status
	}{
		{"success", hostRequest{}, nt.STATUS_SUCCESS},
		{"a code", hostRequest{Code: AlreadyRunning}, nt.STATUS_IMAGE_ALREADY_LOADED},
		{"a status behind a code", hostRequest{Code: GenFailure, Status: 0xC0000182},
			nt.STATUS_DEVICE_CONFIGURATION_ERROR},
		{"a success behind a code is none", hostRequest{Code: GenFailure, Status: 0x103},
			nt.STATUS_UNSUCCESSFUL},
		{"a code of a later build", hostRequest{Code: 4242}, nt.STATUS_UNSUCCESSFUL},
	} {
		t.Run(c.fact, func(t *testing.T) {
			ch := later(func() nt.Status { return m.LoadService("Other") })
			r := m.receive()
			assert.Equal(t, askStart, r.Ask)
			assert.Equal(t, "Other", r.Service)
			assert.GreaterOrEqual(t, r.ID, uint64(askNumbers), "a manager's requests have others")
			m.send(hostRequest{ID: r.ID + 1, Do: doAnswer}) // of nothing that was asked
			c.answer.ID, c.answer.Do = r.ID, doAnswer
			m.send(c.answer)
			assert.Equal(t, c.want, m.within(ch))
		})
	}
}

func TestAManagerOfAnOlderBuildIsNotAsked(t *testing.T) {
	m := newManaged(t, &noSide{})
	m.send(hostRequest{ID: 1, Do: "hello"})
	m.receive()
	assert.Equal(t, nt.STATUS_NOT_SUPPORTED, m.within(later(func() nt.Status {
		return m.LoadService("Other")
	})))
}

func TestAManagerThatSaysALittleLaterThatItAnswersIsAsked(t *testing.T) {
	m := newManaged(t, &noSide{})
	ch := later(func() nt.Status { return m.UnloadService("Other") })
	m.send(hostRequest{ID: 1, Do: "hello", Answers: true})
	r := m.receive()
	if other := m.receive(); r.Ask == "" { // they come in any order
		r = other
	}
	m.send(hostRequest{ID: r.ID, Do: doAnswer, Code: AccessDenied})
	assert.Equal(t, nt.STATUS_ACCESS_DENIED, m.within(ch))
}

func TestUpCallsEndWithTheirManager(t *testing.T) {
	m := newManaged(t, &noSide{})
	m.answers()
	ch := later(func() nt.Status { return m.LoadService("Other") })
	m.receive()
	old := m.conn
	m.connect()
	m.answers()
	require.NoError(t, old.Close())
	assert.Equal(t, nt.STATUS_PORT_DISCONNECTED, m.within(ch))
	ch = later(func() nt.Status { return m.LoadService("Other") })
	r := m.receive()
	m.send(hostRequest{ID: r.ID, Do: doAnswer})
	assert.Equal(t, nt.STATUS_SUCCESS, m.within(ch), "the next one is asked")
	require.NoError(t, m.conn.Close())
	require.Eventually(t, func() bool {
		return m.within(later(func() nt.Status { return m.LoadService("O") })) ==
			nt.STATUS_PORT_DISCONNECTED
	}, patience, time.Millisecond)
}

func TestAHostThatEndsAsksNothing(t *testing.T) {
	side := &noSide{}
	side.ends.Add(1)
	m := newManaged(t, side)
	m.answers()
	m.send(hostRequest{ID: 9, Do: "start", Service: "Own"})
	require.Equal(t, []string{"Own"}, m.receive().Services)
	own := later(func() nt.Status { return m.UnloadService("OWN") })
	m.receive()
	other := later(func() nt.Status { return m.UnloadService("Other") })
	m.receive()
	m.send(hostRequest{ID: 10, Do: "stop", Service: "own"})
	assert.EqualValues(t, 10, m.receive().ID)
	side.ends.Wait()
	assert.Equal(t, nt.STATUS_SUCCESS, m.within(own), "it is unloaded")
	assert.Equal(t, nt.STATUS_SHUTDOWN_IN_PROGRESS, m.within(other))
	assert.Equal(t, nt.STATUS_SHUTDOWN_IN_PROGRESS, m.LoadService("Third"))
}

func TestUpCallsAreBounded(t *testing.T) {
	m := newManaged(t, &noSide{})
	m.answers()
	var all []chan nt.Status
	for range maxAsks {
		all = append(all, later(func() nt.Status { return m.LoadService("Other") }))
		m.receive()
	}
	assert.Equal(t, nt.STATUS_INSUFFICIENT_RESOURCES, m.LoadService("Other"))
	m.EndAsks()
	for _, ch := range all {
		assert.Equal(t, nt.STATUS_SHUTDOWN_IN_PROGRESS, m.within(ch))
	}
}

func TestWhatAnUpCallWaitsForIsLoadedMeanwhile(t *testing.T) {
	side := &noSide{}
	m := newManaged(t, side)
	m.answers()
	inner := make(chan nt.Status, 1)
	side.load = func(service string) error {
		if service == "Outer" {
			inner <- m.LoadService("Inner")
		}
		return nil
	}
	m.send(hostRequest{ID: 100, Do: "start", Service: "Outer"})
	ask := m.receive()
	require.Equal(t, askStart, ask.Ask)
	m.send(hostRequest{ID: 101, Do: "start", Service: "Inner"})
	r := m.receive()
	require.EqualValues(t, 101, r.ID)
	assert.Equal(t, []string{"Inner"}, r.Services)
	m.send(hostRequest{ID: ask.ID, Do: doAnswer})
	assert.Equal(t, nt.STATUS_SUCCESS, m.within(inner))
	r = m.receive()
	require.EqualValues(t, 100, r.ID)
	assert.Equal(t, []string{"Inner", "Outer"}, r.Services)
}

func TestAMarkedServiceIsToldOfWhenItGoes(t *testing.T) {
	m := newManaged(t, &noSide{})
	m.answers()
	m.send(hostRequest{ID: 10, Do: "start", Service: "Own"})
	m.receive()
	m.Unloaded("Own")
	m.send(hostRequest{ID: 11, Do: "stop", Service: "own", Stay: true, Mark: true})
	r := m.receive()
	assert.Equal(t, []string{"Own"}, r.Services, "that it had gone was told before it was marked")
	assert.Equal(t, []string{"Own"}, r.Marked)
	m.send(hostRequest{ID: 12, Do: "keep", Service: "own"})
	assert.Empty(t, m.receive().Marked)
	m.send(hostRequest{ID: 13, Do: "stop", Service: "own", Stay: true, Mark: true})
	assert.Equal(t, []string{"Own"}, m.receive().Marked)
	go m.Unloaded("own")
	r = m.receive()
	assert.Equal(t, askUnloaded, r.Ask)
	assert.Equal(t, "Own", r.Service)
	assert.Empty(t, r.Services)
}

func TestTheNextManagerIsToldOfAMarkedServiceThatHasGone(t *testing.T) {
	m := newManaged(t, &noSide{})
	m.send(hostRequest{ID: 10, Do: "start", Service: "Own"})
	m.receive()
	m.send(hostRequest{ID: 11, Do: "stop", Service: "own", Stay: true, Mark: true})
	assert.Equal(t, []string{"Own"}, m.receive().Marked)
	m.Unloaded("Own") // the manager has found it, and has not said yet that it answers
	m.send(hostRequest{ID: 12, Do: "hello", Answers: true})
	var asks []string
	for range 2 {
		asks = append(asks, m.receive().Ask)
	}
	assert.ElementsMatch(t, []string{"", askUnloaded}, asks)
}

func TestEachStatusIsThatOfACodeAndOfNothingElse(t *testing.T) {
	for code := range codeTexts {
		status := statusFor(code, 0)
		assert.Equal(t, code == Success, status.Success(), code.Error())
	}
	err := error(&Error{GenFailure, "x"})
	assert.Zero(t, statusIn(err))
	err = StatusError(nt.STATUS_DEVICE_CONFIGURATION_ERROR, "x")
	assert.EqualValues(t, nt.STATUS_DEVICE_CONFIGURATION_ERROR, statusIn(errors.Join(err)))
	code, detail := CodeOf(err)
	assert.Equal(t, GenFailure, code)
	assert.Equal(t, "x", detail)
}

func TestWhoWaitsInACircle(t *testing.T) {
	u, v := &unit{key: "u"}, &unit{key: "v"}
	a, b := &runtime{name: "a"}, &runtime{name: "b"}
	top, fromU, fromV := &operation{in: u}, &operation{from: u}, &operation{from: v}
	m := &Manager{asked: operations{fromU: {}, fromV: {}}}
	a.holder = top
	fromU.wants = a
	assert.True(t, m.circle(fromU), "a is being started in u, which asks for what waits for a")
	fromU.wants = nil
	fromV.wants = a
	assert.False(t, m.circle(fromV), "u may go on")
	b.holder = fromU
	fromU.in = v
	assert.True(t, m.circle(fromV), "u waits for what is being started in v, and v for u")
	fromU.in, fromU.wants = nil, b
	assert.True(t, m.circle(fromU), "what it has itself")
}

func TestUpCallsArePaced(t *testing.T) {
	var p pace
	now := time.Now()
	for i := range askBurst {
		require.Zero(t, p.delay(now), "%d", i)
	}
	assert.Equal(t, askEvery, p.delay(now))
	assert.Equal(t, 2*askEvery, p.delay(now))
	assert.Equal(t, askEvery, p.delay(now.Add(2*askEvery)))
	assert.Zero(t, p.delay(now.Add(time.Hour)))
}

func TestWhatIsAnImage(t *testing.T) {
	image := make([]byte, 0x100)
	copy(image, "MZ")
	image[0x3c] = 0xfc
	copy(image[0xfc:], "PE\x00\x00")
	assert.True(t, isImage(image))
	assert.False(t, isImage(image[:0xff]))
	assert.False(t, isImage([]byte("MZ")))
	image[0x3f] = 0xff
	assert.False(t, isImage(image))
	assert.False(t, isImage([]byte("root:x:0:0:root:/root:/bin/bash\n"+
		"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n")))
}
