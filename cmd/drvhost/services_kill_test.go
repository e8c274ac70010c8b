package main

// The service manager, killed at each step of each thing that it does, alone and with its hosts.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/nt"
)

// deed is something that a manager does, and dies of.
type deed struct {
	fact   string
	before func(s *stepped)
	do     func(s *stepped) error
	// after looks at what the next manager has made of it; err is what do has given, and both says
	// that the hosts were killed too.
	after func(s *stepped, err error, both bool)
	steps []string // at which it is killed, among others
	alone bool     // there are no hosts to be killed too
}

// demand makes a service that can be started.
func demand(s *stepped) {
	s.mustCreate(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: s.echo(),
		Failure: again})
}

// started makes one that runs.
func started(s *stepped) {
	demand(s)
	s.must(service.DoStart, "Echo")
}

// auto makes one that was started by itself.
func auto(s *stepped) {
	s.mustCreate(service.Config{Name: "Echo", Start: service.AutoStart, ImagePath: s.echo(),
		Failure: again})
}

// is gives a deed that asks the manager something about Echo.
func is(what string) func(s *stepped) error {
	return func(s *stepped) error { return s.do(what, "Echo") }
}

const importKey = `\Registry\Machine\Software\Import`

// regImport is a .reg file of several keys and values.
const regImport = "Windows Registry Editor Version 5.00\n\n" +
	"[HKEY_LOCAL_MACHINE\\Software\\Import]\n\"a\"=dword:00000001\n\"b\"=\"text\"\n" +
	"[HKEY_LOCAL_MACHINE\\Software\\Import\\Below]\n\"c\"=hex:01,02\n"

