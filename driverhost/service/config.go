package service

// What a service is registered with: the values of its key.

import (
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// ServicesKey is the registry key below which each service has one.
const ServicesKey = `\Registry\Machine\System\CurrentControlSet\Services`

const controlKey = `\Registry\Machine\System\CurrentControlSet\Control`

// Type is a service's type ("QUERY_SERVICE_CONFIGW structure").
type Type uint32

// The types of services that are drivers.
const (
	KernelDriver     Type = 1
	FileSystemDriver Type = 2
)

// Start says when a service is started.
type Start uint32

// The start types. The first three are started by the manager's own start, in this order.
const (
	BootStart Start = iota
	SystemStart
	AutoStart
	DemandStart
	DisabledStart
)

// automatic says whether the manager's start starts such services.
func (s Start) automatic() bool { return s <= AutoStart }

// ErrorControl says how much a failure to start matters. What the manager does with it is to log
// severe and critical failures as errors, others as warnings, and ignored ones not at all.
type ErrorControl uint32

// The error controls.
const (
	ErrorIgnore ErrorControl = iota
	ErrorNormal
	ErrorSevere
	ErrorCritical
)

// Config is what a service is registered with.
type Config struct {
	Name            string         `json:"name"`
	Type            Type           `json:"type"`
	Start           Start          `json:"start"`
	ErrorControl    ErrorControl   `json:"error_control"`
	ImagePath       string         `json:"image_path"`
	DisplayName     string         `json:"display_name"`
	Description     string         `json:"description"`
	Group           string         `json:"group"`
	Tag             uint32         `json:"tag"`
	DependOnService []string       `json:"depend_on_service"`
	DependOnGroup   []string       `json:"depend_on_group"`
	HostGroup       string         `json:"host_group"` // services with the same one share a host
	Failure         FailureActions `json:"failure"`
	Deleted         bool           `json:"deleted"` // it is marked for deletion
}

// The limits of names ("CreateServiceW function"), in characters.
const (
	maxName        = 256
	maxDisplayName = 256
	maxText        = 8192
	maxDepend      = 256
)

// ValidName says whether a name can be a service's.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && len(utf16.Encode([]rune(name))) <= maxName-1 &&
		!strings.ContainsAny(name, "\\/\x00")
}

// Validate checks what a service is to be registered with. Errors are of [Code] 87 and 123.
func (c *Config) Validate() error {
	if !ValidName(c.Name) {
		return fail(InvalidName, "service name %q", c.Name)
	}
	switch {
	case c.Type != KernelDriver && c.Type != FileSystemDriver:
		return fail(InvalidParameter, "type %d: want a driver's", c.Type)
	case c.Start > DisabledStart:
		return fail(InvalidParameter, "start type %d", c.Start)
	case c.ErrorControl > ErrorCritical:
		return fail(InvalidParameter, "error control %d", c.ErrorControl)
	case c.ImagePath == "":
		return fail(InvalidParameter, "no image path")
	case len(c.DisplayName) > maxDisplayName || len(c.ImagePath) > maxText ||
		len(c.Description) > maxText || len(c.Group) > maxName || len(c.HostGroup) > maxName:
		return fail(InvalidParameter, "a text is too long")
	case len(c.DependOnService)+len(c.DependOnGroup) > maxDepend:
		return fail(InvalidParameter, "too many dependencies")
	case c.Tag != 0 && c.Group == "":
		return fail(InvalidParameter, "a tag without a group")
	}
	for _, text := range []string{c.DisplayName, c.ImagePath, c.Description, c.Group, c.HostGroup} {
		if strings.Contains(text, "\x00") {
			return fail(InvalidParameter, "a zero in a text")
		}
	}
	for _, name := range slices.Concat(c.DependOnService, c.DependOnGroup) {
		if !ValidName(name) {
			return fail(InvalidParameter, "dependency %q", name)
		}
		if cm.Fold(name) == cm.Fold(c.Name) && slices.Contains(c.DependOnService, name) {
			return CircularDependency
		}
	}
	return c.Failure.validate()
}

// The names of values.
const (
	valType        = "Type"
	valStart       = "Start"
	valError       = "ErrorControl"
	valImage       = "ImagePath"
	valDisplay     = "DisplayName"
	valDescription = "Description"
	valGroup       = "Group"
	valTag         = "Tag"
	valServices    = "DependOnService"
	valGroups      = "DependOnGroup"
	valFailure     = "FailureActions"
	valCommand     = "FailureCommand"
	valReboot      = "RebootMessage"
	valNonCrash    = "FailureActionsOnNonCrashFailures"
	valDelete      = "DeleteFlag"
	valHostGroup   = "HostGroup" // drvhost's own
)

