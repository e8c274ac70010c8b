package drivertest

// Recorded sessions as tests.

import (
	"strings"
	"testing"
	"time"

	"github.com/drvhost/drvhost/driverhost/replay"
	"github.com/drvhost/drvhost/irp/trace"
)

// ReplayLimit sets how long an event of a session may take; without it replay.DefaultLimit counts.
func ReplayLimit(d time.Duration) Option { return func(c *config) { c.replayLimit = d } }

// Replay loads a driver, does a recorded session of I/O with it again, and fails the test where a
// result is not the recorded one. Drivers that the session needs besides come first, with commas in
// between: "lower.sys,filter.sys". At its end the host is checked as Load's is.
//
//	func TestSession(t *testing.T) { drivertest.Replay(t, "foo.sys", "session.irpl") }
func Replay(t testing.TB, files, session string, opts ...Option) *replay.Report {
	t.Helper()
	tr, err := trace.ReadFile(session)
	if err != nil {
		t.Fatalf("drivertest: %v", err)
	}
	h := New(t, opts...)
	for file := range strings.SplitSeq(files, ",") {
		LoadInto(t, h, strings.TrimSpace(file))
	}
	var c config
	for _, o := range opts {
		o(&c)
	}
	r := replay.Run(t.Context(), h, tr, replay.Options{Limit: c.replayLimit})
	if !r.Clean() {
		var b strings.Builder
		_, _ = r.WriteTo(&b)
		t.Error(b.String())
	}
	return r
}