// imports runs drvhost reg import, which may be killed too.
func (s *stepped) imports() error {
	cmd := exec.Command(s.bin, "reg", "import", "-")
	cmd.Env = append(s.environ(), "DRVHOST_TEST_STEPS="+s.dir)
	cmd.Stdin = strings.NewReader(regImport)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// imported counts what of it is there.
func (s *stepped) imported() (n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	mirror, err := registry.Dial(ctx, filepath.Join(s.state, service.RegistrySocket))
	require.NoError(s.t, err)
	defer mirror.Close()
	for _, v := range [][2]string{{importKey, "a"}, {importKey, "b"}, {importKey + `\Below`, "c"}} {
		if k, status := mirror.Registry().Open(nil, v[0], false); status.Success() {
			if _, status := k.Value(v[1]); status.Success() {
				n++
			}
		}
	}
	if k, status := mirror.Registry().Open(nil, importKey, true); status.Success() {
		require.Equal(s.t, nt.STATUS_SUCCESS, k.DeleteTree())
	}
	return n
}

func deeds() []deed {
	has := func(s *stepped, name string) bool {
		_, ok := s.status(name)
		return ok
	}
	return []deed{
		{fact: "create", before: func(*stepped) {}, do: func(s *stepped) error {
			return s.create(service.Config{Name: "Echo", Start: service.DemandStart, ImagePath: s.echo(),
				DisplayName: "An echo", Failure: again})
		}, after: func(s *stepped, err error, _ bool) {
			if has(s, "Echo") {
				assert.Equal(s.t, service.Config{Name: "Echo", Type: service.KernelDriver,
					Start: service.DemandStart, ImagePath: s.echo(), DisplayName: "An echo",
					Failure: again}, s.config("Echo"), "it is whole")
				s.rests("Echo")
			} else {
				require.Error(s.t, err)
			}
		}, steps: []string{"create", "commit", "committed", "created"}, alone: true},

		{fact: "create with an automatic start", before: func(*stepped) {},
			do: func(s *stepped) error {
				return s.create(service.Config{Name: "Echo", Start: service.AutoStart, ImagePath: s.echo(),
					Failure: again})
			}, after: func(s *stepped, err error, _ bool) {
				if has(s, "Echo") {
					s.serves("Echo")
				} else {
					require.Error(s.t, err)
				}
			}, steps: []string{"create", "created", "wished", "locked", "listening", "spawned", "loaded",
				"state", "state written"}},

		{fact: "config", before: demand, do: func(s *stepped) error {
			_, err := s.ask(service.Request{Do: service.DoChange, Name: "Echo",
				Config: &service.Config{DisplayName: "New", Group: "Base", Tag: 7},
				Fields: []string{"display_name", "group", "tag"}})
			return err
		}, after: func(s *stepped, err error, _ bool) {
			c := s.config("Echo")
			got := fmt.Sprint(c.DisplayName, c.Group, c.Tag)
			if err == nil {
				require.Equal(s.t, "NewBase7", got)
			} else {
				require.Contains(s.t, []string{"0", "NewBase7"}, got)
			}
		}, steps: []string{"commit", "committed"}, alone: true},

		{fact: "failure", before: started, do: func(s *stepped) error {
			_, err := s.ask(service.Request{Do: service.DoChange, Name: "Echo",
				Config: &service.Config{Failure: service.FailureActions{ResetPeriod: 9,
					Actions: []service.Action{{Type: service.ActionRestart, Delay: 2}}}},
				Fields: []string{"failure"}})
			return err
		}, after: func(s *stepped, err error, _ bool) {
			f := s.config("Echo").Failure
			if err == nil {
				require.EqualValues(s.t, 9, f.ResetPeriod)
			}
			require.EqualValues(s.t, map[bool]uint32{false: 1, true: 2}[f.ResetPeriod == 9],
				f.Actions[0].Delay)
			s.serves("Echo")
		}, steps: []string{"commit", "committed"}, alone: true},

		{fact: "delete", before: demand, do: is(service.DoDelete),
			after: func(s *stepped, err error, _ bool) {
				if has(s, "Echo") {
					require.Error(s.t, err)
					require.False(s.t, s.config("Echo").Deleted, "the next manager ends what was begun")
				}
			}, steps: []string{"change", "changed", "marked for deletion", "remove", "removed"},
			alone: true},

		{fact: "delete of one that runs", before: started, do: is(service.DoDelete),
			after: func(s *stepped, err error, _ bool) {
				if err != nil {
					return
				}
				r, err := s.ask(service.Request{Do: service.DoConfig, Name: "Echo"})
				if !errors.Is(err, service.DoesNotExist) { // its host has died
					require.NoError(s.t, err)
					require.True(s.t, r.Config.Deleted)
				}
			}, steps: []string{"change", "changed", "marked for deletion"}},

		{fact: "stop of one that is deleted", before: func(s *stepped) {
			started(s)
			s.must(service.DoDelete, "Echo")
		}, do: is(service.DoStop), after: func(s *stepped, err error, _ bool) {
			if err == nil {
				require.False(s.t, has(s, "Echo"))
			}
		}, steps: []string{"stop wished", "host ended", "stopped", "remove", "removed"}},

		{fact: "start", before: demand, do: is(service.DoStart),
			after: func(s *stepped, err error, _ bool) {
				// Before the wish is written, nothing has begun; after that the next manager goes on.
				if st, _ := s.status("Echo"); err != nil && s.at == "state" &&
					st.State == service.Stopped && !st.Restarting {
					s.must(service.DoStart, "Echo")
				}
				s.serves("Echo")
			}, steps: []string{"wished", "locked", "listening", "spawned", "loaded"}},

		{fact: "stop", before: started, do: is(service.DoStop),
			after: func(s *stepped, err error, _ bool) {
				if st, _ := s.status("Echo"); err == nil || st.State == service.Stopped && !st.Restarting {
					s.rests("Echo")
				} else {
					s.serves("Echo")
				}
			}, steps: []string{"stop wished", "host ended", "stopped"}},

		{fact: "restart after a failure", before: started, do: func(s *stepped) error {
			st, _ := s.status("Echo")
			require.NoError(s.t, syscall.Kill(st.PID, syscall.SIGKILL))
			return s.alive("it runs again", func() bool { return s.runs("Echo", st.PID) })
		}, after: func(s *stepped, _ error, _ bool) { s.serves("Echo") },
			steps: []string{"host ended", "restart", "wished", "locked", "listening", "spawned", "loaded"}},

		{fact: "find a host", before: func(s *stepped) {
			auto(s)
			st, _ := s.status("Echo")
			s.pid = st.PID
			s.kill()
		}, do: func(s *stepped) error {
			s.begin()
			return s.alive("it is found", func() bool { return s.runs("Echo", 0) })
		}, after: func(s *stepped, _ error, both bool) {
			now := s.serves("Echo")
			require.Equal(s.t, !both, now == s.pid, "it is the same host, if that lives")
		}, steps: []string{"adopt", "adopted"}},

		{fact: "start of the machine", before: func(s *stepped) {
			auto(s)
			s.must(service.DoStop, "Echo")
			s.reboot()
		}, do: func(s *stepped) error {
			s.begin()
			return s.alive("it runs", func() bool { return s.runs("Echo", 0) })
		}, after: func(s *stepped, _ error, _ bool) { s.serves("Echo") },
			steps: []string{"wished", "locked", "listening", "spawned", "loaded"}},

		{fact: "a second service in a host", before: func(s *stepped) {
			s.mustCreate(service.Config{Name: "Echo", HostGroup: "both", ImagePath: s.echo(),
				Start: service.DemandStart, Failure: again})
			s.mustCreate(service.Config{Name: "Lib", HostGroup: "both", Start: service.DemandStart,
				ImagePath: fixture(s.t, "exportlib"), Failure: again})
			s.must(service.DoStart, "Echo")
		}, do: func(s *stepped) error {
			err := s.do(service.DoStart, "Lib")
			if err == nil {
				err = s.do(service.DoStop, "Echo")
			}
			return err
		}, after: func(s *stepped, err error, _ bool) {
			if err == nil {
				s.becomes("Echo", service.Stopped)
				s.hosted("Lib")
				return
			}
			s.eventually("what runs has one host", func() bool {
				var hosts []int
				for _, name := range []string{"Echo", "Lib"} {
					st, _ := s.status(name)
					switch {
					case st.State == service.Running:
						hosts = []int{st.PID}
					case st.State != service.Stopped || st.Restarting:
						return false
					}
				}
				return slices.Equal(s.hosts(), hosts)
			})
		}, steps: []string{"wished", "loaded", "stop wished", "stopped"}},

		{fact: "registry import", before: func(*stepped) {}, do: (*stepped).imports,
			after: func(s *stepped, err error, _ bool) {
				n := s.imported()
				require.Contains(s.t, []int{0, 3}, n, "all of it, or nothing")
				if err == nil {
					require.Equal(s.t, 3, n)
				}
			}, steps: []string{"commit", "committed"}, alone: true},
	}
}

// fate is what happens at a step of the manager.
type fate struct {
	hold           bool // it waits there, until its hosts are dead
	manager, hosts bool // which are killed
}

// TestADeathAtAnyStepOfTheManagerLosesNothingAndStartsNothingTwice kills the manager at each step of
// what it does, and its hosts at each, and both.
func TestADeathAtAnyStepOfTheManagerLosesNothingAndStartsNothingTwice(t *testing.T) {
	t.Parallel()
	for who, f := range map[string]fate{"the manager dies": {manager: true},
		"its hosts die": {hold: true, hosts: true},
		"all die":       {hold: true, manager: true, hosts: true}} {
		for _, d := range deeds() {
			if f.hosts && d.alone {
				continue
			}
			t.Run(who+" at "+d.fact, func(t *testing.T) {
				t.Parallel()
				s := newStepped(t)
				s.begin()
				var died []string
				for n := 1; s.meets(d, f, strconv.Itoa(n), &died); n++ {
				}
				for _, step := range d.steps { // those of two threads come in any order
					if !slices.Contains(died, step) {
						require.True(t, s.meets(d, f, step, &died), step)
					}
				}
				s.swept()
			})
		}
	}
}

// meets has a deed done that meets its fate at a step; false if there is no such step.
func (s *stepped) meets(d deed, f fate, at string, died *[]string) bool {
	s.t.Helper()
	how := "kill"
	if f.hold {
		how = "hold"
	}
	d.before(s)
	s.arm(how, "manager", at)
	done := make(chan error, 1)
	go func() { done <- d.do(s) }()
	var err error
	ended := false
	s.eventually("it is done, or comes to the step", func() bool {
		select {
		case err = <-done:
			ended = true
			return true
		default:
			return f.hold && s.told("manager")
		}
	})
	if s.disarmed(how, "manager") { // which is so only when it is done
		require.NoError(s.t, err, d.fact)
		d.after(s, nil, false)
		s.clean()
		return false
	}
	s.at = s.diedAt("manager")
	*died = append(*died, s.at)
	switch {
	case f.hold && f.manager:
		s.killAll()
	case f.hold:
		s.killNow(s.hosts())
		require.NoError(s.t, os.Remove(filepath.Join(s.dir, "died.manager")))
	}
	if !ended {
		err = <-done
	}
	if f.manager {
		<-s.ended
		require.Equal(s.t, "signal: killed", s.cmd.ProcessState.String())
		s.begin()
	} else if err != nil {
		require.ErrorIs(s.t, err, service.ProcessAborted)
	}
	d.after(s, err, f.hosts)
	s.clean()
	return true
}
