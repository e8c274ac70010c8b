package main

// The hosts of services, killed at each step of what they do, with and without a failure action.

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/fixtures"
)

// hostDeed is something that a host takes part in, and dies of.
type hostDeed struct {
	fact   string
	flags  []string // of the daemon
	before func(s *stepped, f service.FailureActions)
	do     func(s *stepped) error
	// after looks at what has become of it; err is what do has given, and restarts says that there is
	// a failure action.
	after func(s *stepped, err error, restarts bool)
	steps []string // at which it is killed, all of them
	once  bool     // only the first one
}

func hostDeeds() []hostDeed {
	echo := func(s *stepped, f service.FailureActions) {
		s.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: s.echo(),
			Failure: f})
	}
	running := func(s *stepped, f service.FailureActions) {
		echo(s, f)
		s.must(service.DoStart, "Echo")
	}
	// failed is what becomes of a service whose host has died by itself.
	failed := func(s *stepped, _ error, restarts bool) {
		if restarts {
			s.serves("Echo")
		} else {
			assert.Equal(s.t, service.ProcessAborted, s.rests("Echo").ExitCode)
		}
	}
	// dead waits until the host has died.
	dead := func(s *stepped) error {
		return s.alive("the host dies", func() bool { return s.told("host") })
	}
	return []hostDeed{
		{fact: "start", before: echo, do: is(service.DoStart),
			after: func(s *stepped, err error, restarts bool) {
				if err != nil {
					require.ErrorIs(s.t, err, service.ProcessAborted)
					failed(s, err, restarts)
				}
				if err != nil && !restarts {
					s.must(service.DoStart, "Echo")
				}
				s.serves("Echo")
			}, steps: []string{"host: started", "host: mirrored", "host: listening",
				"host: sandboxed", "host: loading", "host: loaded"}},

		{fact: "start of a second service", before: func(s *stepped, f service.FailureActions) {
			s.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: s.echo(),
				HostGroup: "both", Failure: f})
			s.mustCreate(service.Config{Name: "Lib", Start: service.DemandStart, HostGroup: "both",
				ImagePath: fixture(s.t, "exportlib")})
			s.must(service.DoStart, "Echo")
		}, do: func(s *stepped) error { return s.do(service.DoStart, "Lib") },
			after: func(s *stepped, err error, restarts bool) {
				lib, _ := s.status("Lib")
				if err == nil {
					require.Equal(s.t, service.Running, lib.State)
				} else {
					require.Equal(s.t, service.ProcessAborted, lib.ExitCode)
					failed(s, err, restarts)
				}
			}, steps: []string{"host: loading", "host: loaded"}},

		{fact: "stop", before: running, do: is(service.DoStop),
			after: func(s *stepped, err error, _ bool) {
				require.NoError(s.t, err, "it is stopped, one way or the other")
				assert.Equal(s.t, service.Success, s.rests("Echo").ExitCode)
			}, steps: []string{"host: ending", "host: ended"}},

		{fact: "stop of one of two", before: func(s *stepped, f service.FailureActions) {
			s.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: s.echo(),
				HostGroup: "both", Failure: f})
			s.mustCreate(service.Config{Name: "Lib", Start: service.DemandStart, HostGroup: "both",
				ImagePath: fixture(s.t, "exportlib"), Failure: f})
			s.must(service.DoStart, "Echo")
			s.must(service.DoStart, "Lib")
		}, do: func(s *stepped) error { return s.do(service.DoStop, "Lib") },
			after: func(s *stepped, err error, restarts bool) {
				require.NoError(s.t, err)
				s.becomes("Lib", service.Stopped)
				if s.told("host") {
					failed(s, err, restarts)
				} else {
					s.serves("Echo")
				}
			}, steps: []string{"host: unloading", "host: unloaded"}},

		{fact: "being found", before: func(s *stepped, f service.FailureActions) {
			running(s, f)
			s.kill()
		}, do: func(s *stepped) error {
			s.begin()
			return nil
		}, after: func(s *stepped, err error, restarts bool) {
			if s.told("host") {
				failed(s, err, restarts)
			} else {
				s.serves("Echo")
			}
		}, steps: []string{"host: hello"}},

		{fact: "heartbeat", flags: []string{"--heartbeat", "500ms"}, before: running, do: dead,
			after: failed, steps: []string{"host: hello"}, once: true},

		{fact: "crash", before: func(s *stepped, f service.FailureActions) {
			s.mustCreate(service.Config{Name: "Faults", Start: service.DemandStart,
				ImagePath: fixture(s.t, "faults"), Failure: f})
			s.must(service.DoStart, "Faults")
		}, do: func(s *stepped) error {
			st, _ := s.status("Faults")
			s.pid = st.PID
			f, err := s.open("Faults")
			require.NoError(s.t, err)
			defer f.Close()
			_, err = f.DeviceIoControl(s.t.Context(), fixtures.IOCTL_FAULTS_WRITE_NULL, nil, nil)
			require.Error(s.t, err)
			s.eventually("its host ends", func() bool { return !slices.Contains(s.hosts(), st.PID) })
			return nil
		}, after: func(s *stepped, _ error, restarts bool) {
			if restarts {
				s.eventually("it runs again", func() bool { return s.runs("Faults", s.pid) })
				f, err := s.open("Faults")
				require.NoError(s.t, err)
				require.NoError(s.t, f.Close())
			} else {
				assert.Equal(s.t, service.ProcessAborted, s.becomes("Faults", service.Stopped).ExitCode)
				require.Empty(s.t, s.hosts())
			}
		}, steps: []string{"host: crashed", "host: ending", "host: ended"}},
	}
}

func TestAHostThatIsKilledAtAnyStepOfAnything(t *testing.T) {
	t.Parallel()
	for _, d := range hostDeeds() {
		for _, restarts := range []bool{false, true} {
			name, f := d.fact, service.FailureActions{}
			if restarts {
				name, f = d.fact+", with a failure action", again
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStepped(t)
				s.flags = d.flags
				s.begin()
				var died []string
				for n := 1; n == 1 || !d.once; n++ {
					d.before(s, f)
					s.arm("kill", "host", strconv.Itoa(n))
					err := d.do(s)
					lives := s.disarmed("kill", "host")
					if lives {
						require.NoError(t, err)
					} else {
						died = append(died, s.diedAt("host"))
						s.gone("host")
					}
					d.after(s, err, restarts)
					s.clean()
					if lives {
						break
					}
				}
				for _, step := range d.steps {
					assert.Contains(t, died, step)
				}
				s.swept()
			})
		}
	}
}

// A start or a stop whose host waits, until both it and the manager are killed, is ended by the
// next manager.
func TestAHostAndItsManagerThatAreKilledAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		do    string
		steps []string
	}{
		{service.DoStart, []string{"host: started", "host: mirrored", "host: listening",
			"host: sandboxed", "host: loading", "host: loaded"}},
		{service.DoStop, []string{"host: ending", "host: ended"}},
	} {
		t.Run(c.do, func(t *testing.T) {
			t.Parallel()
			s := newStepped(t)
			s.begin()
			for _, step := range c.steps {
				demand(s)
				if c.do == service.DoStop {
					s.must(service.DoStart, "Echo")
				}
				s.arm("hold", "host", step)
				done := make(chan error, 1)
				go func() { done <- s.do(c.do, "Echo") }()
				require.Equal(t, step, s.diedAt("host"))
				s.killAll()
				require.Error(t, <-done)
				s.begin()
				if c.do == service.DoStart {
					s.serves("Echo")
				} else {
					s.rests("Echo")
				}
				s.clean()
			}
			s.swept()
		})
	}
}