// store writes the configuration into the service's key. Values that are as they were are not
// written, and those of what is empty are deleted.
func (c *Config) store(k *cm.Key) error {
	text := func(s string) []byte {
		if s == "" {
			return nil
		}
		return cm.SZ(s)
	}
	texts := func(s []string) []byte {
		if len(s) == 0 {
			return nil
		}
		return cm.MultiSZ(s...)
	}
	number := func(n uint32, always bool) []byte {
		if n == 0 && !always {
			return nil
		}
		return cm.DWord(n)
	}
	var failure []byte
	var nonCrash uint32
	if c.Failure.OnNonCrash {
		nonCrash = 1
	}
	if c.Failure.Actions != nil || c.Failure.ResetPeriod != 0 {
		failure = c.Failure.Bytes()
	}
	for _, v := range []cm.Value{
		{Name: valType, Type: nt.REG_DWORD, Data: number(uint32(c.Type), true)},
		{Name: valStart, Type: nt.REG_DWORD, Data: number(uint32(c.Start), true)},
		{Name: valError, Type: nt.REG_DWORD, Data: number(uint32(c.ErrorControl), true)},
		{Name: valImage, Type: nt.REG_EXPAND_SZ, Data: text(c.ImagePath)},
		{Name: valDisplay, Type: nt.REG_SZ, Data: text(c.DisplayName)},
		{Name: valDescription, Type: nt.REG_SZ, Data: text(c.Description)},
		{Name: valGroup, Type: nt.REG_SZ, Data: text(c.Group)},
		{Name: valTag, Type: nt.REG_DWORD, Data: number(c.Tag, false)},
		{Name: valServices, Type: nt.REG_MULTI_SZ, Data: texts(c.DependOnService)},
		{Name: valGroups, Type: nt.REG_MULTI_SZ, Data: texts(c.DependOnGroup)},
		{Name: valHostGroup, Type: nt.REG_SZ, Data: text(c.HostGroup)},
		{Name: valFailure, Type: nt.REG_BINARY, Data: failure},
		{Name: valCommand, Type: nt.REG_SZ, Data: text(c.Failure.Command)},
		{Name: valReboot, Type: nt.REG_SZ, Data: text(c.Failure.RebootMessage)},
		{Name: valNonCrash, Type: nt.REG_DWORD, Data: number(nonCrash, false)},
	} {
		old, status := k.Value(v.Name)
		switch {
		case v.Data == nil && status == nt.STATUS_SUCCESS:
			status = k.DeleteValue(v.Name)
		case v.Data == nil:
			status = nt.STATUS_SUCCESS
		case status != nt.STATUS_SUCCESS || old.Type != v.Type || string(old.Data) != string(v.Data):
			status = k.Set(v.Name, v.Type, v.Data)
		}
		if status != nt.STATUS_SUCCESS {
			return &Error{FromStatus(status), "value " + v.Name}
		}
	}
	return nil
}

// readConfig reads a service's key; ok is false for one that is no driver's.
func readConfig(k *cm.Key, name string) (c Config, ok bool) {
	number := func(value string, missing uint32) uint32 {
		v, status := k.Value(value)
		if n, ok := v.Number(); ok && status == nt.STATUS_SUCCESS {
			return uint32(n)
		}
		return missing
	}
	text := func(value string) string {
		v, status := k.Value(value)
		if status != nt.STATUS_SUCCESS {
			return ""
		}
		return v.Text()
	}
	texts := func(value string) []string {
		v, status := k.Value(value)
		if status != nt.STATUS_SUCCESS || v.Type != nt.REG_MULTI_SZ {
			return nil
		}
		return v.Texts()
	}
	c = Config{Name: name, Type: Type(number(valType, 0)),
		Start:        Start(number(valStart, uint32(DemandStart))),
		ErrorControl: ErrorControl(number(valError, uint32(ErrorNormal))),
		ImagePath:    text(valImage), DisplayName: text(valDisplay), Description: text(valDescription),
		Group: text(valGroup), Tag: number(valTag, 0), DependOnService: texts(valServices),
		DependOnGroup: texts(valGroups), HostGroup: text(valHostGroup),
		Deleted: number(valDelete, 0) != 0}
	if v, status := k.Value(valFailure); status == nt.STATUS_SUCCESS {
		c.Failure, _ = ParseFailureActions(v.Data)
	}
	c.Failure.Command, c.Failure.RebootMessage = text(valCommand), text(valReboot)
	c.Failure.OnNonCrash = number(valNonCrash, 0) != 0
	return c, c.Type == KernelDriver || c.Type == FileSystemDriver
}

// SplitDependencies takes sc.exe's form apart, "a/b/+group".
func SplitDependencies(s string) (services, groups []string) {
	for name := range strings.SplitSeq(s, "/") {
		switch {
		case name == "":
		case name[0] == '+':
			groups = append(groups, name[1:])
		default:
			services = append(services, name)
		}
	}
	return services, groups
}
