package main

// sc: control of services, in the words of Windows' sc.exe.

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost/service"
)

const scHelp = `Sc speaks to the service manager (drvhost services) in the words of Windows' sc.exe:

  create NAME binPath= FILE [OPTION= VALUE]...     config NAME [OPTION= VALUE]...
  start NAME           stop NAME                   delete NAME
  query [NAME]         queryex [NAME]              qc NAME
  query [type= driver|kernel|filesys|service|all] [state= active|inactive|all]
        [group= NAME] [bufsize= BYTES] [ri= INDEX]
  description NAME TEXT                            qdescription NAME
  failure NAME [reset= SECONDS|INFINITE actions= ACTION/MS[/ACTION/MS]...]
               [command= "COMMAND LINE"] [reboot= MESSAGE]
  qfailure NAME        failureflag NAME 0|1        qfailureflag NAME
  getdisplayname NAME  getkeyname DISPLAYNAME      enumdepend NAME

Options: type= kernel|filesys, start= boot|system|auto|demand|disabled, error=
normal|severe|critical|ignore, binPath= FILE, group= NAME, tag= yes|no, depend=
SERVICE/+GROUP (separated by /), displayname= NAME, and hostGroup= NAME, which sc.exe does
not have: services with the same one share a host process, as a stack of drivers must. The
value may follow its = at once or after a blank. Without a name or a type=, query means all
drivers, and without state= those that are not stopped; "" is the group of those in none.

A service fails when its host ends without having been asked to; with failureflag 1 also
when its driver refuses to start. The first action is that of the first failure, and so on;
the last one is repeated, and waits longer each time. An action is one of
  restart   the service is started again
  run       the command is run: taken apart as C programs on Windows do, without a shell, as
            the manager's user, in a session of its own, with its output in the service's
            host.log. %1% in it is the number of failures. Only the manager's own user and
            root may set it; what reg or a driver writes there is not run.
  reboot    the message is logged, and every service of this manager is stopped and those that
            start by themselves are started again, in order: the machine is left alone
  nothing   as in //5000
A service for which nothing was set follows the manager's config.json.

A failure prints sc.exe's message. The exit status is the error's number as far as Linux
can give it, its lowest eight bits, or 1 if these are 0: 36 for 1060, 32 for 1056, 49 for
1073. --format json has it whole: {"code", "text", "detail", "services", "config"}.`

func (a *app) scCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sc COMMAND [NAME] [OPTION= VALUE]...",
		Short: "Register, start, stop and query driver services, as sc.exe does",
		Long:  scHelp,
		Example: `  drvhost sc create Echo binPath= ./echo.sys type= kernel start= auto
  drvhost sc failure Echo reset= 60 actions= restart/100/run/0 command= "/bin/notify /fail=%1%"
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
	"failureflag":  {(*scRun).failureflag, 2, "ChangeServiceConfig2"},
	"qfailureflag": {(*scRun).qfailureflag, 1, "QueryServiceConfig2"},
	"enumdepend":   {(*scRun).enumdepend, 1, "EnumDependentServices"},

	"getdisplayname": {(*scRun).getdisplayname, 1, "GetServiceDisplayName"},
	"getkeyname":     {(*scRun).getkeyname, 1, "GetServiceKeyName"},
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
			map[bool]string{true: " and what it is to be"}[c.words > 1])
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
	if said := (*exitError)(nil); errors.As(err, &said) {
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
	case code != service.DoesNotExist, call == "OpenSCManager",
		strings.HasPrefix(call, "GetService"):
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

func (s *scRun) description() error {
	return s.changed(&service.Config{Description: s.rest[0]}, "description")
}
