package service

// config.json in the state directory: what the manager is told once, and again when it is asked to
// read it anew.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SettingsFile is the name of the file in the state directory.
const SettingsFile = "config.json"

// Settings are what may change while a manager runs. A time of 0 stands for the default.
type Settings struct {
	// Users may change services, beside the manager's own user and root: names or numbers.
	Users []string
	// SignatureRoots are PEM files; with some, images whose signatures lead to none are refused.
	SignatureRoots []string
	// Sandbox is the mode of the hosts' sandbox: on, strict or off.
	Sandbox string
	// Heartbeat is how often each host is asked whether it answers, and how long it may take.
	Heartbeat time.Duration
	// StartLimit and StopLimit are how long a start and a stop may take, CommandLimit the command of a
	// failure.
	StartLimit, StopLimit, CommandLimit time.Duration
	// Failure is what is done when a service fails whose registration does not say it.
	Failure FailureActions
	// Crashes says how much is kept of crashes; what is older goes.
	Crashes CrashLimits
}

// CrashLimits says how much is kept. The newest crash is kept in any case.
type CrashLimits struct {
	Keep  int   // crashes
	Bytes int64 // on the disk, of all of them
}

// DefaultSettings are those without a file.
func DefaultSettings() Settings {
	const limit = 30 * time.Second
	return Settings{Sandbox: "on", Heartbeat: limit, StartLimit: limit, StopLimit: limit,
		CommandLimit: time.Minute, Crashes: CrashLimits{Keep: 100, Bytes: 1 << 30}}
}

// orDefault fills in what is 0.
func (s Settings) orDefault() Settings {
	d := DefaultSettings()
	s.Sandbox = cmp.Or(s.Sandbox, d.Sandbox)
	s.Heartbeat = cmp.Or(s.Heartbeat, d.Heartbeat)
	s.StartLimit, s.StopLimit = cmp.Or(s.StartLimit, d.StartLimit), cmp.Or(s.StopLimit, d.StopLimit)
	s.CommandLimit = cmp.Or(s.CommandLimit, d.CommandLimit)
	s.Crashes = cmp.Or(s.Crashes, d.Crashes)
	return s
}

