package main

// sc: control of services, in the words of Windows' sc.exe.

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost/service"
)

const scHelp = `Sc speaks to the service manager (drvhost services) in the words of Windows' sc.exe:

  create NAME binPath= FILE [OPTION= VALUE]...     config NAME [OPTION= VALUE]...
  start NAME           stop NAME                   delete NAME
  query [NAME]         queryex [NAME]              qc NAME
  description NAME TEXT                            qdescription NAME
  failure NAME [reset= SECONDS] [actions= ACTION/MS[/ACTION/MS]...]
  qfailure NAME        enumdepend NAME

Options: type= kernel|filesys, start= boot|system|auto|demand|disabled, error=
normal|severe|critical|ignore, binPath= FILE, group= NAME, tag= yes|no, depend=
SERVICE/+GROUP (separated by /), displayName= NAME, and hostGroup= NAME, which sc.exe does
not have: services with the same one share a host process, as a stack of drivers must. The
value may follow its = at once or after a blank. An action is restart, or empty for none.

A failure prints sc.exe's message. The exit status is the error's number as far as Linux
can give it, its lowest eight bits, or 1 if these are 0: 36 for 1060, 32 for 1056, 49 for
1073. --format json has it whole: {"code", "text", "detail", "services", "config"}.`

func (a *app) scCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sc COMMAND [NAME] [OPTION= VALUE]...",
		Short: "Register, start, stop and query driver services, as sc.exe does",
		Long:  scHelp,
		Example: `  drvhost sc create Echo binPath= ./echo.sys type= kernel start= auto
  drvhost sc failure Echo reset= 60 actions= restart/100
  drvhost sc query Echo`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.sc(args) },
	}
}

// scCommands are the commands: how many words they need, what fails when the service is not there,
// and what fails otherwise.
var scCommands = map[string]struct {
	run   func(s *scRun) error
	words int
	call  string
}{
	"create":       {(*scRun).create, 1, "CreateService"},
	"config":       {(*scRun).config, 1, "ChangeServiceConfig"},
	"start":        {(*scRun).start, 1, "StartService"},
	"stop":         {(*scRun).stop, 1, "ControlService"},
	"delete":       {(*scRun).delete, 1, "DeleteService"},
	"query":        {(*scRun).query, 0, "EnumQueryServicesStatus"},
	"queryex":      {(*scRun).query, 0, "EnumQueryServicesStatus"},
	"qc":           {(*scRun).qc, 1, "QueryServiceConfig"},
	"description":  {(*scRun).description, 2, "ChangeServiceConfig2"},
	"qdescription": {(*scRun).qdescription, 1, "QueryServiceConfig2"},
	"failure":      {(*scRun).failure, 1, "ChangeServiceConfig2"},
	"qfailure":     {(*scRun).qfailure, 1, "QueryServiceConfig2"},
	"enumdepend":   {(*scRun).enumdepend, 1, "EnumDependentServices"},
}

// scRun is one command.
type scRun struct {
	*app
	command string
	name    string
	rest    []string
	client  *service.Client
}

func (a *app) sc(args []string) error {
	command := strings.ToLower(args[0])
	c, ok := scCommands[command]
	if !ok {
		return usage("sc: *** Unrecognized Command *** %s", args[0])
	}
	if len(args)-1 < c.words {
		return usage("sc %s: want the name of a service%s", command,
			map[bool]string{true: " and a text"}[c.words > 1])
	}
	s := &scRun{app: a, command: command, rest: args[1:]}
	if len(s.rest) > 0 {
		s.name, s.rest = s.rest[0], s.rest[1:]
	}
	var err error
	s.client, err = service.Dial(filepath.Join(service.StateDir(), service.ServicesSocket))
	call := "OpenSCManager"
	if err == nil {
		defer s.client.Close()
		call = c.call
		err = c.run(s)
	}
	if err == nil {
		return nil
	}
	if e := classify(err); e.code == exitUsage {
		return err
	}
	return s.failed(call, err)
}

