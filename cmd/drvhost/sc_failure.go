package main

// sc's commands about failures.

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/service"
)

// changed has a change made, and says so.
func (s *scRun) changed(c *service.Config, fields ...string) error {
	_, err := s.do(service.Request{Do: service.DoChange, Name: s.name, Config: c, Fields: fields})
	if err == nil {
		s.say("[SC] ChangeServiceConfig2 SUCCESS\n")
	}
	return err
}

func (s *scRun) failure() error {
	options, err := s.options()
	if err != nil {
		return err
	}
	c := &service.Config{}
	given := map[string]bool{}
	var fields []string
	for _, o := range options {
		key, value := o[0], o[1]
		field := map[string]string{"reset": "reset_period", "actions": "actions",
			"command": "command", "reboot": "reboot_message"}[key]
		switch key {
		case "reset":
			if c.Failure.ResetPeriod, err = scReset(value); err != nil {
				return err
			}
		case "actions":
			if c.Failure.Actions, err = scActions(value); err != nil {
				return err
			}
		case "command":
			c.Failure.Command = value
		case "reboot":
			c.Failure.RebootMessage = value
		default:
			return usage("sc failure: there is no option %s=", key)
		}
		if !given[key] {
			given[key], fields = true, append(fields, field)
		}
	}
	switch {
	case len(fields) == 0:
		return usage("sc failure: want reset=, actions=, command= or reboot=")
	case given["reset"] != given["actions"]:
		return usage("sc failure: The reset and actions options must be set simultaneously")
	}
	return s.changed(c, fields...)
}

// scReset reads seconds, or INFINITE.
func scReset(text string) (uint32, error) {
	if strings.EqualFold(text, "infinite") {
		return service.ResetInfinite, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, usage("sc failure: reset= %s: want seconds", text)
	}
	return uint32(n), nil
}

// scActions reads "restart/1000/run/5000/reboot/5000//0".
func scActions(text string) ([]service.Action, error) {
	actions := []service.Action{}
	if text == "" {
		return actions, nil
	}
	words := strings.Split(text, "/")
	if len(words)%2 != 0 {
		return nil, usage("sc failure: actions= %s: want ACTION/MILLISECONDS pairs", text)
	}
	for i := 0; i < len(words); i += 2 {
		kind, ok := scActionTypes[strings.ToLower(words[i])]
		if !ok {
			return nil, usage("sc failure: action %q: want restart, run, reboot or nothing", words[i])
		}
		delay, err := strconv.ParseUint(words[i+1], 10, 32)
		if err != nil {
			return nil, usage("sc failure: delay %q: want milliseconds", words[i+1])
		}
		actions = append(actions, service.Action{Type: kind, Delay: uint32(delay)})
	}
	return actions, nil
}

var scActionTypes = map[string]service.ActionType{"": service.ActionNone,
	"restart": service.ActionRestart, "run": service.ActionRun, "reboot": service.ActionReboot}

var scActionNames = map[service.ActionType]string{service.ActionNone: "NONE",
	service.ActionRestart: "RESTART", service.ActionRun: "RUN PROCESS",
	service.ActionReboot: "REBOOT"}

func (s *scRun) qfailure() error {
	c, err := s.configuration()
	if err != nil {
		return err
	}
	f := &c.Failure
	reset := strconv.FormatUint(uint64(f.ResetPeriod), 10)
	if f.ResetPeriod == service.ResetInfinite {
		reset = "INFINITE"
	}
	s.say("        RESET_PERIOD (in seconds)    : %s\n", reset)
	s.say("        REBOOT_MESSAGE               : %s\n", driverhost.Printable(f.RebootMessage))
	s.say("        COMMAND_LINE                 : %s\n", driverhost.Printable(f.Command))
	label := "FAILURE_ACTIONS              :"
	for _, a := range f.Actions {
		s.say("        %s %s -- Delay = %d milliseconds.\n", label, scActionNames[a.Type], a.Delay)
		label = "                              "
	}
	if f.Unapproved && s.format == formatText {
		fmt.Fprintln(s.err, "drvhost: the command was not set by `drvhost sc failure`, and is not run")
	}
	return nil
}

func (s *scRun) failureflag() error {
	c := &service.Config{}
	switch s.rest[0] {
	case "0":
	case "1":
		c.Failure.OnNonCrash = true
	default:
		return usage("sc failureflag: %s: want 0 or 1", s.rest[0])
	}
	return s.changed(c, "on_non_crash")
}

func (s *scRun) qfailureflag() error {
	c, err := s.configuration()
	if err == nil {
		s.say("        FAILURE_ACTIONS_ON_NONCRASH_FAILURES: %s\n",
			strings.ToUpper(strconv.FormatBool(c.Failure.OnNonCrash)))
	}
	return err
}
