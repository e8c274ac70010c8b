package main

// sc's commands that ask what there is and what it does.

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/service"
)

// scQuery is which services sc query means.
type scQuery struct {
	types    map[service.Type]bool
	active   bool // those that are not stopped
	inactive bool
	group    *string
	buffer   uint64 // bytes of what is asked for at once, or 0
	from     uint64 // the first one
}

// scQueryTypes are the words of type=. Those of services that are no drivers are known, and mean none.
var scQueryTypes = map[string][]service.Type{
	"driver": {service.KernelDriver, service.FileSystemDriver}, "kernel": {service.KernelDriver},
	"all": {service.KernelDriver, service.FileSystemDriver}, "filesys": {service.FileSystemDriver},
	"service": nil, "own": nil, "share": nil, "interact": nil, "userservice": nil, "adapter": nil,
	"rec": nil,
}

// which reads the options of sc query.
func (s *scRun) which() (*scQuery, error) {
	options, err := s.options()
	if err != nil {
		return nil, err
	}
	q := &scQuery{types: map[service.Type]bool{}, active: true}
	typed := false
	for _, o := range options {
		key, value := o[0], o[1]
		switch key {
		case "type":
			types, known := scQueryTypes[strings.ToLower(value)]
			if !known {
				return nil, usage("sc %s: type= %s: there is no such value", s.command, value)
			}
			typed = true
			for _, t := range types {
				q.types[t] = true
			}
		case "state":
			switch strings.ToLower(value) {
			case "active":
			case "inactive":
				q.active, q.inactive = false, true
			case "all":
				q.active, q.inactive = true, true
			default:
				return nil, usage("sc %s: state= %s: there is no such value", s.command, value)
			}
		case "group":
			q.group = &value
		case "bufsize", "ri":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return nil, usage("sc %s: %s= %s: want a number", s.command, key, value)
			}
			if key == "ri" {
				q.from = n
			} else {
				q.buffer = n
			}
		default:
			return nil, usage("sc %s: there is no option %s=", s.command, key)
		}
	}
	if !typed {
		for _, t := range scQueryTypes["driver"] {
			q.types[t] = true
		}
	}
	return q, nil
}

// size is how much a service takes in the buffer ("ENUM_SERVICE_STATUS_PROCESSW structure").
func size(st *service.Status) uint64 {
	const fixed = 56 // bytes
	return fixed + 2*uint64(len(st.Name)+1+len(st.DisplayName)+1)
}

// pick gives the services that are meant; next is the index of the first that does not fit, or 0, and
// need the bytes that it and those after it take.
func (q *scQuery) pick(all []service.Status) (list []service.Status, next, need uint64) {
	i, used := uint64(0), uint64(0)
	for _, st := range all {
		stopped := st.State == service.Stopped
		if !q.types[st.Type] || stopped && !q.inactive || !stopped && !q.active ||
			q.group != nil && !strings.EqualFold(st.Group, *q.group) {
			continue
		}
		if i++; i <= q.from {
			continue
		}
		if used += size(&st); q.buffer > 0 && used > q.buffer || need > 0 {
			if need == 0 {
				next = i - 1
			}
			need += size(&st)
			continue
		}
		list = append(list, st)
	}
	return list, next, need
}

func (s *scRun) query() error {
	if s.name != "" && !strings.Contains(s.name, "=") {
		if len(s.rest) > 0 {
			return usage("sc %s: %q is too much behind a name", s.command, s.rest[0])
		}
		r, err := s.do(service.Request{Do: service.DoQuery, Name: s.name})
		if err == nil {
			s.status(r.Services, s.command == "queryex")
		}
		return err
	}
	if s.name != "" {
		s.name, s.rest = "", append([]string{s.name}, s.rest...)
	}
	q, err := s.which()
	if err != nil {
		return err
	}
	r, err := s.client.Do(service.Request{Do: service.DoQuery})
	if err != nil {
		return err
	}
	var next, need uint64
	r.Services, next, need = q.pick(r.Services)
	if need > 0 {
		r.Code, r.Text = service.MoreData, service.MoreData.Error()
		r.Detail = fmt.Sprintf("more data, need %d bytes start resume at index %d", need, next)
	}
	if s.format == formatJSON {
		err = s.json(r)
	}
	s.status(r.Services, s.command == "queryex")
	if need > 0 && err == nil {
		s.say("\nEnum: %s\n", r.Detail)
		err = silent(int(service.MoreData & 0xFF))
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

// status prints what services do, as sc.exe lays it out; ex adds the process, and what sc.exe does not
// know: the last crash.
func (s *scRun) status(list []service.Status, ex bool) {
	for i := range list {
		st := &list[i]
		s.say("\nSERVICE_NAME: %s\n", st.Name)
		if s.name == "" || s.command == "enumdepend" {
			s.say("DISPLAY_NAME: %s\n", driverhost.Printable(st.DisplayName))
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
		if c := st.LastCrash; ex && c != nil {
			s.say("        LAST_CRASH         : %s %s\n", c.Time.Format(time.RFC3339),
				driverhost.Printable(strings.ReplaceAll(c.Bugcheck, "\n", " ")))
			if c.Path != "" {
				s.say("                             %s\n", c.Path)
			}
		}
		if st.Detail != "" && s.format == formatText {
			fmt.Fprintf(s.err, "drvhost: %s: %s\n", st.Name, driverhost.Printable(st.Detail))
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
	s.say("        BINARY_PATH_NAME   : %s\n", driverhost.Printable(c.ImagePath))
	s.say("        LOAD_ORDER_GROUP   : %s\n", driverhost.Printable(c.Group))
	s.say("        TAG                : %d\n", c.Tag)
	s.say("        DISPLAY_NAME       : %s\n", driverhost.Printable(c.DisplayName))
	s.say("        DEPENDENCIES       : %s\n",
		driverhost.Printable(strings.Join(depend, "\n                           : ")))
	s.say("        SERVICE_START_NAME : \n")
	if c.HostGroup != "" {
		s.say("        HOST_GROUP         : %s\n", driverhost.Printable(c.HostGroup))
	}
	return nil
}

func (s *scRun) qdescription() error {
	c, err := s.configuration()
	if err == nil {
		s.say("DESCRIPTION:  %s\n", driverhost.Printable(c.Description))
	}
	return err
}

func (s *scRun) getdisplayname() error {
	r, err := s.client.Do(service.Request{Do: service.DoQuery, Name: s.name})
	if err != nil {
		return err
	}
	return s.named("GetServiceDisplayName", r.Services[0].DisplayName)
}

func (s *scRun) getkeyname() error {
	r, err := s.client.Do(service.Request{Do: service.DoQuery})
	if err != nil {
		return err
	}
	for _, st := range r.Services {
		if strings.EqualFold(st.DisplayName, s.name) {
			return s.named("GetServiceKeyName", st.Name)
		}
	}
	return service.DoesNotExist
}

// named prints a name that was asked for.
func (s *scRun) named(call, name string) error {
	if s.format == formatJSON {
		return s.json(map[string]any{"version": service.ProtocolVersion, "code": service.Success,
			"text": service.Success.Error(), "name": name})
	}
	s.say("[SC] %s SUCCESS\nName = %s\n", call, driverhost.Printable(name))
	return nil
}