// failed says that a call has failed, and with which code the command ends.
func (s *scRun) failed(call string, err error) error {
	code, detail := service.CodeOf(err)
	exit := int(code & 0xFF)
	if exit == 0 {
		exit = 1
	}
	if s.format == formatJSON {
		_ = s.json(&service.Response{Version: service.ProtocolVersion, Code: code, Text: code.Error(),
			Detail: detail})
		return silent(exit)
	}
	switch {
	case code != service.DoesNotExist || call == "OpenSCManager":
	case s.command == "start":
		call = "StartService: OpenService"
	case s.command == "query", s.command == "queryex":
		call += ":OpenService"
	default:
		call = "OpenService"
	}
	fmt.Fprintf(s.out, "[SC] %s FAILED %d:\n\n%s\n\n", call, code, code.Error())
	switch {
	case detail != "":
		fmt.Fprintf(s.err, "drvhost: %s\n", detail)
	case code == service.ManagerNotRunning:
		fmt.Fprintln(s.err, "drvhost: `drvhost services` runs it")
	}
	return silent(exit)
}

// do asks the manager; with --format json the answer is what is printed.
func (s *scRun) do(r service.Request) (*service.Response, error) {
	response, err := s.client.Do(r)
	if err == nil && s.format == formatJSON && r.Do != service.DoTag {
		err = s.json(response)
	}
	return response, err
}

// say prints in text only.
func (s *scRun) say(format string, args ...any) {
	if s.format == formatText {
		fmt.Fprintf(s.out, format, args...)
	}
}

// options reads "key= value" and "key=value".
func (s *scRun) options() (all [][2]string, err error) {
	for i := 0; i < len(s.rest); i++ {
		key, value, ok := strings.Cut(s.rest[i], "=")
		if !ok {
			return nil, usage("sc %s: %q is no option: want OPTION= VALUE", s.command, s.rest[i])
		}
		if value == "" {
			if i++; i == len(s.rest) {
				return nil, usage("sc %s: %s= without a value", s.command, key)
			}
			value = s.rest[i]
		}
		all = append(all, [2]string{strings.ToLower(key), value})
	}
	return all, nil
}

// The words of options that are numbers.
var (
	scTypes  = map[string]service.Type{"kernel": service.KernelDriver, "filesys": service.FileSystemDriver}
	scStarts = map[string]service.Start{"boot": service.BootStart, "system": service.SystemStart,
		"auto": service.AutoStart, "demand": service.DemandStart, "disabled": service.DisabledStart}
	scErrors = map[string]service.ErrorControl{"ignore": service.ErrorIgnore,
		"normal": service.ErrorNormal, "severe": service.ErrorSevere, "critical": service.ErrorCritical}
)