// ReadSettings reads the file of a state directory; without one they are the defaults. An error names
// the field.
func ReadSettings(dir string) (Settings, error) {
	path := filepath.Join(dir, SettingsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return DefaultSettings(), nil
	}
	if err != nil {
		return Settings{}, err
	}
	s, err := ParseSettings(b)
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// ParseSettings reads what such a file holds. What it does not say is as in DefaultSettings.
func ParseSettings(b []byte) (Settings, error) {
	s := DefaultSettings()
	const longest = time.Hour
	err := readObject(b, fields{
		"users":           listOf(&s.Users, userOf),
		"signature_roots": listOf(&s.SignatureRoots, pathOf),
		"sandbox":         wordOf(&s.Sandbox, "on", "strict", "off"),
		"heartbeat":       timeOf(&s.Heartbeat, longest),
		"start_limit":     timeOf(&s.StartLimit, longest),
		"stop_limit":      timeOf(&s.StopLimit, longest),
		"command_limit":   timeOf(&s.CommandLimit, longest),
		"failure":         s.Failure.read,
		"crashes": objectOf(fields{
			"keep":  numberOf(&s.Crashes.Keep, 1, math.MaxInt32),
			"bytes": numberOf(&s.Crashes.Bytes, 1, math.MaxInt64),
		}),
	})
	return s, err
}

// read reads failure actions as the file has them.
func (f *FailureActions) read(b []byte) error {
	err := readObject(b, fields{
		"reset_period":   numberOf(&f.ResetPeriod, 0, math.MaxUint32),
		"command":        textOf(&f.Command),
		"reboot_message": textOf(&f.RebootMessage),
		"on_non_crash":   flagOf(&f.OnNonCrash),
		"actions": listOf(&f.Actions, func(b []byte) (a Action, err error) {
			var word string
			if err = readObject(b, fields{"type": wordOf(&word, actionNames[:]...),
				"delay_ms": numberOf(&a.Delay, 0, math.MaxUint32)}); err == nil && word == "" {
				err = errors.New("want a type")
			}
			a.Type = ActionType(max(slices.Index(actionNames[:], word), 0))
			return a, err
		}),
	})
	if err == nil {
		err = f.validate()
	}
	return err
}

// MarshalJSON gives settings as the file has them.
func (s Settings) MarshalJSON() ([]byte, error) {
	type action struct {
		Type  string `json:"type"`
		Delay uint32 `json:"delay_ms"`
	}
	var file struct {
		Users          []string `json:"users"`
		SignatureRoots []string `json:"signature_roots"`
		Sandbox        string   `json:"sandbox"`
		Heartbeat      string   `json:"heartbeat"`
		StartLimit     string   `json:"start_limit"`
		StopLimit      string   `json:"stop_limit"`
		CommandLimit   string   `json:"command_limit"`
		Failure        struct {
			ResetPeriod   uint32   `json:"reset_period"`
			Actions       []action `json:"actions"`
			Command       string   `json:"command"`
			RebootMessage string   `json:"reboot_message"`
			OnNonCrash    bool     `json:"on_non_crash"`
		} `json:"failure"`
		Crashes struct {
			Keep  int   `json:"keep"`
			Bytes int64 `json:"bytes"`
		} `json:"crashes"`
	}
	file.Users = append([]string{}, s.Users...)
	file.SignatureRoots = append([]string{}, s.SignatureRoots...)
	file.Sandbox = s.Sandbox
	file.Heartbeat, file.StartLimit = s.Heartbeat.String(), s.StartLimit.String()
	file.StopLimit, file.CommandLimit = s.StopLimit.String(), s.CommandLimit.String()
	f := &file.Failure
	f.ResetPeriod, f.Command, f.RebootMessage = s.Failure.ResetPeriod, s.Failure.Command,
		s.Failure.RebootMessage
	f.OnNonCrash, f.Actions = s.Failure.OnNonCrash, []action{}
	for _, a := range s.Failure.Actions {
		f.Actions = append(f.Actions, action{a.Type.String(), a.Delay})
	}
	file.Crashes.Keep, file.Crashes.Bytes = s.Crashes.Keep, s.Crashes.Bytes
	return json.Marshal(&file)
}

// field reads a value into where it belongs.
type field = func(b []byte) error

// fields are the fields that an object may have, each at most once.
type fields map[string]field

// readObject reads an object, and nothing behind it.
func readObject(b []byte, known fields) error {
	in := json.NewDecoder(bytes.NewReader(b))
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return syntaxError(b, err, "want an object, {…}")
	}
	seen := map[string]bool{}
	for in.More() {
		t, err := in.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return syntaxError(b, err, "want a field")
		}
		read := known[name]
		switch {
		case read == nil:
			return fmt.Errorf("field %q is unknown: there are %s", name,
				strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case seen[name]:
			return fmt.Errorf("%s: it is there twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return fmt.Errorf("%s: %w", name, syntaxError(b, err, ""))
		}
		if err := read(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := in.Token(); err != nil {
		return syntaxError(b, err, "")
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the object")
	}
	return nil
}

// syntaxError says where something is no JSON, or what was wanted instead of what is there.
func syntaxError(b []byte, err error, want string) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at := min(int(syntax.Offset), len(b))
		return fmt.Errorf("line %d: %w", 1+bytes.Count(b[:at], []byte("\n")), err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends too early")
	case err != nil:
		return err
	}
	return errors.New(want)
}

func objectOf(known fields) field { return func(b []byte) error { return readObject(b, known) } }

// valueOf reads a value of a JSON type.
func valueOf[T any](p *T, want string) field {
	return func(b []byte) error {
		var v *T
		if err := json.Unmarshal(b, &v); err != nil || v == nil {
			return fmt.Errorf("want %s, not %s", want, b)
		}
		*p = *v
		return nil
	}
}

func textOf(p *string) field { return valueOf(p, "a text") }

func flagOf(p *bool) field { return valueOf(p, "true or false") }

func wordOf(p *string, words ...string) field {
	return func(b []byte) error {
		var word string
		err := textOf(&word)(b)
		if err != nil || !slices.Contains(words, word) {
			return fmt.Errorf("want %s, not %s", strings.Join(words, ", "), b)
		}
		*p = word
		return nil
	}
}

func numberOf[T int | int64 | uint32](p *T, least, most int64) field {
	return func(b []byte) error {
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil || n < least || n > most {
			return fmt.Errorf("want a number from %d to %d, not %s", least, most, b)
		}
		*p = T(n)
		return nil
	}
}

func timeOf(p *time.Duration, most time.Duration) field {
	return func(b []byte) error {
		var text string
		err := textOf(&text)(b)
		d, e := time.ParseDuration(text)
		if err != nil || e != nil || d <= 0 || d > most {
			return fmt.Errorf(`want a time such as "1m30s", up to %v, not %s`, most, b)
		}
		*p = d
		return nil
	}
}

// listOf reads a list.
func listOf[T any](p *[]T, read func(b []byte) (T, error)) field {
	return func(b []byte) error {
		var all []json.RawMessage
		if err := json.Unmarshal(b, &all); err != nil || all == nil {
			return fmt.Errorf("want a list, not %s", b)
		}
		list := make([]T, 0, len(all))
		for i, b := range all {
			v, err := read(b)
			if err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
			list = append(list, v)
		}
		*p = list
		return nil
	}
}

func userOf(b []byte) (name string, err error) {
	if n, err := strconv.ParseUint(string(b), 10, 32); err == nil {
		return strconv.FormatUint(n, 10), nil
	}
	if textOf(&name)(b) != nil || name == "" {
		err = fmt.Errorf("want a user's name or number, not %s", b)
	}
	return name, err
}

func pathOf(b []byte) (path string, err error) {
	if textOf(&path)(b) != nil || !filepath.IsAbs(path) {
		err = fmt.Errorf("want the absolute path of a file, not %s", b)
	}
	return path, err
}
