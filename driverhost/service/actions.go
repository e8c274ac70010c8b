package service

// What a service's registration says about failures.

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// FailureActions is what is done when a service fails ("SERVICE_FAILURE_ACTIONSW structure").
type FailureActions struct {
	ResetPeriod uint32 `json:"reset_period"` // seconds without a failure that make the count 0
	// Actions are those of the first failure, the second…; the last is repeated. Nil is what the
	// manager does by default, empty is nothing.
	Actions []Action `json:"actions"`
	// Command is run by ActionRun, with the manager's rights: who is not the manager's user or root
	// may not set it.
	Command string `json:"command,omitempty"`
	// RebootMessage is what ActionReboot has to say.
	RebootMessage string `json:"reboot_message,omitempty"`
	// OnNonCrash has the actions done also when a driver refuses to start, not only when its host has
	// ended ("SERVICE_FAILURE_ACTIONS_FLAG structure").
	OnNonCrash bool `json:"on_non_crash,omitempty"`
	// Unapproved says that the command was not set through the manager: it is not run.
	Unapproved bool `json:"unapproved,omitempty"`

	// approve has Command approved when the registration is written.
	approve bool
}

// Action is one failure action ("SC_ACTION structure").
type Action struct {
	Type  ActionType `json:"type"`
	Delay uint32     `json:"delay_ms"`
}

// ActionType is the kind of an action ("SC_ACTION structure").
type ActionType uint32

// The kinds of actions.
const (
	ActionNone    ActionType = 0
	ActionRestart ActionType = 1 // the service
	ActionReboot  ActionType = 2 // every service of this manager: see Manager.Reboot
	ActionRun     ActionType = 3 // the command
)

var actionNames = [...]string{"none", "restart", "reboot", "run"}

// String names the kind as sc.exe's actions= does, and none.
func (a ActionType) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "action " + strconv.FormatUint(uint64(a), 10)
}

// ResetInfinite is the reset period of a count that never goes back.
const ResetInfinite = ^uint32(0)

// backoffLimit bounds what repeated failures make of a delay.
const backoffLimit = 5 * time.Minute

// after gives what is done at a number of failures, from 1. Those beyond the list repeat the last
// action, with a delay that doubles each time up to backoffLimit.
func (f FailureActions) after(failures int) (ActionType, time.Duration) {
	if len(f.Actions) == 0 || failures < 1 {
		return ActionNone, 0
	}
	a := f.Actions[min(failures, len(f.Actions))-1]
	if a.Type > ActionRun {
		return ActionNone, 0 // the registry may hold anything
	}
	delay := time.Duration(a.Delay) * time.Millisecond
	for range min(failures-len(f.Actions), 20) {
		if delay >= backoffLimit {
			break
		}
		delay = min(2*max(delay, 50*time.Millisecond), backoffLimit)
	}
	return a.Type, delay
}

// reset says whether a count of failures begins anew, when the last one was some time ago. A reset
// period of 0 is none: the count never goes back by itself.
func (f FailureActions) reset(since time.Duration) bool {
	return f.ResetPeriod != ResetInfinite && since > time.Duration(f.ResetPeriod)*time.Second
}

// The layout of the value FailureActions: the structure as a 32-bit process has it, its pointers
// being offsets or nothing, with the actions behind it.
const (
	failureHeader = 20
	actionSize    = 8
	maxActions    = 100
)

// Bytes gives the value FailureActions.
func (f FailureActions) Bytes() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, f.ResetPeriod)
	b = le.AppendUint32(b, 0) // lpRebootMsg
	b = le.AppendUint32(b, 0) // lpCommand
	b = le.AppendUint32(b, uint32(len(f.Actions)))
	b = le.AppendUint32(b, failureHeader)
	for _, a := range f.Actions {
		b = le.AppendUint32(b, uint32(a.Type))
		b = le.AppendUint32(b, a.Delay)
	}
	return b
}

// ParseFailureActions reads the value FailureActions; ok is false for what is none.
func ParseFailureActions(b []byte) (f FailureActions, ok bool) {
	if len(b) < failureHeader {
		return f, false
	}
	le := binary.LittleEndian
	n := le.Uint32(b[12:])
	if n > maxActions || len(b) < failureHeader+int(n)*actionSize {
		return f, false
	}
	f.ResetPeriod = le.Uint32(b)
	f.Actions = []Action{}
	for i := range int(n) {
		at := b[failureHeader+i*actionSize:]
		f.Actions = append(f.Actions, Action{ActionType(le.Uint32(at)), le.Uint32(at[4:])})
	}
	return f, true
}

// validate checks what is to be registered.
func (f *FailureActions) validate() error {
	switch {
	case len(f.Actions) > maxActions:
		return fail(InvalidParameter, "more than %d failure actions", maxActions)
	case len(f.Command) > maxText || len(f.RebootMessage) > maxText:
		return fail(InvalidParameter, "a text is too long")
	case strings.Contains(f.Command+f.RebootMessage, "\x00"):
		return fail(InvalidParameter, "a zero in a text")
	}
	for _, a := range f.Actions {
		if a.Type > ActionRun {
			return fail(InvalidParameter, "failure action %d", a.Type)
		}
	}
	if f.Command != "" {
		_, err := SplitCommand(f.Command)
		return err
	}
	return nil
}