// settings puts options into a configuration, and names the fields that they have set.
func (s *scRun) settings(c *service.Config) (fields []string, err error) {
	options, err := s.options()
	if err != nil {
		return nil, err
	}
	tag := false
	for _, o := range options {
		key, value := o[0], o[1]
		known := true
		field := map[string]string{"type": "type", "start": "start", "error": "error_control",
			"binpath": "image_path", "group": "group", "tag": "tag", "depend": "depend",
			"displayname": "display_name", "hostgroup": "host_group"}[key]
		switch key {
		case "type":
			c.Type, known = scTypes[strings.ToLower(value)]
		case "start":
			c.Start, known = scStarts[strings.ToLower(value)]
		case "error":
			c.ErrorControl, known = scErrors[strings.ToLower(value)]
		case "binpath":
			if !strings.HasPrefix(value, `\`) {
				if value, err = filepath.Abs(value); err != nil {
					return nil, err
				}
			}
			c.ImagePath = value
		case "group":
			c.Group = value
		case "tag":
			tag, known = strings.EqualFold(value, "yes"), strings.EqualFold(value, "yes") ||
				strings.EqualFold(value, "no")
			c.Tag = 0
		case "depend":
			c.DependOnService, c.DependOnGroup = service.SplitDependencies(value)
		case "displayname":
			c.DisplayName = value
		case "hostgroup":
			c.HostGroup = value
		default:
			return nil, usage("sc %s: there is no option %s=", s.command, key)
		}
		if !known {
			return nil, usage("sc %s: %s= %s: there is no such value", s.command, key, value)
		}
		if !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	if tag {
		r, err := s.do(service.Request{Do: service.DoTag, Name: c.Group})
		if err != nil {
			return nil, err
		}
		c.Tag = r.Tag
	}
	return fields, nil
}

func (s *scRun) create() error {
	c := &service.Config{Name: s.name, Type: service.KernelDriver, Start: service.DemandStart,
		ErrorControl: service.ErrorNormal}
	_, err := s.settings(c)
	if err == nil {
		_, err = s.do(service.Request{Do: service.DoCreate, Config: c})
	}
	if err == nil {
		s.say("[SC] CreateService SUCCESS\n")
	}
	return err
}

func (s *scRun) config() error {
	c := &service.Config{}
	fields, err := s.settings(c)
	if err == nil {
		_, err = s.do(service.Request{Do: service.DoChange, Name: s.name, Config: c, Fields: fields})
	}
	if err == nil {
		s.say("[SC] ChangeServiceConfig SUCCESS\n")
	}
	return err
}

func (s *scRun) start() error {
	r, err := s.do(service.Request{Do: service.DoStart, Name: s.name})
	if err == nil {
		s.status(r.Services, true)
	}
	return err
}

func (s *scRun) stop() error {
	r, err := s.do(service.Request{Do: service.DoStop, Name: s.name})
	if err == nil {
		s.status(r.Services, false)
	}
	return err
}

func (s *scRun) delete() error {
	_, err := s.do(service.Request{Do: service.DoDelete, Name: s.name})
	if err == nil {
		s.say("[SC] DeleteService SUCCESS\n")
	}
	return err
}

func (s *scRun) query() error {
	r, err := s.do(service.Request{Do: service.DoQuery, Name: s.name})
	if err == nil {
		s.status(r.Services, s.command == "queryex")
	}
	return err
}

func (s *scRun) enumdepend() error {
	r, err := s.do(service.Request{Do: service.DoDependents, Name: s.name})
	if err == nil {
		s.say("[SC] EnumDependentServices: entriesread = %d\n", len(r.Services))
		s.status(r.Services, false)
	}
	return err
}

var scTypeNames = map[service.Type]string{service.KernelDriver: "KERNEL_DRIVER",
	service.FileSystemDriver: "FILE_SYSTEM_DRIVER"}

var scStateNames = map[service.State]string{service.Stopped: "STOPPED",
	service.StartPending: "START_PENDING", service.StopPending: "STOP_PENDING",
	service.Running: "RUNNING"}

// status prints what services do, as sc.exe lays it out; ex adds the process.
func (s *scRun) status(list []service.Status, ex bool) {
	for i := range list {
		st := &list[i]
		s.say("\nSERVICE_NAME: %s\n", st.Name)
		if s.name == "" || s.command == "enumdepend" {
			s.say("DISPLAY_NAME: %s\n", st.DisplayName)
		}
		s.say("        TYPE               : %x  %s\n", st.Type, scTypeNames[st.Type])
		s.say("        STATE              : %x  %s\n", st.State, scStateNames[st.State])
		accepts := "NOT_STOPPABLE"
		if st.State == service.Running {
			accepts = "STOPPABLE"
		}
		s.say("                                (%s, NOT_PAUSABLE, IGNORES_SHUTDOWN)\n", accepts)
		s.say("        WIN32_EXIT_CODE    : %d  (0x%x)\n", st.ExitCode, uint32(st.ExitCode))
		s.say("        SERVICE_EXIT_CODE  : 0  (0x0)\n")
		s.say("        CHECKPOINT         : 0x0\n        WAIT_HINT          : 0x0\n")
		if ex {
			s.say("        PID                : %d\n        FLAGS              : \n", st.PID)
		}
		if st.Detail != "" && s.format == formatText {
			fmt.Fprintf(s.err, "drvhost: %s: %s\n", st.Name, st.Detail)
		}
	}
}

// configuration asks for what the service is registered with.
func (s *scRun) configuration() (*service.Config, error) {
	r, err := s.do(service.Request{Do: service.DoConfig, Name: s.name})
	if err == nil && r.Config == nil {
		err = service.GenFailure
	}
	if err != nil {
		return nil, err
	}
	call := "QueryServiceConfig2"
	if s.command == "qc" {
		call = "QueryServiceConfig"
	}
	s.say("[SC] %s SUCCESS\n\nSERVICE_NAME: %s\n", call, r.Config.Name)
	return r.Config, nil
}

func (s *scRun) qc() error {
	c, err := s.configuration()
	if err != nil {
		return err
	}
	word := func(n int, names ...string) string {
		if n < len(names) {
			return names[n]
		}
		return ""
	}
	var depend []string
	depend = append(depend, c.DependOnService...)
	for _, g := range c.DependOnGroup {
		depend = append(depend, "+"+g)
	}
	s.say("        TYPE               : %x  %s\n", c.Type, scTypeNames[c.Type])
	s.say("        START_TYPE         : %x   %s\n", c.Start, word(int(c.Start), "BOOT_START",
		"SYSTEM_START", "AUTO_START", "DEMAND_START", "DISABLED"))
	s.say("        ERROR_CONTROL      : %x   %s\n", c.ErrorControl, word(int(c.ErrorControl), "IGNORE",
		"NORMAL", "SEVERE", "CRITICAL"))
	s.say("        BINARY_PATH_NAME   : %s\n", c.ImagePath)
	s.say("        LOAD_ORDER_GROUP   : %s\n", c.Group)
	s.say("        TAG                : %d\n", c.Tag)
	s.say("        DISPLAY_NAME       : %s\n", c.DisplayName)
	s.say("        DEPENDENCIES       : %s\n", strings.Join(depend, "\n                           : "))
	s.say("        SERVICE_START_NAME : \n")
	if c.HostGroup != "" {
		s.say("        HOST_GROUP         : %s\n", c.HostGroup)
	}
	return nil
}

func (s *scRun) description() error {
	_, err := s.do(service.Request{Do: service.DoChange, Name: s.name, Fields: []string{"description"},
		Config: &service.Config{Description: s.rest[0]}})
	if err == nil {
		s.say("[SC] ChangeServiceConfig2 SUCCESS\n")
	}
	return err
}

func (s *scRun) qdescription() error {
	c, err := s.configuration()
	if err == nil {
		s.say("DESCRIPTION:  %s\n", c.Description)
	}
	return err
}

func (s *scRun) failure() error {
	options, err := s.options()
	if err != nil {
		return err
	}
	c := &service.Config{}
	var fields []string
	for _, o := range options {
		switch o[0] {
		case "reset":
			if strings.EqualFold(o[1], "infinite") {
				o[1] = "4294967295"
			}
			n, err := strconv.ParseUint(o[1], 10, 32)
			if err != nil {
				return usage("sc failure: reset= %s: want seconds", o[1])
			}
			c.Failure.ResetPeriod = uint32(n)
			fields = append(fields, "reset_period")
		case "actions":
			if c.Failure.Actions, err = scActions(o[1]); err != nil {
				return err
			}
			fields = append(fields, "actions")
		default:
			return usage("sc failure: there is no option %s=", o[0])
		}
	}
	if _, err = s.do(service.Request{Do: service.DoChange, Name: s.name, Config: c,
		Fields: fields}); err == nil {
		s.say("[SC] ChangeServiceConfig2 SUCCESS\n")
	}
	return err
}

// scActions reads "restart/1000/restart/5000//0".
func scActions(text string) (actions []service.Action, err error) {
	words := strings.Split(text, "/")
	if len(words)%2 != 0 {
		return nil, usage("sc failure: actions= %s: want ACTION/MILLISECONDS pairs", text)
	}
	for i := 0; i < len(words); i += 2 {
		kind := service.ActionNone
		switch strings.ToLower(words[i]) {
		case "restart":
			kind = service.ActionRestart
		case "":
		default:
			return nil, usage("sc failure: action %q: want restart or nothing", words[i])
		}
		delay, err := strconv.ParseUint(words[i+1], 10, 32)
		if err != nil {
			return nil, usage("sc failure: delay %q: want milliseconds", words[i+1])
		}
		actions = append(actions, service.Action{Type: kind, Delay: uint32(delay)})
	}
	return actions, nil
}

func (s *scRun) qfailure() error {
	c, err := s.configuration()
	if err != nil {
		return err
	}
	reset := strconv.FormatUint(uint64(c.Failure.ResetPeriod), 10)
	if c.Failure.ResetPeriod == ^uint32(0) {
		reset = "INFINITE"
	}
	s.say("        RESET_PERIOD (in seconds)    : %s\n", reset)
	s.say("        REBOOT_MESSAGE               : \n        COMMAND_LINE                 : \n")
	label := "FAILURE_ACTIONS              :"
	for _, f := range c.Failure.Actions {
		kind := "NONE"
		if f.Type == service.ActionRestart {
			kind = "RESTART"
		}
		s.say("        %s %s -- Delay = %d milliseconds.\n", label, kind, f.Delay)
		label = "                              "
	}
	return nil
}
